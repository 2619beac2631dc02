"""Invoices and credit notes of a sandboxed Cliniko. The API reads them only; staff make and change them.

Whether a change to an item touches its invoice is not stated: here it does not.
"""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal

from integrations.connectors.cliniko.sandbox_goods import adjust
from integrations.connectors.cliniko.sandbox_lists import Row
from integrations.connectors.cliniko.sandbox_shelves import (
    Shelf,
    archive,
    change,
    home_of,
    put,
    row_of,
    rows_of,
)
from integrations.connectors.cliniko.sandbox_world import Account, ClinikoWorld

INVOICES = Shelf(
    "invoices",
    {
        "appointment_id": "number", "archived_at": "date-time", "attendee_id": "number", "business_id": "number",
        "closed_at": "date-time", "created_at": "date-time", "deleted_at": "date-time", "id": "number",
        "issue_date": "date", "number": "number", "original_invoice_id": "number", "patient_id": "number",
        "practitioner_id": "number", "status": "number", "updated_at": "date-time",
    },
    (
        "number", "issue_date", "status", "status_description", "net_amount", "tax_amount", "total_amount",
        "discounted_amount", "calculation_method", "calculation_method_description", "closed_at", "invoice_to", "notes",
        "patient_extra_information", "online_payment_url",
    ),
    {
        "patient": "patients", "business": "businesses", "practitioner": "practitioners",
        "appointment": "appointments", "attendee": "attendees", "original_invoice": "invoices",
    },
    {
        "invoice_items": ("invoice_items", "invoice_id"),
        "reversed_invoices": ("invoices", "original_invoice_id"),
    },
)  # fmt: skip
ITEMS = Shelf(
    "invoice_items",
    {
        "archived_at": "date-time", "created_at": "date-time", "deleted_at": "date-time", "id": "number",
        "invoice_id": "number", "source_item_id": "number", "updated_at": "date-time",
    },
    (
        "name", "code", "quantity", "unit_price", "net_price", "tax_name", "tax_rate", "tax_amount",
        "total_including_tax", "discount_percentage", "discounted_amount", "is_monetary_discount",
        "concession_type_name",
    ),
    {"invoice": "invoices", "billable_item": "billable_items", "product": "products"},
)  # fmt: skip

STATUSES = {10: "Open", 20: "Paid", 30: "Closed", 40: "Open credit"}
_CENT = Decimal("0.01")


def add_invoice(
    world: ClinikoWorld, items: Sequence[Mapping[str, object]], account: Account | None = None, **given: object
) -> str:
    """An invoice's id. An item has ``price`` (gross, of one), ``quantity``, ``rate`` (10 unless given), ``product_id`` or
    ``billable_item_id``, ``percent`` or ``off`` (money) for a discount, and any member of an item as it is.

    What is sold of a tracked product leaves its stock by itself, as an adjustment.
    """
    home = account or world.first
    made = [_item(item) for item in items]
    status = int(str(given.get("status", 20)))
    now = str(given.get("created_at") or world.stamp())
    row: Row = {
        "number": _next_number(home), "issue_date": now[:10], "status": status,
        "status_description": STATUSES.get(status, "Unknown"), "calculation_method": 3,
        "calculation_method_description": "Tax inclusive", "closed_at": None if status == 10 else now,
    } | _sums(made) | given  # fmt: skip
    key = put(world, "invoices", home, **row)
    stamps = {"created_at": now, "updated_at": row.get("updated_at") or now}
    for item in made:
        put(world, "invoice_items", home, **(stamps | item | {"invoice_id": key}))
        _sell(world, item, now)
    return key


def _next_number(account: Account) -> int:
    """The newest invoice's number and one more."""
    newest = next(reversed(account.shelves.get("invoices", {}).values()), None)
    return int(str(newest["number"])) + 1 if newest else 10_001


def _item(given: Mapping[str, object]) -> Row:
    """An item with its sums: the stored total is rounded, everything else follows from it."""
    plain = dict(given)
    price, quantity = (Decimal(str(plain.pop(name, default))) for name, default in (("price", 100), ("quantity", 1)))
    rate, percent = Decimal(str(plain.pop("rate", 10))), plain.pop("percent", None)
    off = Decimal(str(plain.pop("off", 0)))
    full = price * quantity
    taken = off if off else full * Decimal(str(percent or 0)) / 100
    total = (full - taken).quantize(_CENT, ROUND_HALF_UP)
    net = round(total * 100 / (100 + rate), 4)
    share = round(taken * 100 / full, 4) if full and taken else None
    return {
        "name": "Foam roller 45 cm", "quantity": _told(quantity), "unit_price": _told(round(price * 100 / (100 + rate), 4)),
        "net_price": _told(net), "tax_name": "GST" if rate else None, "tax_rate": _told(rate) if rate else None,
        "tax_amount": _told(rate) if rate else None, "total_including_tax": float(total),
        "discount_percentage": _told(share) if share else None, "discounted_amount": _told(taken),
        "is_monetary_discount": bool(off), "concession_type_name": None,
    } | plain  # fmt: skip


