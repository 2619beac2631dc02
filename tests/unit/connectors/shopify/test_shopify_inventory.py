"""Stock levels are found by product and location, and set with what was read before, however they were kept."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from integrations.connectors.base import Wanted, WriteItem, Written
from integrations.connectors.shopify.inventory import INVENTORY, find, read_many, write_many
from integrations.connectors.shopify.locations import locations
from integrations.connectors.shopify.once import once_key
from integrations.connectors.shopify.probe import verify
from integrations.connectors.shopify.sandbox_call import Refusal
from integrations.connectors.shopify.sandbox_inventory import item_row, stock
from integrations.connectors.shopify.sandbox_products import add_product, remove_product, variants
from integrations.core import diffing
from integrations.core.errors import AccountError, Rejected, SyncError, Throttled, Unavailable, Uncertain
from integrations.core.records import Record
from integrations.core.values import Value
from tests.unit.connectors.shopify.bench import SHOP, Direct
from tests.unit.connectors.shopify.product_bench import ready

FIELDS = frozenset({"product", "location", "available"})


def place_of(client: Direct) -> int:
    return int(next(iter(client.shop.locations)))


def shelf(
    client: Direct, available: int | None = 3, *, tracked: bool = True, active: bool = True, sku: str = "T"
) -> tuple[str, int]:
    """A product with one variant and so many at the first location (None: never stocked); its number and its item's."""
    row = add_product(client.shop, variants=[{"sku": sku, "inventoryItem": {"tracked": tracked}}])
    item: Any = variants(row)[0]["item"]
    if available is not None:
        stock(client.shop, item["id"], place_of(client), available, active=active)
    return str(row["id"]), item["id"]


def wish(client: Direct, product: str, available: Value = None) -> Mapping[str, Value]:
    return {"product": product, "location": str(place_of(client)), "available": available}


def look(client: Direct, *products: str) -> list[Record | None]:
    wanted = [Wanted(product, "", {}, wish(client, product)) for product in products]
    found = find(client, wanted, FIELDS, "")
    return [next(iter(found[product].by_marker), None) for product in products]


def item(client: Direct, product: str, available: Value, seed: str = "wish-1") -> WriteItem:
    [record] = look(client, product)
    return item_for(client, record, product, available, seed)


def item_for(client: Direct, record: Record | None, product: str, available: Value, seed: str = "wish-1") -> WriteItem:
    wanted = wish(client, product, available)
    patch = diffing.diff(
        wanted, record.values if record else {}, kind_of=INVENTORY.kind_of, digest=lambda *_: "", written={}, policies={}
    )  # fmt: skip
    return WriteItem(product, patch.fields, wanted, record, seed)


def write(client: Direct, *items: WriteItem) -> list[Written]:
    return list(write_many(client, items, FIELDS, ""))


def code_of(error: SyncError | None) -> str:
    assert isinstance(error, Rejected)
    return error.code


def level(client: Direct, number: int) -> Any:
    return client.shop.levels[f"{number}@{place_of(client)}"]


def writes_of(client: Direct, since: int = 0) -> list[str]:
    return [root for operation in client.sandbox.operations[since:] for root in operation.roots if operation.writes]


# -- finding and reading


def test_a_level_is_found_by_its_product_and_location() -> None:
    client = ready()
    product, number = shelf(client, 3)
    [record] = look(client, product)
    assert record is not None and record.key == f"{number}@{place_of(client)}"
    assert record.values == {"product": product, "location": str(place_of(client)), "available": Decimal(3)}
    assert record.handles["active"] == "yes"
    assert read_many(client, [record.key], FIELDS) == {record.key: record}


@pytest.mark.parametrize(
    ("available", "tracked", "active"), [(None, True, True), (4, True, False), (4, False, True)]
)  # fmt: skip
def test_what_is_not_kept_has_no_quantity(available: int | None, tracked: bool, active: bool) -> None:
    client = ready()
    product, _ = shelf(client, available, tracked=tracked, active=active)
    [record] = look(client, product)
    assert record is not None and record.values["available"] is None
    assert record.handles["active"] == ("yes" if available is not None and active else "no")
    assert read_many(client, [record.key], FIELDS) == {record.key: record}


