"""Making refunds. Each reads its order first: what is left to refund, what was received, and whether it is there.

Money goes back only where the wish says so and something was received, to the payments it came from. Units go back
where the order has items that cost just what the refund's lines say; otherwise the amount goes back as such. Nothing is
ever put back on a shelf, and nobody is written to.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from integrations.connectors.base import WriteItem, Written
from integrations.connectors.shopify import order_refusals
from integrations.connectors.shopify.call import affordable, read
from integrations.connectors.shopify.decoding import is_number, number_of
from integrations.connectors.shopify.once import PREVIOUS_ATTEMPT_FAILED
from integrations.connectors.shopify.order_lines import Sold, spread
from integrations.connectors.shopify.orders_decoding import ORDER, amount, gid, line_of
from integrations.connectors.shopify.orders_documents import (
    REFUND_SHAPES,
    OrderStep,
    refund_selection,
    refundable_document,
)
from integrations.connectors.shopify.orders_whole import with_all_lines
from integrations.connectors.shopify.passes import stamp
from integrations.connectors.shopify.refunds import (
    KEY,
    decode_refund,
    note_of,
    order_of,
    read_note,
    read_refunds,
)
from integrations.connectors.shopify.repeats import keyed, send_once
from integrations.connectors.shopify.steps import Job, Run, Writer
from integrations.core.errors import RecordError, Rejected, SyncError
from integrations.core.lines import ZERO, to_cents
from integrations.core.values import as_lines, clean_text
from integrations.toolkit import payload
from integrations.toolkit.http import Client

_MOST_ORDERS = 10  # in one request
_ORDER_POINTS = 25
_TURNS = 5  # keys that one attempt may use up


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that came in by one transaction, and what is left of it."""

    id: str
    gateway: str
    left: Decimal


@dataclass(frozen=True, slots=True)
class Refundable:
    """An order as a refund sees it. ``made`` are the keys of refunds by the marker they carry."""

    id: str
    total: Decimal
    sold: tuple[Sold, ...]
    payments: tuple[Payment, ...]
    made: Mapping[str, str]

    @property
    def left(self) -> Decimal:
        """What was received and not given back."""
        return sum((payment.left for payment in self.payments), ZERO)


def write_refunds(
    client: Client, items: Sequence[WriteItem], fields: frozenset[str], marker: str
) -> dict[str, Written]:
    """One outcome an item. Those of one order are made one after the other, each from what the last one left.

    Raises what concerns the connection only when nothing was written.
    """
    outcomes = {item.ref: Written(item.ref, item.current) for item in items if item.current is not None}
    for some in _rounds([item for item in items if item.current is None]):
        try:
            outcomes |= _make(client, some, fields | {marker}, marker)
        except SyncError as error:
            if not outcomes:
                raise
            outcomes |= {item.ref: Written(item.ref, error=error) for item in some}
    return outcomes


def _rounds(items: Sequence[WriteItem]) -> Iterator[list[WriteItem]]:
    """Items of different orders, at most so many as one look-up takes."""
    left = list(items)
    while left:
        chosen: dict[str, WriteItem] = {}
        for item in left:
            if len(chosen) < _MOST_ORDERS:
                chosen.setdefault(order_of(item.wanted), item)
        left = [item for item in left if item not in chosen.values()]
        yield list(chosen.values())


def _make(client: Client, items: Sequence[WriteItem], fields: frozenset[str], marker: str) -> dict[str, Written]:
    outcomes: dict[str, Written] = {}
    jobs: list[Job] = []
    orders = _refundables(client, [order_of(item.wanted) for item in items])
    for item in items:
        order = orders.get(order_of(item.wanted))
        key = order.made.get(clean_text(item.wanted.get(marker))) if order else None
        if key is not None:  # made by an attempt whose answer was lost
            outcomes[item.ref] = Written(item.ref, read_refunds(client, [key], fields, marker).get(key))
            continue
        try:
            jobs.append(_job(item, order, marker))
        except RecordError as error:
            outcomes[item.ref] = Written(item.ref, error=error)
    run = Run(client, _writer(marker), refund_selection(fields), marker)
    return outcomes | send_once(jobs, run.all, is_spent=_is_spent, turns=_TURNS)


def _is_spent(error: SyncError) -> bool:
    """A key whose first use failed does nothing for a day. One that had another input may have made a refund."""
    return error.facts.get("vendor_code") == PREVIOUS_ATTEMPT_FAILED


def _writer(marker: str) -> Writer:
    return Writer(
        "Refunds",
        REFUND_SHAPES,
        lambda _job, result, _, selected: decode_refund(payload.obj(result, "refund"), selected.fields, marker),
        lambda errors, job, _: order_refusals.refused(errors, job.step, marks=False),
    )


# -- the order a refund belongs to


def _refundables(client: Client, orders: Sequence[str]) -> dict[str, Refundable]:
    asked = [order for order in orders if is_number(order)]
    return affordable(asked, lambda some: _look_at(client, some)) if asked else {}


