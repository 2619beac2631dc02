"""The health of a clinic in a month: what was done for it, how well, and what is open. For the agency's review and the clinic.

Everything is read for the whole clinic at once, so that the page asks as much of a clinic with one flow as of one with ten.
"""

import calendar
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django.db import connection as database
from django.db.models import Count, Max, Q, Sum

from integrations.connectors import CONNECTORS
from integrations.flows import FLOW_KINDS
from integrations.messages import Owner, message
from integrations.models import Alert, Connection, ConnectionDay, Flow, FlowDay, HandTime, Mode, QuotaBudget, Telling
from integrations.services import meters
from integrations.services.meters import Day
from integrations.services.quota import share_used
from reconciliation.models import Mismatch, Report, ReportState
from tenants.models import AuditEntry, Tenant

OLDEST = 2000
HOURS_BY_HAND = 8
"""A week: what clinics said copying between their systems took (C05)."""
OWNERS = {
    Owner.CLINIC: "The clinic",
    Owner.AGENCY: "The agency",
    Owner.VENDOR: "The vendor",
    Owner.SYSTEM: "Suture's engineers",
}
AGES = ("Under a day", "1 to 7 days", "8 to 28 days", "Older")
ALERTS_SHOWN = DECISIONS_SHOWN = FIELDS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Audited:
    """What somebody decided: the audit's word for it, and ours."""

    action: str
    words: str


DECISIONS = (
    Audited("digest.signed", "Signed off what was open"),
    Audited("flow.mode", "Changed a flow's mode"),
    Audited("flow.configured", "Changed rules or settings"),
    Audited("flow.mass_change_approved", "Let a mass change through"),
    Audited("connection.field_released", "Released a field"),
    Audited("delivery.ignored", "Left records alone"),
    Audited("acting.begun", "Acted as somebody of the clinic"),
)

_HELD = """
SELECT code, CASE WHEN held_at > %(now)s - interval '1 day' THEN 0 WHEN held_at > %(now)s - interval '7 days' THEN 1
    WHEN held_at > %(now)s - interval '28 days' THEN 2 ELSE 3 END, count(*)
FROM integrations_delivery
WHERE tenant_id = %(clinic)s AND state = 'held' AND (ignored_until IS NULL OR ignored_until <= %(now)s)
GROUP BY 1, 2
"""


@dataclass(frozen=True, order=True, slots=True)
class Month:
    year: int
    number: int

    @classmethod
    def of(cls, day: date) -> "Month":
        return cls(day.year, day.month)

    @classmethod
    def read(cls, text: str, *, latest: "Month") -> "Month":
        """``2026-03``; what is none, is still to come, or was long before us is the latest one."""
        try:
            asked = cls.of(datetime.strptime(f"{text}-01", "%Y-%m-%d"))  # noqa: DTZ007 - a month has no zone
        except ValueError:
            return latest
        return min(asked, latest) if asked.year >= OLDEST else latest

    @property
    def first(self) -> date:
        return date(self.year, self.number, 1)

    @property
    def last(self) -> date:
        return date(self.year, self.number, calendar.monthrange(self.year, self.number)[1])

    @property
    def before(self) -> "Month":
        return Month.of(self.first - timedelta(days=1))

    @property
    def after(self) -> "Month":
        return Month.of(self.last + timedelta(days=1))

    @property
    def key(self) -> str:
        return f"{self.year}-{self.number:02}"

    @property
    def words(self) -> str:
        return f"{calendar.month_name[self.number]} {self.year}"

    def bounds(self, zone: str) -> tuple[datetime, datetime]:
        """Its first instant, and the first after it."""
        start, end = (datetime(one.year, one.number, 1, tzinfo=ZoneInfo(zone)) for one in (self, self.after))
        return start, end


@dataclass(slots=True)
class FlowHealth:
    """A flow's month and the one before."""

    flow: Flow
    month: Day
    before: Day
    minutes: Decimal

    @property
    def hours(self) -> Decimal:
        return self.minutes * self.month.written / 60


@dataclass(frozen=True, slots=True)
class Outage:
    """A stretch in which a connection could not be used. ``lasted`` counts what lies within the month."""

    connection: str
    code: str
    opened_at: datetime
    ended_at: datetime | None
    lasted: timedelta


