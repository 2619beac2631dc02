"""A digest, and an incident of records, as people see them; the pictures are looked at (K39, B3)."""

from datetime import timedelta

import pytest
from django.test import override_settings
from playwright.sync_api import expect

from integrations.models import Delivery, Incident
from integrations.services import desk, digests, incidents, watching
from tenants.walls import app_now, system_tx, tenant_tx
from tests.browser.window import PHONE, Visit
from tests.conftest import House
from tests.desk_rows import hold_many, make_flow

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.mark.parametrize(
    ("width", "dark"),
    [(1280, False), (1280, True), (PHONE, False), (PHONE, True)],
    ids=["light", "dark", "phone", "phone-dark"],
)
def test_a_digest_is_read_and_signed_and_an_incident_of_records_is_clear(
    visit: Visit, people: House, width: int, dark: bool
) -> None:
    flows = [make_flow(people.harbour), make_flow(people.ridge)]
    for flow in flows:
        hold_many(flow, 240)
    with tenant_tx(people.harbour.pk):
        Delivery.objects.filter(code="match.several").update(held_at=app_now() - timedelta(days=20))
        row = digests.make(app_now())
        desk.retry(Delivery.objects.filter(code="field.conflict"))
    with override_settings(SUTURE_RECORDS_ALERT=20):
        for flow in flows:
            watching.look_after(flow.tenant_id)
    incidents.tell(hurry={flow.tenant_id for flow in flows})
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    olga.goto("/clinic/integrations/digest/")
    olga.looks_right("list-digest")
    olga.page.click(".su-list tbody th a")
    olga.settle()
    olga.looks_right("digest")
    olga.shot("digest-whole", whole=True)
    olga.send("button[value=sign]")
    expect(olga.page.get_by_text("olga@example.test has seen this.")).to_be_visible()
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    ana.goto("/agency/integrations/incident/")
    ana.looks_right("list-incident-records")
    with system_tx("test"):
        incident = Incident.objects.filter(code="match.several").get()
    ana.goto(f"/agency/integrations/incident/{incident.pk}/change/")
    ana.looks_right("incident-records")
    ana.goto(f"/agency/integrations/digest/{row.pk}/change/")
    ana.looks_right("digest-agency")
