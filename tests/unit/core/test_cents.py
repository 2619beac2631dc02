"""Cents: what rounding leaves over is spread or named, never lost (C07, ask 23, B5)."""

from decimal import Decimal

import pytest

from integrations.core.cents import POLICIES, Balanced, Difference, Off, balance, explain, fold_negatives
from integrations.core.lines import Line, tax_of, total_of

D = Decimal


def gst(total: str, *, rate: str = "10", product: str = "") -> Line:
    whole = D(total)
    return Line(whole, whole * D(rate) / (100 + D(rate)), D(rate), product=product)


def balanced(*given: object) -> Balanced:
    made = balance(*given)  # type: ignore[arg-type]
    assert isinstance(made, Balanced)
    return made


def test_parts_of_a_cent_go_to_the_lines_that_rounding_took_most_from():
    lines = [gst("33.334"), gst("33.334"), gst("33.334")]
    made = balanced(lines, D("100.00"), D("9.09"))
    assert sorted(line.total for line in made.lines) == [D("33.33"), D("33.33"), D("33.34")]
    assert (total_of(made.lines), tax_of(made.lines)) == (D("100.00"), D("9.09"))
    assert made.spread == D("0.01")


def test_a_total_beyond_rounding_is_a_difference_with_its_amount():
    made = balance([gst("90")], D("91.00"), D("8.18"))
    assert made == Difference(Off.TOTAL, D("91.00"), D("90.00"))
    assert made.by == D("1.00")


def test_a_tax_beyond_rounding_is_a_difference_of_its_own():
    assert balance([gst("90")], D("90"), D("9.00")) == Difference(Off.TAX, D("9.00"), D("8.18"))


def test_tax_cents_go_to_taxed_lines_only():
    free = Line(D("45.00"))
    made = balanced([free, gst("54.995")], D("100.00"), D("5.00"))
    assert made.lines[0].tax == 0
    assert made.lines[1].tax == D("5.00")


def test_what_is_not_stated_is_summed():
    made = balanced([gst("10.004"), gst("10.004")], None, None)
    assert total_of(made.lines) == D("20.01")


def test_tax_on_untaxed_lines_only_is_a_difference():
    assert balance([Line(D("45"))], D("45"), D("0.02")) == Difference(Off.TAX, D("0.02"), D("0.00"))


def test_a_deposit_is_taken_off_the_lines_of_its_rate():
    folded = fold_negatives((Line(D("80"), title="x"), Line(D("20")), Line(D("-50"))))
    assert folded is not None
    assert [line.total for line in folded] == [D("40"), D("10")]
    assert [line.discount for line in folded] == [D("40"), D("10")]


@pytest.mark.parametrize(
    "lines",
    [
        (Line(D("10")), Line(D("-20"))),
        (Line(D("10"), D("0.91"), D("10")), Line(D("-5"))),
        (Line(D("10")), Line(D("-5"), product="1")),
    ],
    ids=["more than there is", "of another rate", "a product that comes back"],
)
def test_a_deduction_that_no_line_can_bear_is_not_hidden(lines):
    assert fold_negatives(lines) is None


# -- the explainer


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_the_policy_that_made_the_figures_explains_them(policy):
    lines = [gst("33.335"), gst("16.675"), gst("8.125"), Line(D("45.015"))]
    found = explain(lines, policy.total(lines), policy.tax(lines)).policy
    assert found is not None
    assert (found.total(lines), found.tax(lines)) == (policy.total(lines), policy.tax(lines))


def test_each_policy_is_told_from_the_others_by_some_invoice():
    """Else the explainer would name the wrong one for want of a difference."""
    told = set()
    invoices = [
        [gst(f"{33 + cents / 1000:.3f}"), gst(f"{7 + cents / 800:.5f}", rate="15"), Line(D(cents) / 8)]
        for cents in range(1, 400)
    ]
    for lines in [*invoices, [Line(D("0.006")), Line(D("0.119"))]]:
        told |= {explain(lines, policy.total(lines), policy.tax(lines)).policy for policy in POLICIES}
    assert told == set(POLICIES)


def test_what_no_policy_explains_is_said_with_its_amount():
    told = explain([gst("90")], D("97.35"), D("8.18"))
    assert told.policy is None
    assert told.total_by == D("7.35")
