"""Meters: a day of each flow and connection, kept when it is over; the days since are measured when somebody looks."""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import connection as database
from django.db.models import Max

from integrations.models import FlowDay
from tenants.models import Tenant
from tenants.walls import app_now, insert_rows, system_tx, tenant_tx

STEP = 1.1
"""Each step of waiting ends this much later than the one before; a percentile is at most a tenth too long."""
WRITTEN = ("created", "updated", "archived")
COUNTS = ("passes", "failed", "read", *WRITTEN, "loaded")
DAY = timedelta(days=1)

_DELIVERIES = """
SELECT flow_id, (done_at AT TIME ZONE %(zone)s)::date, outcome, backfill,
    CASE WHEN NOT backfill THEN ceil(ln(greatest(1, extract(epoch FROM done_at - changed_at)::float8)) / ln(%(step)s::float8)) END,
    count(*)
FROM integrations_delivery
WHERE tenant_id = %(clinic)s AND state = 'done' AND done_at >= %(start)s AND done_at < %(end)s
  AND outcome IN ('created', 'updated', 'archived')
GROUP BY 1, 2, 3, 4, 5
"""

_RUNS = """
SELECT f.id, r.day, r.passes, r.failed, r.read FROM integrations_flow f CROSS JOIN LATERAL (
    SELECT (started_at AT TIME ZONE %(zone)s)::date AS day, count(*) AS passes,
        count(*) FILTER (WHERE state = 'failed') AS failed, sum(read) AS read
    FROM integrations_run WHERE tenant_id = %(clinic)s AND flow_id = f.id
      AND started_at >= %(start)s AND started_at < %(end)s
    GROUP BY 1) AS r
WHERE f.tenant_id = %(clinic)s
"""

_HELD = """
SELECT flow_id, count(*) FROM integrations_delivery
WHERE tenant_id = %(clinic)s AND state = 'held' AND (ignored_until IS NULL OR ignored_until <= %(now)s)
GROUP BY flow_id
"""

_CALLS = """
INSERT INTO integrations_connectionday AS d (tenant_id, connection_id, day, calls)
SELECT c.tenant_id, c.id, (app_now() AT TIME ZONE t.time_zone)::date, told.calls
FROM unnest(%(connections)s::bigint[], %(calls)s::int[]) AS told(id, calls)
JOIN integrations_connection c ON c.id = told.id JOIN tenants_tenant t ON t.id = c.tenant_id
ORDER BY c.id
ON CONFLICT (tenant_id, day, connection_id) DO UPDATE SET calls = d.calls + excluded.calls
"""


