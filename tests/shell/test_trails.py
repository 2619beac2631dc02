"""An order's trail on its link's page: invoice, order, customer, refunds, each with what happened last (A22)."""

from typing import Any

import pytest
from django.test import Client

from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.models import Connection, Link
from integrations.services.connections import save_credentials
from tenants.walls import tenant_tx
from tests.shell.screens import text
from tests.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

KIND = "invoices-to-orders"


@pytest.fixture
def sold(on_stage: Stage) -> dict[str, str]:
    """Mia's invoice with a credit note for all of it, and an invoice of somebody unknown; numbers by what they are."""
    on_stage.set_flow(mode="live")
    on_stage.join(KIND)
    patient = str(on_stage.world.add_patient(first_name="Mia", last_name="Chen", email="mia@example.test"))
    invoice = str(bills.add_invoice(on_stage.world, [{"price": "90"}, {"price": "33.33"}], patient_id=patient))
    other = str(bills.add_invoice(on_stage.world, [{"price": "45"}]))
    on_stage.report()
    credit = str(bills.credit(on_stage.world, invoice))
    on_stage.report()
    assert on_stage.held() == {}
    return {"patient": patient, "invoice": invoice, "other": other, "credit": credit}


def link_of(on_stage: Stage, key: str) -> Link:
    with tenant_tx(on_stage.tenant.pk):
        link: Link = Link.objects.get(source_key=key)
        return link


def page(client: Client, on_stage: Stage, key: str, site: str = "clinic") -> Any:
    return client.get(f"/{site}/integrations/link/{link_of(on_stage, key).pk}/change/")


def told(shown: Any) -> list[tuple[str, str, bool]]:
    return [(hop.role, hop.source_key, hop.is_here) for hop in shown.context["trail"].hops]


def test_the_invoice_leads_to_its_order_its_customer_and_its_refund(
    on_stage: Stage, sold: dict[str, str], olga_at: Client
) -> None:
    shown = page(olga_at, on_stage, sold["invoice"])
    assert told(shown) == [
        ("Patient → customer", sold["patient"], False),
        ("Invoice → order", sold["invoice"], True),
        ("Refund", sold["credit"], False),
    ]
    customer, order, refund = shown.context["trail"].hops
    links = on_stage.links()
    assert [hop.target_key for hop in (customer, order, refund)] == [
        links[sold["patient"]],
        links[sold["invoice"]],
        links[sold["credit"]],
    ]
    assert {hop.line["outcome"]["badge"] for hop in (customer, order, refund)} == {"Done"}
    body = text(shown)
    assert f"/clinic/integrations/link/{refund.link_pk}/change/" in body
    assert "Mia" not in body and "mia@example" not in body


def test_the_credit_note_leads_back_to_its_invoice(on_stage: Stage, sold: dict[str, str], olga_at: Client) -> None:
    shown = page(olga_at, on_stage, sold["credit"])
    assert told(shown) == [
        ("Patient → customer", sold["patient"], False),
        ("Invoice → order", sold["invoice"], False),
        ("Refund", sold["credit"], True),
    ]


def test_an_invoice_of_nobody_without_refund_stands_alone(
    on_stage: Stage, sold: dict[str, str], vik_at: Client
) -> None:
    assert told(page(vik_at, on_stage, sold["other"])) == [("Invoice → order", sold["other"], True)]


def test_its_figures_stand_below(on_stage: Stage, sold: dict[str, str], ana_at: Client) -> None:
    shown = page(ana_at, on_stage, sold["invoice"], "agency")
    assert shown.context["trail"].figures.total == "123.33"
    assert "The lines come to the stated total and tax." in text(shown)


def test_a_customer_without_a_link_is_told(on_stage: Stage, sold: dict[str, str], olga_at: Client) -> None:
    with tenant_tx(on_stage.tenant.pk):
        Link.objects.filter(source_key=sold["patient"]).delete()
    shown = page(olga_at, on_stage, sold["invoice"])
    assert shown.context["trail"].hops[0].target_key == ""
    assert "not in Shopify yet" in text(shown)


def test_without_the_source_what_the_tables_know_is_told(
    on_stage: Stage, sold: dict[str, str], olga_at: Client
) -> None:
    with tenant_tx(on_stage.tenant.pk):
        save_credentials(Connection.objects.get(vendor="cliniko"), {"api_key": "bad-planted-key-au1"})
    shown = page(olga_at, on_stage, sold["invoice"])
    assert told(shown) == [("Invoice → order", sold["invoice"], True)]
    assert "could not be asked just now, so a part is missing" in text(shown) and "planted" not in text(shown)


def test_an_invoice_that_is_gone_is_told(on_stage: Stage, sold: dict[str, str], olga_at: Client) -> None:
    with tenant_tx(on_stage.tenant.pk):
        Link.objects.filter(source_key=sold["other"]).update(source_key="404404")
    assert "no longer there in Cliniko" in text(page(olga_at, on_stage, "404404"))


def test_a_patients_link_has_no_trail_and_asks_nobody(on_stage: Stage, sold: dict[str, str], olga_at: Client) -> None:
    before = len(on_stage.cliniko.journal.entries())
    assert page(olga_at, on_stage, sold["patient"]).context["trail"] is None
    assert len(on_stage.cliniko.journal.entries()) == before
