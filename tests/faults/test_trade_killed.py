"""Killed or throttled around orders, refunds and stock writes: nothing is doubled, nothing is lost (C1, V1, V9, I10)."""

import os
import random
from collections.abc import Iterator

import pytest
from django.test import override_settings

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.connectors.cliniko.sandbox_shelves import rows_of
from integrations.connectors.sandbox_kit import Fault, FaultKind
from tenants.models import Agency
from tests.conftest import House
from tests.faults.killing import count_boundaries, killed_at
from tests.faults.theatre import Theatre, lease_s, new_clinic, open_wide, theatre

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
SAMPLE = 5
QUICK = {
    "SUTURE_SETTLE_S": 0.2,
    "SUTURE_LOOK_AFTER_S": 0.1,
    "SUTURE_PARENT_WAIT_S": 0.1,
    "SUTURE_BACKOFF_BASE_S": 0.1,
    "SUTURE_CLAIM_BATCH": 2,
}


@pytest.fixture
def trade(house: House) -> Iterator[Theatre]:
    with override_settings(**QUICK), theatre(house.harbour, mode="off") as built:
        open_trade(built)
        yield built


def scene(trade: Theatre) -> None:
    """Products and their stock are in the shop, and so is one order; now come new bills, a payment, a credit note and an
    adjustment."""
    tax = goods.add_tax(trade.world, name="GST", rate="10.0")
    keys = [
        goods.add_product(
            trade.world, name=f"Roller {n}", item_code=f"R-{n}", price="90", tax_id=tax, stock_level="20.0"
        )
        for n in range(2)
    ]
    old = bills.add_invoice(trade.world, [{"product_id": keys[0], "price": "90", "quantity": 3}], status=20)
    unpaid = bills.add_invoice(trade.world, [{"price": "60", "rate": 0}], status=10)
    trade.sync_all()
    bills.add_invoice(trade.world, [{"product_id": keys[1], "price": "90"}, {"price": "55", "rate": 0}], status=20)
    bills.add_invoice(trade.world, [{"price": "45", "rate": 0}], status=10)
    bills.edit_invoice(trade.world, unpaid, status=20)
    bills.credit(trade.world, old, {next(iter(bills.items_of(trade.world, old))): 1}, status=20)
    goods.adjust(trade.world, keys[1], "-4", "Damaged")
    trade.forward(1)


def check(trade: Theatre) -> None:
    """One order an invoice, one refund for the credit note, levels equal, nothing held, and nothing more to write."""
    assert trade.held() == {}
    rows = rows_of(trade.world, "invoices")
    orders = list(trade.shop.orders.values())
    marks = [str(order["metafields"]["suture.cliniko_invoice_id"]["value"]) for order in orders]
    assert sorted(marks) == sorted(key for key, row in rows.items() if not row.get("original_invoice_id"))
    assert [len(order["refunds"]) for order in orders if order["refunds"]] == [1]
    levels = sorted(int(level["available"]) for level in trade.shop.levels.values() if level["isActive"])
    assert levels == sorted(int(float(str(row["stock_level"]))) for row in rows_of(trade.world, "products").values())
    writes = trade.writes
    trade.sync_all()
    assert trade.writes == writes


def open_trade(trade: Theatre) -> None:
    trade.join("products-to-products")
    trade.join("stock-to-inventory", location=str(next(iter(trade.shop.locations))))
    trade.join("invoices-to-orders")
    open_wide(trade)


def kill_and_recover(trade: Theatre, number: int, boundary: int) -> bool:
    new_clinic(trade, Agency.objects.get(), number)
    open_trade(trade)
    scene(trade)
    trade.hang_up()
    died = killed_at(boundary, lambda: trade.sync_all(max_wait_s=1))
    trade.forward(lease_s() + 1)
    trade.sync_all()
    check(trade)
    return died


def boundaries_of(trade: Theatre) -> list[str]:
    scene(trade)
    trade.hang_up()
    names = count_boundaries(lambda: trade.sync_all(max_wait_s=1))
    check(trade)
    return names


def test_c01_a_trade_killed_at_some_boundaries(trade: Theatre) -> None:
    names = boundaries_of(trade)
    chosen = random.Random(f"trade{os.environ.get('SUTURE_SEED', '')}").sample(range(1, len(names) + 1), SAMPLE)
    for number, boundary in enumerate(chosen, start=1):
        assert kill_and_recover(trade, number, boundary), names[boundary - 1]


@pytest.mark.proof
def test_c01_a_trade_killed_at_every_boundary(trade: Theatre) -> None:
    names = boundaries_of(trade)
    print(f"trade: {len(names)} boundaries")
    for boundary in range(1, len(names) + 1):
        assert kill_and_recover(trade, boundary, boundary), names[boundary - 1]


@pytest.mark.parametrize("mutation", ["orderCreate", "refundCreate", "orderMarkAsPaid", "inventorySetQuantities"])
@pytest.mark.parametrize("kind", [FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER, FaultKind.TRUNCATE])
def test_v09_a_cut_line_around_money_and_stock(trade: Theatre, mutation: str, kind: FaultKind) -> None:
    scene(trade)
    trade.shopify.faults.add(Fault(kind, contains=mutation))
    trade.sync_all()
    check(trade)


@pytest.mark.parametrize("mutation", ["orderCreate", "refundCreate", "inventorySetQuantities"])
def test_v01_throttled_is_no_attempt(trade: Theatre, mutation: str) -> None:
    scene(trade)
    body = '{"data":null,"errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}]}'
    trade.shopify.faults.add(Fault(FaultKind.STATUS, contains=mutation, times=2, status=200, body=body))
    trade.sync_all()
    check(trade)
    assert {delivery.tries for delivery in trade.deliveries()} == {0}
