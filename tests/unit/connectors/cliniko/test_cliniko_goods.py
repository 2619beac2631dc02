"""How passes over products and stock levels behave, and that what is archived or untracked is never read as zero."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as invoices
from integrations.connectors.cliniko.sandbox import ClinikoVendor
from integrations.connectors.cliniko.sandbox_shelves import set_raw
from integrations.connectors.cliniko.sandbox_world import ClinikoWorld
from integrations.connectors.sandbox_kit import Server
from integrations.core.records import State
from integrations.toolkit.http import HttpClient
from tests.unit.connectors.cliniko.bench import CLINIKO, one, pages_of, records_of

PRODUCTS, STOCK = CLINIKO.stream("products"), CLINIKO.stream("stock")
LONG_AGO = "2025-01-01T00:00:00Z"


def _since(world: ClinikoWorld) -> datetime:
    return datetime.fromtimestamp(world.clock.now(), UTC) - timedelta(minutes=5)


# -- products


def test_taxes_are_read_once_a_client(server: Server[ClinikoVendor], client: HttpClient, world: ClinikoWorld) -> None:
    gst = goods.add_tax(world, name="GST", rate="10.0")
    for number in range(150):
        goods.add_product(world, name=f"Tape {number}", price="11", tax_id=gst)
    found = records_of(client, PRODUCTS)
    assert {(record.values["tax_rate"], record.values["tax_name"]) for record in found.values()} == {
        (Decimal("10.0"), "GST")
    }
    assert len(server.journal.entries(path="/v1/taxes")) == 1


def test_a_tax_that_was_added_since_is_found(client: HttpClient, world: ClinikoWorld) -> None:
    old = goods.add_product(world, price="11", tax_id=goods.add_tax(world, name="GST", rate="10.0"))
    assert one(client, PRODUCTS, old).values["tax_rate"] == 10
    new = goods.add_product(world, price="11", tax_id=goods.add_tax(world, name="GST new", rate="12.5"))
    assert one(client, PRODUCTS, new).values["tax_rate"] == Decimal("12.5")


def test_no_tax_is_zero_and_asks_for_none(
    server: Server[ClinikoVendor], client: HttpClient, world: ClinikoWorld
) -> None:
    key = goods.add_product(world, price="11")
    values = one(client, PRODUCTS, key).values
    assert (values["tax_rate"], values["tax_name"], values["price_ex_tax"]) == (0, None, 11)
    assert server.journal.entries(path="/v1/taxes") == []


def test_a_product_that_is_no_longer_sold_is_archived_never_absent(client: HttpClient, world: ClinikoWorld) -> None:
    key = goods.add_product(world, created_at=LONG_AGO)
    since = _since(world)
    assert records_of(client, PRODUCTS, since) == {}
    goods.archive_product(world, key)
    assert records_of(client, PRODUCTS, since)[key].state is State.ARCHIVED
    assert records_of(client, PRODUCTS)[key].state is State.ARCHIVED


def test_codes_may_be_missing_or_shared(client: HttpClient, world: ClinikoWorld) -> None:
    for code in (None, "", "FR", "FR"):
        goods.add_product(world, item_code=code)
    codes = [record.values["item_code"] for record in records_of(client, PRODUCTS).values()]
    assert codes == [None, None, "FR", "FR"]


def test_one_unreadable_product_is_named_and_the_page_goes_on(client: HttpClient, world: ClinikoWorld) -> None:
    bad, good = goods.add_product(world, price="11"), goods.add_product(world, price="12")
    set_raw(world, "products", bad, price_including_tax="eleven")
    [page] = pages_of(client, PRODUCTS)
    assert [record.key for record in page.records] == [good]
    assert [(key, error.code) for key, error in page.broken] == [(bad, "record.unreadable")]
    assert "eleven" not in str(page.broken)


def test_older_answers_read_alike(client: HttpClient, world: ClinikoWorld) -> None:
    key = goods.add_product(world, price="11", stock_level="4.0", tax_id=goods.add_tax(world, name="GST", rate="10.0"))
    now = one(client, PRODUCTS, key)
    world.set_quirks(ids_as_numbers=True, empty_as_text=True)
    set_raw(world, "products", key, stock_level=4, price_including_tax=11)
    with_numbers = one(client, PRODUCTS, key)
    assert with_numbers.values == now.values and with_numbers.key == key and with_numbers.state is State.LIVE


# -- stock levels


@pytest.mark.parametrize("touches", [False, True])
def test_a_sale_is_noticed_whether_it_touches_the_product_or_not(
    client: HttpClient, world: ClinikoWorld, touches: bool
) -> None:
    world.set_quirks(adjusting_touches_updated_at=touches)
    key = goods.add_product(world, stock_level="5.0", created_at=LONG_AGO)
    goods.add_product(world, stock_level="5.0", created_at=LONG_AGO)
    before = one(client, STOCK, key)
    since = _since(world)
    assert records_of(client, STOCK, since) == {}
    invoices.add_invoice(world, [{"product_id": key, "quantity": 2}])
    found = records_of(client, STOCK, since)
    assert list(found) == [key]
    assert found[key].values == {"product": key, "level": Decimal("3.0")}
    assert found[key].version != before.version


def test_the_watermark_moves_past_sales_that_touch_no_product(client: HttpClient, world: ClinikoWorld) -> None:
    """Else each pass would read all sales since the newest edit of a product again."""
    key = goods.add_product(world, stock_level="5.0", created_at=LONG_AGO)
    since = _since(world)
    goods.adjust(world, key, -1, "Damaged")
    pages = pages_of(client, STOCK, since)
    assert pages[0].vendor_now is not None and pages[0].vendor_now >= since
    [record] = [record for page in pages for record in page.records]
    assert record.changed_at is not None and record.changed_at >= since


def test_what_changed_itself_is_not_read_twice(
    server: Server[ClinikoVendor], client: HttpClient, world: ClinikoWorld
) -> None:
    key = goods.add_product(world, stock_level="5.0", created_at=LONG_AGO)
    since = _since(world)
    goods.edit_product(world, key, name="Foam roller 60 cm")
    goods.adjust(world, key, 3, "Stock Purchase")
    read = [record.key for page in pages_of(client, STOCK, since) for record in page.records]
    assert read == [key]


def test_250_sales_of_130_products_are_all_found(client: HttpClient, world: ClinikoWorld) -> None:
    keys = [goods.add_product(world, stock_level="9.0", created_at=LONG_AGO) for _ in range(130)]
    since = _since(world)
    for number in range(250):
        goods.adjust(world, keys[number % 130], -1, "Item Sold")
    found = records_of(client, STOCK, since)
    assert {key: found[key].values["level"] for key in keys} == {
        key: Decimal(7 if number < 120 else 8) for number, key in enumerate(keys)
    }


def test_no_level_is_not_zero(client: HttpClient, world: ClinikoWorld) -> None:
    untracked, empty = (goods.add_product(world, stock_level=level) for level in (None, "0.0"))
    found = records_of(client, STOCK)
    assert found[untracked].values["level"] is None and found[empty].values["level"] == 0
    assert found[untracked].version != found[empty].version


def test_an_archived_products_level_is_archived(client: HttpClient, world: ClinikoWorld) -> None:
    key = goods.add_product(world, stock_level="5.0", created_at=LONG_AGO)
    since = _since(world)
    goods.archive_product(world, key)
    assert records_of(client, STOCK, since)[key].state is State.ARCHIVED
