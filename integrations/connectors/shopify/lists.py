"""Walking one of Shopify's lists to its end, and reading records by their ids. Where a pass stands: ``passes.py``."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from integrations.connectors.base import Ask, Page
from integrations.connectors.shopify.call import affordable, is_too_dear, read
from integrations.connectors.shopify.decoding import global_id, number_of
from integrations.connectors.shopify.operations import Selection, nodes_document, page_document
from integrations.connectors.shopify.passes import Place
from integrations.core.errors import SyncError, VendorChanged
from integrations.core.records import Record
from integrations.toolkit import payload
from integrations.toolkit.graphql import Outcome
from integrations.toolkit.http import Client
from integrations.toolkit.refusals import http_instant

_Thing = TypeVar("_Thing")


@dataclass(frozen=True, slots=True)
class Listing:
    """One of Shopify's lists. ``root`` is the query's name; ``condition`` is part of every search in it.

    ``decode`` is told the names of members that Shopify withheld, which can only be at or beneath the one called
    ``bears``. ``size`` rows are a page, and so many ids a request: Shopify takes 250, fewer keep a document below its
    1000 points. ``inside`` gives the records that came within one, which follow those of the page.
    """

    root: str
    decode: Callable[[payload.Json, Selection, Collection[str]], Record]
    condition: str = ""
    bears: str = ""
    size: int = 100
    inside: Callable[[payload.Json, Selection], Sequence[Record]] = lambda row, selected: ()


def read_list(client: Client, ask: Ask, place: str | None, *, listing: Listing, selected: Selection) -> Page:
    """One page of everything, or of what changed since ``ask.since`` up to the first answer of the pass.

    ``vendor_now`` is Shopify's clock at that answer; what changes after it belongs to the next pass.
    Raises VendorChanged (``shopify.search_ignored``, ``shopify.paging_stuck``) rather than read the wrong rows.
    """
    here = Place.of(place, ask.since)
    document = page_document(listing.root, here.sort_key, selected)
    query = " ".join(filter(None, (listing.condition, here.query()))) or None
    answered, size = _page(client, document, {"after": here.after, "query": query}, listing, selected)
    connection = payload.obj(answered.data, listing.root, "data")
    rows = payload.items(connection, "nodes", listing.root)
    records, inside, broken = _decode_all(rows, listing, selected, withheld_names(answered))
    info = payload.obj(connection, "pageInfo", listing.root)
    now = http_instant(answered.reply.headers.get("date", "")) if place is None else None
    onward = None
    if payload.flag(info, "hasNextPage", "pageInfo"):
        onward = here.onward(payload.text(info, "endCursor", "pageInfo"), records, now, size)
    return Page([*records, *inside], onward.text() if onward else None, now, None, broken)


def _page(
    client: Client, document: str, variables: Mapping[str, object], listing: Listing, selected: Selection
) -> tuple[Outcome, int]:
    """One page of as many rows as one document may ask for, and how many those are: the listing's size, halved as often as
    Shopify finds it too dear, and kept for as long as the client lives."""
    known = client.memo.get(document)
    size = known if isinstance(known, int) else listing.size
    while True:
        estimate = 3 + size * selected.objects * 0.1
        try:
            return read(client, document, {"first": size, **variables}, cost=estimate, bears=listing.bears), size
        except SyncError as error:
            if not is_too_dear(error) or size == 1:
                raise
        size //= 2
        client.memo[document] = size


def _decode_all(
    rows: Iterable[payload.Json], listing: Listing, selected: Selection, denied: Collection[str]
) -> tuple[list[Record], list[Record], list[tuple[str, SyncError]]]:
    records: list[Record] = []
    inside: list[Record] = []
    broken: list[tuple[str, SyncError]] = []
    for row in rows:
        try:
            records.append(listing.decode(row, selected, denied))
            inside += listing.inside(row, selected)
        except VendorChanged as error:
            broken.append((number_of(payload.text(row, "id")), payload.unreadable(error)))
    return records, inside, broken


def read_by_id(client: Client, keys: Sequence[str], *, listing: Listing, selected: Selection) -> Mapping[str, Record]:
    """Records by key; those that are gone are absent.

    Raises Rejected if one cannot be decoded: absence would say that it is gone.
    """

    def ask(some: Sequence[str]) -> Mapping[str, Record]:
        return _by_id(client, some, listing, selected)

    found: dict[str, Record] = {}
    for some in slices(list(dict.fromkeys(keys)), listing.size):
        found |= affordable(some, ask)
    return found


def _by_id(client: Client, some: Sequence[str], listing: Listing, selected: Selection) -> dict[str, Record]:
    variables = {"ids": [global_id(selected.kind, key) for key in some]}
    document = nodes_document(len(some), selected)
    answered = read(client, document, variables, cost=1 + len(some) * selected.objects, bears=listing.bears)
    denied = withheld_names(answered)
    rows = (row for row in payload.as_list(answered.data.get("nodes"), "nodes") if row is not None and row != {})
    records = (decoded(payload.as_object(row, "nodes"), listing, selected, denied) for row in rows)
    return {record.key: record for record in records}


def decoded(row: payload.Json, listing: Listing, selected: Selection, denied: Collection[str] = ()) -> Record:
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
