"""How far all flows agree, at a glance: what the agency and a clinic see, in which order, at what cost, and as files (C12, K39)."""

import csv
import io
import time
from datetime import timedelta
from typing import Any

import openpyxl
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations.models import Flow
from reconciliation.models import Mismatch, Report
from tenants.models import AuditEntry, Tenant
from tenants.services import add_tenant
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, sign_in
from tests.desk_rows import make_flow
from tests.report_rows import differ, done

pytestmark = pytest.mark.django_db
AGENCY, CLINIC = "/agency/reconciliation/report/summary/", "/clinic/reconciliation/report/summary/"


def body(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return str(response.content.decode())


def aged(row: Mismatch, days: int) -> None:
    with tenant_tx(row.tenant_id):
        Mismatch.objects.filter(pk=row.pk).update(first_seen=app_now() - timedelta(days=days))


@pytest.fixture
def flows(house: House) -> tuple[Flow, Flow]:
    """Harbour's agrees by 99 %, Ridge's by 90 % and longer so."""
    harbour, ridge = make_flow(house.harbour), make_flow(house.ridge)
    report = done(harbour, agree=99, different=1)
    differ(harbour, report, "1")
    report = done(ridge, agree=90, different=10)
    for number in range(3):
        aged(differ(ridge, report, str(number), cause="missed"), 40)
    return harbour, ridge


def test_the_agency_sees_every_clinic_and_flow(house: House, flows: tuple[Flow, Flow]) -> None:
    page = body(sign_in(house.ana).get(AGENCY))
    for text in (
        "94.5 %",
        "99.0 %",
        "90.0 %",
        "more than 30 days",
        "1 to 7 days",
        "Changed in Cliniko, and not read since",
    ):
        assert text in page, text
    assert "in 2 clinics" in page
    assert f"/agency/reconciliation/mismatch/?flow={flows[1].name}&amp;clinic=ridge-podiatry&amp;age=older" in page


def test_a_list_behind_an_age_shows_as_many(house: House, flows: tuple[Flow, Flow]) -> None:
    client = sign_in(house.ana)
    for age, count in (("older", 3), ("week", 1), ("day", 0), ("month", 0)):
        listed = body(client.get("/agency/reconciliation/mismatch/", {"age": age}))
        assert listed.count("su-tick") - (1 if count else 0) == count, age


def test_who_is_assigned_to_a_clinic_and_a_clinic_see_their_own(house: House, flows: tuple[Flow, Flow]) -> None:
    for person, address in ((house.sam, AGENCY), (house.olga, CLINIC), (house.vik, CLINIC)):
        page = body(sign_in(person).get(address))
        assert "99.0 %" in page and "90.0 %" not in page and "Ridge" not in page


@pytest.mark.parametrize(
    ("order", "first"),
    [
        ("clinic", "Harbour"),
        ("agreement", "Ridge"),
        ("open", "Ridge"),
        ("old", "Ridge"),
        ("compared", "Harbour"),
        ("zq", "Ridge"),
    ],
)
def test_lines_come_in_the_order_asked_for(house: House, flows: tuple[Flow, Flow], order: str, first: str) -> None:
    rows = body(sign_in(house.ana).get(AGENCY, {"sort": order})).partition("<tbody>")[2]
    assert (rows.index("Harbour") < rows.index("Ridge")) == (first == "Harbour")


def test_a_flow_that_was_never_compared_says_so(house: House) -> None:
    make_flow(house.harbour)
    page = body(sign_in(house.olga).get(CLINIC))
    assert "never" in page and "1 never compared" in page


def test_without_a_flow_it_says_what_to_do(house: House) -> None:
    assert "No flow is on" in body(sign_in(house.olga).get(CLINIC))


def clinics(house: House, count: int, *, start: int) -> list[Tenant]:
    return [
        add_tenant(agency=house.harbour.agency, slug=f"clinic-{number}", name=f"Clinic {number}", actor="test")
        for number in range(start, start + count)
    ]


def test_it_costs_the_same_for_two_clinics_and_for_forty(house: House, flows: tuple[Flow, Flow]) -> None:
    client = sign_in(house.ana)

    def asked() -> int:
        with CaptureQueriesContext(connection) as captured:
            body(client.get(AGENCY))
        return len(captured)

    asked()
    few = asked()
    for clinic in clinics(house, 38, start=1):
        flow = make_flow(clinic)
        differ(flow, done(flow, agree=10, different=1), "1")
    assert asked() == few <= 20
    page = body(client.get(AGENCY))
    assert "in 40 clinics" in page


@pytest.mark.proof
def test_forty_clinics_of_nine_flows_with_much_open_are_answered_in_time(
    house: House, flows: tuple[Flow, Flow]
) -> None:
    """360 flows of 30 comparisons, 100,000 mismatches: the page in half a second (design 11), the query count as ever."""
    now = app_now()
    for clinic in [*clinics(house, 38, start=1), house.harbour, house.ridge]:
        for number in range(9):
            flow = make_flow(clinic, name=f"flow-{number}")
            counts = {"agree": 1_000, "different": 278, "left": 1_278, "right": 1_278}
            with tenant_tx(clinic.pk):
                reports = Report.objects.bulk_create(
                    Report(
                        tenant_id=clinic.pk, flow=flow, state="done", started_at=now - timedelta(days=day), **counts
                    )
                    for day in range(30)
                )  # fmt: skip
                Mismatch.objects.bulk_create(
                    Mismatch(
                        tenant_id=clinic.pk, flow=flow, report=reports[0], kind="different", source_key=str(key),
                        field="email", cause=("hand", "missed", "")[key % 3], last_seen=now,
                        first_seen=now - timedelta(days=key % 60),
                    )
                    for key in range(278)
                )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    client = sign_in(house.ana)
    body(client.get(AGENCY))
    took = []
    for _ in range(5):
        started = time.perf_counter()
        page = body(client.get(AGENCY))
        took.append(time.perf_counter() - started)
    assert "in 40 clinics" in page
    assert sorted(took)[2] < 0.5, took


def lines_of(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))


