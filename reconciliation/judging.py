"""Suspects read again, both sides as they are now, and judged. What happened since they were staged is seen here."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from django.db.models import Q

from integrations.core.diffing import diff
from integrations.core.errors import RecordError
from integrations.core.records import Record, State
from integrations.core.values import Value, in_words
from integrations.models import IN_FLIGHT, OPEN, Connection, Delivery, DeliveryState, Link, LinkState, Mode
from integrations.services.jobs import Job
from integrations.services.merges import links_of
from integrations.services.reading import read_each
from integrations.toolkit.http import Client
from reconciliation.compare import Found, Judgement, Pair, Standing, Unequal, judge
from reconciliation.joining import Row
from reconciliation.models import Mismatch, Report
from reconciliation.staging import Left, Limits, lefts, marker_of
from tenants.walls import insert_rows

COLUMNS = (
    "flow_id",
    "report_id",
    "kind",
    "source_key",
    "target_key",
    "field",
    "cause",
    "code",
    "sealed_values",
    "first_seen",
    "last_seen",
)
SEEN_AGAIN = (
    "(tenant_id, flow_id, kind, source_key, target_key, field) WHERE closed_at IS NULL DO UPDATE SET"
    " report_id = excluded.report_id, cause = excluded.cause, code = excluded.code,"
    " sealed_values = excluded.sealed_values, last_seen = excluded.last_seen"
)


@dataclass(slots=True)
class Suspect:
    """A pair to look at again. Its keys are those of its link as it is now."""

    source_key: str
    target_key: str
    is_surplus: bool = False
    is_linked: bool = False
    aliases: frozenset[str] = frozenset()


@dataclass(slots=True)
class Read:
    """What both sides answered."""

    records: Mapping[str, Record] = field(default_factory=dict)
    unread: Mapping[str, RecordError] = field(default_factory=dict)
    targets: Mapping[str, Record] = field(default_factory=dict)
    targets_unread: Mapping[str, RecordError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judged:
    """What suspects came to: records counted by part, and rows for their mismatches."""

    counts: Mapping[str, int]
    rows: Sequence[tuple[object, ...]]


def follow_links(job: Job, rows: Iterable[Row]) -> list[Suspect]:
    """The suspects with their links as they are now. Call inside the clinic's transaction."""
    rows = list(rows)
    sources, targets = [row.source_key for row in rows], [row.target_key for row in rows if row.target_key]
    links = list(Link.objects.filter(links_of(job)).filter(Q(source_key__in=sources) | Q(target_key__in=targets)))
    by_source, by_target = {link.source_key: link for link in links}, {link.target_key: link for link in links}
    suspects = []
    for row in rows:
        link = by_target.get(row.target_key) or (None if row.is_surplus else by_source.get(row.source_key))
        if link is None:
            suspects.append(Suspect(row.source_key, row.target_key, row.is_surplus))
        else:
            aliases = frozenset({link.source_key, *link.source_aliases})
            suspects.append(Suspect(link.source_key, link.target_key, is_linked=True, aliases=aliases))
    return suspects


def read_again(job: Job, suspects: Sequence[Suspect], client_of: Callable[[Connection], Client]) -> Read:
    """Both records of each suspect, outside of any transaction. Raises what concerns the connections."""
    keys = sorted({one.source_key for one in suspects} - {""})
    records, unread = read_each(job.source_stream, client_of(job.source), keys, job.plan.source_fields)
    keys = sorted({one.target_key for one in suspects} - {""})
    targets, targets_unread = read_each(job.target_stream, client_of(job.target), keys, job.plan.target_fields)
    return Read(records, unread, targets, targets_unread)


def judge_all(job: Job, limits: Limits, report: Report, suspects: Sequence[Suspect], read: Read) -> Judged:
    """What is wrong with each of them. Call inside the clinic's transaction."""
    bench = _Bench.of(job, limits, suspects, read)
    counts: Counter[str] = Counter()
    rows: list[tuple[object, ...]] = []
    for suspect in suspects:
        told = bench.judge(suspect)
        counts.update(told.counts)
        for found in told.found:
            sealed = bench.seal(suspect, found)
            keys = (found.kind.value, suspect.source_key[:64], suspect.target_key, found.field)
            seen = (report.started_at, report.started_at)
            rows.append((job.flow_id, report.pk, *keys, found.cause.value, found.code, sealed, *seen))
    return Judged(counts, list({row[2:6]: row for row in rows}.values()))


def still_wrong(job: Job, limits: Limits, suspects: Sequence[Suspect], read: Read) -> dict[str, tuple[Found, ...]]:
    """By source key, what is wrong with those that are not equal. Call inside the clinic's transaction."""
    bench = _Bench.of(job, limits, suspects, read)
    told = {suspect.source_key: bench.judge(suspect).found for suspect in suspects}
    return {key: found for key, found in told.items() if found}


def keep(judged: Judged) -> None:
    """Its mismatches: those that are open already are seen again. Call inside the clinic's transaction."""
    insert_rows(Mismatch, COLUMNS, judged.rows, on_conflict=SEEN_AGAIN)


def bound_to(flow_id: int, kind: str, source_key: str, target_key: str, name: str) -> str:
    """What the values of a mismatch are sealed for."""
    return f"mismatch:{flow_id}:{kind}:{source_key}:{target_key}:{name}"


