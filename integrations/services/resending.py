"""Records sent anew because somebody asked: read at their source when their turn comes, and delivered like any other."""

from collections.abc import Collection, Mapping

from django.db.models import F, JSONField, Value
from django.db.models.expressions import CombinedExpression

from integrations.models import OPEN, Delivery, Flow, Mode, Run, RunState
from integrations.services import desk
from integrations.services.desk import Refused
from tenants.walls import app_now, insert_rows, narrow_to

COLUMNS = (
    "flow_id",
    "run_id",
    "target_id",
    "source_key",
    "revision_number",
    "wish",
    "decision",
    "backfill",
    "not_before",
    "created_at",
)


def send_anew(
    flow: Flow, keys: Collection[str], *, trigger: str = "person", decision: Mapping[str, object] | None = None
) -> int:
    """How many of these source records are on their way now. What is held of them is tried again; for the rest there is
    one run, so that the end of each is counted. ``decision`` is added to what a person decided about each before.
    Raises Refused for a flow that writes nothing."""
    if flow.mode not in (Mode.LIVE, Mode.PILOT):
        raise Refused("The flow is not live, so nothing would be written. Set it live first.")
    with narrow_to(flow.tenant_id):
        under_way = Delivery.objects.filter(flow=flow, source_key__in=keys, state__in=OPEN)
        desk.retry(under_way)
        if decision:
            merged = CombinedExpression(F("decision"), "||", Value(dict(decision), JSONField()))
            under_way.update(decision=merged)
        new = sorted(set(keys) - set(under_way.values_list("source_key", flat=True)))
        if new:
            _insert(flow, new, trigger, dict(decision or {}))
    return len(set(keys))


def _insert(flow: Flow, keys: Collection[str], trigger: str, decision: Mapping[str, object]) -> None:
    now = app_now()
    run = counted_run(flow, len(keys), trigger)
    rows = [(flow.pk, run.pk, flow.target_id, key, flow.revision_number, b"", decision, True, now, now) for key in keys]
    made = insert_rows(Delivery, COLUMNS, rows, on_conflict="DO NOTHING")
    if made.written < len(keys):  # a reading was faster with some of them
        Run.objects.filter(pk=run.pk).update(read=made.written, waiting=made.written)


def counted_run(flow: Flow, count: int, trigger: str) -> Run:
    """A run that is over and whose records still wait: what becomes of each is counted there."""
    now = app_now()
    run = Run(
        flow=flow,
        revision_number=flow.revision_number,
        trigger=trigger,
        state=RunState.DONE,
        started_at=now,
        finished_at=now,
        read=count,
        waiting=count,
    )
    run.save(force_insert=True)
    return run
