"""Shopify's orders as a stream, with the refunds on them. Facts and their sources: README.md beside this file.

An order's key is its number, a refund's is ``refund-`` and its number; a wish is for a refund if it names an order in
``refund.order``. Orders are found by their marker, which does not use the search index, refunds by the marker in the
notes of their order's refunds.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from integrations.connectors.base import Answer, Ask, Field, Page, Stream, Wanted
from integrations.connectors.shopify.call import affordable, read
from integrations.connectors.shopify.decoding import number_of
from integrations.connectors.shopify.links import admin_page
from integrations.connectors.shopify.lists import Listing, decoded, read_by_id, read_list, slices
from integrations.connectors.shopify.markers import OPEN_FIELDS, custom_id, define, with_definition
from integrations.connectors.shopify.operations import Selection, find_document
from integrations.connectors.shopify.orders_decoding import Payment, as_dated, decode_order
from integrations.connectors.shopify.orders_documents import ORDERS_BY_NAME, REFUND, order_selection
from integrations.connectors.shopify.orders_whole import with_all_lines
from integrations.connectors.shopify.orders_writing import write_many
from integrations.connectors.shopify.refunds import (
    KEY,
    MARKER,
    ReturnedLines,
    decode_refund,
    find_refunds,
    is_refund,
    read_refunds,
)
from integrations.core.records import Record
from integrations.core.values import Code, Day, Instant, Lines, Number, Text, YesNoUnknown
from integrations.toolkit import payload
from integrations.toolkit.http import Client

PAGE_SIZE = 25  # each order brings its lines
MOST_IDS = 10  # far below a document's 1000 points, however Shopify prices the lists inside
MOST_LOOKUPS = 10

_NAME = re.compile(r"#?[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_MARKS = "Which invoice of the practice system this order is. Kept by Suture; please do not edit."


def read_page(client: Client, ask: Ask, place: str | None) -> Page:
    """One page of everything, or of what changed since ``ask.since`` up to the first answer of the pass. Each order is
    followed by its refunds, if fields of those are asked for.

    ``vendor_now`` is Shopify's clock at that answer; what changes after it belongs to the next pass.
    Raises VendorChanged (``shopify.search_ignored``, ``shopify.paging_stuck``) rather than read the wrong rows.
    """
    selected = order_selection(ask.fields, with_refunds=_asks_for_refunds(ask.fields))
    return read_list(client, ask, place, listing=_listing(client, PAGE_SIZE), selected=selected)


def _asks_for_refunds(fields: Iterable[str]) -> bool:
    return any(name.startswith(REFUND) for name in fields)


def _listing(client: Client, size: int) -> Listing:
    """Orders with every line, each with the refunds that came with it."""
    return Listing(
        "orders",
        lambda row, selected, denied: decode_order(with_all_lines(client, row), selected, denied),
        size=size,
        inside=_refunds,
    )


def _refunds(row: payload.Json, selected: Selection) -> Sequence[Record]:
    told = payload.optional_items(row, "refunds", "orders")
    return [decode_refund(one, selected.fields, MARKER) for one in told]


def read_many(client: Client, keys: Sequence[str], fields: frozenset[str]) -> Mapping[str, Record]:
    """Orders and refunds by key. Deleted ones are absent.

    Raises Rejected if one cannot be decoded: absence would say that it is gone.
    """
    distinct = list(dict.fromkeys(keys))
    refunds = [key for key in distinct if key.startswith(KEY)]
    orders = [key for key in distinct if not key.startswith(KEY)]
    listing, selected = _listing(client, MOST_IDS), order_selection(fields)
    found = dict(read_by_id(client, orders, listing=listing, selected=selected))
    return found | (read_refunds(client, refunds, fields, MARKER) if refunds else {})


def find(client: Client, wanted: Sequence[Wanted], fields: frozenset[str], marker: str) -> Mapping[str, Answer]:
    """Which order, or refund, carries each marker. Neither has natural keys."""
    refunds = [one for one in wanted if is_refund(one.fields)]
    orders = [one for one in wanted if not is_refund(one.fields)]
    markers = list(dict.fromkeys(one.marker for one in orders if one.marker))
    carried = with_definition(lambda: _look_up_all(client, markers, fields, marker), lambda: prepare(client, marker))
    answers = {
        one.ref: Answer(tuple(as_dated(one.fields, record) for record in carried.get(one.marker, ()))) for one in orders
    }
    return answers | (find_refunds(client, refunds, fields, marker) if refunds else {})


def _look_up_all(
    client: Client, markers: Sequence[str], fields: frozenset[str], marker: str
) -> dict[str, tuple[Record, ...]]:
    listing, selected = _listing(client, MOST_IDS), order_selection(fields | {marker})
    found: dict[str, tuple[Record, ...]] = {}
    for some in slices(markers, MOST_LOOKUPS):
        found |= affordable(some, lambda part: _look_up(client, part, listing, selected, marker))
    return found


def _look_up(
    client: Client, markers: Sequence[str], listing: Listing, selected: Selection, marker: str
) -> dict[str, tuple[Record, ...]]:
    identifiers = {f"i{number}": custom_id(marker, value) for number, value in enumerate(markers)}
    answered = read(client, find_document(len(markers), selected), identifiers, cost=len(markers) * selected.objects)
    rows = {value: payload.optional_obj(answered.data, f"m{number}", "data") for number, value in enumerate(markers)}
    return {value: (decoded(row, listing, selected),) for value, row in rows.items() if row is not None}


def prepare(client: Client, marker: str) -> None:
    """Makes the marker's definition. Raises what ``markers.define`` raises."""
    define(client, marker, owner="ORDER", description=_MARKS)


