"""Duties: one holder at a time, by the database's clock."""

from datetime import timedelta

import pytest

from integrations.services import leases
from tests.conftest import MovedClock

pytestmark = pytest.mark.django_db


def test_a_duty_is_held_by_one_and_taken_over_when_it_runs_out(clock: MovedClock) -> None:
    assert leases.take("pulse", "a", seconds=15)
    assert not leases.take("pulse", "b", seconds=15)
    assert leases.take("pulse", "a", seconds=15)
    clock.forward(timedelta(seconds=16))
    assert leases.take("pulse", "b", seconds=15)
    assert not leases.take("pulse", "a", seconds=15)
    assert leases.live("pulse") == {"pulse": "b"}


def test_a_task_takes_its_doorbells_duty_and_gives_back_only_its_own() -> None:
    assert leases.take("work:run:1:1", "1:doorbell", seconds=30)
    leases.hold("work:run:1:1", "1:first", seconds=30)
    leases.hold("work:run:1:1", "1:second", seconds=30)
    leases.drop("work:run:1:1", "1:first")
    assert leases.live("work:") == {"work:run:1:1": "1:second"}
    leases.drop("work:run:1:1", "1:second")
    assert not leases.live("work:")


def test_the_age_of_a_beat(clock: MovedClock) -> None:
    assert leases.age_s("beat:here") is None
    leases.hold("beat:here", "here", seconds=0)
    clock.forward(timedelta(seconds=70))
    age = leases.age_s("beat:here")
    assert age is not None and 70 <= age < 80
    assert leases.count_since("beat:", seconds=60) == 0
    assert leases.count_since("beat:", seconds=120) == 1
    assert leases.forget_aged("beat:", seconds=60) == 1
