"""The budget's row: the same arithmetic as the pure one, and one truth for every process."""

import math
import multiprocessing
import time
from typing import Any

import pytest
from django.db import connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from integrations.core.errors import Throttled
from integrations.models import QuotaBudget
from integrations.services.quota import SharedStore, ensure_budget, open_gate, share_used
from integrations.toolkit.http import Limit, LimitStyle
from integrations.toolkit.quota import Ask, Bucket, Told, settle, take
from tenants.walls import app_now, system_tx

CLINICS = Limit(LimitStyle.REQUESTS, 200, 60.0)
SHOP = Limit(LimitStyle.POINTS, 100, 1.0, 2000)
BOTH = ["default", "owner"]
MEMBERS = ("amount", "per_s", "capacity", "empty_at", "inflight", "inflight_at", "blocked_until", "live_until")


def some(least: float, most: float) -> st.SearchStrategy[float]:
    """Numbers as they occur: to the ten-thousandth."""
    return st.integers(int(least * 10_000), int(most * 10_000)).map(lambda number: number / 10_000)


def row_as_bucket(style: LimitStyle) -> Bucket:
    row = QuotaBudget.objects.get(vendor="v", subject="s")
    return Bucket(style, **{name: getattr(row, name) for name in MEMBERS})


@pytest.mark.django_db
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    style=st.sampled_from(LimitStyle),
    facts=st.fixed_dictionaries(
        {
            "amount": st.sampled_from([1.0, 7.0, 60.0, 200.0, 1e6]),
            "per_s": st.sampled_from([0.05, 1.0, 60.0]),
            "capacity": st.just(2000.0),
            "inflight": some(0, 500),
        }
    ),
    ages=st.fixed_dictionaries(
        {
            "empty_at": some(-200, 200),
            "inflight_at": some(-9000, 0),
            "blocked_until": some(-50, 50),
            "live_until": some(-5, 5),
        }
    ),
    ask=st.builds(
        Ask,
        cost=st.sampled_from([1.0, 12.0, 400.0]),
        block=st.sampled_from([1.0, 24.0, 400.0]),
        live=st.booleans(),
        patience_s=st.sampled_from([0.0, 3.0, 1e3]),
    ),
    told=st.builds(
        Told,
        reserved=some(0, 300),
        refund=some(0, 100),
        available=st.none() | some(0, 3000),
        age_s=some(0, 30),
        capacity=st.none() | st.just(4000.0),
        restored=st.none() | st.just(50.0),
    ),
)
def test_the_statement_and_the_pure_arithmetic_are_equal(
    style: LimitStyle, facts: dict[str, float], ages: dict[str, float], ask: Ask, told: Told
) -> None:
    if style is LimitStyle.REQUESTS:
        told = Told(reserved=told.reserved, refund=told.refund)
    ask = Ask(ask.cost, max(ask.cost, ask.block), ask.live, ask.patience_s)
    with system_tx("test"):
        began = app_now().timestamp()
        members = facts | {name: began + age for name, age in ages.items()}
        before = Bucket(style, **members)
        QuotaBudget.objects.update_or_create(vendor="v", subject="s", defaults={"style": str(style), **members})
    grant = SharedStore("v", "s", CLINICS if style is LimitStyle.REQUESTS else SHOP).take(ask, told)
    wanted, pure = take(settle(before, told, grant.now), ask, grant.now)
    with system_tx("test"):
        found = row_as_bucket(style)
    for name in MEMBERS:
        assert math.isclose(getattr(found, name), getattr(wanted, name), rel_tol=1e-12, abs_tol=2e-5), name
    for name in ("granted", "wait_s", "now") + (("every_s", "early_s", "late_s") if pure.granted else ()):
        assert math.isclose(getattr(grant, name), getattr(pure, name), rel_tol=1e-9, abs_tol=2e-5), name


