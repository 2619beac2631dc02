"""Files as spreadsheets write them: mark, delimiter, encoding, line ends (1.2.10)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.core.cells import Unreadable, is_formula, plain_cell, read_sheet, write_sheet

NEEDED = ("Value", "Becomes")
ANY_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


def cells(data: bytes) -> list[list[str]]:
    return [[plain_cell(cell) for cell in row.cells.values()] for row in read_sheet(data, NEEDED, most=9).rows]


@given(st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=5))
def test_what_is_written_is_read(rows: list[tuple[str, str]]):
    kept = [list(row) for row in rows if any(cell.strip() for cell in row)]
    assert cells(write_sheet(NEEDED, rows).encode()) == kept


@pytest.mark.parametrize(
    "data",
    [
        "Value,Becomes\n20,Grün\n".encode(),
        "\ufeffValue,Becomes\r\n20,Grün\r\n".encode(),
        "Value;Becomes\r\n20;Grün\r\n".encode("cp1252"),
        '"Value";"Becomes"\r\n"20";"Grün"'.encode("cp1252"),
        "sep=;\r\nValue;Becomes\r\n20;Grün\r\n".encode("cp1252"),
        "Value\tBecomes\n\n20\tGrün\n \t \n".encode(),
    ],
)
def test_a_spreadsheets_habits_are_known(data: bytes):
    assert cells(data) == [["20", "Grün"]]


def test_rows_are_counted_as_the_spreadsheet_counts_them():
    sheet = read_sheet(b'Value,Becomes\n"a\nb",1\n\nc,2\n', NEEDED, most=9)
    assert [row.number for row in sheet.rows] == [2, 4]


def test_the_encoding_is_told():
    assert read_sheet("Value;Becomes\n1;ß".encode("cp1252"), NEEDED, most=9).encoding == "Windows-1252"
    assert read_sheet("Value;Becomes\n1;ß".encode(), NEEDED, most=9).encoding == "UTF-8"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("Value,Becomes\n1,2".encode("utf-16"), "no text file"),
        (b"Value,Becomes\n1,\x81\n", "no text file"),
        (b"Value,Becomes\n1,\0\n", "no text file"),
        (b"PK\x03\x04\0\0", "no text file"),
        (b"", "must name the columns: Value, Becomes"),
        (b"value,becomes\n1,2", "must name the columns"),
        (b'Value,Becomes\n"1,2\n', "no table"),
        (b"Value,Becomes\n" + b"1,2\n" * 10, "more than 9 lines"),
    ],
)
def test_what_is_no_sheet_is_refused_with_a_reason(data: bytes, words: str):
    with pytest.raises(Unreadable, match=words):
        read_sheet(data, NEEDED, most=9)


@pytest.mark.parametrize(("cell", "verdict"), [("=1+1", True), ("\t@x", True), ("+A1", True), ("'=1+1", False), ("-5", False), ("+61,5", False), ("20", False)])  # fmt: skip
def test_a_formula_is_known_from_a_number(cell: str, *, verdict: bool):
    assert is_formula(cell) is verdict
