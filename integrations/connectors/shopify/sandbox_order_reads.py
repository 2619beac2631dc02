"""How the sandboxed shop shows orders, their lines, payments and refunds."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from integrations.connectors.shopify import sandbox_search
from integrations.connectors.shopify.sandbox_call import Call, Info, by_custom_id, call_of, gid
from integrations.connectors.shopify.sandbox_money import (
    ZERO,
    Money,
    decimal,
    line_by_id,
    line_share,
    line_tax,
    line_total,
    money_of,
    refunded_units,
    status_of,
)
from integrations.connectors.shopify.sandbox_orders import TEMPLATES, settle
from integrations.connectors.shopify.sandbox_products import shown_variant
from integrations.connectors.shopify.sandbox_reads import (
    connection,
    counted,
    listed,
    metafield,
    metafields,
)
from integrations.connectors.shopify.sandbox_refunds import by_number
from integrations.connectors.shopify.sandbox_rows import Row, inner, rows, whole

Resolve = Callable[..., object]


def bag(amount: Decimal, currency: object) -> Row:
    money = {"amount": str(amount.quantize(Decimal("0.01")) if amount == amount.quantize(Decimal("0.01")) else amount)}
    return {name: {**money, "currencyCode": currency} for name in ("shopMoney", "presentmentMoney")}


def _sum(read: Callable[[Money], Decimal]) -> Resolve:
    return lambda order, _: bag(read(money_of(order)), order["currency"])


def _line(order: Row, line: Row) -> Row:
    """A line as its resolvers want it: with its order."""
    return {**line, "order": order}


def _refund(order: Row, refund: Row) -> Row:
    return {**refund, "order": order}


def _transaction(order: Row, row: Row | None) -> Row | None:
    return None if row is None else {**row, "order": order}


def _parent(row: Row, _: Info) -> Row | None:
    order = inner(row, "order")
    found = (one for one in rows(order, "transactions") if one["id"] == row["parent"])
    return _transaction(order, next(found, None))


def _product(line: Row, info: Info) -> object:
    call_of(info).need("read_products", "product")
    return call_of(info).shop.products.get(whole(line["product"] or 0))


def _variant(line: Row, info: Info) -> object:
    call_of(info).need("read_products", "variant")
    return shown_variant(call_of(info).shop, whole(line["variant"] or 0))


def _tax_line(order: Row, tax: Row) -> Row:
    rate = float(decimal(tax["rate"]))
    told = {"title": tax["title"], "rate": rate, "ratePercentage": rate * 100, "channelLiable": False}
    return {**told, "priceSet": bag(decimal(tax["amount"]), order["currency"])}


def _discounts(line: Row, _: Info) -> list[Row]:
    taken = decimal(line["discount"])
    return [{"allocatedAmountSet": bag(taken, inner(line, "order")["currency"])}] if taken else []


def _back(refund: Row, _: Info, **asked: object) -> object:
    """The refund's line items."""
    order = inner(refund, "order")
    return connection([_returned(order, part) for part in rows(refund, "lines")], asked)


def _returned(order: Row, part: Row) -> Row:
    line = line_by_id(order, part["line"]) or {}
    share = {"subtotalSet": line_share(line, line_total(order, line), part["quantity"])}
    share["totalTaxSet"] = line_share(line, line_tax(line), part["quantity"])
    return {
        "id": gid("RefundLineItem", part["id"]),
        "quantity": part["quantity"],
        "restockType": part["restockType"] or "NO_RESTOCK",
        "restocked": False,
        "lineItem": _line(order, line),
        **{name: bag(amount, order["currency"]) for name, amount in share.items()},
    }


def _moved(refund: Row) -> list[Row]:
    order = inner(refund, "order")
    ids = refund["transactions"] if isinstance(refund["transactions"], list) else []
    return [{**one, "order": order} for one in rows(order, "transactions") if one["id"] in ids]


