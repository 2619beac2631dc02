"""Products of the practice system become products of the shop (C13, C21, K13, K14, D "Discontinued")."""

from collections.abc import Iterator

import pytest

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.models import Link
from tenants.walls import tenant_tx
from tests.conftest import House
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

ROLLER = {"name": "Foam roller 45 cm", "item_code": "FR-45", "price": "90", "serial_number": "9300000000017"}


@pytest.fixture
def shelf(house: House) -> Iterator[Stage]:
    with stage(house.harbour, mode="off") as built:
        built.join("products-to-products")
        open_wide(built)
        yield built


def products(shelf: Stage) -> list[dict]:
    return list(shelf.shop.products.values())


def only(shelf: Stage) -> dict:
    (row,) = products(shelf)
    return row


def variant(shelf: Stage) -> dict:
    (row,) = only(shelf)["variants"]
    return row


def add(shelf: Stage, **given: object) -> str:
    tax = goods.add_tax(shelf.world, name="GST", rate="10.0")
    return goods.add_product(shelf.world, tax_id=tax, **ROLLER | given)


def test_a_product_arrives_whole_and_once(shelf: Stage):
    key = add(shelf, cost_price="31.5")
    assert shelf.sync()["created"] == 1
    assert only(shelf)["title"] == "Foam roller 45 cm"
    assert (variant(shelf)["price"], variant(shelf)["barcode"], variant(shelf)["taxable"]) == (
        "90.00",
        "9300000000017",
        True,
    )
    assert variant(shelf)["item"]["sku"] == "FR-45"
    assert variant(shelf)["item"]["cost"] in ("31.5", "31.50")
    assert only(shelf)["status"] == "ACTIVE"
    assert shelf.links() == {key: str(only(shelf)["id"])}
    writes = shelf.writes
    assert shelf.sync()["unchanged"] == 1
    assert shelf.writes == writes


def test_a_changed_price_is_one_write(shelf: Stage):
    key = add(shelf)
    shelf.sync()
    writes = shelf.writes
    goods.edit_product(shelf.world, key, price="95.5")
    assert shelf.sync()["updated"] == 1
    assert variant(shelf)["price"] == "95.50"
    assert shelf.writes == writes + 1


def test_a_product_without_a_code_waits_for_one(shelf: Stage):
    """Ask 13: a blank SKU matches nothing."""
    key = add(shelf, item_code=None)
    shelf.sync()
    assert shelf.held() == {key: "product.sku_missing"}
    goods.edit_product(shelf.world, key, item_code="FR-46")
    shelf.sync()
    assert shelf.held() == {}
    assert variant(shelf)["item"]["sku"] == "FR-46"


def test_two_products_with_one_code_make_one_product_and_one_question(shelf: Stage):
    first, second = add(shelf), add(shelf, name="Another roller")
    shelf.sync()
    assert len(products(shelf)) == 1
    assert set(shelf.held().values()) == {"match.shared_sku"}
    assert len(shelf.links()) == 1
    assert {first, second} == {*shelf.held(), *shelf.links()}


def test_a_product_of_the_shop_with_the_code_is_linked_not_doubled(shelf: Stage):
    other = add(shelf)
    shelf.sync()
    (target,) = shelf.links().values()
    with tenant_tx(shelf.tenant.pk):
        Link.objects.all().delete()
    only(shelf)["metafields"] = {}
    shelf.set_flow()
    shelf.sync()
    assert shelf.links() == {other: target}
    assert [str(row["id"]) for row in products(shelf)] == [target]


@pytest.mark.parametrize(("choice", "status"), [("draft", "DRAFT"), ("archive", "ARCHIVED"), ("ignore", "ACTIVE")])
def test_a_discontinued_product_leaves_sale(shelf: Stage, choice, status):
    key = add(shelf)
    shelf.sync()
    shelf.set_flow(settings={"discontinued": choice})
    goods.archive_product(shelf.world, key)
    shelf.sync()
    assert only(shelf)["status"] == status
    goods.edit_product(shelf.world, key, archived_at=None)
    shelf.sync()
    assert only(shelf)["status"] == "ACTIVE"


def test_many_discontinued_at_once_ask_first(shelf: Stage):
    """Ask 18: 12 of 12 products gone in one pass is more than 5 % and more than 10."""
    keys = [add(shelf, item_code=f"FR-{number}", name=f"Roller {number}") for number in range(12)]
    shelf.sync()
    for key in keys:
        goods.archive_product(shelf.world, key)
    shelf.sync()
    assert set(shelf.held().values()) == {"guard.mass_change"}
    assert {row["status"] for row in products(shelf)} == {"ACTIVE"}


def test_a_new_product_may_begin_as_a_draft_and_is_not_pushed_back_into_one(shelf: Stage):
    key = add(shelf)
    shelf.set_flow(settings={"new_product": "draft"})
    shelf.sync()
    assert only(shelf)["status"] == "DRAFT"
    only(shelf)["status"] = "ACTIVE"
    goods.edit_product(shelf.world, key, name="Foam roller")
    shelf.sync()
    assert (only(shelf)["title"], only(shelf)["status"]) == ("Foam roller", "ACTIVE")


def test_prices_follow_the_shop(shelf: Stage):
    """C13: with tax or without, as the clinic says."""
    add(shelf)
    shelf.set_flow(settings={"price": "without_tax"})
    shelf.sync()
    assert variant(shelf)["price"] == "81.82"
