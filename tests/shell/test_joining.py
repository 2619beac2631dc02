"""The joins find each key in an index, also in tables that were filled a moment ago and behind row-level security."""

import json
import re
from typing import Any

import pytest
from django.db import connection

from integrations.models import Flow
from integrations.services.jobs import load_job
from reconciliation import joining
from reconciliation.compare import Standing
from reconciliation.models import Side, Staged
from reconciliation.staging import COLUMNS, layout_of
from tenants.walls import current_tenant_id, insert_rows, tenant_tx
from tests.conftest import House
from tests.desk_rows import make_flow, make_link

pytestmark = pytest.mark.django_db
REPORT, ROWS = 77, 400


@pytest.fixture
def flow(house: House) -> Flow:
    """So many records on each side, every second pair joined by a link and the rest by a marker."""
    flow = make_flow(house.harbour)
    for number in range(0, ROWS, 2):
        make_link(flow, f"{number:05}", f"7{number:05}")
    same = b"\2" * 8
    with tenant_tx(flow.tenant_id):
        left = ((REPORT, Side.LEFT.value, f"{n:05}", "", Standing.LIVE.value, same) for n in range(ROWS))
        right = ((REPORT, Side.RIGHT.value, f"7{n:05}", f"{n:05}", Standing.LIVE.value, same) for n in range(ROWS))
        insert_rows(Staged, COLUMNS, [*left, *right])
    return flow


def walked(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(one for inner in plan.get("Plans", ()) for one in walked(inner))]


@pytest.mark.parametrize("statement", ["_LEFT", "_RIGHT", "_LINKS"])
def test_no_key_is_looked_for_by_reading_a_side(flow: Flow, statement: str) -> None:
    with tenant_tx(flow.tenant_id), connection.cursor() as cursor:
        job = load_job(flow.pk)
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {getattr(joining, statement)}",
            {
                "tenant": current_tenant_id(), "report": REPORT, "flow": flow.pk, "source": job.source.pk,
                "target": job.target.pk, "source_stream": "patients", "target_stream": "customers", "place": "",
                "limit": ROWS,
            },
        )  # fmt: skip
        (told,) = cursor.fetchone()
    (whole,) = json.loads(told) if isinstance(told, str) else told
    wasted = [
        (one["Node Type"], one.get("Relation Name"), one.get("Filter"))
        for one in walked(whole["Plan"])
        if re.search(r"staged|linkstate", one.get("Relation Name", "")) and one.get("Rows Removed by Filter", 0) > 1
    ]
    assert wasted == []


def test_both_sides_are_joined_by_link_and_by_marker(flow: Flow) -> None:
    with tenant_tx(flow.tenant_id):
        job = load_job(flow.pk)
        left = joining.left_rows(job, REPORT, layout_of(job), None)
        right = joining.right_rows(job, REPORT, None)
        links = joining.link_rows(job, REPORT, None)
    assert {row.parts for row in left} == {("agree",)} and len(left) == ROWS
    assert {row.parts for row in (*right, *links)} == {()} and (len(right), len(links)) == (ROWS, ROWS // 2)
