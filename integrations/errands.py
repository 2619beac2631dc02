"""What this app enters with the pulse besides the sync itself: rehearsals of proposed configurations, and the steps by
which a blueprint comes to its clinics."""

from django.conf import settings
from django.db import connection as database

from integrations.services import following, rehearsal
from integrations.services.errands import Errand
from integrations.services.pulse import Ring
from integrations.tasks import at_work
from tenants.walls import tenant_tx

LIMIT = 200

_CALLABLE = "{c}.state NOT IN ('paused', 'needs_reauth') AND ({c}.open_until IS NULL OR {c}.open_until <= app_now())"

_DUE = f"""
SELECT r.tenant_id, r.id FROM integrations_rehearsal r JOIN integrations_flow f ON f.id = r.flow_id
JOIN integrations_connection a ON a.id = f.source_id JOIN integrations_connection b ON b.id = f.target_id
WHERE r.state = 'running' AND (r.lease_until IS NULL OR r.lease_until < app_now())
  AND (r.not_before IS NULL OR r.not_before <= app_now())
  AND {_CALLABLE.format(c="a")} AND {_CALLABLE.format(c="b")}
ORDER BY r.id LIMIT {LIMIT}
"""  # noqa: S608 - constants only


def due_rehearsals() -> list[Ring]:
    """Rehearsals to carry on. They count as backfill: whoever waits for a change goes first."""
    with database.cursor() as cursor:
        cursor.execute(_DUE)
        return [Ring(tenant_id, pk, backfill=True) for tenant_id, pk in cursor.fetchall()]


def rehearse(tenant_id: int, rehearsal_id: int) -> str:
    with at_work("rehearse", tenant_id, rehearsal_id):
        done = rehearsal.run_slice(tenant_id, rehearsal_id, seconds=settings.SUTURE_SLICE_S)
    return done.code or ("more" if done.more else "end")


_DUE_STEPS = f"""
WITH arrived AS (
  UPDATE integrations_rollout r SET state = 'done', closed_at = app_now() WHERE r.state = 'rest' AND NOT EXISTS
  (SELECT FROM integrations_rolloutstep s WHERE s.rollout_id = r.id AND s.state IN ('planned', 'due'))
)
SELECT tenant_id, id FROM integrations_rolloutstep WHERE state IN ('due', 'back') OR asks_rehearsal
ORDER BY id LIMIT {LIMIT}
"""  # noqa: S608 - constants only


def due_steps() -> list[Ring]:
    """Flows that a version of their blueprint comes to, or is taken back from. Closes what arrived everywhere."""
    with database.cursor() as cursor:
        cursor.execute(_DUE_STEPS)
        return [Ring(tenant_id, pk, backfill=True) for tenant_id, pk in cursor.fetchall()]


def carry_out_step(tenant_id: int, step_id: int) -> str:
    with at_work("blueprint", tenant_id, step_id), tenant_tx(tenant_id, reason="blueprint"):
        return following.carry_out(step_id)


ERRANDS = (
    Errand("rehearse", due_rehearsals, rehearse, rehearsal.remove_aged),
    Errand("blueprint", due_steps, carry_out_step),
)
