"""Mismatches and the summary as CSV and XLSX, for people who work in a spreadsheet. No cell begins as a formula does."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import QuerySet
from import_export import fields, resources
from import_export.formats import base_formats
from tablib import Dataset

from integrations.core.cells import safe_cell
from integrations.vault import Vault, open_vault
from integrations.words import name_of_flow
from reconciliation.models import Mismatch
from reconciliation.summary import AGES, Line
from reconciliation.words import Words, values_of
from tenants.walls import app_now, narrow_to

PAGE = 500
BOM = "\ufeff"  # by which spreadsheets know that it is UTF-8
MOST_ROWS = 50_000  # in one XLSX file, which is built in memory


def _column(name: str, method: str) -> fields.Field:
    return fields.Field(column_name=name, dehydrate_method=method)


class MismatchResource(resources.Resource):
    """One row a mismatch. Use within a scope; values are masked unless said otherwise."""

    clinic = _column("Clinic", "clinic_of")
    flow = _column("Flow", "flow_of")
    what = _column("What is wrong", "what_of")
    source_key = _column("Number at the source", "source_of")
    target_key = _column("Number at the target", "target_of")
    field = _column("Field", "field_of")
    left = _column("Value at the source", "left_of")
    right = _column("Value at the target", "right_of")
    cause = _column("Probable cause", "cause_of")
    why = _column("Details", "why_of")
    first_seen = _column("First seen", "first_of")
    last_seen = _column("Last seen", "last_of")
    age = _column("Days open", "age_of")

    def __init__(self, *, masked: bool = True, now: datetime | None = None, **given: Any) -> None:
        super().__init__(**given)
        self.masked, self.now = masked, now or app_now()
        self._words: dict[int, Words] = {}
        self._vaults: dict[int, Vault] = {}

    def clinic_of(self, row: Mismatch) -> str:
        return safe_cell(row.tenant.name)

    def flow_of(self, row: Mismatch) -> str:
        return safe_cell(row.flow.name)

    def what_of(self, row: Mismatch) -> str:
        return self.words(row).sentence(row)

    def source_of(self, row: Mismatch) -> str:
        return safe_cell(row.source_key)

    def target_of(self, row: Mismatch) -> str:
        return safe_cell(row.target_key)

    def field_of(self, row: Mismatch) -> str:
        return safe_cell(self.words(row).field(row.field))

    def left_of(self, row: Mismatch) -> str:
        return safe_cell(self._values(row)[0])

    def right_of(self, row: Mismatch) -> str:
        return safe_cell(self._values(row)[1])

    def cause_of(self, row: Mismatch) -> str:
        return self.words(row).cause(row.cause)

    def why_of(self, row: Mismatch) -> str:
        return self.words(row).why(row)

    def first_of(self, row: Mismatch) -> str:
        return _local(row.first_seen, row)

    def last_of(self, row: Mismatch) -> str:
        return _local(row.last_seen, row)

    def age_of(self, row: Mismatch) -> str:
        return str((self.now - row.first_seen).days)

    def words(self, row: Mismatch) -> Words:
        if row.flow_id not in self._words:
            self._words[row.flow_id] = Words.of(row.flow)
        return self._words[row.flow_id]

    def _values(self, row: Mismatch) -> tuple[str, str]:
        if row.sealed_values is None:
            return "", ""
        if row.tenant_id not in self._vaults:
            with narrow_to(row.tenant_id):
                self._vaults[row.tenant_id] = open_vault(row.tenant_id)
        return values_of(row, self.words(row), self._vaults[row.tenant_id], masked=self.masked)

    def line(self, row: Mismatch) -> list[str]:
        return [str(cell) for cell in self.export_resource(row)]


def _local(moment: datetime, row: Mismatch) -> str:
    """In the clinic's own time, as spreadsheets read it."""
    return moment.astimezone(ZoneInfo(row.tenant.time_zone)).strftime("%Y-%m-%d %H:%M")


