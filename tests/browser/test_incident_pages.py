"""Incidents and the webhook's page, as people see them; the pictures are looked at."""

import pytest
from playwright.sync_api import expect

from integrations.services import hooks, incidents
from tenants.walls import agency_tx, app_now, system_tx
from tests.browser.window import PASSWORD, PHONE, Visit
from tests.conftest import House
from tests.shell.test_incidents import DOWN, REFUSED, fail, open_clinics, recover, shop_of

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

LOOKS = [(1280, False), (1280, True), (PHONE, False), (PHONE, True)]
IDS = ["light", "dark", "phone", "phone-dark"]
URL = "https://hooks.chat.example/services/T1/B2/secret"


def trouble(people: House) -> None:
    """One outage of fourteen clinics, of which two work again; one clinic's key; one that is over; messages of each kind."""
    with agency_tx((), actor="ana", reason="test"):
        hooks.set_address(people.agency.pk, URL)
    shops = open_clinics(people, 14)
    harbour = shop_of(people.harbour)
    fail(shops[0], shops[1], error=REFUSED)
    everywhere = {shop.tenant_id for shop in (*shops, harbour)}
    incidents.tell(hurry=everywhere)
    recover(shops[0], shops[1])
    incidents.tell(hurry=everywhere)
    fail(harbour, error=REFUSED)
    incidents.tell(hurry=everywhere)
    fail(*shops, error=DOWN)
    incidents.tell(hurry=everywhere)
    recover(*shops[:2])
    incidents.tell()
    with system_tx("test"):
        posts = list(hooks.HookPost.objects.order_by("pk"))
        for post, (state, code) in zip(
            posts, [("sent", ""), ("failed", "webhook.refused"), ("unclear", "webhook.unclear")], strict=False
        ):
            hooks.HookPost.objects.filter(pk=post.pk).update(state=state, code=code, tries=1)
        hooks.enqueue(people.agency.pk, "A last one.", app_now())


@pytest.mark.parametrize(("width", "dark"), LOOKS, ids=IDS)
def test_the_pages_are_readable(visit: Visit, people: House, width: int, dark: bool) -> None:
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    ana.goto("/agency/integrations/incident/")
    ana.looks_right("list-incident-empty")
    expect(ana.page.get_by_text("No incident yet")).to_be_visible()
    trouble(people)
    ana.goto("/agency/integrations/incident/")
    expect(ana.page.get_by_text("12 of 14 clinics").first).to_be_visible()
    ana.looks_right("list-incident")
    ana.page.click(".su-list tbody th a >> nth=0")
    ana.settle()
    ana.looks_right("row-incident")
    ana.goto("/agency/integrations/incident/webhook/")
    ana.page.get_by_label("Password", exact=True).fill(PASSWORD)
    ana.page.get_by_role("button", name="Confirm").click()
    ana.settle()
    expect(ana.page.get_by_role("button", name="Send a test")).to_be_visible()
    ana.looks_right("webhook")
    ana.goto("/agency/")
    ana.looks_right("dashboard-agency-noise")
