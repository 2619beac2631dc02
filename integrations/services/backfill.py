"""Backfill: a flow's history, by explicit request only (A02, A16, A23, K42).

A pass of its own beside the flow's ordinary ones. It reads everything, lets through what was made from a day on whatever
the flow's start, and may be paused, killed and carried on: its place is kept page by page, and the gate makes reading
twice harmless.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from django.conf import settings

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Ask, Bulk, Connector, WriteItem
from integrations.core.errors import RecordError
from integrations.core.records import Record
from integrations.models import Connection, Flow, Mode, QuotaBudget, Run, RunState
from integrations.services import connections
from integrations.services.jobs import Job, load_job
from integrations.toolkit.http import Client
from tenants.walls import tenant_tx

LIVE = (RunState.RUNNING, RunState.PAUSED)
SETTLING = 200
OWN_ROW_S = 0.001  # what we take ourselves for a row of a bulk run, or to read a record beside it; measured


class Refused(ValueError):
    """What was asked cannot be done; the message is a sentence for the person."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a backfill will read, and how long the two vendors' limits make it last, in seconds. Reading and writing go on
    at the same time."""

    records: int | None
    read_s: float
    write_s: float

    @property
    def seconds(self) -> float:
        return max(self.read_s, self.write_s)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill is. ``share`` is 0 to 1, None while nobody said how much there is; ``left_s`` is told from the
    pace so far."""

    read: int
    expected: int | None
    waiting: int
    share: float | None
    left_s: float | None


def begin(flow_id: int, *, since: date | None, now: datetime) -> Run:
    """A new backfill of this flow, or the one that is under way, carried on if it was paused; or one that has read all
    and is still being delivered. Call inside the clinic's transaction. Raises Refused for a flow that is off, and for another beginning than the one under way has."""
    flow = Flow.objects.select_for_update(of=("self",), no_key=True).select_related("tenant").get(pk=flow_id)
    if flow.mode == Mode.OFF:
        raise Refused("The flow is off. Set it to preview, pilot or live first.")
    made_from = _start_of(since, flow.tenant.time_zone) if since else None
    live: Run | None = live_of(flow_id)
    if live is not None:
        if live.made_from != made_from:
            raise Refused("A backfill with another beginning is under way. Let it end, or stop it first.")
        resume(live)
        return live
    if delivering := _delivering(flow, made_from):
        return delivering
    run: Run = Run.objects.create(
        tenant_id=flow.tenant_id,
        flow=flow,
        trigger="backfill",
        revision_number=flow.revision_number,
        is_backfill=True,
        made_from=made_from,
        started_at=now,
    )
    return run


def live_of(flow_id: int) -> Run | None:
    """The backfill that is under way or paused. Call inside the clinic's scope."""
    run: Run | None = Run.objects.filter(flow_id=flow_id, is_backfill=True, state__in=LIVE).first()
    return run


def _delivering(flow: Flow, made_from: datetime | None) -> Run | None:
    last: Run | None = Run.objects.filter(flow=flow, is_backfill=True).order_by("-pk").first()
    if last is None or (last.state, last.made_from) != (RunState.DONE, made_from) or is_idle(last):
        return None
    return last if last.revision_number == flow.revision_number else None


def pause(run: Run) -> bool:
    """Reads nothing more until it is resumed; what was read is delivered. False if it had ended."""
    return bool(Run.objects.filter(pk=run.pk, state=RunState.RUNNING).update(state=RunState.PAUSED, lease_until=None))


def resume(run: Run) -> bool:
    return bool(Run.objects.filter(pk=run.pk, state=RunState.PAUSED).update(state=RunState.RUNNING, not_before=None))


def stop(run: Run, now: datetime) -> bool:
    """Ends it where it stands. What was read is delivered, and another backfill may begin."""
    return bool(
        Run.objects.filter(pk=run.pk, state__in=LIVE).update(state=RunState.STOPPED, finished_at=now, lease_until=None)
    )


def estimate(tenant_id: int, flow_id: int, *, client: Client | None = None) -> Estimate:
    """Asks the source how much there is (one page) and reckons with both limits, or where so many go in bulk, with the
    pace of bulk runs. Raises SyncError if it does not answer."""
    with tenant_tx(tenant_id, reason="estimate"):
        job = load_job(flow_id)
        reads, writes = _pace(job.source), _pace(job.target)
    read_page = job.source_stream.read_page
    if read_page is None:
        return Estimate(None, 0, 0)
    client = client or connections.open_client(tenant_id, job.source, interactive=True)
    page = read_page(client, Ask(None, job.plan.source_fields), None)
    records = page.total or 0
    read_s = reads.seconds(records * job.source_stream.read_cost)
    if job.target_stream.bulk and job.mode == Mode.LIVE and records > settings.SUTURE_BULK_FROM:
        rows = records * _rows_of_one(job, job.target_stream.bulk, page.records)
        written_s = rows * (1 / settings.SUTURE_BULK_ROWS_PER_S + OWN_ROW_S)
        again = _read_before_files(records)
        again_s = max(again * OWN_ROW_S, writes.seconds(again * job.target_stream.read_cost))
        return Estimate(page.total, read_s, records * OWN_ROW_S + again_s + written_s)
    return Estimate(page.total, read_s, writes.seconds(records * job.target_stream.write_cost))


def _read_before_files(records: int) -> int:
    """How many target records are read, all in all, before each of the files that so many go in: those of earlier ones."""
    earlier = range(settings.SUTURE_BULK_ROWS, records, settings.SUTURE_BULK_ROWS)
    return sum(earlier)


def _rows_of_one(job: Job, bulk: Bulk, records: Sequence[Record]) -> float:
    """In how many passes of a bulk run one of these has a row, on average."""
    drafts = [wish.draft.fields for wish in map(job.wish, records) if wish.draft]
    made = Record(key="1", version="", values={})
    rows = 0
    for fields in drafts:
        steps = [WriteItem("1", fields, fields, current, "1") for current in (None, made)]
        with suppress(RecordError):
            rows += sum(
                one.row(steps[number > 0], job.kind.marker) is not None for number, one in enumerate(bulk.passes)
            )
    return rows / max(1, len(records))


@dataclass(frozen=True, slots=True)
class _Pace:
    """What an account may spend: so much in a second, and at the start what its bucket holds."""

    per_second: float
    bucket: float

    def seconds(self, cost: float) -> float:
        return max(0.0, cost - self.bucket) / self.per_second


def _pace(side: Connection) -> _Pace:
    """As the account's budget was found to be, else as the vendor says."""
    connector: Connector = CONNECTORS[side.vendor]
    row = QuotaBudget.objects.filter(vendor=side.vendor, subject=side.quota_subject).first()
    limit = connector.limit
    if row is None:
        return _Pace(limit.amount / limit.per_s, limit.capacity)
    return _Pace(row.amount / row.per_s, row.capacity)


def progress(run: Run, now: datetime) -> Progress:
    """How far it is, by what was read and what still waits to be delivered."""
    settled = run.read - run.waiting - run.uncertain
    if not run.expected:
        return Progress(run.read, run.expected, run.waiting, None, None)
    share = min(1.0, settled / run.expected)
    spent = (now - run.started_at).total_seconds()
    left = spent * (run.expected - settled) / settled if settled >= SETTLING else None
    return Progress(run.read, run.expected, run.waiting, share, max(0.0, left) if left is not None else None)


def _start_of(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), tzinfo=ZoneInfo(zone)).astimezone(UTC)


def is_idle(run: Run) -> bool:
    """Whether all that it read has come to an end or to a person."""
    return run.state not in LIVE and not (run.waiting or run.uncertain)
