"""Two sides of twelve fields: one pair in a hundred differs in a field, one record in two hundred lacks its other half.

The same whoever asks, so that everybody compares the same. The standard library only: peers read it, too.
"""

from collections.abc import Iterator

FIELDS = (
    "email", "first_name", "last_name", "phone", "address1", "address2", "city", "state", "zip", "country", "tags", "note",
)  # fmt: skip
FIRST_KEY = 1_000_000_000
TOWNS = ("Melbourne", "Sydney", "Perth", "Hobart")

Values = tuple[str, ...]


def pairs(count: int) -> Iterator[tuple[int, Values | None, Values | None]]:
    """Key, left and right, None where one is missing."""
    for number in range(count):
        left = _values(number)
        if number % 200 == 0:
            yield FIRST_KEY + number, left, None
        elif number % 200 == 100:
            yield FIRST_KEY + number, None, left
        else:
            yield FIRST_KEY + number, left, _other(left, number) if number % 100 == 1 else left


def expected(count: int) -> list[int]:
    """How many differ, are missing right, and are missing left. Of counts that are multiples of 200."""
    return [count // 100, count // 200, count // 200]


def _values(number: int) -> Values:
    return (
        f"user{number}@example.com",
        f"First{number % 997}",
        f"Last{number % 1999}",
        f"+614{number:08d}",
        f"{number % 400} Long Street",
        f"Unit {number % 40}",
        TOWNS[number % 4],
        "VIC",
        str(3000 + number % 900),
        "AU",
        "practice,patient",
        f"note {number % 50}",
    )


def _other(values: Values, number: int) -> Values:
    changed = number // 100 % len(values)
    return tuple(f"{value}x" if place == changed else value for place, value in enumerate(values))
