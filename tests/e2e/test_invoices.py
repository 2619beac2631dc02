"""Invoices become orders and credit notes refunds, to the cent, end to end (C07, C18-C20, A47, K42, asks 17-23)."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.test import override_settings

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.connectors.cliniko import sandbox_trade as trade
from integrations.connectors.cliniko.sandbox_world import CANARY
from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.connectors.shopify.sandbox_orders import told
from tests.conftest import House
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
MIA = {"first_name": "Mia", "last_name": "Chen", "email": "mia@example.com"}
KIND = "invoices-to-orders"


@pytest.fixture
def till(house: House) -> Iterator[Stage]:
    with stage(house.harbour) as built, override_settings(SUTURE_PARENT_WAIT_S=0.2, SUTURE_BACKOFF_BASE_S=0.1):
        built.join("products-to-products")
        built.join(KIND)
        open_wide(built)
        yield built


def orders(till: Stage) -> list[dict]:
    return [told(order) for order in till.shop.orders.values()]


def only(till: Stage) -> dict:
    (order,) = orders(till)
    return order


def sent(till: Stage) -> list[str]:
    return [(entry.body or "").replace(" ", "") for entry in till.shopify.journal.entries()]


def mia(till: Stage) -> str:
    return str(till.world.add_patient(**MIA))


def roller(till: Stage, **given: object) -> str:
    tax = goods.add_tax(till.world, name="GST", rate="10.0")
    wish = {"name": "Foam roller", "item_code": "FR-45", "price": "90", "tax_id": tax} | given
    return str(goods.add_product(till.world, **wish))


def bill(till: Stage, *items: dict, **given: object) -> str:
    return str(bills.add_invoice(till.world, list(items), **{"status": 20} | given))


def test_a_paid_invoice_becomes_a_paid_order_of_its_customer(till: Stage):
    patient, product = mia(till), roller(till)
    service = {"name": "Dry needling", "code": "DN-1", "price": "100", "rate": 0, "billable_item_id": "5"}
    bill(till, service, {"product_id": product, "price": "90", "quantity": 2}, patient_id=patient)
    counts = till.sync_all()
    assert counts[KIND]["created"] == 1, till.held()
    order = only(till)
    assert (Decimal(order["total"]), Decimal(order["tax"])) == (Decimal("280.00"), Decimal("16.36"))
    assert order["status"] == "PAID"
    assert str(order["customer"]) == till.links()[patient]
    assert sorted(str(line["title"]) for line in order["lines"]) == ["Foam roller", "Service"]
    assert "needling" not in str(order).lower()
    writes = till.writes
    again = till.sync_all()
    assert (again[KIND]["created"], again[KIND]["updated"]) == (0, 0)
    assert till.writes == writes


def test_nothing_is_taken_from_stock_and_nobody_is_told(till: Stage):
    till.shopify.journal.keep_bodies = True
    product = roller(till, stock_level="40.0")
    bill(till, {"product_id": product, "price": "90"})
    till.sync_all()
    (asked,) = [body for body in sent(till) if "orderCreate" in body]
    assert "inventoryBehaviour:BYPASS" in asked
    assert "sendReceipt:false" in asked


def test_a_token_without_payment_terms_serves_a_clinic_that_sets_none(till: Stage):
    """The scope is one of its own, and reading the member alone would stop every order."""
    till.shop.settings.scopes = [scope for scope in till.shop.settings.scopes if "payment_terms" not in scope]
    key = bill(till, {"price": "100", "rate": 0}, status=10)
    till.sync_all()
    bills.edit_invoice(till.world, key, status=20)
    till.sync_all()
    assert till.held() == {}
    assert only(till)["status"] == "PAID"


def test_a_bill_that_is_paid_later_is_marked_paid(till: Stage):
    key = bill(till, {"price": "100", "rate": 0}, status=10)
    till.sync_all()
    assert only(till)["status"] == "PENDING"
    bills.edit_invoice(till.world, key, status=20)
    assert till.sync_all()[KIND]["updated"] == 1
    assert only(till)["status"] == "PAID"


def test_a_paid_bill_that_is_opened_again_waits_for_a_person(till: Stage):
    key = bill(till, {"price": "100", "rate": 0})
    till.sync_all()
    bills.edit_invoice(till.world, key, status=10)
    till.sync_all()
    assert till.held() == {key: "shopify.order_already_paid"}


def test_lines_changed_after_the_order_wait_with_the_reason(till: Stage):
    key = bill(till, {"price": "100", "rate": 0}, status=10)
    till.sync_all()
    (item,) = bills.items_of(till.world, key)
    bills.edit_item(till.world, item, price="120")
    till.sync_all()
    (held,) = till.deliveries(state="held")
    assert (held.code, held.codes[0]["field"]) == ("field.fixed", "lines, total")
    assert Decimal(only(till)["total"]) == 100


def test_a_credit_note_refunds_its_order_once(till: Stage):
    product = roller(till)
    key = bill(till, {"product_id": product, "price": "90", "quantity": 2}, {"price": "50", "rate": 0})
    till.sync_all()
    bills.credit(till.world, key, status=20)
    counts = till.sync_all()
    assert counts[KIND]["created"] == 1, till.held()
    order = only(till)
    assert len(order["refunds"]) == 1
    assert order["status"] == "REFUNDED"
    till.sync_all()
    assert len(only(till)["refunds"]) == 1


def test_part_of_a_bill_is_refunded_in_part(till: Stage):
    product = roller(till)
    key = bill(till, {"product_id": product, "price": "90", "quantity": 3})
    till.sync_all()
    (item,) = bills.items_of(till.world, key)
    bills.credit(till.world, key, {item: 1}, status=20)
    till.sync_all()
    order = only(till)
    assert order["status"] == "PARTIALLY_REFUNDED", till.held()
    assert [one["amount"] for one in order["transactions"] if one["kind"] == "REFUND"] == ["90.00"]


def test_a_credit_note_waits_for_its_order_and_follows_by_itself(till: Stage):
    key = bill(till, {"price": "50", "rate": 0}, status=25)
    note = bills.credit(till.world, key, status=20)
    till.sync_all()
    assert till.held() == {key: "unmapped_value", note: "parent.missing"}
    bills.edit_invoice(till.world, key, status=20)
    till.sync_all()
    assert till.held() == {}
    assert len(only(till)["refunds"]) == 1


def test_a_bill_of_somebody_who_is_held_waits_and_follows_by_itself(till: Stage):
    patient = str(till.world.add_patient(**MIA | {"email": None}))
    key = bill(till, {"price": "50", "rate": 0}, patient_id=patient)
    till.sync_all()
    assert till.held() == {patient: "record.email_missing", key: "parent.missing"}
    till.world.edit_patient(patient, email="mia@example.com")
    till.sync_all()
    assert till.held() == {}
    assert str(only(till)["customer"]) == till.links()[patient]


@pytest.mark.parametrize("kind", [FaultKind.DROP_AFTER, FaultKind.TRUNCATE, FaultKind.STATUS_AFTER])
def test_v09_a_lost_answer_makes_no_second_order(till: Stage, kind):
    bill(till, {"price": "50", "rate": 0})
    till.shopify.faults.add(Fault(kind, contains="orderCreate", status=502))
    with override_settings(SUTURE_SETTLE_S=0.2, SUTURE_LOOK_AFTER_S=0.1):
        till.sync_all()
    assert len(orders(till)) == 1
    assert till.held() == {}


@pytest.mark.parametrize("kind", [FaultKind.DROP_AFTER, FaultKind.TRUNCATE, FaultKind.STATUS_AFTER])
def test_v09_a_lost_answer_makes_no_second_refund(till: Stage, kind):
    key = bill(till, {"price": "50", "rate": 0})
    till.sync_all()
    bills.credit(till.world, key, status=20)
    till.shopify.faults.add(Fault(kind, contains="refundCreate", status=502))
    with override_settings(SUTURE_SETTLE_S=0.2, SUTURE_LOOK_AFTER_S=0.1):
        till.sync_all()
    assert len(only(till)["refunds"]) == 1
    assert till.held() == {}


def test_an_archived_bill_is_cancelled_only_where_so_set(till: Stage):
    key = bill(till, {"price": "50", "rate": 0}, status=10)
    till.sync_all()
    bills.archive_invoice(till.world, key)
    till.sync_all()
    assert till.held() == {key: "record.archived_ask"}
    till.set_flow(settings={"archived": "cancel"})
    till.sync_all()
    assert only(till)["cancelledAt"] is not None


def test_a_whole_trade_comes_out_to_the_cent_and_says_nothing_of_health(till: Stage):
    """A made-up clinic's 90 days: every order equals its invoice, or waits with a named reason; nothing clinical leaves."""
    till.shopify.journal.keep_bodies = True
    for number in range(12):
        till.world.add_patient(first_name=f"P{number}", last_name="Reid", email=f"p{number}@example.com")
    trade.seed_trade(till.world, invoices=60)
    counts = till.sync_all()
    assert counts[KIND]["read"] == 60
    rows = bills.rows_of(till.world, "invoices")
    links, held = till.links(), till.held()
    by_key = {str(order["id"]): order for order in orders(till)}
    compared = 0
    for key, row in rows.items():
        if row.get("original_invoice_id") or key not in links:
            assert key in links or key in held or row.get("archived_at"), key
            continue
        order = by_key[links[key]]
        assert Decimal(order["total"]) == Decimal(str(row["total_amount"])).quantize(Decimal("0.01")), key
        assert Decimal(order["tax"]) == Decimal(str(row["tax_amount"])).quantize(Decimal("0.01")), key
        compared += 1
    assert compared >= 40
    assert not [body for body in sent(till) if CANARY in body]
    writes = till.writes
    till.sync_all()
    assert till.writes == writes
