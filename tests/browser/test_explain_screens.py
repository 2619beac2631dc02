"""The page that explains a record, as people see it; the pictures are looked at (B1)."""

from collections.abc import Iterator

import pytest

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.connectors.sandbox_kit import Fault, FaultKind
from tests.browser.window import PHONE, Visit
from tests.conftest import House
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

LOOKS = [(1280, False), (1280, True), (PHONE, False), (PHONE, True)]
IDS = ["light", "dark", "phone", "phone-dark"]
MIA = {
    "first_name": "Mia",
    "last_name": "Chen",
    "email": "mia@example.com",
    "phone": "0400 111 222",
    "address_1": "12 Wattle Street",
    "address_2": "Level 3",
    "city": "Geelong",
    "state": "VIC",
    "post_code": "3220",
    "accepted_privacy_policy": True,
    "accepted_email_marketing": True,
}


@pytest.fixture
def on_stage(people: House) -> Iterator[Stage]:
    """Mia, whose two sides differ in every way that is told apart; Leo, who shares her address and waits."""
    with stage(people.harbour) as built:
        open_wide(built)
        mia = built.world.add_patient(**MIA)
        built.sync()
        built.world.add_patient(**MIA | {"first_name": "Leo", "phone": "0400 999 888"})
        built.sync()
        (customer,) = built.customers()
        built.shop.store(customer | {"lastName": "Chen-Wu", "emailState": "UNSUBSCRIBED"})
        built.world.edit_patient(mia, first_name="Mya", city="Torquay")
        built.join("products-to-products")
        roller = goods.add_product(built.world, name="Foam roller", item_code="FR-45", price="90")
        built.join("invoices-to-orders")
        lines = [{"product_id": roller, "price": "90", "quantity": 2}, {"name": "Session", "price": "110"}]
        bills.add_invoice(built.world, lines, patient_id=mia, number=10459)
        yield built


def keys(on_stage: Stage) -> tuple[str, str]:
    (leo,) = on_stage.held()
    (mia,) = on_stage.links()
    return mia, leo


@pytest.mark.parametrize(("width", "dark"), LOOKS, ids=IDS)
def test_a_record_explained_is_readable(visit: Visit, people: House, on_stage: Stage, width: int, dark: bool) -> None:
    mia, leo = keys(on_stage)
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    olga.goto("/clinic/integrations/link/explain/")
    olga.looks_right("explain-empty")
    olga.goto(f"/clinic/integrations/link/explain/?key={mia}")
    olga.looks_right("explain-differs")
    olga.shot("explain-differs-whole", whole=True)
    olga.page.click("details.su-agree summary")
    olga.settle()
    olga.looks_right("explain-all-fields")
    olga.shot("explain-all-fields-whole", whole=True)
    olga.goto(f"/clinic/integrations/link/explain/?key={leo}")
    olga.looks_right("explain-held")
    olga.shot("explain-held-whole", whole=True)
    olga.goto("/clinic/integrations/link/explain/?key=10459")
    olga.looks_right("explain-invoice")
    olga.shot("explain-invoice-whole", whole=True)
    olga.goto("/clinic/integrations/link/explain/?key=404404")
    olga.looks_right("explain-nothing-found")
    olga.page.fill("input[name=key]", MIA["email"])
    olga.page.press("input[name=key]", "Enter")
    olga.settle()
    olga.looks_right("explain-family")
    on_stage.shopify.faults.add(Fault(FaultKind.STATUS, times=1_000, status=503))
    olga.goto(f"/clinic/integrations/link/explain/?key={mia}")
    olga.looks_right("explain-shop-down")
    olga.shot("explain-shop-down-whole", whole=True)


@pytest.mark.parametrize(("width", "dark"), [LOOKS[0], LOOKS[3]], ids=[IDS[0], IDS[3]])
def test_a_viewer_and_the_agency_read_it_too(
    visit: Visit, people: House, on_stage: Stage, width: int, dark: bool
) -> None:
    mia, _ = keys(on_stage)
    vik = visit(width=width, dark=dark)
    vik.sign_in(people.vik)
    vik.goto(f"/clinic/integrations/link/explain/?key={mia}")
    vik.looks_right("explain-viewer")
    vik.shot("explain-viewer-whole", whole=True)
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    ana.goto(f"/agency/integrations/link/explain/?key={mia}")
    ana.looks_right("explain-agency")
    ana.shot("explain-agency-whole", whole=True)