@pytest.mark.django_db
def test_the_row_is_made_at_the_first_ask_and_keeps_what_an_operator_sets() -> None:
    gate = open_gate("v", "s", CLINICS)
    gate.acquire(1)
    with system_tx("test"):
        row = QuotaBudget.objects.get(vendor="v", subject="s")
        assert (row.style, row.amount, row.per_s, row.spent) == ("requests", 200, 60, 1)
        QuotaBudget.objects.filter(pk=row.pk).update(amount=120)
        ensure_budget("v", "s", CLINICS)
        assert QuotaBudget.objects.get(pk=row.pk).amount == 120
    open_gate("v", "s", CLINICS).acquire(1)


@pytest.mark.django_db
def test_a_budget_that_is_blocked_says_when_to_come_back() -> None:
    gate = open_gate("v", "s", CLINICS, patience_s=0.2)
    gate.acquire(1)
    gate.block_until(time.time() + 60)
    with pytest.raises(Throttled) as caught:
        gate.acquire(1)
    with system_tx("test"):
        left_s = caught.value.retry_at.timestamp() - app_now().timestamp()
    assert caught.value.code == "quota.wait"
    assert left_s == pytest.approx(60, abs=2)


@pytest.mark.django_db
def test_a_shop_of_a_larger_plan_is_learnt_from_its_answers() -> None:
    gate = open_gate("v", "s", SHOP)
    for left in (18_000, 17_990, 17_980):
        gate.acquire(10)
        gate.settle(10, actual=10, available=left, capacity=20_000, restore_rate=1000.0)
    gate.acquire(10)
    with system_tx("test"):
        row = QuotaBudget.objects.get(vendor="v", subject="s")
        assert (row.amount, row.capacity, row.per_s) == (1000, 20_000, 1)


@pytest.mark.django_db
def test_what_is_used_is_told_as_a_share_of_the_last_full_window() -> None:
    with system_tx("test"):
        now = app_now().timestamp()
        row = QuotaBudget(
            style="requests", amount=200, per_s=60, window_at=now // 60 * 60 - 60, spent=150, spent_before=9
        )
        assert share_used(row) == pytest.approx(0.75)
        row.window_at -= 120
        assert share_used(row) == 0


def _caller(
    vendor: str, limit: Limit, began: float, seconds: float, journal: "multiprocessing.Queue[list[float]]"
) -> None:
    for inherited in connections.all():
        inherited.connection = None  # the parent's socket, which must not be closed here
    gate = open_gate(vendor, "s", limit, patience_s=60)
    used: list[float] = []
    while time.time() < began + seconds:
        gate.acquire(1)
        used.append(time.time())
    journal.put(used)
    connections.close_all()


def run_callers(count: int, vendor: str, limit: Limit, seconds: float) -> list[float]:
    context = multiprocessing.get_context("fork")
    journal: multiprocessing.Queue[list[float]] = context.Queue()
    began = time.time()
    callers: list[Any] = [
        context.Process(target=_caller, args=(vendor, limit, began, seconds, journal)) for _ in range(count)
    ]
    for caller in callers:
        caller.start()
    used = sorted(instant for _ in callers for instant in journal.get(timeout=seconds + 60))
    for caller in callers:
        caller.join(30)
        assert caller.exitcode == 0
    return used


def most_in_any_window(times: list[float], per_s: float) -> int:
    first, most = 0, 0
    for last, instant in enumerate(times):
        while instant - times[first] >= per_s:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.django_db(transaction=True, databases=BOTH)
def test_v01_four_processes_share_one_budget_and_use_nearly_all_of_it() -> None:
    """Two hundred in twenty seconds instead of sixty, seen for two windows."""
    limit = Limit(LimitStyle.REQUESTS, 200, 20.0)
    used = run_callers(4, "v", limit, 41.0)
    assert most_in_any_window(used, 20.0) <= 200
    assert len(used) / (used[-1] - used[0]) >= 0.95 * 10
