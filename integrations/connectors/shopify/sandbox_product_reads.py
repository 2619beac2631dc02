"""How the sandboxed shop answers queries for products, variants, inventory items, levels and locations."""

from collections.abc import Callable

from integrations.connectors.shopify import sandbox_search
from integrations.connectors.shopify.sandbox_call import Call, Info, by_custom_id, call_of, gid
from integrations.connectors.shopify.sandbox_inventory import level_of, quantities
from integrations.connectors.shopify.sandbox_products import (
    item_of,
    number_of,
    shown,
    shown_item,
    variants,
)
from integrations.connectors.shopify.sandbox_reads import connection, counted, listed, metafield, metafields
from integrations.connectors.shopify.sandbox_rows import Row

_PRODUCT_FIELDS = frozenset(
    {"id", "status", "title", "vendor", "tag", "tag_not", "sku", "barcode", "updated_at", "created_at"}
)
_VARIANT_FIELDS = frozenset({"id", "sku", "barcode", "product_id", "updated_at"})
_SORTS: dict[str, Callable[[Row], tuple[object, ...]]] = {
    "ID": lambda row: (row["id"],),
    "UPDATED_AT": lambda row: (row["updatedAt"], row["id"]),
    "CREATED_AT": lambda row: (row["createdAt"], row["id"]),
    "TITLE": lambda row: (row["title"], row["id"]),
}


def _product(_: object, info: Info, *, id: str) -> object:
    call_of(info).need("read_products", "product")
    return call_of(info).shop.by_gid(id, "Product")


def _by_identifier(_: object, info: Info, *, identifier: Row) -> object:
    call = call_of(info)
    call.need("read_products", "productByIdentifier")
    name, value = next(iter(identifier.items()))
    if name == "customId":
        return by_custom_id(call.shop, value, "Product")
    if name == "handle":
        return next((row for row in call.shop.products.values() if row["handle"] == value), None)
    return call.shop.by_gid(value, "Product")


def _products(_: object, info: Info, **asked: object) -> object:
    call = call_of(info)
    call.need("read_products", "products")
    rows = _searched(call, "products", str(asked.get("query") or ""), _PRODUCT_FIELDS)
    return listed(rows, asked, _SORTS.get(str(asked.get("sortKey", "ID")), _SORTS["ID"]))


def _count(_: object, info: Info, **asked: object) -> object:
    call = call_of(info)
    call.need("read_products", "productsCount")
    rows = _searched(call, "productsCount", str(asked.get("query") or ""), _PRODUCT_FIELDS)
    return counted(len(rows), asked)


def _searched(call: Call, path: str, query: str, known: frozenset[str]) -> list[Row]:
    """The products that a search finds. Without a status it shows active ones: the worse of what may be true."""
    text = query if "status:" in query else f"status:active {query}"
    parsed = sandbox_search.parse(text, known)
    if parsed.warnings:
        call.warnings.append({"path": [path], "query": query, "parsed": {}, "warnings": parsed.warnings})
    rows = call.shop.searchable("Product") if query else list(call.shop.products.values())
    return [row for row in rows if parsed.test(_document(row))]


def _document(row: Row) -> Row:
    return {
        "id": row["id"], "status": row["status"], "title": row["title"], "vendor": row["vendor"], "tags": row["tags"],
        "updated_at": row["updatedAt"], "created_at": row["createdAt"],
        "sku": " ".join(str(_item_row(variant)["sku"] or "") for variant in variants(row)),
        "barcode": " ".join(str(variant["barcode"] or "") for variant in variants(row)),
    }  # fmt: skip


def _variants(_: object, info: Info, **asked: object) -> object:
    call = call_of(info)
    call.need("read_products", "productVariants")
    query = str(asked.get("query") or "")
    parsed = sandbox_search.parse(query, _VARIANT_FIELDS)
    if parsed.warnings:
        call.warnings.append({"path": ["productVariants"], "query": query, "parsed": {}, "warnings": parsed.warnings})
    rows = [shown(product, one) for product in call.shop.searchable("Product") for one in variants(product)]
    return listed([row for row in rows if parsed.test(_variant_document(row))], asked, _SORTS["ID"])


def _variant_document(row: Row) -> Row:
    owner = row["owner"]
    return {
        "id": row["id"], "sku": _item_row(row)["sku"], "barcode": row["barcode"], "updated_at": row["updatedAt"],
        "product_id": owner["id"] if isinstance(owner, dict) else None,
    }  # fmt: skip


def _item_row(variant: Row) -> Row:
    item = variant["item"]
    return item if isinstance(item, dict) else {}


