"""The noise budget (K47): how often people are alerted, per clinic and week. The aim is less than once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from integrations.models import Alert, Incident, Telling

WEEKS = 4
WEEK = timedelta(days=7)
TARGET = 1.0
LOUDEST = 5


@dataclass(frozen=True, slots=True)
class Noise:
    """What people were told in each of the last weeks, the newest first. An incident counts once, not once a clinic; an
    end is part of what it ends."""

    clinics: int
    alerts: Sequence[int]
    incidents: Sequence[int]

    @property
    def per_clinic_and_week(self) -> float:
        return (sum(self.alerts) + sum(self.incidents)) / (WEEKS * max(1, self.clinics))

    @property
    def weeks(self) -> Sequence[int]:
        return [one + other for one, other in zip(self.alerts, self.incidents, strict=True)]

    @property
    def is_within(self) -> bool:
        return self.per_clinic_and_week < TARGET


def measure(now: datetime, clinics: int) -> Noise:
    """Of the clinics in scope, in two questions; ``clinics`` is how many they are."""
    own = _own(now)
    seen = Exists(Alert.objects.filter(incident_id=OuterRef("pk")))
    shared = Incident.objects.filter(seen, told_clinics__gt=1, told_at__gt=now - WEEKS * WEEK)
    by_week = {
        f"week_{back}": Count("pk", filter=Q(told_at__lte=now - back * WEEK, told_at__gt=now - (back + 1) * WEEK))
        for back in range(WEEKS)
    }
    alerts, incidents = own.aggregate(**by_week), shared.aggregate(**by_week)
    return Noise(
        clinics=clinics,
        alerts=[alerts[name] for name in by_week],
        incidents=[incidents[name] for name in by_week],
    )


def loudest(now: datetime) -> list[tuple[str, int]]:
    """The clinics with the most alerts of their own in these weeks."""
    counted = _own(now).values_list("tenant__name").annotate(times=Count("pk")).order_by("-times", "tenant__name")
    return list(counted[:LOUDEST])


def _own(now: datetime) -> QuerySet[Alert]:
    told = (Telling.OWN, Telling.MANAGERS)
    return Alert.objects.filter(telling__in=told, told_at__gt=now - WEEKS * WEEK)
