"""Looking after a clinic every few minutes: records that pile up for one reason, flows that are too quiet, and once a
week its digest."""

import time
from collections import Counter
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection as database

from integrations.flows import FLOW_KINDS
from integrations.messages import Fix, message
from integrations.models import Alert, Call, Flow, Mode, Watch
from integrations.services import desk, digests, silence
from integrations.services.alerts import end_flow_alerts, open_flow_alert
from integrations.services.desk import MASS_CHANGE
from tenants.models import Tenant
from tenants.walls import app_now, system_tx, tenant_tx

SAMPLE = 20_000
LIMIT = 500

_DUE = """
SELECT t.id FROM tenants_tenant t LEFT JOIN integrations_watch w ON w.tenant_id = t.id
WHERE t.active AND (w.id IS NULL OR w.next_at <= app_now())
  AND EXISTS (SELECT FROM integrations_flow f WHERE f.tenant_id = t.id AND f.mode <> 'off')
ORDER BY w.next_at NULLS FIRST LIMIT %s
"""


def due() -> list[int]:
    """Clinics to look after, who has waited longest first. Outside of any scope."""
    with system_tx("watch"), database.cursor() as cursor:
        cursor.execute(_DUE, [LIMIT])
        return [tenant_id for (tenant_id,) in cursor.fetchall()]


def look_after_due(*, seconds: float) -> int:
    """Looks after clinics for about so long; returns how many."""
    ends, looked = time.monotonic() + seconds, 0
    for tenant_id in due():
        if time.monotonic() >= ends:
            break
        look_after(tenant_id)
        looked += 1
    return looked


def look_after(tenant_id: int) -> str:
    """One look at a clinic. Two at once do no harm: what they open, end and make is kept once."""
    with tenant_tx(tenant_id, reason="watch"):
        clinic = Tenant.objects.get(pk=tenant_id)
        now = app_now()
        Watch.objects.get_or_create(tenant_id=tenant_id, defaults={"next_at": now})
        watch = Watch.objects.select_for_update().get(tenant_id=tenant_id)
        flows = list(Flow.objects.exclude(mode=Mode.OFF).select_related("source", "target"))
        fold_records(now)
        heard = silence.listen(flows, clinic.time_zone, now) if silence.count_hours(watch, now) else None
        if heard is not None:
            watch.expected_today, watch.quiet_for = heard.expected_today, heard.quiet_for
        if watch.digest_due_at is not None and watch.digest_due_at <= now:
            digests.make(now)
        if watch.digest_due_at is None or watch.digest_due_at <= now:
            watch.digest_due_at = digests.next_digest_at(clinic, now)
        watch.next_at = now + timedelta(seconds=settings.SUTURE_WATCH_EVERY_S)
        watch.save()
    if heard is not None:
        closed = silence.is_holiday(clinic.country)
        with tenant_tx(tenant_id, reason="watch"):
            silence.judge(flows, heard, now, is_holiday=closed)
    return f"mailed {digests.send(tenant_id)}"


def fold_records(now: datetime) -> None:
    """Opens an alert where many records of a flow wait for one reason, and ends those of which few are left. Inside the
    clinic's scope."""
    piles = _piles(now)
    known = {
        (flow_id, code, field): pk
        for flow_id, code, field, pk in Alert.objects.filter(call=Call.RECORDS, ended_at=None).values_list(
            "flow_id", "code", "field", "pk"
        )
    }
    for (flow_id, code, field), count in piles.items():
        if count >= settings.SUTURE_RECORDS_ALERT or (flow_id, code, field) in known:
            open_flow_alert(flow_id, code, now, field=field, records=count)
    end_flow_alerts([pk for pile, pk in known.items() if not piles.get(pile) or _is_small(pile, piles)], now)


def _is_small(pile: tuple[int, str, str], piles: Counter[tuple[int, str, str]]) -> bool:
    """Half of what is told: one that hovers around the bound is not told again and again. A mass change is over when all
    of it was decided."""
    return pile[1] != MASS_CHANGE and piles[pile] * 2 < settings.SUTURE_RECORDS_ALERT


def _piles(now: datetime) -> Counter[tuple[int, str, str]]:
    """How many of the newest records on the desk wait per flow, code and field; what needs nobody is left out."""
    rows = desk.on_desk(now).order_by("-held_at").values_list("flow_id", "flow__kind", "code", "codes__0__field")
    piles: Counter[tuple[int, str, str]] = Counter()
    for flow_id, kind, code, told in rows[:SAMPLE]:
        if message(code).fix is not Fix.WAIT:
            piles[flow_id, code, _field(kind, str(told or ""))] += 1
    return piles


def _field(kind: str, told: str) -> str:
    """The field's name that is told of a trouble, ``""`` where an amount or something else is."""
    name, flow_kind = told.partition(" ")[0].rstrip(","), FLOW_KINDS[kind]
    is_field = flow_kind.target.find_field(name) or any(spec.source == name for spec in flow_kind.value_maps)
    return name[:60] if name and is_field else ""
