"""What a product of the practice becomes in the shop, where its tax decides what customers are charged (C13)."""

from decimal import Decimal

import pytest

from integrations.core.records import Record
from integrations.core.rules import Context
from integrations.core.values import Value
from integrations.flows.cliniko_shopify.products import PRODUCTS_TO_PRODUCTS
from integrations.flows.kind import Config, make_plan

ROLLER: dict[str, Value] = {"name": "Foam roller", "item_code": "FR-45", "price_including_tax": Decimal(90)}


@pytest.mark.parametrize(("rate", "taxable"), [(Decimal("10.0"), True), (Decimal(0), False), (None, None)])
def test_a_tax_that_is_not_known_is_not_called_none(rate: Value, taxable: Value) -> None:
    """A product keeps the link to a tax that was deleted: to sell it without tax would cost the clinic a tenth."""
    plan = make_plan(PRODUCTS_TO_PRODUCTS, Config(), Context(), ())
    wish = plan.wish(Record("7", "v1", {**ROLLER, "tax_rate": rate}))
    assert wish.draft is not None
    assert wish.draft.fields["taxable"] is taxable


def test_a_product_without_a_price_waits_instead_of_being_given_away() -> None:
    """A shop makes a product without a price for nothing, and sells it so."""
    wish = make_plan(PRODUCTS_TO_PRODUCTS, Config(), Context(), ()).wish(
        Record("7", "v1", {**ROLLER, "price_including_tax": None})
    )
    assert wish.problems[0][0] == "product.price_missing"


def test_a_price_that_the_shop_keeps_itself_is_not_asked_for() -> None:
    config = Config(removed=frozenset({"price"}))
    wish = make_plan(PRODUCTS_TO_PRODUCTS, config, Context(), ()).wish(
        Record("7", "v1", {"name": "A", "item_code": "B"})
    )
    assert wish.draft is not None
