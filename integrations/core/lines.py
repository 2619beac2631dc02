"""The lines of an invoice, an order or a refund, and sums over them. Amounts are gross: tax included, discount off."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

ZERO = Decimal(0)
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    ``total`` is what the whole line costs and ``tax`` the part of it that is tax, both in the record's currency and with
    as many decimals as the vendor gave; ``rate`` is the tax in per cent, ``discount`` what was taken off, gross.
    ``product`` is the key of the product sold, on the side of the record that holds the line; ``""`` for a service, and
    for a product that is gone. ``title`` is what a line without a product is called: never a service's own name.
    """

    total: Decimal
    tax: Decimal = ZERO
    rate: Decimal = ZERO
    quantity: Decimal = Decimal(1)
    product: str = ""
    title: str = ""
    discount: Decimal = ZERO


def to_cents(amount: Decimal) -> Decimal:
    """The amount with two decimals, halves away from zero."""
    return amount.quantize(CENT, ROUND_HALF_UP)


def total_of(lines: Iterable[Line]) -> Decimal:
    return sum((line.total for line in lines), ZERO)


def tax_of(lines: Iterable[Line]) -> Decimal:
    return sum((line.tax for line in lines), ZERO)


def canonical(lines: Sequence[Line]) -> str:
    """The one spelling of the same goods for the same money, however they are split into lines.

    Lines of one product (or title) at one rate are added up, so that three at 33.33, 33.33 and 33.34 are three for
    100.00. How many of something that is no product is not compared: a target may not know halves of it.
    """
    sums: dict[tuple[str, str, str], list[Decimal]] = {}
    for line in lines:
        is_product = bool(line.product)
        key = ("p" if is_product else "t", line.product or line.title.strip(), _plain(line.rate))
        sums.setdefault(key, [ZERO, ZERO, ZERO])
        for number, amount in enumerate((line.quantity if is_product else ZERO, line.total, line.tax)):
            sums[key][number] += amount
    return "\n".join(
        "\x1f".join((*key, _plain(quantity), str(to_cents(total)), str(to_cents(tax))))
        for key, (quantity, total, tax) in sorted(sums.items())
    )


def in_words(line: Line) -> str:
    """``2 × product 17: 90.00, of it tax 8.18``."""
    what = f"product {line.product}" if line.product else line.title or "service"
    times = "" if line.quantity == 1 else f"{_plain(line.quantity)} × "
    tax = f", of it tax {to_cents(line.tax)}" if line.tax else ""
    return f"{times}{what}: {to_cents(line.total)}{tax}"


def dump(lines: Sequence[Line]) -> list[list[str]]:
    return [
        [*map(str, (line.total, line.tax, line.rate, line.quantity)), line.product, line.title, str(line.discount)]
        for line in lines
    ]


def load(raw: Iterable[Sequence[str]]) -> tuple[Line, ...]:
    """Reads what ``dump`` wrote."""
    return tuple(
        Line(Decimal(total), Decimal(tax), Decimal(rate), Decimal(quantity), product, title, Decimal(discount))
        for total, tax, rate, quantity, product, title, discount in raw
    )


def _plain(number: Decimal) -> str:
    return format(number.normalize() + ZERO, "f")
