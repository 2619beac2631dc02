"""The joins cost the same for each key, also in tables that were filled a moment ago and have no statistics yet."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
from django.db import connection

from integrations.models import Flow
from integrations.services.jobs import load_job
from reconciliation import joining, staging
from reconciliation.compare import Standing
from reconciliation.layout import Prints
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
    assert len(plans) == 5
    steps = [one for plan in plans for one in plan if one.get("Relation Name") != "integrations_link"]
    assert [one for one in steps if one["Actual Loops"] * one.get("Rows Removed by Filter", 0) > 2 * ROWS] == []
    scans = [one for one in plans[0] if one["Node Type"] != "ModifyTable"]
    read = [one["Actual Loops"] for one in scans if one.get("Relation Name") == "reconciliation_staged"]
    assert read == [1, 1], "each side is read once"


def test_a_haul_of_the_target_reads_no_more_of_the_source_than_its_own(flow: Flow) -> None:
    """A tenth of them, of whom every second agrees."""
    with tenant_tx(flow.tenant_id):
        job = load_job(flow.pk)
        told = layout_of(job).there({"firstName": "Mia"})
        rows = {f"7{n:05}": (f"7{n:05}", f"{n:05}", Standing.LIVE, told) for n in range(ROWS // 10)}
        plans = plans_of(lambda: staging.match(REPORT, job, rows))
    read = [one for plan in plans for one in plan if one.get("Relation Name") == "reconciliation_staged"]
    scans = [one for one in read if one["Node Type"] != "ModifyTable"]
    assert len(scans) == 2, "where equals are looked for, and where they leave"
    assert sum(one["Actual Loops"] * one.get("Rows Removed by Filter", 0) for one in scans) == 0
    assert sum(one["Actual Loops"] * one["Actual Rows"] for one in scans) == 2 * (ROWS // 20)


def test_both_sides_are_joined_by_link_and_by_marker(flow: Flow) -> None:
    with tenant_tx(flow.tenant_id):
        job = load_job(flow.pk)
        counts = joining.join(job, REPORT)
        pairs = joining.pair_rows(job, REPORT, layout_of(job), None)
        alone = joining.alone_rows(job, REPORT, None)
    assert counts == {"agree": ROWS // 2, "left_out": 0, "others": 0}
    assert {row.parts for row in pairs} == {("agree",)} and len(pairs) == ROWS // 2 and alone == []


LIVE, OUT, MERGED = Standing.LIVE, Standing.LEFT_OUT, Standing.MERGED
Left: TypeAlias = tuple[str, Standing, bytes]
Right: TypeAlias = tuple[str, str, bytes]
"""Key, standing and fingerprint; key, marker and fingerprint."""
ODD = 'a,"b"\n\\.é'


@dataclass(frozen=True)
class Case:
    """``pairs`` have a plus where a link joins them; ``alone`` are target records with their markers."""

    links: Sequence[tuple[str, str]]
    lefts: Sequence[Left]
    rights: Sequence[Right]
    counts: tuple[int, int, int]
    pairs: Mapping[str, str]
    alone: Mapping[str, str] = field(default_factory=dict)


CASES = {
    "agree": Case([("1", "9")], [("1", LIVE, b"a")], [("9", "1", b"a")], (1, 0, 0), {}),
    "unlike": Case([("1", "9")], [("1", LIVE, b"a")], [("9", "", b"b")], (0, 0, 0), {"1": "9+"}),
    "another's marker": Case([("1", "9")], [("1", LIVE, b"a")], [("9", "2", b"a")], (0, 0, 0), {"1": "9+"}),
    "a second one with its marker": Case([("1", "9")], [("1", LIVE, b"a")], [("9", "1", b"a"), ("8", "1", b"a")], (1, 0, 0), {}, {"8": "1"}),
    "by marker": Case([], [("1", LIVE, b"a")], [("9", "1", b"a")], (0, 0, 0), {"1": "9"}),
    "marker twice": Case([], [("1", LIVE, b"a")], [("8", "1", b"a"), ("9", "1", b"a")], (0, 0, 0), {"1": "8"}, {"9": "1"}),
    "missing right": Case([("1", "9")], [("1", LIVE, b"a")], [], (0, 0, 0), {"1": "9+"}),
    "missing left": Case([("1", "9")], [], [("9", "1", b"a")], (0, 0, 0), {"1": "9+"}),
    "linked to nothing": Case([("1", "9")], [], [], (0, 0, 0), {"1": "9+"}),
    "the target's own": Case([], [("1", LIVE, b"a")], [("9", "", b"a")], (0, 0, 1), {"1": ""}),
    "left out, there": Case([], [("1", OUT, b"")], [("9", "1", b"a")], (0, 1, 1), {}),
    "left out, linked": Case([("1", "9")], [("1", OUT, b"")], [("9", "1", b"a")], (0, 1, 1), {}),
    "merged": Case([], [("1", MERGED, b"")], [], (0, 1, 0), {}),
    "merged, linked": Case([("1", "9")], [("1", MERGED, b"")], [], (0, 0, 0), {"1": "9+"}),
    "odd keys": Case([(ODD, ODD + "9")], [(ODD, LIVE, b"a")], [(ODD + "9", ODD, b"b")], (0, 0, 0), {ODD: ODD + "9+"}),
}  # fmt: skip


@pytest.mark.parametrize("is_matched", [False, True], ids=["staged", "matched"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_record_is_counted_or_set_aside(house: House, case: Case, is_matched: bool) -> None:
    """Whether what agrees left the stage while the target was read or not (K39)."""
    flow = make_flow(house.harbour)
    for link in case.links:
        make_link(flow, *link)
    with tenant_tx(flow.tenant_id):
        job = load_job(flow.pk)
        staging.stage(REPORT, Side.LEFT, [(key, "", standing, Prints(told, b"")) for key, standing, told in case.lefts])
        rights = {key: (key, marker, LIVE, Prints(told, b"")) for key, marker, told in case.rights}
        if is_matched:
            assert staging.match(REPORT, job, rights) == case.counts[0]
        else:
            staging.stage(REPORT, Side.RIGHT, list(rights.values()))
        counts = joining.join(job, REPORT)
        paired = Staged.objects.filter(side=Side.PAIR).values_list("key", "marker", "standing")
        made = {key: target + "+" * bool(how) for key, target, how in paired}
        lonely = dict(Staged.objects.filter(side=Side.ALONE).values_list("key", "marker"))
        left = Staged.objects.filter(side__in=(Side.LEFT, Side.RIGHT)).count()
    agree, left_out, others = counts.values()
    assert (agree + case.counts[0] * is_matched, left_out, others) == case.counts
    assert (made, lonely) == (case.pairs, case.alone)
    assert left == len(case.lefts) + len(case.rights) - 2 * case.counts[0] * is_matched


@pytest.mark.parametrize(
    ("left", "is_surplus"),
    [([("1", LIVE, b"a")], True), ([("1", LIVE, b"b")], True), ([], False)],
    ids=["agrees", "unlike", "gone"],
)
def test_a_second_record_with_a_marker_is_too_much_where_the_first_has_its_own(
    house: House, left: Sequence[Left], is_surplus: bool
) -> None:
    flow = make_flow(house.harbour)
    make_link(flow, "1", "9")
    with tenant_tx(flow.tenant_id):
        job = load_job(flow.pk)
        staging.stage(REPORT, Side.LEFT, [(key, "", standing, Prints(told, b"")) for key, standing, told in left])
        staging.match(REPORT, job, {key: (key, "1", LIVE, Prints(b"a", b"")) for key in ("8", "9")})
        joining.join(job, REPORT)
        (row,) = joining.alone_rows(job, REPORT, None)
    assert (row.target_key, row.source_key, row.is_surplus) == ("8", "1", is_surplus)


def test_a_link_to_nothing_is_found_among_those_that_agree(house: House) -> None:
    flow = make_flow(house.harbour)
    keys = [f"{number}" for number in range(5)]
    for key in keys:
        make_link(flow, key, f"7{key}")
    with tenant_tx(flow.tenant_id):
        job = load_job(flow.pk)
        same = Prints(b"a", b"")
        staging.stage(REPORT, Side.LEFT, [(key, "", LIVE, same) for key in keys[1:]])
        for haul in (keys[1:3], keys[3:]):
            staging.match(REPORT, job, {f"7{key}": (f"7{key}", key, LIVE, same) for key in haul})
        assert staging.agreed_so_far(REPORT) == 4
        assert joining.join(job, REPORT)["agree"] == 0
        paired = list(Staged.objects.filter(side=Side.PAIR).values_list("key", "marker"))
    assert paired == [("0", "70")]
