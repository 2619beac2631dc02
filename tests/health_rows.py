"""A clinic's year in meters, runs and deliveries, for tests and pictures of its health."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from integrations.models import ConnectionDay, Delivery, Flow, FlowDay, Run
from tenants.models import Tenant
from tenants.walls import app_now, insert_rows, tenant_tx

FLOW_DAY = (
    "flow_id", "day", "passes", "failed", "read", "created", "updated", "archived", "loaded", "held", "waits", "compared", "agreed",
)  # fmt: skip
DELIVERY = (
    "flow_id", "run_id", "target_id", "source_key", "state", "outcome", "backfill", "changed_at", "done_at", "not_before", "created_at",
)  # fmt: skip


def deliver(
    flow: Flow,
    at: datetime,
    count: int,
    *,
    waited_s: float = 10,
    outcome: str = "updated",
    is_load: bool = False,
    start: int = 1,
) -> None:
    """So many deliveries that ended at this instant, each so long after its change; counted on a run of that instant."""
    with tenant_tx(flow.tenant_id):
        run = Run.objects.create(
            flow=flow, state="done", started_at=at, finished_at=at, read=count, unchanged=count, revision_number=1
        )
        changed = at - timedelta(seconds=waited_s)
        rows = [
            (flow.pk, run.pk, flow.target_id, str(start + number), "done", outcome, is_load, changed, at, at, at)
            for number in range(count)
        ]
        insert_rows(Delivery, DELIVERY, rows)


def keep_year(flow: Flow, *, days: int = 365, until: date | None = None) -> None:
    """Kept days up to yesterday, busier on weekdays."""
    with tenant_tx(flow.tenant_id):
        clinic = Tenant.objects.get(pk=flow.tenant_id)
        last = until or app_now().astimezone(ZoneInfo(clinic.time_zone)).date() - timedelta(days=1)
        rows, calls = [], []
        for back in range(days):
            day = last - timedelta(days=back)
            busy = 40 + (day.toordinal() * 37 + flow.pk * 11) % 60 if day.weekday() < 5 else 5
            waits = {"20": busy, "30": busy // 4, "45": max(1, busy // 20)}
            rows.append(
                (flow.pk, day, 96, int(day.day == 13), busy * 9, busy // 3, busy - busy // 3, 0, 0, day.day % 7, waits, 4000, 3990 + day.day % 11)
            )  # fmt: skip
            calls += [(flow.source_id, day, 300 + busy), (flow.target_id, day, busy * 2)]
        insert_rows(FlowDay, FLOW_DAY, rows)
        insert_rows(ConnectionDay, ("connection_id", "day", "calls"), calls)