@dataclass(frozen=True, slots=True)
class Use:
    """Requests of a connection; ``share`` of its quota is what was used in the last full window, in per cent."""

    connection: Connection
    calls: int
    before: int
    busiest: int
    share: float | None


@dataclass(slots=True)
class Health:
    """All that the page shows. ``days`` are those of the month and of the one before."""

    clinic: Tenant
    month: Month
    now: datetime
    days: dict[tuple[int, date], Day] = field(default_factory=dict)
    flows: list[FlowHealth] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    drift: list[tuple[Flow, str, int, int, int]] = field(default_factory=list)
    held: list[tuple[str, list[int], int]] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    alerts: int = 0
    alerts_before: int = 0
    decided: list[tuple[AuditEntry, str]] = field(default_factory=list)

    @property
    def total(self) -> Day:
        return _together([one.month for one in self.flows])

    @property
    def total_before(self) -> Day:
        return _together([one.before for one in self.flows])

    @property
    def hours(self) -> Decimal:
        return sum((one.hours for one in self.flows), Decimal(0))

    @property
    def hours_before(self) -> Decimal:
        return sum((one.minutes * one.before.written / 60 for one in self.flows), Decimal(0))

    @property
    def weeks(self) -> float:
        """How many weeks of the month are over."""
        return _weeks(self.month, self.now, self.clinic.time_zone)

    @property
    def down(self) -> timedelta:
        return sum((one.lasted for one in self.outages), timedelta())


def _together(days: Sequence[Day]) -> Day:
    """Several flows as one: what stands at a day's end adds up, too."""
    total = Day()
    for day in days:
        total.add(day)
    held = [day.held for day in days if day.held is not None]
    total.held = sum(held) if held else None
    compared = [day for day in days if day.compared is not None]
    total.compared = sum(day.compared or 0 for day in compared) if compared else None
    total.agreed = sum(day.agreed or 0 for day in compared) if compared else None
    return total


def _weeks(month: Month, now: datetime, zone: str) -> float:
    start, end = month.bounds(zone)
    return max((min(now, end) - start).total_seconds() / (7 * 86400), 1 / 7)


def look(clinic: Tenant, month: Month, now: datetime) -> Health:
    """The clinic's month. In its own scope."""
    health = Health(clinic, month, now)
    health.days = days_of(clinic, month.before.first, month.last, now)
    flows = list(Flow.objects.filter(tenant_id=clinic.pk))
    by_hand = minutes_by_hand(clinic)
    health.flows = [
        FlowHealth(
            flow,
            _of_month(health.days, flow.pk, month),
            _of_month(health.days, flow.pk, month.before),
            by_hand[flow.kind],
        )
        for flow in flows
        if flow.kind in FLOW_KINDS
    ]
    connections = {row.pk: row for row in Connection.objects.filter(tenant_id=clinic.pk)}
    health.uses = _uses(clinic, month, connections, now)
    health.drift = _drift(clinic, month, {flow.pk: flow for flow in flows})
    health.held = _held(clinic, now)
    health.outages, health.alerts, health.alerts_before = _outages(clinic, month, connections, now)
    health.decided = _decided(clinic, month)
    return health


def days_of(clinic: Tenant, first: date, last: date, now: datetime) -> dict[tuple[int, date], Day]:
    """The meters' days, with the agreement of the reports that are still there."""
    days = meters.days_of(clinic, first, last, now)
    zone = ZoneInfo(clinic.time_zone)
    start = datetime(first.year, first.month, first.day, tzinfo=zone)
    reports = Report.objects.filter(tenant_id=clinic.pk, state=ReportState.DONE, started_at__gte=start)
    for report in reports.order_by("started_at").defer("place", "layout"):
        day = report.started_at.astimezone(zone).date()
        if day <= last:
            one = days.setdefault((report.flow_id, day), Day())
            one.compared, one.agreed = report.compared, report.agree
    return days


def _of_month(days: Mapping[tuple[int, date], Day], flow_id: int, month: Month) -> Day:
    own = {key: day for key, day in days.items() if key[0] == flow_id and month.first <= key[1] <= month.last}
    return meters.summed(own)