def test_a_product_that_is_gone_or_has_several_variants_has_no_level() -> None:
    client = ready()
    product, _ = shelf(client)
    several = str(add_product(client.shop, variants=[{"sku": "S"}, {"sku": "M"}])["id"])
    remove_product(client.shop, int(product))
    assert look(client, product, several) == [None, None]
    found = find(client, [Wanted("1", "", {}), Wanted("2", "", {}, {"product": "x", "location": "1"})], FIELDS, "")
    assert [answer.by_marker for answer in found.values()] == [(), ()]


def test_a_level_whose_item_is_gone_is_absent() -> None:
    client = ready()
    product, _ = shelf(client)
    [record] = look(client, product)
    remove_product(client.shop, int(product))
    assert record is not None and read_many(client, [record.key], FIELDS) == {}
    with pytest.raises(KeyError):
        read_many(client, ["7"], FIELDS)


def test_a_linked_level_whose_product_got_a_second_variant_is_refused() -> None:
    client = ready()
    product, number = shelf(client)
    row = client.shop.products[int(product)]
    other = variants(add_product(client.shop, variants=[{"sku": "M"}]))[0]
    client.shop.store({**row, "variants": [*row["variants"], other]})
    assert look(client, product) == [None]
    [record] = read_many(client, [f"{number}@{place_of(client)}"], FIELDS).values()
    [outcome] = write(client, item_for(client, record, product, Decimal(9)))
    assert code_of(outcome.error) == "shopify.product_has_variants" and level(client, number)["available"] == 3


def test_many_levels_are_looked_up_below_a_thousand_points() -> None:
    client = ready()
    products = [shelf(client, n, sku=f"T-{n}")[0] for n in range(60)]
    records = look(client, *products)
    assert [record.values["available"] for record in records if record] == [Decimal(n) for n in range(60)]
    keys = [record.key for record in records if record]
    assert list(read_many(client, keys, FIELDS)) == keys
    for asked, operation in zip(client.gate.asked, client.sandbox.operations, strict=True):
        assert operation.requested <= min(asked, 900), operation


# -- setting


def test_a_kept_level_is_one_mutation_that_says_what_was_there() -> None:
    client = ready()
    product, number = shelf(client, 3)
    [outcome] = write(client, item(client, product, Decimal(7)))
    assert outcome.record is not None and outcome.record.values["available"] == Decimal(7)
    assert client.roots == ["inventorySetQuantities"] and level(client, number)["available"] == 7
    sent = client.sent[-1]["variables"]["i0"]
    assert {name: sent[name] for name in ("name", "reason")} == {"name": "available", "reason": "correction"}
    assert sent["referenceDocumentUri"].startswith("gid://suture/")
    assert sent["quantities"] == [
        {
            "inventoryItemId": f"gid://shopify/InventoryItem/{number}",
            "locationId": f"gid://shopify/Location/{place_of(client)}",
            "quantity": 7,
            "changeFromQuantity": 3,
        }
    ]
    assert "@idempotent(key: $k0)" in client.sent[-1]["query"]


@pytest.mark.parametrize(
    ("available", "tracked", "active", "steps"),
    [
        (None, True, True, ["inventoryActivate"]),
        (None, False, True, ["inventoryItemUpdate", "inventoryActivate"]),
        (4, True, False, ["inventoryActivate", "inventorySetQuantities"]),
        (7, True, False, ["inventoryActivate"]),
        (4, False, True, ["inventoryItemUpdate", "inventorySetQuantities"]),
        (7, False, True, ["inventoryItemUpdate"]),
        (4, False, False, ["inventoryItemUpdate", "inventoryActivate", "inventorySetQuantities"]),
    ],
)
def test_an_item_is_tracked_and_stocked_before_its_quantity_counts(
    available: int | None, tracked: bool, active: bool, steps: list[str]
) -> None:
    client = ready()
    product, number = shelf(client, available, tracked=tracked, active=active)
    wished = item(client, product, Decimal(7))
    before = len(client.sandbox.operations)
    [outcome] = write(client, wished)
    assert outcome.error is None and outcome.record is not None, outcome.error
    assert writes_of(client, before) == steps
    kept = level(client, number)
    assert (kept["available"], kept["isActive"]) == (7, True)
    assert (item_row(client.shop, number) or {})["tracked"] is True
    [again] = look(client, product)
    assert again is not None and again.values == outcome.record.values and again.handles == outcome.record.handles


def test_nought_is_a_quantity() -> None:
    client = ready()
    product, number = shelf(client, None)
    [outcome] = write(client, item(client, product, Decimal(0)))
    assert outcome.error is None and level(client, number)["isActive"] and level(client, number)["available"] == 0


