"""What a connector is: facts about a vendor, as values, and plain functions with fixed shapes.

A connector holds no decisions. It never imports another connector, models or settings. Its functions talk to the
vendor through the ``Client`` they are given and raise only the errors of ``core.errors``.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from integrations.core.errors import SyncError
from integrations.core.records import Record
from integrations.core.values import Kind, Text, Value
from integrations.toolkit.http import Client, Limit
from integrations.toolkit.refusals import ErrorRule


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a stream. ``clinical`` fields are named so that they can be refused; decoders drop them.

    ``fixed`` fields are set when the record is made and never again: a later wish for something else asks a person.
    """

    name: str
    kind: Kind = Text
    label: str = ""
    personal: bool = False
    clinical: bool = False
    natural_key: bool = False
    writable: bool = True
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class OpenFields:
    """Fields known only per account: ``custom_fields.referrer``, ``metafields.clinic.referrer``.

    ``released`` ones must be released by name by the agency owner before they are even decoded. ``shape`` is what the
    vendor allows after the prefix, as a regular expression.
    """

    prefix: str
    label: str
    kind: Kind = Text
    released: bool = False
    shape: str = ".+"

    def holds(self, name: str) -> bool:
        return name.startswith(self.prefix) and bool(re.fullmatch(self.shape, name.removeprefix(self.prefix)))


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a pass. ``next`` is where the pass goes on, None at its end (opaque text, stored as the place).

    ``vendor_now`` is the vendor's clock as its answer told it. ``total`` is what the vendor claims, None if it does
    not say: a hint for progress, never a loop condition. ``broken`` are records that could not be decoded:
    (key, error), held one by one while the page goes on.
    """

    records: Sequence[Record]
    next: str | None
    vendor_now: datetime | None = None
    total: int | None = None
    broken: Sequence[tuple[str, SyncError]] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """What intake asks of a stream: everything, or what changed since an instant; ``fields`` that rules use
    (open fields outside it are not decoded)."""

    since: datetime | None
    fields: frozenset[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A look-up for one draft: its marker value and natural keys (target field -> canonical text).

    ``fields`` is the whole wish, for streams whose records are found by where they belong (a refund by its order, a
    stock level by its product).
    """

    ref: str
    marker: str
    keys: Mapping[str, str]
    fields: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """Who answered to a ``Wanted``: records carrying the marker, and per natural key those found by it."""

    by_marker: tuple[Record, ...] = ()
    by_key: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WriteItem:
    """One step of one write. ``current`` None means create; else bring ``fields`` (the patch) to that record.

    ``wanted`` is the whole wish, for steps that need more than the patch (an address is written whole). ``seed`` is the
    same for every attempt at this wish and for no other: what an idempotency key is made of.
    """

    ref: str
    fields: Mapping[str, Value]
    wanted: Mapping[str, Value]
    current: Record | None
    seed: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """One item's outcome: what the target answered, or the error. ``record`` is the target as it is now.

    After a step the shell diffs again and calls for the next step, so a writer may do one step at a time.
    """

    ref: str
    record: Record | None = None
    error: SyncError | None = None
    request_id: str = ""


class ReadPage(Protocol):
    def __call__(self, client: Client, ask: Ask, place: str | None) -> Page: ...


class ReadMany(Protocol):
    """Records by key, in batches; a key that is gone is absent from the answer."""

    def __call__(self, client: Client, keys: Sequence[str], fields: frozenset[str]) -> Mapping[str, Record]: ...


class Find(Protocol):
    def __call__(
        self, client: Client, wanted: Sequence[Wanted], fields: frozenset[str], marker: str
    ) -> Mapping[str, Answer]: ...


class Numbered(Protocol):
    """Keys of the records that people know by this number: what is printed on an invoice, or an order's own. None where
    the number is none of the vendor's form."""

    def __call__(self, client: Client, number: str) -> Sequence[str]: ...


class WriteMany(Protocol):
    def __call__(
        self, client: Client, items: Sequence[WriteItem], fields: frozenset[str], marker: str
    ) -> Sequence[Written]: ...