def minutes_by_hand(clinic: Tenant) -> dict[str, Decimal]:
    """Of each flow kind, what the clinic says or else what the kind does."""
    said = dict(HandTime.objects.filter(tenant_id=clinic.pk).values_list("kind", "minutes"))
    return {name: said.get(name, Decimal(str(kind.minutes_by_hand))) for name, kind in FLOW_KINDS.items()}


def set_minutes(clinic: Tenant, minutes: Mapping[str, Decimal]) -> list[str]:
    """Keeps them; returns the kinds that changed. In the clinic's scope."""
    known = minutes_by_hand(clinic)
    changed = [kind for kind, value in minutes.items() if known[kind] != value]
    for kind in changed:
        HandTime.objects.update_or_create(tenant_id=clinic.pk, kind=kind, defaults={"minutes": minutes[kind]})
    return changed


def _uses(clinic: Tenant, month: Month, connections: Mapping[int, Connection], now: datetime) -> list[Use]:
    within = Q(day__gte=month.first)
    rows = (
        ConnectionDay.objects.filter(tenant_id=clinic.pk, day__gte=month.before.first, day__lte=month.last)
        .values("connection_id")
        .annotate(
            here=Sum("calls", filter=within), before=Sum("calls", filter=~within), busiest=Max("calls", filter=within)
        )
    )
    counted = {row["connection_id"]: row for row in rows}
    subjects = {row.quota_subject or row.account for row in connections.values()}
    budgets = {(one.vendor, one.subject): one for one in QuotaBudget.objects.filter(subject__in=subjects)}
    uses = []
    for pk, connection in connections.items():
        row = counted.get(pk, {})
        budget = budgets.get((connection.vendor, connection.quota_subject or connection.account))
        share = None if budget is None else 100 * share_used(budget, now)
        uses.append(Use(connection, row.get("here") or 0, row.get("before") or 0, row.get("busiest") or 0, share))
    return uses


def _drift(clinic: Tenant, month: Month, flows: Mapping[int, Flow]) -> list[tuple[Flow, str, int, int, int]]:
    """Per flow and field: how many records began to differ in the month, agree again since then, differ now."""
    start, end = month.bounds(clinic.time_zone)
    rows = (
        Mismatch.objects.filter(tenant_id=clinic.pk, kind="different", last_seen__gte=start)
        .values("flow_id", "field")
        .annotate(
            began=Count("pk", filter=Q(first_seen__gte=start, first_seen__lt=end)),
            ended=Count("pk", filter=Q(closed_at__gte=start, closed_at__lt=end)),
            still=Count("pk", filter=Q(closed_at=None)),
        )
        .order_by("-still", "-began", "field")[:FIELDS_SHOWN]
    )
    return [
        (flows[row["flow_id"]], row["field"], row["began"], row["ended"], row["still"])
        for row in rows
        if row["flow_id"] in flows and (row["began"] or row["ended"] or row["still"])
    ]


def _held(clinic: Tenant, now: datetime) -> list[tuple[str, list[int], int]]:
    """Who has to act, and how many records wait for them now: by age, and in all."""
    counts = {owner: [0] * len(AGES) for owner in OWNERS}
    with database.cursor() as cursor:
        cursor.execute(_HELD, {"clinic": clinic.pk, "now": now})
        for code, age, count in cursor.fetchall():
            counts[message(code).owner][age] += count
    return [(OWNERS[owner], by_age, sum(by_age)) for owner, by_age in counts.items() if any(by_age)]


def _outages(
    clinic: Tenant, month: Month, connections: Mapping[int, Connection], now: datetime
) -> tuple[list[Outage], int, int]:
    """The month's outages, the newest first, and how often people were told of something in it and in the one before."""
    start, end = month.bounds(clinic.time_zone)
    earlier, _ = month.before.bounds(clinic.time_zone)
    touching = Q(ended_at=None) | Q(ended_at__gt=earlier)
    outages, told, told_before = [], 0, 0
    for alert in Alert.objects.filter(touching, tenant_id=clinic.pk, opened_at__lt=end).order_by("-opened_at"):
        if alert.told_at is not None or alert.telling == Telling.INCIDENT:
            moment = alert.told_at or alert.opened_at
            told += start <= moment < end
            told_before += earlier <= moment < start
        until = min(alert.ended_at or now, end)
        if alert.connection_id in connections and until > start:
            lasted = until - max(alert.opened_at, start)
            name = str(connections[alert.connection_id])
            outages.append(Outage(name, alert.code, alert.opened_at, alert.ended_at, lasted))
    return outages, told, told_before


