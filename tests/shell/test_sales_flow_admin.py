"""A flow whose source is the shop, on the screens: made, opened, and kept from being a second master (C13, C27)."""

from collections.abc import Iterator

import pytest
from django.test import Client

from integrations.models import Flow
from tenants.walls import tenant_tx
from tests.conftest import House, sign_in
from tests.shell.test_flows_admin import TABS, page, text
from tests.stage import Stage, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
KIND = "shop-sales-to-stock-adjustments"


@pytest.fixture
def on_stage(transactional_db: None, house: House) -> Iterator[Stage]:
    with stage(house.harbour, mode="off") as made:
        yield made


@pytest.fixture
def ana_at(house: House) -> Client:
    return sign_in(house.ana)


def test_a_flow_of_sales_is_made_from_the_shop_to_the_practice(on_stage: Stage, ana_at: Client) -> None:
    assert "Shop sales become stock adjustments" in text(ana_at.get("/agency/integrations/flow/add/"))
    with tenant_tx(on_stage.tenant.pk):
        patients = Flow.objects.get()
    practice, shop = str(patients.source_id), str(patients.target_id)
    given = {"kind": KIND, "source": practice, "target": shop, "name": ""}
    refused = text(ana_at.post("/agency/integrations/flow/add/", given))
    assert "reads from Shopify" in refused and "writes to Cliniko" in refused
    assert (
        ana_at.post("/agency/integrations/flow/add/", given | {"source": shop, "target": practice}).status_code == 302
    )
    with tenant_tx(on_stage.tenant.pk):
        flow = Flow.objects.get(name=KIND)
    assert (flow.mode, flow.start, flow.urgent) == ("off", "activation", True)


def test_every_tab_of_it_opens(on_stage: Stage, ana_at: Client) -> None:
    flow_id = on_stage.join(KIND, mode="off")
    told = {tab: text(page(ana_at, "agency", flow_id, tab)) for tab in TABS}
    assert "Sale of a product that the practice system does not have" in told["settings"]
    assert "Quantity, below zero for what was sold" in told["fields"]


def test_going_live_beside_the_other_master_of_stock_is_refused_in_words(on_stage: Stage, ana_at: Client) -> None:
    on_stage.join("stock-to-inventory")
    flow_id = on_stage.join(KIND, mode="off")
    refused = ana_at.post(f"/agency/integrations/flow/{flow_id}/mode/", {"mode": "live", "sure": "yes"}, follow=True)
    assert "only one of the two may be: stock has one master." in text(refused)
    with tenant_tx(on_stage.tenant.pk):
        assert Flow.objects.get(pk=flow_id).mode == "off"
