"""Products, taxes and stock of a sandboxed Cliniko: what staff do to them, what the API shows and takes.

An adjustment moves the level of a tracked product. It does not touch the product's ``updated_at``: the documentation
does not say, and this is the harder answer.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

from integrations.connectors.cliniko.sandbox_lists import Row
from integrations.connectors.cliniko.sandbox_shelves import (
    Asked,
    Shelf,
    archive,
    change,
    home_of,
    put,
    row_of,
    shown,
)
from integrations.connectors.cliniko.sandbox_world import Account, ClinikoWorld
from integrations.connectors.sandbox_kit import Response, json_response

PRODUCTS = Shelf(
    "products",
    {
        "archived_at": "date-time", "created_at": "date-time", "id": "number", "name": "string", "tax_id": "number",
        "updated_at": "date-time",
    },
    (
        "name", "item_code", "serial_number", "price_including_tax", "price_ex_tax", "cost_price", "stock_level",
        "notes", "product_supplier_name",
    ),
    {"tax": "taxes", "product_supplier": "product_suppliers"},
    {"stock_adjustments": ("stock_adjustments", "product_id")},
)  # fmt: skip
TAXES = Shelf(
    "taxes",
    {"created_at": "date-time", "id": "number", "updated_at": "date-time"},
    ("name", "rate", "amount"),
)
ADJUSTMENTS = Shelf(
    "stock_adjustments",
    {
        "archived_at": "date-time", "created_at": "date-time", "id": "number", "product_id": "number",
        "updated_at": "date-time",
    },
    ("quantity", "adjustment_type", "notes", "comment"),
    {"product": "products", "user": "users"},
)  # fmt: skip

UPWARDS = ("Stock Purchase", "Returned", "Other")
DOWNWARDS = ("Damaged", "Out of Date", "Item Sold", "Other", "Correction")


# -- what staff do


def add_tax(world: ClinikoWorld, account: Account | None = None, **given: object) -> str:
    """A tax: ``name`` and ``rate`` in per cent."""
    return put(world, "taxes", account, **({"amount": given.get("rate")} | given))


def add_product(world: ClinikoWorld, account: Account | None = None, **given: object) -> str:
    """A product's id. ``price`` is the gross price; the net one follows from the tax of ``tax_id``."""
    row = {"name": "Foam roller 45 cm"} | given
    if "price" in row:
        row |= _prices(world, Decimal(str(row.pop("price"))), row.get("tax_id"))
    return put(world, "products", account, **row)


def _prices(world: ClinikoWorld, gross: Decimal, tax_id: object) -> Row:
    rate = Decimal(str(row_of(world, "taxes", str(tax_id))["rate"])) if tax_id else Decimal(0)
    return {"price_including_tax": str(gross), "price_ex_tax": str(round(gross * 100 / (100 + rate), 4))}


def edit_product(world: ClinikoWorld, key: str, **given: object) -> None:
    """As ``add_product`` takes it."""
    if "price" in given:
        given |= _prices(world, Decimal(str(given.pop("price"))), row_of(world, "products", key).get("tax_id"))
    change(world, "products", key, **given)


def archive_product(world: ClinikoWorld, key: str) -> None:
    archive(world, "products", key)


def adjust(world: ClinikoWorld, product: str, quantity: object, kind: str = "Other", **given: object) -> str:
    """A stock adjustment, which moves the product's level by ``quantity`` if it has one; its id."""
    row = row_of(world, "products", product)
    amount = Decimal(str(quantity))
    if row.get("stock_level") is not None:
        level = Decimal(str(row["stock_level"])) + amount
        stamp = world.stamp() if world.quirks.adjusting_touches_updated_at else row["updated_at"]
        change(world, "products", product, stock_level=_told(level), updated_at=stamp)
    members: Row = {"product_id": product, "quantity": _told(amount), "adjustment_type": kind} | given
    return put(world, "stock_adjustments", home_of(world, "products", product), **members)


def _told(number: Decimal) -> str:
    """As Cliniko writes decimals: ``12.0``."""
    text = format(number.normalize(), "f")
    return text if "." in text else f"{text}.0"


# -- what the API takes


def post_adjustment(asked: Asked, given: Mapping[str, object], user_id: str) -> Response:
    """201 with the adjustment, or 422 with what is wrong with it."""
    errors = _complaints(asked, given)
    if errors:
        return json_response(422, {"message": "Validation failed", "errors": errors})
    notes = {name: given.get(name) for name in ("notes", "comment") if given.get(name)}
    product, kind = str(given["product_id"]), str(given["adjustment_type"])
    key = adjust(asked.world, product, given["quantity"], kind, user_id=user_id, **notes)
    row = row_of(asked.world, "stock_adjustments", key)
    headers = [("Location", f"{asked.base}/stock_adjustments/{key}")]
    return json_response(201, shown(asked, ADJUSTMENTS, row), headers)


def _complaints(asked: Asked, given: Mapping[str, object]) -> dict[str, str]:
    errors: dict[str, str] = {}
    product = asked.account.shelves.get("products", {}).get(str(given.get("product_id") or ""))
    if product is None or product.get("archived_at"):
        errors["product"] = "must exist"
    elif product.get("stock_level") is None:
        errors["product"] = "does not track stock"
    quantity, kind = _number(given.get("quantity")), given.get("adjustment_type")
    if quantity is None:
        errors["quantity"] = "is not a number"
    if kind not in UPWARDS + DOWNWARDS:
        errors["adjustment_type"] = "is not included in the list"
    elif quantity is not None and (not quantity or kind not in (UPWARDS if quantity > 0 else DOWNWARDS)):
        errors["quantity"] = f"must be {'less' if quantity > 0 else 'greater'} than 0"
    return errors


def _number(value: object) -> Decimal | None:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
