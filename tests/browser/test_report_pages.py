"""Reports and mismatches as people see them; the pictures are looked at (C12)."""

from datetime import timedelta

import pytest

from integrations.models import Flow
from reconciliation import mailing
from reconciliation.models import Mismatch, Report, ReportLink
from tenants.walls import app_now, tenant_tx
from tests.browser.window import PHONE, Visit
from tests.conftest import House
from tests.desk_rows import make_flow
from tests.report_rows import begin, differ, done

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

LOOKS = [(1280, False), (1280, True), (PHONE, False), (PHONE, True)]
IDS = ["light", "dark", "phone", "phone-dark"]


@pytest.fixture
def report(people: House) -> Report:
    flow = make_flow(people.harbour)
    for days in range(5, 0, -1):
        older = done(flow, agree=1180 + days, different=20 - days)
        with tenant_tx(flow.tenant_id):
            Report.objects.filter(pk=older.pk).update(started_at=app_now() - timedelta(days=days))
    newest = done(flow, agree=1190, different=9, missing_right=1)
    for number in range(30):
        differ(flow, newest, f"14820193755503{number:02}")
    differ(flow, newest, "1482019375550399", field="address.city", cause="missed")
    differ(
        flow, newest, "1482019375550398", kind="missing_right", field="", cause="held", code="record.email_missing",
        target_key="", sealed_values=None,
    )  # fmt: skip
    differ(flow, newest, "1482019375550397", kind="duplicate", field="", cause="", sealed_values=None)
    return newest


@pytest.mark.parametrize(("width", "dark"), LOOKS, ids=IDS)
def test_reports_are_readable(visit: Visit, people: House, report: Report, width: int, dark: bool) -> None:
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    olga.goto("/clinic/reconciliation/report/")
    olga.looks_right("list-report")
    olga.goto(f"/clinic/reconciliation/report/{report.pk}/change/")
    olga.looks_right("row-report")
    olga.goto("/clinic/reconciliation/mismatch/")
    olga.looks_right("list-mismatch")
    olga.page.click(".su-list tbody th a >> nth=5")
    olga.settle()
    olga.looks_right("row-mismatch")


def test_a_running_comparison_and_an_empty_list_are_readable(visit: Visit, people: House) -> None:
    olga = visit()
    olga.sign_in(people.olga)
    olga.goto("/clinic/reconciliation/report/")
    olga.looks_right("list-report-empty")
    olga.goto("/clinic/reconciliation/mismatch/")
    olga.looks_right("list-mismatch-empty")
    flow: Flow = make_flow(people.harbour)
    running = begin(flow)
    olga.goto(f"/clinic/reconciliation/report/{running.pk}/change/")
    olga.looks_right("row-report-running")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (PHONE, True)], ids=["light", "phone-dark"])
def test_the_agency_sees_all_flows_at_a_glance(
    visit: Visit, people: House, report: Report, width: int, dark: bool
) -> None:
    ridge = make_flow(people.ridge)
    older = done(ridge, agree=412, different=31)
    for number in range(31):
        row = differ(ridge, older, f"2{number:03}", cause="missed")
        with tenant_tx(ridge.tenant_id):
            Mismatch.objects.filter(pk=row.pk).update(first_seen=app_now() - timedelta(days=2 * number))
    make_flow(people.ridge, name="our second shop")
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    ana.goto("/agency/reconciliation/report/summary/")
    ana.looks_right("report-summary")
    ana.goto(f"/agency/reconciliation/report/?flow={ridge.name}&clinic=harbour-physio")
    ana.looks_right("list-report-of-flow")


@pytest.mark.proof
def test_a_clinic_without_flows_is_told_what_comes(visit: Visit, people: House) -> None:
    vik = visit()
    vik.sign_in(people.vik)
    vik.goto("/clinic/reconciliation/report/summary/")
    vik.looks_right("report-summary-empty")


def test_a_mailed_link_leads_through_signing_in_to_the_report_once(visit: Visit, people: House, report: Report) -> None:
    secret = "a-link-in-a-mail"
    with tenant_tx(people.harbour.pk):
        ReportLink.objects.create(
            user=people.olga, report=report, digest=mailing.digest_of(secret), created_at=app_now(),
            expires_at=app_now() + timedelta(days=7),
        )  # fmt: skip
    path = f"/report-link/{people.harbour.pk}/{secret}/"
    olga = visit(width=PHONE)
    olga.sign_in(people.olga)
    olga.goto(path)
    olga.looks_right("report-link")
    olga.send(".su-card button[type=submit]")
    assert olga.page.url.endswith(f"/clinic/reconciliation/report/{report.pk}/change/")
    olga.goto(path)
    olga.looks_right("report-link-closed")
