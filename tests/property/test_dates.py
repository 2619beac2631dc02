"""No invoice date moves a day, in any zone that clinics are in, on any night (C20, B6, ask 25, T1, T2)."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.core.dates import business_date, business_instant

ZONES = (
    "Australia/Sydney", "Australia/Melbourne", "Australia/Hobart", "Australia/Adelaide", "Australia/Canberra",
    "Australia/Brisbane", "Australia/Darwin", "Australia/Perth", "Australia/Eucla", "Australia/Lord_Howe",
    "Australia/Broken_Hill", "Australia/Lindeman", "Pacific/Auckland", "Pacific/Chatham", "Europe/London", "UTC",
)  # fmt: skip
days = st.dates(date(2015, 1, 1), date(2035, 12, 31))
offsets = st.timedeltas(timedelta(days=-3), timedelta(days=3))


@given(days, offsets, st.sampled_from(ZONES))
def test_the_instant_is_on_the_day(day: date, off: timedelta, zone: str) -> None:
    written_at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + off
    assert business_date(business_instant(day, written_at, zone), zone) == day


@given(days, offsets, st.sampled_from(ZONES))
def test_a_document_written_on_its_own_day_keeps_its_time(day: date, off: timedelta, zone: str) -> None:
    written_at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + off
    instant = business_instant(day, written_at, zone)
    assert (instant == written_at) == (business_date(written_at, zone) == day) or instant == written_at


def nights(zone: str) -> list[date]:
    """The days of 2026 on which the zone's clock is changed."""
    place = ZoneInfo(zone)
    year = [date(2026, 1, 1) + timedelta(days=number) for number in range(365)]
    noon = [datetime(day.year, day.month, day.day, 12, tzinfo=place).utcoffset() for day in year]
    return [day for day, before, now in zip(year[1:], noon, noon[1:], strict=False) if before != now]


@pytest.mark.parametrize("zone", ZONES)
def test_every_minute_around_both_transition_nights(zone: str) -> None:
    for night in nights(zone):
        start = datetime(night.year, night.month, night.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        for minute in range(-120, 26 * 60, 7):
            written_at = start + timedelta(minutes=minute)
            local = business_date(written_at, zone)
            for day in (local - timedelta(days=1), local, local + timedelta(days=1)):
                assert business_date(business_instant(day, written_at, zone), zone) == day


def test_half_of_the_zones_change_their_clocks() -> None:
    """Else the nights above would be none."""
    assert sum(bool(nights(zone)) for zone in ZONES) >= 8
