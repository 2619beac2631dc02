"""A vendor's limit as one leaking bucket, and the gate that makes a caller wait for its turn. Pure but for the waiting.

A bucket holds ``size`` and refills at ``rate`` a second. It is stored as one number, ``empty_at``: the instant at which
it holds nothing, so that its level at any instant is ``(instant - empty_at) * rate``, never more than its size. A grant
of ``cost`` is good from the first instant at which the level reaches ``cost + margin``, and moves ``empty_at`` on by
``cost / rate``, even into the future: those who wait stand in line.

REQUESTS: "200 in any 60 s" is a bucket that refills at 197 in 60 s and holds what refills in a quarter of a second and
one more. A turn unused half a second after its time is thrown away, or turns kept up would be used in a bunch. In any
window there are then at most 199 turns, and 98 % of the limit can be used.

POINTS: the vendor's own bucket, kept a little above empty, corrected by what the vendor says about it: down at once, up
step by step, because an answer may be older than what others did since.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from integrations.core.errors import Throttled
from integrations.toolkit.http import Limit, LimitStyle

LATE_PER_WINDOW = 0.5 / 60  # of the window: how long after its time a turn may be used
INFLIGHT_LIFE_S = 60.0
MARGIN_S = 0.5  # points that refill in this time stay in the bucket
MOST_AT_ONCE = 32
NOTHING = 0.001  # points; the database refuses numbers too small to hold


@dataclass(frozen=True, slots=True)
class Told:
    """What happened since a gate last spoke to its store. ``reserved`` are points whose answers came, ``refund`` how
    much less they cost. ``available``, ``capacity`` and ``restored`` are the vendor's words, ``age_s`` their age;
    ``restored`` is points per unit of the vendor's time."""

    reserved: float = 0.0
    refund: float = 0.0
    available: float | None = None
    age_s: float = 0.0
    capacity: float | None = None
    restored: float | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A wish for ``cost``, or for ``block`` if that is to be had at once. ``live`` work goes before other work."""

    cost: float
    block: float
    live: bool
    patience_s: float


@dataclass(frozen=True, slots=True)
class Grant:
    """``granted`` may be spent ``wait_s`` from now, in turns ``every_s`` apart, each lost ``late_s`` after its time.

    ``granted`` 0 means no: ask again in ``wait_s``. ``now`` is the store's clock, seconds since 1970.
    ``early_s`` is how long ago the first turn's own time was, ``age_s`` how long ago ``now`` was when this is handed over.
    """

    granted: float
    wait_s: float
    now: float
    every_s: float = 0.0
    early_s: float = 0.0
    late_s: float = math.inf
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Bucket:
    """The state of one budget, as the database keeps it. See ``models.QuotaBudget`` for its members."""

    style: LimitStyle
    amount: float
    per_s: float
    capacity: float = 0.0
    empty_at: float = 0.0
    inflight: float = 0.0
    inflight_at: float = 0.0
    blocked_until: float = 0.0
    live_until: float = 0.0

    @property
    def is_points(self) -> bool:
        return self.style is LimitStyle.POINTS

    @property
    def rate(self) -> float:
        """Refill a second. A window of requests gives up 1.5 % of its turns, or two where that is a tenth at most."""
        spare = 0.0 if self.is_points else max(self.amount * 0.015, min(2.0, self.amount / 10))
        return (self.amount - spare) / self.per_s

    @property
    def late_s(self) -> float:
        return math.inf if self.is_points else self.per_s * LATE_PER_WINDOW

    @property
    def size(self) -> float:
        return max(self.capacity, 1.0) if self.is_points else self.late_s / 2 * self.rate + 1

    @property
    def margin(self) -> float:
        return min(self.rate * MARGIN_S * self.per_s, self.size / 10) if self.is_points else 0.0


def settle(bucket: Bucket, told: Told, now: float) -> Bucket:
    """The bucket after what the vendor told. Mirrors the SQL of ``services.quota``."""
    bucket = replace(
        bucket,
        amount=told.restored if told.restored else bucket.amount,
        capacity=told.capacity if told.capacity else bucket.capacity,
    )
    lives = min(max(0.0, (now - bucket.inflight_at) / INFLIGHT_LIFE_S), 20.0)
    faded = bucket.inflight * math.exp(-lives) if bucket.inflight > NOTHING else 0.0
    inflight = max(0.0, faded - told.reserved)
    empty_at = max(bucket.empty_at, now - bucket.size / bucket.rate) - told.refund / bucket.rate
    if told.available is not None:
        seen = min(bucket.size, told.available + bucket.rate * told.age_s) - inflight
        gap_s = (now - empty_at) - seen / bucket.rate
        empty_at += gap_s if gap_s > 0 else gap_s / 4
    return replace(bucket, empty_at=empty_at, inflight=inflight, inflight_at=now)


def take(bucket: Bucket, ask: Ask, now: float) -> tuple[Bucket, Grant]:
    """The bucket after this ask, and its answer. Mirrors the SQL of ``services.quota``."""
    rate, size = bucket.rate, bucket.size
    cost = min(ask.cost, size)
    margin = min(bucket.margin, size - cost)
    empty_at = max(bucket.empty_at, now - size / rate, bucket.blocked_until - (cost + margin) / rate)
    ready_at = empty_at + (cost + margin) / rate
    wait_s = max(0.0, ready_at - now)
    live_until = bucket.live_until
    if ask.live and wait_s > 0:
        live_until = max(live_until, min(ready_at, now + ask.patience_s) + bucket.per_s * LATE_PER_WINDOW)
    if not ask.live and bucket.live_until > now:
        return bucket, Grant(0.0, bucket.live_until - now, now)
    if wait_s > ask.patience_s:
        return replace(bucket, live_until=live_until), Grant(0.0, wait_s, now)
    block = empty_at + (ask.block + margin) / rate <= now
    granted = ask.block if block or (ask.block > cost and not bucket.is_points) else cost
    taken = replace(
        bucket,
        empty_at=empty_at + granted / rate,
        inflight=bucket.inflight + (granted if bucket.is_points else 0.0),
        live_until=live_until,
    )
    return taken, Grant(granted, wait_s, now, 1 / rate, max(0.0, now - ready_at), bucket.late_s)


class Store(Protocol):
    """Where the bucket is kept. Each call is one step that no other caller can come between."""

    def take(self, ask: Ask, told: Told) -> Grant:
        """Settles, then asks."""

    def block(self, seconds: float) -> None:
        """No grant before that many seconds have passed."""

    def block_size(self, cost: float) -> float:
        """How much to ask for at once, for a caller who will come again at once."""


def block_size(bucket: Bucket, cost: float) -> float:
    """Turns that a quick caller uses up before they are lost; points that come back in half a second."""
    span_s = bucket.per_s * 0.5 if bucket.is_points else bucket.late_s / 2
    times = int(span_s * bucket.rate / cost) if cost else 1
    return cost * max(1, min(times, MOST_AT_ONCE))


class MemoryStore:
    """A bucket in this process, for tests and for connectors tried alone."""

    def __init__(self, limit: Limit, now: Callable[[], float] = time.time) -> None:
        self.bucket = fresh(limit)
        self._now = now

    def take(self, ask: Ask, told: Told) -> Grant:
        now = self._now()
        self.bucket, grant = take(settle(self.bucket, told, now), ask, now)
        return grant

    def block(self, seconds: float) -> None:
        self.bucket = replace(self.bucket, blocked_until=max(self.bucket.blocked_until, self._now() + seconds))

    def block_size(self, cost: float) -> float:
        return block_size(self.bucket, cost)


def fresh(limit: Limit) -> Bucket:
    """A bucket nobody has drawn from."""
    return Bucket(limit.style, float(limit.amount), limit.per_s, float(limit.capacity))


@dataclass(slots=True)
class _Hand:
    """Turns taken from the store and not used yet: ``left`` of them, the next due at ``at`` on our monotonic clock."""

    left: float = 0.0
    at: float = 0.0
    every_s: float = 0.0
    lost_at: float = 0.0


class QuotaGate:
    """A ``Gate`` over a shared store. One thread at a time.

    ``live`` work (a person waits, an event came in) goes before other work. ``patience_s`` is how long one
    ``acquire`` may sleep before it gives up with Throttled ``quota.wait``. What answers told is kept here and handed
    to the store with the next ask, so that a call costs one statement.
    """

    def __init__(
        self,
        store: Store,
        limit: Limit,
        *,
        live: bool = False,
        patience_s: float = 10.0,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._store = store
        self._limit = limit
        self._live = live
        self._patience_s = patience_s
        self._sleep = sleep
        self._monotonic = monotonic
        self._hand = _Hand()
        self._told = Told()
        self._told_at = 0.0

    @property
    def _is_points(self) -> bool:
        return self._limit.style is LimitStyle.POINTS

    def acquire(self, cost: int) -> None:
        """Sleeps until ``cost`` may be spent. Raises Throttled: ``quota.wait``."""
        ends_at = self._monotonic() + self._patience_s
        while not self._play(float(cost)):
            self._draw(float(cost), ends_at)

    def settle(
        self,
        cost: int,
        *,
        actual: int | None = None,
        available: int | None = None,
        capacity: int | None = None,
        restore_rate: float | None = None,
    ) -> None:
        """Takes note of an answer; ``cost`` is what was acquired for it. Only points are ever corrected."""
        if not self._is_points:
            return
        told, now = self._told, self._monotonic()
        self._told = Told(
            reserved=told.reserved + cost,
            refund=told.refund + (cost - actual if actual is not None else 0),
            available=told.available if available is None else float(available),
            capacity=told.capacity if capacity is None else float(capacity),
            restored=told.restored if restore_rate is None else restore_rate * self._limit.per_s,
        )
        if available is not None:
            self._told_at = now
            if self._hand.left > available:
                self._drop()

    def block_until(self, epoch_s: float) -> None:
        """Nobody spends from this budget before that instant of our clock."""
        self._hand = _Hand()
        self._store.block(max(0.0, epoch_s - self._clock()))

    def _play(self, cost: float) -> bool:
        """Spends from the hand, sleeping until its turn has come. False if the hand is empty or too old."""
        hand = self._hand
        if hand.left < cost:
            return False
        if hand.at > self._monotonic():
            self._sleep(hand.at - self._monotonic())
        if self._monotonic() > hand.lost_at:
            self._drop()
            return False
        hand.left -= cost
        if not self._is_points:
            hand.at += hand.every_s * cost
            hand.lost_at += hand.every_s * cost
        return True

    def _draw(self, cost: float, ends_at: float) -> None:
        """Asks the store, with the hand given back. Raises Throttled when the turn lies beyond our patience."""
        self._drop()
        asked_at = self._monotonic()
        if asked_at > ends_at + self._patience_s:  # turns come in time and we do not: a machine beyond its strength
            raise Throttled("quota.wait", datetime.fromtimestamp(self._clock() + 1, UTC))
        patience_s = max(0.0, ends_at - asked_at)
        told = replace(self._told, age_s=asked_at - self._told_at if self._told_at else 0.0)
        grant = self._store.take(Ask(cost, self._store.block_size(cost), self._live, patience_s), told)
        self._told = Told()
        if grant.granted:
            due_at = self._monotonic() - grant.age_s + grant.wait_s - (0 if self._is_points else grant.early_s)
            lost_at = due_at + (2 * self._limit.per_s if self._is_points else grant.late_s)
            self._hand = _Hand(max(grant.granted, cost), due_at, grant.every_s, lost_at)
        elif grant.wait_s > patience_s:
            raise Throttled("quota.wait", datetime.fromtimestamp(grant.now + grant.wait_s, UTC))
        else:
            self._sleep(grant.wait_s)

    def _drop(self) -> None:
        """Gives unused points back; unused turns are lost by their nature."""
        if self._is_points and self._hand.left > 0:
            left = self._hand.left
            self._told = replace(self._told, reserved=self._told.reserved + left, refund=self._told.refund + left)
        self._hand = _Hand()
