"""What an order of the sandboxed shop comes to: sums of its lines, what was paid, given back, and is left to pay."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from integrations.connectors.shopify.sandbox_rows import Row, rows, whole

ZERO = Decimal(0)
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Money:
    """Where an order stands. ``current`` is the total after refunds."""

    total: Decimal
    tax: Decimal
    current: Decimal
    received: Decimal
    refunded: Decimal

    @property
    def outstanding(self) -> Decimal:
        return self.current - (self.received - self.refunded)


def money_of(order: Row) -> Money:
    lines, transactions = rows(order, "lines"), rows(order, "transactions")
    total = sum((line_total(order, line) for line in lines), ZERO)
    given = sum((refund_value(order, refund) for refund in rows(order, "refunds")), ZERO)
    return Money(
        total=total,
        tax=sum((line_tax(line) for line in lines), ZERO),
        current=total - given,
        received=_sum(transactions, ("SALE", "CAPTURE")),
        refunded=_sum(transactions, ("REFUND",)),
    )


def status_of(order: Row) -> str:
    """The status said at the create, until something happens to the order; then what its transactions make it."""
    if order.get("status"):
        return str(order["status"])
    money = money_of(order)
    if money.refunded:
        return "REFUNDED" if money.refunded >= money.received else "PARTIALLY_REFUNDED"
    if money.received or not money.total:
        return "PAID" if money.outstanding <= 0 else "PARTIALLY_PAID"
    if order["cancelledAt"]:
        return "VOIDED"
    kinds = {transaction["kind"] for transaction in rows(order, "transactions")}
    return "AUTHORIZED" if "AUTHORIZATION" in kinds else "PENDING"


def line_total(order: Row, line: Row) -> Decimal:
    """Tax included."""
    net = decimal(line["price"]) * whole(line["quantity"]) - decimal(line["discount"])
    return net if order["taxesIncluded"] else net + line_tax(line)


def line_tax(line: Row) -> Decimal:
    return sum((decimal(tax["amount"]) for tax in rows(line, "taxLines")), ZERO)


def line_share(line: Row, amount: Decimal, quantity: object) -> Decimal:
    """The part of an amount of the whole line that so many units of it are."""
    return (amount * whole(quantity) / whole(line["quantity"])).quantize(_CENT, ROUND_HALF_UP)


def refund_value(order: Row, refund: Row) -> Decimal:
    """What a refund takes off an order: the money that went back, else what its lines are worth."""
    ids = refund["transactions"] if isinstance(refund["transactions"], list) else []
    moved = _sum([one for one in rows(order, "transactions") if one["id"] in ids], ("REFUND",))
    return moved or sum((_units_value(order, part) for part in rows(refund, "lines")), ZERO)


def _units_value(order: Row, part: Row) -> Decimal:
    line = line_by_id(order, part["line"]) or {}
    return line_share(line, line_total(order, line), part["quantity"])


def line_by_id(order: Row, number: object) -> Row | None:
    return next((line for line in rows(order, "lines") if line["id"] == number), None)


def refunded_units(order: Row, line: Row) -> int:
    parts = (part for refund in rows(order, "refunds") for part in rows(refund, "lines"))
    return sum(whole(part["quantity"]) for part in parts if part["line"] == line["id"])


def left_of(order: Row, transaction: Row) -> Decimal:
    """What was not given back of a payment."""
    given = (one for one in rows(order, "transactions") if one["parent"] == transaction["id"])
    return decimal(transaction["amount"]) - _sum(given, ("REFUND",))


def _sum(transactions: Iterable[Row], kinds: tuple[str, ...]) -> Decimal:
    done = (one for one in transactions if one["kind"] in kinds and one["status"] == "SUCCESS")
    return sum((decimal(one["amount"]) for one in done), ZERO)


def decimal(value: object) -> Decimal:
    return Decimal(str(value or 0))
