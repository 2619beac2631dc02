"""Walking one of Shopify's lists to its end, and reading records by their ids.

Passes over everything page by id, passes over changes by ``updated_at`` up to the instant they began; both start a new
list every 20,000 rows, because Shopify ends one at 25,000.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from integrations.connectors.base import Ask, Page
from integrations.connectors.shopify.call import read
from integrations.connectors.shopify.decoding import global_id, number_of
from integrations.connectors.shopify.operations import Selection, nodes_document, page_document
from integrations.core.errors import SyncError, VendorChanged
from integrations.core.records import Record
from integrations.toolkit import payload
from integrations.toolkit.graphql import Outcome
from integrations.toolkit.http import Client
from integrations.toolkit.refusals import http_instant

LIST_LENGTH = 20_000  # rows before a list is started anew; Shopify ends one at 25,000

_Thing = TypeVar("_Thing")


@dataclass(frozen=True, slots=True)
class Listing:
    """One of Shopify's lists. ``root`` is the query's name; ``condition`` is part of every search in it.

    ``decode`` is told the names of members that Shopify withheld, which can only be at or beneath the one called
    ``bears``. ``size`` rows are a page, and so many ids a request: Shopify takes 250, fewer keep a document below its
    1000 points.
    """

    root: str
    decode: Callable[[payload.Json, Selection, Collection[str]], Record]
    condition: str = ""
    bears: str = ""
    size: int = 100


def read_list(client: Client, ask: Ask, place: str | None, *, listing: Listing, selected: Selection) -> Page:
    """One page of everything, or of what changed since ``ask.since`` up to the first answer of the pass.

    ``vendor_now`` is Shopify's clock at that answer; what changes after it belongs to the next pass.
    Raises VendorChanged (``shopify.search_ignored``, ``shopify.paging_stuck``) rather than read the wrong rows.
    """
    here = _Place.parse(place) if place else _Place(_stamp(ask.since) if ask.since else None)
    document = page_document(listing.root, "ID" if here.since is None else "UPDATED_AT", selected)
    query = " ".join(filter(None, (listing.condition, here.query()))) or None
    variables = {"first": listing.size, "after": here.after, "query": query}
    estimate = 3 + listing.size * selected.objects * 0.1
    answered = read(client, document, variables, cost=estimate, bears=listing.bears)
    connection = payload.obj(answered.data, listing.root, "data")
    records, broken = _decode_all(
        payload.items(connection, "nodes", listing.root), listing, selected, withheld_names(answered)
    )
    info = payload.obj(connection, "pageInfo", listing.root)
    now = http_instant(answered.reply.headers.get("date", "")) if place is None else None
    onward = None
    if payload.flag(info, "hasNextPage", "pageInfo"):
        onward = here.onward(payload.text(info, "endCursor", "pageInfo"), records, now, listing.size)
    return Page(records, onward.text() if onward else None, now, None, broken)


@dataclass(frozen=True, slots=True)
class _Place:
    """``since`` opens a pass over changes and ``until`` ends it: the list is in order of change, so a row beyond
    ``until`` ends the pass. ``above`` is the id that a list of everything starts after."""

    since: str | None
    until: str | None = None
    above: str = ""
    after: str | None = None
    rows: int = 0

    @classmethod
    def parse(cls, text: str) -> "_Place":
        told = payload.as_object(json.loads(text), "place")
        since, until, above, after = (
            payload.optional_text(told, name) for name in ("since", "until", "above", "after")
        )
        return cls(since, until, above or "", after, payload.whole(told, "rows"))

    def text(self) -> str:
        told = {"since": self.since, "until": self.until, "above": self.above, "after": self.after, "rows": self.rows}
        return json.dumps(told, separators=(",", ":"))

    def query(self) -> str | None:
        if self.since is not None:
            return f"updated_at:>='{self.since}'"
        return f"id:>{self.above}" if self.above else None

    def onward(self, cursor: str, records: Sequence[Record], now: datetime | None, size: int) -> "_Place | None":
        """Where to go on, None at the end of the pass.

        Raises VendorChanged if the list cannot go on: no new cursor, or more rows at one instant than a list holds.
        """
        if cursor == self.after or not cursor:
            raise VendorChanged("shopify.paging_stuck", rows=self.rows)
        until = self.until or (_stamp(now) if now else None)
        newest = max((_stamp(record.changed_at) for record in records if record.changed_at), default="")
        if self.since is not None and until is not None and newest > until:
            return None
        rows = self.rows + size
        if rows < LIST_LENGTH or not records:
            return _Place(self.since, until, self.above, cursor, rows)
        if self.since is None:
            return _Place(None, until, records[-1].key)
        if newest == self.since:
            raise VendorChanged("shopify.paging_stuck", rows=rows)
        return _Place(newest, until)


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _decode_all(
    rows: Iterable[payload.Json], listing: Listing, selected: Selection, denied: Collection[str]
) -> tuple[list[Record], list[tuple[str, SyncError]]]:
    records: list[Record] = []
    broken: list[tuple[str, SyncError]] = []
    for row in rows:
        try:
            records.append(listing.decode(row, selected, denied))
        except VendorChanged as error:
            broken.append((number_of(payload.text(row, "id")), payload.unreadable(error)))
    return records, broken


def read_by_id(client: Client, keys: Sequence[str], *, listing: Listing, selected: Selection) -> Mapping[str, Record]:
    """Records by key; those that are gone are absent.

    Raises Rejected if one cannot be decoded: absence would say that it is gone.
    """
    found: dict[str, Record] = {}
    for some in slices(list(dict.fromkeys(keys)), listing.size):
        variables = {"ids": [global_id(selected.kind, key) for key in some]}
        document = nodes_document(len(some), selected)
        cost = 1 + len(some) * selected.objects
        answered = read(client, document, variables, cost=cost, bears=listing.bears)
        denied = withheld_names(answered)
        for row in payload.as_list(answered.data.get("nodes"), "nodes"):
            if row is not None and row != {}:
                record = _decoded(payload.as_object(row, "nodes"), listing, selected, denied)
                found[record.key] = record
    return found


def _decoded(row: payload.Json, listing: Listing, selected: Selection, denied: Collection[str]) -> Record:
    """Raises Rejected for a record that does not fit, so that a caller can leave out that one alone."""
    try:
        return listing.decode(row, selected, denied)
    except VendorChanged as error:
        raise payload.unreadable(error) from None


def withheld_names(answered: Outcome) -> list[str]:
    """The members that Shopify withheld in an answer, by the last step of their paths."""
    return [problem.path.rpartition(".")[2] for problem in answered.problems]


def slices(things: Sequence[_Thing], size: int) -> Iterator[Sequence[_Thing]]:
    for start in range(0, len(things), size):
        yield things[start : start + size]
