"""Both sides joined, a page of keys at a time: who agrees, and who must be looked at again.

Every question walks one side in the order of its keys, so that it can be cut anywhere and asked on from there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

from django.db import connection as database

from integrations.services.jobs import Job
from reconciliation.compare import AGREE, LEFT_OUT, OTHERS, Layout, Memory, Standing
from reconciliation.models import Side
from tenants.walls import current_tenant_id, text_array

PAGE = 2000


@dataclass(frozen=True, slots=True)
class Row:
    """One key in its order, and what it counts as: nothing where another walk counts it, None for a suspect.
    ``is_surplus`` suspects have the marker of a record that has its counterpart."""

    key: str
    parts: tuple[str, ...] | None
    source_key: str = ""
    target_key: str = ""
    is_surplus: bool = False


# Few plain questions a page, each by keys or by a range of them: tables that were filled a moment ago have no statistics,
# and a plan for more, made without, may read a whole side for every key.
_STAGED = "reconciliation_staged WHERE tenant_id = %(tenant)s AND report_number = %(report)s"
_LINK = """integrations_link WHERE tenant_id = %(tenant)s AND source_id = %(source)s AND target_id = %(target)s
    AND source_stream = %(source_stream)s AND target_stream = %(target_stream)s"""
_LEFT, _RIGHT = f"{_STAGED} AND side = {Side.LEFT.value}", f"{_STAGED} AND side = {Side.RIGHT.value}"

_LEFT_PAGE = f"SELECT key, standing, digests FROM {_LEFT} AND key > %(place)s ORDER BY key LIMIT %(limit)s"  # noqa: S608
_RIGHT_PAGE = f"SELECT key, marker FROM {_RIGHT} AND key > %(place)s ORDER BY key LIMIT %(limit)s"  # noqa: S608
_LINK_PAGE = (
    f"SELECT source_key, target_key FROM {_LINK} AND source_key > %(place)s ORDER BY source_key LIMIT %(limit)s"  # noqa: S608
)
_LINKS_OF_SOURCES = f"""
SELECT source_key, target_key FROM {_LINK} AND source_key > %(place)s AND source_key <= %(last)s"""  # noqa: S608
_LINKS_OF_TARGETS = f"""
SELECT target_key, source_key FROM {_LINK} AND target_key > %(place)s AND target_key <= %(last)s"""  # noqa: S608
_LINKED_SOURCES = f"SELECT source_key FROM {_LINK} AND source_key = ANY(%(keys)s::text[])"  # noqa: S608
_LINKED_TARGETS = f"SELECT target_key FROM {_LINK} AND target_key = ANY(%(keys)s::text[])"  # noqa: S608
_LEFT_KEYS = f"SELECT key FROM {_LEFT} AND key = ANY(%(keys)s::text[])"  # noqa: S608
_RIGHT_KEYS = f"SELECT key FROM {_RIGHT} AND key = ANY(%(keys)s::text[])"  # noqa: S608
_RIGHT_ROWS = f"SELECT key, standing, digests, marker FROM {_RIGHT} AND key = ANY(%(keys)s::text[])"  # noqa: S608
_MARKED = f"SELECT marker, key FROM {_RIGHT} AND marker <> '' AND marker = ANY(%(keys)s::text[])"  # noqa: S608
_STATES = """
SELECT source_key, digests, dropped, gone FROM integrations_linkstate
WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND source_key = ANY(%(keys)s::text[])"""


def left_rows(job: Job, report_id: int, layout: Layout, place: str | None) -> list[Row]:
    """The next source records, each with its counterpart. Call inside the clinic's transaction."""
    ask = _Asking(job, report_id, place)
    page = ask(_LEFT_PAGE)
    if not page:
        return []
    links = dict(ask(_LINKS_OF_SOURCES, last=page[-1][0]))
    partners = ask.partners([key for key, _, _ in page if key not in links])
    targets = {**partners, **links}
    there = {key: rest for key, *rest in ask(_RIGHT_ROWS, list(targets.values()))}
    pairs = [_Pair(key, standing, wanted, targets.get(key, ""), key in links, there) for key, standing, wanted in page]
    unequal = [pair.key for pair in pairs if pair.is_there and pair.wanted != pair.digests]
    memories = {key: Memory(_object(w), _object(d), bool(gone)) for key, w, d, gone in ask(_STATES, unequal)}
    return [_left_row(job, layout, pair, memories.get(pair.key, Memory())) for pair in pairs]


