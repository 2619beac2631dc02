"""When a flow is due next, in the clinic's zone. Pure: the clock is an argument."""

import hashlib
import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_EVERY = re.compile(r"(\d{1,5})([smhd])")
SHORTEST_S = 5
SPREAD_S = 300


class BadSchedule(ValueError):
    """The message is a sentence for the person who typed the schedule."""


def check(every: str) -> None:
    """Raises BadSchedule unless ``every`` is a duration such as 15m or a cron line."""
    next_due(every, zone="UTC", after=datetime(2026, 1, 1, tzinfo=UTC), name="")


def next_due(every: str, *, zone: str, after: datetime, name: str) -> datetime:
    """The next time after ``after`` (aware), in UTC.

    A duration counts from ``after``. A cron line is read in the clinic's zone; a local time that a change to summer
    time skips or repeats is run once. ``name`` spreads flows that share a cron line over five minutes.
    """
    if match := _EVERY.fullmatch(every.strip()):
        seconds = int(match[1]) * _UNITS[match[2]]
        if seconds < SHORTEST_S:
            raise BadSchedule(f"Every {every!r} is too often; the shortest is {SHORTEST_S}s.")
        return after + timedelta(seconds=seconds)
    try:
        upcoming = next(CronSim(every, after.astimezone(ZoneInfo(zone))))
    except (CronSimError, StopIteration):
        raise BadSchedule(
            f"{every!r} is neither a duration such as 15m or 2h nor a cron line such as 0 6 * * *."
        ) from None
    return upcoming.astimezone(UTC) + timedelta(seconds=_spread(name))


def _spread(name: str) -> int:
    if not name:
        return 0
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest()) % SPREAD_S
