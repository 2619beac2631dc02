"""Trends: a number a day as a small picture, drawn by the server so that it prints, follows the colours and needs no script.

unfold's charts are drawn on a canvas by a script: they keep the screen's colours on paper, and say nothing to who hears
the page. Each of ours has its table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from integrations.services.meters import Day, Days

WIDTH, HEIGHT, FOOT = 320.0, 96.0, 2.0
"""Of a picture, in its own units; ``FOOT`` is what a day with nothing shows."""
SHOWN = timedelta(days=29)


@dataclass(frozen=True, slots=True)
class Point:
    """A day in the picture. ``words`` say its number; a day without one has neither ``y`` nor words."""

    day: date
    x: float
    y: float | None
    words: str

    @property
    def height(self) -> float:
        return HEIGHT - self.y if self.y is not None else 0.0


@dataclass(frozen=True, slots=True)
class Trend:
    """``lines`` are stretches of days with a number, as SVG points; bars have none."""

    name: str
    note: str
    points: Sequence[Point]
    lines: Sequence[str]
    bar_width: float
    top: str
    newest: str

    @property
    def is_empty(self) -> bool:
        return not any(point.words for point in self.points)


def trends_of(days: Days, first: date, last: date, flow_id: int | None = None) -> list[Trend]:
    """Records, freshness, held and agreement of one flow or of all of a clinic's."""
    by_day: dict[date, list[Day]] = {}
    for (one_id, day), one in days.items():
        if flow_id in (None, one_id):
            by_day.setdefault(day, []).append(one)
    dates = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    series = [by_day.get(day, []) for day in dates]
    return [
        _trend("Records written", "a day", dates, [_written(day) for day in series], _count, is_bars=True),
        _trend("Fresh within", "19 of 20 changes", dates, [_behind(day) for day in series], spell),
        _trend("Held", "at the end of the day", dates, [_held(day) for day in series], _count),
        _trend("Agreement", "of what was compared", dates, [_agreement(day) for day in series], percent, whole=100.0),
    ]


def table_of(trends: Sequence[Trend]) -> list[tuple[date, list[tuple[str, str]]]]:
    """The same day by day, the newest first: (name, words) of each."""
    rows = list(zip(*(trend.points for trend in trends), strict=True))
    names = [trend.name for trend in trends]
    return [
        (points[0].day, [(name, point.words) for name, point in zip(names, points, strict=True)])
        for points in reversed(rows)
    ]


def _written(days: Sequence[Day]) -> float | None:
    return float(sum(day.written + day.loaded for day in days)) if days else None


def _behind(days: Sequence[Day]) -> float | None:
    total = Day()
    for day in days:
        total.add(day)
    return total.behind_s(0.95)


def _held(days: Sequence[Day]) -> float | None:
    known = [day.held for day in days if day.held is not None]
    return float(sum(known)) if known else None


def _agreement(days: Sequence[Day]) -> float | None:
    compared = sum(day.compared or 0 for day in days)
    return 100 * sum(day.agreed or 0 for day in days) / compared if compared else None


def _trend(
    name: str,
    note: str,
    dates: Sequence[date],
    values: Sequence[float | None],
    say: Callable[[float], str],
    *,
    is_bars: bool = False,
    whole: float = 0.0,
) -> Trend:
    """``whole`` is what cannot be passed: the picture then shows how far below it the days are."""
    known = [value for value in values if value is not None]
    low = max(0.0, min(known) - 1) if whole and known else 0.0
    high = whole or max(known, default=0.0) or 1.0
    width = WIDTH / max(1, len(dates))
    points = []
    for number, (day, value) in enumerate(zip(dates, values, strict=True)):
        y = None if value is None else round(HEIGHT - FOOT - (HEIGHT - 2 * FOOT) * (value - low) / (high - low), 1)
        x = number * width + (0 if is_bars else width / 2)
        points.append(Point(day, round(x, 1), y, "" if value is None else say(value)))
    newest = next((point.words for point in reversed(points) if point.words), "")
    lines = [] if is_bars else _stretches(points)
    return Trend(name, note, points, lines, round(max(1.0, width - 2), 1) if is_bars else 0.0, say(high), newest)


def _stretches(points: Sequence[Point]) -> list[str]:
    """Days without a number are bridged: a comparison a week is a line, too."""
    known = [f"{point.x},{point.y}" for point in points if point.y is not None]
    return [" ".join(known)] if len(known) > 1 else []


def _count(value: float) -> str:
    return f"{value:,.0f}"


def percent(value: float) -> str:
    """Rounded down, so that only what agrees in full is called 100 %."""
    return f"{int(value * 10) / 10:.1f} %"


def spell(seconds: float) -> str:
    """``12 s``, ``3 min``, ``5 h``, ``2 days``: rounded up, since it says *within*."""
    for size, word, most in ((1, "s", 120), (60, "min", 120 * 60), (3600, "h", 48 * 3600)):
        if seconds <= most:
            return f"{-int(-seconds // size)} {word}"
    return f"{-int(-seconds // 86400)} days"
