"""Laws of money: whatever a vendor's decimals are, cents sum to the cent (C07, B5)."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from integrations.core.cents import Balanced, balance, fold_negatives
from integrations.core.lines import Line, tax_of, to_cents, total_of

amounts = st.decimals(min_value=0, max_value=5000, places=4)
rates = st.sampled_from([Decimal(0), Decimal(10), Decimal("12.5"), Decimal(15)])


@st.composite
def invoices(draw: st.DrawFn) -> list[Line]:
    lines = []
    for _ in range(draw(st.integers(1, 12))):
        total, rate = draw(amounts), draw(rates)
        lines.append(Line(total, total * rate / (100 + rate), rate, Decimal(draw(st.integers(1, 9)))))
    return lines


@given(invoices())
def test_lines_sum_to_a_total_that_was_rounded_once(lines: list[Line]) -> None:
    total, tax = to_cents(total_of(lines)), to_cents(tax_of(lines))
    made = balance(lines, total, tax)
    assert isinstance(made, Balanced)
    assert (total_of(made.lines), tax_of(made.lines)) == (total, tax)
    assert all(line.total == to_cents(line.total) and line.tax == to_cents(line.tax) for line in made.lines)


@given(invoices())
def test_no_line_moves_by_more_than_a_cent_or_two(lines: list[Line]) -> None:
    made = balance(lines, None, None)
    assert isinstance(made, Balanced)
    for before, after in zip(lines, made.lines, strict=True):
        assert abs(before.total - after.total) < Decimal("0.02")
        assert (after.total == 0) == (to_cents(before.total) == 0) or abs(after.total) <= Decimal("0.01")


@given(invoices(), st.decimals(min_value=0, max_value=100, places=2))
def test_deductions_keep_the_sums(lines: list[Line], deposit: Decimal) -> None:
    cents = balance([*lines, Line(-deposit)], None, None)
    assert isinstance(cents, Balanced)
    folded = fold_negatives(cents.lines)
    if folded is not None:
        assert total_of(folded) == total_of(cents.lines)
        assert tax_of(folded) == tax_of(cents.lines)
        assert all(line.total >= 0 and line.tax >= 0 for line in folded)


@given(invoices(), st.decimals(min_value=Decimal("-3"), max_value=Decimal("3"), places=2))
def test_a_stated_total_is_met_or_named(lines: list[Line], off: Decimal) -> None:
    stated = to_cents(total_of(lines)) + off
    made = balance(lines, stated, None)
    if isinstance(made, Balanced):
        assert total_of(made.lines) == stated
    else:
        assert made.stated - made.summed == made.by != 0
