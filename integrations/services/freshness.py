"""How soon a change at the source is seen at the target: how often urgent flows ask, and what was measured.

Where a vendor tells nobody of changes (Cliniko), freshness is bought with requests. Urgent flows ask often while changes
come and less often when it is quiet, and all that ask with one credential together spend a stated part of its limit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F

from integrations.connectors import CONNECTORS
from integrations.flows import FLOW_KINDS
from integrations.models import Delivery, DeliveryState, Flow, Mode, QuotaBudget, Run

BUSY_FOR = timedelta(minutes=5)
LATEST_RUNS = 20
MEASURED = 500
MEASURED_FOR = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Freshness:
    """Seconds from the change at the source to the answer of the target, over so many changes. ``p95`` holds for 19 of
    20 of them."""

    changes: int
    p50: float
    p95: float


def poll_s(flow: Flow, now: datetime) -> float:
    """After how many seconds an urgent flow asks again. Call inside the clinic's transaction, with ``source`` loaded."""
    base: float = settings.SUTURE_POLL_FAST_S if _is_busy(flow, now) else settings.SUTURE_POLL_SLOW_S
    urgent = Flow.objects.filter(source_id=flow.source_id, urgent=True).exclude(mode=Mode.OFF)
    requests = sum(FLOW_KINDS[kind].source.poll_cost for kind in urgent.values_list("kind", flat=True))
    return paced(base, requests=requests, per_second=_allowance(flow))


def paced(base_s: float, *, requests: float, per_second: float) -> float:
    """``base_s``, or longer where one round of ``requests`` would spend more than polling may."""
    share: float = settings.SUTURE_POLL_SHARE
    return max(base_s, requests / (per_second * share))


def _is_busy(flow: Flow, now: datetime) -> bool:
    """Whether one of the latest passes read something that had changed."""
    quiet = F("unchanged") + F("skipped")
    lately = Run.objects.filter(flow=flow, started_at__gte=now - BUSY_FOR, is_backfill=False)
    return lately.exclude(read=quiet).exists()


def _allowance(flow: Flow) -> float:
    """Requests a second of the source's credential."""
    source = flow.source
    budget = QuotaBudget.objects.filter(vendor=source.vendor, subject=source.quota_subject).first()
    limit = CONNECTORS[source.vendor].limit
    return budget.amount / budget.per_s if budget else limit.amount / limit.per_s


def measured(flow_id: int, now: datetime) -> Freshness | None:
    """Over the latest changes that were delivered within a day, first loads left out; None where there were none. Call
    inside the clinic's scope."""
    done = (
        Delivery.objects.filter(
            flow_id=flow_id,
            state=DeliveryState.DONE,
            backfill=False,
            changed_at__isnull=False,
            done_at__gte=now - MEASURED_FOR,
            outcome__in=("created", "updated", "archived"),
        )
        .order_by("-done_at")
        .values_list("changed_at", "done_at")[:MEASURED]
    )
    waits = sorted((done_at - changed_at).total_seconds() for changed_at, done_at in done)
    return Freshness(len(waits), _at(waits, 0.5), _at(waits, 0.95)) if waits else None


def _at(ordered: Sequence[float], share: float) -> float:
    return max(0.0, ordered[math.ceil(share * len(ordered)) - 1])
