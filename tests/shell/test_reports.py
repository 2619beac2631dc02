"""Reports and mismatches: the command, the timetable, the errands, the screens and their files (C12, K39, K46, AS1-AS24)."""

import csv
import io
import json
from datetime import timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import IntegrityError, connection
from django.test.utils import CaptureQueriesContext

from integrations import worker
from integrations.models import Flow
from integrations.services import errands as registry
from integrations.services.desk import Refused
from reconciliation import errands
from reconciliation.models import Every, Mismatch, Report, ReportState, Timetable
from tenants.models import AuditEntry
from tenants.walls import app_now, system_tx, tenant_tx
from tests.conftest import House, MovedClock, sign_in
from tests.desk_rows import make_flow
from tests.report_rows import MAIL, begin, differ, done

pytestmark = pytest.mark.django_db


@pytest.fixture
def flow(house: House) -> Flow:
    return make_flow(house.harbour)


# -- begun once


def test_a_flow_is_compared_once_at_a_time(flow: Flow) -> None:
    first = begin(flow)
    assert begin(flow).pk == first.pk
    with tenant_tx(flow.tenant_id), pytest.raises(IntegrityError):
        Report.objects.create(flow=flow, started_at=app_now())


def test_a_flow_that_is_off_is_not_compared(flow: Flow) -> None:
    with tenant_tx(flow.tenant_id):
        Flow.objects.filter(pk=flow.pk).update(mode="off")
    with pytest.raises(Refused):
        begin(flow)


def test_the_database_refuses_a_report_that_does_not_add_up(flow: Flow) -> None:
    report = begin(flow)
    with tenant_tx(flow.tenant_id), pytest.raises(IntegrityError, match="report_left_adds_up"):
        Report.objects.filter(pk=report.pk).update(left=5, agree=4)


# -- when it is due


def due() -> dict[str, list[int]]:
    with system_tx("test"):
        return {errand.name: [ring.id for ring in errand.due()] for errand in registry.errands()}


def test_a_live_flow_gets_its_night_and_is_begun_in_it(flow: Flow, clock: MovedClock) -> None:
    """Ask 26, C20: two in the morning where the clinic is."""
    errands.sweep(flow.tenant_id)
    assert errands.begin_due(flow.tenant_id, flow.pk) == "not due"
    with tenant_tx(flow.tenant_id):
        table = Timetable.objects.get()
        assert not Report.objects.exists()
    local = table.next_due_at.astimezone(ZoneInfo("Australia/Sydney"))
    assert local.hour == 2 and local.minute < 5
    assert due()["compare"] == []
    clock.forward(table.next_due_at - app_now() + timedelta(seconds=1))
    assert due()["compare"] == [flow.pk]
    assert errands.begin_due(flow.tenant_id, flow.pk) == "begun"
    with tenant_tx(flow.tenant_id):
        report = Report.objects.get()
        assert Timetable.objects.get().next_due_at > app_now()
    assert {name: rung for name, rung in due().items() if rung} == {"reconcile": [report.pk]}


def test_a_flow_is_left_alone_when_its_timetable_says_so(flow: Flow, clock: MovedClock) -> None:
    with tenant_tx(flow.tenant_id):
        errands.set_timetable(Flow.objects.select_related("tenant").get(), Every.OFF, app_now())
    clock.forward(timedelta(days=30))
    assert due()["compare"] == []


def test_the_pulse_rings_for_reports_as_backfill(flow: Flow) -> None:
    report = begin(flow)
    rung = [(kind, ring.id, ring.backfill) for kind, ring in worker.look().waiting]
    assert ("reconcile", report.pk, True) in rung
    assert registry.task_of("reconcile") is errands.reconcile


