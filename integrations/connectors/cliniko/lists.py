"""How Cliniko's lists are read. Facts and their sources: README.md beside this file.

How a pass reads:

* everything: all rows by ``created_at`` (the default order), archived ones included. Nothing leaves that list and
  what is new joins its end, so paging by offset skips nobody.
* changes: first ``updated_at >= T`` with archived ones, then ``archived_at >= T``, because it is not documented that
  archiving touches ``updated_at``. Both in the default order, in which a row that changes meanwhile moves nobody. Then
  the lists of other things whose rows name a changed record (an invoice's items, a product's stock adjustments).

The place is text of ours around the vendor's own next link: part, page number, first key of the page before, link.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from integrations.connectors.base import Ask, Page
from integrations.connectors.cliniko.rows import is_key, reference, row_key
from integrations.core.errors import SyncError, VendorChanged
from integrations.core.records import Record
from integrations.toolkit import payload
from integrations.toolkit.http import Client, Reply
from integrations.toolkit.payload import Json
from integrations.toolkit.refusals import http_instant

PAGE_SIZE = 100
MOST_PAGES = 50_000  # 5 million rows: an account that size does not exist, an endless list might
ARCHIVED_TOO = ("q[]", "archived_at:*")

Query = tuple[tuple[str, str], ...]
Decode = Callable[[Json], Record]
Broken = list[tuple[str, SyncError]]

_EVERYTHING, _CHANGED, _ARCHIVED = "everything", "changed", "archived"


@dataclass(frozen=True, slots=True)
class Listing:
    """One of Cliniko's lists. ``stamp`` is the member that says when a row was last written."""

    collection: str
    stamp: str = "updated_at"

    @property
    def path(self) -> str:
        return f"/v1/{self.collection}"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a pass over changes: which list is asked for what, ``{since}`` standing for the instant.

    ``names`` is the reference by which rows of another list name the records, which are then read by id.
    """

    name: str
    listing: Listing
    filters: tuple[str, ...]
    names: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Records of one kind. ``ready`` fetches what a page of rows needs besides itself and gives their decoder, which
    raises VendorChanged for what does not fit. ``elsewhere`` are the parts that other lists add to a pass."""

    listing: Listing
    ready: Callable[[Client, Sequence[Json], frozenset[str]], Decode]
    elsewhere: tuple[Part, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        return (
            Part(_CHANGED, self.listing, ("updated_at:>={since}", "archived_at:*")),
            Part(_ARCHIVED, self.listing, ("archived_at:>={since}",)),
            *self.elsewhere,
        )

    def part(self, name: str) -> Part:
        """The part of that name; everything is a part of its own. Raises KeyError."""
        if name == _EVERYTHING:
            return Part(_EVERYTHING, self.listing, ("archived_at:*",))
        return {part.name: part for part in self.parts}[name]

    def after(self, name: str) -> "Place | None":
        """Where the part that follows begins, None after the last."""
        names = [part.name for part in self.parts]
        following = names[names.index(name) + 1 :] if name in names else []
        return Place(following[0]) if following else None


def read_page(source: Source, client: Client, ask: Ask, place: str | None) -> Page:
    """One page of everything, or of what changed since ``ask.since``.

    ``vendor_now`` is given on the first page of a pass only and is the earlier of the answer's ``Date`` and the newest
    stamp that the vendor showed: the clock that stamps the rows need not be the clock that stamps the answer, and a
    watermark ahead of the rows would lose them. It is None when a pass over changes finds nothing newer than its
    beginning: the watermark then stays where it is.
    Raises VendorChanged (``payload.shape``, ``cliniko.paging.*``) for an answer that does not fit.
    """
    here = Place.parse(place) if place else Place(_EVERYTHING if ask.since is None else _CHANGED)
    part = source.part(here.part)
    newest = _newest_anywhere(client, source) if place is None and ask.since is None else None
    reply = client.get_link(here.link) if here.link else client.get(part.listing.path, _query(part, ask.since))
    answer = Answered.parse(reply, part.listing)
    records, broken = _records(client, source, part, answer.rows, ask)
    onward = here.after(answer, part.listing) or source.after(here.part)
    now = _starting_instant(client, source, answer, ask, newest) if place is None else None
    return Page(records, onward.text() if onward else None, now, answer.total, broken)


def read_many(source: Source, client: Client, keys: Sequence[str], fields: frozenset[str]) -> Mapping[str, Record]:
    """Records by id, archived and merged ones included; ids that the account does not have are absent.

    Raises Rejected (``record.unreadable``) if one of them cannot be decoded: absence would say that it is gone.
    """
    found: dict[str, Record] = {}
    asked = [key for key in dict.fromkeys(keys) if is_key(key)]
    for start in range(0, len(asked), PAGE_SIZE):
        rows = rows_by_id(client, source.listing, asked[start : start + PAGE_SIZE])
        decode = source.ready(client, list(rows.values()), fields)
        found |= {key: _decode_one(decode, row) for key, row in rows.items()}
    return found


def rows_by_id(client: Client, listing: Listing, keys: Sequence[str]) -> dict[str, Json]:
    """The rows of so many ids as one page holds, archived ones included."""
    if not keys:
        return {}
    query = sized(("q[]", "id:=" + ",".join(keys)), ARCHIVED_TOO)
    rows = Answered.parse(client.get(listing.path, query), listing).rows
    return {key: row for row in rows if (key := row_key(row, listing.collection)) in keys}


def every_page(client: Client, listing: Listing, filters: Query = ()) -> Iterator[Sequence[Json]]:
    """All pages of a list under these filters. Raises VendorChanged (``cliniko.paging.*``) where it does not end."""
    here: Place | None = Place("-")
    while here is not None:
        reply = client.get_link(here.link) if here.link else client.get(listing.path, sized(*filters))
        answer = Answered.parse(reply, listing)
        yield answer.rows
        here = here.after(answer, listing)


def sized(*filters: tuple[str, str]) -> Query:
    """The filters, for pages as large as they come."""
    return (*filters, ("per_page", str(PAGE_SIZE)))


def newest_change(client: Client, listing: Listing) -> datetime | None:
    """The newest stamp in a list, None in an empty one."""
    reply = client.get(listing.path, (("sort", f"{listing.stamp}:desc"), ("per_page", "1"), ARCHIVED_TOO))
    rows = Answered.parse(reply, listing).rows
    return payload.optional_instant(rows[0], listing.stamp) if rows else None


def decode_all(decode: Decode, rows: Sequence[Json], collection: str) -> tuple[list[Record], Broken]:
    """The records that can be decoded, and the keys of the others with what is wrong with them."""
    records: list[Record] = []
    broken: Broken = []
    for row in rows:
        key = row_key(row, collection)
        try:
            records.append(decode(row))
        except VendorChanged as error:
            broken.append((key, payload.unreadable(error)))
    return records, broken


@dataclass(frozen=True, slots=True)
class Answered:
    """The envelope of a list, and the vendor's clock as the answer tells it."""

    rows: Sequence[Json]
    next_link: str
    total: int | None
    told: datetime | None

    @classmethod
    def parse(cls, reply: Reply, listing: Listing) -> "Answered":
        data = payload.as_object(reply.data, "")
        links = payload.optional_obj(data, "links") or {}
        total = data.get("total_entries")
        return cls(
            payload.items(data, listing.collection),
            payload.optional_text(links, "next", "links") or "",
            total if type(total) is int else None,
            http_instant(reply.headers.get("date", "")),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pass stands."""

    part: str
    page: int = 1
    first_before: str = "-"
    link: str = ""

    @classmethod
    def parse(cls, text: str) -> "Place":
        part, page, first_before, link = text.split(" ", 3)
        return cls(part, int(page), first_before, link)

    def text(self) -> str:
        return f"{self.part} {self.page} {self.first_before} {self.link}"

    def after(self, answer: Answered, listing: Listing) -> "Place | None":
        """Where to go on after this answer, None at the end of the list. Raises VendorChanged on a loop."""
        first = row_key(answer.rows[0], listing.collection) if answer.rows else "-"
        if self.link and first == self.first_before:
            raise VendorChanged("cliniko.paging.loop", page=self.page)
        if not answer.next_link:
            return None
        if not answer.rows:
            raise VendorChanged("cliniko.paging.endless", page=self.page)
        return Place(self.part, self._next_page(answer.next_link, listing.path), first, answer.next_link)

    def _next_page(self, link: str, path: str) -> int:
        parts = urlsplit(link)
        number = parse_qs(parts.query).get("page", [""])[-1]
        if not parts.path.endswith(path) or not (number.isascii() and number.isdigit()) or len(number) > 9:
            raise VendorChanged("cliniko.paging.link", page=self.page)
        if int(number) <= self.page:
            raise VendorChanged("cliniko.paging.loop", page=self.page)
        if int(number) > MOST_PAGES:
            raise VendorChanged("cliniko.paging.endless", page=self.page)
        return int(number)


def _query(part: Part, since: datetime | None) -> Query:
    """The first request of a part; later pages follow the vendor's links, which repeat the filters."""
    instant = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if since else ""  # whole seconds, downwards
    return sized(*(("q[]", given.replace("{since}", instant)) for given in part.filters))


def _records(client: Client, source: Source, part: Part, rows: Sequence[Json], ask: Ask) -> tuple[list[Record], Broken]:
    if not part.names:
        return decode_all(source.ready(client, rows, ask.fields), rows, source.listing.collection)
    named = _named(part, rows)
    found = rows_by_id(client, source.listing, list(named))
    later = [row for row in found.values() if not _came_before(row, ask.since)]
    records, broken = decode_all(source.ready(client, later, ask.fields), later, source.listing.collection)
    return [_changed_by(record, named[record.key]) for record in records], broken


def _named(part: Part, rows: Sequence[Json]) -> dict[str, datetime | None]:
    """The keys that rows of another list name, each with the newest stamp that names it."""
    named: dict[str, datetime | None] = {}
    for row in rows:
        key, stamp = reference(row, part.names), payload.optional_instant(row, part.listing.stamp)
        if key is not None:
            named[key] = max((at for at in (stamp, named.get(key)) if at), default=None)
    return named


def _came_before(row: Json, since: datetime | None) -> bool:
    """Whether the first part of the pass has read the row for its own change."""
    stamp = _stamp(row, "updated_at")
    return stamp is not None and since is not None and stamp >= since.replace(microsecond=0)


def _changed_by(record: Record, stamp: datetime | None) -> Record:
    """The record as changed when the other row was written; the watermark could not move past that row otherwise."""
    return replace(record, changed_at=max((at for at in (stamp, record.changed_at) if at), default=None))


def _decode_one(decode: Decode, row: Json) -> Record:
    try:
        return decode(row)
    except VendorChanged as error:
        raise payload.unreadable(error) from None


def _newest_anywhere(client: Client, source: Source) -> datetime | None:
    listings = dict.fromkeys((source.listing, *(part.listing for part in source.elsewhere)))
    stamps = [stamp for listing in listings if (stamp := newest_change(client, listing))]
    return max(stamps, default=None)


def _starting_instant(
    client: Client, source: Source, answer: Answered, ask: Ask, newest: datetime | None
) -> datetime | None:
    """The vendor's clock for a pass that starts with this answer, see ``read_page``."""
    if ask.since is not None:
        newest = _newest_since(client, source, answer, ask.since)
        if newest is None:
            return None
    known = [instant for instant in (answer.told, newest) if instant is not None]
    return min(known) if known else None


def _newest_since(client: Client, source: Source, answer: Answered, since: datetime) -> datetime | None:
    """The newest stamp anywhere at the start of a pass over changes, None if nothing is newer than its beginning."""
    if answer.next_link or source.elsewhere:
        newest = _newest_anywhere(client, source)
        return newest if newest and newest >= since.replace(microsecond=0) else None
    return max((stamp for row in answer.rows if (stamp := _stamp(row, "updated_at"))), default=None)


def _stamp(row: Json, name: str) -> datetime | None:
    try:
        return payload.optional_instant(row, name)
    except VendorChanged:
        return None
