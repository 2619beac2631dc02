"""Money to the cent: lines with more decimals become lines in cents that still sum to the total, or the difference is
named.

Vendors keep more decimals than money has and round in ways of their own: per line, per sum, tax apart. ``balance`` makes
lines whose cents sum to the stated total and tax exactly, as long as rounding can explain what is left over. ``explain``
names the policy under which the stated figures come out of the lines (B5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from enum import StrEnum

from integrations.core.lines import CENT, ZERO, Line, tax_of, to_cents, total_of

LEAST_TOLERANCE = Decimal("0.05")  # the rounding line of a practice system's own export to accounting: five cents
PER_LINE = Decimal("0.005")
FIVE_CENTS = Decimal("0.05")


class Off(StrEnum):
    """What does not come out."""

    TOTAL = "total"
    TAX = "tax"


@dataclass(frozen=True, slots=True)
class Difference:
    """``stated`` less what the lines come to, in the record's currency; more than rounding can explain."""

    what: Off
    stated: Decimal
    summed: Decimal

    @property
    def by(self) -> Decimal:
        return self.stated - self.summed


@dataclass(frozen=True, slots=True)
class Balanced:
    """Lines in cents. ``spread`` is what was left over after each line was rounded, and went to lines one cent at a time."""

    lines: tuple[Line, ...]
    spread: Decimal = ZERO


def balance(lines: Sequence[Line], total: Decimal | None, tax: Decimal | None) -> Balanced | Difference:
    """The lines in cents, their sums the stated total and tax; a total or tax of None is not stated.

    Lines of zero stay zero, and only taxed lines take cents of tax.
    """
    total_stated = to_cents(total_of(lines) if total is None else total)
    tax_stated = to_cents(tax_of(lines) if tax is None else tax)
    tolerance = max(LEAST_TOLERANCE, PER_LINE * len(lines))
    for what, stated, summed in ((Off.TOTAL, total_stated, total_of(lines)), (Off.TAX, tax_stated, tax_of(lines))):
        if abs(stated - summed) > tolerance:
            return Difference(what, stated, to_cents(summed))
    totals = _shared_out([line.total for line in lines], total_stated)
    taxes = _shared_out([line.tax if line.rate else ZERO for line in lines], tax_stated)
    if totals is None:
        return Difference(Off.TOTAL, total_stated, to_cents(total_of(lines)))
    if taxes is None:
        return Difference(Off.TAX, tax_stated, to_cents(tax_of(lines)))
    spread = total_stated - sum((to_cents(line.total) for line in lines), ZERO)
    made = (replace(line, total=whole, tax=part) for line, whole, part in zip(lines, totals, taxes, strict=True))
    return Balanced(tuple(made), spread)


def _shared_out(amounts: Sequence[Decimal], stated: Decimal) -> list[Decimal] | None:
    """The amounts in cents with the stated sum: those that rounding moved furthest the other way give or take a cent
    first. None where there is nothing to give it to."""
    cents = [to_cents(amount) for amount in amounts]
    left = int((stated - sum(cents, ZERO)) / CENT)
    step = CENT if left > 0 else -CENT
    takers = [number for number, amount in enumerate(amounts) if amount]
    takers.sort(key=lambda number: ((cents[number] - amounts[number]) * step, -abs(amounts[number]), number))
    if left and not takers:
        return None
    for turn in range(abs(left)):
        cents[takers[turn % len(takers)]] += step
    return cents


def fold_negatives(lines: Sequence[Line]) -> tuple[Line, ...] | None:
    """Lines in cents without any below zero: a deduction (a deposit, a voucher) is taken off the lines of its own rate, in
    proportion, and shows as their discount. None where it cannot be: a product that comes back, or a deduction larger
    than what it is taken from.
    """
    kept = [line for line in lines if line.total >= 0]
    for rate in {line.rate for line in lines if line.total < 0}:
        deductions = [line for line in lines if line.total < 0 and line.rate == rate]
        bearers = [number for number, line in enumerate(kept) if line.rate == rate and line.total > 0]
        off, off_tax = -total_of(deductions), -tax_of(deductions)
        whole = sum((kept[number].total for number in bearers), ZERO)
        if any(line.product for line in deductions) or off > whole:
            return None
        left, left_tax = off, off_tax
        for turn, number in enumerate(bearers):
            line, is_last = kept[number], turn == len(bearers) - 1
            part = left if is_last else min(left, to_cents(off * line.total / whole))
            tax = left_tax if is_last else min(left_tax, to_cents(off_tax * line.total / whole))
            kept[number] = replace(line, total=line.total - part, tax=line.tax - tax, discount=line.discount + part)
            left, left_tax = left - part, left_tax - tax
        if any(kept[number].total < 0 or kept[number].tax < 0 for number in bearers):
            return None
    return tuple(kept)