@dataclass(slots=True)
class Day:
    """What a flow did on one or more days: those of `FlowDay`."""

    passes: int = 0
    failed: int = 0
    read: int = 0
    created: int = 0
    updated: int = 0
    archived: int = 0
    loaded: int = 0
    held: int | None = None
    waits: dict[int, int] = field(default_factory=dict)
    compared: int | None = None
    agreed: int | None = None

    @property
    def written(self) -> int:
        """Without first loads."""
        return self.created + self.updated + self.archived

    @property
    def agreement(self) -> float | None:
        """In per cent."""
        return 100 * (self.agreed or 0) / self.compared if self.compared else None

    def behind_s(self, share: float) -> float | None:
        """Within how many seconds this share of the changes arrived, None where there were none."""
        left = math.ceil(share * sum(self.waits.values()))
        for step in sorted(self.waits):
            left -= self.waits[step]
            if left <= 0:
                return float(STEP**step)
        return None

    def add(self, other: "Day") -> None:
        """Takes a later day in: counts add up, what stands at a day's end is the later one's."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for step, count in other.waits.items():
            self.waits[step] = self.waits.get(step, 0) + count
        self.held = self.held if other.held is None else other.held
        if other.compared is not None:
            self.compared, self.agreed = other.compared, other.agreed


Days = Mapping[tuple[int, date], Day]
"""By flow and day."""


def today_of(clinic: Tenant, now: datetime) -> date:
    return now.astimezone(ZoneInfo(clinic.time_zone)).date()


def keep(tenant_id: int) -> int:
    """Keeps the days that ended since the last kept one; returns how many rows. For housekeeping, any number of times."""
    clinic = Tenant.objects.get(pk=tenant_id)
    with tenant_tx(tenant_id, reason="meters"):
        now = app_now()
        yesterday = today_of(clinic, now) - DAY
        first = _first_unkept(clinic, now)
        if first > yesterday:
            return 0
        measured = measure(clinic, first, yesterday)
        for flow_id, count in _held(clinic, now).items():
            measured.setdefault((flow_id, yesterday), Day()).held = count
        for flow_id, day in measured:
            if day == yesterday and measured[flow_id, day].held is None:
                measured[flow_id, day].held = 0
        columns = ("flow_id", "day", *COUNTS, "held", "waits")
        rows = [
            (flow_id, day, *(getattr(one, name) for name in COUNTS), one.held, one.waits)
            for (flow_id, day), one in measured.items()
        ]
        insert_rows(FlowDay, columns, rows, on_conflict="(tenant_id, day, flow_id) DO NOTHING")
    return len(rows)


def _first_unkept(clinic: Tenant, now: datetime) -> date:
    last: date | None = FlowDay.objects.filter(tenant_id=clinic.pk).aggregate(last=Max("day"))["last"]
    oldest = today_of(clinic, now - timedelta(days=settings.SUTURE_KEEP_DONE_DAYS))
    return max(oldest, last + DAY) if last else oldest


def measure(clinic: Tenant, first: date, last: date) -> dict[tuple[int, date], Day]:
    """What its flows did on these days, from the runs and deliveries themselves. Every flow that did something has a
    row. In a scope that sees the clinic."""
    zone = ZoneInfo(clinic.time_zone)
    facts: dict[str, int | str | float | datetime] = {
        "clinic": clinic.pk,
        "zone": clinic.time_zone,
        "step": STEP,
        "start": datetime(first.year, first.month, first.day, tzinfo=zone),
        "end": datetime(last.year, last.month, last.day, tzinfo=zone) + DAY,
    }
    found: dict[tuple[int, date], Day] = {}
    with database.cursor() as cursor:
        cursor.execute(_RUNS, facts)
        for flow_id, day, passes, failed, read in cursor.fetchall():
            found[flow_id, day] = Day(passes=passes, failed=failed, read=int(read))
        cursor.execute(_DELIVERIES, facts)
        for flow_id, day, outcome, is_load, step, count in cursor.fetchall():
            one = found.setdefault((flow_id, day), Day())
            word = "loaded" if is_load else outcome
            setattr(one, word, getattr(one, word) + count)
            if step is not None:
                one.waits[int(step)] = one.waits.get(int(step), 0) + count
    return found


def _held(clinic: Tenant, now: datetime) -> dict[int, int]:
    with database.cursor() as cursor:
        cursor.execute(_HELD, {"clinic": clinic.pk, "now": now})
        return dict(cursor.fetchall())


def days_of(clinic: Tenant, first: date, last: date, now: datetime) -> dict[tuple[int, date], Day]:
    """These days: the kept ones, and those since as they are now, with what is held now on today. In the clinic's scope,
    in five questions."""
    kept = {
        (row.flow_id, row.day): read(row)
        for row in FlowDay.objects.filter(tenant_id=clinic.pk, day__gte=first, day__lte=last)
    }
    today = today_of(clinic, now)
    since = max(first, _first_unkept(clinic, now))
    until = min(last, today)
    if since <= until:
        kept |= measure(clinic, since, until)
    if first <= today <= last:
        for flow_id, count in _held(clinic, now).items():
            kept.setdefault((flow_id, today), Day()).held = count
    return kept


def read(row: FlowDay) -> Day:
    """A kept day."""
    counts = {name: getattr(row, name) for name in COUNTS}
    waits = {int(step): count for step, count in row.waits.items()}
    return Day(**counts, held=row.held, waits=waits, compared=row.compared, agreed=row.agreed)


def summed(days: Days, flow_id: int | None = None) -> Day:
    """The days of one flow as one; without a flow, of all, where what stands at the end is left out."""
    total = Day()
    for (one_id, _), day in sorted(days.items(), key=lambda item: item[0][1]):
        if flow_id in (None, one_id):
            total.add(day)
    return total


# Requests


class Calling(Protocol):
    calls: int


@dataclass(slots=True)
class _Watched:
    connection_id: int
    client: Calling
    kept: int


class _Clients(threading.local):
    def __init__(self) -> None:
        self.watched: list[_Watched] = []


_clients = _Clients()


def watch(connection_id: int, client: Calling) -> None:
    """Counts what this client asks from now on. What the thread's earlier ones asked is kept first."""
    keep_calls()
    _clients.watched.append(_Watched(connection_id, client, client.calls))


def keep_calls() -> None:
    """Adds the requests made since to their connections' day, and lets go of clients that made none. Outside of any scope;
    a killed process forgets the last task's."""
    _clients.watched = [one for one in _clients.watched if one.client.calls > one.kept]
    if not _clients.watched:
        return
    made: dict[int, int] = {}
    for one in _clients.watched:
        calls, one.kept = one.client.calls - one.kept, one.client.calls
        made[one.connection_id] = made.get(one.connection_id, 0) + calls
    with system_tx("meters"), database.cursor() as cursor:
        cursor.execute(_CALLS, {"connections": list(made), "calls": list(made.values())})