@dataclass(slots=True)
class _Pair:
    """A staged source record and the target record that belongs to it, if that was staged."""

    key: str
    standing: str
    wanted: bytes
    target_key: str
    is_linked: bool
    there: InitVar[Mapping[str, Sequence[Any]]]
    is_there: bool = field(init=False)
    there_standing: str = field(init=False)
    digests: bytes = field(init=False)
    marker: str = field(init=False)

    def __post_init__(self, there: Mapping[str, Sequence[Any]]) -> None:
        self.is_there = self.target_key in there
        self.there_standing, self.digests, self.marker = there.get(self.target_key, ("", b"", ""))


def _left_row(job: Job, layout: Layout, pair: _Pair, memory: Memory) -> Row:
    key, standing = pair.key, pair.standing
    suspect = Row(key, None, key, pair.target_key)
    if standing in (Standing.LEFT_OUT, Standing.MERGED) and not (pair.is_linked and standing == Standing.MERGED):
        return Row(key, (LEFT_OUT, OTHERS) if pair.is_there else (LEFT_OUT,))
    if not pair.is_there or pair.there_standing != Standing.LIVE or standing not in (Standing.LIVE, Standing.GONE):
        return suspect
    if pair.is_linked and pair.marker not in ("", key):
        return suspect
    if pair.wanted == pair.digests:
        return Row(key, (AGREE,))
    policies = job.plan.policies_for(is_new=False, is_gone=standing == Standing.GONE, was_gone=memory.gone)
    found = layout.suspects(bytes(pair.wanted), bytes(pair.digests), memory, policies)
    return suspect if found else Row(key, (AGREE,))


def right_rows(job: Job, report_id: int, place: str | None) -> list[Row]:
    """The next target records: those that are too much, those without a source, and how many are none of ours."""
    ask = _Asking(job, report_id, place)
    page = ask(_RIGHT_PAGE)
    if not page:
        return []
    links = dict(ask(_LINKS_OF_TARGETS, last=page[-1][0]))
    sources = {key: links.get(key) or marker for key, marker in page}
    there = ask.keys(_LEFT_KEYS, sorted({source for source in sources.values() if source}))
    marked = sorted({marker for key, marker in page if marker and key not in links})
    linked = ask.keys(_LINKED_SOURCES, marked)
    partners = ask.partners([marker for marker in marked if marker not in linked])
    return [
        _right_row(
            key, sources[key], has_left=sources[key] in there, is_own=key in links or partners.get(marker) == key
        )
        for key, marker in page
    ]


def _right_row(key: str, source: str, *, has_left: bool, is_own: bool) -> Row:
    if not source:
        return Row(key, (OTHERS,))
    if not has_left:
        return Row(key, None, source, key)
    return Row(key, ()) if is_own else Row(key, None, source, key, is_surplus=True)


def link_rows(job: Job, report_id: int, place: str | None) -> list[Row]:
    """The next links: those that neither side knows."""
    ask = _Asking(job, report_id, place)
    page = ask(_LINK_PAGE)
    left = ask.keys(_LEFT_KEYS, [source for source, _ in page])
    right = ask.keys(_RIGHT_KEYS, [target for _, target in page])
    return [Row(source, () if source in left or target in right else None, source, target) for source, target in page]


@dataclass(frozen=True, slots=True)
class _Asking:
    """One page's questions. ``place`` is the key after which it begins."""

    job: Job
    report_id: int
    place: str | None

    def __call__(self, statement: str, keys: Sequence[str] = (), *, last: str = "") -> list[tuple[Any, ...]]:
        job = self.job
        given: dict[str, Any] = {
            "tenant": current_tenant_id(),
            "report": self.report_id,
            "flow": job.flow_id,
            "source": job.source.pk,
            "target": job.target.pk,
            "source_stream": job.source_stream.name,
            "target_stream": job.target_stream.name,
            "place": self.place or "",
            "last": last,
            "limit": PAGE,
            "keys": text_array(keys),
        }
        if "%(keys)s" in statement and not keys:
            return []
        with database.cursor() as cursor:
            cursor.execute(statement, given)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def keys(self, statement: str, keys: Sequence[str]) -> set[str]:
        return {key for (key,) in self(statement, keys)}

    def partners(self, markers: Sequence[str]) -> dict[str, str]:
        """Of the target records that carry a marker and have no link of their own, the first is the marker's counterpart."""
        marked = self(_MARKED, markers)
        linked = self.keys(_LINKED_TARGETS, [key for _, key in marked])
        found: dict[str, str] = {}
        for marker, key in marked:
            if key not in linked:
                found[marker] = min(key, found.get(marker, key))
        return found


def _object(stored: object) -> Mapping[str, str]:
    made = json.loads(stored) if isinstance(stored, str) else stored
    return made if isinstance(made, dict) else {}
