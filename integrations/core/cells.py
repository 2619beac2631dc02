"""Cells of spreadsheets: what is written never begins as a formula does, and files are read as Excel writes them."""

import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

_BLANKS = r"[\s\ufeff\u200b-\u200d\u2060]*"
_ERRORS = r"#(?:NULL!|DIV/0!|VALUE!|REF!|NAME\?|NUM!|N/A)\Z"  # which a spreadsheet would show as its own
_FORMULA = re.compile(rf"'*(?:{_BLANKS}[=+\-@\t\r\n\0＝＋－＠]|{_ERRORS})")
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)*")
DELIMITERS = ",;\t"


def safe_cell(text: str) -> str:
    """The text, with ``'`` before what a spreadsheet would take for a formula. ``plain_cell`` takes it away again."""
    return f"'{text}" if _FORMULA.match(text) else text


def plain_cell(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def is_formula(text: str) -> bool:
    """Whether a cell that was read is one: marked text is not, nor is a number with its sign."""
    return not text.startswith("'") and _FORMULA.match(text) is not None and not _NUMBER.fullmatch(text)


class Unreadable(ValueError):
    """A file that is no sheet with these headings; the text says why, to a person."""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """``number`` is the spreadsheet's own; ``cells`` are as they stand in the file, by heading."""

    number: int
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A file that was read: its rows without the empty ones, and the encoding it was written in."""

    headings: tuple[str, ...]
    rows: tuple[SheetRow, ...]
    encoding: str


def write_sheet(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A CSV file: commas, a byte order mark so that Excel sees UTF-8, every cell safe."""
    made = io.StringIO(newline="")
    writer = csv.writer(made, lineterminator="\r\n")
    writer.writerow(headings)
    writer.writerows([[safe_cell(cell) for cell in row] for row in rows])
    return f"\ufeff{made.getvalue()}"


def decoded(data: bytes) -> tuple[str, str]:
    """The text of a file and its encoding: UTF-8 with or without a mark, else what Excel writes on Windows. Raises
    Unreadable."""
    for encoding, name in (("utf-8-sig", "UTF-8"), ("cp1252", "Windows-1252")):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text, name
    raise Unreadable("This is no text file that can be read. Save it as “CSV UTF-8” and choose it again.")


def read_sheet(data: bytes, needed: Collection[str], *, most: int) -> Sheet:
    """A CSV file with commas, semicolons or tabs, and at least the headings ``needed``. Raises Unreadable."""
    text, encoding = decoded(data)
    first, _, rest = text.partition("\n")
    if re.fullmatch(r"sep=.\r?", first):  # Excel's own word for the delimiter
        text = rest
    broken = ""
    for delimiter in DELIMITERS:
        try:
            rows = _rows(text, delimiter, most)
        except csv.Error as error:
            broken = broken or f" Read with commas, it is no table: {error}."
            continue
        headings = tuple(cell.strip() for cell in rows[0]) if rows else ()
        if set(needed) <= set(headings):
            return Sheet(headings, tuple(_by_heading(headings, rows[1:])), encoding)
    names = ", ".join(needed)
    raise Unreadable(f"The first line must name the columns: {names}. Export a file to see how it looks.{broken}")


def _rows(text: str, delimiter: str, most: int) -> list[list[str]]:
    """Raises csv.Error, and Unreadable above ``most`` rows."""
    rows = []
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True):
        rows.append(row)
        if len(rows) > most + 1:
            raise Unreadable(f"The file has more than {most:,} lines. Import it in parts.")
    return rows


def _by_heading(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[SheetRow]:
    return [
        SheetRow(number, dict(zip(headings, row, strict=False)))
        for number, row in enumerate(rows, start=2)
        if any(cell.strip() for cell in row)
    ]
