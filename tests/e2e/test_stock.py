"""The practice system's stock becomes the shop's: one master, one location, never a blind overwrite (C13, K03, I10)."""

from collections.abc import Iterator

import pytest
from django.test import override_settings

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.models import Connection
from tenants.walls import tenant_tx
from tests.conftest import House
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.fixture
def shelf(house: House) -> Iterator[Stage]:
    with stage(house.harbour, mode="off") as built:
        built.join("products-to-products")
        built.join("stock-to-inventory", location=_main(built))
        open_wide(built)
        yield built


def _main(shelf: Stage) -> str:
    (number,) = shelf.shop.locations
    return str(number)


def add(shelf: Stage, level: str | None = "12.0", number: int = 1, **given: object) -> str:
    return goods.add_product(
        shelf.world, name=f"Roller {number}", item_code=f"FR-{number}", price="90", stock_level=level, **given
    )


def levels(shelf: Stage) -> dict[str, int]:
    """Available pieces by SKU, of what is stocked."""
    found = {}
    for product in shelf.shop.products.values():
        for variant in product["variants"]:
            for key, level in shelf.shop.levels.items():
                if key.startswith(f"{variant['item']['id']}@") and level["isActive"]:
                    found[str(variant["item"]["sku"])] = int(level["available"])
    return found


def test_levels_arrive_after_their_products(shelf: Stage):
    add(shelf, "12.0", 1)
    add(shelf, "0.0", 2)
    told = shelf.sync_all()
    assert told["stock-to-inventory"]["held"] == 0
    assert levels(shelf) == {"FR-1": 12, "FR-2": 0}
    writes = shelf.writes
    assert shelf.sync_all()["stock-to-inventory"]["unchanged"] == 2
    assert shelf.writes == writes


def test_an_adjustment_in_the_practice_is_seen_though_the_product_did_not_change(shelf: Stage):
    """The contract does not say whether an adjustment touches the product."""
    shelf.world.quirks.adjusting_touches_updated_at = False
    key = add(shelf)
    shelf.sync_all()
    goods.adjust(shelf.world, key, "-2", "Damaged")
    shelf.sync_all()
    assert levels(shelf) == {"FR-1": 10}


def test_an_untracked_product_is_never_written(shelf: Stage):
    """A null level is not zero."""
    add(shelf, None)
    told = shelf.sync_all()
    assert told["stock-to-inventory"]["skipped"] == 1
    assert shelf.deliveries(flow_id=shelf.flow_id) == []


def test_a_level_below_zero_is_shown_as_zero_or_asked_about(shelf: Stage):
    key = add(shelf, "-3.0")
    shelf.sync_all()
    assert levels(shelf) == {"FR-1": 0}
    shelf.set_flow(settings={"negative": "hold", "location": _main(shelf)})
    shelf.sync_all()
    assert shelf.held() == {key: "stock.negative"}


def test_half_a_piece_waits_for_a_person(shelf: Stage):
    key = add(shelf, "2.5")
    shelf.sync_all()
    assert shelf.held() == {key: "stock.fraction"}


def test_stock_of_a_product_that_is_not_in_the_shop_waits_and_follows_by_itself(shelf: Stage):
    key = goods.add_product(shelf.world, name="No code", item_code=None, price="5", stock_level="4.0")
    shelf.sync_all()
    assert {held.code for held in shelf.deliveries(state="held")} == {"product.sku_missing", "parent.missing"}
    goods.edit_product(shelf.world, key, item_code="NC-1")
    shelf.sync_all()
    assert shelf.held() == {}
    assert levels(shelf) == {"NC-1": 4}


def test_a_lost_answer_is_looked_at_and_nothing_is_taken_twice(shelf: Stage):
    add(shelf)
    shelf.sync_all()
    key = next(iter(shelf.links()))
    goods.adjust(shelf.world, key, "-5", "Damaged")
    shelf.shopify.faults.add(Fault(FaultKind.DROP_AFTER, contains="inventorySetQuantities"))
    writes = shelf.writes
    with override_settings(SUTURE_BACKOFF_BASE_S=0.1):
        shelf.sync_all()
    assert levels(shelf) == {"FR-1": 7}
    assert shelf.writes == writes + 1


def test_the_only_location_is_taken_where_nobody_named_one(shelf: Stage):
    add(shelf)
    shelf.set_flow(settings={})
    shelf.sync_all()
    assert set(shelf.held().values()) == {"stock.no_location"}
    with tenant_tx(shelf.tenant.pk):
        Connection.objects.filter(name="shop").update(facts={"location": _main(shelf)})
    shelf.set_flow(settings={})
    shelf.sync_all()
    assert levels(shelf) == {"FR-1": 12}


def test_another_location_gets_the_stock_from_then_on(shelf: Stage):
    """A level is found by where it belongs; the old place is left as it is, for people to count."""
    add(shelf)
    shelf.sync_all()
    other = str(shelf.shop.add_location("Warehouse"))
    shelf.set_flow(settings={"location": other})
    shelf.sync_all()
    assert shelf.held() == {}
    there = {key.partition("@")[2]: int(level["available"]) for key, level in shelf.shop.levels.items()}
    assert there[other] == 12
    writes = shelf.writes
    shelf.sync_all()
    assert shelf.writes == writes
