"""The page that explains a record: who may ask, what is found, what each person sees, what is told when a vendor is down
(B1, C03, C17)."""

import html
import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.connectors.cliniko.sandbox_people import clinical
from integrations.connectors.cliniko.sandbox_world import CANARY
from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.models import Connection, Link, SyncLogEntry
from integrations.services.connections import save_credentials
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, sign_in
from tests.isolation.objects import build
from tests.shell.screens import text
from tests.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

MIA = {
    "first_name": "Mia",
    "last_name": "Chenoweth",
    "email": "mia.chenoweth@example.test",
    "phone": "0400 111 222",
    "address_1": "12 Wattle Street",
    "city": "Geelong",
    "accepted_privacy_policy": True,
}
PERSONAL = ("Mia", "Chenoweth", "mia.chenoweth", "111 222", "400111222", "Wattle", "Geelong")


@pytest.fixture
def mia(on_stage: Stage) -> str:
    """A patient who is a customer, with everything clinical that a patient can have."""
    on_stage.set_flow(mode="live")
    key = str(on_stage.world.add_patient(**clinical(1) | MIA))
    on_stage.sync()
    assert on_stage.held() == {}
    return key


def ask(client: Client, key: str, site: str = "clinic", **more: str) -> Any:
    return client.get(f"/{site}/integrations/link/explain/", {"key": key, **more})


def type_in(client: Client, typed: str, site: str = "clinic", **more: str) -> Any:
    return client.post(f"/{site}/integrations/link/explain/", {"key": typed, **more})


def title(shown: Any) -> str:
    assert shown.context["page"] is not None, text(shown)
    return str(shown.context["page"].next.title)


# -- found


def test_the_record_is_explained_by_its_number_on_either_side(on_stage: Stage, mia: str, olga_at: Client) -> None:
    (target,) = on_stage.links().values()
    for key in (mia, target):
        shown = ask(olga_at, key)
        assert title(shown) == "Nothing: both sides agree"
        body = text(shown)
        assert f"Patient {mia}" in body and f"Customer {target}" in body


def test_a_vendors_page_address_will_do(on_stage: Stage, mia: str, olga_at: Client) -> None:
    shown = ask(olga_at, f"https://harbour-physio.au1.cliniko.com/patients/{mia}")
    assert title(shown) == "Nothing: both sides agree"


def test_what_is_typed_is_kept_in_the_address_only_where_it_is_a_number(
    on_stage: Stage, mia: str, olga_at: Client
) -> None:
    answered = type_in(olga_at, mia)
    assert answered.status_code == 302
    assert f"key={mia}" in answered.headers["Location"]
    assert type_in(olga_at, MIA["email"]).status_code == 200
    assert type_in(olga_at, "Mia Chenoweth").status_code == 200
    refused = ask(olga_at, MIA["email"])
    assert refused.context["page"] is None
    assert "does not belong into an address" in text(refused)


def test_the_record_is_found_by_an_email(on_stage: Stage, mia: str, olga_at: Client) -> None:
    assert title(type_in(olga_at, MIA["email"].upper())) == "Nothing: both sides agree"


def test_a_family_that_shares_an_email_is_listed_without_names(on_stage: Stage, mia: str, olga_at: Client) -> None:
    """C17: two patients, one address."""
    leo = str(on_stage.world.add_patient(**MIA | {"first_name": "Leo", "phone": None}))
    shown = type_in(olga_at, MIA["email"])
    assert shown.context["page"] is None
    assert {line["one"].source_key for line in shown.context["found"]} == {mia, leo}
    body = re.sub(r'value="[^"]*"', "", text(shown))
    assert "Several people have this address" in body
    assert not [word for word in ("Leo", *PERSONAL) if word in body]


def test_a_patient_no_flow_has_seen_yet_is_found_at_its_source(on_stage: Stage, mia: str, olga_at: Client) -> None:
    new = str(on_stage.world.add_patient(first_name="Leo", last_name="Ng", email="leo@example.test"))
    assert title(ask(olga_at, new)).startswith("A new customer will be made in Shopify")


def test_an_invoice_is_found_by_its_number_and_by_its_orders(on_stage: Stage, mia: str, olga_at: Client) -> None:
    """C18: the number on paper, and the shop's own."""
    on_stage.join("invoices-to-orders")
    key = str(bills.add_invoice(on_stage.world, [{"price": "90"}], patient_id=mia, number=10459))
    assert title(ask(olga_at, "10459")).startswith("A new order will be made in Shopify")
    on_stage.sync_all()
    (order,) = on_stage.shop.orders.values()
    for typed in ("10459", str(order["name"]), str(order["name"]).removeprefix("#"), key):
        shown = ask(olga_at, typed)
        assert shown.context["page"].source.key == key, typed


