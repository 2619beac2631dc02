"""What the shop sells leaves the practice's stock, once, and what comes back returns to it (C13, K03, V9)."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.test import override_settings

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.connectors.cliniko.sandbox_shelves import row_of, rows_of
from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.connectors.shopify import sandbox_refunds
from integrations.connectors.shopify.sandbox_call import gid
from integrations.connectors.shopify.sandbox_orders import MUTATIONS, edit
from integrations.connectors.shopify.sandbox_products import add_product
from tests.conftest import House
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
KIND = "shop-sales-to-stock-adjustments"


@pytest.fixture
def till(house: House) -> Iterator[Stage]:
    """A practice whose products are in the shop, and whose sales flow is live."""
    with stage(house.harbour, mode="off") as built, override_settings(SUTURE_PARENT_WAIT_S=0.1):
        built.join("products-to-products")
        built.join(KIND, start="activation")
        open_wide(built)
        yield built


def stocked(till: Stage, level: str | None = "10.0", number: int = 1) -> str:
    """A product of the practice that is in the shop."""
    given = {"name": f"Roller {number}", "item_code": f"FR-{number}", "price": "90", "stock_level": level}
    key = str(goods.add_product(till.world, **given))
    till.sync_all()
    return key


def shown(till: Stage, key: str) -> Any:
    """The practice's product as the shop has it."""
    return till.shop.products[int(till.links()[key])]


def sell(till: Stage, product: Any, quantity: int = 1, **given: object) -> Any:
    """An order of the shop's own."""
    (variant,) = product["variants"]
    line = {"variantId": gid("ProductVariant", variant["id"]), "quantity": quantity, "taxable": True}
    wish = {"order": {"lineItems": [{**line, "requiresShipping": True}], **given}}
    told = MUTATIONS["orderCreate"](till.shop, wish)
    assert not told["userErrors"]
    return told["order"]


def take_back(till: Stage, order: Any, quantity: int, restock: str) -> None:
    row = {"lineItemId": gid("LineItem", order["lines"][0]["id"]), "quantity": quantity, "restockType": restock}
    wish = {"input": {"orderId": gid("Order", order["id"]), "refundLineItems": [row]}}
    assert not sandbox_refunds.create(till.shop, wish)["userErrors"]


def level(till: Stage, key: str) -> Decimal:
    return Decimal(str(row_of(till.world, "products", key)["stock_level"]))


def adjustments(till: Stage) -> list[dict[str, Any]]:
    return list(rows_of(till.world, "stock_adjustments").values())


def posts(till: Stage) -> int:
    return len(till.cliniko.journal.entries(method="POST", path="/v1/stock_adjustments"))


def test_a_sale_leaves_the_practices_stock_once(till: Stage):
    key = stocked(till)
    order = sell(till, shown(till, key), 3)
    assert till.sync_all()[KIND]["created"] == 1, till.held()
    (made,) = adjustments(till)
    assert (level(till, key), made["adjustment_type"]) == (Decimal(7), "Item Sold")
    assert made["notes"] == f"Suture {order['id']}-{order['lines'][0]['id']}"
    edit(till.shop, order["id"], {"note": "Gift"})
    till.sync_all()
    till.set_flow()
    till.sync_all()
    assert (level(till, key), posts(till)) == (Decimal(7), 1)


def test_a_sale_costs_two_requests(till: Stage):
    """Cliniko counts 200 a minute: what the README says of a sale is so."""
    key = stocked(till)
    sell(till, shown(till, key))
    before = len(till.cliniko.journal.entries(path="/v1/stock_adjustments"))
    till.sync_all()
    assert level(till, key) == 9
    assert len(till.cliniko.journal.entries(path="/v1/stock_adjustments")) == before + 2


@pytest.mark.parametrize("restock", ["RETURN", "CANCEL"])
def test_what_comes_back_to_the_shelf_returns_to_the_practice(till: Stage, restock: str):
    key = stocked(till)
    order = sell(till, shown(till, key), 3)
    till.sync_all()
    take_back(till, order, 2, restock)
    till.sync_all()
    assert (level(till, key), till.held()) == (Decimal(9), {})
    assert [made["adjustment_type"] for made in adjustments(till)] == ["Item Sold", "Returned"]


