"""How the sandboxed shop makes and changes orders: (shop, arguments) -> payload, as in ``sandbox_writes.py``."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import UTC, datetime

from integrations.connectors.sandbox_kit import Response, json_response
from integrations.connectors.shopify.sandbox_call import gid
from integrations.connectors.shopify.sandbox_money import decimal, money_of, status_of
from integrations.connectors.shopify.sandbox_rows import Complaint, Row, complaint, inner, number_in, rows, whole
from integrations.connectors.shopify.sandbox_shop import Shop

TEMPLATES: Sequence[Row] = (
    {"id": gid("PaymentTermsTemplate", 1), "name": "Due on receipt", "paymentTermsType": "RECEIPT", "dueInDays": None},
    {"id": gid("PaymentTermsTemplate", 4), "name": "Net 30", "paymentTermsType": "NET", "dueInDays": 30},
    {"id": gid("PaymentTermsTemplate", 7), "name": "Fixed", "paymentTermsType": "FIXED", "dueInDays": None},
)
Act = Callable[[Shop, Row], Row]


def edit(shop: Shop, key: int, given: Row) -> Row:
    """Raises KeyError for an order that is not there."""
    return shop.store({**deepcopy(shop.orders[key]), **given})


def orders_admin(shop: Shop, method: str, rest: Sequence[str], given: Row) -> Response | None:
    """The edits of ``sandbox.py`` that concern orders."""
    match method, rest:
        case "GET", ["orders"]:
            return json_response(200, {"orders": [told(order) for order in shop.orders.values()]})
        case "PATCH", ["orders", key]:
            return json_response(200, {"order": told(edit(shop, int(key), given))})
        case _:
            return None


def told(order: Row) -> Row:
    """An order as kept, with the money as it stands."""
    money = money_of(order)
    sums = {"total": money.total, "tax": money.tax, "outstanding": money.outstanding, "received": money.received}
    return {**order, "status": status_of(order), **{name: str(amount) for name, amount in sums.items()}}


# -- orderCreate


def _create(shop: Shop, given: Row) -> Row:
    wish = inner(given, "order")
    stamp, number = shop.stamp(), 1001 + len(shop.orders)
    order: Row = {
        "id": 0, "kind": "Order", "name": wish.get("name") or f"#{number}", "number": number, "test": bool(wish.get("test")),
        "createdAt": stamp, "updatedAt": stamp, "processedAt": min(_instant(wish.get("processedAt")) or stamp, stamp),
        "closedAt": _instant(wish.get("closedAt")), "cancelledAt": None, "cancelReason": None, "cancelsAt": None,
        "currency": wish.get("currency") or shop.settings.currency, "taxesIncluded": bool(wish.get("taxesIncluded")),
        "customer": None, "poNumber": wish.get("poNumber"), "note": wish.get("note"),
        "tags": wish.get("tags") or [], "sourceIdentifier": wish.get("sourceIdentifier"),
        "sourceName": wish.get("sourceName"), "metafields": {}, "lines": [], "transactions": [], "refunds": [],
        "terms": None, "status": wish.get("financialStatus"),
    }  # fmt: skip
    complaints = [*_customer(shop, order, wish), *_lines(shop, order, wish), *_payments(shop, order, wish)]
    complaints += shop.set_metafields(order, rows(wish, "metafields"), ("order", "metafields"))
    if len(str(order["note"] or "")) > 5000:
        complaints.append(complaint(("order", "note"), "Note is too long (maximum is 5000 characters)"))
    if complaints:
        return {"order": None, "userErrors": [{"code": "INVALID", **one} for one in complaints]}
    order["id"] = shop.next_id()
    return {"order": shop.store(order), "userErrors": []}


def _customer(shop: Shop, order: Row, wish: Row) -> list[Complaint]:
    if wish.get("customerId") and wish.get("customer"):
        said = complaint(("order", "customerId"), "Only one of customer and customerId may be given")
        return [{**said, "code": "REDUNDANT_CUSTOMER_FIELDS"}]
    wanted = inner(inner(wish, "customer"), "toAssociate")
    if not wanted:
        return []
    row = shop.by_gid(wanted["id"]) if wanted.get("id") else shop.by_email(str(wanted.get("email")))
    if row is None:
        return [complaint(("order", "customer", "toAssociate", "id"), "Customer does not exist")]
    order["customer"] = row["id"]
    return []


def _lines(shop: Shop, order: Row, wish: Row) -> list[Complaint]:
    given = rows(wish, "lineItems")
    complaints: list[Complaint] = []
    if not given:
        complaints.append(complaint(("order", "lineItems"), "Line items must have at least one line item"))
    if wish.get("taxLines") and any(line.get("taxLines") for line in given):
        said = "Tax lines can be specified on the order or the line items but not both"
        complaints.append(complaint(("order", "taxLines"), said))
    made: list[Row] = []
    for number, line in enumerate(given):
        path = ("order", "lineItems", str(number))
        complaints += _line_complaints(shop, order, line, path)
        if not complaints:
            made.append(_line(shop, line))
    order["lines"] = made
    return complaints


def _line_complaints(shop: Shop, order: Row, line: Row, path: tuple[str, ...]) -> list[Complaint]:
    product = shop.product_of(number_in(line["variantId"])) if line.get("variantId") else None
    taxes = rows(line, "taxLines")
    money = [inner(inner(part, "priceSet"), "shopMoney") for part in (line, *taxes)]
    checks = (
        (line.get("variantId") and product is None, "variantId", "Variant does not exist"),
        (not line.get("variantId") and not str(line.get("title") or "").strip(), "title", "Title can't be blank"),
        (whole(line["quantity"]) < 1, "quantity", "Quantity must be greater than 0"),
        (any(decimal(one.get("amount")) < 0 for one in money), "priceSet", "Price must not be negative"),
        (any(one and one["currencyCode"] != order["currency"] for one in money), "priceSet", "Currency differs"),
        (
            decimal(sum(decimal(one.get("amount")) for one in money[1:])) and not line["taxable"],
            "taxLines",
            "Not taxable",
        ),
    )
    found = [complaint((*path, member), message) for is_wrong, member, message in checks if is_wrong]
    if any(not str(tax["rate"]).strip() for tax in taxes):
        said = complaint((*path, "taxLines"), "Tax line rate is missing")
        found.append({**said, "code": "TAX_LINE_RATE_MISSING"})
    return found


def _line(shop: Shop, given: Row) -> Row:
    product = shop.product_of(number_in(given["variantId"])) if given.get("variantId") else None
    taxes = [
        {"title": tax["title"], "rate": str(tax["rate"]), "amount": _amount(tax)} for tax in rows(given, "taxLines")
    ]
    return {
        "id": shop.next_id(), "quantity": given["quantity"], "price": _amount(given), "discount": "0",
        "title": product["title"] if product else str(given["title"]).strip(), "taxLines": taxes,
        "variant": number_in(given["variantId"]) if product else None, "product": product["id"] if product else None,
        "taxable": given["taxable"], "requiresShipping": given["requiresShipping"],
    }  # fmt: skip


def _payments(shop: Shop, order: Row, wish: Row) -> list[Complaint]:
    made = []
    for given in rows(wish, "transactions"):
        at = _instant(given.get("processedAt")) or order["processedAt"]
        money = inner(inner(given, "amountSet"), "shopMoney")
        made.append(transaction(shop, str(given["kind"]), str(money["amount"]), str(given.get("gateway") or ""), at=at))
        made[-1]["status"] = given["status"]
    order["transactions"] = made
    return []


def transaction(shop: Shop, kind: str, amount: str, gateway: str, *, at: object = None, parent: object = None) -> Row:
    return {
        "id": shop.next_id(), "kind": kind, "status": "SUCCESS", "gateway": gateway or None, "amount": amount,
        "parent": parent, "processedAt": at or shop.stamp(), "createdAt": shop.stamp(),
    }  # fmt: skip


def _amount(given: Row) -> str:
    return str(inner(inner(given, "priceSet"), "shopMoney").get("amount") or "0")


# -- changes


def _change(path: str, act: Callable[[Shop, Row, Row], Sequence[Complaint]]) -> Act:
    """Finds the order that ``path`` of the arguments names, changes a copy, and keeps it if nothing was said."""

    def change(shop: Shop, given: Row) -> Row:
        outer, _, name = path.rpartition(".")
        order = deepcopy(shop.by_gid((inner(given, outer) if outer else given)[name], "Order"))
        if order is None:
            return {"userErrors": [{**complaint(path.split("."), "Order does not exist"), "code": "NOT_FOUND"}]}
        settle(shop, order)
        complaints = act(shop, order, given)
        return {"order": None if complaints else shop.store(order), "userErrors": complaints}

    return change


def _update(shop: Shop, order: Row, given: Row) -> Sequence[Complaint]:
    wish = inner(given, "input")
    order |= {name: wish[name] or None for name in ("note", "poNumber") if name in wish}
    if "tags" in wish:
        order["tags"] = wish["tags"]
    return shop.set_metafields(order, rows(wish, "metafields"), ("input", "metafields"))


def _set_customer(shop: Shop, order: Row, given: Row) -> Sequence[Complaint]:
    row = shop.by_gid(given["customerId"])
    if row is None:
        return [{**complaint(("customerId",), "Customer does not exist"), "code": "NOT_FOUND"}]
    order["customer"] = row["id"]
    return []


def _mark_paid(shop: Shop, order: Row, _given: Row) -> Sequence[Complaint]:
    left = money_of(order).outstanding
    if left <= 0 or order["cancelledAt"] or status_of(order) == "PAID":
        return [complaint(("id",), "Order cannot be marked as paid.")]
    order["status"] = None
    order["transactions"] = [*rows(order, "transactions"), transaction(shop, "SALE", str(left), "manual")]
    return []


def _close(shop: Shop, order: Row, _given: Row) -> Sequence[Complaint]:
    order["closedAt"] = order["closedAt"] or shop.stamp()
    return []


def _open(_shop: Shop, order: Row, _given: Row) -> Sequence[Complaint]:
    order["closedAt"] = None
    return []


def _cancel(shop: Shop, given: Row) -> Row:
    order = deepcopy(shop.by_gid(given["orderId"], "Order"))
    if order is None:
        return {"orderCancelUserErrors": [{**complaint(("orderId",), "Order does not exist"), "code": "NOT_FOUND"}]}
    settle(shop, order)
    if order["cancelledAt"] or order["cancelsAt"]:
        said = {**complaint(("orderId",), "Cannot cancel an order that has already been cancelled"), "code": "INVALID"}
        return {"orderCancelUserErrors": [said], "userErrors": []}
    order |= {"cancelsAt": shop.now() + shop.settings.cancel_takes_s, "cancelReason": given["reason"]}
    if inner(given, "refundMethod").get("originalPaymentMethodsRefund"):
        order["refundsOnCancel"] = True
    settle(shop, order)
    shop.store(order)
    return {"job": {"id": gid("Job", shop.next_id()), "done": False}, "orderCancelUserErrors": []}


def settle(shop: Shop, order: Row) -> Row:
    """Finishes a cancelling whose time has come."""
    due = order.get("cancelsAt")
    if order["cancelledAt"] is None and isinstance(due, float) and due <= shop.now():
        stamp = shop.stamp()
        order |= {"cancelledAt": stamp, "closedAt": order["closedAt"] or stamp, "updatedAt": stamp, "status": None}
        if order.pop("refundsOnCancel", None):
            paid = [one for one in rows(order, "transactions") if one["kind"] in ("SALE", "CAPTURE")]
            back = [
                transaction(shop, "REFUND", str(one["amount"]), str(one["gateway"]), parent=one["id"]) for one in paid
            ]
            order["transactions"] = [*rows(order, "transactions"), *back]
    return order


# -- payment terms


def _terms_create(shop: Shop, given: Row) -> Row:
    order = deepcopy(shop.by_gid(given["referenceId"], "Order"))
    wish = inner(given, "paymentTermsAttributes")
    said = "Cannot create payment terms on an Order that has already been paid in full."
    if order is None or order["terms"] or money_of(order).outstanding <= 0:
        told = said if order else "Could not find order."
        code = "PAYMENT_TERMS_CREATION_UNSUCCESSFUL"
        return {"userErrors": [{**complaint(("referenceId",), told), "code": code}]}
    return _agree(shop, order, {"id": shop.next_id()}, wish, "PAYMENT_TERMS_CREATION_UNSUCCESSFUL")


def _terms_update(shop: Shop, given: Row) -> Row:
    wish = inner(given, "input")
    order = deepcopy(_by_terms(shop, wish["paymentTermsId"]))
    code = "PAYMENT_TERMS_UPDATE_UNSUCCESSFUL"
    if order is None or money_of(order).outstanding <= 0:
        return {"userErrors": [{**complaint(("input",), "Could not find payment terms."), "code": code}]}
    return _agree(shop, order, inner(order, "terms"), inner(wish, "paymentTermsAttributes"), code)


def _agree(shop: Shop, order: Row, terms: Row, wish: Row, code: str) -> Row:
    template = next((one for one in TEMPLATES if one["id"] == wish.get("paymentTermsTemplateId")), None)
    schedules = rows(wish, "paymentSchedules")
    due = _instant(schedules[0].get("dueAt")) if schedules else None
    if template is None or (template["paymentTermsType"] == "FIXED" and due is None):
        return {"userErrors": [{**complaint(("paymentTermsAttributes",), "A due date is required."), "code": code}]}
    order["terms"] = {**terms, "template": template["id"], "dueAt": due, "schedule": shop.next_id()}
    shop.store(order)
    return {"paymentTerms": order, "userErrors": []}


def _terms_delete(shop: Shop, given: Row) -> Row:
    wanted = inner(given, "input")["paymentTermsId"]
    order = deepcopy(_by_terms(shop, wanted))
    if order is None:
        code = "PAYMENT_TERMS_DELETE_UNSUCCESSFUL"
        return {"userErrors": [{**complaint(("input",), "Could not find payment terms."), "code": code}]}
    shop.store({**order, "terms": None})
    return {"deletedId": wanted, "userErrors": []}


def _by_terms(shop: Shop, terms: object) -> Row | None:
    found = (row for row in shop.orders.values() if gid("PaymentTerms", inner(row, "terms").get("id")) == terms)
    return next(found, None)


# -- small things


def _instant(given: object) -> str | None:
    """In the shop's one spelling."""
    if not given:
        return None
    return datetime.fromisoformat(str(given)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


MUTATIONS: dict[str, Act] = {
    "orderCreate": _create,
    "orderUpdate": _change("input.id", _update),
    "orderCustomerSet": _change("orderId", _set_customer),
    "orderMarkAsPaid": _change("input.id", _mark_paid),
    "orderClose": _change("input.id", _close),
    "orderOpen": _change("input.id", _open),
    "orderCancel": _cancel,
    "paymentTermsCreate": _terms_create,
    "paymentTermsUpdate": _terms_update,
    "paymentTermsDelete": _terms_delete,
}
