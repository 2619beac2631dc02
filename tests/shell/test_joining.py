"""The joins cost the same for each key, also in tables that were filled a moment ago and have no statistics yet."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

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
    with tenant_tx(flow.tenant_id):
        told = layout_of(load_job(flow.pk)).there({"firstName": "Mia"})
        live, same = Standing.LIVE.value, (told.fingerprint, told.digests)
        left = ((REPORT, Side.LEFT.value, f"{n:05}", "", live, *same) for n in range(ROWS))
        right = ((REPORT, Side.RIGHT.value, f"7{n:05}", f"{n:05}", live, *same) for n in range(ROWS))
        insert_rows(Staged, COLUMNS, [*left, *right])
    return flow


def walked(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(one for inner in plan.get("Plans", ()) for one in walked(inner))]


def plans_of(work: Callable[[], object]) -> list[list[dict[str, Any]]]:
    """Every step of what the database did, a list a statement."""
    plans: list[list[dict[str, Any]]] = []

    def explain(execute, sql, params, many, context):
        if "reconciliation_staged" in sql or "integrations_linkstate" in sql:
            with connection.connection.cursor() as cursor:
                cursor.execute("SAVEPOINT explained")
                (told,) = cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params).fetchone()
                cursor.execute("ROLLBACK TO SAVEPOINT explained")
            (whole,) = json.loads(told) if isinstance(told, str) else told
            plans.append(walked(whole["Plan"]))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        work()
    return plans


def test_no_question_reads_a_side_for_every_key(flow: Flow) -> None:
    with tenant_tx(flow.tenant_id):
        job = load_job(flow.pk)
        plans = plans_of(lambda: joining.join(job, REPORT))
        plans += plans_of(lambda: joining.pair_rows(job, REPORT, layout_of(job), None))
        plans += plans_of(lambda: joining.alone_rows(job, REPORT, None))
    assert len(plans) == 4
    steps = [one for plan in plans for one in plan]
    assert [one for one in steps if one["Actual Loops"] * one.get("Rows Removed by Filter", 0) > 2 * ROWS] == []
    assert [one for one in plans[0] if one["Node Type"] == "Nested Loop"] == []


def test_both_sides_are_joined_by_link_and_by_marker(flow: Flow) -> None:
    with tenant_tx(flow.tenant_id):
        job = load_job(flow.pk)
        counts = joining.join(job, REPORT)
        pairs = joining.pair_rows(job, REPORT, layout_of(job), None)
        alone = joining.alone_rows(job, REPORT, None)
    assert counts == {"agree": ROWS // 2, "left_out": 0, "others": 0}
    assert {row.parts for row in pairs} == {("agree",)} and len(pairs) == ROWS // 2 and alone == []
