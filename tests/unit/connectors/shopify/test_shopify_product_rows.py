"""Rows that make products in bulk, and what their results mean."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from graphql import NoDeprecatedCustomRule, build_schema, parse, specified_rules, validate

from integrations.connectors.base import BulkResult, WriteItem, Written
from integrations.connectors.shopify.products import PRODUCTS, write_many
from integrations.core.errors import AccountError, Rejected, SyncError, Uncertain
from integrations.core.records import Record
from tests.contract.desk import folder_of
from tests.unit.connectors.shopify.product_bench import FIELDS, MARKER, SHELF, TAPE, new, patch, ready

assert PRODUCTS.bulk is not None
BULK = PRODUCTS.bulk
[SET] = BULK.passes
ANSWERED: dict[str, Any] = {
    "id": "gid://shopify/Product/7", "updatedAt": "2026-11-01T00:00:00Z", "createdAt": "2026-11-01T00:00:00Z",
    "title": "Strapping tape", "status": "ACTIVE", "descriptionHtml": "<p>38 mm</p>", "vendor": "Harbour",
    "productType": "Tape", "tags": ["clinic"], "f0": {"value": "A 3"}, "f1": {"value": "88"},
}  # fmt: skip


def outcome(product: object, *errors: object, **beside: object) -> Written:
    answer = {"data": {"productSet": {"product": product, "userErrors": list(errors)}}, **beside}
    return SET.outcome(new(), BulkResult(0, answer), FIELDS, MARKER)


def code_of(written: Written) -> str:
    assert written.record is None and written.error is not None
    assert "Strapping" not in repr(written.error) + str(written.error.facts)
    return written.error.code


def test_the_document_fits_the_schema_and_holds_no_connection() -> None:
    text = SET.document(FIELDS, MARKER)
    schema = build_schema((folder_of("shopify") / "schema.graphql").read_text("utf-8"))
    assert validate(schema, parse(text), [*specified_rules, NoDeprecatedCustomRule]) == []
    assert "fragment" not in text and "nodes" not in text and text.count("mutation") == 1


def test_a_row_makes_the_product_whole_and_is_known_by_its_marker() -> None:
    row: Any = SET.row(new(), MARKER)
    own = {"namespace": "suture", "key": "cliniko_product_id", "value": "88"}
    assert row["identifier"] == {"customId": own}
    assert row["input"]["metafields"][0] == own, "with a type, Shopify would refuse it"
    assert row["input"]["productOptions"] and len(row["input"]["variants"]) == 1
    [variant] = row["input"]["variants"]
    assert (variant["price"], variant["inventoryItem"]["cost"], variant["inventoryItem"]["sku"]) == (
        "12.50",
        "7.25",
        "TAPE-38",
    )


def test_a_product_that_is_there_or_bears_no_marker_does_not_go_in_bulk() -> None:
    there = replace(new(), current=Record("7", "", {}))
    assert BULK.takes(new(), MARKER)
    for item in (there, new(**{MARKER: None})):
        assert not BULK.takes(item, MARKER) and SET.row(item, MARKER) is None


def test_what_cannot_be_sent_is_refused_before_the_file_is_written() -> None:
    with pytest.raises(Rejected) as caught:
        SET.row(new(status="SLEEPING"), MARKER)
    assert caught.value.code == "shopify.product_status_invalid"


def test_a_row_that_went_well_leaves_nothing_to_write() -> None:
    told = outcome(ANSWERED)
    assert told.error is None and told.record is not None and told.record.key == "7"
    assert (told.record.values["price"], told.record.values["sku"]) == (Decimal("12.50"), "TAPE-38")
    assert told.record.values[SHELF] == "A 3" and patch(told.record, TAPE) is None


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        ((None, {"field": ["input", "title"], "message": "Strapping", "code": "INVALID_PRODUCT"}), Rejected, "shopify.title_invalid"),
        ((None, {"field": ["input", "metafields"], "message": "Strapping", "code": "CAPABILITY_VIOLATION"}), Rejected, "shopify.product_marker_taken"),
        ((None, {"field": ["input", "variants", "0", "price"], "message": "Strapping", "code": "NEGATIVE_PRICE_VALUE"}), Rejected, "shopify.price_invalid"),
        ((None,), Uncertain, "shopify.shape"),
        (({**ANSWERED, "f1": {"value": "89"}},), Uncertain, "shopify.row_mismatch"),
        (({**ANSWERED, "f1": None},), Uncertain, "shopify.row_mismatch"),
    ],
)  # fmt: skip
def test_each_way_to_fail_is_told_apart(answer: tuple[object, ...], kind: type[SyncError], code: str) -> None:
    told = outcome(*answer)
    assert code_of(told) == code and type(told.error) is kind


def test_a_row_without_a_result_is_uncertain_and_a_missing_scope_concerns_the_connection() -> None:
    assert code_of(SET.outcome(new(), BulkResult(0, None), FIELDS, MARKER)) == "shopify.row_lost"
    denied = {"message": "no", "extensions": {"code": "ACCESS_DENIED"}}
    told = SET.outcome(new(), BulkResult(0, {"errors": [denied]}), FIELDS, MARKER)
    assert isinstance(told.error, AccountError) and code_of(told) == "shopify.scope_missing"


def test_a_product_made_in_bulk_is_read_before_its_variant_is_changed() -> None:
    client = ready()
    record = outcome(ANSWERED).record
    item = WriteItem("88", {"price": Decimal("13.00")}, {**TAPE, "price": Decimal("13.00")}, record)
    [told] = write_many(client, [item], FIELDS, MARKER)
    assert isinstance(told.error, Rejected) and told.error.facts["look_again"]