def test_what_is_refunded_and_not_restocked_stays_sold(till: Stage):
    key = stocked(till)
    take_back(till, sell(till, shown(till, key), 3), 2, "NO_RESTOCK")
    till.sync_all()
    assert (level(till, key), posts(till)) == (Decimal(7), 1)


def test_an_order_made_from_an_invoice_moves_nothing(till: Stage):
    """The invoice moved the stock: not even without the marker, which a merchant may delete, is it moved again."""
    till.join("invoices-to-orders", missing_customer="drop")
    key = stocked(till)
    bills.add_invoice(till.world, [{"product_id": key, "price": "90"}], status=20)
    till.sync_all()
    (order,) = till.shop.orders.values()
    till.sync_all()
    edit(till.shop, order["id"], {"metafields": {}, "note": "changed"})
    told = till.sync_all()
    assert (told[KIND]["read"], posts(till)) == (0, 0)


def test_a_test_order_moves_nothing(till: Stage):
    key = stocked(till)
    sell(till, shown(till, key), test=True)
    till.sync_all()
    assert (level(till, key), posts(till)) == (Decimal(10), 0)


@pytest.mark.parametrize(("choice", "held"), [("skip", set()), ("hold", {"parent.missing"})])
def test_a_product_of_the_shops_own_is_left_out_or_asked_about(till: Stage, choice: str, held: set[str]):
    stocked(till)
    till.set_flow(settings={"unknown_product": choice})
    sell(till, add_product(till.shop, title="Gift card"))
    till.sync_all()
    assert (set(till.held().values()), posts(till)) == (held, 0)


def test_a_sale_of_what_the_practice_does_not_count_waits_with_its_words(till: Stage):
    key = stocked(till, None)
    order = sell(till, shown(till, key))
    till.sync_all()
    assert till.held() == {f"{order['id']}-{order['lines'][0]['id']}": "cliniko.values.rejected"}
    (held,) = till.deliveries(state="held")
    assert held.codes[0]["field"] == "product"
    assert adjustments(till) == []


def test_orders_older_than_the_flow_are_left_out_and_what_comes_back_of_them_is_not(till: Stage):
    key = stocked(till)
    order = edit(till.shop, sell(till, shown(till, key), 3)["id"], {"createdAt": "2020-01-01T00:00:00Z"})
    till.sync_all()
    assert (level(till, key), posts(till)) == (Decimal(10), 0)
    take_back(till, order, 1, "RETURN")
    till.sync_all()
    assert (level(till, key), posts(till)) == (Decimal(11), 1)


def test_a_line_whose_quantity_the_merchant_changes_waits_for_a_person(till: Stage):
    """An adjustment is final: a second one for the difference is a person's to make."""
    key = stocked(till)
    order = sell(till, shown(till, key), 3)
    till.sync_all()
    (line,) = order["lines"]
    edit(till.shop, order["id"], {"lines": [{**line, "quantity": 5}]})
    till.sync_all()
    (held,) = till.deliveries(state="held")
    assert (held.code, held.codes[0]["field"]) == ("field.fixed", "quantity")
    assert (level(till, key), posts(till)) == (Decimal(7), 1)


@pytest.mark.parametrize("kind", [FaultKind.DROP_AFTER, FaultKind.TRUNCATE, FaultKind.STATUS_AFTER])
def test_v09_a_lost_answer_makes_no_second_adjustment(till: Stage, kind: FaultKind):
    key = stocked(till)
    sell(till, shown(till, key), 2)
    till.cliniko.faults.add(Fault(kind, method="POST", path="/v1/stock_adjustments", status=502))
    with override_settings(SUTURE_SETTLE_S=0.2, SUTURE_LOOK_AFTER_S=0.1, SUTURE_BACKOFF_BASE_S=0.1):
        till.sync_all()
    assert (level(till, key), len(adjustments(till)), posts(till), till.held()) == (Decimal(8), 1, 1, {})


def test_several_lines_and_products_of_an_order_move_each_their_own(till: Stage):
    first, second = stocked(till), stocked(till, "4.0", 2)
    order = sell(till, shown(till, first), 2)
    other = sell(till, shown(till, second), 1)
    edit(till.shop, order["id"], {"lines": [*order["lines"], *other["lines"]]})
    till.shop.drop("Order", other["id"])
    till.sync_all()
    assert (level(till, first), level(till, second)) == (Decimal(8), Decimal(3))