def test_the_quantity_to_compare_with_is_null_where_none_is_known() -> None:
    client = ready()
    product, number = shelf(client, 3)
    wished = item(client, product, Decimal(7))
    assert wished.current is not None
    unknown = Record(wished.current.key, "1", wished.current.values, handles={**wished.current.handles, "quantity": ""})
    write(client, WriteItem("1", wished.fields, wished.wanted, unknown, "s"))
    [row] = client.sent[-1]["variables"]["i0"]["quantities"]
    assert row["changeFromQuantity"] is None and level(client, number)["available"] == 7


@pytest.mark.parametrize(
    ("available", "code"),
    [
        (Decimal("2.5"), "shopify.stock_fraction"),
        (Decimal(10**12), "shopify.stock_quantity_invalid"),
        (None, "shopify.stock_quantity_invalid"),
    ],
)
def test_what_is_no_quantity_is_refused_before_it_is_sent(available: Value, code: str) -> None:
    client = ready()
    product, _ = shelf(client, 3)
    [record] = look(client, product)
    wished = WriteItem(product, {"available": available}, wish(client, product, available), record, "s")
    sent = len(client.sent)
    [outcome] = write(client, wished)
    assert code_of(outcome.error) == code and len(client.sent) == sent


def test_whole_numbers_may_be_written_with_a_point() -> None:
    client = ready()
    product, number = shelf(client, 3)
    write(client, item(client, product, Decimal("7.000")))
    assert level(client, number)["available"] == 7


def test_a_wish_without_a_place_is_refused_and_one_without_a_change_writes_nothing() -> None:
    client = ready()
    product, _ = shelf(client, 3)
    gone, same = write(client, WriteItem("9", {"available": Decimal(1)}, {}, None), item(client, product, Decimal(3)))
    assert code_of(gone.error) == "shopify.stock_unplaced"
    assert same.record is not None and writes_of(client) == ["metafieldDefinitionCreate"]


# -- many at once


def test_many_levels_are_set_in_one_mutation() -> None:
    client = ready()
    shelves = [shelf(client, n, sku=f"T-{n}") for n in range(10)]
    items = [item(client, product, Decimal(50), f"wish-{product}") for product, _ in shelves]
    before = len(client.sent)
    outcomes = write(client, *items)
    assert len(client.sent) == before + 1 and all(outcome.record for outcome in outcomes)
    assert {level(client, number)["available"] for _, number in shelves} == {50}


@pytest.mark.parametrize("all_or_nothing", [True, False])
def test_one_stale_row_does_not_stop_the_others_whether_the_shop_is_atomic_or_not(all_or_nothing: bool) -> None:
    client = ready(all_or_nothing=all_or_nothing)
    shelves = [shelf(client, n, sku=f"T-{n}") for n in range(4)]
    items = [item(client, product, Decimal(50), f"wish-{product}") for product, _ in shelves]
    stock(client.shop, shelves[2][1], place_of(client), 9)
    outcomes = write(client, *items)
    assert code_of(outcomes[2].error) == "shopify.stock_changed" and level(client, shelves[2][1])["available"] == 9
    assert [level(client, number)["available"] for _, number in (*shelves[:2], shelves[3])] == [50, 50, 50]
    for n in (0, 1, 3):
        # Where the shop had set it already, our second try at it is stale: it is read again and found as wished.
        error = outcomes[n].error
        assert error is None or (not all_or_nothing and error.facts["look_again"])


def test_v09_a_sale_in_between_is_not_overwritten_but_read_again() -> None:
    client = ready()
    product, number = shelf(client, 3)
    wished = item(client, product, Decimal(7))
    stock(client.shop, number, place_of(client), 2)
    [outcome] = write(client, wished)
    assert code_of(outcome.error) == "shopify.stock_changed" and outcome.error and outcome.error.facts["look_again"]
    assert level(client, number)["available"] == 2
    [outcome] = write(client, item(client, product, Decimal(7)))
    assert outcome.record is not None and level(client, number)["available"] == 7


# -- once


def keys_of(client: Direct) -> list[str]:
    return [sent["variables"]["k0"] for sent in client.sent if "k0" in sent["variables"]]


def test_the_same_attempt_has_the_same_key_and_another_payload_another() -> None:
    client = ready()
    product, _ = shelf(client, 3)
    wished = item(client, product, Decimal(7))
    client.lose = Uncertain("http.broken")
    [lost] = write(client, wished)
    assert isinstance(lost.error, Uncertain)
    write(client, wished)
    stock(client.shop, int(str(wished.current and wished.current.key).split("@")[0]), place_of(client), 5)
    write(client, item(client, product, Decimal(7)))
    first, second, third = keys_of(client)
    assert first == second != third


