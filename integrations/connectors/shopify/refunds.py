"""Refunds on orders, the other shape of record in the stream of orders: how they are read, and found by their marker.

Shopify keeps no metafields on refunds, so the marker stands at the end of the note, in one spelling:
``Credit note 10460 (suture 1482019375550301201)``. A refund never changes once it is made.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from integrations.connectors.base import Answer, Wanted
from integrations.connectors.shopify.call import affordable, read
from integrations.connectors.shopify.decoding import is_number, number_of
from integrations.connectors.shopify.orders_decoding import ORDER, amount, gid, refunded_line
from integrations.connectors.shopify.orders_documents import (
    REFUND_OBJECTS,
    refund_notes_document,
    refunds_document,
)
from integrations.core.errors import VendorChanged
from integrations.core.lines import ZERO, Line, total_of
from integrations.core.records import Record
from integrations.core.values import Kind, Lines, Value, as_lines, clean_text
from integrations.toolkit import payload
from integrations.toolkit.http import Client

MARKER = "metafields.suture.cliniko_invoice_id"
KEY = "refund-"
MOST_REFUNDS = 10  # in one request
MOST_ORDERS = 25

_NOTE = re.compile(r"(?P<words>.*?)\s*\(suture (?P<marker>[^()\s]{1,200})\)", re.DOTALL)


def _untaxed(value: Value) -> str:
    return Lines.canon(tuple(replace(line, tax=ZERO) for line in as_lines(value)))


# A shop reckons the tax of what goes back by itself, as a share of the whole line's, which may be a cent off.
ReturnedLines = Kind(Lines.name, _untaxed, Lines.dump, Lines.load)


def is_refund(wish: Mapping[str, Value]) -> bool:
    """Whether a wish is for a refund: it then says of which order."""
    return bool(wish.get("refund.order"))


def note_of(words: Value, marker: Value) -> str:
    """The note that carries a marker."""
    return f"{clean_text(words)} (suture {clean_text(marker)})".strip()


def read_note(note: str) -> tuple[str, str]:
    """The words of a note, and the marker it carries or ``""``."""
    found = _NOTE.fullmatch(note.strip())
    return (found["words"], found["marker"]) if found else (note, "")


def decode_refund(row: payload.Json, fields: frozenset[str], marker: str) -> Record:
    """Raises VendorChanged for a shape that does not fit.

    The amount is what went back, absent where no money did: what a refund without money is worth is told by its lines
    alone. The lines are absent where they do not come to the amount, for then the amount was given back as such.
    """
    changed_at = payload.instant(row, "updatedAt")
    words, carried = read_note(payload.optional_text(row, "note") or "")
    order = payload.obj(row, "order", "refund")
    returned, lines = amount(row, "totalRefundedSet"), _lines(row, order)
    values: dict[str, Value] = {
        "refund.order": number_of(payload.text(order, "id", "order")),
        "refund.processedAt": payload.instant(row, "processedAt"),
        "refund.note": words or None,
        marker: carried or None,
    }
    if lines is not None and (not returned or total_of(lines) == returned):
        values["refund.lines"] = lines
    if returned:
        values["refund.amount"] = returned
    if returned or amount(order, "totalReceivedSet"):  # where nothing was received, nothing could be moved
        values["refund.moves_money"] = returned > 0
    return Record(
        key=f"{KEY}{number_of(payload.text(row, 'id'))}",
        version=changed_at.isoformat(),
        values={name: value for name, value in values.items() if name in fields},
        changed_at=changed_at,
        created_at=payload.optional_instant(row, "createdAt"),
        handles={"order_id": payload.text(order, "id", "order")},
        parents={"orders": number_of(payload.text(order, "id", "order"))},
    )


def _lines(row: payload.Json, order: payload.Json) -> tuple[Line, ...] | None:
    """The lines given back, None if there are more than came with the refund."""
    connection = payload.obj(row, "refundLineItems", "refund")
    if payload.flag(payload.obj(connection, "pageInfo", "refundLineItems"), "hasNextPage", "pageInfo"):
        return None
    is_gross = payload.flag(order, "taxesIncluded", "order")
    return tuple(
        refunded_line(payload.obj(item, "lineItem"), payload.whole(item, "quantity"), is_gross=is_gross)
        for item in payload.items(connection, "nodes", "refundLineItems")
    )


def read_refunds(client: Client, keys: Sequence[str], fields: frozenset[str], marker: str) -> dict[str, Record]:
    """Refunds by key; one that is gone is absent. Raises Rejected if one cannot be decoded."""
    found: dict[str, Record] = {}
    for start in range(0, len(keys), MOST_REFUNDS):
        some = keys[start : start + MOST_REFUNDS]
        found |= affordable(some, lambda part: _read_some(client, part, fields, marker))
    return found


def _read_some(client: Client, keys: Sequence[str], fields: frozenset[str], marker: str) -> dict[str, Record]:
    ids = {f"i{number}": gid("Refund", key.removeprefix(KEY)) for number, key in enumerate(keys)}
    answered = read(client, refunds_document(len(keys)), ids, cost=len(keys) * REFUND_OBJECTS)
    rows = {key: payload.optional_obj(answered.data, f"m{number}", "data") for number, key in enumerate(keys)}
    return {key: _decoded(row, fields, marker) for key, row in rows.items() if row is not None}


def _decoded(row: payload.Json, fields: frozenset[str], marker: str) -> Record:
    try:
        return decode_refund(row, fields, marker)
    except VendorChanged as error:
        raise payload.unreadable(error) from None


def find_refunds(client: Client, wanted: Sequence[Wanted], fields: frozenset[str], marker: str) -> dict[str, Answer]:
    """The refunds whose note carries the marker, looked for on the order they belong to."""
    carried = _notes(client, sorted(filter(is_number, {order_of(one.fields) for one in wanted})))
    keys = {one.ref: carried.get((order_of(one.fields), one.marker), ()) for one in wanted if one.marker}
    records = read_refunds(client, sorted({key for some in keys.values() for key in some}), fields | {marker}, marker)
    return {one.ref: Answer(tuple(records[key] for key in keys.get(one.ref, ()) if key in records)) for one in wanted}


def order_of(wish: Mapping[str, Value]) -> str:
    return clean_text(wish.get("refund.order"))


def _notes(client: Client, orders: Sequence[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Keys of refunds by order and marker."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for start in range(0, len(orders), MOST_ORDERS):
        found |= affordable(orders[start : start + MOST_ORDERS], lambda some: _notes_of(client, some))
    return found


def _notes_of(client: Client, orders: Sequence[str]) -> dict[tuple[str, str], tuple[str, ...]]:
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    ids = {f"i{number}": gid(ORDER, order) for number, order in enumerate(orders)}
    answered = read(client, refund_notes_document(len(orders)), ids, cost=4 * len(orders))
    for number, order in enumerate(orders):
        row = payload.optional_obj(answered.data, f"m{number}", "data") or {"refunds": []}
        for refund in payload.items(row, "refunds", "order"):
            carried = read_note(payload.optional_text(refund, "note") or "")[1]
            key = f"{KEY}{number_of(payload.text(refund, 'id'))}"
            found[order, carried] = (*found.get((order, carried), ()), key)
    return found
