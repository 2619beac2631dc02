"""A clinic's health on the screen and on paper, and trends where they stand; the pictures are looked at."""

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from integrations.models import Alert
from reconciliation.models import Mismatch
from tenants.services import add_tenant, record_audit
from tenants.walls import app_now, tenant_tx
from tests.browser.window import PHONE, Visit
from tests.conftest import House
from tests.desk_rows import hold_many, make_flow
from tests.health_rows import deliver, keep_year
from tests.report_rows import differ, done

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

LOOKS = [
    (1280, False),
    *(pytest.param(*look, marks=pytest.mark.proof) for look in ((1280, True), (PHONE, False), (PHONE, True))),
]
IDS = ["light", "dark", "phone", "phone-dark"]


def a_full_clinic(people: House) -> None:
    now = app_now()
    for name in ("patients-to-customers", "products-to-products", "stock-to-inventory"):
        flow = make_flow(people.harbour, name=name)
        keep_year(flow, days=120)
        deliver(flow, now - timedelta(minutes=5), 14, waited_s=9)
        hold_many(flow, 12)
        report = done(flow, agree=3990, different=6)
        for number, field in enumerate(("email", "phone")):
            differ(flow, report, f"{number}", field=field)
        with tenant_tx(flow.tenant_id):
            Mismatch.objects.update(first_seen=now - timedelta(days=9))
            Alert.objects.create(
                connection_id=flow.target_id, code="http.timeout", call="write", telling="own",
                opened_at=now - timedelta(days=8), told_at=now - timedelta(days=8),
                ended_at=now - timedelta(days=8) + timedelta(minutes=95),
            )  # fmt: skip
    with tenant_tx(people.harbour.pk):
        record_audit("flow.mode", target="flow 1", reason="Agreed by phone with Olga", actor="ana@example.test")
        record_audit("delivery.ignored", target="delivery 7", reason="Test patient", actor="olga@example.test")


@pytest.mark.parametrize(("width", "dark"), LOOKS, ids=IDS)
def test_the_pages_are_readable(visit: Visit, people: House, width: int, dark: bool) -> None:
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    olga.goto("/clinic/health/")
    olga.looks_right("health-empty")
    a_full_clinic(people)
    olga.goto("/clinic/health/")
    olga.looks_right("health-clinic")
    olga.shot("health-clinic-whole", whole=True)
    olga.page.get_by_text("The same as a table").click()
    expect(olga.page.locator(".su-trend-table tbody tr").first).to_be_visible()
    olga.looks_right("health-table")
    olga.goto("/clinic/")
    olga.looks_right("dashboard-trends")
    olga.shot("dashboard-trends-whole", whole=True)
    olga.page.get_by_role("link", name="Patients become customers").first.click()
    olga.settle()
    olga.looks_right("flow-trends")
    olga.shot("flow-trends-whole", whole=True)


@pytest.mark.parametrize("dark", [False, pytest.param(True, marks=pytest.mark.proof)], ids=["light", "dark"])
def test_it_prints_on_few_sheets_without_the_screens_furniture(visit: Visit, people: House, dark: bool) -> None:
    """K46: the agency's review goes out on paper, or as a PDF that the browser makes."""
    a_full_clinic(people)
    ana = visit(dark=dark)
    ana.sign_in(people.ana)
    ana.goto("/agency/health/?clinic=harbour-physio")
    expect(ana.page.get_by_role("button", name="Print or save as PDF")).to_be_visible()
    path = ana.shots / f"health-{ana.label}.pdf"
    ana.page.pdf(path=path, prefer_css_page_size=True, print_background=True)
    assert path.read_bytes().count(b"/Type /Page\n") == 2
    ana.page.emulate_media(media="print")
    for gone in ("#nav-sidebar", "#header-inner", ".su-filters", "[data-print]", ".su-minutes"):
        expect(ana.page.locator(gone).first).to_be_hidden()
    expect(ana.page.get_by_text("Hours saved").first).to_be_visible()
    ana.shot("health-print", whole=True)


def test_the_agency_chooses_among_forty_clinics(visit: Visit, people: House) -> None:
    keep_year(make_flow(people.harbour), days=40)
    for number in range(38):
        clinic = add_tenant(agency=people.agency, slug=f"c{number}", name=f"Clinic {number:02}", actor="test")
        keep_year(make_flow(clinic), days=30)
    ana = visit()
    ana.sign_in(people.ana)
    ana.goto("/agency/health/")
    assert ana.page.locator("tbody tr").count() == 40
    ana.looks_right("health-all")
    ana.page.fill("[name=q]", "harb")
    ana.page.get_by_role("button", name="Show", exact=True).click()
    ana.settle()
    ana.page.get_by_role("link", name="Harbour Physio").click()
    ana.settle()
    ana.looks_right("health-agency")
