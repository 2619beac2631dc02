"""The sandboxed shop's products and stock answer as the contract says. Asked over HTTP, without our own client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integrations.connectors.sandbox_kit import Server
from integrations.connectors.shopify.sandbox import ShopifyVendor, serve
from integrations.connectors.shopify.sandbox_inventory import stock
from integrations.connectors.shopify.sandbox_products import add_product, variants
from tests.contract.test_shopify_sandbox import SHOP, Told, ask, send

SET = """mutation ($k: ProductSetIdentifiers, $i: ProductSetInput!) {
  productSet(identifier: $k, input: $i, synchronous: true) {
    product { id title status tags metafields(first: 9) { nodes { key value } }
      variants(first: 9) { nodes { id sku price inventoryItem { id tracked unitCost { amount } } } } }
    userErrors { code field message } } }"""
QUANTITIES = """mutation ($i: InventorySetQuantitiesInput!, $k: String!) {
  inventorySetQuantities(input: $i) @idempotent(key: $k) {
    inventoryAdjustmentGroup { id reason changes { name delta quantityAfterChange } } userErrors { code field message } } }"""
ADJUST = """mutation ($i: InventoryAdjustQuantitiesInput!, $k: String!) {
  inventoryAdjustQuantities(input: $i) @idempotent(key: $k) { userErrors { code field message } } }"""
ACTIVATE = """mutation ($i: ID!, $l: ID!, $a: Int, $k: String!) {
  inventoryActivate(inventoryItemId: $i, locationId: $l, available: $a) @idempotent(key: $k) {
    inventoryLevel { id isActive quantities(names: ["available"]) { name quantity } } userErrors { field message } } }"""
LEVEL = """query ($i: ID!, $l: ID!, $all: Boolean) { inventoryItem(id: $i) { tracked
  inventoryLevel(locationId: $l, includeInactive: $all) { isActive quantities(names: ["available"]) { quantity } } } }"""
OPTIONS = {"productOptions": [{"name": "Title", "values": [{"name": "Default Title"}]}]}
CHOICE = {"optionValues": [{"optionName": "Title", "name": "Default Title"}]}


@pytest.fixture
def server() -> Iterator[Server[ShopifyVendor]]:
    with serve() as running:
        running.vendor.configure(SHOP, capacity=1e6, restore_rate=1e6)
        yield running


def define(server: Server[ShopifyVendor]) -> None:
    document = (
        "mutation ($d: MetafieldDefinitionInput!) { metafieldDefinitionCreate(definition: $d)"
        " { createdDefinition { id } userErrors { code message } } }"
    )
    wish = {"name": "Source", "namespace": "suture", "key": "source", "type": "id", "ownerType": "PRODUCT"}
    assert ask(server, document, d=wish).data["metafieldDefinitionCreate"]["userErrors"] == []


def custom(value: str) -> dict[str, str]:
    return {"namespace": "suture", "key": "source", "value": value}


def put(server: Server[ShopifyVendor], value: str = "7", **wish: object) -> Any:
    whole = {"title": "Tape", "metafields": [custom(value)], **wish}
    return ask(server, SET, k={"customId": custom(value)}, i=whole).data["productSet"]


def codes(told: Any) -> list[str]:
    return [error["code"] for error in told["userErrors"]]


def shelf(server: Server[ShopifyVendor], available: int | None = 3, *, active: bool = True) -> tuple[str, str]:
    """The global ids of an item and a location."""
    shop = server.vendor.shop(SHOP)
    item: Any = variants(add_product(shop, variants=[{"inventoryItem": {"tracked": True}}]))[0]["item"]
    location = next(iter(shop.locations))
    if available is not None:
        stock(shop, item["id"], location, available, active=active)
    return f"gid://shopify/InventoryItem/{item['id']}", f"gid://shopify/Location/{location}"


def row(place: tuple[str, str], quantity: int, **more: object) -> dict[str, object]:
    return {"inventoryItemId": place[0], "locationId": place[1], "quantity": quantity, **more}


def quantities(server: Server[ShopifyVendor], *rows: dict[str, object], key: str = "k", **wish: object) -> Told:
    whole = {"name": "available", "reason": "correction", "quantities": list(rows), **wish}
    return ask(server, QUANTITIES, i=whole, k=key)


def available(server: Server[ShopifyVendor], place: tuple[str, str]) -> Any:
    level = ask(server, LEVEL, i=place[0], l=place[1], all=True).data["inventoryItem"]["inventoryLevel"]
    return level and (level["quantities"][0]["quantity"], level["isActive"])


# -- productSet


def test_a_custom_id_makes_one_product_however_often_it_is_set(server: Server[ShopifyVendor]) -> None:
    define(server)
    first = put(server, variants=[{**CHOICE, "price": "9.5", "inventoryItem": {"sku": "T", "cost": "3"}}], **OPTIONS)
    second = put(server, title="Tape 2")
    assert first["product"]["id"] == second["product"]["id"] and second["product"]["title"] == "Tape 2"
    [variant] = second["product"]["variants"]["nodes"]
    assert (variant["sku"], variant["price"]) == ("T", "9.50") and variant["inventoryItem"]["unitCost"] == {
        "amount": "3.00"
    }


def test_lists_replace_and_what_is_left_out_stays(server: Server[ShopifyVendor]) -> None:
    define(server)
    badge = {"namespace": "theme", "key": "badge", "type": "single_line_text_field", "value": "new"}
    put(server, tags=["a", "b"], metafields=[custom("7"), badge], status="DRAFT", variants=[CHOICE], **OPTIONS)
    product = put(server, tags=["c"], metafields=[custom("7")])["product"]
    assert product["tags"] == ["c"] and product["status"] == "DRAFT"
    assert [node["key"] for node in product["metafields"]["nodes"]] == ["source"]
    red = {"optionValues": [{"optionName": "Colour", "name": "Red"}]}
    product = put(server, variants=[red], productOptions=[{"name": "Colour", "values": [{"name": "Red"}]}])["product"]
    assert len(product["variants"]["nodes"]) == 1 and product["tags"] == ["c"]


def test_an_identifying_metafield_must_be_sent_bare(server: Server[ShopifyVendor]) -> None:
    define(server)
    assert codes(put(server, metafields=[{**custom("7"), "type": "id"}])) == ["METAFIELD_MISMATCH"]
    assert codes(put(server, metafields=[custom("8")])) == ["METAFIELD_MISMATCH"]


def test_variants_and_options_come_together(server: Server[ShopifyVendor]) -> None:
    define(server)
    assert codes(put(server, variants=[CHOICE])) == ["PRODUCT_OPTIONS_INPUT_MISSING"]
    assert codes(put(server, **OPTIONS)) == ["VARIANTS_INPUT_MISSING"]


def test_a_custom_id_without_a_definition_is_refused(server: Server[ShopifyVendor]) -> None:
    told = ask(server, SET, k={"customId": custom("7")}, i={"title": "Tape"})
    assert told.data["productSet"] is None and "definition" in told.body["errors"][0]["message"]


def test_a_list_without_a_status_shows_active_ones(server: Server[ShopifyVendor]) -> None:
    shop = server.vendor.shop(SHOP)
    for status in ("ACTIVE", "DRAFT", "ARCHIVED"):
        add_product(shop, status=status)
    query = "query ($q: String) { products(first: 9, query: $q) { nodes { status } } }"
    assert len(ask(server, query).data["products"]["nodes"]) == 1
    assert len(ask(server, query, q="status:active,draft,archived").data["products"]["nodes"]) == 3


def test_an_sku_is_searched_by_words_with_lag_and_may_be_used_twice(server: Server[ShopifyVendor]) -> None:
    shop = server.vendor.shop(SHOP)
    for sku in ("T-1", "t-1", "T-1-RED", "T-2"):
        add_product(shop, variants=[{"sku": sku}])
    query = "query ($q: String) { productVariants(first: 9, query: $q) { nodes { sku product { id } } } }"
    found = ask(server, query, q='sku:"T-1"').data["productVariants"]["nodes"]
    assert [node["sku"] for node in found] == ["T-1", "t-1", "T-1-RED"]
    server.vendor.configure(SHOP, search_lag_s=60)
    add_product(shop, variants=[{"sku": "T-1"}])
    assert len(ask(server, query, q='sku:"T-1"').data["productVariants"]["nodes"]) == 3
    server.clock.advance(61)
    assert len(ask(server, query, q='sku:"T-1"').data["productVariants"]["nodes"]) == 4
    assert ask(server, query, q="skoo:x").body["extensions"]["search"][0]["warnings"]


def test_setting_costs_by_variants_and_metafields(server: Server[ShopifyVendor]) -> None:
    define(server)
    put(server)
    put(
        server,
        "8",
        metafields=[
            custom("8"),
            *({"namespace": "a-b", "key": f"k{n}", "type": "single_line_text_field", "value": "1"} for n in range(10)),
        ],
    )
    first, second = [one.requested for one in server.vendor.operations if "productSet" in one.roots]
    assert second == first + 4


def test_products_need_their_scopes(server: Server[ShopifyVendor]) -> None:
    server.vendor.configure(SHOP, scopes=("read_products",))
    add_product(server.vendor.shop(SHOP), title="Tape", variants=[{"inventoryItem": {"cost": "3"}}])
    query = "{ products(first: 1) { nodes { title variants(first: 1) { nodes { inventoryItem { unitCost { amount } } } } } } }"
    told = ask(server, query)
    assert told.code == "ACCESS_DENIED" and told.data["products"]["nodes"][0]["title"] == "Tape"
    assert ask(server, SET, i={"title": "Tape"}).code == "ACCESS_DENIED"
    assert ask(server, "{ locations(first: 1) { nodes { name } } }").code == "ACCESS_DENIED"


# -- stock


def test_a_stock_write_needs_a_key_and_a_quantity_to_compare_with(server: Server[ShopifyVendor]) -> None:
    place = shelf(server)
    bare = QUANTITIES.replace("@idempotent(key: $k)", "").replace(", $k: String!", "")
    wish = {"name": "available", "reason": "correction", "quantities": [row(place, 5, changeFromQuantity=3)]}
    assert "idempotent" in ask(server, bare, i=wish).body["errors"][0]["message"]
    assert codes(quantities(server, row(place, 5)).data["inventorySetQuantities"]) == ["COMPARE_QUANTITY_REQUIRED"]
    assert available(server, place) == (3, True)


@pytest.mark.parametrize(("known", "left"), [(3, 5), (None, 5), (2, 3)])
def test_compare_and_set(server: Server[ShopifyVendor], known: int | None, left: int) -> None:
    place = shelf(server, 3)
    told = quantities(server, row(place, 5, changeFromQuantity=known)).data["inventorySetQuantities"]
    assert available(server, place) == (left, True)
    assert codes(told) == ([] if left == 5 else ["CHANGE_FROM_QUANTITY_STALE"])
    if left != 5:
        assert told["userErrors"][0]["field"] == ["input", "quantities", "0", "changeFromQuantity"]


@pytest.mark.parametrize("atomic", [True, False])
def test_one_refused_row_stops_all_or_only_itself(server: Server[ShopifyVendor], atomic: bool) -> None:
    server.vendor.configure(SHOP, all_or_nothing=atomic)
    good, bad = shelf(server), shelf(server)
    quantities(server, row(good, 5, changeFromQuantity=3), row(bad, 5, changeFromQuantity=9))
    assert available(server, good) == ((3, True) if atomic else (5, True)) and available(server, bad) == (3, True)


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"name": "committed"}, "INVALID_NAME"),
        ({"reason": "because"}, "INVALID_REASON"),
        ({"referenceDocumentUri": "no uri"}, "INVALID_REFERENCE_DOCUMENT"),
    ],
)
def test_names_reasons_and_documents_are_looked_at(
    server: Server[ShopifyVendor], wish: dict[str, str], code: str
) -> None:
    place = shelf(server)
    told = quantities(server, row(place, 5, changeFromQuantity=3), **wish)
    assert codes(told.data["inventorySetQuantities"]) == [code]


def test_rows_are_looked_at(server: Server[ShopifyVendor]) -> None:
    place = shelf(server)
    other = ("gid://shopify/InventoryItem/1", place[1])
    nowhere = (place[0], "gid://shopify/Location/1")
    for bad, code in (
        (row(other, 5, changeFromQuantity=None), "INVALID_INVENTORY_ITEM"),
        (row(nowhere, 5, changeFromQuantity=None), "INVALID_LOCATION"),
        (row(place, 2_000_000_000, changeFromQuantity=3), "INVALID_QUANTITY_TOO_HIGH"),
    ):
        assert codes(quantities(server, bad, key=code).data["inventorySetQuantities"]) == [code]
    twice = quantities(server, row(place, 5, changeFromQuantity=3), row(place, 6, changeFromQuantity=3), key="twice")
    assert codes(twice.data["inventorySetQuantities"]) == ["NO_DUPLICATE_INVENTORY_ITEM_ID_GROUP_ID_PAIR"]


def test_a_key_works_once_for_a_day(server: Server[ShopifyVendor]) -> None:
    place = shelf(server, 3)
    wish = row(place, 5, changeFromQuantity=3)
    first = quantities(server, wish).data
    assert quantities(server, wish).data == first  # stale by now, were it run again
    other = quantities(server, row(place, 6, changeFromQuantity=5)).data["inventorySetQuantities"]
    assert codes(other) == ["IDEMPOTENCY_KEY_PARAMETER_MISMATCH"] and available(server, place) == (5, True)
    server.clock.advance(24 * 3600 + 1)
    assert codes(quantities(server, row(place, 6, changeFromQuantity=5)).data["inventorySetQuantities"]) == []
    assert available(server, place) == (6, True)


def test_an_inactive_level_takes_a_quantity_and_keeps_it_when_activated(server: Server[ShopifyVendor]) -> None:
    place = shelf(server, 3, active=False)
    assert ask(server, LEVEL, i=place[0], l=place[1]).data["inventoryItem"]["inventoryLevel"] is None
    assert codes(quantities(server, row(place, 8, changeFromQuantity=3)).data["inventorySetQuantities"]) == []
    assert available(server, place) == (8, False)
    told = ask(server, ACTIVATE, i=place[0], l=place[1], k="a").data["inventoryActivate"]
    assert told["inventoryLevel"]["isActive"] and available(server, place) == (8, True)


def test_an_item_never_stocked_is_activated_with_a_quantity(server: Server[ShopifyVendor]) -> None:
    place = shelf(server, None)
    assert available(server, place) is None
    told = ask(server, ACTIVATE, i=place[0], l=place[1], a=4, k="a").data["inventoryActivate"]
    assert told["inventoryLevel"]["quantities"] == [{"name": "available", "quantity": 4}]
    again = ask(server, ACTIVATE, i=place[0], l=place[1], a=5, k="b").data["inventoryActivate"]
    assert again["userErrors"][0]["field"] == ["available"] and available(server, place) == (4, True)


def test_adjusting_adds(server: Server[ShopifyVendor]) -> None:
    place = shelf(server, 3)
    change = {"inventoryItemId": place[0], "locationId": place[1], "delta": -2, "changeFromQuantity": None}
    wish = {"name": "available", "reason": "correction", "changes": [change]}
    assert codes(ask(server, ADJUST, i=wish, k="a").data["inventoryAdjustQuantities"]) == []
    assert available(server, place) == (1, True)


def test_locations_hide_closed_ones_and_other_apps_unless_asked(server: Server[ShopifyVendor]) -> None:
    shop = server.vendor.shop(SHOP)
    shop.add_location("Old", active=False)
    shop.add_location("Depot", service=True)
    query = (
        "query ($all: Boolean) { locations(first: 9, includeInactive: $all, includeLegacy: $all) { nodes { name } } }"
    )
    assert [node["name"] for node in ask(server, query).data["locations"]["nodes"]] == ["Main"]
    assert len(ask(server, query, all=True).data["locations"]["nodes"]) == 3


def test_products_stock_and_keys_outlive_the_server(tmp_path: Path) -> None:
    with serve(state_dir=tmp_path) as server:
        define(server)
        gid = put(server, variants=[{**CHOICE, "sku": "T"}], **OPTIONS)["product"]["id"]
        place = shelf(server, 3)
        first = quantities(server, row(place, 5, changeFromQuantity=3)).data
    with serve(state_dir=tmp_path) as server:
        assert put(server)["product"]["id"] == gid and available(server, place) == (5, True)
        assert quantities(server, row(place, 5, changeFromQuantity=3)).data == first
        assert len(server.vendor.shop(SHOP).locations) == 1


def test_the_merchant_edits_the_catalogue_through_the_admin_paths(server: Server[ShopifyVendor]) -> None:
    at = f"/_sandbox/shops/{SHOP}"
    product = send(server, "POST", f"{at}/products", {"title": "Tape", "variants": [{"sku": "T"}]}).body["product"]
    depot = send(server, "POST", f"{at}/locations", {"name": "Depot"}).body["location"]["id"]
    item = product["variants"][0]["item"]["id"]
    send(server, "POST", f"{at}/stock", {"item": item, "location": depot, "available": 4})
    assert available(server, (f"gid://shopify/InventoryItem/{item}", f"gid://shopify/Location/{depot}")) == (4, True)
    assert [level["available"] for level in send(server, "GET", f"{at}/stock").body["stock"]] == [4]
    assert send(server, "DELETE", f"{at}/products/{product['id']}").status == 200
    assert send(server, "GET", f"{at}/products").body == {"products": []}
    assert send(server, "GET", f"{at}/stock").body == {"stock": []}
    assert len(send(server, "GET", f"{at}/locations").body["locations"]) == 2
