"""Which records of the error desk somebody means: the questions of its list, as a value that can be kept and asked again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet

from integrations.messages import MESSAGES, Owner, codes_of
from integrations.models import Assignment, Delivery, Flow
from tenants.models import Tenant

AGES: Mapping[str, tuple[int | None, int | None]] = {
    "day": (None, 1),
    "week": (1, 7),
    "month": (7, 30),
    "old": (30, None),
}
"""How long a record has waited: at least and at most, in days."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Answers to the list's questions, ``""`` where one was not asked. ``clinic`` is a slug, ``assignee`` an account."""

    owner: str = ""
    code: str = ""
    flow: str = ""
    age: str = ""
    clinic: str = ""
    assignee: str = ""

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> "Chosen":
        """Reads a query, or what ``as_json`` kept; other words in it say nothing."""
        return cls(**{name: str(asked[name]) for name in cls.__dataclass_fields__ if name in asked})

    def as_json(self) -> dict[str, str]:
        return {name: value for name, value in asdict(self).items() if value}

    def narrow(self, rows: QuerySet[Delivery], now: datetime) -> QuerySet[Delivery]:
        rows = of_owner(rows, self.owner, now)
        rows = rows.filter(code=self.code) if self.code else rows
        rows = of_age(rows, self.age, now)
        if self.flow:
            rows = rows.filter(flow_id__in=list(Flow.objects.filter(name=self.flow).values_list("pk", flat=True)))
        if self.clinic:
            rows = rows.filter(tenant_id__in=list(Tenant.objects.filter(slug=self.clinic).values_list("pk", flat=True)))
        return of_assignee(rows, self.assignee)


def of_owner(rows: QuerySet[Delivery], owner: str, now: datetime) -> QuerySet[Delivery]:
    """A lane. The engineers' also holds codes nobody has a sentence for, the agency's what a clinic left too long."""
    if owner == Owner.SYSTEM:
        return rows.exclude(code__in=[code for code in MESSAGES if code not in codes_of(Owner.SYSTEM)])
    if owner == Owner.AGENCY:
        left = Q(code__in=codes_of(Owner.CLINIC), held_at__lte=escalated_before(now))
        return rows.filter(Q(code__in=codes_of(Owner.AGENCY)) | left)
    known = next((one for one in Owner if one == owner), None)
    return rows.filter(code__in=codes_of(known)) if known else rows


def escalated_before(now: datetime) -> datetime:
    """What a clinic was to mend and has left since before then is the agency's as well."""
    return now - timedelta(days=settings.SUTURE_ESCALATE_DAYS)


def of_age(rows: QuerySet[Delivery], age: str, now: datetime) -> QuerySet[Delivery]:
    if age not in AGES:
        return rows
    least, most = AGES[age]
    rows = rows.filter(held_at__lte=now - timedelta(days=least)) if least else rows
    return rows.filter(held_at__gt=now - timedelta(days=most)) if most else rows


def of_assignee(rows: QuerySet[Delivery], assignee: str) -> QuerySet[Delivery]:
    if not assignee:
        return rows
    taken = Assignment.objects.filter(
        tenant_id=OuterRef("tenant_id"), flow_id=OuterRef("flow_id"), source_key=OuterRef("source_key")
    )
    return rows.filter(Exists(taken.filter(assignee=assignee)))


def beside(rows: QuerySet[Delivery], row: Delivery) -> tuple[int | None, int | None]:
    """The keys of the rows before and after this one in the list's order, the newest first."""
    if row.held_at is None:
        return None, None
    newer = rows.filter(held_at__gte=row.held_at).exclude(Q(held_at=row.held_at, pk__lte=row.pk))
    older = rows.filter(held_at__lte=row.held_at).exclude(Q(held_at=row.held_at, pk__gte=row.pk))
    return (
        newer.order_by("held_at", "pk").values_list("pk", flat=True).first(),
        older.order_by("-held_at", "-pk").values_list("pk", flat=True).first(),
    )
