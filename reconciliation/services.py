"""A comparison of both sides of a flow: begun, carried on slice by slice, ended. Writes nothing at any vendor.

It reads both sides completely and keeps, of each record, a digest a field; joins them; and reads again, and judges, only
those that differ. What is read in a moment commits with the report's place, so that a worker that dies costs no more.
"""

import time as clock
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import F

from integrations.connectors.base import Page
from integrations.core import errors
from integrations.models import Call, Connection, Flow, Mode
from integrations.services import connections, leases
from integrations.services.desk import Refused
from integrations.services.haul import ReadingAhead
from integrations.services.intake import HAUL_ROWS, HAUL_S, WORTH_READING_AHEAD
from integrations.services.jobs import Job, load_job
from integrations.toolkit.http import Client
from reconciliation import judging, mailing, staging
from reconciliation.compare import AGREE, LEFT_PARTS, PARTS, RIGHT_PARTS, side_total
from reconciliation.joining import Row, alone_rows, join, pair_rows
from reconciliation.layout import Layout
from reconciliation.models import Mismatch, Phase, Report, ReportState
from reconciliation.staging import Limits
from tenants.models import Tenant
from tenants.walls import app_now, current_scope, tenant_tx

SUSPECTS = 50  # read again at once: as many as a claim of deliveries, within the same lease


class LeaseLost(Exception):
    """Somebody else took this report over: stop, save nothing."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice came to. ``more``: it goes on; ``retry_at``: not before then."""

    more: bool
    retry_at: datetime | None = None
    code: str = ""


def begin(flow_id: int, *, trigger: str, now: datetime) -> Report:
    """A new comparison of this flow, or the one that is under way. Call inside the clinic's transaction.

    Raises Refused for a flow that is off.
    """
    flow = Flow.objects.select_for_update(no_key=True, of=("self",)).get(pk=flow_id)
    if flow.mode == Mode.OFF:
        raise Refused("The flow is off. Set it to preview, pilot or live first.")
    running: Report | None = Report.objects.filter(flow=flow, state=ReportState.RUNNING).first()
    if running is not None:
        return running
    report: Report = Report.objects.create(
        tenant_id=flow.tenant_id,
        flow=flow,
        trigger=trigger,
        actor=getattr(current_scope(), "actor", "") if trigger == "person" else "",
        revision_number=flow.revision_number,
        started_at=now,
    )
    return report


def stop(report_id: int, now: datetime) -> bool:
    """Ends it where it stands; what it found until then stays. False if it had ended. Call inside the transaction."""
    ended = Report.objects.filter(pk=report_id, state=ReportState.RUNNING).update(
        state=ReportState.STOPPED, finished_at=now, lease_until=None
    )
    staging.forget(report_id)
    return bool(ended)


def run_slice(
    tenant_id: int,
    report_id: int,
    *,
    seconds: float,
    opener: Callable[..., Client] = connections.open_client,
) -> Slice:
    """Carries a comparison on for about ``seconds``. Vendor errors end the slice with a code and leave its place; so does
    whoever took it over, or stopped it, meanwhile.
    """
    with tenant_tx(tenant_id, reason="reconcile"):
        report = _claim(report_id)
        if report is None:
            return Slice(more=False)
        flow = Flow.objects.select_related("tenant").get(pk=report.flow_id)
        started = app_now()
        if flow.mode == Mode.OFF:
            _end(report, ReportState.STOPPED, "mode.off", started)
            return Slice(more=False, code="mode.off")
        work = Work(load_job(flow.pk, revision_number=report.revision_number), report, Limits.of(flow), opener)
        work.begin()
    try:
        try:
            return work.carry_on(until=started + timedelta(seconds=seconds))
        except errors.SyncError as error:
            return _interrupted(work, error)
    except LeaseLost:
        return Slice(more=False)


def _claim(report_id: int) -> Report | None:
    """Takes the report's lease by one conditional update. One that crashed too often fails instead."""
    now = app_now()
    if not leases.claim(Report.objects.filter(pk=report_id, state=ReportState.RUNNING), now):
        return None
    report: Report = Report.objects.get(pk=report_id)
    if report.crashes > settings.SUTURE_CRASH_TRIES:
        _end(report, ReportState.FAILED, "internal.run_crashes", now)
        return None
    return report


def _end(report: Report, state: ReportState, code: str, now: datetime) -> None:
    ended = Report.objects.filter(pk=report.pk, fence=report.fence, state=ReportState.RUNNING).update(
        state=state, code=code, finished_at=now, lease_until=None
    )
    if not ended:
        raise LeaseLost
    staging.forget(report.pk)