def test_a_repeated_attempt_changes_nothing_twice() -> None:
    client = ready()
    product, number = shelf(client, 3)
    wished = item(client, product, Decimal(7))
    write(client, wished)
    stock(client.shop, number, place_of(client), 3)  # sold meanwhile
    [outcome] = write(client, wished)
    assert outcome.error is None and level(client, number)["available"] == 3


def test_keys_are_made_of_the_wish_and_of_what_is_sent() -> None:
    assert once_key("a", {"x": 1}) == once_key("a", {"x": 1})
    assert (
        len({once_key("a", {"x": 1}), once_key("b", {"x": 1}), once_key("a", {"x": 2}), once_key("a", {"x": 1}, 1)})
        == 4
    )


def test_an_attempt_that_is_still_running_is_asked_for_again_later() -> None:
    client = ready()
    product, number = shelf(client, 3)
    told = {"code": "IDEMPOTENCY_CONCURRENT_REQUEST", "field": None, "message": "busy"}
    client.sandbox.refuse_next(SHOP, Refusal("inventorySetQuantities", user_error=told))
    [outcome] = write(client, item(client, product, Decimal(7)))
    assert isinstance(outcome.error, Unavailable) and outcome.error.code == "shopify.request_running"
    assert len(keys_of(client)) == 1 and level(client, number)["available"] == 3


@pytest.mark.parametrize("code", ["IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED", "IDEMPOTENCY_KEY_PARAMETER_MISMATCH"])
def test_a_spent_key_is_changed_for_another(code: str) -> None:
    client = ready()
    product, number = shelf(client, 3)
    told = {"code": code, "field": None, "message": "failed before"}
    client.sandbox.refuse_next(SHOP, Refusal("inventorySetQuantities", user_error=told))
    [outcome] = write(client, item(client, product, Decimal(7)))
    assert outcome.error is None and level(client, number)["available"] == 7
    assert len(set(keys_of(client))) == 2
    client.sandbox.refuse_next(SHOP, Refusal("inventorySetQuantities", user_error=told, times=9))
    [outcome] = write(client, item(client, product, Decimal(8)))
    assert code_of(outcome.error) == "shopify.request_key_spent" and outcome.error and outcome.error.facts["look_again"]


def test_a_word_about_the_key_beside_the_data_means_the_same() -> None:
    client = ready()
    product, _ = shelf(client, None)
    client.sandbox.refuse_next(SHOP, Refusal("inventoryActivate", code="IDEMPOTENCY_CONCURRENT_REQUEST"))
    [outcome] = write(client, item(client, product, Decimal(7)))
    assert isinstance(outcome.error, Unavailable)


# -- what goes wrong


@pytest.mark.parametrize(
    ("mutation", "told", "code"),
    [
        ("inventorySetQuantities", {"code": "INVALID_INVENTORY_ITEM", "message": "x"}, "shopify.stock_item_gone"),
        ("inventorySetQuantities", {"code": "INVALID_LOCATION", "message": "x"}, "shopify.stock_location_gone"),
        ("inventorySetQuantities", {"code": "INVALID_QUANTITY_TOO_LOW", "message": "x"}, "shopify.stock_quantity_invalid"),
        ("inventorySetQuantities", {"code": "NON_MUTABLE_INVENTORY_ITEM", "message": "x"}, "shopify.stock_refused"),
        ("inventoryActivate", {"field": ["locationId"], "message": "x"}, "shopify.stock_location_gone"),
        ("inventoryActivate", {"field": ["inventoryItemId"], "message": "couldn't be found"}, "shopify.stock_item_gone"),
        ("inventoryActivate", {"field": ["available"], "message": "already active at the location"}, "shopify.stock_changed"),
        ("inventoryActivate", {"field": ["available"], "message": "x"}, "shopify.stock_refused"),
    ],
)  # fmt: skip
def test_refusals_have_stable_codes(mutation: str, told: dict[str, Any], code: str) -> None:
    client = ready()
    product, _ = shelf(client, 3 if mutation.endswith("Quantities") else None)
    client.sandbox.refuse_next(SHOP, Refusal(mutation, user_error={"field": None, **told}))
    [outcome] = write(client, item(client, product, Decimal(7)))
    assert code_of(outcome.error) == code


