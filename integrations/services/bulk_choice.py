"""Which deliveries go in bulk: many new ones of one flow, to a stream that takes files of rows."""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection as database
from django.db.models import Exists, OuterRef, QuerySet

from integrations.connectors.base import Stream
from integrations.flows import FLOW_KINDS
from integrations.models import BULK_LIVE, BulkRun, Flow, Mode
from tenants.walls import app_now

LOOKED_AT = 4  # of the first so many times the number that a bulk run needs, enough must be new

_NEW = """
    AND w.target_key = '' AND w.creates = 0 AND w.crashes = 0 AND w.looks = 0 AND w.decision = '{}'
    AND w.sealed_draft IS NOT NULL AND w.revision_number = %(revision)s AND NOT w.singly
    AND NOT EXISTS (
        SELECT FROM integrations_delivery f
        WHERE f.flow_id = w.flow_id AND f.source_key = w.source_key AND f.state IN ('claimed', 'sending', 'uncertain')
        OFFSET 0)
    AND NOT EXISTS (
        SELECT FROM integrations_link l
        WHERE l.source_id = %(source)s AND l.source_stream = %(source_stream)s AND l.target_id = %(target)s
          AND l.target_stream = %(target_stream)s AND l.source_key = w.source_key
        OFFSET 0)
"""
_DUE = """
    w.target_id = %(target)s AND w.flow_id = %(flow)s AND w.state = 'waiting' AND w.not_before <= %(now)s AND NOT w.guarded
"""
# Key by key (OFFSET 0) and over a bounded part, because this is asked before every drain.
_ENOUGH = f"""
SELECT count(*) FROM (
    SELECT FROM (SELECT * FROM integrations_delivery w WHERE {_DUE} LIMIT %(part)s) w WHERE true {_NEW} LIMIT %(enough)s
) AS new
"""  # noqa: S608 - constants only
_CLAIM = f"""
WITH due AS (
    SELECT w.id FROM integrations_delivery w WHERE {_DUE} {_NEW}
    ORDER BY w.backfill, w.not_before, w.id LIMIT %(most)s FOR UPDATE SKIP LOCKED
)
UPDATE integrations_delivery d
SET state = 'sending', bulk_run_id = %(bulk_run)s, lease_until = NULL, fence = d.fence + 1
FROM due WHERE d.id = due.id
"""  # noqa: S608 - constants only


def begin_due(target_id: int) -> list[int]:
    """Begins a bulk run for each live flow to this connection that has enough new records waiting and none under way,
    and gives it its deliveries. Returns the bulk runs. Call inside the clinic's transaction."""
    begun = []
    now = app_now()
    for flow in _candidates(target_id):
        kind = FLOW_KINDS[flow.kind]
        given = _given(flow, kind.source, kind.target, now)
        if _count(given) > settings.SUTURE_BULK_FROM and (bulk_run := _begin(flow, given, now)):
            begun.append(bulk_run)
    return begun


def _candidates(target_id: int) -> QuerySet[Flow]:
    under_way = BulkRun.objects.filter(flow_id=OuterRef("pk"), state__in=BULK_LIVE)
    names = [name for name, kind in FLOW_KINDS.items() if goes_in_bulk(kind.target)]
    live: QuerySet[Flow] = Flow.objects.filter(target_id=target_id, mode=Mode.LIVE, kind__in=names)
    return live.filter(~Exists(under_way)).order_by("pk")


def goes_in_bulk(stream: Stream) -> bool:
    """Whether a stream can be written in bulk, and be read first, so that nobody is doubled."""
    return stream.bulk is not None and stream.read_page is not None


def _given(flow: Flow, source: Stream, target: Stream, now: datetime) -> dict[str, Any]:
    return {
        "now": now,
        "flow": flow.pk,
        "revision": flow.revision_number,
        "source": flow.source_id,
        "target": flow.target_id,
        "source_stream": source.name,
        "target_stream": target.name,
    }


def _count(given: dict[str, Any]) -> int:
    """How many are new, counted no further than it takes."""
    enough = settings.SUTURE_BULK_FROM + 1
    with database.cursor() as cursor:
        cursor.execute(_ENOUGH, {**given, "enough": enough, "part": LOOKED_AT * enough})
        count: int = cursor.fetchone()[0]
    return count


def _begin(flow: Flow, given: dict[str, Any], now: datetime) -> int:
    """The new bulk run, or 0 where another worker was first."""
    Flow.objects.select_for_update(no_key=True).get(pk=flow.pk)
    if BulkRun.objects.filter(flow=flow, state__in=BULK_LIVE).exists():
        return 0
    bulk_run: BulkRun = BulkRun.objects.create(
        tenant_id=flow.tenant_id,
        flow=flow,
        target_id=flow.target_id,
        revision_number=flow.revision_number,
        started_at=now,
    )
    with database.cursor() as cursor:
        cursor.execute(_CLAIM, {**given, "bulk_run": bulk_run.pk, "most": settings.SUTURE_BULK_ROWS})
    return bulk_run.pk