def _total_refunded(refund: Row, _: Info) -> Row:
    total = sum((decimal(one["amount"]) for one in _moved(refund)), ZERO)
    return bag(total, inner(refund, "order")["currency"])


def _terms(order: Row, info: Info) -> object:
    call_of(info).need("read_payment_terms", "paymentTerms")
    return order if order["terms"] else None


def _schedules(order: Row, _: Info, **asked: object) -> object:
    terms, money = inner(order, "terms"), money_of(order)
    balance = {"amount": str(money.outstanding), "currencyCode": order["currency"]}
    done = None if money.outstanding > 0 else order["updatedAt"]
    own = {"id": gid("PaymentSchedule", terms["schedule"]), "dueAt": terms["dueAt"], "completedAt": done}
    return connection([{**own, "balanceDue": balance}], asked)


def _first(found: list[Row], asked: Mapping[str, object]) -> list[Row]:
    most = asked.get("first")
    return found[:most] if isinstance(most, int) else found


TYPES: dict[str, dict[str, Resolve]] = {
    "Order": {
        "id": lambda order, _: gid("Order", order["id"]),
        "legacyResourceId": lambda order, _: str(order["id"]),
        "closed": lambda order, _: order["closedAt"] is not None,
        "currencyCode": lambda order, _: order["currency"],
        "presentmentCurrencyCode": lambda order, _: order["currency"],
        "displayFinancialStatus": lambda order, _: status_of(order),
        "displayFulfillmentStatus": lambda *_: "UNFULFILLED",
        "unpaid": lambda order, _: not money_of(order).received,
        "fullyPaid": lambda order, _: money_of(order).outstanding <= 0,
        "totalPriceSet": _sum(lambda money: money.total),
        "totalTaxSet": _sum(lambda money: money.tax),
        "currentTotalPriceSet": _sum(lambda money: money.current),
        "totalOutstandingSet": _sum(lambda money: money.outstanding),
        "totalReceivedSet": _sum(lambda money: money.received),
        "totalRefundedSet": _sum(lambda money: money.refunded),
        "netPaymentSet": _sum(lambda money: money.received - money.refunded),
        "customer": lambda order, info: call_of(info).shop.customers.get(whole(order["customer"] or 0)),
        "lineItems": lambda order, _, **asked: connection([_line(order, one) for one in rows(order, "lines")], asked),
        "metafield": metafield,
        "metafields": metafields,
        "paymentTerms": _terms,
        "refunds": lambda order, _, **asked: _first([_refund(order, one) for one in rows(order, "refunds")], asked),
        "transactions": lambda order, _, **asked: _first(
            [{**one, "order": order} for one in rows(order, "transactions")], asked
        ),
    },
    "LineItem": {
        "id": lambda line, _: gid("LineItem", line["id"]),
        "name": lambda line, _: line["title"],
        "currentQuantity": lambda line, _: whole(line["quantity"]) - refunded_units(line["order"], line),
        "refundableQuantity": lambda line, _: whole(line["quantity"]) - refunded_units(line["order"], line),
        "product": _product,
        "variant": _variant,
        "originalUnitPriceSet": lambda line, _: bag(decimal(line["price"]), line["order"]["currency"]),
        "discountAllocations": _discounts,
        "taxLines": lambda line, _, **__: [_tax_line(line["order"], tax) for tax in rows(line, "taxLines")],
    },
    "OrderTransaction": {
        "id": lambda row, _: gid("OrderTransaction", row["id"]),
        "amountSet": lambda row, _: bag(decimal(row["amount"]), row["order"]["currency"]),
        "parentTransaction": _parent,
        "test": lambda *_: False,
    },
    "Refund": {
        "id": lambda refund, _: gid("Refund", refund["id"]),
        "legacyResourceId": lambda refund, _: str(refund["id"]),
        "refundLineItems": _back,
        "totalRefundedSet": _total_refunded,
        "transactions": lambda refund, _, **asked: connection(_moved(refund), asked),
    },
    "PaymentTerms": {
        "id": lambda order, _: gid("PaymentTerms", order["terms"]["id"]),
        "paymentTermsName": lambda *_: "Fixed",
        "paymentTermsType": lambda *_: "FIXED",
        "due": lambda *_: False,
        "overdue": lambda *_: False,
        "dueInDays": lambda *_: None,
        "paymentSchedules": _schedules,
    },
    "PaymentTermsTemplate": {"description": lambda template, _: template["name"]},
}