def test_a_customer_that_is_linked_to_nothing_says_so(on_stage: Stage, mia: str, olga_at: Client) -> None:
    on_stage.shop.create({"firstName": "Ann", "lastName": "Nguyen", "email": "ann@example.test"})
    body = text(type_in(olga_at, "ann@example.test"))
    assert "Found, and linked to nothing" in body


def test_nothing_found_says_what_to_try(on_stage: Stage, mia: str, olga_at: Client) -> None:
    for typed in ("404404404", "#404", "nobody@example.test", "Mia Chenoweth"):
        body = text(type_in(olga_at, typed)) if not typed.isdigit() and "#" not in typed else text(ask(olga_at, typed))
        assert "Nothing found" in body, typed
        assert "Try the record" in body


def test_without_a_question_the_page_says_what_it_is_for(on_stage: Stage, olga_at: Client) -> None:
    before = len(on_stage.cliniko.journal.entries())
    body = text(olga_at.get("/clinic/integrations/link/explain/"))
    assert "Which record?" in body
    assert len(on_stage.cliniko.journal.entries()) == before


# -- what is told


def test_each_field_tells_where_it_comes_from_and_what_happens_to_it(
    on_stage: Stage, mia: str, olga_at: Client
) -> None:
    """C03: an edit at the source is foretold, one in the shop is told as what it is."""
    (customer,) = on_stage.customers()
    on_stage.shop.store(customer | {"lastName": "Chen"})
    on_stage.world.edit_patient(mia, first_name="Mya")
    shown = ask(olga_at, mia)
    told = {line.label: line for line in shown.context["page"].differing}
    assert (told["First name"].before, told["First name"].made, told["First name"].there) == ("Mya", "Mya", "Mia")
    assert told["First name"].verdict.title == "Will be written"
    assert told["First name"].written is not None
    assert told["Last name"].there == "Chen"
    assert title(shown).startswith("Suture will write First name, Last name")
    assert "Changed since: First name" in shown.context["page"].since


def test_what_waits_on_the_desk_leads_there(on_stage: Stage, mia: str, olga_at: Client) -> None:
    key = str(on_stage.world.add_patient(**MIA | {"email": None}))
    on_stage.sync()
    shown = ask(olga_at, key)
    assert title(shown) == "It waits for a person: This person has no e-mail address."
    (held,) = on_stage.deliveries(state="held")
    assert f"/clinic/integrations/delivery/{held.pk}/change/" in text(shown)
    assert "it would wait again for the same reason" in text(shown)


def test_history_is_newest_first_and_bounded(on_stage: Stage, mia: str, olga_at: Client) -> None:
    with tenant_tx(on_stage.tenant.pk):
        entry = SyncLogEntry.objects.filter(source_key=mia).latest("at")
        for _ in range(40):
            SyncLogEntry.objects.create(
                at=entry.at, flow_id=entry.flow_id, source_key=mia, action="update", outcome="same"
            )
    log = ask(olga_at, mia).context["page"].log
    assert len(log) == 20
    assert [line["at"] for line in log] == sorted((line["at"] for line in log), reverse=True)


# -- who sees what


def test_a_viewer_sees_it_masked_and_a_manager_does_not(
    on_stage: Stage, mia: str, olga_at: Client, vik_at: Client
) -> None:
    on_stage.world.edit_patient(mia, first_name="Mya")
    seen, masked = text(ask(olga_at, mia)), text(ask(vik_at, mia))
    assert "Chenoweth" in seen and "Mya" in seen
    assert not [word for word in ("Mya", *PERSONAL) if word in masked]
    assert "M***" in masked
    assert "masked" in masked


def test_nothing_clinical_is_shown_to_anybody(on_stage: Stage, mia: str, olga_at: Client, ana_at: Client) -> None:
    """B4: every clinical field of the patient carries a canary."""
    on_stage.join("invoices-to-orders")
    item = {"name": f"{CANARY}-needling", "code": f"{CANARY}-DN", "price": "100", "billable_item_id": "5"}
    bill = str(bills.add_invoice(on_stage.world, [item], patient_id=mia, notes=f"{CANARY}-notes"))
    for key in (mia, bill):
        for client, site in ((olga_at, "clinic"), (ana_at, "agency")):
            shown = ask(client, key, site, clinic=on_stage.tenant.slug)
            title(shown)
            assert CANARY.lower() not in text(shown).lower()


def test_the_agency_finds_the_clinic_by_the_number(on_stage: Stage, mia: str, ana_at: Client, house: House) -> None:
    shown = ask(ana_at, mia, "agency")
    assert shown.context["asked"].clinic == house.harbour
    assert title(shown) == "Nothing: both sides agree"
    unknown = ask(ana_at, "404404404", "agency")
    assert "Choose the clinic." in text(unknown)