def test_old_reports_and_closed_mismatches_age_out(flow: Flow, clock: MovedClock) -> None:
    old = done(flow, agree=1)
    closed, still = differ(flow, old, "1"), differ(flow, old, "2")
    with tenant_tx(flow.tenant_id):
        Mismatch.objects.filter(pk=closed.pk).update(closed_at=app_now())
    clock.forward(timedelta(days=91))
    newer = done(flow, agree=1)
    errands.remove_aged(flow.tenant_id)
    with tenant_tx(flow.tenant_id):
        assert [row.pk for row in Mismatch.objects.all()] == [still.pk]
        assert {row.pk for row in Report.objects.all()} == {old.pk, newer.pk}  # an open mismatch keeps its report


# -- the command


def test_the_command_refuses_what_it_does_not_know(house: House, flow: Flow, tmp_path: Any) -> None:
    for given in ({"tenant": "nobody"}, {"flow": "nothing"}, {"csv": str(tmp_path / "no" / "file.csv")}):
        with pytest.raises(CommandError) as refusal:
            call_command("reconcile", stdout=StringIO(), **given)
        assert refusal.value.returncode == 2


def test_the_command_prints_one_object(house: House) -> None:
    told = StringIO()
    call_command("reconcile", tenant="ridge-podiatry", json=True, stdout=told)
    assert json.loads(told.getvalue()) == {"flows": [], "ok": True}


# -- the screens


