"""The joins cost the same for each key, also in tables that were filled a moment ago and have no statistics yet."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.models import Flow
from integrations.services.jobs import load_job
from reconciliation import joining
from reconciliation.compare import Standing
from reconciliation.models import Side, Staged
from reconciliation.staging import COLUMNS, layout_of
from tenants.walls import insert_rows, tenant_tx
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


@pytest.mark.parametrize("side", ["left", "right", "links"])
def test_a_page_asks_few_questions_and_none_reads_a_side_for_every_key(flow: Flow, side: str) -> None:
    with tenant_tx(flow.tenant_id), connection.cursor() as cursor:
        job = load_job(flow.pk)
        ask: dict[str, Callable[[], list[joining.Row]]] = {
            "left": lambda: joining.left_rows(job, REPORT, layout_of(job), None),
            "right": lambda: joining.right_rows(job, REPORT, None),
            "links": lambda: joining.link_rows(job, REPORT, None),
        }
        with CaptureQueriesContext(connection) as captured:
            assert ask[side]()
        asked = [one["sql"] for one in captured.captured_queries]
        plans = []
        for sql in asked:
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
            (told,) = cursor.fetchone()
            (whole,) = json.loads(told) if isinstance(told, str) else told
            plans += walked(whole["Plan"])
    assert len(asked) <= 6
    wasted = [one for one in plans if one["Actual Loops"] * one.get("Rows Removed by Filter", 0) > 2 * ROWS]
    assert wasted == []


def test_both_sides_are_joined_by_link_and_by_marker(flow: Flow) -> None:
    with tenant_tx(flow.tenant_id):
        job = load_job(flow.pk)
        left = joining.left_rows(job, REPORT, layout_of(job), None)
        right = joining.right_rows(job, REPORT, None)
        links = joining.link_rows(job, REPORT, None)
    assert {row.parts for row in left} == {("agree",)} and len(left) == ROWS
    assert {row.parts for row in (*right, *links)} == {()} and (len(right), len(links)) == (ROWS, ROWS // 2)