# -- roots


def shown(call: Call, order: Row | None) -> Row | None:
    return None if order is None or call.hides(order) else settle(call.shop, order)


def _order(_: object, info: Info, *, id: str) -> object:
    call_of(info).need("read_orders", "order")
    return shown(call_of(info), call_of(info).shop.by_gid(id, "Order"))


def _by_identifier(_: object, info: Info, *, identifier: Row) -> object:
    call = call_of(info)
    call.need("read_orders", "orderByIdentifier")
    if "id" in identifier:
        return shown(call, call.shop.by_gid(identifier["id"], "Order"))
    return shown(call, by_custom_id(call.shop, identifier["customId"], "Order"))


def _refund_by_id(_: object, info: Info, *, id: str) -> object:
    call_of(info).need("read_orders", "refund")
    return by_number(call_of(info).shop, int(id.rpartition("/")[2]))


_SORTS: dict[str, Callable[[Row], tuple[object, ...]]] = {
    "ID": lambda order: (order["id"],),
    "UPDATED_AT": lambda order: (order["updatedAt"], order["id"]),
    "CREATED_AT": lambda order: (order["createdAt"], order["id"]),
    "PROCESSED_AT": lambda order: (order["processedAt"], order["id"]),
}


def _orders(_: object, info: Info, **asked: object) -> object:
    call = call_of(info)
    call.need("read_orders", "orders")
    key = _SORTS.get(str(asked.get("sortKey", "PROCESSED_AT")), _SORTS["PROCESSED_AT"])
    return listed(_searched(call, asked.get("query")), asked, key)


def _count(_: object, info: Info, **asked: object) -> object:
    call_of(info).need("read_orders", "ordersCount")
    return counted(len(_searched(call_of(info), asked.get("query"))), asked)


def _searched(call: Call, query: object) -> list[Row]:
    if not query:
        return [settle(call.shop, order) for order in call.shop.orders.values() if not call.hides(order)]
    parsed = sandbox_search.parse(str(query), sandbox_search.ORDER_FIELDS)
    if parsed.warnings:
        call.warnings.append({"path": ["orders"], "query": query, "parsed": {}, "warnings": parsed.warnings})
    found = [order for order in call.shop.searchable("Order") if not call.hides(order)]
    return [settle(call.shop, order) for order in found if parsed.test(_search_document(order))]


def _search_document(order: Row) -> Row:
    is_open = order["closedAt"] is None and order["cancelledAt"] is None
    states = ["open" if is_open else "", "closed" if order["closedAt"] else "not_closed"]
    return {
        "id": order["id"], "name": order["name"], "customer_id": order["customer"], "created_at": order["createdAt"],
        "processed_at": order["processedAt"], "updated_at": order["updatedAt"],
        "status": " ".join([*states, "cancelled" if order["cancelledAt"] else ""]),
        "financial_status": status_of(order), "po_number": order["poNumber"],
        "source_identifier": order["sourceIdentifier"], "tags": order["tags"],
    }  # fmt: skip


QUERIES: dict[str, Resolve] = {
    "order": _order,
    "orderByIdentifier": _by_identifier,
    "orders": _orders,
    "ordersCount": _count,
    "refund": _refund_by_id,
    "paymentTermsTemplates": lambda _, info, **asked: [
        template
        for template in TEMPLATES
        if asked.get("paymentTermsType") in (None, template["paymentTermsType"]) and info is not None
    ],
}
