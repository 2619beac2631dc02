"""A stock level as Shopify answered it, read into a Record."""

from decimal import Decimal

from integrations.connectors.shopify.decoding import global_id, number_of
from integrations.core.records import Record
from integrations.core.values import Value
from integrations.toolkit import payload


def decode_level(item: payload.Json, *, location: str, product: str | None, several: bool = False) -> Record:
    """The level of an item, as it was asked for at one location.

    ``available`` is None where nothing is kept: never stocked there, deactivated (whatever number is left in it, it
    sells nothing), or not tracked at all. What Shopify has in the level is the handle ``quantity``, ``""`` without one.
    Raises VendorChanged for a shape that does not fit.
    """
    gid = payload.text(item, "id", "inventoryItem")
    level = payload.optional_obj(item, "inventoryLevel", "inventoryItem")
    tracked = payload.flag(item, "tracked", "inventoryItem")
    active, quantity = (False, None) if level is None else (payload.flag(level, "isActive"), available_in(level))
    changed_at = payload.instant(level or item, "updatedAt", "inventoryLevel")
    values: dict[str, Value] = {"location": location, "available": quantity if active and tracked else None}
    if product is not None:
        values["product"] = product
    handles = {
        "item": gid,
        "location": global_id("Location", location),
        "tracked": "yes" if tracked else "no",
        "active": "yes" if active else "no",
        "quantity": "" if quantity is None else str(quantity),
    }
    return Record(
        key=f"{number_of(gid)}@{location}",
        version=changed_at.isoformat(),
        values=values,
        changed_at=changed_at,
        handles=handles | ({"variants": "several"} if several else {}),
        parents={} if product is None else {"products": product},
    )


def available_in(level: payload.Json) -> Decimal | None:
    """The number a level keeps as available, None if it was not told."""
    for quantity in payload.items(level, "quantities", "inventoryLevel"):
        if payload.text(quantity, "name", "quantities") == "available":
            return Decimal(payload.whole(quantity, "quantity", "quantities"))
    return None
