"""Cells of an exported file: no formula, and nothing lost (1.2.10)."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.core.cells import plain_cell, safe_cell

HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "\ufeff=1",
    "\u200b@x",
    "＝1",
    "＋1",
    "－1",
    "＠x",
    "\0=1",
    "\n=1",
    "#REF!",
    "#N/A",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_begins_like_a_formula_is_text(text: str):
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "Mia", "12.50", "O'Brien", "a=b", "'quoted'", "#1", "#REF! said Mia"])
def test_what_does_not_is_left_alone(text: str):
    assert safe_cell(text) == text


@given(
    st.text()
    | st.builds("".join, st.lists(st.sampled_from(["'", " ", "=", "+", "@", "\t", "x", "\ufeff"]), max_size=6))
)
def test_a_cell_is_read_as_it_was_written(text: str):
    assert plain_cell(safe_cell(text)) == text
    stripped = safe_cell(text).strip(" \ufeff\u200b\u200c\u200d\u2060\t\r\n\0")
    assert not stripped or stripped[0] not in "=+-@＝＋－＠"


@given(st.lists(st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"])), min_size=1))
def test_a_line_survives_its_file(cells: list[str]):
    made = io.StringIO()
    csv.writer(made, lineterminator="\r\n").writerow([safe_cell(cell) for cell in cells])
    (line,) = csv.reader(io.StringIO(made.getvalue()))
    assert [plain_cell(cell) for cell in line] == cells
