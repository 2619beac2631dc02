"""How the sandboxed shop refunds: never more units than are left of a line, never more money than came in."""

from collections.abc import Sequence
from copy import deepcopy
from decimal import Decimal

from integrations.connectors.shopify.sandbox_money import (
    ZERO,
    decimal,
    left_of,
    line_by_id,
    money_of,
    refunded_units,
)
from integrations.connectors.shopify.sandbox_orders import settle, transaction
from integrations.connectors.shopify.sandbox_rows import Complaint, Row, complaint, inner, number_in, rows, whole
from integrations.connectors.shopify.sandbox_shop import Shop


def create(shop: Shop, given: Row) -> Row:
    """``refundCreate``. ``made`` is the refund's number, for the key's sake."""
    wish = inner(given, "input")
    order = deepcopy(shop.by_gid(wish["orderId"], "Order"))
    if order is None:
        return {"userErrors": [complaint(("orderId",), "Order does not exist")]}
    settle(shop, order)
    complaints = [*_line_complaints(order, wish), *_money_complaints(order, wish)]
    if not rows(wish, "refundLineItems") and not rows(wish, "transactions"):
        complaints.append(complaint(("input",), "Refund must have line items or transactions"))
    if complaints:
        return {"userErrors": complaints}
    moved = [_back(shop, one) for one in rows(wish, "transactions")]
    lines = [_line(shop, one) for one in rows(wish, "refundLineItems")]
    refund: Row = {
        "id": shop.next_id(), "createdAt": shop.stamp(), "updatedAt": shop.stamp(), "note": wish.get("note"),
        "processedAt": wish.get("processedAt") or shop.stamp(), "lines": lines,
        "transactions": [one["id"] for one in moved],
    }  # fmt: skip
    order["transactions"] = [*rows(order, "transactions"), *moved]
    order["refunds"] = [*rows(order, "refunds"), refund]
    order["status"] = None
    shop.store(order)
    return again(shop, {"made": refund["id"]})


def _line(shop: Shop, given: Row) -> Row:
    told = {"quantity": given["quantity"], "restockType": given.get("restockType")}
    return {"id": shop.next_id(), "line": number_in(given["lineItemId"]), **told}


def again(shop: Shop, first: Row) -> Row:
    """The answer for a refund that is there, from what is there now."""
    found = by_number(shop, first["made"])
    return {"refund": found, "order": found["order"] if found else None, "userErrors": [], "made": first["made"]}


def by_number(shop: Shop, number: object) -> Row | None:
    """A refund with its order."""
    for order in shop.orders.values():
        for refund in rows(order, "refunds"):
            if refund["id"] == number:
                return {**refund, "order": order}
    return None


def _line_complaints(order: Row, wish: Row) -> Sequence[Complaint]:
    complaints = []
    for number, one in enumerate(rows(wish, "refundLineItems")):
        line = line_by_id(order, number_in(one["lineItemId"]))
        path = ("refundLineItems", str(number), "quantity")
        if line is None:
            complaints.append(complaint(path, "Line item does not exist"))
        elif whole(one["quantity"]) > whole(line["quantity"]) - refunded_units(order, line):
            complaints.append(complaint(path, "Quantity cannot refund more items than were purchased"))
    return complaints


def _money_complaints(order: Row, wish: Row) -> Sequence[Complaint]:
    given = rows(wish, "transactions")
    asked = sum((decimal(one["amount"]) for one in given), ZERO)
    money = money_of(order)
    if asked > money.received - money.refunded and not wish.get("allowOverRefunding"):
        return [complaint(("transactions",), "Refund amount cannot be greater than the net payments on the order")]
    wrong = [one for one in given if one["kind"] != "REFUND" or _left(order, one) < decimal(one["amount"])]
    return [complaint(("transactions",), "Transaction's parent does not cover the amount")] if wrong else []


def _left(order: Row, given: Row) -> Decimal:
    parent = next((one for one in rows(order, "transactions") if one["id"] == number_in(given.get("parentId"))), None)
    return ZERO if parent is None or parent["gateway"] != given["gateway"] else left_of(order, parent)


def _back(shop: Shop, given: Row) -> Row:
    parent = number_in(given.get("parentId"))
    return transaction(shop, "REFUND", str(given["amount"]), str(given["gateway"]), parent=parent)