class Prepare(Protocol):
    """Makes what a flow needs at the target before its first write (a marker's definition). Converges."""

    def __call__(self, client: Client, marker: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Staged:
    """Where the vendor wants a file of rows: posted to ``url`` with every parameter in this order, the file last.

    ``key`` is the file's name in ``Bulk.start``.
    """

    url: str
    parameters: tuple[tuple[str, str], ...] = field(repr=False)  # they allow to write there
    key: str


class BulkState(StrEnum):
    RUNNING = "running"  # or about to, or about to be stopped
    COMPLETED = "completed"  # every row was tried; says nothing of how one ended
    FAILED = "failed"  # ended early: some rows were tried
    CANCELLED = "cancelled"
    EXPIRED = "expired"  # its results are no longer there


@dataclass(frozen=True, slots=True)
class BulkRun:
    """A bulk run as the vendor tells of it. ``url`` leads to its results, whole or up to where it ended; "" where there
    are none. ``size`` is that file's in bytes and ``rows`` a running count for progress, None where it is not told."""

    key: str
    state: BulkState
    url: str = field(default="", repr=False)  # whoever has it may read the file
    error_code: str = ""
    size: int | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of row ``number`` (from 0). ``answer`` is None where the vendor says nothing of it."""

    number: int
    answer: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class BulkPass:
    """One run over many items: the same document for each of them, and a row of variables apiece.

    ``row`` is None for an item that has nothing to say in this pass, and raises RecordError for values that cannot be
    sent. A row may be sent again without harm. ``outcome`` reads the result of an item's row; the error is Uncertain
    where there is none, or where it speaks of somebody else.
    """

    name: str
    document: Callable[[frozenset[str], str], str]  # (fields, marker)
    row: Callable[[WriteItem, str], Mapping[str, object] | None]  # (item, marker)
    outcome: Callable[[WriteItem, BulkResult, frozenset[str], str], Written]  # (item, result, fields, marker)


@dataclass(frozen=True, slots=True)
class Bulk:
    """How a stream is written in bulk: a file of rows goes up, one call starts the run, a file of results comes down.

    ``passes`` go one after the other. The first makes what is not there yet (items without ``current``), each later one
    adds what it can to what is (items with ``current``, whose ``fields`` are what is left to write); what is left
    after the last goes the ordinary way. ``takes`` tells which items may go so at all: those whose row can be sent again.

    ``start`` takes the document, the staged key and an identifier of ours (letters, digits, ``_``), by which
    ``find_started`` finds a run since an instant whose start was not answered. It raises Throttled while too many run.
    ``results`` takes a function that gives the file's lines, and how many rows were sent: one result for each row, in
    any order, those without an answer last.
    """

    passes: tuple[BulkPass, ...]
    takes: Callable[[WriteItem, str], bool]  # (item, marker)
    stage: Callable[[Client, str], Staged]  # file name
    start: Callable[[Client, str, str, str], str]
    look: Callable[[Client, str], BulkRun | None]
    find_started: Callable[[Client, str, datetime], BulkRun | None]
    cancel: Callable[[Client, str], None]
    results: Callable[[Callable[[], Iterable[bytes]], int], Iterator[BulkResult]]
    hosts: tuple[str, ...]  # where its files are: the hosts and all below them
    content_type: str = "text/jsonl"
    file_bytes: int = 100_000_000
    at_once: int = 5


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind of thing at a vendor. Without ``write_many`` it cannot be a target, without ``read_page`` no source.

    ``read_all`` is for a stream that can be listed, but not asked for changes: its ``ask.since`` is always None.
    ``batch`` is the most items one ``read_many``, ``find`` or ``write_many`` call takes. ``read_cost`` and ``write_cost``
    are what one record costs when all are read, and when it is made, in the unit of the vendor's limit: for estimates.
    ``poll_cost`` is what asking for changes costs when there are none.
    """

    name: str
    label: str
    fields: tuple[Field, ...]
    open_fields: tuple[OpenFields, ...] = ()
    read_page: ReadPage | None = None
    read_all: ReadPage | None = None
    read_many: ReadMany | None = None
    find: Find | None = None
    numbered: Numbered | None = None
    write_many: WriteMany | None = None
    prepare: Prepare | None = None
    bulk: Bulk | None = None
    batch: int = 10
    read_cost: float = 0.01
    write_cost: float = 10.0
    poll_cost: float = 3.0
    admin_url: Callable[[Mapping[str, str], str], str] | None = None  # (account facts, key) -> https link for people

    def find_field(self, name: str) -> Field | OpenFields | None:
        """The field of that name, an open-field family it belongs to, or None."""
        for known in self.fields:
            if known.name == name:
                return known
        return next((family for family in self.open_fields if family.holds(name)), None)

    def kind_of(self, name: str) -> Kind:
        """Raises KeyError for a field this stream does not have."""
        known = self.find_field(name)
        if known is None:
            raise KeyError(name)
        return known.kind


@dataclass(frozen=True, slots=True)
class Credential:
    """One box of the connection form."""

    name: str
    label: str
    secret: bool = False
    required: bool = True
    help: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """A connection's account as a connector sees it: normalised account id, credentials, and probed facts."""

    name: str
    credentials: Mapping[str, str]
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """What "Test connection" found. ``subject`` owns the quota; ``account_id`` must never change on a connection.

    ``findings`` are (word, sentence) pairs for people: word is ``ok``, ``warning`` or ``problem``.
    ``facts`` are kept on the connection (zone, currency, plan, granted scopes); no personal values.
    """

    account_id: str
    account_name: str
    subject: str
    zone: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[tuple[str, str], ...] = ()

    @property
    def works(self) -> bool:
        return all(word != "problem" for word, _ in self.findings)


@dataclass(frozen=True, slots=True)
class Connector:
    """A vendor. ``normalise_account`` turns what a person typed into the one account id, or raises ValueError with
    a sentence; ``origin`` builds the https origin from account and credentials, validated before it is a host."""

    name: str
    label: str
    credentials: tuple[Credential, ...]
    limit: Limit
    streams: tuple[Stream, ...]
    normalise_account: Callable[[str, Mapping[str, str]], str]
    origin: Callable[[Account], str]
    headers: Callable[[Account], Mapping[str, str]]
    verify: Callable[[Client], Probe]
    account_label: str = ""  # what to ask for when the account is not implied by the credentials; "" = implied
    subject: Callable[[Account], str] = lambda account: account.name  # quota subject before the first probe
    never: tuple[str, ...] = ()  # path prefixes the client refuses to call
    errors: Mapping[int, ErrorRule] = field(default_factory=dict)  # the vendor's own meaning of statuses

    def stream(self, name: str) -> Stream:
        """Raises KeyError for a stream this vendor does not have."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise KeyError(name)
