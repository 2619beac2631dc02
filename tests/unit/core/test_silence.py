"""The silence alarm's judgement on made data, holidays included (B8): seldom wrong, and soon enough."""

import math
import random
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from integrations.core.silence import HOUR, WEEK, expected_by_now, quiet_since

START = datetime.fromisoformat("2025-12-29")
HOLIDAYS = {datetime.fromisoformat(day) for day in ("2026-01-26", "2026-04-03", "2026-04-06", "2026-04-25")}
LEARNT = 56
DAYS = 90


def drawn(dice: random.Random, mean: float) -> int:
    """A Poisson draw."""
    count, product, bound = 0, dice.random(), math.exp(-mean)
    while product > bound:
        count, product = count + 1, product * dice.random()
    return count


def made(per_day: float, seed: int) -> dict[datetime, int]:
    """Open eight to six, Saturdays fewer, Sundays and holidays closed; some hours much busier than others."""
    dice, counts = random.Random(seed), {}
    for day in (START + timedelta(days=number) for number in range(LEARNT + DAYS)):
        if day.weekday() == 6 or day in HOLIDAYS:
            continue
        share = 0.04 if day.weekday() == 5 else 0.1
        for hour in range(8, 18):
            counts[day + hour * HOUR] = drawn(dice, per_day * share * dice.choice((0.5, 1, 1.5)))
    return counts


def lately(counts: dict[datetime, int], now: datetime) -> dict[datetime, int]:
    return {hour: count for hour, count in counts.items() if now - 9 * WEEK <= hour < now}


def alarms(counts: dict[datetime, int]) -> Iterator[datetime]:
    rings = False
    for step in range(0, DAYS * 24, 3):
        now = START + timedelta(days=LEARNT, hours=step)
        quiet = quiet_since(lately(counts, now), first=START, now=now)
        rings, rang = quiet is not None and quiet.is_too_long, rings
        if rings and not rang:
            yield now


@pytest.mark.parametrize(
    "per_day", [3, pytest.param(20, marks=pytest.mark.proof), pytest.param(100, marks=pytest.mark.proof)]
)
def test_fewer_than_one_false_alarm_a_month_holidays_included(per_day: float) -> None:
    assert len(list(alarms(made(per_day, seed=1)))) < DAYS / 30


@pytest.mark.parametrize(("per_day", "within_h"), [(100, 4), (20, 24), (3, 24 * 7)])
def test_what_stops_is_heard_soon(per_day: float, within_h: int) -> None:
    stopped = START + timedelta(days=70, hours=10)
    counts = {hour: count for hour, count in made(per_day, seed=2).items() if hour < stopped}
    now = stopped + within_h * HOUR
    quiet = quiet_since(lately(counts, now), first=START, now=now)
    assert quiet is not None
    assert quiet.is_too_long, quiet


def test_nothing_is_said_without_three_weeks_of_past() -> None:
    counts = made(50, seed=3)
    now = START + timedelta(days=20)
    assert quiet_since(counts, first=START, now=now) is None
    assert expected_by_now(counts, first=START, now=now) == 0


def test_an_import_is_no_habit() -> None:
    counts = made(20, seed=4)
    now = START + timedelta(days=63, hours=9)
    counts[now - WEEK - 6 * HOUR] = 50_000
    quiet = quiet_since(lately(counts, now), first=START, now=now)
    assert quiet is not None
    assert quiet.expected < 10