def _interrupted(work: "Work", error: errors.SyncError) -> Slice:
    """Lets the report go, its place kept, and tells the connection that was asked what happened."""
    with tenant_tx(work.job.tenant_id, reason="reconcile"):
        retry_at = connections.record_failure(work.asked.pk, error, call=Call.READ)
        if isinstance(error, errors.AccountError | errors.VendorChanged | errors.RecordError):
            _end(work.report, ReportState.FAILED, error.code, app_now())
            return Slice(more=False, code=error.code)
        work.save(lease_until=None, crashes=0, code=error.code, not_before=retry_at)
    return Slice(more=True, retry_at=retry_at, code=error.code)


@dataclass(slots=True)
class _Hauls:
    """Pages that come within a moment, from ``place`` on; ``rows`` are those of the last haul."""

    read: Callable[[str | None], Page]
    place: str | None
    rows: int = 0

    def next(self) -> tuple[list[Page], errors.SyncError | None]:
        pages: list[Page] = []
        self.rows, until = 0, clock.monotonic() + HAUL_S
        while not pages or (self.place is not None and self.rows < HAUL_ROWS and clock.monotonic() < until):
            try:
                pages.append(self.read(self.place))
            except errors.SyncError as error:
                return pages, error
            self.place = pages[-1].next
            self.rows += len(pages[-1].records)
        return pages, None


