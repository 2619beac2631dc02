"""The silence alarm (B8): a flow that brings nothing although its own past says that it should, with the likely reason."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db.models import Count
from django.db.models.functions import TruncHour

from integrations.core.silence import WEEK, WEEKS_MOST, Quiet, expected_by_now, quiet_since
from integrations.models import (
    Alert,
    Call,
    Connection,
    ConnectionState,
    Flow,
    Mode,
    SyncLogEntry,
    Volume,
    Watch,
)
from integrations.services.alerts import end_flow_alerts, open_flow_alert
from tenants.models import Tenant
from tenants.walls import insert_rows, system_tx

SILENT = "flow.silent"
KEPT = (WEEKS_MOST + 1) * WEEK
BROUGHT = ("ok", "held")
"""Outcomes of the log that show a record that came."""
HOLIDAY_LEAST, HOLIDAY_SHARE, HOLIDAY_QUIET = 3, 0.5, 3.0
"""Where of at least so many clinics this share is as quiet as this, all are taken to be closed."""
CANNOT_CALL = (ConnectionState.PAUSED, ConnectionState.NEEDS_REAUTH)


def is_holiday(country: str) -> bool:
    """Whether most clinics of a country that usually have work by this hour are quiet at once. Outside of any scope."""
    with system_tx("silence"):
        clinics = Tenant.objects.filter(country=country, active=True).values("pk")
        rows = Watch.objects.filter(tenant_id__in=clinics, expected_today__gte=HOLIDAY_QUIET)
        quiet = list(rows.order_by().values_list("quiet_for", flat=True))
    closed = sum(one >= HOLIDAY_QUIET for one in quiet)
    return len(quiet) >= HOLIDAY_LEAST and closed >= HOLIDAY_SHARE * len(quiet)


def count_hours(watch: Watch, now: datetime) -> bool:
    """Adds the hours that have ended since the last time; False where there is none. Inside the clinic's scope."""
    until = now.replace(minute=0, second=0, microsecond=0)
    since = watch.counted_to or until - KEPT
    if since >= until:
        return False
    brought = (
        SyncLogEntry.objects.filter(at__gte=since, at__lt=until, outcome__in=BROUGHT)
        .order_by()
        .annotate(hour=TruncHour("at"))
        .values_list("flow_id", "hour")
        .annotate(n=Count("source_key", distinct=True))
    )
    insert_rows(Volume, ("flow_id", "hour", "records"), list(brought), on_conflict="DO NOTHING")
    Volume.objects.filter(hour__lt=until - KEPT).delete()
    watch.counted_to = until
    return True


@dataclass(frozen=True, slots=True)
class Heard:
    """How quiet a clinic's flows are, and how much it has usually brought by now."""

    quiet: dict[int, Quiet]
    expected_today: float

    @property
    def quiet_for(self) -> float:
        return min((one.expected for one in self.quiet.values() if one.expected), default=0.0)


def listen(flows: Iterable[Flow], zone: str, now: datetime) -> Heard:
    """By the volumes that are kept, to the last full hour. Inside the clinic's scope."""
    local = now.astimezone(ZoneInfo(zone)).replace(minute=0, second=0, microsecond=0, tzinfo=None)
    counts: dict[int, dict[datetime, int]] = {}
    for flow_id, hour, records in Volume.objects.values_list("flow_id", "hour", "records"):
        own = counts.setdefault(flow_id, {})
        at = hour.astimezone(ZoneInfo(zone)).replace(tzinfo=None, minute=0)
        own[at] = own.get(at, 0) + records
    quiet, today = {}, 0.0
    for flow in flows:
        own = counts.get(flow.pk, {})
        first = min(own, default=local)
        found = quiet_since(own, first=first, now=local)
        if found is not None:
            quiet[flow.pk] = found
            today = max(today, expected_by_now(own, first=first, now=local))
    return Heard(quiet, today)


def judge(flows: Iterable[Flow], heard: Heard, now: datetime, *, is_holiday: bool) -> None:
    """Opens an alert for each flow that is quiet for too long, and ends those of flows that are not. On a holiday what
    rings already goes on, and nothing begins. Inside the clinic's scope."""
    open_now = dict(Alert.objects.filter(code=SILENT, ended_at=None).values_list("flow_id", "pk"))
    quiet = {flow_id for flow_id, one in heard.quiet.items() if one.is_too_long}
    end_flow_alerts([pk for flow_id, pk in open_now.items() if flow_id not in quiet], now)
    for flow in flows:
        if flow.pk in quiet and flow.pk not in open_now and not is_holiday:
            missing = round(heard.quiet[flow.pk].expected)
            open_flow_alert(flow.pk, SILENT, now, field=reason_of(flow, now), records=missing, call=Call.SILENCE)


def reason_of(flow: Flow, now: datetime) -> str:
    """The likeliest reason, as a word that `messages.reason_said` puts in a sentence."""
    sides: tuple[Connection, ...] = (flow.source, flow.target)
    if flow.mode in (Mode.OFF, Mode.PREVIEW):
        return "off"
    if flow.stopped_code:
        return "stopped"
    if any(side.state in CANNOT_CALL for side in sides):
        return "paused"
    if any(side.state_code in ("quota.wait", f"{side.vendor}.throttled", "http.throttled") for side in sides):
        return "quota"
    if any(side.failures or side.state == ConnectionState.FAILING for side in sides):
        return "failing"
    return "vendor"