def test_files_hold_every_line_in_scope(house: House, flows: tuple[Flow, Flow]) -> None:
    answer = sign_in(house.ana).post(AGENCY, {"do": "csv"})
    assert answer.streaming
    harbour, ridge = lines_of(answer)
    assert (harbour["Clinic"], harbour["Agreement in %"], harbour["Do not agree now"]) == (
        "Harbour Physio",
        "99.0",
        "1",
    )
    assert (ridge["Clinic"], ridge["Of these, more than 30 days"]) == ("Ridge Podiatry", "3")
    assert [line["Clinic"] for line in lines_of(sign_in(house.sam).post(AGENCY, {"do": "csv"}))] == ["Harbour Physio"]
    assert [line["Clinic"] for line in lines_of(sign_in(house.olga).post(CLINIC, {"do": "csv"}))] == ["Harbour Physio"]
    for flow in flows:
        with tenant_tx(flow.tenant_id):
            assert AuditEntry.objects.filter(action="summary.exported").exists()
    (sheet,) = openpyxl.load_workbook(io.BytesIO(sign_in(house.ana).post(AGENCY, {"do": "xlsx"}).content)).worksheets
    head, *rows = sheet.values
    assert [dict(zip(head, row, strict=True))["Do not agree now"] for row in rows] == [1, 3]


def test_a_viewer_takes_no_file(house: House, flows: tuple[Flow, Flow]) -> None:
    assert sign_in(house.vik).post(CLINIC, {"do": "csv"}).status_code == 403
    assert 'value="csv"' not in body(sign_in(house.vik).get(CLINIC))


# -- the picture of one flow


def test_a_report_and_its_flows_list_draw_agreement_over_time(house: House, flows: tuple[Flow, Flow]) -> None:
    harbour, _ = flows
    client = sign_in(house.olga)
    listed = f"/clinic/reconciliation/report/?flow={harbour.name}"
    assert "su-chart" not in body(client.get(listed))  # one comparison is no picture
    newest = done(harbour, agree=100)
    for address in (listed, f"/clinic/reconciliation/report/{newest.pk}/change/"):
        page = body(client.get(address))
        assert page.count("su-chart-dot") == 2 and "99.0 %" in page
    assert "su-chart" not in body(client.get("/clinic/reconciliation/report/"))
