"""The budget of a credential, kept in the database and shared by every process.

One statement settles what was learnt and takes the next turn, under the row's lock and by the database's clock. It is
the arithmetic of ``toolkit.quota`` word for word; a test holds the two equal. Its commit does not wait for the disk: all
callers stand in line at this row, and a crash of the server forgets a fifth of a second of grants at most.
"""

import time
from datetime import datetime

from django.db import connection

from integrations.models.quota import QuotaBudget
from integrations.toolkit.http import Gate, Limit, LimitStyle
from integrations.toolkit.quota import (
    INFLIGHT_LIFE_S,
    LATE_PER_WINDOW,
    MARGIN_S,
    NOTHING,
    Ask,
    Bucket,
    Grant,
    QuotaGate,
    Told,
    block_size,
    fresh,
)
from tenants.walls import app_now, system_tx

_TABLE = QuotaBudget._meta.db_table

# Each step is MATERIALIZED: folded into one expression they repeat each other a thousandfold, 25 ms of planning a call.
_TAKE = f"""
WITH held AS MATERIALIZED (
    SELECT *, set_config('synchronous_commit', 'off', true) FROM {_TABLE} WHERE vendor = %(vendor)s AND subject = %(subject)s FOR UPDATE
), told AS MATERIALIZED (
    SELECT id, style = '{LimitStyle.POINTS}' AS points, per_s, empty_at, inflight, inflight_at, blocked_until, live_until,
        window_at, spent, spent_before,
        COALESCE(NULLIF(%(restored)s::float8, 0), amount) AS amount,
        COALESCE(NULLIF(%(capacity)s::float8, 0), capacity) AS capacity,
        extract(epoch FROM app_now())::float8 AS now
    FROM held
), sized AS MATERIALIZED (
    SELECT *, CASE WHEN points THEN greatest(capacity, 1) ELSE per_s * {LATE_PER_WINDOW} / 2 * rate + 1 END AS size
    FROM (SELECT *, (amount - CASE WHEN points THEN 0 ELSE greatest(amount * 0.015, least(2, amount / 10)) END) / per_s
        AS rate FROM told) AS rated
), faded AS MATERIALIZED (
    SELECT *, greatest(0, CASE WHEN inflight > {NOTHING}
            THEN inflight * exp(-least(greatest(0, (now - inflight_at) / {INFLIGHT_LIFE_S}), 20)) ELSE 0 END - %(reserved)s) AS flying,
        greatest(empty_at, now - size / rate) - %(refund)s / rate AS refilled_from,
        least(%(cost)s, size) AS cost
    FROM sized
), gap AS MATERIALIZED (
    SELECT *, CASE WHEN %(available)s::float8 IS NULL THEN 0 ELSE
        (now - refilled_from) - (least(size, %(available)s::float8 + rate * %(age_s)s) - flying) / rate END AS gap_s,
        least(CASE WHEN points THEN least(rate * {MARGIN_S} * per_s, size / 10) ELSE 0 END, size - cost) AS margin
    FROM faded
), settled AS MATERIALIZED (
    SELECT *, refilled_from + CASE WHEN gap_s > 0 THEN gap_s ELSE gap_s / 4 END AS settled_at FROM gap
), due AS MATERIALIZED (
    SELECT *, greatest(settled_at, now - size / rate, blocked_until - (cost + margin) / rate) AS from_at FROM settled
), turn AS MATERIALIZED (
    SELECT *, from_at + (cost + margin) / rate AS ready_at, %(live)s OR live_until <= now AS may FROM due
), answer AS MATERIALIZED (
    SELECT *, CASE WHEN may THEN greatest(0, ready_at - now) ELSE live_until - now END AS wait_s,
        CASE WHEN NOT may OR ready_at - now > %(patience_s)s THEN 0
            WHEN from_at + (%(block)s + margin) / rate <= now OR (%(block)s > cost AND NOT points) THEN %(block)s
            ELSE cost END AS granted
    FROM turn
), counted AS MATERIALIZED (
    SELECT *, floor(now / span) * span AS window_now FROM
        (SELECT *, CASE WHEN points THEN per_s * 60 ELSE per_s END AS span FROM answer) AS spanned
)
UPDATE {_TABLE} AS budget SET
    amount = counted.amount,
    capacity = counted.capacity,
    empty_at = CASE WHEN granted > 0 THEN from_at + granted / rate ELSE settled_at END,
    inflight = flying + CASE WHEN points THEN granted ELSE 0 END,
    inflight_at = now,
    live_until = CASE WHEN %(live)s AND ready_at > now
        THEN greatest(counted.live_until, least(ready_at, now + %(patience_s)s) + counted.per_s * {LATE_PER_WINDOW})
        ELSE counted.live_until END,
    window_at = window_now,
    spent = granted + CASE WHEN counted.window_at = window_now THEN counted.spent ELSE 0 END,
    spent_before = CASE WHEN counted.window_at = window_now THEN counted.spent_before
        WHEN counted.window_at >= window_now - span THEN counted.spent ELSE 0 END
FROM counted WHERE budget.id = counted.id
RETURNING granted, wait_s, now, 1 / rate, greatest(0, now - ready_at), counted.amount, counted.per_s, counted.capacity
"""  # noqa: S608 - built from constants of ours

