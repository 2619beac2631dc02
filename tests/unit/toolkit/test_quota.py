"""The bucket: never more than the vendor allows in any window, nearly all of it used, live work first."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.core.errors import Throttled
from integrations.toolkit.http import Limit, LimitStyle
from integrations.toolkit.quota import Ask, MemoryStore, QuotaGate, Told, fresh, settle, take

CLINICS = Limit(LimitStyle.REQUESTS, 200, 60.0)
SHOP = Limit(LimitStyle.POINTS, 100, 1.0, 2000)


class Time:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)


def most_in_any_window(times: list[float], per_s: float) -> int:
    times = sorted(times)
    first, most = 0, 0
    for last, instant in enumerate(times):
        while instant - times[first] >= per_s:
            first += 1
        most = max(most, last - first + 1)
    return most


@settings(max_examples=80, deadline=None)
@given(
    amount=st.sampled_from([1, 2, 3, 5, 10, 58, 60, 100, 200, 1000]),
    per_s=st.sampled_from([1.0, 10.0, 60.0]),
    rests=st.lists(st.one_of(st.just(0.0), st.floats(0, 1), st.floats(0, 90)), min_size=30, max_size=300),
    lates=st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_no_schedule_of_callers_passes_the_limit_in_any_window(
    amount: int, per_s: float, rests: list[float], lates: list[float]
) -> None:
    """Turns are used anywhere between their time and the moment at which they are lost."""
    bucket, now, used = fresh(Limit(LimitStyle.REQUESTS, amount, per_s)), 1_800_000_000.0, []
    for index, rest in enumerate(rests):
        now += rest * per_s / amount * 3
        bucket, turn = take(bucket, Ask(1, 1, False, 1e9), now)
        room = turn.late_s - turn.early_s
        used.append(now + turn.wait_s + room * lates[index % len(lates)])
    assert most_in_any_window(used, per_s * (1 - 1e-9)) <= amount


@pytest.mark.parametrize(("amount", "per_s"), [(200, 60.0), (100, 10.0), (1000, 60.0)])
def test_a_lone_caller_uses_at_least_97_percent(amount: int, per_s: float) -> None:
    time = Time()
    limit = Limit(LimitStyle.REQUESTS, amount, per_s)
    gate = QuotaGate(MemoryStore(limit, time), limit, patience_s=1e9, sleep=time.sleep, monotonic=time)
    began, calls = time.now, 10 * amount
    times = []
    for _ in range(calls):
        gate.acquire(1)
        times.append(time.now)
        time.sleep(per_s / amount / 3)
    assert calls / (time.now - began) >= 0.97 * amount / per_s
    assert most_in_any_window(times, per_s) <= amount


def test_a_turn_that_was_slept_through_is_not_used_later() -> None:
    time = Time()
    slow = random.Random(4)

    def oversleep(seconds: float) -> None:
        time.sleep(seconds + slow.choice([0, 0, 0, 5.0]))

    gate = QuotaGate(MemoryStore(CLINICS, time), CLINICS, patience_s=1e9, sleep=oversleep, monotonic=time)
    times = []
    for _ in range(1500):
        gate.acquire(1)
        times.append(time.now)
    assert most_in_any_window(times, 60.0) <= 200


def test_beyond_its_patience_a_caller_is_told_when_to_come_back() -> None:
    time = Time()
    store = MemoryStore(CLINICS, time)
    gate = QuotaGate(store, CLINICS, patience_s=10, sleep=time.sleep, monotonic=time, clock=time)
    gate.block_until(time.now + 100)
    with pytest.raises(Throttled) as caught:
        gate.acquire(1)
    assert caught.value.code == "quota.wait"
    assert caught.value.retry_at.timestamp() == pytest.approx(time.now + 100, abs=1)
    time.sleep(101)
    gate.acquire(1)


def test_live_work_goes_before_backfill_only_while_it_waits() -> None:
    time = Time()
    store = MemoryStore(CLINICS, time)
    for _ in range(6):
        store.take(Ask(1, 1, False, 60), Told())
    live = store.take(Ask(1, 1, True, 60), Told())
    assert live.granted == 1 and live.wait_s > 0
    later = store.take(Ask(1, 1, False, 60), Told())
    assert later.granted == 0 and later.wait_s <= live.wait_s + 0.6
    time.sleep(later.wait_s)
    assert store.take(Ask(1, 1, False, 60), Told()).granted == 1


class Shop:
    """The vendor's own bucket, strict: what is asked for must be there."""

    def __init__(self, time: Time, capacity: float, rate: float) -> None:
        self.time, self.capacity, self.rate = time, capacity, rate
        self.level, self.at, self.refused, self.spent = capacity, time.now, 0, 0.0

    def call(self, requested: float, actual: float) -> float:
        self.level = min(self.capacity, self.level + (self.time.now - self.at) * self.rate)
        self.at = self.time.now
        if self.level < requested:
            self.refused += 1
            return self.level
        self.level -= actual
        self.spent += actual
        return self.level


@settings(max_examples=40, deadline=None)
@given(
    costs=st.lists(st.tuples(st.integers(1, 120), st.floats(0.1, 1.0)), min_size=50, max_size=200),
    truth=st.sampled_from([(1000.0, 50.0), (2000.0, 100.0), (4000.0, 200.0), (500.0, 25.0)]),
    level=st.floats(0, 1),
)
def test_points_are_never_asked_for_before_they_are_there(
    costs: list[tuple[int, float]], truth: tuple[float, float], level: float
) -> None:
    """Whatever the connector guessed of the plan: at most the first ask, before any answer, may be refused."""
    time = Time()
    shop = Shop(time, *truth)
    shop.level *= level
    gate = QuotaGate(MemoryStore(SHOP, time), SHOP, patience_s=1e9, sleep=time.sleep, monotonic=time, clock=time)
    for requested, share in costs:
        gate.acquire(requested)
        refused = shop.refused
        left = shop.call(requested, int(requested * share))
        actual = 0 if shop.refused > refused else int(requested * share)
        gate.settle(requested, actual=actual, available=int(left), capacity=int(truth[0]), restore_rate=truth[1])
        if shop.refused > refused:
            gate.block_until(time.now + max(1.0, (requested - left) / truth[1]))
    assert shop.refused <= 1


def test_points_are_used_up_as_fast_as_they_come() -> None:
    time = Time()
    shop = Shop(time, 2000, 100)
    gate = QuotaGate(MemoryStore(SHOP, time), SHOP, patience_s=1e9, sleep=time.sleep, monotonic=time)
    began = time.now
    for _ in range(3000):
        gate.acquire(12)
        left = shop.call(12, 10)
        time.sleep(0.05)
        gate.settle(12, actual=10, available=int(left), capacity=2000, restore_rate=100.0)
    assert shop.refused == 0
    assert shop.spent >= 0.97 * ((time.now - began) * 100)


def test_what_a_killed_process_reserved_comes_back() -> None:
    bucket, now = fresh(SHOP), 1_800_000_000.0
    bucket, _ = take(settle(bucket, Told(), now), Ask(1500, 1500, False, 60), now)
    for second in range(600):
        told = Told(available=2000.0, capacity=2000.0, restored=100.0)
        bucket = settle(bucket, told, now + second)
    assert bucket.inflight < 1
    _, grant = take(bucket, Ask(1800, 1800, False, 60), now + 600)
    assert grant.wait_s == 0