@dataclass(slots=True)
class Work:
    """One claimed slice. ``asked`` is the connection that was asked last."""

    job: Job
    report: Report
    limits: Limits
    opener: Callable[..., Client]
    asked: Connection = field(init=False)
    layout: Layout = field(init=False)
    until: datetime = field(init=False)
    _clients: dict[int, Client] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.asked, self.layout = self.job.source, staging.layout_of(self.job)

    def begin(self) -> None:
        """Begins anew where what was staged is lost, or was staged by other rules. Call inside the transaction."""
        layout = staging.name_of(self.job, self.layout)
        if self.report.layout == layout and staging.is_marked(self.report.pk):
            return
        staging.mark(self.report.pk)
        nothing = dict.fromkeys(("read_left", "read_right", "left", "right", *PARTS), 0)
        self.save(layout=layout, phase=Phase.READ_LEFT, place=None, started_at=app_now(), **nothing)

    def carry_on(self, *, until: datetime) -> Slice:
        self.until = until
        steps = {
            Phase.READ_LEFT: self._read_left,
            Phase.READ_RIGHT: self._read_right,
            Phase.JOIN: self._join,
            Phase.PAIRS: self._look_at_pairs,
            Phase.ALONE: self._look_at_alone,
        }
        while True:
            steps[Phase(self.report.phase)]()
            if self.report.state != ReportState.RUNNING:
                return Slice(more=False)
            with tenant_tx(self.job.tenant_id, reason="reconcile"):
                if app_now() >= until:
                    self.save(lease_until=None)
                    return Slice(more=True)

    def save(self, **changes: Any) -> None:
        """Raises LeaseLost if the report is somebody else's by now. Call inside the clinic's transaction."""
        owned = Report.objects.filter(pk=self.report.pk, fence=self.report.fence, state=ReportState.RUNNING)
        if not owned.update(**changes):
            raise LeaseLost
        for name, value in changes.items():
            if not hasattr(value, "resolve_expression"):
                setattr(self.report, name, value)

    def _advance(self, place: str | None, after: Phase | None, **changes: Any) -> None:
        """The place of a page that is done; ``after`` is the phase that follows the last one."""
        if place is None and after is not None:
            changes["phase"] = after
        self.save(place=place, crashes=0, code="", lease_until=leases.lease_end(app_now()), **changes)

    def _client(self, connection: Connection) -> Client:
        self.asked = connection
        if connection.pk not in self._clients:
            self._clients[connection.pk] = self.opener(self.job.tenant_id, connection)
        return self._clients[connection.pk]

    # -- both sides read

    def _read_left(self) -> None:
        client = self._client(self.job.source)
        self._read(lambda place: staging.read_left(self.job, client, place), self._keep_left)

    def _keep_left(self, pages: Sequence[Page]) -> None:
        records = [record for page in pages for record in page.records]
        made = staging.lefts(self.job, self.limits, records, [one for page in pages for one in page.broken])
        staging.stage_left(self.report.pk, self.layout, made)
        self._advance(pages[-1].next, Phase.READ_RIGHT, read_left=F("read_left") + len(made))

    def _read_right(self) -> None:
        client = self._client(self.job.target)
        self._read(lambda place: staging.read_right(self.job, client, place, self._keys_after(place)), self._keep_right)

    def _keys_after(self, place: str | None) -> list[str]:
        if staging.lists_target(self.job):
            return []
        with tenant_tx(self.job.tenant_id, reason="reconcile"):
            return staging.keys_after(self.job, place)

    def _keep_right(self, pages: Sequence[Page]) -> None:
        read, agreed = staging.stage_right(self.report.pk, self.layout, self.job, pages)
        counts = _added({AGREE: agreed})
        self._advance(pages[-1].next, Phase.JOIN, read_right=F("read_right") + read, **counts)

    def _read(self, read: Callable[[str | None], Page], keep: Callable[[Sequence[Page]], None]) -> None:
        """One side, to its end or the slice's: a haul is kept while the next one is read. What came before an error is
        kept, then it is raised."""
        hauls = _Hauls(read, self.report.place)
        with ReadingAhead(hauls.next) as ahead:
            while True:
                pages, error = ahead.next()
                goes_on = False
                if pages:
                    with tenant_tx(self.job.tenant_id, reason="reconcile"):
                        goes_on = error is None and pages[-1].next is not None and app_now() < self.until
                        if goes_on and hauls.rows >= WORTH_READING_AHEAD:
                            ahead.start()
                        keep(pages)
                        connections.record_success(self.asked.pk, app_now(), call=Call.READ)
                if error is not None:
                    raise error
                if not goes_on:
                    return

    # -- and compared

    def _join(self) -> None:
        with tenant_tx(self.job.tenant_id, reason="reconcile"):
            self._advance(None, Phase.PAIRS, **_added(join(self.job, self.report.pk)))

    def _look_at_pairs(self) -> None:
        with tenant_tx(self.job.tenant_id, reason="reconcile"):
            rows = pair_rows(self.job, self.report.pk, self.layout, self.report.place)
        self._count(rows, Phase.ALONE)

    def _look_at_alone(self) -> None:
        with tenant_tx(self.job.tenant_id, reason="reconcile"):
            rows = alone_rows(self.job, self.report.pk, self.report.place)
        self._count(rows, None)

    def _count(self, rows: list[Row], after: Phase | None) -> None:
        """Rows in their order, up to as many suspects as are read again at once; the rest is asked for next."""
        counts: Counter[str] = Counter()
        suspects: list[Row] = []
        taken = 0
        for row in rows:
            taken += 1
            if row.parts is None:
                suspects.append(row)
                if len(suspects) == SUSPECTS:
                    break
            else:
                counts.update(row.parts)
        judged = self._judged(suspects)
        with tenant_tx(self.job.tenant_id, reason="reconcile"):
            if judged is not None:
                told = judging.judge_all(self.job, self.limits, self.report, *judged)
                judging.keep(told)
                counts.update(told.counts)
            place = rows[taken - 1].key if rows else None
            self._advance(place, after, **_added(counts))
            if place is None and after is None:
                self._finish()

    def _judged(self, suspects: list[Row]) -> tuple[list[judging.Suspect], judging.Read] | None:
        """The suspects as both vendors tell them now; outside of any transaction."""
        if not suspects:
            return None
        with tenant_tx(self.job.tenant_id, reason="reconcile"):
            followed = judging.follow_links(self.job, suspects)
        return followed, judging.read_again(self.job, followed, self._client)

    def _finish(self) -> None:
        """Closes what was not seen again, and ends the report."""
        now = app_now()
        flow = Mismatch.objects.filter(flow_id=self.job.flow_id)
        closed = flow.filter(closed_at=None, last_seen__lt=self.report.started_at)
        count = closed.update(closed_at=now, sealed_values=None)
        found = flow.filter(closed_at=None, first_seen=self.report.started_at).count()
        self.save(state=ReportState.DONE, finished_at=now, lease_until=None, found=found, closed=count)
        if found:
            mailing.note_findings(Tenant.objects.get(pk=self.job.tenant_id), now)
        staging.forget(self.report.pk)


def _added(counts: Mapping[str, int]) -> dict[str, Any]:
    """The counts as changes of the report's row; both sides' totals are the sums of their parts."""
    sides = {"left": side_total(counts, LEFT_PARTS), "right": side_total(counts, RIGHT_PARTS)}
    return {name: F(name) + count for name, count in {**counts, **sides}.items() if count}
