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