def test_a_location_that_was_closed_is_named() -> None:
    client = ready()
    product, _ = shelf(client, None)
    client.shop.locations[place_of(client)]["isActive"] = False
    [outcome] = write(client, item(client, product, Decimal(7)))
    assert code_of(outcome.error) == "shopify.stock_location_gone"


def test_an_activation_that_did_not_activate_is_no_success() -> None:
    client = ready()
    product, number = shelf(client, 4, active=False)
    wished = item(client, product, Decimal(7))
    quantities = [{"name": "available", "quantity": 4}]
    answered = {
        "id": "gid://shopify/InventoryLevel/1",
        "isActive": False,
        "updatedAt": "2026-11-01T00:00:00Z",
        "quantities": quantities,
    }
    client.script = [{"data": {"m0": {"inventoryLevel": answered, "userErrors": []}}}]
    [outcome] = write(client, wished)
    assert code_of(outcome.error) == "shopify.stock_not_kept" and level(client, number)["available"] == 4


def test_a_missing_scope_stops_the_connection_when_nothing_was_written() -> None:
    client = ready()
    product, _ = shelf(client, 3)
    wished = item(client, product, Decimal(7))
    client.sandbox.configure(SHOP, scopes=("write_products", "read_inventory"))
    with pytest.raises(AccountError) as caught:
        write(client, wished)
    assert caught.value.facts["scopes"] == "write_inventory"


def test_being_throttled_after_a_first_step_is_the_outcome_of_those_it_hit() -> None:
    client = ready()
    one, number = shelf(client, None, sku="A")
    two, _ = shelf(client, 3, sku="B")
    items = [item(client, one, Decimal(7)), item(client, two, Decimal(8))]
    throttled = {"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]}
    level_row = {"id": "gid://shopify/InventoryLevel/1", "isActive": True, "updatedAt": "2026-11-01T00:00:00Z"}
    activated = {
        "inventoryLevel": {**level_row, "quantities": [{"name": "available", "quantity": 7}]},
        "userErrors": [],
    }
    client.script = [{"data": {"m0": activated}}, throttled]
    first, second = write(client, *items)
    assert first.record is not None and isinstance(second.error, Throttled) and number


# -- locations


def test_locations_tell_what_is_open_and_whose_it_is() -> None:
    client = ready()
    client.shop.add_location("Old", active=False)
    client.shop.add_location("Depot", service=True)
    told = {place.name: (place.is_active, place.is_fulfillment_service) for place in locations(client)}
    assert told == {"Main": (True, False), "Old": (False, False), "Depot": (True, True)}
    assert {place.number for place in locations(client)} == {str(key) for key in client.shop.locations}


def test_the_only_location_is_a_fact_and_of_several_none_is() -> None:
    client = ready()
    client.shop.add_location("Depot", service=True)
    client.shop.add_location("Old", active=False)
    facts = verify(client).facts
    assert facts["locations"] == "1" and facts["location"] == str(place_of(client))
    client.shop.add_location("Second")
    facts = verify(client).facts
    assert facts["locations"] == "2" and "location" not in facts


def test_without_its_scopes_a_flow_is_named_and_the_connection_works() -> None:
    client = Direct()
    client.sandbox.configure(SHOP, scopes=("write_customers",))
    probe = verify(client)
    told = [sentence for word, sentence in probe.findings if word == "warning"]
    assert probe.works and "location" not in probe.facts
    named = (("products", "write_products"), ("stock", "read_locations"), ("orders", "write_orders"))
    named = (*named, ("orders", "read_products"))
    for flows, scope in (*named, ("sales", "read_orders")):
        assert [sentence for sentence in told if f"Flows of {flows}" in sentence and scope in sentence]


def test_a_token_that_loses_sight_of_old_orders_is_told_of() -> None:
    """Sixty days after they were made they would be gone without a word."""
    client = Direct()
    client.sandbox.configure(SHOP, scopes=("write_customers", "write_orders"))
    probe = verify(client)
    assert [word for word, sentence in probe.findings if "read_all_orders" in sentence] == ["warning"]


def test_locations_that_cannot_be_read_are_told_in_words() -> None:
    client = ready()
    client.sandbox.refuse_next(SHOP, Refusal("locations", code="ACCESS_DENIED", message="Access denied."))
    probe = verify(client)
    assert probe.works and any("locations could not be read" in sentence for _, sentence in probe.findings)