def body(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return str(response.content.decode())


@pytest.mark.parametrize("name", ["report", "mismatch"])
@pytest.mark.parametrize("site", ["agency", "clinic"])
def test_a_list_costs_the_same_with_three_rows_and_thirty(house: House, flow: Flow, name: str, site: str) -> None:
    client = sign_in(house.ana if site == "agency" else house.olga)

    def fill(start: int, count: int) -> None:
        for number in range(start, start + count):
            differ(flow, done(flow, agree=number), str(number))

    def asked() -> int:
        with CaptureQueriesContext(connection) as captured:
            body(client.get(f"/{site}/reconciliation/{name}/"))
        return len(captured)

    fill(1, 3)
    asked()
    few = asked()
    fill(4, 27)
    assert asked() == few
    assert few <= 22


def test_an_empty_list_says_what_to_do(house: House) -> None:
    client = sign_in(house.olga)
    assert "Nothing was compared yet" in body(client.get("/clinic/reconciliation/report/"))
    assert "No mismatch" in body(client.get("/clinic/reconciliation/mismatch/"))


def test_a_mismatch_of_a_field_that_is_no_more_is_still_shown_and_masked(house: House, flow: Flow) -> None:
    row = differ(flow, done(flow, agree=997, different=1), "1", field="nickname")
    url = f"/clinic/reconciliation/mismatch/{row.pk}/change/"
    assert MAIL in body(sign_in(house.olga).get(url))
    seen = sign_in(house.vik).get(url)
    assert seen.status_code == 200
    assert MAIL not in body(seen)


def test_a_mismatch_says_what_to_do_about_it(house: House, flow: Flow) -> None:
    report = done(flow, agree=997, different=1)
    mended = differ(flow, report, "1")
    decided = differ(flow, report, "2", kind="linked_twice", field="", cause="", sealed_values=None)
    for person, tells in ((house.olga, True), (house.vik, False)):
        client = sign_in(person)
        text = body(client.get(f"/clinic/reconciliation/mismatch/{mended.pk}/change/"))
        assert ("choose Bring in line" in text) is tells, "who may only look is not told to act"
        text = body(client.get(f"/clinic/reconciliation/mismatch/{decided.pk}/change/"))
        assert "A person decides about it" in text and "/clinic/integrations/link/?q=2" in text
        assert "choose Bring in line" not in text


def test_a_mismatch_names_its_flow_in_words(house: House, flow: Flow) -> None:
    row = differ(flow, done(flow, agree=997, different=1), "1")
    client = sign_in(house.olga)
    for page in ("", f"{row.pk}/change/"):
        text = body(client.get(f"/clinic/reconciliation/mismatch/{page}"))
        assert "Patients become customers" in text and ">patients-to-customers<" not in text


def test_a_report_shows_how_its_sides_add_up(house: House, flow: Flow) -> None:
    report = done(flow, agree=997, different=2, missing_right=1)
    differ(flow, report, "1")
    differ(flow, report, "2")
    page = body(sign_in(house.vik).get(f"/clinic/reconciliation/report/{report.pk}/change/"))
    for text in (
        "Agreement: 99.7 %",
        "997",
        "missing in Shopify",
        "Edited by hand in Shopify",
        "E-mail address",
        "1,000",
    ):
        assert text in page, text
    assert 'value="again"' not in page  # a viewer may not


def test_agreement_is_never_rounded_up(flow: Flow) -> None:
    from reconciliation.admin.reports import percent

    assert percent(done(flow, agree=99_999, different=1)) == "99.9 %"
    assert percent(done(flow, agree=5)) == "100.0 %"
    assert percent(done(flow)) == "nothing to compare"


def test_filters_narrow_the_list(house: House, flow: Flow) -> None:
    report = done(flow, agree=1)
    differ(flow, report, "11")
    differ(flow, report, "22", field="lastName", cause="missed")
    differ(flow, report, "33", kind="missing_right", field="", cause="")
    client = sign_in(house.olga)

    def shown(**asked: str) -> list[str]:
        page = body(client.get("/clinic/reconciliation/mismatch/", asked))
        return [key for key in ("11", "22", "33") if f">{key}<" in page]

    assert shown() == ["11", "22", "33"]
    assert shown(kind="different") == ["11", "22"]
    assert shown(cause="missed") == ["22"]
    assert shown(cause="unknown") == ["33"]
    assert shown(field="lastName") == ["22"]
    assert shown(flow="no-such-flow") == []
    assert shown(show="closed") == []
    assert shown(q="722") == ["22"]


def test_a_mismatch_shows_both_values_and_masks_them_for_a_viewer(house: House, flow: Flow) -> None:
    row = differ(flow, done(flow, agree=1), "1")
    address = f"/clinic/reconciliation/mismatch/{row.pk}/change/"
    assert MAIL in body(sign_in(house.olga).get(address))
    seen = body(sign_in(house.vik).get(address))
    assert MAIL not in seen and "m***@e***.com" in seen


def test_the_agency_sees_the_mismatches_of_its_clinics(house: House, flow: Flow) -> None:
    row = differ(flow, done(flow, agree=1), "1")
    ridge = make_flow(house.ridge)
    foreign = differ(ridge, done(ridge, agree=1), "2")
    ana, sam = sign_in(house.ana), sign_in(house.sam)
    listed = body(ana.get("/agency/reconciliation/mismatch/"))
    assert "Harbour Physio" in listed and "Ridge Podiatry" in listed
    assert MAIL in body(ana.get(f"/agency/reconciliation/mismatch/{row.pk}/change/"))
    assert sam.get(f"/agency/reconciliation/mismatch/{foreign.pk}/change/").status_code == 302
    whole = {"action": "download_csv", "_selected_action": "0", "select_across": "1", "index": "0"}
    taken = {
        who: _lines(client.post("/agency/reconciliation/mismatch/", whole))
        for who, client in (("ana", ana), ("sam", sam))
    }
    assert {line["Clinic"] for line in taken["ana"]} == {"Harbour Physio", "Ridge Podiatry"}
    assert {line["Clinic"] for line in taken["sam"]} == {"Harbour Physio"}


def _lines(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))


def test_no_value_stands_in_the_table_in_clear(flow: Flow) -> None:
    differ(flow, done(flow, agree=1), "1")
    with tenant_tx(flow.tenant_id), connection.cursor() as cursor:
        cursor.execute("SELECT t::text, encode(sealed_values, 'escape') FROM reconciliation_mismatch t")
        told = str(cursor.fetchall())
    assert MAIL not in told and "mia" not in told


