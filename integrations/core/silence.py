"""When a flow is too quiet: judged by its own past, in the clinic's hours of the week.

Quiet is measured in records that would have come: a night or a weekend counts for nothing where none ever came. How long
is too long is learnt from the longest such gaps of the past, of which the very longest is left out: one closed day.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
WEEKS_LEAST = 3
WEEKS_MOST = 8
EXPECTED_LEAST = 6.0
"""Of fewer than so many missing records nothing can be said."""
MARGIN = 1.5
SLOT_HOURS = 24 * 7

Counts = Mapping[datetime, int]
"""Local hour, without its zone -> records; hours without any may be absent."""


@dataclass(frozen=True, slots=True)
class Quiet:
    """``expected`` records would have come since ``since`` (local); ``limit`` is how many are too many."""

    since: datetime
    expected: float
    limit: float

    @property
    def is_too_long(self) -> bool:
        return self.expected >= self.limit


def quiet_since(counts: Counts, *, first: datetime, now: datetime) -> Quiet | None:
    """How quiet it is at ``now``, an hour's beginning, by the hours since ``first``, both local. None where the past is
    too short to say."""
    weeks = min(WEEKS_MOST, int((now - first) / WEEK))
    if weeks < WEEKS_LEAST:
        return None
    usual = usual_hours(counts, weeks=weeks, now=now)
    gaps: list[float] = []
    gap, since, hour = 0.0, first, now - weeks * WEEK
    while hour < now:
        if counts.get(hour):
            gaps.append(gap)
            gap, since = 0.0, hour + HOUR
        else:
            gap += usual[_slot(hour)]
        hour += HOUR
    return Quiet(since, gap, _limit(gaps, records=sum(usual) * weeks))


def _limit(gaps: list[float], *, records: float) -> float:
    """Longer than all but the longest gap of the past, and than chance alone makes one in so many records."""
    longest = sorted(gaps, reverse=True)[1:2]
    return max(EXPECTED_LEAST, math.log(max(1.0, records)) + 2, MARGIN * (longest[0] if longest else 0.0))


def usual_hours(counts: Counts, *, weeks: int, now: datetime) -> list[float]:
    """How many records each hour of the week brings, the busiest week of each left out: an import is no habit."""
    usual = []
    last_monday = (now - timedelta(days=now.weekday())).replace(hour=0, minute=0, second=0, microsecond=0)
    for slot in range(SLOT_HOURS):
        hour = last_monday + slot * HOUR
        hour = hour if hour < now else hour - WEEK
        seen = sorted(counts.get(hour - week * WEEK, 0) for week in range(weeks))
        usual.append(sum(seen[:-1]) / (weeks - 1))
    return usual


def _slot(hour: datetime) -> int:
    return hour.weekday() * 24 + hour.hour


def expected_by_now(counts: Counts, *, first: datetime, now: datetime) -> float:
    """How many records such a day has brought by this hour; 0 where the past is too short to say."""
    weeks = min(WEEKS_MOST, int((now - first) / WEEK))
    if weeks < WEEKS_LEAST:
        return 0.0
    usual = usual_hours(counts, weeks=weeks, now=now)
    return sum(usual[now.weekday() * 24 + hour] for hour in range(now.hour))
