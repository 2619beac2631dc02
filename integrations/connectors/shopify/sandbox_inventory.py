"""The sandboxed shop's stock: levels, compare-and-set, activation."""

from collections.abc import Callable, Mapping, Sequence

from graphql import GraphQLError

from integrations.connectors.shopify.sandbox_call import gid
from integrations.connectors.shopify.sandbox_products import item_row, number_of, shown_item
from integrations.connectors.shopify.sandbox_rows import Complaint, Row, as_row, as_rows
from integrations.connectors.shopify.sandbox_shop import Shop

MOST_ROWS = 250
MOST, LEAST = 1_000_000_000, -1_000_000_000
REASONS = frozenset(
    [
        "correction",
        "cycle_count_available",
        "damaged",
        "movement_created",
        "movement_updated",
        "movement_received",
        "movement_canceled",
        "other",
        "promotion",
        "quality_control",
        "received",
        "reservation_created",
        "reservation_deleted",
        "reservation_updated",
        "restock",
        "safety_stock",
        "shrinkage",
    ]
)


def level_of(shop: Shop, item: object, location: object) -> Row | None:
    return shop.levels.get(f"{item}@{location}")


def stock(shop: Shop, item: int, location: int, available: int = 0, *, active: bool = True) -> Row:
    """Puts so many of an item at a location, as the merchant would."""
    stamp = shop.stamp()
    before = level_of(shop, item, location) or {"createdAt": stamp}
    row: Row = {
        "item": item, "location": location, "isActive": active, "available": available,
        "createdAt": before["createdAt"], "updatedAt": stamp,
    }  # fmt: skip
    shop.levels[f"{item}@{location}"] = row
    shop.writes += 1
    return row


def quantities(level: Row, names: Sequence[str]) -> list[Row]:
    """Nothing is committed or reserved here, so that what is on hand is what is available."""
    return [
        {
            "id": f"{gid('InventoryQuantity', level['item'])}?name={name}", "name": name,
            "quantity": level["available"] if name in ("available", "on_hand") else 0, "updatedAt": level["updatedAt"],
        }
        for name in names
    ]  # fmt: skip


# -- setting and adjusting


def _set(shop: Shop, given: Row) -> Row:
    wish = as_row(given["input"])
    rows = as_rows(wish["quantities"])
    if said := _header_complaints(wish, rows, "quantities"):
        return {"userErrors": said}
    return _each(shop, wish, rows, ("quantities", "quantity"))


def _adjust(shop: Shop, given: Row) -> Row:
    wish = as_row(given["input"])
    rows = as_rows(wish["changes"])
    if said := _header_complaints(wish, rows, "changes"):
        return {"userErrors": said}
    return _each(shop, wish, rows, ("changes", "delta"))


def _header_complaints(wish: Row, rows: Sequence[Row], member: str) -> list[Complaint]:
    pairs = [(row["inventoryItemId"], row["locationId"]) for row in rows]
    if len(rows) > MOST_ROWS:
        raise GraphQLError(f"The input array size of {len(rows)} is greater than the maximum allowed of {MOST_ROWS}.")
    if wish["name"] not in ("available", "on_hand"):
        return [_said(("name",), "The quantity name must be either 'available' or 'on_hand'.", "INVALID_NAME")]
    if wish["reason"] not in REASONS:
        return [_said(("reason",), "The specified reason is invalid.", "INVALID_REASON")]
    uri = wish.get("referenceDocumentUri")
    if uri is not None and ":" not in str(uri):
        return [_said(("referenceDocumentUri",), "Not a valid URI.", "INVALID_REFERENCE_DOCUMENT")]
    if len(set(pairs)) < len(pairs):
        message = "The combination of inventoryItemId and locationId must be unique."
        return [_said((member,), message, "NO_DUPLICATE_INVENTORY_ITEM_ID_GROUP_ID_PAIR")]
    return []