@dataclass(slots=True)
class _Bench:
    """All that is known of some suspects."""

    job: Job
    read: Read
    lefts: Mapping[str, Left]
    states: Mapping[str, LinkState]
    deliveries: Mapping[str, tuple[str, str]]
    values: dict[tuple[str, str, str], tuple[Value, Value]] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job, limits: Limits, suspects: Sequence[Suspect], read: Read) -> "_Bench":
        keys = sorted({one.source_key for one in suspects} - {""})
        states = LinkState.objects.filter(flow_id=job.flow_id, source_key__in=keys)
        return cls(
            job,
            read,
            lefts(job, limits, read.records.values(), read.unread.items()),
            {state.source_key: state for state in states},
            _deliveries(job, keys),
        )

    def judge(self, suspect: Suspect) -> Judgement:
        return judge(self._pair(suspect))

    def _pair(self, suspect: Suspect) -> Pair:
        key, target_key = suspect.source_key, suspect.target_key
        left = self.lefts.get(key, Left(key, Standing.ABSENT))
        there = self.read.targets.get(target_key)
        is_unread = target_key in self.read.targets_unread
        right = Standing.HELD if is_unread else Standing.LIVE if there is not None else Standing.ABSENT
        marker = marker_of(self.job, there) if there is not None else ""
        delivery, code = self.deliveries.get(key, ("", ""))
        code = code or left.code or (self.read.targets_unread[target_key].code if is_unread else "")
        state = self.states.get(key)
        return Pair(
            left=left.standing,
            right=right,
            is_linked=suspect.is_linked,
            marker=marker,
            own_keys=suspect.aliases | {key},
            is_surplus=suspect.is_surplus and right is Standing.LIVE and marker == key,
            is_archived=left.record is not None and left.record.state is not State.LIVE,
            unequal=tuple(self._unequal(suspect, left, there)) if there is not None else (),
            marker_is_touched=self._is_touched(state, self.job.kind.marker, marker),
            delivery=delivery,
            code=code,
            rules_are_newer=state is not None and state.revision_number < self.job.revision_number,
            is_preview=self.job.mode == Mode.PREVIEW,
        )

    def _is_touched(self, state: LinkState | None, name: str, there: Value) -> bool:
        last = state.digests.get(name) if state else None
        return last is not None and self.job.digest(name, there) != last

    def _unequal(self, suspect: Suspect, left: Left, there: Record) -> Iterator[Unequal]:
        """The fields that differ, by the ``diff`` that a delivery would make."""
        if left.standing not in (Standing.LIVE, Standing.GONE):
            return
        state, job = self.states.get(left.key), self.job
        written: Mapping[str, str] = state.digests if state else {}
        wanted = self._without_dropped(left.fields, state.dropped if state else {})
        patch = diff(
            wanted,
            there.values,
            kind_of=job.kind_of,
            digest=job.digest,
            written=written,
            policies=job.plan.policies_for(
                is_new=False, is_gone=left.standing is Standing.GONE, was_gone=bool(state and state.gone)
            ),
            fixed=job.plan.fixed,
        )
        for name in (*patch.fields, *patch.conflicts, *patch.fixed):
            self.values[left.key, suspect.target_key, name] = (wanted[name], there.values[name])
            is_wish_old = written.get(name) == job.digest(name, wanted[name]) or self._is_wish_old(left, state)
            yield Unequal(name, is_wish_old, self._is_touched(state, name, there.values[name]))

    def _without_dropped(self, fields: Mapping[str, Value], dropped: Mapping[str, str]) -> dict[str, Value]:
        """The wish without what was left out because somebody else holds it, as a delivery leaves it out."""
        job = self.job
        wanted = {
            name: value
            for name, value in fields.items()
            if name not in dropped or job.digest(name, value) != dropped[name]
        }
        return job.kind.finish(wanted, job.plan.context) if len(wanted) < len(fields) else wanted

    def _is_wish_old(self, left: Left, state: LinkState | None) -> bool:
        """Whether the source record was read as it is now when it was last delivered."""
        if state is None or left.record is None or not state.wish:
            return False
        return bool(state.source_version) and state.source_version == self.job.reading(left.record)

    def seal(self, suspect: Suspect, found: Found) -> bytes | None:
        """Both sides' values, where one field is meant."""
        pair = self.values.get((suspect.source_key, suspect.target_key, found.field))
        if pair is None:
            return None
        told = json.dumps([in_words(value) for value in pair]).encode()
        place = bound_to(self.job.flow_id, found.kind.value, suspect.source_key, suspect.target_key, found.field)
        return self.job.vault.seal(told, bound_to=place)


def _deliveries(job: Job, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Of each key that has one, whether its newest wish is held or on its way, and why it is held."""
    rows = Delivery.objects.filter(flow_id=job.flow_id, source_key__in=keys, state__in=(*OPEN, *IN_FLIGHT))
    found: dict[str, tuple[str, str]] = {}
    for key, state, code in rows.values_list("source_key", "state", "code"):
        if state == DeliveryState.HELD:
            found[key] = ("held", code)
        else:
            found.setdefault(key, ("open", code))
    return found
