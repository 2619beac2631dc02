"""An invoice's lines become line items to the cent, and refunds find their way back to them."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.connectors.shopify.order_lines import Sold, check_sums, line_items, spread
from integrations.core.errors import Rejected
from integrations.core.lines import Line, canonical, tax_of, total_of

CENTS = st.integers(0, 10**7).map(lambda cents: Decimal(cents) / 100)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """Lines as a flow makes them: exact cents, tax only where there is a rate, halves only of services."""
    is_product = draw(st.booleans())
    total, rate = draw(CENTS), draw(st.sampled_from([Decimal(0), Decimal(10), Decimal(15), Decimal("12.5")]))
    tax = draw(st.integers(0, int(total * 100)).map(lambda cents: Decimal(cents) / 100)) if rate else Decimal(0)
    quantity = draw(st.integers(1, 400).map(Decimal)) if is_product else draw(st.sampled_from(QUANTITIES))
    return Line(total, tax, rate, quantity, "55" if is_product else "", "" if is_product else "Services")


QUANTITIES = [Decimal(text) for text in ("0.25", "0.5", "1", "1.5", "3", "7")]


def items(*some: Line) -> list[dict[str, Any]]:
    return line_items(some, "AUD", {"55": "gid://shopify/ProductVariant/1"})


def amount(bag: dict[str, Any]) -> Decimal:
    text = bag["shopMoney"]["amount"]
    assert isinstance(text, str) and len(text.partition(".")[2]) == 2
    return Decimal(text)


def as_read(item: dict[str, Any]) -> Line:
    """A line item as the shop would sell it."""
    taxes = item.get("taxLines", [])
    return Line(
        amount(item["priceSet"]) * item["quantity"], sum((amount(tax["priceSet"]) for tax in taxes), Decimal(0)),
        sum((Decimal(tax["rate"]) * 100 for tax in taxes), Decimal(0)), Decimal(item["quantity"]),
        "55" if "variantId" in item else "", item.get("title", ""),
    )  # fmt: skip


@given(st.lists(lines(), min_size=1, max_size=6))
def test_what_is_sent_comes_to_the_total_and_its_tax_to_the_cent(some: list[Line]) -> None:
    sold = [as_read(item) for item in items(*some)]
    assert total_of(sold) == total_of(some) and tax_of(sold) == tax_of(some)
    assert canonical(sold) == canonical(some)
    assert all(0 <= line.tax <= line.total for line in sold)


@given(lines())
def test_a_line_becomes_two_items_at_most(line: Line) -> None:
    sent = items(line)
    prices = [amount(item["priceSet"]) for item in sent]
    assert len(sent) == 1 or (len(sent) == 2 and prices[1] - prices[0] == Decimal("0.01"))
    assert all(isinstance(item["quantity"], int) and item["quantity"] > 0 for item in sent)


def test_three_for_a_hundred_are_two_at_33_33_and_one_at_33_34() -> None:
    sent = items(Line(Decimal("100.00"), Decimal("9.09"), Decimal(10), Decimal(3), "55"))
    assert [(item["quantity"], amount(item["priceSet"])) for item in sent] == [
        (2, Decimal("33.33")),
        (1, Decimal("33.34")),
    ]
    assert [amount(item["taxLines"][0]["priceSet"]) for item in sent] == [Decimal("6.06"), Decimal("3.03")]


def test_a_service_is_exactly_this() -> None:
    assert items(Line(Decimal("110"), Decimal("10"), Decimal("10"), Decimal("0.5"), title="Services")) == [
        {
            "quantity": 1, "title": "Services", "requiresShipping": False, "taxable": True,
            "priceSet": {"shopMoney": {"amount": "110.00", "currencyCode": "AUD"}},
            "taxLines": [
                {"title": "GST", "rate": "0.1", "priceSet": {"shopMoney": {"amount": "10.00", "currencyCode": "AUD"}}}
            ],
        }
    ]  # fmt: skip


def test_where_there_is_no_rate_there_is_no_tax_line() -> None:
    [item] = items(Line(Decimal("0.00"), title="Services"))
    assert "taxLines" not in item and item["taxable"] is False and amount(item["priceSet"]) == 0


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (Line(Decimal(10), quantity=Decimal("1.5"), product="55"), "shopify.quantity_fraction"),
        (Line(Decimal(10), quantity=Decimal(0), product="55"), "shopify.quantity_fraction"),
        (Line(Decimal(-10), title="Discount"), "shopify.line_invalid"),
        (Line(Decimal(10), Decimal(11), Decimal(10), title="Services"), "shopify.line_invalid"),
        (Line(Decimal(10)), "shopify.line_invalid"),
    ],
)
def test_what_cannot_stand_on_an_order_is_refused(line: Line, code: str) -> None:
    with pytest.raises(Rejected, match=code):
        items(line)


VISIT = Line(Decimal("110.00"), Decimal("10.00"), Decimal(10), title="Services")


@pytest.mark.parametrize(
    ("line", "total", "tax"),
    [
        (VISIT, Decimal("110.01"), None),
        (VISIT, None, Decimal("9.99")),
        (Line(Decimal("110.00"), Decimal("10.00"), title="Services"), None, None),  # tax that no rate explains is lost
    ],
)
def test_lines_that_do_not_come_to_the_total_are_refused(
    line: Line, total: Decimal | None, tax: Decimal | None
) -> None:
    with pytest.raises(Rejected, match=r"shopify\.order_total_mismatch"):
        check_sums([line], total, tax)


def test_lines_that_do_come_to_it_pass() -> None:
    check_sums([VISIT, VISIT], Decimal(220), Decimal(20))
    check_sums([VISIT], None, None)


# -- refunds

THIRDS = (
    Sold("a", "55", "Orthotics", Decimal(10), 2, Decimal("33.33")),
    Sold("b", "55", "Orthotics", Decimal(10), 1, Decimal("33.34")),
    Sold("s", "", "Services", Decimal(10), 1, Decimal("110.00")),
)


@pytest.mark.parametrize(
    ("units", "total", "expected"),
    [
        (1, "33.33", {"a": 1}), (1, "33.34", {"b": 1}), (2, "66.66", {"a": 2}), (2, "66.67", {"a": 1, "b": 1}),
        (3, "100.00", {"a": 2, "b": 1}), (1, "20.00", None), (4, "133.33", None),
    ],
)  # fmt: skip
def test_units_go_back_from_the_items_that_cost_just_that(
    units: int, total: str, expected: dict[str, int] | None
) -> None:
    line = Line(Decimal(total), Decimal(0), Decimal(10), Decimal(units), "55")
    assert spread(line, THIRDS) == expected


def test_a_service_is_known_by_title_and_rate() -> None:
    assert spread(VISIT, THIRDS) == {"s": 1}
    assert spread(Line(Decimal("110.00"), title="Services"), THIRDS) is None
    assert spread(Line(Decimal("110.00"), Decimal("10.00"), Decimal(10), title="Other"), THIRDS) is None


def test_a_product_that_is_gone_is_not_taken_for_a_service() -> None:
    gone = Sold("g", "", "Orthotics", Decimal(10), 1, Decimal("50.00"))
    assert spread(Line(Decimal("50.00"), Decimal(0), Decimal(10), Decimal(1), "55"), (gone,)) is None


@given(lines(), st.data())
def test_whatever_was_sold_can_be_given_back_whole(line: Line, data: st.DataObject) -> None:
    sold = [
        Sold(str(number), item.product, item.title, item.rate, int(item.quantity), item.total / item.quantity)
        for number, item in enumerate(map(as_read, items(line)))
    ]
    order = data.draw(st.permutations(sold))
    assert spread(line, order) == {item.id: item.refundable for item in sold}
