"""An order as Shopify answered it, read into a Record.

Amounts are in the shop's currency and, for an order whose prices are net, made gross by its own tax lines. Quantities
and prices are those of the sale: what was returned since is told by the refunds. A value that Shopify withheld is
absent, and so are lines of which only the first page is here.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

from integrations.connectors.shopify.decoding import global_id, metafield_values, number_of, tag_values
from integrations.connectors.shopify.operations import Selection
from integrations.core.errors import Rejected
from integrations.core.lines import ZERO, Line, to_cents
from integrations.core.records import Record
from integrations.core.values import Kind, Value, clean_text
from integrations.toolkit import payload

ORDER = "Order"
PAID, UNPAID, REFUNDED = "paid", "unpaid", "refunded"
_RATE_DIGITS = Decimal("0.0001")
_CLAMPED_WITHIN = timedelta(minutes=5)  # of being made: two clocks of one shop

# An open list: what it will hold one day says nothing about payment.
_STATUS: Mapping[str, str] = {
    "PAID": PAID,
    "PARTIALLY_REFUNDED": REFUNDED,
    "REFUNDED": REFUNDED,
    "AUTHORIZED": UNPAID,
    "EXPIRED": UNPAID,
    "PARTIALLY_PAID": UNPAID,
    "PENDING": UNPAID,
    "VOIDED": UNPAID,
}


def _is_settled(wanted: str, current: str) -> bool:
    """An order that was refunded since is neither paid again nor called unpaid."""
    return current in (wanted, REFUNDED)


def _payment_text(raw: object) -> Value:
    return None if raw is None else str(raw)


Payment = Kind("payment", clean_text, lambda value: value, _payment_text, _is_settled, (PAID, UNPAID, REFUNDED))


def gid(kind: str, key: str) -> str:
    """The global id of a key. Raises Rejected for what is no number."""
    try:
        return global_id(kind, key)
    except KeyError:
        raise Rejected("shopify.values_refused", field=kind.lower()) from None


def decode_order(row: payload.Json, selected: Selection, denied: Collection[str] = ()) -> Record:
    """``denied`` are the members of this order that Shopify withheld. Raises VendorChanged for a shape that does not
    fit. ``handles`` hold ``outstanding`` and ``total`` (amounts) and ``terms_id``, each where it was asked for."""
    changed_at = payload.instant(row, "updatedAt")
    values = {
        name: read(row)
        for name, (member, read) in _FIELDS.items()
        if name in selected.fields and member not in denied and _is_told(row, name)
    }
    values |= tag_values(row, selected, denied) | metafield_values(row, selected, denied)
    return Record(
        key=number_of(payload.text(row, "id")),
        version=changed_at.isoformat(),
        values=values,
        changed_at=changed_at,
        created_at=payload.optional_instant(row, "createdAt"),
        handles=_handles(row),
        parents={"customers": str(values["customer"])} if values.get("customer") else {},
    )


def as_dated(wish: Mapping[str, Value], record: Record) -> Record:
    """The order with the date that was wished, where that lies ahead: Shopify takes the moment of making instead, and
    never another, so that the order would differ from its wish for ever."""
    wished, there, made_at = wish.get("processedAt"), record.values.get("processedAt"), record.created_at
    if not isinstance(wished, datetime) or not isinstance(there, datetime) or made_at is None:
        return record
    is_clamped = wished > there and abs(there - made_at) <= _CLAMPED_WITHIN
    return replace(record, values={**record.values, "processedAt": wished}) if is_clamped else record


def _customer(row: payload.Json) -> Value:
    customer = payload.optional_obj(row, "customer")
    return None if customer is None else number_of(payload.text(customer, "id", "customer"))


def _lines(row: payload.Json) -> Value:
    is_gross = payload.flag(row, "taxesIncluded")
    items = payload.items(payload.obj(row, "lineItems"), "nodes", "lineItems")
    return tuple(line_of(item, is_gross=is_gross) for item in items)


def _is_told(row: payload.Json, name: str) -> bool:
    """Whether the answer tells this field. A day to pay by is nothing where nothing was agreed nor is left to pay: it
    could not be written there."""
    if name == "lines":
        return not payload.flag(payload.obj(payload.obj(row, "lineItems"), "pageInfo"), "hasNextPage", "pageInfo")
    if name == "dueOn" and row.get("paymentTerms") is None and row.get("totalOutstandingSet") is not None:
        return amount(row, "totalOutstandingSet") > 0
    return True


def line_of(item: payload.Json, *, is_gross: bool) -> Line:
    """A line item as it was sold. Several taxes on one line are added up."""
    quantity = payload.whole(item, "quantity", "lineItems")
    taken = [amount(one, "allocatedAmountSet") for one in payload.items(item, "discountAllocations", "lineItems")]
    taxes = payload.items(item, "taxLines", "lineItems")
    tax = sum((amount(one, "priceSet") for one in taxes), ZERO)
    discount = sum(taken, ZERO)
    total = amount(item, "originalUnitPriceSet") * quantity - discount + (ZERO if is_gross else tax)
    return Line(total, tax, _rate(taxes), Decimal(quantity), product_of(item), payload.text(item, "title"), discount)


def _rate(taxes: Collection[payload.Json]) -> Decimal:
    """In per cent. Shopify gives a share, as a floating number: rounded to what a rate can mean."""
    rates = (payload.optional_decimal(one, "rate", "taxLines") or ZERO for one in taxes)
    return sum(((rate * 100).quantize(_RATE_DIGITS, ROUND_HALF_UP) for rate in rates), ZERO)


def product_of(item: payload.Json) -> str:
    """The product's number; ``""`` for a service, and for a product that is gone."""
    product = payload.optional_obj(item, "product", "lineItems")
    return "" if product is None else number_of(payload.text(product, "id", "product"))


