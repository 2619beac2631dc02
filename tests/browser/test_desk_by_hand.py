"""A receptionist puts three records right, each within a minute, and they go out (B9, C08, K36, asks 5 and 18)."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.models import Rerun
from integrations.services import reruns
from integrations.services.desk_choice import Chosen
from tenants.walls import agency_tx
from tests.browser.window import PHONE, Visit, Visitor
from tests.conftest import House
from tests.desk_rows import hold_many, make_flow
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

A_MINUTE_S = 60
FAMILY = "family@example.com"


@pytest.fixture
def on_stage(people: House) -> Iterator[Stage]:
    """Three records that wait: a product without a code, an invoice of a status nobody mapped, a shared e-mail."""
    with stage(people.harbour) as built:
        open_wide(built)
        built.shop.create({"firstName": "Ann", "lastName": "Nguyen", "email": FAMILY})
        built.world.add_patient(first_name="Mia", last_name="Chen", email=FAMILY, accepted_privacy_policy=True)
        built.join("products-to-products")
        tax = goods.add_tax(built.world, name="GST", rate="10.0")
        goods.add_product(built.world, tax_id=tax, name="Foam roller", item_code="", price="90")
        built.join("invoices-to-orders")
        bills.add_invoice(built.world, [{"price": "100", "rate": 0}], status=77)
        built.sync_all()
        assert len(built.held()) == 3
        yield built


def open_record(olga: Visitor, sentence: str) -> None:
    """From the desk, as people do: the kind of trouble, then the record."""
    olga.goto("/clinic/integrations/delivery/")
    olga.page.click(f".su-kinds a:has-text('{sentence}')")
    olga.settle()
    olga.page.click(".su-list tbody th a")
    olga.settle()


def test_three_records_are_put_right_within_a_minute_each(visit: Visit, people: House, on_stage: Stage) -> None:
    olga = visit()
    olga.sign_in(people.olga)

    began = time.monotonic()
    open_record(olga, "This product has no item code.")
    olga.looks_right("fix-sku")
    olga.page.fill("[name=value]", "FR-45")
    olga.send("button[value=fill]")
    expect(olga.page.get_by_text("goes out with the value you gave")).to_be_visible()
    on_stage.sync_all()
    assert time.monotonic() - began < A_MINUTE_S
    (product,) = on_stage.shop.products.values()
    assert product["variants"][0]["item"]["sku"] == "FR-45"

    began = time.monotonic()
    open_record(olga, "The record holds a value nobody has mapped yet.")
    olga.looks_right("fix-status")
    olga.page.select_option("[name=becomes]", label="Leave unpaid")
    olga.send("button[value=map]")
    expect(olga.page.get_by_text("The line is in the value map")).to_be_visible()
    on_stage.sync_all()
    assert time.monotonic() - began < A_MINUTE_S
    assert len(on_stage.shop.orders) == 1

    began = time.monotonic()
    open_record(olga, "Another customer already uses this e-mail address.")
    olga.looks_right("fix-email")
    olga.send("button[value=without]")
    expect(olga.page.get_by_text("is sent without it")).to_be_visible()
    on_stage.sync_all()
    assert time.monotonic() - began < A_MINUTE_S
    assert on_stage.held() == {}
    assert sorted(customer["email"] or "" for customer in on_stage.customers()) == ["", FAMILY]
    olga.goto("/clinic/integrations/delivery/")
    expect(olga.page.get_by_text("Nobody is waited for")).to_be_visible()


def test_a_record_is_put_right_without_a_mouse(visit: Visit, people: House, on_stage: Stage) -> None:
    olga = visit()
    olga.sign_in(people.olga)
    olga.goto("/clinic/integrations/delivery/")
    olga.page.keyboard.press("j")
    olga.page.keyboard.press("j")
    assert olga.page.evaluate("document.activeElement.closest('tr').rowIndex") == 2
    olga.page.keyboard.press("k")
    with olga.page.expect_navigation():
        olga.page.keyboard.press("Enter")
    olga.settle()
    seen = set()
    while "becomes" not in (
        names := olga.page.evaluate("[...document.querySelectorAll('[name]')].map((one) => one.name)")
    ):
        seen.add(olga.page.url)
        with olga.page.expect_navigation():
            olga.page.keyboard.press("n")
        olga.settle()
        assert olga.page.url not in seen, names
    olga.page.keyboard.press("d")
    assert olga.page.evaluate("document.activeElement.name") == "becomes", "what is empty is asked for first"
    olga.page.keyboard.press("L")
    assert olga.page.input_value("[name=becomes]") == "leave_unpaid"
    olga.page.keyboard.press("Tab")
    with olga.page.expect_navigation():
        olga.page.keyboard.press("Enter")
    olga.settle()
    expect(olga.page.get_by_text("The line is in the value map")).to_be_visible()
    olga.page.keyboard.press("i")
    assert olga.page.evaluate("document.activeElement.name") == "reason"
    olga.page.keyboard.type("dni")
    assert olga.page.input_value("[name=reason]") == "dni", "no key acts while somebody types"


@pytest.mark.parametrize(
    ("width", "dark"), [(1280, True), (PHONE, False), (PHONE, True)], ids=["dark", "phone", "phone-dark"]
)
def test_a_fix_can_be_read_anywhere(visit: Visit, people: House, on_stage: Stage, width: int, dark: bool) -> None:
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    open_record(olga, "The record holds a value nobody has mapped yet.")
    olga.page.click("text=Give it to somebody")
    olga.looks_right("fix-status")
    olga.shot("fix-status-whole", whole=True)


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (PHONE, False)], ids=["dark", "phone"])
def test_many_tried_again_together_show_how_far_they_are(visit: Visit, people: House, width: int, dark: bool) -> None:
    flows = [make_flow(people.harbour), make_flow(people.ridge)]
    for flow in flows:
        hold_many(flow, 160)
    with agency_tx([people.harbour.pk, people.ridge.pk], actor="ana", reason="agency site"):
        series = reruns.begin(Chosen(code="field.conflict"), by="ana@example.test")
        Rerun.objects.filter(series=series, tenant=people.ridge).update(state="stopped", code="match.several")
        (mine,) = Rerun.objects.filter(series=series, tenant=people.harbour)
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    ana.goto("/agency/integrations/delivery/")
    ana.looks_right("desk-agency-rerun")
    ana.page.click("text=See how far >> nth=0")
    ana.settle()
    ana.looks_right("rerun-agency")
    reruns.carry_on(people.harbour.pk, mine.pk)
    ana.goto("/agency/integrations/rerun/")
    ana.looks_right("list-rerun")
