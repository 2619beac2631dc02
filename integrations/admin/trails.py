"""An order's trail: a linked record, what it refers to and what refers to it, each hop with its newest log line.

Facts of the flow kind say where to look: a *parent* of its own pair of streams is what a credit note has in its invoice.
What refers to a record is told by the source alone, so it is asked.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from integrations.admin.desk_page import log_line
from integrations.admin.explained import FIGURES, Explained, explained, has_figures
from integrations.admin.setup import said
from integrations.core.records import Record
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import FlowKind, Parent
from integrations.messages import Message
from integrations.models import Link, SyncLogEntry
from integrations.services.candidates import label_of, page_of, stream_of
from integrations.services.trail import Answer, read_source
from tenants.sites import Ask

CHILDREN_MAX = 99
LOG_LINES = 300

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Reference:
    """A source field that names another record, and the parent it is for."""

    field: str
    parent: Parent


@dataclass(frozen=True, slots=True)
class Hop:
    """One record of the trail. ``link`` None: it has no counterpart yet; ``line`` is its newest line in the log."""

    role: str
    source_key: str
    target_key: str
    target_url: str
    link_pk: int | None
    is_here: bool
    line: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Trail:
    """``why_not`` says why the source could not be asked; then only what the tables know is told."""

    hops: tuple[Hop, ...]
    figures: Explained | None
    why_not: Message | None
    is_gone: bool
    is_cut: bool


def kind_of_link(row: Link) -> FlowKind | None:
    """The flow kind that made this link, if records of its pair refer to one another."""
    for kind in FLOW_KINDS.values():
        vendors = (kind.source_vendor, kind.target_vendor)
        if vendors == (row.source.vendor, row.target.vendor) and _pair(row) == _own(kind) and _to_itself(kind):
            return kind
    return None


def _pair(row: Link) -> Pair:
    return row.source_stream, row.target_stream


def _own(kind: FlowKind) -> Pair:
    return kind.source.name, kind.target.name


def _references(kind: FlowKind) -> list[Reference]:
    """Those parents that a plain field of the source names."""
    rules = {rule.target: rule.source for rule in kind.rules}
    named = ((rules.get(parent.field, ""), parent) for parent in kind.parents)
    return [Reference(field, parent) for field, parent in named if field and kind.source.find_field(field)]


def _to_itself(kind: FlowKind) -> Reference | None:
    own = (one for one in _references(kind) if (one.parent.source_stream, one.parent.target_stream) == _own(kind))
    return next(own, None)


def follow(row: Link, kind: FlowKind) -> Generator[Ask, Any, Trail]:
    """Asks the source for the record, and for those that may refer to it."""
    own = _to_itself(kind)
    wanted = frozenset(one.field for one in _references(kind)) | (FIGURES if has_figures(kind.source) else frozenset())
    answer: Answer = yield lambda: read_source(row.tenant_id, row.source, kind.source, [row.source_key], wanted)
    record = answer.records.get(row.source_key)
    root_key = (_key(record, own.field) if own else "") or row.source_key
    root = row if root_key == row.source_key else _links(row, _pair(row), [root_key]).first()
    later = _later(row, root, own) if own and record else []
    children: Answer = Answer()
    if later:
        keys = [link.source_key for link in later]
        children = yield lambda: read_source(row.tenant_id, row.source, kind.source, keys, wanted)
    referring = [link for link in later if own and _key(children.records.get(link.source_key), own.field) == root_key]
    hops = _hops(row, kind, record, (root_key, root), referring)
    return Trail(
        hops=_with_log(row, hops),
        figures=explained(record.values) if record else None,
        why_not=said(answer.code or children.code),
        is_gone=record is None and not answer.code,
        is_cut=len(later) == CHILDREN_MAX,
    )


def _key(record: Record | None, field: str) -> str:
    value = record.values.get(field) if record else None
    return value if isinstance(value, str) else ""


def _links(row: Link, pair: Pair, keys: Iterable[str]) -> Any:
    return Link.objects.filter(
        tenant_id=row.tenant_id,
        source_id=row.source_id,
        target_id=row.target_id,
        source_stream=pair[0],
        target_stream=pair[1],
        source_key__in=list(keys),
    )


def _later(row: Link, root: Link | None, own: Reference) -> list[Link]:
    """Links made after the root's whose target tells that it refers to another: what could be the root's."""
    if root is None:
        return []
    made = Link.objects.filter(
        tenant_id=row.tenant_id,
        source_id=row.source_id,
        target_id=row.target_id,
        source_stream=row.source_stream,
        target_stream=row.target_stream,
        created_at__gte=root.created_at,
        states__digests__has_key=own.parent.field,
    )
    return list(made.exclude(pk=root.pk).order_by("created_at", "pk").distinct()[:CHILDREN_MAX])


# The hops in their order: what the record refers to, the record at the root, what refers to it


@dataclass(frozen=True, slots=True)
class _Found:
    role: str
    pair: Pair
    key: str
    link: Link | None


def _hops(
    row: Link, kind: FlowKind, record: Record | None, root: tuple[str, Link | None], referring: Sequence[Link]
) -> list[_Found]:
    own = _to_itself(kind)
    found = []
    for one in _references(kind):
        key = _key(record, one.field)
        if one != own and key:
            pair = (one.parent.source_stream, one.parent.target_stream)
            found.append(_Found(_role(row, pair), pair, key, _links(row, pair, [key]).first()))
    found.append(_Found(_role(row, _own(kind)), _own(kind), *root))
    role = label_of(kind.target, own.parent.field).partition(":")[0] if own else ""
    others = {link.pk: link for link in referring}
    if root[1] is None or root[1].pk != row.pk:
        others[row.pk] = row
    return found + [_Found(role, _own(kind), link.source_key, link) for link in others.values()]


def _role(row: Link, pair: Pair) -> str:
    """``Patient → customer``."""
    ends = (stream_of(row.source, pair[0]), stream_of(row.target, pair[1]))
    words = [end.label.removesuffix("s") if end else name for end, name in zip(ends, pair, strict=True)]
    return f"{words[0]} → {words[1].lower()}"


def _with_log(row: Link, found: Sequence[_Found]) -> tuple[Hop, ...]:
    newest = _newest(row, found)
    hops = []
    for one in found:
        target, entry = stream_of(row.target, one.pair[1]), newest.get((one.pair, one.key))
        target_key = one.link.target_key if one.link else ""
        hops.append(
            Hop(
                role=one.role,
                source_key=one.key,
                target_key=target_key,
                target_url=page_of(target, row.target.facts, target_key) if target and target_key else "",
                link_pk=one.link.pk if one.link else None,
                is_here=one.link is not None and one.link.pk == row.pk,
                line=log_line(entry, row.tenant.time_zone) if entry else None,
            )
        )
    return tuple(hops)


def _newest(row: Link, found: Sequence[_Found]) -> dict[tuple[Pair, str], SyncLogEntry]:
    """The newest log line of each record, by its pair of streams: numbers of two streams may be equal."""
    entries = SyncLogEntry.objects.filter(
        tenant_id=row.tenant_id,
        source_key__in={one.key for one in found},
        flow__source_id=row.source_id,
        flow__target_id=row.target_id,
    )
    newest: dict[tuple[Pair, str], SyncLogEntry] = {}
    for entry in entries.select_related("flow").order_by("-at")[:LOG_LINES]:
        newest.setdefault((_own(FLOW_KINDS[entry.flow.kind]), entry.source_key), entry)
    return newest
