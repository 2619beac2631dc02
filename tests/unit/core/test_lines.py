"""Lines as values: one spelling for the same goods and money, and the way to JSON and back."""

from decimal import Decimal

from integrations.core.lines import Line
from integrations.core.values import Lines, in_words


def line(total: str, **given: object) -> Line:
    return Line(Decimal(total), **{name: Decimal(str(v)) if name in AMOUNTS else v for name, v in given.items()})


AMOUNTS = {"tax", "rate", "quantity", "discount"}


def test_three_units_split_to_the_cent_are_the_same_as_one_line_of_three():
    whole = (line("100.00", tax="9.09", rate=10, quantity=3, product="7"),)
    split = (
        line("66.66", tax="6.06", rate=10, quantity=2, product="7"),
        line("33.34", tax="3.03", rate=10, quantity=1, product="7"),
    )
    assert Lines.canon(whole) == Lines.canon(split)


def test_the_order_of_lines_and_the_spelling_of_numbers_is_no_difference():
    one, other = line("10", quantity="1.0", product="1"), line("5.00", title="Service")
    assert Lines.canon((one, other)) == Lines.canon((other, line("10.000", quantity=1, product="1")))


def test_another_price_quantity_rate_or_product_is_one():
    base = Lines.canon((line("10", quantity=1, product="1", rate=10, tax="0.91"),))
    for changed in (
        line("10.01", quantity=1, product="1", rate=10, tax="0.91"),
        line("10", quantity=2, product="1", rate=10, tax="0.91"),
        line("10", quantity=1, product="1", rate=0, tax="0.91"),
        line("10", quantity=1, product="2", rate=10, tax="0.91"),
        line("10", quantity=1, product="1", rate=10, tax="0.90"),
    ):
        assert Lines.canon((changed,)) != base


def test_how_many_of_a_service_is_not_compared():
    assert Lines.canon((line("45", title="Service", quantity="1.5"),)) == Lines.canon((line("45", title="Service"),))


def test_lines_survive_json():
    lines = (line("81.8182", tax="7.4380", rate="10.0", quantity="-1.5", product="9", discount="3"), line("0"))
    assert Lines.load(Lines.dump(lines)) == lines


def test_lines_read_as_words():
    lines = (line("90", tax="8.18", rate=10, quantity=2, product="17"), line("45", title="Service"))
    assert in_words(lines) == "2 × product 17: 90.00, of it tax 8.18, Service: 45.00"