# -- which policy explains the stated figures


@dataclass(frozen=True, slots=True)
class Policy:
    """A way to come from lines to a total and a tax in money. ``label`` completes "the figures come out if ..."."""

    name: str
    label: str
    total: Callable[[Sequence[Line]], Decimal]
    tax: Callable[[Sequence[Line]], Decimal]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The policy that gives just the stated figures, None if none does; ``total_by`` and ``tax_by`` are what is stated
    less what our own way (each line rounded, halves up) gives."""

    policy: Policy | None
    total_by: Decimal
    tax_by: Decimal


def _round(amount: Decimal, how: str) -> Decimal:
    return amount.quantize(CENT, how)


def _each(how: str) -> tuple[Callable[[Sequence[Line]], Decimal], Callable[[Sequence[Line]], Decimal]]:
    return (
        lambda lines: sum((_round(line.total, how) for line in lines), ZERO),
        lambda lines: sum((_round(line.tax, how) for line in lines), ZERO),
    )


def _once(how: str) -> tuple[Callable[[Sequence[Line]], Decimal], Callable[[Sequence[Line]], Decimal]]:
    return lambda lines: _round(total_of(lines), how), lambda lines: _round(tax_of(lines), how)


def _tax_on_sum(lines: Sequence[Line]) -> Decimal:
    """The tax of each rate taken out of the rounded sum of its lines."""
    rates = {line.rate for line in lines}
    sums = {rate: sum((to_cents(line.total) for line in lines if line.rate == rate), ZERO) for rate in rates}
    return sum((to_cents(amount * rate / (100 + rate)) for rate, amount in sums.items()), ZERO)


def _exclusive(lines: Sequence[Line]) -> Decimal:
    """Each line's net price rounded first, tax put on top of the sum of each rate."""
    rates = {line.rate for line in lines}
    nets = {rate: sum((to_cents(line.total - line.tax) for line in lines if line.rate == rate), ZERO) for rate in rates}
    return sum((to_cents(net * rate / 100) for rate, net in nets.items()), ZERO)


def _cash(lines: Sequence[Line]) -> Decimal:
    return (total_of(lines) / FIVE_CENTS).quantize(Decimal(1), ROUND_HALF_UP) * FIVE_CENTS


POLICIES: tuple[Policy, ...] = (
    Policy("line", "each line is rounded by itself, halves up", *_each(ROUND_HALF_UP)),
    Policy("sum", "only the sum is rounded, halves up", *_once(ROUND_HALF_UP)),
    Policy("tax_on_sum", "tax is taken out of the sum of each rate", _each(ROUND_HALF_UP)[0], _tax_on_sum),
    Policy(
        "exclusive",
        "net prices are rounded first and tax is put on top of their sum",
        lambda lines: sum((to_cents(line.total - line.tax) for line in lines), ZERO) + _exclusive(lines),
        _exclusive,
    ),
    Policy("line_even", "each line is rounded by itself, halves to the even cent", *_each(ROUND_HALF_EVEN)),
    Policy("sum_even", "only the sum is rounded, halves to the even cent", *_once(ROUND_HALF_EVEN)),
    Policy("line_down", "each line is cut off after the cent", *_each(ROUND_DOWN)),
    Policy("sum_down", "only the sum is cut off after the cent", *_once(ROUND_DOWN)),
    Policy("cash", "the total is rounded to five cents, as for cash", _cash, _once(ROUND_HALF_UP)[1]),
)


def explain(lines: Sequence[Line], total: Decimal, tax: Decimal) -> Explanation:
    """Which policy gives the stated figures, the simplest first."""
    stated = (to_cents(total), to_cents(tax))
    found = next((policy for policy in POLICIES if (policy.total(lines), policy.tax(lines)) == stated), None)
    ours = POLICIES[0]
    return Explanation(found, stated[0] - ours.total(lines), stated[1] - ours.tax(lines))