def refunded_line(item: payload.Json, quantity: int, *, is_gross: bool) -> Line:
    """So many units of a line item, given back: their share of its total and tax."""
    whole = line_of(item, is_gross=is_gross)
    share = Decimal(quantity) / whole.quantity if whole.quantity else ZERO
    return Line(
        to_cents(whole.total * share),
        to_cents(whole.tax * share),
        whole.rate,
        Decimal(quantity),
        whole.product,
        whole.title,
    )


def amount(row: payload.Json, name: str) -> Decimal:
    """An amount in the shop's currency."""
    return payload.decimal(payload.obj(payload.obj(row, name), "shopMoney", name), "amount", name)


def _due_on(row: payload.Json) -> Value:
    terms = payload.optional_obj(row, "paymentTerms")
    return None if terms is None else due_day(terms)


def due_day(terms: payload.Json) -> date | None:
    """The earliest day among the schedules that are not done, else among all. Noon in UTC is when we say."""
    schedules = payload.items(payload.obj(terms, "paymentSchedules", "paymentTerms"), "nodes", "paymentSchedules")
    open_ones = [one for one in schedules if payload.optional_instant(one, "completedAt") is None] or schedules
    due: list[datetime] = [at for one in open_ones if (at := payload.optional_instant(one, "dueAt")) is not None]
    return min(due).date() if due else None


def _handles(row: payload.Json) -> dict[str, str]:
    handles: dict[str, str] = {}
    for name, member in (("outstanding", "totalOutstandingSet"), ("total", "totalPriceSet")):
        if row.get(member) is not None:
            handles[name] = str(amount(row, member))
    terms = payload.optional_obj(row, "paymentTerms")
    if terms is not None:
        handles["terms_id"] = payload.text(terms, "id", "paymentTerms")
    if row.get("cancelledAt") is not None:
        handles["cancelled"] = "yes"
    return handles


# Field -> Shopify's member, and how its value is read.
_FIELDS: Mapping[str, tuple[str, Callable[[payload.Json], Value]]] = {
    "number": ("poNumber", lambda row: payload.optional_text(row, "poNumber")),
    "currency": ("currencyCode", lambda row: payload.optional_text(row, "currencyCode")),
    "note": ("note", lambda row: payload.optional_text(row, "note")),
    "processedAt": ("processedAt", lambda row: payload.instant(row, "processedAt")),
    "customer": ("customer", _customer),
    "lines": ("lineItems", _lines),
    "total": ("totalPriceSet", lambda row: amount(row, "totalPriceSet")),
    "tax": ("totalTaxSet", lambda row: amount(row, "totalTaxSet") if row.get("totalTaxSet") is not None else ZERO),
    "payment": (
        "displayFinancialStatus",
        lambda row: _STATUS.get(payload.optional_text(row, "displayFinancialStatus") or "", ""),
    ),
    "dueOn": ("paymentTerms", _due_on),
    "closed": ("closedAt", lambda row: payload.optional_instant(row, "closedAt") is not None),
    "cancelled": ("cancelledAt", lambda row: payload.optional_instant(row, "cancelledAt") is not None),
}
