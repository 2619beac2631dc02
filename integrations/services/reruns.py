"""Many held records tried again at once: a few first, and the rest once these went through (B3, K36).

Which records belong to a rerun is asked anew for each page of it: what was held before it began and waits still. So a
killed worker leaves nothing behind, one that comes back to the desk is not sent twice, and memory stays flat.
"""

import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, QuerySet

from integrations.models import RERUN_LIVE, Delivery, DeliveryState, Rerun, RerunState
from integrations.services import desk
from integrations.services.desk import Refused
from integrations.services.desk_choice import Chosen
from integrations.services.pulse import Ring
from tenants.services import record_audit
from tenants.walls import AppNow, app_now, system_tx, tenant_tx

PAGE = 500
LOOK_AGAIN_S = 2
STOPPED_BY_HAND = "rerun.stopped"
LIMIT = 50


def begin(chosen: Chosen, *, by: str) -> uuid.UUID:
    """Sends the first few of the records on the desk that were chosen, clinic by clinic in turn; returns the series.
    Raises Refused where there are none. In the scope of who asks."""
    now = app_now()
    waiting = chosen.narrow(desk.on_desk(now), now)
    totals = dict(waiting.order_by().values_list("tenant_id").annotate(n=Count("pk")))
    if not totals:
        raise Refused("Nothing waits here any more.")
    shares, series = _shares(totals, settings.SUTURE_CANARY_RECORDS), uuid.uuid4()
    for tenant_id, total in sorted(totals.items()):
        oldest = waiting.filter(tenant_id=tenant_id).order_by("held_at", "pk").values_list("pk", flat=True)
        canary = list(oldest[: shares[tenant_id]])
        Rerun.objects.create(
            tenant_id=tenant_id,
            series=series,
            chosen=chosen.as_json(),
            state=RerunState.CANARY if canary else RerunState.READY,
            canary=canary,
            total=total,
            sent=desk.retry(Delivery.objects.filter(pk__in=canary), reason="the first few of many") if canary else 0,
            author=by,
            begun_at=now,
            not_before=now,
        )
        record_audit("rerun.begun", target=f"series {series}", diff={"records": total}, tenant_id=tenant_id)
    return series


def _shares(totals: Mapping[int, int], few: int) -> dict[int, int]:
    """How many of the few each clinic gives: one each in turn, those with most records first."""
    shares = dict.fromkeys(totals, 0)
    order = sorted(totals, key=lambda clinic: -totals[clinic])
    while sum(shares.values()) < min(few, sum(totals.values())):
        for clinic in order:
            if shares[clinic] < totals[clinic] and sum(shares.values()) < few:
                shares[clinic] += 1
    return shares


def stop(rerun: Rerun) -> None:
    """What is on its way arrives; nothing more is sent, for any clinic of the series once it is its turn."""
    live = Rerun.objects.filter(pk=rerun.pk, state__in=RERUN_LIVE)
    live.update(state=RerunState.STOPPED, code=STOPPED_BY_HAND, finished_at=app_now())


# Carrying on


def due() -> list[Ring]:
    """Reruns to carry on; who waits for the first few is rung for when they have arrived. As app_system."""
    live = Rerun.objects.filter(state__in=RERUN_LIVE, not_before__lte=AppNow())
    flying = Rerun.objects.filter(state=RerunState.CANARY).values("series")
    ready = live.exclude(state=RerunState.READY, series__in=flying)
    return [
        Ring(tenant_id, pk, backfill=True)
        for tenant_id, pk in ready.order_by("pk").values_list("tenant_id", "pk")[:LIMIT]
    ]


@dataclass(frozen=True, slots=True)
class Others:
    """How the series stands in all of its clinics: whether a few are still on their way, and why it stopped, if it did."""

    is_flying: bool
    code: str


def carry_on(tenant_id: int, rerun_id: int) -> str:
    """One step: looks after the first few, or sends a page of the rest. Returns the state it is in. Safe to cut anywhere,
    and for two at once."""
    with system_tx("rerun"):
        others = _others(rerun_id)
    with tenant_tx(tenant_id, reason="rerun"):
        row = Rerun.objects.select_for_update(no_key=True).filter(pk=rerun_id, state__in=RERUN_LIVE).first()
        if row is None:
            return "over"
        now = app_now()
        match row.state:
            case RerunState.CANARY:
                _look_after_canary(row, now)
            case RerunState.READY if others.code:
                _finish(row, RerunState.STOPPED, now, code=others.code)
            case RerunState.READY if not others.is_flying:
                row.state = RerunState.RUNNING
                _send_page(row, now)
            case RerunState.RUNNING:
                _send_page(row, now)
        row.save(update_fields=["state", "code", "sent", "not_before", "finished_at"])
        return str(row.state)


def _others(rerun_id: int) -> Others:
    own = Rerun.objects.filter(pk=rerun_id).values("series")
    others = Rerun.objects.filter(series__in=own).exclude(pk=rerun_id)
    rows = list(others.order_by("pk").values_list("state", "code"))
    codes = [code for state, code in rows if state == RerunState.STOPPED]
    return Others(any(state == RerunState.CANARY for state, _ in rows), codes[0] if codes else "")


def _look_after_canary(row: Rerun, now: datetime) -> None:
    """Those that are gone were replaced by a newer wish, and say nothing."""
    states = list(Delivery.objects.filter(pk__in=row.canary).values_list("state", "code"))
    failed = Counter(code for state, code in states if state == DeliveryState.HELD)
    if failed:
        _finish(row, RerunState.STOPPED, now, code=failed.most_common(1)[0][0])
    elif all(state == DeliveryState.DONE for state, _ in states):
        row.state = RerunState.READY
    else:
        row.not_before = now + timedelta(seconds=LOOK_AGAIN_S)


def _send_page(row: Rerun, now: datetime) -> None:
    page = list(left_of(row).order_by("held_at", "pk").values_list("pk", flat=True)[:PAGE])
    if page:
        row.sent += desk.retry(Delivery.objects.filter(pk__in=page), reason=f"one of many, by {row.author}")
    else:
        _finish(row, RerunState.DONE, now)


def _finish(row: Rerun, state: RerunState, now: datetime, *, code: str = "") -> None:
    row.state, row.code, row.finished_at = state, code, now


def left_of(row: Rerun) -> QuerySet[Delivery]:
    """What is still to be sent: on the desk since before it began."""
    waiting = Chosen.of(row.chosen).narrow(desk.on_desk(row.begun_at), row.begun_at)
    return waiting.filter(tenant_id=row.tenant_id, held_at__lte=row.begun_at).exclude(pk__in=row.canary)


def came_back(row: Rerun) -> int:
    """How many records of this kind came to the desk since it began: those that failed again, and new ones."""
    again = Chosen.of({**row.chosen, "age": ""}).narrow(desk.on_desk(app_now()), app_now())
    return again.filter(tenant_id=row.tenant_id, held_at__gt=row.begun_at).count()