_BLOCK = f"""
UPDATE {_TABLE} SET blocked_until = greatest(blocked_until, extract(epoch FROM app_now())::float8 + %s)
WHERE vendor = %s AND subject = %s
"""  # noqa: S608


class SharedStore:
    """The bucket of one vendor and subject, as its row says. The row is made, as the connector states the limit, when
    it is first asked for."""

    def __init__(self, vendor: str, subject: str, limit: Limit) -> None:
        self._vendor = vendor
        self._subject = subject
        self._limit = limit
        self._known: Bucket | None = None

    def take(self, ask: Ask, told: Told) -> Grant:
        facts: dict[str, float | str | bool | None] = {
            "vendor": self._vendor,
            "subject": self._subject,
            "cost": ask.cost,
            "block": ask.block,
            "live": ask.live,
            "patience_s": ask.patience_s,
            "reserved": told.reserved,
            "refund": told.refund,
            "available": told.available,
            "age_s": told.age_s,
            "capacity": told.capacity,
            "restored": told.restored,
        }
        with system_tx("take quota"), connection.cursor() as cursor:
            cursor.execute(_TAKE, facts)
            row = cursor.fetchone()
            if row is None:
                ensure_budget(self._vendor, self._subject, self._limit)
                cursor.execute(_TAKE, facts)
                row = cursor.fetchone()
            answered_at = time.monotonic()
        granted, wait_s, now, every_s, early_s, amount, per_s, capacity = row
        self._known = Bucket(self._limit.style, amount, per_s, capacity)
        return Grant(granted, wait_s, now, every_s, early_s, self._known.late_s, time.monotonic() - answered_at)

    def block(self, seconds: float) -> None:
        with system_tx("block quota"), connection.cursor() as cursor:
            cursor.execute(_BLOCK, [seconds, self._vendor, self._subject])

    def block_size(self, cost: float) -> float:
        return block_size(self._known, cost) if self._known else cost


def open_gate(vendor: str, subject: str, limit: Limit, *, interactive: bool = False, patience_s: float = 10.0) -> Gate:
    """The gate of this budget. ``interactive`` is for work that a person or an event waits for; it goes first."""
    return QuotaGate(SharedStore(vendor, subject, limit), limit, live=interactive, patience_s=patience_s)


def ensure_budget(vendor: str, subject: str, limit: Limit) -> None:
    """Makes the row if there is none; what stands there is left alone. Inside ``system_tx``."""
    start = fresh(limit)
    QuotaBudget.objects.bulk_create(
        [
            QuotaBudget(
                vendor=vendor,
                subject=subject,
                style=str(limit.style),
                amount=start.amount,
                per_s=start.per_s,
                capacity=start.capacity,
            )
        ],
        ignore_conflicts=True,
    )


def share_used(budget: QuotaBudget, now: datetime | None = None) -> float:
    """How much of its limit the budget used in the last full window, 0 to 1. Points are judged by the minute.

    Inside a scope that may read the table. ``now`` spares a query where many budgets are asked about.
    """
    span = budget.per_s * (60 if budget.style == LimitStyle.POINTS else 1)
    limit = budget.amount * (60 if budget.style == LimitStyle.POINTS else 1)
    windows_ago = ((now or app_now()).timestamp() - budget.window_at) // span
    used = budget.spent_before if windows_ago < 1 else budget.spent if windows_ago < 2 else 0.0
    return min(1.0, used / limit)
