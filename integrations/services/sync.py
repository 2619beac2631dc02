"""Intake and delivery in this process, without a queue: what ``manage.py sync`` does."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings

from integrations.flows import FLOW_KINDS
from integrations.models import BUCKETS, Connection, ConnectionState, Flow, Mode, Run, RunState
from integrations.services import bulk, connections, freshness, intake, meters, pulse
from integrations.services.delivery import drain
from integrations.services.schedule import BadSchedule, next_due
from integrations.toolkit.http import Client
from tenants.models import Tenant
from tenants.walls import app_now, tenant_tx

logger = logging.getLogger(__name__)

LONGEST_NAP_S = 5.0
SHORT_SLICE_S = 1.0
BAD_SCHEDULE_WAIT = timedelta(hours=1)


@dataclass(slots=True)
class FlowReport:
    """One flow's part of a sync: counts over the records its run read, and what was done for older deliveries."""

    tenant: str
    tenant_id: int
    flow: str
    flow_id: int
    target_id: int
    mode: str
    run_id: int | None = None
    counts: dict[str, int] = field(default_factory=dict)
    older: dict[str, int] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    code: str = ""

    def as_json(self) -> dict[str, object]:
        told: dict[str, object] = {"tenant": self.tenant, "flow": self.flow, "mode": self.mode}
        told["read"] = self.counts.get("read", 0)
        told |= {bucket: self.counts.get(bucket, 0) for bucket in BUCKETS}
        return told | {
            "older": self.older,
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "code": self.code,
        }


@dataclass(slots=True)
class Report:
    flows: list[FlowReport]
    ok: bool = True


@dataclass(slots=True)
class _Openings:
    """Opens each connection once for the whole sync and counts the requests made."""

    opened: dict[int, tuple[str, Client]] = field(default_factory=dict)

    def __call__(self, tenant_id: int, connection: Connection, **how: object) -> Client:
        if connection.pk not in self.opened:
            self.opened[connection.pk] = (connection.name, connections.open_client(tenant_id, connection))
        return self.opened[connection.pk][1]

    def requests(self) -> dict[int, tuple[str, int]]:
        return {pk: (name, client.calls) for pk, (name, client) in self.opened.items()}


def begin_run(tenant_id: int, flow_id: int, *, trigger: str = "sync") -> int | None:
    """Starts a run of a flow, or finds the live one; says when the flow is due next. None when it may not run."""
    with tenant_tx(tenant_id, reason="start run"):
        flow = Flow.objects.select_related("tenant", "source").get(pk=flow_id)
        now = app_now()
        run = intake.start_run(flow_id, trigger=trigger, now=now)
        due = _next_due(flow, now)
        Flow.objects.filter(pk=flow_id).update(next_due_at=due)
        if run is not None:
            return run.pk
        running = Run.objects.filter(flow=flow, state=RunState.RUNNING, is_backfill=False)
        return running.values_list("pk", flat=True).first()


def _next_due(flow: Flow, now: datetime) -> datetime:
    """A schedule nobody can read (forms refuse them) delays its own flow, and stops no other."""
    if flow.urgent:
        return now + timedelta(seconds=freshness.poll_s(flow, now))
    try:
        return next_due(flow.every, zone=flow.tenant.time_zone, after=now, name=f"{flow.pk}")
    except BadSchedule:
        logger.error("flow %d of tenant %d has a schedule that cannot be read", flow.pk, flow.tenant_id)
        return now + BAD_SCHEDULE_WAIT


def sync(
    *,
    tenant_slug: str = "",
    flow_name: str = "",
    until_idle: bool = False,
    max_wait_s: float = 600,
    tell: Callable[[list[FlowReport]], None] = lambda _: None,
    begin: Callable[[int, int], int | None] | None = None,
) -> Report:
    """Runs every chosen flow once and delivers; with ``until_idle`` waits for what becomes due within ``max_wait_s``, but
    no longer than that for a system that does not answer while nothing else moves.

    ``begin`` starts or finds a flow's run, given the clinic and the flow; without one it is an ordinary pass.

    ``tell`` is called now and then with the counts so far, for a progress display.
    """
    started = time.monotonic()
    reports = [report for tenant in _tenants(tenant_slug) for report in _flows_of(tenant, flow_name)]
    openings = _Openings()
    for report in reports:
        report.run_id = (begin or begin_run)(report.tenant_id, report.flow_id)
    only = pulse.Only([report.flow_id for report in reports], sorted({report.target_id for report in reports}))
    before = {report.flow_id: _totals(report) for report in reports}
    moved_at, counts = started, [report.counts for report in reports]
    while reports:
        worked = _work_once(only, openings)
        _refresh(reports)
        tell(reports)
        if counts != (counts := [report.counts for report in reports]):
            moved_at = time.monotonic()
        elif time.monotonic() - moved_at > max_wait_s and not all(_is_well(report) for report in reports):
            break
        if not worked and not (until_idle and _nap(only, max_wait_s)):
            break
    _refresh(reports)
    _tell_requests(reports, openings)
    meters.keep_calls()
    for report in reports:
        report.seconds = time.monotonic() - started
        report.older = _older(before[report.flow_id], _totals(report), report)
    return Report(reports, ok=all(_is_well(report) for report in reports))