def numbered(client: Client, number: str) -> Sequence[str]:
    """Orders that the shop calls so: ``#1001``, with or without the sign. A search compares words, so what it finds is
    compared again."""
    if not _NAME.fullmatch(number):
        return ()
    name = number.removeprefix("#")
    answered = read(client, ORDERS_BY_NAME, {"query": f"name:'{name}'"}, cost=4)
    nodes = payload.items(payload.obj(answered.data, "orders", "data"), "nodes", "orders")
    named = [(payload.text(node, "name", "orders"), payload.text(node, "id", "orders")) for node in nodes]
    return [number_of(key) for told, key in named if told.removeprefix("#").lower() == name.lower()]


def admin_url(facts: Mapping[str, str], key: str) -> str:
    """The order in the shop's admin, ``""`` while the shop's handle is not known, and for refunds, which have no page."""
    return "" if key.startswith(KEY) else admin_page(facts, "orders", key)


ORDERS = Stream(
    name="orders",
    label="Orders",
    fields=(
        Field("customer", Text, "Customer"),
        Field("number", Text, "Purchase order number"),
        Field("processedAt", Instant, "Date of the sale", fixed=True),
        Field("currency", Code, "Currency", fixed=True),
        Field("lines", Lines, "Lines", fixed=True),
        Field("total", Number, "Total, tax included", fixed=True),
        Field("tax", Number, "Tax in the total", fixed=True),
        Field("payment", Payment, "Payment (paid, unpaid)"),
        Field("dueOn", Day, "Payment due on"),
        Field("closed", YesNoUnknown, "Archived"),
        Field("cancelled", YesNoUnknown, "Cancelled"),
        Field("note", Text, "Note", personal=True),
        Field("refund.order", Text, "Refund: of which order", fixed=True),
        Field("refund.lines", ReturnedLines, "Refund: lines", fixed=True),
        Field("refund.amount", Number, "Refund: amount, tax included", fixed=True),
        Field("refund.moves_money", YesNoUnknown, "Refund: money goes back", fixed=True),
        Field("refund.processedAt", Instant, "Refund: date", fixed=True),
        Field("refund.note", Text, "Refund: note"),
    ),
    open_fields=OPEN_FIELDS,
    read_page=read_page,
    read_many=read_many,
    find=find,
    numbered=numbered,
    write_many=write_many,
    prepare=prepare,
    write_cost=26,
    batch=10,
    admin_url=admin_url,
)
