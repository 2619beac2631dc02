"""An invoice's lines as an order's line items, to the cent.

A line item is a quantity of one unit price, and a line's total need not divide by its quantity: three for 100.00
become two at 33.33 and one at 33.34. Tax is split along, so that both sums are exact. Pure; amounts are Decimal.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal

from integrations.core.errors import Rejected
from integrations.core.lines import CENT, ZERO, Line, tax_of, to_cents, total_of

TAX_TITLE = "GST"
MOST_UNITS = 2**31 - 1  # quantities are 32-bit numbers


@dataclass(frozen=True, slots=True)
class Part:
    """So many units at one price, tax included; ``tax`` is the part of all of them together that is tax."""

    quantity: int
    price: Decimal
    tax: Decimal


def units_of(line: Line) -> int:
    """How many units a line is. Something that is no product and no whole number of units is one unit at its total.

    Raises Rejected for a product that is no whole number of units.
    """
    is_whole = line.quantity == line.quantity.to_integral_value() and 1 <= line.quantity <= MOST_UNITS
    if is_whole:
        return int(line.quantity)
    if line.product:
        raise Rejected("shopify.quantity_fraction", field="lines")
    return 1


def parts_of(line: Line) -> list[Part]:
    """One part, or two that differ by a cent. Raises Rejected for what cannot stand on an order."""
    total, tax, units = to_cents(line.total), to_cents(line.tax), units_of(line)
    if total < 0 or not 0 <= tax <= total or line.rate < 0 or not (line.product or line.title.strip()):
        raise Rejected("shopify.line_invalid", field="lines")
    base, dearer = divmod(int(total / CENT), units)
    price, cheaper = base * CENT, units - dearer
    if not dearer:
        return [Part(units, price, tax)]
    share = (tax * cheaper * price / total).quantize(CENT, ROUND_HALF_UP)
    return [Part(cheaper, price, share), Part(dearer, price + CENT, tax - share)]


def check_sums(lines: Iterable[Line], total: Decimal | None, tax: Decimal | None) -> None:
    """Raises Rejected unless the lines come to the cent to what the order must come to (None: not wished)."""
    told = tuple(lines)
    taxed = [line for line in told if line.rate > 0]
    lost = total is not None and total_of(map(_in_cents, told)) != to_cents(total)
    untaxed = tax is not None and tax_of(map(_in_cents, taxed)) != to_cents(tax)
    if lost or untaxed or tax_of(taxed) != tax_of(told):
        raise Rejected("shopify.order_total_mismatch", field="total" if lost else "tax")


def _in_cents(line: Line) -> Line:
    return Line(to_cents(line.total), to_cents(line.tax))


def line_items(lines: Iterable[Line], currency: str, variants: Mapping[str, str]) -> list[dict[str, object]]:
    """``lineItems`` of ``orderCreate``. ``variants`` gives the variant's global id for each product number.

    Tax stands on the lines only, and only where there is a rate: on the order as well, it would count twice.
    """
    return [_line_item(line, part, currency, variants) for line in lines for part in parts_of(line)]


def _line_item(line: Line, part: Part, currency: str, variants: Mapping[str, str]) -> dict[str, object]:
    made: dict[str, object] = {"quantity": part.quantity}
    if line.product:
        made["variantId"] = variants[line.product]
    else:
        made |= {"title": line.title.strip(), "requiresShipping": False}
    made |= {"priceSet": money(part.price, currency), "taxable": line.rate > 0}
    if line.rate > 0:
        rate = format((line.rate / 100).normalize(), "f")
        made["taxLines"] = [{"title": TAX_TITLE, "rate": rate, "priceSet": money(part.tax, currency)}]
    return made


def money(amount: Decimal, currency: str) -> dict[str, object]:
    """A ``MoneyBagInput``: text with two decimals."""
    return {"shopMoney": {"amount": str(to_cents(amount)), "currencyCode": currency}}


# -- refunds


@dataclass(frozen=True, slots=True)
class Sold:
    """A line item as the order has it: what is left of it to refund, and what one unit cost, tax included."""

    id: str
    product: str
    title: str
    rate: Decimal
    refundable: int
    price: Decimal

    def is_same(self, line: Line) -> bool:
        """Whether a refund's line speaks of this item."""
        if line.product:
            return self.product == line.product
        return not self.product and self.title.strip() == line.title.strip() and self.rate == line.rate

    def without(self, units: int) -> "Sold":
        """The same once so many more were given back."""
        return replace(self, refundable=self.refundable - units)


def spread(line: Line, sold: Sequence[Sold]) -> dict[str, int] | None:
    """Units to give back by line item, which together cost what the line says to the cent; None if none do."""
    same = sorted((item for item in sold if item.is_same(line) and item.refundable > 0), key=lambda item: item.price)
    try:
        units = units_of(line)
    except Rejected:
        return None
    found = _take(same, units, to_cents(line.total))
    return None if found is None else {item: count for item, count in found.items() if count}


def _take(sold: Sequence[Sold], units: int, total: Decimal) -> dict[str, int] | None:
    """From items in order of price; a branch that can no longer come to the total is not followed."""
    if units == 0:
        return {} if total == ZERO else None
    if not sold or not sold[0].price * units <= total <= sold[-1].price * units:
        return None
    first, rest = sold[0], sold[1:]
    for count in range(min(units, first.refundable), -1, -1):
        found = _take(rest, units - count, total - first.price * count)
        if found is not None:
            return {first.id: count, **found}
    return None
