"""What is due, across all clinics, seen as app_system: ids and times, nothing sealed.

Used by the worker's pulse and by ``manage.py sync``. Every question is answered per connection or flow from an index,
never by walking the outbox.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection as database

from tenants.walls import app_now, system_tx


@dataclass(frozen=True, slots=True)
class Ring:
    """Work to hand out: a run or bulk run to carry on, or a connection to drain. ``backfill`` yields to live work."""

    tenant_id: int
    id: int
    backfill: bool = False


_CALLABLE = "c.state NOT IN ('paused', 'needs_reauth') AND (c.open_until IS NULL OR c.open_until <= %(now)s)"

_DUE_FLOWS = f"""
SELECT f.tenant_id, f.id FROM integrations_flow f JOIN integrations_connection c ON c.id = f.source_id
WHERE f.mode <> 'off' AND f.stopped_code = '' AND (f.next_due_at IS NULL OR f.next_due_at <= %(now)s)
  AND (%(flows)s::bigint[] IS NULL OR f.id = ANY(%(flows)s)) AND {_CALLABLE}
  AND NOT EXISTS (SELECT FROM integrations_run r
                  WHERE r.tenant_id = f.tenant_id AND r.flow_id = f.id AND r.state = 'running' AND NOT r.is_backfill)
ORDER BY f.next_due_at NULLS FIRST LIMIT %(limit)s
"""  # noqa: S608 - constants only

_DUE_RUNS = f"""
SELECT r.tenant_id, r.id, r.since IS NULL FROM integrations_run r
JOIN integrations_flow f ON f.id = r.flow_id JOIN integrations_connection c ON c.id = f.source_id
WHERE r.state = 'running' AND (r.lease_until IS NULL OR r.lease_until < %(now)s)
  AND (r.not_before IS NULL OR r.not_before <= %(now)s)
  AND (%(flows)s::bigint[] IS NULL OR r.flow_id = ANY(%(flows)s)) AND {_CALLABLE}
ORDER BY r.id LIMIT %(limit)s
"""  # noqa: S608

_WAITING = """SELECT FROM integrations_delivery d
    WHERE d.tenant_id = c.tenant_id AND d.target_id = c.id AND d.state = 'waiting' AND d.backfill = {backfill}
      AND d.not_before <= %(now)s AND NOT d.guarded"""

_ITS_TURN = """NOT EXISTS (SELECT FROM integrations_bulkrun elder
    WHERE elder.tenant_id = b.tenant_id AND elder.flow_id = b.flow_id AND elder.id < b.id
      AND elder.state NOT IN ('done', 'failed'))"""

_DUE_BULK_RUNS = f"""
SELECT b.tenant_id, b.id, true FROM integrations_bulkrun b JOIN integrations_connection c ON c.id = b.target_id
WHERE b.state NOT IN ('done', 'failed') AND (b.lease_until IS NULL OR b.lease_until < %(now)s)
  AND (b.not_before IS NULL OR b.not_before <= %(now)s)
  AND (%(flows)s::bigint[] IS NULL OR b.flow_id = ANY(%(flows)s)) AND {_ITS_TURN} AND {_CALLABLE}
ORDER BY b.id LIMIT %(limit)s
"""  # noqa: S608

_ANY_BULK_RUN = """
SELECT EXISTS (SELECT FROM integrations_bulkrun b
               WHERE b.state NOT IN ('done', 'failed') AND (%(flows)s::bigint[] IS NULL OR b.flow_id = ANY(%(flows)s)))
"""

_DUE_DRAINS = f"""
SELECT c.tenant_id, c.id, NOT (EXISTS ({_WAITING.format(backfill="false")}))
FROM integrations_connection c
WHERE {_CALLABLE} AND (%(targets)s::bigint[] IS NULL OR c.id = ANY(%(targets)s)) AND (
    EXISTS ({_WAITING.format(backfill="false")}) OR EXISTS ({_WAITING.format(backfill="true")})
    OR EXISTS (SELECT FROM integrations_delivery d
               WHERE d.tenant_id = c.tenant_id AND d.target_id = c.id AND d.bulk_run_id IS NULL
                 AND (d.state IN ('claimed', 'sending') AND d.lease_until < %(now)s
                      OR d.state = 'uncertain' AND d.not_before <= %(now)s
                         AND (d.lease_until IS NULL OR d.lease_until < %(now)s))))
LIMIT %(limit)s
"""  # noqa: S608

_UNTOLD = """
(SELECT DISTINCT tenant_id FROM integrations_alert
 WHERE telling IN ('own', 'managers')
   AND ((ended_at IS NULL AND told_at IS NULL) OR (end_told_at IS NULL AND ended_at IS NOT NULL AND told_at IS NOT NULL))
 ORDER BY tenant_id LIMIT %(limit)s)
