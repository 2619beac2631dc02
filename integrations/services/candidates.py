"""A held draft beside the records at the target that could be meant, for the person who must choose."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Field, Stream
from integrations.core import errors
from integrations.core.records import Record
from integrations.core.values import Email, Phone, Text, Value, in_words
from integrations.models import Connection, Delivery
from integrations.services import connections
from integrations.services.desk import KEY, taken_by
from integrations.services.jobs import Job, load_job
from integrations.toolkit import redact
from integrations.toolkit.http import Client
from integrations.vault import Unsealable
from tenants.walls import tenant_tx

PATIENCE_S = 5.0
CANDIDATES_MAX = 8
MARK = "Marked by Suture as"


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as this person may see it; ``same`` says that it equals the draft's."""

    text: str
    same: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record at the target that could be meant. ``taken_by`` is the source record it is linked to, if any."""

    key: str
    url: str = ""
    taken_by: str = ""
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One field: what we would write, and what each candidate holds."""

    name: str
    label: str
    ours: Cell
    theirs: tuple[Cell, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """``code`` says why the target could not be asked; then ``lines`` hold the draft alone."""

    lines: tuple[Line, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    code: str = ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the first transaction of a comparison read."""

    job: Job
    keys: tuple[str, ...]
    wanted: Mapping[str, Value]
    taken: Mapping[str, str]
    facts: Mapping[str, str] = field(default_factory=dict)


def compare(
    tenant_id: int,
    delivery_id: int,
    *,
    masked: bool,
    extra_key: str = "",
    opener: Callable[..., Client] = connections.open_client,
) -> Comparison:
    """The draft beside the records at the target that could be meant, read now; outside of any transaction.

    ``masked`` is for people without the right to see values: masks are put on here, so that no page holds the rest.
    ``extra_key`` is one more record to look at. Writes nothing, at the vendor or here.
    """
    with tenant_tx(tenant_id, reason="compare"):
        asked = _ask(delivery_id, extra_key)
    if not asked.keys:
        return Comparison(_lines(asked, {}, masked=masked))
    stream = asked.job.target_stream
    try:
        client = opener(tenant_id, asked.job.target, interactive=True, patience_s=PATIENCE_S)
        records = stream.read_many(client, asked.keys, asked.job.plan.target_fields) if stream.read_many else {}
    except errors.SyncError as error:
        return Comparison(_lines(asked, {}, masked=masked), _candidates(asked, None), error.code)
    return Comparison(_lines(asked, records, masked=masked), _candidates(asked, records))


def _ask(delivery_id: int, extra_key: str) -> _Asked:
    delivery = Delivery.objects.select_related("flow").get(pk=delivery_id)
    job = load_job(delivery.flow_id, revision_number=delivery.revision_number)
    wanted: Mapping[str, Value] = {}
    if delivery.sealed_draft is not None:
        try:
            wanted = job.unseal(delivery.sealed_draft, delivery.source_key).fields
        except (Unsealable, KeyError):
            wanted = {}
    known = (*delivery.candidates, *([delivery.target_key] if delivery.target_key else []))
    extra = (extra_key,) if extra_key and KEY.fullmatch(extra_key) else ()
    keys = tuple(dict.fromkeys((*known[:CANDIDATES_MAX], *extra)))
    return _Asked(job, keys, wanted, taken_by(delivery, keys), job.target.facts)


def _candidates(asked: _Asked, records: Mapping[str, Record] | None) -> tuple[Candidate, ...]:
    stream = asked.job.target_stream
    return tuple(
        Candidate(
            key,
            page_of(stream, asked.facts, key),
            asked.taken.get(key, ""),
            records is not None and key not in records,
        )
        for key in asked.keys
    )


def _lines(asked: _Asked, records: Mapping[str, Record], *, masked: bool) -> tuple[Line, ...]:
    stream = asked.job.target_stream
    there = [records[key].values if key in records else {} for key in asked.keys]
    marker = asked.job.kind.marker
    names = list(asked.wanted) or sorted({name for values in there for name in values})
    lines = []
    for name in sorted(names, key=lambda name: (name == marker, names.index(name))):
        ours = asked.wanted.get(name)
        theirs = [values.get(name) for values in there]
        if not any(_said(value) for value in (*theirs, None if name == marker else ours)):
            continue  # nothing anywhere; our mark says something only where somebody else carries one
        lines.append(
            Line(
                name,
                MARK if name == marker else label_of(stream, name),
                Cell(shown(stream, name, ours, masked=masked)),
                tuple(
                    Cell(shown(stream, name, value, masked=masked), same=_equal(stream, name, ours, value))
                    for value in theirs
                ),
            )
        )
    return tuple(lines)


def _said(value: Value) -> bool:
    return value is not None and value not in {"", ()}


def _equal(stream: Stream, name: str, ours: Value, theirs: Value) -> bool:
    canon = stream.kind_of(name).canon
    return bool(canon(ours)) and canon(ours) == canon(theirs)


def label_of(stream: Stream, name: str) -> str:
    known = stream.find_field(name)
    if isinstance(known, Field):
        return known.label or name
    return f"{known.label}: {name.removeprefix(known.prefix)}" if known else name


def shown(stream: Stream, name: str, value: Value, *, masked: bool) -> str:
    """A value for a page, masked by its class where asked. Nothing at all is ``""``. A field that the stream no longer
    has is masked as text."""
    if not _said(value):
        return ""
    text, known = in_words(value), stream.find_field(name)
    if isinstance(value, bool | tuple) or not masked or (isinstance(known, Field) and not known.personal):
        return text
    kind = known.kind if known else Text
    if kind is Email:
        return redact.email(text)
    return redact.phone(text) if kind is Phone else redact.word(text)


def page_of(stream: Stream, facts: Mapping[str, str], key: str) -> str:
    """The record's page at the vendor, https only, or ``""``."""
    url = stream.admin_url(facts, key) if stream.admin_url else ""
    return url if url.startswith("https://") else ""


def stream_of(connection: Connection, name: str) -> Stream | None:
    """A stream by the name a link keeps; None where the vendor no longer has it."""
    connector = CONNECTORS.get(connection.vendor)
    return next((stream for stream in connector.streams if stream.name == name), None) if connector else None
