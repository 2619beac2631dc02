"""Agreement over time as a picture: where its points, lines and words stand. Pure; templates draw it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

WIDTH, HEIGHT = 720, 210
LEFT, RIGHT, TOP, LINE_FOOT, BAR_HEAD, FOOT = 72, 22, 14, 126, 142, 186
LEAST_SPAN = 2.0
"""Per cent from the foot of the line to its head, so that a wobble of a hundredth is no mountain."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One comparison: when, the agreement in per cent, and how many records did not agree."""

    at: datetime
    agreement: float
    unequal: int


@dataclass(frozen=True, slots=True)
class Dot:
    """A comparison in the picture. ``bar`` is the height of its bar; ``index`` its place among the moments."""

    index: int
    x: float
    y: float
    bar_y: float
    bar: float


@dataclass(frozen=True, slots=True)
class Chart:
    """In units of a picture WIDTH by HEIGHT. ``ticks`` are (y, words) beside the line; ``most`` is what the tallest bar
    stands for."""

    dots: tuple[Dot, ...]
    line: str
    ticks: tuple[tuple[float, str], ...]
    most: int
    bar_width: float


def draw(moments: Sequence[Moment]) -> Chart | None:
    """The picture of two moments or more, oldest first; None of fewer."""
    if len(moments) < 2:
        return None
    low = _low(moments)
    most = max(moment.unequal for moment in moments)
    start, span = moments[0].at, (moments[-1].at - moments[0].at).total_seconds() or 1.0
    dots = []
    for index, moment in enumerate(moments):
        share = (moment.at - start).total_seconds() / span
        x = LEFT + share * (WIDTH - LEFT - RIGHT)
        bar = (FOOT - BAR_HEAD) * moment.unequal / most if most else 0.0
        dots.append(Dot(index, round(x, 1), _height(moment.agreement, low), round(FOOT - bar, 1), round(bar, 1)))
    ticks = tuple((_height(value, low), _percent(value)) for value in (low, (low + 100) / 2, 100.0))
    width = max(2.0, min(14.0, (WIDTH - LEFT - RIGHT) / len(moments) * 0.6))
    return Chart(tuple(dots), " ".join(f"{dot.x},{dot.y}" for dot in dots), ticks, most, round(width, 1))


def _low(moments: Sequence[Moment]) -> float:
    """The per cent at the foot of the line."""
    least = min(moment.agreement for moment in moments)
    return max(0.0, min(float(math.floor(least)), 100 - LEAST_SPAN))


def _height(agreement: float, low: float) -> float:
    return round(LINE_FOOT - (agreement - low) / (100 - low) * (LINE_FOOT - TOP), 1)


def _percent(value: float) -> str:
    return f"{value:g} %"
