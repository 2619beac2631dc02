"""Comparisons in this process, without a queue: what ``manage.py reconcile`` does."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings

from integrations.models import Flow, Mode
from integrations.services import connections
from integrations.toolkit.http import Client
from reconciliation import services
from reconciliation.compare import PARTS
from reconciliation.models import Report, ReportState
from tenants.models import Tenant
from tenants.walls import app_now, tenant_tx

LONGEST_NAP_S = 5.0


@dataclass(frozen=True, slots=True)
class Told:
    """One flow's comparison. ``report`` may still be running, where it would have to wait for too long."""

    tenant: str
    flow: str
    report: Report
    seconds: float

    @property
    def is_done(self) -> bool:
        return bool(self.report.state == ReportState.DONE)

    def as_json(self) -> dict[str, object]:
        report = self.report
        return {
            "tenant": self.tenant,
            "flow": self.flow,
            "left": report.left,
            "right": report.right,
            **{name: getattr(report, name) for name in PARTS},
            "found": report.found,
            "closed": report.closed,
            "state": report.state,
            "code": report.code,
            "seconds": round(self.seconds, 3),
        }


def compare_all(
    *,
    tenant_slug: str = "",
    flow_name: str = "",
    max_wait_s: float = 600,
    tell: Callable[[Report], None] = lambda _: None,
    opener: Callable[..., Client] = connections.open_client,
) -> list[Told]:
    """Compares both sides of every chosen flow that is on, one after the other. ``tell`` hears how far each is."""
    tenants = Tenant.objects.filter(active=True).order_by("slug")
    told = []
    for tenant in tenants.filter(slug=tenant_slug) if tenant_slug else tenants:
        with tenant_tx(tenant.pk, reason="reconcile"):
            flows = Flow.objects.exclude(mode=Mode.OFF).order_by("name")
            chosen = list((flows.filter(name=flow_name) if flow_name else flows).values_list("pk", "name"))
        for flow_id, name in chosen:
            began = time.monotonic()
            report = compare(tenant.pk, flow_id, max_wait_s=max_wait_s, tell=tell, opener=opener)
            told.append(Told(tenant.slug, name, report, time.monotonic() - began))
    return told


def compare(
    tenant_id: int,
    flow_id: int,
    *,
    max_wait_s: float = 600,
    tell: Callable[[Report], None] = lambda _: None,
    opener: Callable[..., Client] = connections.open_client,
) -> Report:
    """One comparison to its end, or until it has got nowhere for ``max_wait_s`` or would have to wait for longer. One
    that is under way is carried on, or watched while somebody else works on it."""
    with tenant_tx(tenant_id, reason="reconcile"):
        report_id = services.begin(flow_id, trigger="command", now=app_now()).pk
    moved_at, stood = time.monotonic(), None
    while True:
        services.run_slice(tenant_id, report_id, seconds=settings.SUTURE_SLICE_S, opener=opener)
        with tenant_tx(tenant_id, reason="reconcile"):
            report: Report = Report.objects.select_related("flow").get(pk=report_id)
            now = app_now()
        tell(report)
        if stood != (stands := (report.phase, report.place)):
            moved_at, stood = time.monotonic(), stands
        due = _due(report, now)
        left_s = max_wait_s - (time.monotonic() - moved_at)
        if report.state != ReportState.RUNNING or due - now > timedelta(seconds=left_s):
            return report
        if due > now:
            time.sleep(min(LONGEST_NAP_S, max(0.05, (due - now).total_seconds())))


def _due(report: Report, now: datetime) -> datetime:
    """When somebody may carry it on."""
    return max(moment for moment in (now, report.not_before, report.lease_until) if moment)