def test_who_may_asks_for_a_comparison_now(house: House, flow: Flow) -> None:
    client = sign_in(house.olga)
    answer = client.post("/clinic/reconciliation/report/begin/", {"flow": flow.pk})
    with tenant_tx(flow.tenant_id):
        report = Report.objects.get()
        assert (report.trigger, report.actor) == ("person", house.olga.username)
        assert AuditEntry.objects.filter(action="report.begun").exists()
    assert answer.headers["Location"] == f"/clinic/reconciliation/report/{report.pk}/change/"
    assert sign_in(house.vik).post("/clinic/reconciliation/report/begin/", {"flow": flow.pk}).status_code == 403
    assert client.get("/clinic/reconciliation/report/begin/").status_code == 405


def test_nobody_compares_another_clinics_flow(house: House, flow: Flow) -> None:
    sign_in(house.rita).post("/clinic/reconciliation/report/begin/", {"flow": flow.pk})
    with tenant_tx(flow.tenant_id):
        assert not Report.objects.exists()


def test_a_comparison_is_stopped_and_its_timetable_kept(house: House, flow: Flow) -> None:
    report, client = begin(flow), sign_in(house.ana)
    address = f"/agency/reconciliation/report/{report.pk}/change/"
    client.post(address, {"do": "stop"})
    client.post(address, {"do": "timetable", "every": "weekly"})
    client.post(address, {"do": "timetable", "every": "hourly"})
    with tenant_tx(flow.tenant_id):
        assert Report.objects.get().state == ReportState.STOPPED
        assert Timetable.objects.get().every == Every.WEEKLY
    body(client.get(address))


# -- files


def downloaded(client: Any, action: str, **given: Any) -> Any:
    return client.post(
        "/clinic/reconciliation/mismatch/",
        {"action": action, "_selected_action": "0", "select_across": "1", "index": "0", **given},
    )


def test_csv_is_streamed_whole_with_formulas_as_text(house: House, flow: Flow) -> None:
    report = done(flow, agree=1)
    for number in range(1, 8):
        differ(flow, report, str(number))
    answer = downloaded(sign_in(house.olga), "download_csv")
    assert answer.streaming
    lines = list(csv.reader(io.StringIO(b"".join(answer.streaming_content).decode("utf-8-sig"))))
    head, first = lines[0], dict(zip(lines[0], lines[1], strict=True))
    assert head[:5] == ["Clinic", "Flow", "What is wrong", "Number at the source", "Number at the target"]
    assert len(lines) == 8
    assert (first["Value at the source"], first["Value at the target"]) == (MAIL, "'=old@example.com")
    assert (first["Probable cause"], first["Days open"], first["Field"]) == (
        "Edited by hand in Shopify", "3", "E-mail address",
    )  # fmt: skip
    with tenant_tx(flow.tenant_id):
        assert AuditEntry.objects.filter(action="mismatch.exported").count() == 1


def test_xlsx_has_the_same_rows(house: House, flow: Flow) -> None:
    differ(flow, done(flow, agree=1), "1")
    answer = downloaded(sign_in(house.olga), "download_xlsx")
    (sheet,) = openpyxl.load_workbook(io.BytesIO(answer.content)).worksheets
    head, row = list(sheet.values)
    assert dict(zip(head, row, strict=True))["Value at the target"] == "'=old@example.com"
    assert {cell.data_type for line in sheet.rows for cell in line} <= {"s", "n", "inlineStr"}


def test_a_viewer_takes_nothing_away(house: House, flow: Flow) -> None:
    differ(flow, done(flow, agree=1), "1")
    answer = downloaded(sign_in(house.vik), "download_csv")
    assert not answer.streaming
    with tenant_tx(flow.tenant_id):
        assert not AuditEntry.objects.filter(action="mismatch.exported").exists()
