"""How far every flow in scope agrees: one line a flow, in as many questions for a thousand flows as for one."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, OuterRef, Q, Subquery

from integrations.models import Flow, Mode
from reconciliation.models import Mismatch, Report, ReportState

AGES = (
    ("day", "Less than a day", 0, 1),
    ("week", "1 to 7 days", 1, 7),
    ("month", "8 to 30 days", 7, 30),
    ("older", "More than 30 days", 30, 0),
)
"""(name, in words, days at least, days at most: 0 for no bound) of each age of a mismatch."""


@dataclass(frozen=True, slots=True)
class Line:
    """A flow, the last comparison that came to its end, and what does not agree now, by age and by cause."""

    flow: Flow
    report: Report | None = None
    ages: Mapping[str, int] = field(default_factory=dict)
    causes: Mapping[str, int] = field(default_factory=dict)

    @property
    def open(self) -> int:
        return sum(self.ages.values())

    @property
    def agreement(self) -> float | None:
        """In per cent, None where nothing was compared."""
        return self.report.agreement if self.report else None

    @property
    def cause(self) -> str | None:
        """The most frequent one, None where everything agrees."""
        return max(self.causes, key=lambda one: self.causes[one]) if self.causes else None


def lines(now: datetime) -> list[Line]:
    """Every flow in scope that is on, by clinic and name."""
    newest = Report.objects.filter(flow_id=OuterRef("pk"), state=ReportState.DONE).order_by("-started_at")
    flows = list(
        Flow.objects.exclude(mode=Mode.OFF)
        .select_related("tenant")
        .annotate(newest_report=Subquery(newest.values("pk")[:1]))
        .order_by("tenant__name", "name")
    )
    reports = Report.objects.in_bulk([flow.newest_report for flow in flows if flow.newest_report])
    ages: defaultdict[int, Counter[str]] = defaultdict(Counter)
    causes: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for flow_id, cause, *counts in _open(now):
        causes[flow_id][cause] += sum(counts)
        ages[flow_id].update({age: count for (age, *_), count in zip(AGES, counts, strict=True) if count})
    return [Line(flow, reports.get(flow.newest_report), ages[flow.pk], causes[flow.pk]) for flow in flows]


def _open(now: datetime) -> Iterator[tuple[int, str, int, int, int, int]]:
    """(flow, cause, how many of each age) of what does not agree now."""
    counts = {name: Count("pk", filter=_aged(now, least, most)) for name, _, least, most in AGES}
    rows = Mismatch.objects.filter(closed_at=None).order_by().values("flow_id", "cause").annotate(**counts)
    return iter(rows.values_list("flow_id", "cause", *counts))


def _aged(now: datetime, least: int, most: int) -> Q:
    old = Q(first_seen__lte=now - timedelta(days=least)) if least else Q()
    return old & Q(first_seen__gt=now - timedelta(days=most)) if most else old


@dataclass(frozen=True, slots=True)
class Total:
    """All lines together. ``agreement`` is that of all records that should be equal, None where there are none."""

    clinics: int
    flows: int
    uncompared: int
    open: int
    old: int
    agreement: float | None
    causes: Mapping[str, int]


def total(told: list[Line]) -> Total:
    done = [line.report for line in told if line.report]
    should = sum(report.compared for report in done)
    causes: Counter[str] = Counter()
    for line in told:
        causes.update(line.causes)
    return Total(
        clinics=len({line.flow.tenant_id for line in told}),
        flows=len(told),
        uncompared=sum(1 for line in told if line.report is None),
        open=sum(line.open for line in told),
        old=sum(line.ages.get("month", 0) + line.ages.get("older", 0) for line in told),
        agreement=100 * sum(report.agree for report in done) / should if should else None,
        causes=dict(causes.most_common()),
    )


ORDERS: Mapping[str, Callable[[Line], object]] = {
    "clinic": lambda line: (line.flow.tenant.name, line.flow.name),
    "agreement": lambda line: 101.0 if line.agreement is None else line.agreement,
    "open": lambda line: -line.open,
    "old": lambda line: (-line.ages.get("older", 0), -line.ages.get("month", 0), -line.ages.get("week", 0)),
    "compared": lambda line: line.report.started_at.timestamp() if line.report else 0.0,
}
"""Each with what needs somebody first."""


def in_order(told: list[Line], order: str) -> list[Line]:
    """Equal ones stay by clinic and name."""
    return sorted(told, key=ORDERS[order])  # type: ignore[arg-type]  # each key compares with itself