def _each(shop: Shop, wish: Row, rows: Sequence[Row], words: tuple[str, str]) -> Row:
    """The rows one by one. With ``all_or_nothing`` (an unsure point of the contract) one refusal stops them all."""
    member, amount = words
    complaints = [_row_complaint(shop, row, (member, str(n)), amount) for n, row in enumerate(rows)]
    refused = [complaint for complaint in complaints if complaint is not None]
    if refused and shop.settings.all_or_nothing:
        return {"userErrors": refused}
    changes = [_change(shop, row, amount) for row, complaint in zip(rows, complaints, strict=True) if complaint is None]
    group: Row = {
        "id": gid("InventoryAdjustmentGroup", shop.next_id()), "reason": wish["reason"], "createdAt": shop.stamp(),
        "referenceDocumentUri": wish.get("referenceDocumentUri"), "changes": changes,
    }  # fmt: skip
    return {"inventoryAdjustmentGroup": group, "userErrors": refused}


def _row_complaint(shop: Shop, row: Row, path: tuple[str, str], amount: str) -> Complaint | None:
    item, location = _place(row)
    wished = int(str(row[amount]))
    there = _available(shop, row)
    checks = (
        (item_row(shop, item) is None, "inventoryItemId", "INVALID_INVENTORY_ITEM"),
        (location not in shop.locations, "locationId", "INVALID_LOCATION"),
        ("changeFromQuantity" not in row, "changeFromQuantity", "COMPARE_QUANTITY_REQUIRED"),
        (row.get("changeFromQuantity") not in (None, there), "changeFromQuantity", "CHANGE_FROM_QUANTITY_STALE"),
        (wished > MOST, amount, "INVALID_QUANTITY_TOO_HIGH"),
        (wished < LEAST, amount, "INVALID_QUANTITY_TOO_LOW"),
    )
    found = next(((member, code) for is_wrong, member, code in checks if is_wrong), None)
    return _said((*path, found[0]), "The row cannot be set.", found[1]) if found else None


def _change(shop: Shop, row: Row, amount: str) -> Row:
    item, location = _place(row)
    before = _available(shop, row)
    after = int(str(row[amount])) + (before if amount == "delta" else 0)
    level = level_of(shop, item, location)
    stock(shop, item, location, after, active=bool(level and level["isActive"]))
    _touch(shop, item)
    return {"name": "available", "delta": after - before, "quantityAfterChange": after, "item": None, "location": None}


def _available(shop: Shop, row: Row) -> int:
    level = level_of(shop, *_place(row))
    return int(str(level["available"])) if level else 0


def _place(row: Mapping[str, object]) -> tuple[int, int]:
    return number_of("InventoryItem", row["inventoryItemId"]), number_of("Location", row["locationId"])


def _touch(shop: Shop, item: int) -> None:
    """A product's ``updatedAt`` moves with its stock."""
    product = shop.product_of(item)
    if product is not None:
        product["updatedAt"] = shop.stamp()


# -- activating, tracking


def _activate(shop: Shop, given: Row) -> Row:
    """Stocks an item at a location. One that was stocked there before keeps its quantity."""
    item, location = _place(given)
    place = shop.locations.get(location)
    if item_row(shop, item) is None:
        return {"userErrors": [{"field": ["inventoryItemId"], "message": "The product couldn't be found."}]}
    if place is None or not place["isActive"]:
        return {"userErrors": [{"field": ["locationId"], "message": "The location couldn't be found."}]}
    level = level_of(shop, item, location)
    if level is not None and given.get("available") is not None:
        message = "Not allowed to set available quantity when the item is already stocked at the location."
        return {"userErrors": [{"field": ["available"], "message": message}]}
    available = int(str(level["available"] if level else given.get("available") or 0))
    return {"inventoryLevel": stock(shop, item, location, available), "userErrors": []}


def _update_item(shop: Shop, given: Row) -> Row:
    row = item_row(shop, number_of("InventoryItem", given["id"]))
    if row is None:
        return {"userErrors": [{"field": ["id"], "message": "The inventory item couldn't be found."}]}
    row |= {name: value for name, value in as_row(given["input"]).items() if name in ("sku", "tracked", "cost")}
    row["updatedAt"] = shop.stamp()
    shop.writes += 1
    return {"inventoryItem": shown_item(shop, number_of("InventoryItem", given["id"])), "userErrors": []}


def _said(path: Sequence[str], message: str, code: str) -> Complaint:
    return {"field": ["input", *path], "message": message, "code": code}


MUTATIONS: dict[str, Callable[[Shop, Row], Row]] = {
    "inventoryItemUpdate": _update_item,
    "inventoryActivate": _activate,
    "inventoryAdjustQuantities": _adjust,
    "inventorySetQuantities": _set,
}
