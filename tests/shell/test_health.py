"""Meters and the page *Health* (C05, C23, K46, K47, B12): planted numbers come out right, whoever asks and whenever."""

import csv
import io
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from integrations import tasks
from integrations.models import Alert, ConnectionDay, Delivery, Flow, FlowDay, HandTime
from integrations.services import meters, retention
from reconciliation import errands
from reconciliation.health import Month
from reconciliation.models import Mismatch, Report
from tenants.models import AuditEntry, Tenant
from tenants.services import add_tenant, record_audit
from tenants.walls import agency_tx, app_now, tenant_tx
from tests.conftest import House, MovedClock, begin_acting, sign_in
from tests.desk_rows import hold, make_flow
from tests.health_rows import deliver, keep_year
from tests.report_rows import differ, done

pytestmark = pytest.mark.django_db

SYDNEY = ZoneInfo("Australia/Sydney")
KIND = "patients-to-customers"


@pytest.fixture
def flow(house: House) -> Flow:
    return make_flow(house.harbour)


def today(clinic: Tenant) -> date:
    return meters.today_of(clinic, app_now())


def noon(clinic: Tenant, back: int) -> datetime:
    """The middle of a day so long ago, in the clinic's zone."""
    day = today(clinic) - timedelta(days=back)
    return datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(clinic.time_zone))


def kept(clinic: Tenant) -> dict[date, FlowDay]:
    with tenant_tx(clinic.pk):
        return {row.day: row for row in FlowDay.objects.all()}


def page(client: Any, path: str) -> Any:
    response = client.get(path)
    assert response.status_code == 200
    return response.context


# -- meters


def test_a_day_is_kept_once_it_is_over_and_only_once(house: House, flow: Flow) -> None:
    deliver(flow, noon(house.harbour, 1), 3, outcome="created")
    deliver(flow, noon(house.harbour, 1), 2, waited_s=100, start=10)
    deliver(flow, noon(house.harbour, 1), 7, is_load=True, start=20)
    deliver(flow, noon(house.harbour, 0), 5, start=40)
    hold(flow, "90")
    yesterday = today(house.harbour) - timedelta(days=1)
    assert meters.keep(house.harbour.pk) == 1
    assert meters.keep(house.harbour.pk) == 0
    (row,) = kept(house.harbour).values()
    assert (row.day, row.created, row.updated, row.loaded, row.passes, row.read, row.held) == (
        yesterday,
        3,
        2,
        7,
        3,
        12,
        1,
    )
    assert sum(row.waits.values()) == 5  # first loads wait for nobody


def test_a_day_is_the_clinics_own(house: House) -> None:
    """Half past midnight in Sydney is the evening before in Perth."""
    for clinic in (house.harbour, house.ridge):
        deliver(make_flow(clinic), noon(house.harbour, 2).replace(hour=0, minute=30), 1)
        meters.keep(clinic.pk)
    two_ago = today(house.harbour) - timedelta(days=2)
    written = {
        name: [day for day, row in kept(getattr(house, name)).items() if row.updated] for name in ("harbour", "ridge")
    }
    assert written == {"harbour": [two_ago], "ridge": [two_ago - timedelta(days=1)]}


def test_what_is_kept_outlives_what_it_was_made_of(house: House, flow: Flow, clock: MovedClock) -> None:
    deliver(flow, noon(house.harbour, 1), 4)
    tasks.housekeep()
    clock.forward(timedelta(days=120))
    tasks.housekeep()
    with tenant_tx(flow.tenant_id):
        assert not Delivery.objects.exists()
    assert sum(row.updated for row in kept(house.harbour).values()) == 4
    clock.forward(timedelta(days=300))
    retention.remove_aged(house.harbour.pk)
    assert not kept(house.harbour)


