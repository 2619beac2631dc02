"""A product as Shopify answered it, read into a Record.

Only a product with one variant is ours to keep: its variant's members are the product's. Of one with several they are
absent, never None, and the handle ``variants`` says ``several``. Absent as well is what Shopify withheld.
"""

from collections.abc import Collection
from dataclasses import replace

from integrations.connectors.shopify.decoding import metafield_values, number_of, tag_values
from integrations.connectors.shopify.operations import Selection
from integrations.connectors.shopify.product_documents import OWN, VARIANT
from integrations.core.records import Record, State
from integrations.core.values import Value
from integrations.toolkit import payload

_MONEY = ("price", "compareAtPrice")


def decode_product(row: payload.Json, selected: Selection, denied: Collection[str] = ()) -> Record:
    """``denied`` are the last steps of the paths that Shopify withheld. Raises VendorChanged for a shape that does
    not fit."""
    own = decode_own(row, selected, denied)
    variants = payload.items(payload.obj(row, "variants"), "nodes", "variants")
    if len(variants) != 1:
        return replace(own, handles={"variants": "several" if variants else "none"})
    values = {**own.values, **variant_values(variants[0], selected.fields, denied)}
    return replace(own, values=values, handles={"variant": payload.text(variants[0], "id", "variants.nodes")})


def decode_own(row: payload.Json, selected: Selection, denied: Collection[str] = ()) -> Record:
    """A product answered without its variants: nothing is said of those."""
    changed_at = payload.instant(row, "updatedAt")
    values: dict[str, Value] = {
        name: payload.optional_text(row, name) for name in OWN if name in selected.fields and name not in denied
    }
    return Record(
        key=number_of(payload.text(row, "id")),
        version=changed_at.isoformat(),
        values=values | tag_values(row, selected, denied) | metafield_values(row, selected, denied),
        state=State.ARCHIVED if row.get("status") == "ARCHIVED" else State.LIVE,
        changed_at=changed_at,
        created_at=payload.optional_instant(row, "createdAt"),
    )


def variant_values(variant: payload.Json, fields: Collection[str], denied: Collection[str] = ()) -> dict[str, Value]:
    """The fields asked for that belong to the one variant."""
    values: dict[str, Value] = {}
    for name in VARIANT:
        if name not in fields or name in denied:
            continue
        if name in _MONEY:
            values[name] = payload.optional_decimal(variant, name, "variant")
        elif name == "taxable":
            values[name] = payload.optional_flag(variant, name, "variant")
        else:
            values[name] = payload.optional_text(variant, name, "variant")
    return values | _stock_values(variant, fields, denied)


def _stock_values(variant: payload.Json, fields: Collection[str], denied: Collection[str]) -> dict[str, Value]:
    item = payload.optional_obj(variant, "inventoryItem", "variant")
    values: dict[str, Value] = {}
    if item is None:
        return values
    if "tracked" in fields and "tracked" not in denied:
        values["tracked"] = payload.flag(item, "tracked", "inventoryItem")
    if "cost" in fields and "unitCost" not in denied:
        cost = payload.optional_obj(item, "unitCost", "inventoryItem")
        values["cost"] = None if cost is None else payload.decimal(cost, "amount", "unitCost")
    return values
