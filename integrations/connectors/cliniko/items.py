"""The items of invoices, which Cliniko does not embed, and the lines that are made of them.

Of an item only money, quantity and product are read. Its name, code and concession reveal treatment: they are never
decoded, whatever kind of line it is.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from integrations.connectors.cliniko.lists import Listing, every_page
from integrations.connectors.cliniko.rows import is_gone, linked_key, reference
from integrations.core.errors import Rejected, VendorChanged
from integrations.core.lines import ZERO, Line, total_of
from integrations.toolkit import payload
from integrations.toolkit.http import Client
from integrations.toolkit.payload import Json

ITEMS = Listing("invoice_items")

Items = Mapping[str, Sequence[Json]]

_AT = "invoice_items[]"
_ONE_BY_ONE = "items one by one"  # remembered: this account's filter takes one invoice at a time
_NO_SUCH_FILTER = (400, 414, 422)


def items_of(client: Client, invoices: Sequence[str], *, expected: Collection[str]) -> Items:
    """The live items of each of these invoices, which fit one page.

    They are asked for together. Whether the filter takes a list of invoices is not confirmed: where it is refused, or
    answers for other invoices, or keeps silent about one that is ``expected`` to have items and has some, each invoice
    is asked for alone, for as long as the client lives.
    """
    if not invoices:
        return {}
    if _ONE_BY_ONE not in client.memo:
        found = _together(client, invoices)
        if found is not None and not any(_alone(client, key) for key in expected if not found[key]):
            return found
        client.memo[_ONE_BY_ONE] = True
    return {key: _alone(client, key) for key in invoices}


def _together(client: Client, invoices: Sequence[str]) -> Items | None:
    """The items by invoice, or None if the list of invoices was not understood."""
    found: dict[str, list[Json]] = {key: [] for key in invoices}
    try:
        for page in every_page(client, ITEMS, (("q[]", "invoice_id:=" + ",".join(invoices)),)):
            for item in page:
                key = _invoice_of(item)
                if key not in found:
                    return None
                found[key] += [] if is_gone(item) else [item]
    except (VendorChanged, Rejected) as error:
        if error.facts.get("status") not in _NO_SUCH_FILTER:
            raise
        return None
    return found


def _alone(client: Client, invoice: str) -> list[Json]:
    """Raises VendorChanged if the answer speaks of another invoice: the filter was ignored."""
    found: list[Json] = []
    for page in every_page(client, ITEMS, (("q[]", f"invoice_id:={invoice}"),)):
        if any(_invoice_of(item) not in ("", invoice) for item in page):
            raise VendorChanged("cliniko.items.foreign", invoice=invoice)
        found += [item for item in page if not is_gone(item)]
    return found


def _invoice_of(item: Json) -> str:
    link = item.get("invoice")
    return linked_key(link.get("links")) if isinstance(link, dict) else ""


# -- lines


def line_of(item: Json) -> Line:
    """What one item costs. Raises VendorChanged for an item that does not say.

    The stored total is the truth and nothing is recomputed from unit prices. The tax lies inside the total.
    """
    total, rate = _total(item), _rate(item)
    quantity = payload.optional_decimal(item, "quantity", _AT)
    quantity = Decimal(1) if quantity is None else quantity
    return Line(
        total=total,
        tax=total * rate / (100 + rate) if rate else ZERO,
        rate=rate,
        quantity=quantity,
        product=reference(item, "product") or "",
        discount=_discount(item, total, quantity),
    )


def _total(item: Json) -> Decimal:
    total = payload.optional_decimal(item, "total_including_tax", _AT)
    if total is not None:
        return total
    if payload.optional_decimal(item, "net_price", _AT) or payload.optional_decimal(item, "unit_price", _AT):
        raise payload.wrong(f"{_AT}.total_including_tax", "decimal number", None)
    return ZERO


def _rate(item: Json) -> Decimal:
    """Per cent. ``tax_amount`` is deprecated and, whatever its name says, holds the rate."""
    rate = payload.optional_decimal(item, "tax_rate", _AT)
    if rate is None:
        rate = payload.optional_decimal(item, "tax_amount", _AT)
    if rate is not None and rate < 0:
        raise payload.wrong(f"{_AT}.tax_rate", "rate of zero or more", None)
    return ZERO if rate is None else rate


def _discount(item: Json, total: Decimal, quantity: Decimal) -> Decimal:
    """What was taken off, tax included and with the total's sign; 0 where it cannot be told.

    A share follows from the total. An amount came off the price with tax; whether it is written per piece or for the
    whole line is not stated, so of the two the one nearer to the share is taken.
    """
    percent = payload.optional_decimal(item, "discount_percentage", _AT) or ZERO
    share = total * percent / (100 - percent) if 0 < percent < 100 else ZERO
    amount = payload.optional_decimal(item, "discounted_amount", _AT) or ZERO
    if payload.optional_flag(item, "is_monetary_discount", _AT) is not True or not amount:
        return share
    signed = abs(amount).copy_sign(total if total else quantity)
    return min((signed, signed * abs(quantity)), key=lambda taken: abs(taken - share)) if share else signed


def as_credit(lines: Sequence[Line], total: Decimal | None) -> tuple[Line, ...]:
    """A credit note's lines, with the signs that its total has: where Cliniko puts the minus is not confirmed."""
    sum_of_lines = total_of(lines)
    turned = -1 if total and sum_of_lines * total < 0 else 1
    return tuple(_signed(line, turned) for line in lines)


def _signed(line: Line, turned: int) -> Line:
    total, tax, discount = (amount * turned + ZERO for amount in (line.total, line.tax, line.discount))
    quantity = abs(line.quantity).copy_sign(total) if total else line.quantity
    return replace(line, total=total, tax=tax, discount=discount, quantity=quantity)