def _look_at(client: Client, orders: Sequence[str]) -> dict[str, Refundable]:
    ids = {f"i{number}": gid(ORDER, order) for number, order in enumerate(orders)}
    answered = read(client, refundable_document(len(orders)), ids, cost=len(orders) * _ORDER_POINTS)
    found: dict[str, Refundable] = {}
    for number, order in enumerate(orders):
        row = payload.optional_obj(answered.data, f"m{number}", "data")
        if row is not None:
            found[order] = _refundable(with_all_lines(client, row))
    return found


def _refundable(row: payload.Json) -> Refundable:
    is_gross = payload.flag(row, "taxesIncluded")
    lines = payload.items(payload.obj(row, "lineItems"), "nodes", "lineItems")
    notes = (
        (refund, read_note(payload.optional_text(refund, "note") or "")[1]) for refund in payload.items(row, "refunds")
    )
    return Refundable(
        id=payload.text(row, "id"),
        total=amount(row, "totalPriceSet"),
        sold=tuple(_sold(item, is_gross=is_gross) for item in lines),
        payments=_payments(payload.items(row, "transactions")),
        made={carried: f"{KEY}{number_of(payload.text(refund, 'id'))}" for refund, carried in notes if carried},
    )


def _sold(item: payload.Json, *, is_gross: bool) -> Sold:
    whole = line_of(item, is_gross=is_gross)
    price = whole.total / whole.quantity if whole.quantity else ZERO
    refundable = payload.whole(item, "refundableQuantity", "lineItems")
    return Sold(payload.text(item, "id"), whole.product, whole.title, whole.rate, refundable, price)


def _payments(transactions: Sequence[payload.Json]) -> tuple[Payment, ...]:
    """What came in and was not given back. Money came in by SALE and CAPTURE, and only where it succeeded."""
    given: dict[str, Decimal] = {}
    for one in transactions:
        if one.get("kind") in ("REFUND", "CHANGE") and one.get("status") in ("SUCCESS", "PENDING"):
            parent = payload.optional_obj(one, "parentTransaction")
            source = "" if parent is None else payload.text(parent, "id", "parentTransaction")
            given[source] = given.get(source, ZERO) + amount(one, "amountSet")
    payments: list[Payment] = []
    for one in transactions:
        if one.get("kind") in ("SALE", "CAPTURE") and one.get("status") == "SUCCESS":
            source = payload.text(one, "id", "transactions")
            left = amount(one, "amountSet") - given.pop(source, ZERO)
            unnamed = min(left, given.get("", ZERO))  # given back without saying of which payment
            given[""] = given.get("", ZERO) - unnamed
            payments.append(Payment(source, payload.optional_text(one, "gateway") or "manual", left - unnamed))
    return tuple(payments)


# -- what is sent


def _job(item: WriteItem, order: Refundable | None, marker: str) -> Job:
    """Raises Rejected for what the order does not bear."""
    if order is None:
        raise Rejected("shopify.order_gone", field="refund.order", look_again=True)
    return keyed(Job(item, OrderStep.REFUND, {"i": _input(item, order, marker)}))


def _input(item: WriteItem, order: Refundable, marker: str) -> dict[str, object]:
    wish = item.wanted
    value = wish.get("refund.amount")
    wished = to_cents(value) if isinstance(value, Decimal) else ZERO
    is_paid_back = wish.get("refund.moves_money") is True and bool(order.payments) and wished > 0
    if wished > (order.left if is_paid_back else order.total):
        raise Rejected("shopify.refund_exceeds", field="refund.amount")
    items = _items(item, order)
    if not items and not is_paid_back:
        raise Rejected("shopify.refund_unmatched", field="refund.lines")
    made: dict[str, object] = {
        "orderId": order.id,
        "note": note_of(wish.get("refund.note"), wish.get(marker)),
        "notify": False,
    }
    if isinstance(at := wish.get("refund.processedAt"), datetime):
        made["processedAt"] = stamp(at)
    if items:
        made["refundLineItems"] = items
    if is_paid_back:
        made["transactions"] = _transactions(order, wished)
    return made


def _items(item: WriteItem, order: Refundable) -> list[dict[str, object]]:
    """Line by line, each from what the lines before it left. A line that fits no items is left to the amount."""
    left = {sold.id: sold for sold in order.sold}
    taken: dict[str, int] = {}
    for line in as_lines(item.wanted.get("refund.lines")):
        for name, count in (spread(line, tuple(left.values())) or {}).items():
            taken[name] = taken.get(name, 0) + count
            left[name] = left[name].without(count)
    return [{"lineItemId": name, "quantity": count, "restockType": "NO_RESTOCK"} for name, count in taken.items()]


def _transactions(order: Refundable, wished: Decimal) -> list[dict[str, object]]:
    """The amount, taken from one payment after the other."""
    made: list[dict[str, object]] = []
    for payment in order.payments:
        part = min(payment.left, wished)
        if part > 0:
            told = {"kind": "REFUND", "gateway": payment.gateway, "parentId": payment.id, "amount": str(to_cents(part))}
            made.append({"orderId": order.id, **told})
            wished -= part
    return made
