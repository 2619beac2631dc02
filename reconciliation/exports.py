"""Mismatches as CSV and XLSX, for people who work in a spreadsheet. No cell begins as a formula does."""

import csv
import io
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import QuerySet
from import_export import fields, resources
from import_export.formats import base_formats
from tablib import Dataset

from integrations.vault import Vault, open_vault
from reconciliation.models import Mismatch
from reconciliation.words import Words, values_of
from tenants.walls import app_now, narrow_to

PAGE = 500
MOST_ROWS = 50_000  # in one XLSX file, which is built in memory

_BLANKS = r"[\s\ufeff\u200b-\u200d\u2060]*"
_FORMULA = re.compile(rf"'*{_BLANKS}[=+\-@\t\r\n\0＝＋－＠]")


def safe_cell(text: str) -> str:
    """The text, with ``'`` before what a spreadsheet would take for a formula. ``plain_cell`` takes it away again."""
    return f"'{text}" if _FORMULA.match(text) else text


def plain_cell(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


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
    yield "\ufeff" + as_csv([resource.get_export_headers()])
    for page in pages_of(rows):
        yield as_csv([resource.line(row) for row in page])


def xlsx(rows: QuerySet[Mismatch], *, masked: bool) -> bytes:
    """The file, whole: its first MOST_ROWS rows."""
    resource = MismatchResource(masked=masked)
    data = Dataset(headers=resource.get_export_headers(), title="Mismatches")
    taken = 0
    for page in pages_of(rows):
        for row in page[: MOST_ROWS - taken]:
            data.append(resource.line(row))
        taken += len(page)
        if taken >= MOST_ROWS:
            break
    made: bytes = base_formats.XLSX().export_data(data)
    return made


def pages_of(rows: QuerySet[Mismatch]) -> Iterator[list[Mismatch]]:
    ordered, last = rows.select_related("tenant", "flow").order_by("pk"), 0
    while page := list(ordered.filter(pk__gt=last)[:PAGE]):
        yield page
        last = page[-1].pk


def as_csv(lines: list[list[str]]) -> str:
    made = io.StringIO()
    csv.writer(made, lineterminator="\r\n").writerows(lines)
    return made.getvalue()
