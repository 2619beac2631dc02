"""Acting as somebody of a clinic, from the members' list to being oneself again, as people see it."""

import pytest
from playwright.sync_api import expect

from tests.browser.window import PASSWORD, PHONE, Visit
from tests.conftest import House
from tests.desk_rows import hold, make_flow

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

PHONE_DARK = pytest.param(PHONE, True, marks=pytest.mark.proof)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), PHONE_DARK], ids=["light", "phone-dark"])
def test_the_agency_acts_as_a_clinics_manager(visit: Visit, people: House, width: int, dark: bool) -> None:
    hold(make_flow(people.harbour), "1")
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    ana.goto("/agency/tenants/membership/?q=olga")
    ana.page.get_by_role("link", name="Act as them").click()
    ana.settle()
    ana.page.get_by_label("Password", exact=True).fill(PASSWORD)
    ana.page.get_by_role("button", name="Confirm").click()
    ana.settle()
    ana.looks_right("act")
    ana.page.get_by_label("Reason").fill("Ticket 7: she cannot find a patient")
    ana.page.get_by_role("button", name="Begin").click()
    ana.settle()
    strip = ana.page.locator(".su-acting")
    expect(strip).to_contain_text("ana@example.test acts as olga@example.test at Harbour Physio")
    ana.looks_right("acting-dashboard")
    ana.goto("/clinic/integrations/delivery/")
    expect(strip).to_be_visible()
    ana.goto("/accounts/password/change/")
    expect(ana.page.get_by_text("Their account is theirs alone.")).to_be_visible()
    ana.goto("/clinic/no-such-page/")
    expect(strip).to_be_visible()
    ana.goto("/clinic/")
    strip.get_by_role("button", name="End").click()
    ana.settle()
    expect(strip).to_have_count(0)
    expect(ana.page.get_by_text("You act as olga@example.test no longer.")).to_be_visible()
    ana.goto("/agency/tenants/auditentry/")
    expect(ana.page.get_by_text("ana@example.test as olga@example.test").first).to_be_visible()
    expect(ana.page.get_by_text("Ticket 7: she cannot find a patient")).to_be_visible()
    ana.looks_right("acting-audit")
