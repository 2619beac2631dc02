"""Bringing in line: what is not equal is sent anew by ordinary deliveries. There is no second way to write."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from integrations.models import IN_FLIGHT, Delivery, DeliveryState, Flow
from integrations.services.resending import send_anew
from reconciliation.compare import Cause
from reconciliation.compare import Mismatch as Kind
from reconciliation.models import Mismatch
from tenants.services import record_audit

MOST = 1_000
"""At a time."""
MENDED = (Kind.DIFFERENT, Kind.MISSING_RIGHT)
"""What a delivery can mend. The others ask a person to decide which record is right, at the vendor or at the link."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be sent anew, and what would not: ``left`` counts mismatches by kind."""

    keys: Mapping[int, frozenset[str]] = field(default_factory=dict)
    by_kind: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, int] = field(default_factory=dict)
    is_full: bool = False

    @property
    def records(self) -> int:
        return sum(len(keys) for keys in self.keys.values())


def plan(mismatches: QuerySet[Mismatch]) -> Plan:
    """What bringing these in line would send; nothing is done yet. Left out is what is on its way already. A record that
    was deleted at the target stays so until somebody unlinks it."""
    standing = mismatches.filter(closed_at=None).order_by()
    rows = list(standing.filter(_MENDED).exclude(Exists(_on_its_way())).order_by("pk")[: MOST + 1])
    keys: defaultdict[int, set[str]] = defaultdict(set)
    for row in rows[:MOST]:
        keys[row.flow_id].add(row.source_key)
    left = standing.exclude(_MENDED).values("kind").annotate(count=Count("pk")).values_list("kind", "count")
    return Plan(
        {flow_id: frozenset(some) for flow_id, some in keys.items()},
        Counter(row.kind for row in rows[:MOST]),
        dict(left),
        len(rows) > MOST,
    )


_MENDED = Q(kind__in=MENDED) & ~Q(source_key="") & ~Q(kind=Kind.MISSING_RIGHT, cause=Cause.DELETED)


def _on_its_way() -> QuerySet[Delivery]:
    moving: QuerySet[Delivery] = Delivery.objects.filter(
        flow_id=OuterRef("flow_id"), source_key=OuterRef("source_key"), state__in=(DeliveryState.WAITING, *IN_FLIGHT)
    )
    return moving


def bring_in_line(wanted: Plan) -> int:
    """Sends the plan's records anew; how many. Raises Refused where a flow writes nothing: then nothing is sent."""
    flows = {flow.pk: flow for flow in Flow.objects.filter(pk__in=wanted.keys)}
    sent = 0
    for flow_id, keys in wanted.keys.items():
        flow = flows[flow_id]
        sent += send_anew(flow, keys, trigger="repair")
        record_audit(
            "mismatch.brought_in_line",
            target=f"flow {flow.pk}",
            diff={"records": len(keys)},
            tenant_id=flow.tenant_id,
        )
    return sent
