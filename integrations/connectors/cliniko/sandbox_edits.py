"""Edits of a sandboxed Cliniko's goods and invoices over ``/_sandbox/``, as staff would make them::

GET    products|taxes|stock_adjustments|invoices|invoice_items|practitioners|users   rows of the first account
POST   taxes|products|practitioners|users {members}
POST   products/ID/adjust {"quantity", "adjustment_type", "notes"}
POST   invoices {"items": [..], members}         an item as ``sandbox_invoices.add_invoice`` takes it
POST   invoices/ID/credit {"quantities": {ITEM: number}, members}   without quantities: all of it
PATCH  products|invoices|invoice_items/ID {members}
POST   products|invoices|invoice_items/ID/archive
POST   COLLECTION/ID/raw {keys}                  the answer shows exactly these keys, whatever they are
"""

from collections.abc import Mapping, Sequence

from integrations.connectors.cliniko import sandbox_goods, sandbox_invoices, sandbox_staff
from integrations.connectors.cliniko.sandbox_lists import Row
from integrations.connectors.cliniko.sandbox_shelves import rows_of, set_raw
from integrations.connectors.cliniko.sandbox_world import ClinikoWorld
from integrations.connectors.sandbox_kit import Response, json_response

COLLECTIONS = (
    "products", "taxes", "stock_adjustments", "invoices", "invoice_items", "practitioners", "users", "businesses",
)  # fmt: skip
_EDITS = {
    "products": sandbox_goods.edit_product,
    "invoices": sandbox_invoices.edit_invoice,
    "invoice_items": sandbox_invoices.edit_item,
}
_ARCHIVES = {
    "products": sandbox_goods.archive_product,
    "invoices": sandbox_invoices.archive_invoice,
    "invoice_items": sandbox_invoices.archive_item,
}
_ADDS = {
    "products": sandbox_goods.add_product,
    "taxes": sandbox_goods.add_tax,
    "practitioners": sandbox_staff.add_practitioner,
    "users": sandbox_staff.add_user,
    "businesses": sandbox_staff.add_business,
}


def answer(world: ClinikoWorld, method: str, path: Sequence[str], given: Row) -> Response | None:
    """The answer to an edit, None for one that is not known."""
    if not path or path[0] not in COLLECTIONS:
        return None
    match method, path:
        case "GET", [collection]:
            return json_response(200, {collection: list(rows_of(world, collection).values())})
        case "POST", [collection]:
            return _add(world, collection, given)
        case "PATCH", [collection, key] if collection in _EDITS:
            _EDITS[collection](world, key, **given)
        case "POST", [collection, key, "archive"] if collection in _ARCHIVES:
            _ARCHIVES[collection](world, key)
        case "POST", [collection, key, "raw"]:
            set_raw(world, collection, key, **given)
        case "POST", [_, key, verb]:
            return _verb(world, key, verb, given)
        case _:
            return None
    return json_response(200, {"ok": True})


def _add(world: ClinikoWorld, collection: str, given: Row) -> Response | None:
    if collection == "invoices":
        return _made(sandbox_invoices.add_invoice(world, _objects(given.pop("items", [])), None, **given))
    return _made(_ADDS[collection](world, None, **given)) if collection in _ADDS else None


def _verb(world: ClinikoWorld, key: str, verb: str, given: Row) -> Response | None:
    if verb == "adjust":
        kind = str(given.pop("adjustment_type", "Other"))
        return _made(sandbox_goods.adjust(world, key, given.pop("quantity"), kind, **given))
    if verb == "credit":
        quantities = given.pop("quantities", None)
        return _made(sandbox_invoices.credit(world, key, quantities if isinstance(quantities, dict) else None, **given))
    return None


def _made(key: str) -> Response:
    return json_response(201, {"id": key})


def _objects(value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise ValueError("items is a list of objects")
    return value