def csv_parts(rows: QuerySet[Mismatch], *, masked: bool) -> Iterator[str]:
    """The file, a page of rows a part. Each part is asked for within a scope, and none needs to stay open between."""
    resource = MismatchResource(masked=masked)
    yield BOM + as_csv([resource.get_export_headers()])
    for page in pages_of(rows):
        yield as_csv([resource.line(row) for row in page])


def xlsx(rows: QuerySet[Mismatch], *, masked: bool) -> bytes:
    """The file, whole: its first MOST_ROWS rows."""
    resource = MismatchResource(masked=masked)
    lines = (resource.line(row) for page in pages_of(rows) for row in page)
    return _book("Mismatches", resource.get_export_headers(), islice(lines, MOST_ROWS))


def _book(title: str, heads: Sequence[str], lines: Iterable[Sequence[object]]) -> bytes:
    """One sheet. Characters that no spreadsheet may hold are shown as replaced."""
    data = Dataset(headers=heads, title=title)
    for line in lines:
        data.append([_NO_XML.sub("\ufffd", cell) if isinstance(cell, str) else cell for cell in line])
    made: bytes = base_formats.XLSX().export_data(data)
    return made


_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


def pages_of(rows: QuerySet[Mismatch]) -> Iterator[list[Mismatch]]:
    ordered, last = rows.select_related("tenant", "flow").order_by("pk"), 0
    while page := list(ordered.filter(pk__gt=last)[:PAGE]):
        yield page
        last = page[-1].pk


class SummaryResource(resources.Resource):
    """One row a flow."""

    clinic = _column("Clinic", "clinic_of")
    flow = _column("Flow", "flow_of")
    agreement = _column("Agreement in %", "agreement_of")
    left = _column("Records at the source", "left_of")
    right = _column("Records at the target", "right_of")
    open = _column("Do not agree now", "open_of")
    day, week, month, older = (_column(f"Of these, {words.lower()}", f"{name}_of") for name, words, _, _ in AGES)
    cause = _column("Most frequent cause", "cause_of")
    compared = _column("Last compared", "compared_of")

    def clinic_of(self, line: Line) -> str:
        return safe_cell(line.flow.tenant.name)

    def flow_of(self, line: Line) -> str:
        return safe_cell(name_of_flow(line.flow.name))

    def agreement_of(self, line: Line) -> str:
        return "" if line.agreement is None else f"{int(line.agreement * 10) / 10:.1f}"

    def left_of(self, line: Line) -> int | str:
        return line.report.left if line.report else ""

    def right_of(self, line: Line) -> int | str:
        return line.report.right if line.report else ""

    def open_of(self, line: Line) -> int:
        return line.open

    def day_of(self, line: Line) -> int:
        return line.ages.get("day", 0)

    def week_of(self, line: Line) -> int:
        return line.ages.get("week", 0)

    def month_of(self, line: Line) -> int:
        return line.ages.get("month", 0)

    def older_of(self, line: Line) -> int:
        return line.ages.get("older", 0)

    def cause_of(self, line: Line) -> str:
        return "" if line.cause is None else Words.of(line.flow).cause(line.cause)

    def compared_of(self, line: Line) -> str:
        if line.report is None:
            return ""
        return line.report.started_at.astimezone(ZoneInfo(line.flow.tenant.time_zone)).strftime("%Y-%m-%d %H:%M")


def summary_csv(lines: Sequence[Line]) -> Iterator[str]:
    """The file, a page of lines a part."""
    resource = SummaryResource()
    yield BOM + as_csv([resource.get_export_headers()])
    for start in range(0, len(lines), PAGE):
        yield as_csv([resource.export_resource(line) for line in lines[start : start + PAGE]])


def summary_xlsx(lines: Sequence[Line]) -> bytes:
    resource = SummaryResource()
    return _book("Agreement", resource.get_export_headers(), map(resource.export_resource, lines))


def as_csv(lines: Sequence[Sequence[object]]) -> str:
    made = io.StringIO()
    csv.writer(made, lineterminator="\r\n").writerows(lines)
    return made.getvalue()
