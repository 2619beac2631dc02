"""What people read in place of the schedule's shorthand."""

import pytest

from integrations.words import rhythm


@pytest.mark.parametrize(
    ("every", "said"),
    [
        ("15m", "every 15 minutes"),
        ("1h", "every hour"),
        (" 2d ", "every 2 days"),
        ("30s", "every 30 seconds"),
        ("0 6 * * *", "by its timetable (0 6 * * *)"),
    ],
)
def test_a_schedule_is_said_in_words(every: str, said: str) -> None:
    assert rhythm(every) == said