def _item(_: object, info: Info, *, id: str) -> object:
    call_of(info).need("read_inventory", "inventoryItem")
    return shown_item(call_of(info).shop, number_of("InventoryItem", id))


def _level(item: Row, info: Info, *, locationId: str, includeInactive: bool = False) -> object:
    call = call_of(info)
    call.need("read_inventory", "inventoryLevel")
    level = level_of(call.shop, item["id"], number_of("Location", locationId))
    return level if level is not None and (level["isActive"] or includeInactive) else None


def _levels(item: Row, info: Info, **asked: object) -> object:
    call = call_of(info)
    call.need("read_inventory", "inventoryLevels")
    rows = [row for row in call.shop.levels.values() if row["item"] == item["id"]]
    return connection([row for row in rows if row["isActive"] or asked.get("includeInactive")], asked)


def _cost(item: Row, info: Info) -> object:
    call_of(info).need("read_inventory", "unitCost")
    return item["cost"] and {"amount": item["cost"], "currencyCode": call_of(info).shop.settings.currency}


def _locations(_: object, info: Info, **asked: object) -> object:
    call = call_of(info)
    call.need("read_locations", "locations")
    call.fail_as_planned("locations")
    rows = [
        row
        for row in call.shop.locations.values()
        if (row["isActive"] or asked.get("includeInactive"))
        and (not row["isFulfillmentService"] or asked.get("includeLegacy"))
    ]
    rows.sort(key=lambda row: str(row["id" if asked.get("sortKey") == "ID" else "name"]))
    return connection(rows, asked)


def _location(_: object, info: Info, *, id: str | None = None) -> object:
    call_of(info).need("read_locations", "location")
    locations = call_of(info).shop.locations
    return locations.get(number_of("Location", id)) if id else next(iter(locations.values()), None)


def _stock(row: Row, info: Info) -> int:
    """What all places have of a product."""
    items = {_item_row(variant)["id"] for variant in variants(row)}
    rows = [level for level in call_of(info).shop.levels.values() if level["item"] in items and level["isActive"]]
    return sum(int(str(level["available"])) for level in rows)


QUERIES: dict[str, Callable[..., object]] = {
    "inventoryItem": _item,
    "location": _location,
    "locations": _locations,
    "product": _product,
    "productByIdentifier": _by_identifier,
    "productVariants": _variants,
    "products": _products,
    "productsCount": _count,
}
RESOLVERS: dict[str, dict[str, Callable[..., object]]] = {
    "Product": {
        "id": lambda row, _: gid("Product", row["id"]),
        "legacyResourceId": lambda row, _: str(row["id"]),
        "variants": lambda row, _, **asked: connection([shown(row, one) for one in variants(row)], asked),
        "variantsCount": lambda row, _: {"count": len(variants(row)), "precision": "EXACT"},
        "hasOnlyDefaultVariant": lambda row, _: [one["title"] for one in variants(row)] == ["Default Title"],
        "tracksInventory": lambda row, _: any(_item_row(one)["tracked"] for one in variants(row)),
        "totalInventory": _stock,
        "metafield": metafield,
        "metafields": metafields,
    },
    "ProductVariant": {
        "id": lambda row, _: gid("ProductVariant", row["id"]),
        "legacyResourceId": lambda row, _: str(row["id"]),
        "sku": lambda row, _: _item_row(row)["sku"],
        "product": lambda row, _: row["owner"],
        "inventoryItem": lambda row, _: item_of(row),
        "inventoryQuantity": lambda row, info: _stock({"variants": [row]}, info),
    },
    "InventoryItem": {
        "id": lambda row, _: gid("InventoryItem", row["id"]),
        "legacyResourceId": lambda row, _: str(row["id"]),
        "unitCost": _cost,
        "inventoryLevel": _level,
        "inventoryLevels": _levels,
        "variants": lambda row, _, **asked: connection([row["variant"]], asked),
        "duplicateSkuCount": lambda *_: 0,
    },
    "InventoryLevel": {
        "id": lambda row, _: f"{gid('InventoryLevel', row['location'])}?inventory_item_id={row['item']}",
        "item": lambda row, info: shown_item(call_of(info).shop, row["item"]),
        "location": lambda row, info: call_of(info).shop.locations[int(str(row["location"]))],
        "quantities": lambda row, _, names: quantities(row, names),
    },
    "Location": {
        "id": lambda row, _: gid("Location", row["id"]),
        "legacyResourceId": lambda row, _: str(row["id"]),
    },
}
