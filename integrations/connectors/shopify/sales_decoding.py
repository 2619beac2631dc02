"""What an order moved in stock, read into Records: units sold go down, units that came back to the shelf go up.

Sold is what was placed: what was taken off or given back since is told by the refunds, and goes up only where the
merchant said that it was restocked. Pure.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from integrations.connectors.shopify.decoding import number_of
from integrations.connectors.shopify.orders_decoding import product_of
from integrations.core.errors import SyncError, VendorChanged
from integrations.core.records import Record
from integrations.core.values import Value
from integrations.toolkit import payload
from integrations.toolkit.payload import Json

SOLD, RETURNED = "Item Sold", "Returned"
RESTOCKED = frozenset({"RETURN", "CANCEL"})

_IMPORTED = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Returned:
    """One row of a refund, and the refund it stands in."""

    refund: Json
    row: Json


@dataclass(slots=True)
class Movements:
    """What moved, and what could not be read: (key, error)."""

    records: dict[str, Record] = field(default_factory=dict)
    broken: dict[str, SyncError] = field(default_factory=dict)


def decode_head(order: Json) -> Record:
    """The order without what it moved. Raises VendorChanged for a shape that does not fit."""
    changed_at = payload.instant(order, "updatedAt")
    return Record(
        key=number_of(payload.text(order, "id")),
        version=changed_at.isoformat(),
        values={"order": payload.text(order, "name")},
        changed_at=changed_at,
        created_at=payload.instant(order, "createdAt"),
    )


def moves_stock(order: Json) -> bool:
    """Whether the shop sold this itself: no test, and not made from an invoice, which moved the practice's stock already.

    An order made from an invoice carries the invoice's number as its marker, and as ``sourceIdentifier`` for the day that
    somebody deletes the marker. Tills and other channels put their receipts there (``1234-12-1000``): those are sales.
    """
    marker = payload.optional_obj(order, "f0") or {}
    is_marked = bool(payload.optional_text(marker, "value", "metafield"))
    is_imported = bool(_IMPORTED.fullmatch(payload.optional_text(order, "sourceIdentifier") or ""))
    return not (is_marked or is_imported or payload.flag(order, "test"))


def decode_movements(order: Json, returned: Iterable[Returned]) -> Movements:
    """Every movement of an order that has all its lines, and of what its refunds gave back.

    A line without a product moved no stock that anybody could name: a tip, a fee, a product deleted since. Raises
    VendorChanged where the order as a whole does not fit; a line that does not is among the broken.
    """
    head, found = decode_head(order), Movements()
    for unit in (*_sold(head, order), *_returned(head, returned)):
        try:
            record = _movement(head, unit)
        except VendorChanged as error:
            found.broken[unit.key] = payload.unreadable(error)
            continue
        if record is not None:
            before = found.records.get(unit.key)
            found.records[unit.key] = record if before is None or unit.is_named else _both(before, record)
    return found


@dataclass(frozen=True, slots=True)
class _Unit:
    """One movement before it is read. ``row`` has the quantity, ``line`` the product; ``is_named`` if the key is the
    row's own."""

    key: str
    movement: str
    row: Json
    line: Json
    at: datetime | None
    is_named: bool = True


def _sold(head: Record, order: Json) -> Iterator[_Unit]:
    for item in payload.items(payload.obj(order, "lineItems"), "nodes", "lineItems"):
        key = f"{head.key}-{number_of(payload.text(item, 'id', 'lineItems'))}"
        yield _Unit(key, SOLD, item, item, head.created_at)


def _returned(head: Record, returned: Iterable[Returned]) -> Iterator[_Unit]:
    """A row may have no id; its refund and its line then name it, and such rows of one line are added up."""
    for one in returned:
        if payload.text(one.row, "restockType", "refundLineItems") in RESTOCKED:
            line = payload.obj(one.row, "lineItem", "refundLineItems")
            own = payload.optional_text(one.row, "id", "refundLineItems")
            parts = [own] if own else [payload.text(one.refund, "id"), payload.text(line, "id", "lineItem")]
            key = "-".join((head.key, "r", *map(number_of, parts)))
            yield _Unit(key, RETURNED, one.row, line, _made_at(one.refund), is_named=bool(own))


def _made_at(refund: Json) -> datetime:
    return payload.optional_instant(refund, "createdAt") or payload.instant(refund, "processedAt", "refunds")


def _movement(head: Record, unit: _Unit) -> Record | None:
    quantity, product = payload.whole(unit.row, "quantity", "lineItems"), product_of(unit.line)
    if not quantity or not product:
        return None
    values: dict[str, Value] = {
        "product": product,
        "quantity": Decimal(-quantity if unit.movement == SOLD else quantity),
        "movement": unit.movement,
        "order": head.values["order"],
    }
    parents = {"orders": head.key, "products": product}
    return replace(head, key=unit.key, values=values, created_at=unit.at, parents=parents)


def _both(one: Record, other: Record) -> Record:
    quantities = (record.values["quantity"] for record in (one, other))
    total = sum((number for number in quantities if isinstance(number, Decimal)), Decimal(0))
    return replace(one, values={**one.values, "quantity": total})