UNION ALL SELECT NULL
WHERE EXISTS (SELECT FROM integrations_alert WHERE telling = '' AND ended_at IS NULL)
   OR EXISTS (SELECT FROM integrations_incident WHERE ended_at IS NULL OR (told_at IS NOT NULL AND end_told_at IS NULL))
   OR EXISTS (SELECT FROM integrations_hookpost WHERE state IN ('waiting', 'sending') AND not_before <= %(now)s)
"""

_NEXT = f"""
SELECT least(
    (SELECT min(coalesce(r.lease_until, r.not_before)) FROM integrations_run r
     JOIN integrations_flow f ON f.id = r.flow_id JOIN integrations_connection c ON c.id = f.source_id
     WHERE r.state = 'running' AND (%(flows)s::bigint[] IS NULL OR r.flow_id = ANY(%(flows)s))
       AND c.state NOT IN ('paused', 'needs_reauth')),
    (SELECT min(greatest(coalesce(b.lease_until, b.not_before, %(now)s), c.open_until)) FROM integrations_bulkrun b
     JOIN integrations_connection c ON c.id = b.target_id
     WHERE b.state NOT IN ('done', 'failed') AND (%(flows)s::bigint[] IS NULL OR b.flow_id = ANY(%(flows)s))
       AND {_ITS_TURN} AND c.state NOT IN ('paused', 'needs_reauth')),
    (SELECT min(greatest(moment, c.open_until)) FROM integrations_connection c CROSS JOIN LATERAL (
        SELECT least(
            (SELECT min(d.not_before) FROM integrations_delivery d
             WHERE d.tenant_id = c.tenant_id AND d.target_id = c.id AND d.state = 'waiting' AND NOT d.guarded),
            (SELECT min(CASE WHEN d.state = 'uncertain' THEN greatest(d.not_before, d.lease_until) ELSE d.lease_until END)
             FROM integrations_delivery d
             WHERE d.tenant_id = c.tenant_id AND d.target_id = c.id AND d.bulk_run_id IS NULL
               AND d.state IN ('claimed', 'sending', 'uncertain'))
        ) AS moment) AS due
     WHERE c.state NOT IN ('paused', 'needs_reauth') AND (%(targets)s::bigint[] IS NULL OR c.id = ANY(%(targets)s))))
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Only:
    """Narrows questions to some flows and their target connections; None means all."""

    flows: Sequence[int] | None = None
    targets: Sequence[int] | None = None


EVERYTHING = Only()


def due_flows(only: Only = EVERYTHING, *, limit: int = 200) -> list[Ring]:
    return [Ring(tenant_id, pk) for tenant_id, pk in _ask(_DUE_FLOWS, only, limit)]


def due_runs(only: Only = EVERYTHING, *, limit: int = 200) -> list[Ring]:
    return [Ring(tenant_id, pk, bool(full)) for tenant_id, pk, full in _ask(_DUE_RUNS, only, limit)]


def due_bulk_runs(only: Only = EVERYTHING, *, limit: int = 200) -> list[Ring]:
    """They count as backfill: each is a first load."""
    return [Ring(tenant_id, pk, bool(backfill)) for tenant_id, pk, backfill in _ask(_DUE_BULK_RUNS, only, limit)]


def is_any_bulk_run_live(only: Only = EVERYTHING) -> bool:
    live: bool = _ask(_ANY_BULK_RUN, only, 0)[0][0]
    return live


def due_drains(only: Only = EVERYTHING, *, limit: int = 1000) -> list[Ring]:
    return [Ring(tenant_id, pk, bool(backfill)) for tenant_id, pk, backfill in _ask(_DUE_DRAINS, only, limit)]


def due_tellings(*, limit: int = 200) -> tuple[list[int], bool]:
    """Clinics whose people have not heard yet that a connection stopped, or that it works again; and whether there is
    something for the agency: alerts to fold, incidents to look at, messages for its webhook."""
    found = [tenant_id for (tenant_id,) in _ask(_UNTOLD, EVERYTHING, limit)]
    return [tenant_id for tenant_id in found if tenant_id is not None], None in found


def next_due_at(only: Only = EVERYTHING) -> datetime | None:
    """When the next run, bulk run or delivery becomes due, None when nothing is on its way. Schedules do not count."""
    moment: datetime | None = _ask(_NEXT, only, 0)[0][0]
    return moment


def _ask(statement: str, only: Only, limit: int) -> list[tuple[Any, ...]]:
    with system_tx("pulse"), database.cursor() as cursor:
        cursor.execute(
            statement,
            {
                "now": app_now(),
                "limit": limit,
                "flows": None if only.flows is None else list(only.flows),
                "targets": None if only.targets is None else list(only.targets),
            },
        )
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