def test_percentiles_are_right_to_a_tenth_and_add_up_over_days(house: House, flow: Flow) -> None:
    for number, waited_s in enumerate((5.0, 8.0, 60.0, 600.0)):
        for back in (0, 1, 2):
            count = (40, 40, 15, 5)[number]
            deliver(flow, noon(house.harbour, back), count, waited_s=waited_s, start=1000 * number + 200 * back)
    meters.keep(house.harbour.pk)
    with tenant_tx(flow.tenant_id):
        days = meters.days_of(house.harbour, today(house.harbour) - timedelta(days=2), today(house.harbour), app_now())
    total = meters.summed(days)
    assert sum(total.waits.values()) == 300
    for share, true in ((0.5, 8.0), (0.95, 60.0), (1.0, 600.0)):
        seconds = total.behind_s(share)
        assert seconds is not None
        assert true <= seconds <= true * 1.1


def test_requests_are_counted_for_their_connection_and_day(house: House, flow: Flow) -> None:
    class Client:
        calls = 3

    client = Client()
    meters.watch(flow.source_id, client)
    client.calls = 10
    other = Client()
    meters.watch(flow.target_id, other)
    client.calls, other.calls = 11, 5
    meters.keep_calls()
    meters.keep_calls()
    with tenant_tx(flow.tenant_id):
        counted = dict(ConnectionDay.objects.values_list("connection_id", "calls"))
    assert counted == {flow.source_id: 8, flow.target_id: 2}


def test_agreement_stays_on_the_flows_day(house: House, flow: Flow) -> None:
    deliver(flow, noon(house.harbour, 1), 1)
    meters.keep(house.harbour.pk)
    report = done(flow, agree=90, different=10)
    with tenant_tx(flow.tenant_id):
        Report.objects.filter(pk=report.pk).update(started_at=noon(house.harbour, 1))
    errands.sweep(house.harbour.pk)
    assert errands.keep_agreement(house.harbour.pk) == 0
    (row,) = kept(house.harbour).values()
    assert (row.compared, row.agreed) == (100, 90)


# -- the page


@pytest.fixture
def planted(house: House, flow: Flow) -> Flow:
    """A month that is over: 120 records in step, 30 by first loads, an outage of two hours, two fields that drifted."""
    month = Month.of(today(house.harbour)).before
    start = datetime(month.year, month.number, 1, tzinfo=SYDNEY)
    with tenant_tx(flow.tenant_id):
        for number, (updated, loaded, held) in enumerate(((50, 30, 4), (70, 0, 2))):
            FlowDay.objects.create(
                flow=flow, day=month.first + timedelta(days=number), passes=96, failed=number, read=900, updated=updated,
                loaded=loaded, held=held, waits={"20": updated, "40": 2}, compared=200, agreed=190 + number,
            )  # fmt: skip
            ConnectionDay.objects.create(
                connection_id=flow.source_id, day=month.first + timedelta(days=number), calls=100 + number
            )
        FlowDay.objects.create(flow=flow, day=month.before.first, updated=12, waits={"10": 12})
        Alert.objects.create(
            connection_id=flow.target_id, code="http.timeout", call="write", telling="own", opened_at=start + timedelta(days=3),
            told_at=start + timedelta(days=3), ended_at=start + timedelta(days=3, hours=2),
        )  # fmt: skip
        record_audit("flow.mode", target=f"flow {flow.pk}", reason="Agreed by phone", actor="ana@example.test")
    report = done(flow, agree=5)
    differ(flow, report, "1", field="email")
    differ(flow, report, "2", field="email")
    differ(flow, report, "3", field="phone")
    with tenant_tx(flow.tenant_id):
        Mismatch.objects.update(first_seen=start + timedelta(days=1))
    return flow