def test_another_clinics_record_is_answered_like_none(on_stage: Stage, mia: str, house: House, olga_at: Client) -> None:
    """The walls: Rita's clinic knows nothing of Mia, and Olga nothing of Ridge."""
    with tenant_tx(house.ridge.pk):
        Connection.objects.create(tenant=house.ridge, name="practice", vendor="cliniko")
    foreign = build(Link, house.ridge)
    for client, key in ((sign_in(house.rita), mia), (olga_at, foreign.source_key)):
        shown = ask(client, key)
        assert shown.context["page"] is None
        assert shown.context["found"] == []
    asked = sign_in(house.sam).get("/agency/integrations/link/explain/", {"key": "1", "clinic": house.ridge.slug})
    assert house.ridge.name not in text(asked)


# -- when a side does not answer


def test_with_the_practices_key_gone_bad_the_tables_are_told(on_stage: Stage, mia: str, olga_at: Client) -> None:
    with tenant_tx(on_stage.tenant.pk):
        save_credentials(Connection.objects.get(vendor="cliniko"), {"api_key": "bad-planted-key-au1"})
    assert ask(olga_at, mia).context["page"].source.why_not.code == "connection.untested"
    with tenant_tx(on_stage.tenant.pk):
        Connection.objects.filter(vendor="cliniko").update(tested_at=app_now())
    shown = ask(olga_at, mia)
    page = shown.context["page"]
    assert page.source.why_not.code == "cliniko.auth.rejected"
    assert page.source.why_not.advice in html.unescape(text(shown))
    assert page.target.is_there
    assert page.log
    assert "planted" not in text(shown)
    assert page.next.title == "What comes next cannot be told just now"


def test_with_the_shop_down_intakes_word_still_stands(on_stage: Stage, mia: str, olga_at: Client) -> None:
    on_stage.shopify.faults.add(Fault(FaultKind.STATUS, times=1_000, status=503))
    shown = ask(olga_at, mia)
    assert shown.context["page"].target.why_not is not None
    assert title(shown).startswith("Nothing: the patient has not changed")
    on_stage.world.edit_patient(mia, first_name="Mya")
    shown = ask(olga_at, mia)
    assert title(shown) == "It is sent once Shopify answers"
    assert [line.made for line in shown.context["page"].differing if line.label == "First name"] == ["Mya"]


def test_a_source_record_that_is_gone_is_told(on_stage: Stage, mia: str, olga_at: Client) -> None:
    with tenant_tx(on_stage.tenant.pk):
        Link.objects.filter(source_key=mia).update(source_key="404404")
    assert title(ask(olga_at, "404404")) == "It is no longer in Cliniko"


def test_who_asks_very_often_is_asked_to_wait(on_stage: Stage, mia: str, olga_at: Client) -> None:
    answers = [text(ask(olga_at, mia)) for _ in range(40)]
    assert "That was often." in answers[-1]
    assert "That was often." not in answers[0]


# -- the way in, and what it costs


def test_every_place_that_shows_a_record_leads_to_its_explanation(on_stage: Stage, mia: str, olga_at: Client) -> None:
    with tenant_tx(on_stage.tenant.pk):
        link, entry = Link.objects.get(), SyncLogEntry.objects.filter(source_key=mia).latest("at")
    (delivery,) = on_stage.deliveries()
    for model, pk in (("link", link.pk), ("synclogentry", entry.pk), ("delivery", delivery.pk)):
        body = text(olga_at.get(f"/clinic/integrations/{model}/{pk}/change/"))
        assert f"/clinic/integrations/link/explain/?key={mia}" in body
    assert "/clinic/integrations/link/explain/" in text(olga_at.get("/clinic/integrations/synclogentry/"))
    assert f"Explain record {mia}" in text(olga_at.get("/clinic/search/", {"s": mia}))
    assert "Explain record" not in text(olga_at.get("/clinic/search/", {"s": "mia@example.test"}))


def test_a_long_history_costs_no_further_query(on_stage: Stage, mia: str, olga_at: Client) -> None:
    def asked(captured: CaptureQueriesContext) -> list[str]:
        """But for the quotas: how often one is asked for depends on how fast the vendors answer."""
        told = [one["sql"] for one in captured.captured_queries]
        return [sql for sql in told if "integrations_" in sql and "quotabudget" not in sql]

    ask(olga_at, mia)
    with CaptureQueriesContext(connection) as few:
        ask(olga_at, mia)
    with tenant_tx(on_stage.tenant.pk):
        entry = SyncLogEntry.objects.filter(source_key=mia).latest("at")
        for _ in range(30):
            SyncLogEntry.objects.create(
                at=entry.at, flow_id=entry.flow_id, source_key=mia, action="update", outcome="ok", fields=["email"]
            )
    with CaptureQueriesContext(connection) as many:
        ask(olga_at, mia)
    assert len(asked(many)) == len(asked(few)) > 10
