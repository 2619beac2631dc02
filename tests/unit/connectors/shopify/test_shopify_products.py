"""Products are found by marker and exact SKU, made whole, and changed step by step without touching what is not ours."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from integrations.connectors.base import Ask, Wanted
from integrations.connectors.shopify.products import PRODUCTS, admin_url, find, read_many, read_page
from integrations.connectors.shopify.sandbox import forget_definitions
from integrations.connectors.shopify.sandbox_call import Refusal
from integrations.connectors.shopify.sandbox_products import add_product, remove_product
from integrations.core.errors import AccountError, Rejected, SyncError, Uncertain, VendorChanged
from integrations.core.records import State
from integrations.core.values import Value
from tests.unit.connectors.shopify.bench import SHOP, Direct
from tests.unit.connectors.shopify.product_bench import (
    FIELDS,
    MARKER,
    SHELF,
    TAPE,
    bring,
    changed,
    made,
    new,
    patch,
    read,
    ready,
    write,
)


def look(client: Direct, *wanted: Wanted) -> dict[str, Any]:
    return dict(find(client, wanted, FIELDS, MARKER))


def code_of(error: SyncError | None) -> str:
    assert isinstance(error, Rejected)
    return error.code


# -- making and changing


def test_a_new_product_is_one_call_with_its_one_variant() -> None:
    client = ready()
    record, steps = bring(client, new())
    assert steps == ["productSet"]
    assert {name: record.values[name] for name in TAPE} == dict(TAPE)
    again = read(client, record.key)
    assert again is not None and dict(again.values) == dict(record.values) and again.handles == record.handles


def test_the_create_is_identified_by_its_marker_and_carries_it_without_a_type() -> None:
    client = ready()
    write(client, new())
    given = client.sent[-1]["variables"]
    own = {"namespace": "suture", "key": "cliniko_product_id", "value": "88"}
    assert given["k0"] == {"customId": own} and given["i0"]["metafields"][0] == own
    assert given["i0"]["metafields"][1]["type"] == "single_line_text_field"
    assert given["i0"]["productOptions"][0]["values"] == [{"name": "Default Title"}]
    [variant] = given["i0"]["variants"]
    assert variant["optionValues"] == [{"optionName": "Title", "name": "Default Title"}]
    assert variant["price"] == "12.50" and variant["inventoryItem"] == {
        "sku": "TAPE-38",
        "tracked": True,
        "cost": "7.25",
    }


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"title": "Tape", SHELF: "B 1"}, ["productUpdate"]),
        ({"status": "ARCHIVED"}, ["productUpdate"]),
        ({"price": Decimal("13.95"), "cost": None}, ["productVariantsBulkUpdate"]),
        ({"sku": "TAPE-39", "barcode": None}, ["productVariantsBulkUpdate"]),
        ({"tracked": False, "taxable": False}, ["productVariantsBulkUpdate"]),
        ({"descriptionHtml": None}, ["productUpdate"]),
        ({SHELF: None}, ["metafieldsDelete"]),
        ({"tag.old": True, "tag.clinic": None}, ["tagsAdd", "tagsRemove"]),
        ({"vendor": "Ridge", "price": Decimal(1), "tag.old": True}, ["productUpdate", "productVariantsBulkUpdate", "tagsAdd"]),
    ],
)  # fmt: skip
def test_each_change_takes_its_own_step_and_no_other(changes: dict[str, Value], steps: list[str]) -> None:
    client = ready()
    record = made(client)
    end, taken = bring(client, changed(record, **changes))
    assert taken == steps
    there = read(client, record.key)
    assert there is not None
    assert {name: there.values[name] for name in changes} == {name: end.values[name] for name in changes}
    assert patch(there, {**TAPE, **changes}) is None


def test_only_what_differs_is_sent() -> None:
    client = ready()
    record = made(client)
    bring(client, changed(record, price=Decimal("13.95")))
    given = client.sent[-1]["variables"]
    assert given["c0"] == f"gid://shopify/Product/{record.key}"
    assert given["i0"] == [{"id": record.handles["variant"], "price": "13.95"}]


def test_what_the_merchant_added_stays() -> None:
    client = ready()
    record = made(client)
    row = client.shop.products[int(record.key)]
    row["tags"] = ["summer", *row["tags"]]
    row["metafields"]["theme.badge"] = {
        "id": 1, "namespace": "theme", "key": "badge", "type": "single_line_text_field", "value": "new",
    }  # fmt: skip
    there = read(client, record.key)
    assert there is not None
    bring(client, changed(there, title="Tape", price=Decimal(9), **{SHELF: "C", "tag.old": True}))
    row = client.shop.products[int(record.key)]
    assert row["tags"] == ["summer", "clinic", "old"] and row["metafields"]["theme.badge"]["value"] == "new"


def test_an_existing_product_is_never_set_whole() -> None:
    client = ready()
    record = made(client)
    _, steps = bring(client, changed(record, **dict.fromkeys(("cost", "barcode", SHELF)), title="Tape"))
    assert "productSet" not in steps


def test_ten_products_go_in_one_request_with_an_outcome_each() -> None:
    client = ready()
    items = [new(str(n), sku=f"T-{n}") for n in range(10)]
    items[3] = new("3", price=Decimal(-1))
    items[5] = new("5", title=None)
    items[7] = new("7", status="GONE")
    before = len(client.sent)
    outcomes = write(client, *items)
    assert len(client.sent) == before + 1
    assert {outcome.ref: code_of(outcome.error) for outcome in outcomes if outcome.error} == {
        "3": "shopify.price_invalid", "5": "shopify.title_invalid", "7": "shopify.product_status_invalid",
    }  # fmt: skip


def test_a_wish_for_no_price_is_refused_before_it_is_sent() -> None:
    client = ready()
    record = made(client)
    sent = len(client.sent)
    [outcome] = write(client, changed(record, price=None))
    assert code_of(outcome.error) == "shopify.price_invalid" and len(client.sent) == sent


# -- several variants


def test_of_a_product_with_several_variants_the_variants_fields_are_absent() -> None:
    client = ready()
    row = add_product(client.shop, title="Sock", variants=[{"sku": "S"}, {"sku": "M"}])
    record = read(client, str(row["id"]))
    assert record is not None and record.values["title"] == "Sock" and record.handles["variants"] == "several"
    assert not {"sku", "barcode", "price", "compareAtPrice", "cost", "taxable", "tracked"} & set(record.values)


def test_a_write_to_a_product_with_several_variants_is_refused_and_touches_nothing() -> None:
    client = ready()
    row = add_product(client.shop, title="Sock", variants=[{"sku": "S"}, {"sku": "M"}])
    record = read(client, str(row["id"]))
    assert record is not None
    sent = len(client.sent)
    [outcome] = write(client, changed(record))
    assert code_of(outcome.error) == "shopify.product_has_variants" and len(client.sent) == sent


# -- finding


def test_one_request_looks_up_markers_and_skus_of_a_batch() -> None:
    client = ready()
    record = made(client)
    found = look(client, Wanted("88", "88", {"sku": "TAPE-38"}), Wanted("89", "89", {"sku": "TAPE-38"}))
    assert sorted(client.roots) == ["productByIdentifier", "productByIdentifier", "productVariants"]
    assert [one.key for one in found["88"].by_marker] == [record.key]
    assert found["89"].by_marker == () and [one.key for one in found["89"].by_key["sku"]] == [record.key]


def test_a_marker_is_found_although_the_search_index_lags() -> None:
    client = ready(search_lag_s=600)
    made(client)
    found = look(client, Wanted("88", "88", {"sku": "TAPE-38"}))["88"]
    assert len(found.by_marker) == 1 and found.by_key == {}


@pytest.mark.parametrize("other", ["tape-38", "TAPE 38", "TAPE-38-RED", "X-TAPE-38"])
def test_an_sku_that_only_looks_alike_is_not_found(other: str) -> None:
    client = ready()
    add_product(client.shop, variants=[{"sku": other}])
    assert look(client, Wanted("88", "88", {"sku": "TAPE-38"}))["88"].by_key == {}
    assert "TAPE-38" in client.sent[-1]["variables"]["q1"]


@pytest.mark.parametrize("sku", ['5" TAPE', "A\\B-1", "A:(1)", "x* y", "-9"])
def test_an_sku_with_signs_of_the_search_language_is_found(sku: str) -> None:
    client = ready()
    row = add_product(client.shop, variants=[{"sku": sku}])
    [found] = look(client, Wanted("88", "", {"sku": sku}))["88"].by_key["sku"]
    assert found.key == str(row["id"])


def test_every_product_with_the_sku_is_a_candidate_also_archived_and_with_several_variants() -> None:
    client = ready()
    rows = [
        add_product(client.shop, variants=[{"sku": "T-1"}]),
        add_product(client.shop, variants=[{"sku": "T-1"}], status="ARCHIVED"),
        add_product(client.shop, variants=[{"sku": "T-1"}, {"sku": "T-2"}]),
    ]
    found = look(client, Wanted("88", "88", {"sku": "T-1"}))["88"].by_key["sku"]
    assert [one.key for one in found] == [str(row["id"]) for row in rows]
    assert {one.values["sku"] for one in found} == {"T-1"}


def test_an_sku_behind_many_that_look_alike_is_still_found() -> None:
    client = ready()
    for number in range(130):
        add_product(client.shop, variants=[{"sku": f"T-1-{number}"}])
    row = add_product(client.shop, variants=[{"sku": "T-1"}])
    [found] = look(client, Wanted("88", "88", {"sku": "T-1"}))["88"].by_key["sku"]
    assert found.key == str(row["id"])


def test_an_sku_without_letters_and_digits_is_not_searched_for() -> None:
    client = ready()
    made(client)
    assert look(client, Wanted("88", "88", {"sku": "*"}))["88"].by_key == {}
    assert client.roots == ["productByIdentifier"]


def test_a_definition_somebody_deleted_is_made_again_for_products() -> None:
    client = ready()
    made(client)
    forget_definitions(client.shop)
    assert look(client, Wanted("88", "88", {}))["88"].by_marker == ()
    assert client.shop.definition("suture", "cliniko_product_id", "Product")
    assert client.shop.definition("suture", "cliniko_product_id") is None


# -- reading


def test_everything_is_read_whatever_its_status() -> None:
    client = ready()
    for status in ("ACTIVE", "DRAFT", "ARCHIVED", "UNLISTED"):
        add_product(client.shop, status=status)
    page = read_page(client, Ask(None, FIELDS), None)
    assert [record.values["status"] for record in page.records] == ["ACTIVE", "DRAFT", "ARCHIVED", "UNLISTED"]
    assert [record.state for record in page.records].count(State.ARCHIVED) == 1


def test_changes_are_those_since_the_watermark() -> None:
    client = ready()
    old = made(client)
    assert old.changed_at is not None
    client.sandbox.clock.advance(3600)
    row = add_product(client.shop, title="Late", status="DRAFT")
    page = read_page(client, Ask(old.changed_at + timedelta(minutes=1), FIELDS), None)
    assert [record.key for record in page.records] == [str(row["id"])]
    query = client.sent[-1]["variables"]["query"]
    assert query.startswith("status:active,draft,archived,unlisted updated_at:>='")


def test_without_the_scope_for_stock_its_fields_are_absent_not_empty() -> None:
    client = ready()
    record = made(client)
    client.sandbox.configure(SHOP, scopes=("write_customers", "write_products"))
    for fields in (FIELDS, frozenset({"cost"})):
        again = read_many(client, [record.key], fields)[record.key]
        assert "cost" not in again.values
    [listed] = read_page(client, Ask(None, FIELDS), None).records
    assert "cost" not in listed.values and listed.values["price"] == Decimal("12.50")
    [found] = look(client, Wanted("88", "88", {}))["88"].by_marker
    assert "cost" not in found.values
    [outcome] = write(client, changed(found, title="Tape"))
    assert outcome.record is not None and "cost" not in outcome.record.values


def test_stock_is_not_asked_for_where_the_token_is_known_not_to_see_it() -> None:
    client = ready()
    client.facts = {"scopes": "read_products,write_products"}
    record = made(client)
    assert not {"cost", "tracked"} & set(record.values)
    assert not [sent for sent in client.sent if "inventoryItem {" in sent["query"]]


def test_a_list_refused_for_its_stock_is_read_without_it() -> None:
    client = ready()
    error = {
        "message": "Access denied for inventoryItem field. Required access: `read_inventory` access scope.",
        "path": ["products", "nodes", 0, "variants", "nodes", 0, "inventoryItem"],
        "extensions": {"code": "ACCESS_DENIED"},
    }
    made(client)
    client.script = [{"data": None, "errors": [error]}]
    [record] = read_page(client, Ask(None, FIELDS), None).records
    assert record.values["sku"] == "TAPE-38" and not {"cost", "tracked"} & set(record.values)


def test_another_refusal_in_a_list_stops_it() -> None:
    client = ready()
    made(client)
    client.sandbox.configure(SHOP, scopes=("write_customers",))
    with pytest.raises(AccountError) as caught:
        read_page(client, Ask(None, FIELDS), None)
    assert caught.value.facts["scopes"] == "read_products"


# -- what goes wrong


def test_a_lost_answer_to_a_create_is_found_again_by_its_marker() -> None:
    client = ready(search_lag_s=600)
    client.lose = Uncertain("http.broken")
    [outcome] = write(client, new())
    assert isinstance(outcome.error, Uncertain)
    assert len(look(client, Wanted("88", "88", {}))["88"].by_marker) == 1


def test_a_product_that_is_gone_is_looked_up_again() -> None:
    client = ready()
    record = made(client)
    remove_product(client.shop, int(record.key))
    assert read(client, record.key) is None
    for changes in ({"title": "Tape"}, {"price": Decimal(1)}, {"tag.old": True}):
        [outcome] = write(client, changed(record, **changes))
        assert code_of(outcome.error) == "shopify.product_gone" and outcome.error and outcome.error.facts["look_again"]


def test_a_marker_somebody_else_carries_is_looked_up_again() -> None:
    client = ready()
    made(client)
    other = made(client, **{MARKER: "89", "sku": "T-2"})
    item = changed(other, **{MARKER: "88", "sku": "T-2"})
    [outcome] = write(client, item)
    assert code_of(outcome.error) == "shopify.product_marker_taken"
    assert outcome.error and outcome.error.facts["look_again"]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ({"code": "PRODUCT_SUSPENDED", "field": ["productId"], "message": "x"}, "shopify.product_suspended"),
        ({"code": "A_NEW_CODE", "field": ["variants", "0"], "message": "x"}, "shopify.product_refused"),
        ({"code": "INVALID_INPUT", "field": ["variants", "0", "inventoryItem", "cost"], "message": "x"}, "shopify.price_invalid"),
        ({"field": ["metafields", "0", "value"], "message": "Value has already been taken"}, "shopify.metafield_taken"),
        ({"field": None, "message": "Product not found"}, "shopify.product_gone"),
    ],
)  # fmt: skip
def test_refusals_have_stable_codes(told: dict[str, Any], code: str) -> None:
    client = ready()
    record = made(client)
    client.sandbox.refuse_next(SHOP, Refusal("productVariantsBulkUpdate", user_error=told))
    [outcome] = write(client, changed(record, price=Decimal(1)))
    assert code_of(outcome.error) == code


def test_the_guess_is_what_shopify_asks_for() -> None:
    client = ready()
    bring(client, changed(made(client), title="Tape", price=Decimal(1), **{"tag.old": True}))
    look(client, Wanted("1", "1", {"sku": "X-1"}), Wanted("2", "2", {"sku": "X-2"}))
    read_page(client, Ask(None, FIELDS), None)
    for asked, operation in zip(client.gate.asked, client.sandbox.operations, strict=True):
        assert operation.requested <= asked <= operation.requested * 2.5 + 5, operation


def test_a_row_that_does_not_fit_is_held_alone() -> None:
    client = ready()
    row: dict[str, Any] = {"updatedAt": "2026-11-01T00:00:00Z", "variants": {"nodes": []}}
    nodes = [{"id": "gid://shopify/Product/7", **row}, {"id": "gid://shopify/Product/8", **row, "variants": None}]
    page_info = {"hasNextPage": False, "endCursor": None}
    client.script = [{"data": {"products": {"nodes": nodes, "pageInfo": page_info}}}]
    page = read_page(client, Ask(None, frozenset()), None)
    assert [record.key for record in page.records] == ["7"] and page.records[0].handles == {"variants": "none"}
    assert [(key, error.code) for key, error in page.broken] == [("8", "record.unreadable")]


def test_an_answer_of_another_shape_stops_the_look_up() -> None:
    client = ready()
    client.script = [{"data": {"m0": None, "m1": None}}]
    with pytest.raises(VendorChanged):
        look(client, Wanted("88", "88", {"sku": "T-1"}))


def test_the_admin_link_of_a_product() -> None:
    assert admin_url({"handle": SHOP}, "7") == f"https://admin.shopify.com/store/{SHOP}/products/7"
    assert admin_url({}, "7") == "" and PRODUCTS.admin_url is admin_url
