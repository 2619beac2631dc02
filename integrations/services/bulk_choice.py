"""Which deliveries go in bulk: many new ones of one flow, to a stream that takes files of rows.

Bulk runs of one flow take turns, the eldest first. While one is under way, the flow's first load is gathered for the next
rather than written one by one; what changed since is not kept waiting.
"""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import connection as database
from django.db.models import QuerySet

from integrations.connectors.base import Stream
from integrations.flows import FLOW_KINDS
from integrations.models import BULK_LIVE, BulkRun, Delivery, Flow, Mode
from tenants.walls import app_now

LOOKED_AT = 4  # of the first so many times the number that a bulk run needs, enough must be new

# By their keys (OFFSET 0): without statistics, all that is in flight or linked would be read for each.
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
    AND (w.backfill OR NOT %(queues)s)
"""
# Over a bounded part, because this is asked before every drain.
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
    """Gives the new records that wait for each live flow to this connection to its bulk runs, if they are enough for one
    or one is under way. Returns the bulk runs that were given some. Call inside the clinic's transaction."""
    filled: list[int] = []
    now = app_now()
    for flow in _candidates(target_id):
        kind = FLOW_KINDS[flow.kind]
        given = _given(flow, kind.source, kind.target, now)
        under_way = BulkRun.objects.filter(flow=flow, state__in=BULK_LIVE).exists()
        if under_way or _are_waiting(given, settings.SUTURE_BULK_FROM + 1):
            filled += _fill(flow, given, now)
    return filled


def _candidates(target_id: int) -> QuerySet[Flow]:
    names = [name for name, kind in FLOW_KINDS.items() if goes_in_bulk(kind.target)]
    live: QuerySet[Flow] = Flow.objects.filter(target_id=target_id, mode=Mode.LIVE, kind__in=names)
    return live.order_by("pk")


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
        "queues": False,
    }


def _are_waiting(given: dict[str, Any], number: int) -> bool:
    """Whether so many are new, counted no further than it takes."""
    with database.cursor() as cursor:
        cursor.execute(_ENOUGH, {**given, "enough": number, "part": LOOKED_AT * (settings.SUTURE_BULK_FROM + 1)})
        count: int = cursor.fetchone()[0]
    return count >= number


def _fill(flow: Flow, given: dict[str, Any], now: datetime) -> list[int]:
    """Those that wait go to the bulk run that nobody has begun, and from there on to new ones. Behind one that is under way
    there need not be enough yet: the first load goes on, and what stays few goes one by one when its turn has come."""
    Flow.objects.select_for_update(no_key=True).get(pk=flow.pk)
    live = BulkRun.objects.filter(flow=flow, state__in=BULK_LIVE)
    last = live.filter(fence=0, revision_number=flow.revision_number).select_for_update().order_by("pk").last()
    filled: list[int] = []
    while True:
        queues = live.exists()
        given = {**given, "queues": queues}
        if last is None or not (room := _room(last)):
            if not _are_waiting(given, 1 if queues else settings.SUTURE_BULK_FROM + 1):
                return filled
            last, room = _begin(flow, now), settings.SUTURE_BULK_ROWS
        taken = _claim(last, given, room)
        if taken:
            filled.append(last.pk)
        if taken < room:  # nobody is left, or held by other workers just now
            return filled


def _begin(flow: Flow, now: datetime) -> BulkRun:
    begun: BulkRun = BulkRun.objects.create(
        tenant_id=flow.tenant_id,
        flow=flow,
        target_id=flow.target_id,
        revision_number=flow.revision_number,
        started_at=now,
    )
    return begun


def _room(bulk_run: BulkRun) -> int:
    held: int = Delivery.objects.filter(bulk_run_id=bulk_run.pk).count()
    room: int = max(0, settings.SUTURE_BULK_ROWS - held)
    return room


def _claim(bulk_run: BulkRun, given: dict[str, Any], most: int) -> int:
    """How many it was given."""
    with database.cursor() as cursor:
        cursor.execute(_CLAIM, {**given, "bulk_run": bulk_run.pk, "most": most})
        return int(cursor.rowcount)
