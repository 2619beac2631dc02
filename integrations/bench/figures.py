"""What a measurement came to, beside what it must and should be, as a line for people and as JSON."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. ``unit`` ``x`` is a ratio to the bare loop of the same minutes; any other unit is absolute.

    ``must`` and ``goal`` are the most (with ``least`` the least) it may be; None where nobody set one.
    """

    row: str
    what: str
    value: float
    unit: str
    must: float | None = None
    goal: float | None = None
    least: bool = False
    note: str = ""
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    def meets(self, mark: float | None) -> bool:
        return mark is None or (self.value >= mark if self.least else self.value <= mark)

    @property
    def verdict(self) -> str:
        if self.must is None and self.goal is None:
            return ""
        if not self.meets(self.must):
            return "MISSED"
        if self.goal is not None and self.meets(self.goal):
            return "goal"
        return "" if self.must is None else "must"

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"verdict": self.verdict}


def table(figures: Sequence[Figure]) -> str:
    """A line per figure: the number, its marks, and which of them it meets."""
    rows = [["row", "what", "measured", "must", "goal", "meets", "load", ""]]
    for figure in figures:
        sign = ">=" if figure.least else "<="
        marks = ["" if mark is None else f"{sign} {mark:g}" for mark in (figure.must, figure.goal)]
        measured = f"{figure.value:.3g} {figure.unit}" if figure.value < 1000 else f"{figure.value:,.0f} {figure.unit}"
        rows.append([figure.row, figure.what, measured, *marks, figure.verdict, f"{figure.load:.1f}", figure.note])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
