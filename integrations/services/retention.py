"""What is kept how long, and its removal, clinic by clinic and page by page."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from integrations.models import (
    IN_FLIGHT,
    OPEN,
    Alert,
    Assignment,
    BulkRun,
    Comment,
    ConnectionDay,
    Delivery,
    DeliveryState,
    FlowDay,
    Rerun,
    Run,
    RunState,
    SyncLogEntry,
)
from integrations.services import hooks, incidents
from tenants.walls import app_now, system_tx, tenant_tx

PAGE = 5000


def remove_aged(tenant_id: int) -> dict[str, int]:
    """Removes what is older than the settings say; returns rows removed per kind. Safe to cut anywhere."""
    return {
        "deliveries": _in_pages(tenant_id, _aged_deliveries),
        "log": _in_pages(tenant_id, _aged_log),
        "runs": _in_pages(tenant_id, _aged_runs),
        "bulk runs": _in_pages(tenant_id, _aged_bulk_runs),
        "alerts": _in_pages(tenant_id, _aged_alerts),
        "comments": _in_pages(tenant_id, _aged_comments),
        "assignments": _in_pages(tenant_id, _aged_assignments),
        "reruns": _in_pages(tenant_id, _aged_reruns),
        "flow days": _in_pages(tenant_id, lambda: _aged_days(FlowDay)),
        "connection days": _in_pages(tenant_id, lambda: _aged_days(ConnectionDay)),
    }


def remove_aged_of_agency() -> int:
    """After the clinics: an incident stays while an alert of it does."""
    with system_tx("retention"):
        now = app_now()
        return incidents.remove_aged(now) + hooks.remove_aged(now)


def _aged_deliveries() -> QuerySet[Delivery]:
    edge = app_now() - timedelta(days=settings.SUTURE_KEEP_DONE_DAYS)
    return Delivery.objects.filter(state=DeliveryState.DONE, done_at__lt=edge)


def _aged_log() -> QuerySet[SyncLogEntry]:
    return SyncLogEntry.objects.filter(at__lt=app_now() - timedelta(days=settings.SUTURE_KEEP_LOG_DAYS))


def _aged_runs() -> QuerySet[Run]:
    """Runs nothing refers to any more. A run with an open delivery stays: its counts still move."""
    edge = app_now() - timedelta(days=settings.SUTURE_KEEP_RUN_DAYS)
    left = Delivery.objects.filter(run_id=OuterRef("pk"))
    return Run.objects.exclude(state__in=(RunState.RUNNING, RunState.PAUSED)).filter(~Exists(left), started_at__lt=edge)


def _aged_bulk_runs() -> QuerySet[BulkRun]:
    edge = app_now() - timedelta(days=settings.SUTURE_KEEP_RUN_DAYS)
    return BulkRun.objects.filter(finished_at__lt=edge)


def _aged_alerts() -> QuerySet[Alert]:
    return Alert.objects.filter(ended_at__lt=app_now() - timedelta(days=settings.SUTURE_KEEP_RUN_DAYS))


def _aged_comments() -> QuerySet[Comment]:
    """What was written about records that wait no more."""
    edge = app_now() - timedelta(days=settings.SUTURE_KEEP_RUN_DAYS)
    return Comment.objects.filter(~Exists(_waiting_still()), at__lt=edge)


def _aged_assignments() -> QuerySet[Assignment]:
    """Whoever was given a record is free of it a day after it went through: it may come back at once."""
    return Assignment.objects.filter(~Exists(_waiting_still()), at__lt=app_now() - timedelta(days=1))


def _waiting_still() -> QuerySet[Delivery]:
    return Delivery.objects.filter(
        tenant_id=OuterRef("tenant_id"),
        flow_id=OuterRef("flow_id"),
        source_key=OuterRef("source_key"),
        state__in=(*OPEN, *IN_FLIGHT),
    )


def _aged_reruns() -> QuerySet[Rerun]:
    return Rerun.objects.filter(finished_at__lt=app_now() - timedelta(days=settings.SUTURE_KEEP_RUN_DAYS))


def _aged_days(model: type[FlowDay] | type[ConnectionDay]) -> QuerySet[Any]:
    edge = app_now() - timedelta(days=settings.SUTURE_KEEP_METER_DAYS)
    rows: QuerySet[Any] = model.objects.filter(day__lt=edge.date())
    return rows


def _in_pages(tenant_id: int, aged: Callable[[], QuerySet[Any]]) -> int:
    removed = 0
    while True:
        with tenant_tx(tenant_id, reason="retention"):
            rows = aged()
            page = list(rows.order_by("pk").values_list("pk", flat=True)[:PAGE])
            removed += rows.model._default_manager.filter(pk__in=page).delete()[0] if page else 0
        if len(page) < PAGE:
            return removed
