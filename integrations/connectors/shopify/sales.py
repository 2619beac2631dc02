"""What a shop sells and takes back, as a stream: one record for each line of an order that moved stock.

A line that was sold has the key ``ORDER-LINE``, a line that a refund put back on the shelf ``ORDER-r-LINE`` with the
number of the refund's own line. Read-only: a shop's own stock is kept by the shop. Facts and their sources: README.md
beside this file.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from integrations.connectors.base import Ask, Field, Page, Stream
from integrations.connectors.shopify import orders
from integrations.connectors.shopify.call import read
from integrations.connectors.shopify.lists import Listing, read_by_id, read_list, slices
from integrations.connectors.shopify.operations import Selection
from integrations.connectors.shopify.orders_whole import MOST_PAGES, with_all_lines
from integrations.connectors.shopify.sales_decoding import (
    Movements,
    Returned,
    decode_head,
    decode_movements,
    moves_stock,
)
from integrations.connectors.shopify.sales_documents import RETURNED_POINTS, SALE, returned_document
from integrations.core.errors import VendorChanged
from integrations.core.records import Record
from integrations.core.values import Number, Text
from integrations.toolkit import payload
from integrations.toolkit.http import Client
from integrations.toolkit.payload import Json

PAGE_SIZE = 25  # each order brings its lines
MOST_REFUNDS = 10  # in one request

_KEY = re.compile(r"([0-9]{1,20})(?:-r)?(?:-[0-9]{1,20}){0,2}")


def read_page(client: Client, ask: Ask, place: str | None) -> Page:
    """All movements of one page of orders; see ``lists.read_list`` for what is raised."""
    walk = _Walk(client)
    page = read_list(client, ask, place, listing=walk.listing, selected=SALE)
    moved = walk.moved
    return replace(page, records=list(moved.records.values()), broken=(*page.broken, *moved.broken.items()))


def read_many(client: Client, keys: Sequence[str], fields: frozenset[str]) -> Mapping[str, Record]:
    """Movements by key. Absent is what is no movement: of a deleted order, of one that was made from an invoice.

    Raises Rejected if one cannot be decoded, or its order as a whole: absence would say that it is gone.
    """
    wanted = {key: number[1] for key in keys if (number := _KEY.fullmatch(key)) is not None}
    walk = _Walk(client)
    read_by_id(client, list(wanted.values()), listing=walk.listing, selected=SALE)
    for key in wanted:
        if key in walk.moved.broken:
            raise walk.moved.broken[key]
    return {key: walk.moved.records[key] for key in wanted if key in walk.moved.records}


def numbered(client: Client, number: str) -> Sequence[str]:
    """What the orders of this name moved, see ``orders.numbered``."""
    walk = _Walk(client)
    read_by_id(client, orders.numbered(client, number), listing=walk.listing, selected=SALE)
    return list(walk.moved.records)


@dataclass(slots=True)
class _Walk:
    """Goes from order to order, as Shopify lists them, and keeps what each of them moved."""

    client: Client
    moved: Movements = field(default_factory=Movements)

    @property
    def listing(self) -> Listing:
        return Listing("orders", self._order, size=PAGE_SIZE)

    def _order(self, row: Json, _selected: Selection, _denied: Collection[str]) -> Record:
        """The order itself. Nothing of it is kept where a part of it does not fit."""
        head = decode_head(row)
        if moves_stock(row):
            moved = decode_movements(with_all_lines(self.client, row), _returned(self.client, row))
            self.moved.records |= moved.records
            self.moved.broken |= moved.broken
        return head


def _returned(client: Client, order: Json) -> list[Returned]:
    refunds = payload.items(order, "refunds", "orders")
    return [row for some in slices(refunds, MOST_REFUNDS) for row in _of_refunds(client, some)]


def _of_refunds(client: Client, refunds: Sequence[Json]) -> list[Returned]:
    """Every row of these refunds; those that have more are asked again.

    Raises VendorChanged (``shopify.paging_stuck``) for a list that does not end.
    """
    found: list[Returned] = []
    left: list[tuple[Json, str | None]] = [(refund, None) for refund in refunds]
    for _ in range(MOST_PAGES):
        if not left:
            return found
        connections = _connections(client, left)
        found += [Returned(refund, row) for refund, told in connections for row in payload.items(told, "nodes")]
        left = [(refund, after) for refund, told in connections if (after := _after(told)) is not None]
    raise VendorChanged("shopify.paging_stuck", rows=len(found))


def _connections(client: Client, asked: Sequence[tuple[Json, str | None]]) -> list[tuple[Json, Json]]:
    """One page of each refund's rows, in one request."""
    variables: dict[str, object] = {}
    for number, (refund, after) in enumerate(asked):
        variables |= {f"i{number}": payload.text(refund, "id", "refunds"), f"a{number}": after}
    answered = read(client, returned_document(len(asked)), variables, cost=len(asked) * RETURNED_POINTS)
    told = (payload.obj(answered.data, f"m{number}", "data") for number in range(len(asked)))
    pairs = zip(asked, told, strict=True)
    return [(refund, payload.obj(one, "refundLineItems", "refund")) for (refund, _), one in pairs]


def _after(connection: Json) -> str | None:
    info = payload.obj(connection, "pageInfo", "refundLineItems")
    return payload.text(info, "endCursor", "pageInfo") if payload.flag(info, "hasNextPage", "pageInfo") else None


def admin_url(facts: Mapping[str, str], key: str) -> str:
    """The order's page in the shop's admin, ``""`` while the shop's handle is not known."""
    return orders.admin_url(facts, key.partition("-")[0])


SALES = Stream(
    name="sales",
    label="Sales and returns",
    fields=(
        Field("product", Text, "Product (number)"),
        Field("quantity", Number, "Quantity, below zero for what was sold"),
        Field("movement", Text, "Movement (Item Sold, Returned)"),
        Field("order", Text, "Order"),
    ),
    read_page=read_page,
    read_many=read_many,
    numbered=numbered,
    batch=PAGE_SIZE,
    read_cost=0.5,
    admin_url=admin_url,
)
