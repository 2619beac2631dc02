"""Shopify's orders as a stream, with the refunds on them. Facts and their sources: README.md beside this file.

An order's key is its number, a refund's is ``refund-`` and its number; a wish is for a refund if it names an order in
``refund.order``. Orders are found by their marker, which does not use the search index, refunds by the marker in the
notes of their order's refunds.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from integrations.connectors.base import Answer, Ask, Field, OpenFields, Page, Stream, Wanted
from integrations.connectors.shopify.call import read
from integrations.connectors.shopify.decoding import number_of
from integrations.connectors.shopify.markers import define
from integrations.connectors.shopify.operations import METAFIELD_SHAPE, METAFIELDS, TAG, Selection, metafield_name
from integrations.connectors.shopify.orders_decoding import ORDER, Payment, decode_order, gid
from integrations.connectors.shopify.orders_documents import (
    REFUND,
    find_document,
    nodes_document,
    order_selection,
    page_document,
)
from integrations.connectors.shopify.orders_whole import with_all_lines
from integrations.connectors.shopify.orders_writing import write_many
from integrations.connectors.shopify.passes import Place
from integrations.connectors.shopify.refunds import (
    KEY,
    MARKER,
    decode_refund,
    find_refunds,
    is_refund,
    read_refunds,
)
from integrations.core.errors import AccountError, SyncError, VendorChanged
from integrations.core.records import Record
from integrations.core.values import Code, Day, Instant, Lines, Number, Text, YesNoUnknown
from integrations.toolkit import payload
from integrations.toolkit.http import Client
from integrations.toolkit.refusals import http_instant

PAGE_SIZE = 25  # each order brings its lines
MOST_IDS = 10  # far below a document's 1000 points, however Shopify prices the lists inside
MOST_LOOKUPS = 10

_HANDLE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_MARKS = "Which invoice of the practice system this order is. Kept by Suture; please do not edit."


def read_page(client: Client, ask: Ask, place: str | None) -> Page:
    """One page of everything, or of what changed since ``ask.since`` up to the first answer of the pass. Each order is
    followed by its refunds, if fields of those are asked for.

    ``vendor_now`` is Shopify's clock at that answer; what changes after it belongs to the next pass.
    Raises VendorChanged (``shopify.search_ignored``, ``shopify.paging_stuck``) rather than read the wrong rows.
    """
    here = Place.of(place, ask.since)
    selected = order_selection(ask.fields, with_refunds=_asks_for_refunds(ask.fields))
    variables = {"first": PAGE_SIZE, "after": here.after, "query": here.query()}
    document = page_document(here.sort_key, selected)
    answered = read(client, document, variables, cost=3 + PAGE_SIZE * selected.objects * 0.1)
    connection = payload.obj(answered.data, "orders", "data")
    orders, refunds, broken = _decode_all(client, payload.items(connection, "nodes", "orders"), selected)
    info = payload.obj(connection, "pageInfo", "orders")
    now = http_instant(answered.reply.headers.get("date", "")) if place is None else None
    onward = None
    if payload.flag(info, "hasNextPage", "pageInfo"):
        onward = here.onward(payload.text(info, "endCursor", "pageInfo"), orders, now, PAGE_SIZE)
    return Page([*orders, *refunds], onward.text() if onward else None, now, None, broken)


def _asks_for_refunds(fields: Iterable[str]) -> bool:
    return any(name.startswith(REFUND) for name in fields)


def _decode_all(
    client: Client, rows: Iterable[payload.Json], selected: Selection
) -> tuple[list[Record], list[Record], list[tuple[str, SyncError]]]:
    orders: list[Record] = []
    refunds: list[Record] = []
    broken: list[tuple[str, SyncError]] = []
    for row in rows:
        try:
            orders.append(decode_order(with_all_lines(client, row), selected))
            told = payload.optional_items(row, "refunds", "orders")
            refunds += [decode_refund(one, selected.fields, MARKER) for one in told]
        except VendorChanged as error:
            broken.append((number_of(payload.text(row, "id")), payload.unreadable(error)))
    return orders, refunds, broken


def read_many(client: Client, keys: Sequence[str], fields: frozenset[str]) -> Mapping[str, Record]:
    """Orders and refunds by key. Deleted ones are absent.

    Raises Rejected if one cannot be decoded: absence would say that it is gone.
    """
    distinct = list(dict.fromkeys(keys))
    refunds = [key for key in distinct if key.startswith(KEY)]
    orders = [key for key in distinct if not key.startswith(KEY)]
    found = _read_orders(client, orders, fields) if orders else {}
    return found | (read_refunds(client, refunds, fields, MARKER) if refunds else {})


def _read_orders(client: Client, keys: Sequence[str], fields: frozenset[str]) -> dict[str, Record]:
    selected = order_selection(fields)
    found: dict[str, Record] = {}
    for start in range(0, len(keys), MOST_IDS):
        ids = [gid(ORDER, key) for key in keys[start : start + MOST_IDS]]
        answered = read(client, nodes_document(len(ids), selected), {"ids": ids}, cost=1 + len(ids) * selected.objects)
        for row in payload.as_list(answered.data.get("nodes"), "nodes"):
            if row is not None and row != {}:
                record = _decoded(client, payload.as_object(row, "nodes"), selected)
                found[record.key] = record
    return found


def _decoded(client: Client, row: payload.Json, selected: Selection) -> Record:
    """Raises Rejected for an order that does not fit, so that a caller can leave out that one alone."""
    try:
        return decode_order(with_all_lines(client, row), selected)
    except VendorChanged as error:
        raise payload.unreadable(error) from None


def find(client: Client, wanted: Sequence[Wanted], fields: frozenset[str], marker: str) -> Mapping[str, Answer]:
    """Which order, or refund, carries each marker. Neither has natural keys."""
    refunds = [one for one in wanted if is_refund(one.fields)]
    orders = [one for one in wanted if not is_refund(one.fields)]
    markers = list(dict.fromkeys(one.marker for one in orders if one.marker))
    try:
        carried = _look_up_all(client, markers, fields, marker)
    except AccountError as error:
        if error.code != "shopify.marker_definition_missing":
            raise
        prepare(client, marker)  # somebody deleted it, and its values with it: nobody carries the marker now
        carried = _look_up_all(client, markers, fields, marker)
    answers = {one.ref: Answer(carried.get(one.marker, ())) for one in orders}
    return answers | (find_refunds(client, refunds, fields, marker) if refunds else {})


def _look_up_all(
    client: Client, markers: Sequence[str], fields: frozenset[str], marker: str
) -> dict[str, tuple[Record, ...]]:
    selected = order_selection(fields | {marker})
    namespace, key = metafield_name(marker)
    found: dict[str, tuple[Record, ...]] = {}
    for start in range(0, len(markers), MOST_LOOKUPS):
        some = markers[start : start + MOST_LOOKUPS]
        identifiers = {
            f"i{number}": {"customId": {"namespace": namespace, "key": key, "value": value}}
            for number, value in enumerate(some)
        }
        answered = read(client, find_document(len(some), selected), identifiers, cost=len(some) * selected.objects)
        for number, value in enumerate(some):
            row = payload.optional_obj(answered.data, f"m{number}", "data")
            if row is not None:
                found[value] = (_decoded(client, row, selected),)
    return found


def prepare(client: Client, marker: str) -> None:
    """Makes the marker's definition. Raises what ``markers.define`` raises."""
    define(client, marker, owner="ORDER", description=_MARKS)


def admin_url(facts: Mapping[str, str], key: str) -> str:
    """The order in the shop's admin, ``""`` while the shop's handle is not known, and for refunds, which have no page."""
    handle = facts.get("handle", "")
    known = _HANDLE.fullmatch(handle) and not key.startswith(KEY)
    return f"https://admin.shopify.com/store/{handle}/orders/{key}" if known else ""


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
        Field("refund.lines", Lines, "Refund: lines", fixed=True),
        Field("refund.amount", Number, "Refund: amount, tax included", fixed=True),
        Field("refund.moves_money", YesNoUnknown, "Refund: money goes back", fixed=True),
        Field("refund.processedAt", Instant, "Refund: date", fixed=True),
        Field("refund.note", Text, "Refund: note"),
    ),
    open_fields=(OpenFields(METAFIELDS, "Metafields", shape=METAFIELD_SHAPE), OpenFields(TAG, "Tag", YesNoUnknown)),
    read_page=read_page,
    read_many=read_many,
    find=find,
    write_many=write_many,
    prepare=prepare,
    batch=10,
    admin_url=admin_url,
)