def _sums(items: Sequence[Row]) -> Row:
    total = sum((Decimal(str(item["total_including_tax"])) for item in items), Decimal(0))
    net = sum((Decimal(str(item["net_price"])) for item in items), Decimal(0))
    return {
        "total_amount": _told(total), "net_amount": _told(net), "tax_amount": _told(total - net),
        "discounted_amount": "0.0",
    }  # fmt: skip


def _sell(world: ClinikoWorld, item: Row, now: str) -> None:
    product = str(item.get("product_id") or "")
    quantity = Decimal(str(item["quantity"]))
    if product and quantity > 0 and row_of(world, "products", product).get("stock_level") is not None:
        adjust(world, product, -quantity, "Item Sold", created_at=now, updated_at=now)


def credit(world: ClinikoWorld, invoice: str, quantities: Mapping[str, object] | None = None, **given: object) -> str:
    """A credit note's id: for the whole invoice, or for these quantities of these items."""
    original = row_of(world, "invoices", invoice)
    items = []
    for key, item in items_of(world, invoice).items():
        if quantities is not None and key not in quantities:
            continue
        sold = Decimal(str(item["quantity"]))
        taken = sold if quantities is None else Decimal(str(quantities[key]))
        items.append(_reversed(item, taken, sold))
    references = {name: value for name, value in original.items() if name.endswith("_id") and name != "appointment_id"}
    row: Row = references | {"original_invoice_id": invoice, "status": 20, "invoice_to": original.get("invoice_to")}
    return add_invoice(world, items, home_of(world, "invoices", invoice), **(row | given))


def _reversed(item: Row, taken: Decimal, sold: Decimal) -> Row:
    """The item with minus signs, for a part of its quantity."""
    total = (Decimal(str(item["total_including_tax"])) * taken / sold).quantize(_CENT, ROUND_HALF_UP)
    net = round(Decimal(str(item["net_price"])) * taken / sold, 4)
    left_out = ("id", "invoice_id", "created_at", "updated_at", "archived_at")
    kept = {name: value for name, value in item.items() if name not in left_out}
    return kept | {
        "quantity": _told(-taken), "total_including_tax": float(-total), "net_price": _told(-net),
        "discounted_amount": "0.0", "discount_percentage": None, "is_monetary_discount": False,
    }  # fmt: skip


def items_of(world: ClinikoWorld, invoice: str) -> dict[str, Row]:
    """The live items of an invoice, by id."""
    rows = rows_of(world, "invoice_items", home_of(world, "invoices", invoice))
    return {key: row for key, row in rows.items() if row["invoice_id"] == invoice and not row.get("archived_at")}


def edit_invoice(world: ClinikoWorld, key: str, **given: object) -> None:
    if "status" in given:
        given.setdefault("status_description", STATUSES.get(int(str(given["status"])), "Unknown"))
    change(world, "invoices", key, **given)


def edit_item(world: ClinikoWorld, key: str, **given: object) -> None:
    """As ``add_invoice`` takes an item. The invoice's sums follow, its ``updated_at`` need not."""
    row = row_of(world, "invoice_items", key)
    if {"price", "quantity", "rate", "percent", "off"} & set(given):
        given = _item(_as_given(row) | given)
    change(world, "invoice_items", key, **given)
    _total_again(world, str(row["invoice_id"]))


def _as_given(row: Row) -> Row:
    """The item as it could have been given to ``add_invoice``, without its discount."""
    total, quantity = (Decimal(str(row[name])) for name in ("total_including_tax", "quantity"))
    kept = {name: row.get(name) for name in ("name", "code", "concession_type_name")}
    return kept | {"price": total / quantity, "quantity": quantity, "rate": row.get("tax_rate") or 0}


def archive_item(world: ClinikoWorld, key: str) -> None:
    archive(world, "invoice_items", key)
    _total_again(world, str(row_of(world, "invoice_items", key)["invoice_id"]))


def _total_again(world: ClinikoWorld, invoice: str) -> None:
    stamp = row_of(world, "invoices", invoice)["updated_at"]
    touched = world.stamp() if world.quirks.items_touch_their_invoice else stamp
    sums = _sums(list(items_of(world, invoice).values()))
    change(world, "invoices", invoice, updated_at=touched, **sums)


def archive_invoice(world: ClinikoWorld, key: str) -> None:
    archive(world, "invoices", key)


def _told(number: Decimal) -> str:
    """As Cliniko writes decimals: ``81.8182``, ``50.0``."""
    text = format(number.normalize(), "f")
    return text if "." in text else f"{text}.0"