def test_the_months_numbers_are_those_that_were_planted(house: House, planted: Flow) -> None:
    month = Month.of(today(house.harbour)).before
    seen = page(sign_in(house.olga), f"/clinic/health/?month={month.key}")
    tiles = {tile["label"]: (tile["value"], tile["note"]) for tile in seen["tiles"]}
    assert tiles["Records kept in step"] == ("120", f"{month.before.words}: 12")
    assert tiles["Fresh within"][0] == "7 s"
    assert tiles["Both sides agree"][0] == "95.5 %"
    assert tiles["Hours saved"] == ("6.0", f"{month.before.words}: 0.6")  # 120 records of 3 minutes
    assert tiles["Held at its end"][0] == "2"
    weeks = (month.last - month.first).days / 7 + 1 / 7
    assert tiles["Alerts a week"][0] == f"{1 / weeks:.1f}"
    (row,) = seen["flows"]
    assert (row["written"], row["before"], row["loaded"], row["p50"], row["failed"]) == (120, 12, 30, "7 s", 1)
    assert [(field, *counts) for _, field, *counts in seen["drift"]] == [
        ("E-mail address", 2, 0, 2),
        ("Phone number", 1, 0, 1),
    ]
    ((outage, sentence, lasted),) = seen["outages"]
    assert (outage.connection, lasted) == ("Shop", "2 h 0 min")
    assert sentence
    assert dict(seen["usage"]) == {
        "Records written": "150", "Of these by first loads": "30", "Records read": "1,800", "Requests to vendors": "201",
        "Connections used": "1", "Flows that ran": "1",
    }  # fmt: skip
    uses = {str(use.connection): (use.calls, use.busiest) for use, _ in seen["uses"]}
    assert uses == {"Practice": (201, 101), "Shop": (0, 0)}


def test_today_is_measured_when_somebody_looks(house: House, flow: Flow) -> None:
    deliver(flow, app_now() - timedelta(seconds=1), 6, waited_s=20)
    hold(flow, "77", code="match.shared_email", held_at=app_now() - timedelta(days=9))
    done(flow, agree=3, different=1)
    seen = page(sign_in(house.olga), "/clinic/health/")
    (row,) = seen["flows"]
    assert (row["written"], row["agreement"], row["held"]) == (6, "75.0 %", "1")
    ((who, ages, together),) = seen["held"]
    assert (who, dict(ages)["8 to 28 days"], together) == ("The clinic", 1, 1)
    assert seen["is_now"]


def test_minutes_are_the_clinics_to_say_and_the_hours_follow(house: House, planted: Flow) -> None:
    month = Month.of(today(house.harbour)).before.key
    path = f"/clinic/health/?month={month}"
    olga = sign_in(house.olga)
    assert olga.post(path, {f"minutes-{KIND}": "4,5"}).status_code == 302
    (line,) = page(olga, path)["savings"]
    assert (line["minutes"], line["hours"]) == (Decimal("4.5"), "9.0")
    for wrong in ("-1", "NaN", "1e9", "soon"):
        olga.post(path, {f"minutes-{KIND}": wrong})
    with tenant_tx(planted.tenant_id):
        assert [row.minutes for row in HandTime.objects.all()] == [Decimal("4.5")]
        entry = AuditEntry.objects.get(action="health.minutes")
    assert (entry.actor, entry.diff) == ("olga@example.test", {"kinds": [KIND]})
    assert sign_in(house.vik).post(path, {f"minutes-{KIND}": "9"}).status_code == 403
    acting = begin_acting(house.ana, house.olga, house.harbour)
    acting.post(path, {f"minutes-{KIND}": "2"})
    with tenant_tx(planted.tenant_id):
        latest = AuditEntry.objects.filter(action="health.minutes").latest("pk")
    assert latest.actor == "ana@example.test as olga@example.test"


def test_the_agency_sets_minutes_of_the_clinic_it_looks_at(house: House, planted: Flow) -> None:
    ana = sign_in(house.ana)
    ana.post("/agency/health/?clinic=harbour-physio", {f"minutes-{KIND}": "2"})
    with tenant_tx(planted.tenant_id):
        assert HandTime.objects.get().minutes == 2
    assert sign_in(house.sam).post("/agency/health/?clinic=ridge-podiatry", {f"minutes-{KIND}": "2"}).status_code == 404


def test_who_decided_is_shown_to_who_may_read_the_audit(house: House, planted: Flow) -> None:
    assert "Agreed by phone" in sign_in(house.olga).get("/clinic/health/").content.decode()
    vik = sign_in(house.vik).get("/clinic/health/")
    assert vik.status_code == 200
    assert "Agreed by phone" not in vik.content.decode()
    assert "minutes-" not in vik.content.decode()