def _tenants(slug: str) -> list[Tenant]:
    tenants = Tenant.objects.filter(active=True).order_by("slug")
    return list(tenants.filter(slug=slug) if slug else tenants)


def _flows_of(tenant: Tenant, name: str) -> list[FlowReport]:
    with tenant_tx(tenant.pk, reason="sync"):
        flows = Flow.objects.exclude(mode=Mode.OFF)
        if name:
            flows = flows.filter(name=name)
        parents_first = sorted(flows, key=lambda flow: (len(FLOW_KINDS[flow.kind].parents), flow.name))
        return [
            FlowReport(tenant.slug, tenant.pk, flow.name, flow.pk, flow.target_id, flow.mode) for flow in parents_first
        ]


def _work_once(only: pulse.Only, openings: _Openings) -> bool:
    """A slice of every due run, a step of every due bulk run, a drain of every due connection. True if there was
    anything to do. While a bulk run is under way the others take short turns: its target waits for its next step."""
    seconds = (
        min(SHORT_SLICE_S, settings.SUTURE_SLICE_S) if pulse.is_any_bulk_run_live(only) else settings.SUTURE_SLICE_S
    )
    runs = pulse.due_runs(only)
    for ring in runs:
        intake.run_slice(ring.tenant_id, ring.id, seconds=seconds, opener=openings)
    bulk_runs = pulse.due_bulk_runs(only)
    for ring in bulk_runs:
        bulk.carry_on(ring.tenant_id, ring.id, seconds=settings.SUTURE_SLICE_S, opener=openings)
    drains = pulse.due_drains(only)
    for ring in drains:
        drain(ring.tenant_id, ring.id, seconds=seconds, opener=openings)
    return bool(runs or bulk_runs or drains)


def _nap(only: pulse.Only, max_wait_s: float) -> bool:
    """Sleeps until something may be due, a few seconds at most. False when nothing is due soon enough."""
    moment = pulse.next_due_at(only)
    now = app_now()
    if moment is None or moment - now > timedelta(seconds=max_wait_s):
        return False
    time.sleep(min(LONGEST_NAP_S, max(0.05, (moment - now).total_seconds())))
    return True


def _refresh(reports: list[FlowReport]) -> None:
    for report in reports:
        if report.run_id is None:
            continue
        with tenant_tx(report.tenant_id, reason="sync"):
            row = Run.objects.filter(pk=report.run_id).values("read", "code", *BUCKETS).get()
        report.code = str(row.pop("code"))
        report.counts = row


def _totals(report: FlowReport) -> Counter[str]:
    """Counts over all earlier runs of the flow that may still move: those with open deliveries, and the newest."""
    with tenant_tx(report.tenant_id, reason="sync"):
        rows = Run.objects.filter(flow_id=report.flow_id).exclude(pk=report.run_id).order_by("-pk")[:200]
        return sum((Counter({bucket: getattr(row, bucket) for bucket in BUCKETS}) for row in rows), Counter())


def _older(before: Counter[str], after: Counter[str], report: FlowReport) -> dict[str, int]:
    moved = {bucket: after[bucket] - before[bucket] for bucket in ("created", "updated", "archived", "held")}
    return {bucket: count for bucket, count in moved.items() if count > 0}


def _tell_requests(reports: list[FlowReport], openings: _Openings) -> None:
    counted = openings.requests()
    for report in reports:
        with tenant_tx(report.tenant_id, reason="sync"):
            flow = Flow.objects.select_related("source", "target").get(pk=report.flow_id)
        names = {flow.source_id: flow.source.name, flow.target_id: flow.target.name}
        report.requests = {name: counted[pk][1] if pk in counted else 0 for pk, name in names.items()}


def _is_well(report: FlowReport) -> bool:
    """No failed run, no connection that fails or needs a person."""
    with tenant_tx(report.tenant_id, reason="sync"):
        flow = Flow.objects.select_related("source", "target").get(pk=report.flow_id)
        failed = Run.objects.filter(pk=report.run_id, state=RunState.FAILED).exists()
        waits = {ConnectionState.NEEDS_REAUTH, ConnectionState.FAILING} & {flow.source.state, flow.target.state}
    faulty = next((side for side in (flow.source, flow.target) if side.state in waits), None)
    report.code = report.code or flow.stopped_code or (faulty.state_code if faulty else "")
    return not (failed or waits or flow.stopped_code)