def _decided(clinic: Tenant, month: Month) -> list[tuple[AuditEntry, str]]:
    start, end = month.bounds(clinic.time_zone)
    words = {decision.action: decision.words for decision in DECISIONS}
    rows = AuditEntry.objects.filter(tenant_id=clinic.pk, at__gte=start, at__lt=end, action__in=words)
    return [(row, words[row.action]) for row in rows.order_by("-at")[:DECISIONS_SHOWN]]


# What is paid for (C23)


@dataclass(frozen=True, slots=True)
class Usage:
    """A flow's month in the four numbers a price is made of: which objects, which way, how many rules, how much."""

    clinic: str
    flow: str
    objects: str
    direction: str
    rules: int
    read: int
    written: int
    loaded: int


def usage(month: Month, clinic: Tenant | None = None) -> list[Usage]:
    """Of every flow of the clinic, or of all in scope, that did something, by the days that are kept: up to yesterday."""
    of_clinic = Q(tenant_id=clinic.pk) if clinic else Q()
    rows = (
        FlowDay.objects.filter(of_clinic, day__gte=month.first, day__lte=month.last)
        .values("tenant__name", "flow__name", "flow__kind", "flow_id")
        .annotate(
            sum_read=Sum("read"), sum_loaded=Sum("loaded"), wrote=Sum("created") + Sum("updated") + Sum("archived")
        )
        .order_by("tenant__name", "flow__name")
    )
    listed = list(rows)
    own_rules = dict(
        Flow.objects.filter(pk__in=[row["flow_id"] for row in listed]).values_list("pk").annotate(count=Count("rules"))
    )
    found = []
    for row in listed:
        kind = FLOW_KINDS.get(row["flow__kind"])
        if kind is None:
            continue
        ways = (CONNECTORS[vendor].label for vendor in (kind.source_vendor, kind.target_vendor))
        found.append(
            Usage(
                clinic=row["tenant__name"],
                flow=kind.label if row["flow__name"] == kind.name else row["flow__name"],
                objects=f"{kind.source.label} and {kind.target.label}",
                direction=" to ".join(ways),
                rules=len(kind.rules) + own_rules.get(row["flow_id"], 0),
                read=row["sum_read"],
                written=row["wrote"],
                loaded=row["sum_loaded"],
            )
        )
    return found


# All clinics of the agency


@dataclass(frozen=True, slots=True)
class Summary:
    """A clinic's month in a line."""

    clinic: Tenant
    day: Day
    hours: Decimal
    flows: int


def summaries(clinics: Sequence[Tenant], month: Month) -> list[Summary]:
    """By the days that are kept: up to yesterday. In as many questions whatever their number."""
    by_clinic: dict[int, dict[int, Day]] = {clinic.pk: {} for clinic in clinics}
    kinds = dict(Flow.objects.filter(tenant_id__in=by_clinic).exclude(mode=Mode.OFF).values_list("pk", "kind"))
    told = HandTime.objects.filter(tenant_id__in=by_clinic).values_list("tenant_id", "kind", "minutes")
    minutes = {(tenant_id, kind): value for tenant_id, kind, value in told}
    rows = FlowDay.objects.filter(tenant_id__in=by_clinic, day__gte=month.first, day__lte=month.last).order_by("day")
    for row in rows.iterator():
        by_clinic[row.tenant_id].setdefault(row.flow_id, Day()).add(meters.read(row))
    found = []
    for clinic in clinics:
        own = by_clinic[clinic.pk]
        hours = Decimal(0)
        for flow_id, day in own.items():
            kind = FLOW_KINDS.get(kinds.get(flow_id, ""))
            if kind is not None:
                hours += day.written * minutes.get((clinic.pk, kind.name), Decimal(str(kind.minutes_by_hand))) / 60
        found.append(Summary(clinic, _together(list(own.values())), hours, len(own)))
    return found