def test_another_clinics_health_is_as_absent_as_none(house: House, planted: Flow) -> None:
    make_flow(house.ridge)
    keep_year(make_flow(house.ridge, name="products-to-products"), days=40)
    sam = sign_in(house.sam)
    for slug in ("ridge-podiatry", "nobody"):
        for place in ("", "usage.csv"):
            assert sam.get(f"/agency/health/{place}?clinic={slug}").status_code == 404
    month = Month.of(today(house.harbour)).before.key
    for client, path in (
        (sam, "/agency/health/"),
        (sam, "/agency/health/usage.csv"),
        (sign_in(house.olga), "/clinic/health/usage.csv"),
    ):
        text = client.get(f"{path}?month={month}&clinic=").content.decode()
        assert "Harbour" in text
        assert "Ridge" not in text
    assert "Ridge" in sign_in(house.ana).get(f"/agency/health/?month={month}").content.decode()


def test_usage_goes_out_as_a_file_that_no_spreadsheet_takes_for_a_formula(house: House, planted: Flow) -> None:
    with agency_tx([planted.tenant_id], actor="test", reason="test"):
        Tenant.objects.filter(pk=planted.tenant_id).update(name="=Harbour")
    month = Month.of(today(house.harbour)).before.key
    answer = sign_in(house.ana).get(f"/agency/health/usage.csv?month={month}")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="usage-{month}.csv"'
    (line,) = csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))
    assert line["Clinic"] == "'=Harbour"
    assert (line["Objects"], line["Direction"]) == ("Patients and Customers", "Cliniko to Shopify")
    assert (line["Records read"], line["Records written"], line["Written by first loads"]) == ("1800", "120", "30")


@pytest.mark.parametrize("month", ["", "2026-13", "nonsense", "9999-01", "0001-01", "2020-02"])
def test_any_month_can_be_asked_for(house: House, flow: Flow, month: str) -> None:
    assert page(sign_in(house.olga), f"/clinic/health/?month={month}")["month"] <= Month.of(today(house.harbour))


def test_an_empty_clinic_is_told_what_will_be_there(house: House) -> None:
    assert "Nothing runs for this clinic yet" in sign_in(house.olga).get("/clinic/health/").content.decode()


def test_the_page_asks_as_much_of_a_full_clinic_as_of_a_new_one(house: House, flow: Flow) -> None:
    client = sign_in(house.olga)

    def asked(path: str, who: Any) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert who.get(path).status_code == 200
        return len(captured)

    asked("/clinic/health/", client)
    few = asked("/clinic/health/", client)
    for name in ("products-to-products", "stock-to-inventory"):
        keep_year(make_flow(house.harbour, name=name), days=60)
    keep_year(flow, days=365)
    deliver(flow, app_now() - timedelta(seconds=1), 500)
    assert asked("/clinic/health/", client) == few
    assert few <= 32
    ana = sign_in(house.ana)
    asked("/agency/health/", ana)
    some = asked("/agency/health/", ana)
    for number in range(8):
        clinic = add_tenant(agency=house.agency, slug=f"c{number}", name=f"Clinic {number}", actor="test")
        keep_year(make_flow(clinic), days=20)
    assert asked("/agency/health/", ana) == some


def test_trends_stand_on_the_dashboard_and_on_the_flows_page_each_with_its_table(house: House, flow: Flow) -> None:
    keep_year(flow, days=60)
    other = make_flow(house.harbour, name="products-to-products")
    keep_year(other, days=60)
    olga = sign_in(house.olga)
    for path in ("/clinic/", f"/clinic/integrations/flow/{flow.pk}/change/"):
        seen = page(olga, path)
        assert [trend.name for trend in seen["trends"]] == ["Records written", "Fresh within", "Held", "Agreement"]
        assert len(seen["table"]) == 30
        assert not any(trend.is_empty for trend in seen["trends"])
    yesterday = today(house.harbour) - timedelta(days=1)
    with tenant_tx(flow.tenant_id):
        mine = FlowDay.objects.get(flow=flow, day=yesterday)
    day, words = seen["table"][1]
    assert (day, dict(words)["Records written"]) == (yesterday, f"{mine.created + mine.updated:,}")
