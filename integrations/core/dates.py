"""Business dates and instants, kept apart (B6): a day in a clinic's zone is no instant, and never moves."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

NOON = time(12)


def business_instant(day: date, written_at: datetime | None, zone: str) -> datetime:
    """The instant that stands for a business date, in UTC: when the document was written if that was on its own day,
    else noon of that day, in ``zone`` (IANA).

    Read back in the same zone it is always that day: no change to or from summer time touches noon.
    """
    if written_at is not None and business_date(written_at, zone) == day:
        return written_at.astimezone(UTC)
    return datetime.combine(day, NOON, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def business_date(instant: datetime, zone: str) -> date | None:
    """The day that an instant falls on in ``zone``; None where the calendar ends before it does."""
    try:
        return instant.astimezone(ZoneInfo(zone)).date()
    except OverflowError:
        return None
