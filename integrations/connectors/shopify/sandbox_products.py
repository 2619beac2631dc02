"""The sandboxed shop's products: the rules by which Shopify accepts or refuses a write to them."""

import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from decimal import Decimal, InvalidOperation

from integrations.connectors.shopify.sandbox_call import by_custom_id
from integrations.connectors.shopify.sandbox_rows import Complaint, Row, as_list, as_row, as_rows
from integrations.connectors.shopify.sandbox_shop import Shop

OWN = ("title", "status", "descriptionHtml", "vendor", "productType", "handle")
_GID = re.compile(r"gid://shopify/(\w+)/(\d{1,20})")
_DEFAULT = [{"name": "Title", "value": "Default Title"}]


def number_of(kind: str, gid: object) -> int:
    """The number in a global id of this kind, 0 for another's."""
    found = _GID.fullmatch(str(gid))
    return int(found[2]) if found and found[1] == kind else 0


def add_product(shop: Shop, **given: object) -> Row:
    """A product as the merchant would add one: ``variants`` as in ``ProductVariantSetInput``, one if not given."""
    wish: Row = {"title": "Product", "variants": [{}], **given}
    row, complaints = _apply(shop, _blank(shop), wish, ("product",))
    if complaints:
        raise ValueError(str(complaints))
    row["variants"] = [_variant(shop, None, as_row(entry), n)[0] for n, entry in enumerate(as_rows(wish["variants"]))]
    return shop.store(row)


def remove_product(shop: Shop, key: int) -> None:
    """Raises KeyError for a product that is not there."""
    items = {str(as_row(variant["item"])["id"]) for variant in variants(shop.products[key])}
    shop.drop("Product", key)
    shop.levels = {name: level for name, level in shop.levels.items() if name.split("@")[0] not in items}


def variants(row: Row) -> list[Row]:
    return as_rows(row["variants"])


def _blank(shop: Shop) -> Row:
    stamp = shop.stamp()
    return {
        "id": shop.next_id(), "kind": "Product", "title": "", "status": "ACTIVE", "descriptionHtml": "",
        "vendor": shop.settings.name, "productType": "", "handle": "", "tags": [], "metafields": {}, "variants": [],
        "createdAt": stamp, "updatedAt": stamp,
    }  # fmt: skip


def _apply(shop: Shop, row: Row, given: Mapping[str, object], path: tuple[str, ...]) -> tuple[Row, list[Complaint]]:
    """The product's own members; metafields are added or changed, tags replaced."""
    row |= {name: given[name] or "" for name in OWN if name in given}
    complaints: list[Complaint] = []
    if not str(row["title"]).strip():
        complaints.append(_said((*path, "title"), "Title can't be blank", "INVALID_PRODUCT"))
    row["handle"] = row["handle"] or f"{re.sub(r'[^a-z0-9]+', '-', str(row['title']).lower()).strip('-')}-{row['id']}"
    if "tags" in given:
        row["tags"] = [str(tag).strip() for tag in as_list(given["tags"]) if str(tag).strip()]
    said = shop.set_metafields(row, as_list(given.get("metafields")), (*path, "metafields"))
    return row, complaints + [{**complaint, "code": "INVALID_METAFIELD"} for complaint in said]


def _variant(shop: Shop, row: Row | None, given: Row, number: int) -> tuple[Row, list[Complaint]]:
    """One variant, made or changed."""
    stamp = shop.stamp()
    made: Row = row or {
        "id": shop.next_id(), "title": "Default Title", "barcode": None, "price": "0.00", "compareAtPrice": None,
        "taxable": True, "inventoryPolicy": "DENY", "position": number + 1, "selectedOptions": _DEFAULT,
        "item": {"id": shop.next_id(), "sku": None, "tracked": False, "cost": None, "createdAt": stamp, "updatedAt": stamp},
        "createdAt": stamp,
    }  # fmt: skip
    item = as_row(made["item"])
    told = as_row(given.get("inventoryItem") or {})
    made |= {name: given[name] for name in ("barcode", "taxable", "inventoryPolicy", "position") if name in given}
    item |= {name: told[name] for name in ("sku", "tracked") if name in told}
    if "sku" in given:
        item["sku"] = given["sku"]
    if options := as_rows(given.get("optionValues")):
        made["selectedOptions"] = [
            {"name": option.get("optionName"), "value": option.get("name")} for option in options
        ]
        made["title"] = " / ".join(str(option.get("name")) for option in options)
    complaints = []
    for holder, name, source in ((made, "price", given), (made, "compareAtPrice", given), (item, "cost", told)):
        if name in source:
            holder[name], said = _amount(source[name], name)
            complaints += said
    made["updatedAt"] = item["updatedAt"] = stamp
    return made, complaints


def _amount(value: object, name: str) -> tuple[str | None, list[Complaint]]:
    if value is None:
        return ("0.00" if name == "price" else None), []
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None, [_said((name,), f"{name} is not a number", "INVALID_INPUT")]
    if amount < 0:
        return None, [_said((name,), f"{name} must be greater than or equal to 0", "NEGATIVE_PRICE_VALUE")]
    return str(amount.quantize(Decimal("0.01"))), []


# -- productSet


def _set(shop: Shop, given: Row) -> Row:
    """Makes or changes a whole product: what its lists leave out is deleted."""
    wish, identifier = as_row(given["input"]), as_row(given.get("identifier") or {})
    there = _identified(shop, identifier)
    if there is None and identifier.get("id"):
        return _refused([_said(("identifier", "id"), "Product does not exist", "PRODUCT_DOES_NOT_EXIST")])
    if said := _set_complaints(wish, identifier):
        return _refused(said)
    row = deepcopy(there) if there is not None else _blank(shop)
    if "metafields" in wish:
        row["metafields"] = {}
    row, complaints = _apply(shop, row, wish, ("input",))
    if "variants" in wish or there is None:
        row["variants"], said = _set_variants(shop, row, as_rows(wish.get("variants")) or [{}])
        complaints += [{**one, "code": "INVALID_VARIANT"} for one in said]
    if complaints:
        return _refused(complaints)
    return {"product": shop.store(row), "productSetOperation": None, "userErrors": []}


def _identified(shop: Shop, identifier: Row) -> Row | None:
    if custom := identifier.get("customId"):
        return by_custom_id(shop, custom, "Product")
    if handle := identifier.get("handle"):
        return next((row for row in shop.products.values() if row["handle"] == handle), None)
    return shop.by_gid(identifier.get("id"), "Product")


def _set_complaints(wish: Row, identifier: Row) -> list[Complaint]:
    if "variants" in wish and "productOptions" not in wish:
        return [_said(("input",), "Product options input is required", "PRODUCT_OPTIONS_INPUT_MISSING")]
    if "productOptions" in wish and "variants" not in wish:
        return [_said(("input",), "Variants input is required", "VARIANTS_INPUT_MISSING")]
    custom = as_row(identifier.get("customId") or {})
    if custom and "metafields" in wish:
        own = {"namespace": custom.get("namespace"), "key": custom["key"], "value": custom["value"]}
        if own not in as_list(wish["metafields"]):
            message = "Metafields must hold the custom id of the identifier"
            return [_said(("input", "metafields"), message, "METAFIELD_MISMATCH")]
    return []


def _set_variants(shop: Shop, row: Row, wished: Sequence[Row]) -> tuple[list[Row], list[Complaint]]:
    """The variants wished, those that are there by their id or their options."""
    made: list[Row] = []
    complaints: list[Complaint] = []
    for number, entry in enumerate(wished):
        options = [
            {"name": one.get("optionName"), "value": one.get("name")} for one in as_rows(entry.get("optionValues"))
        ]
        own = number_of("ProductVariant", entry.get("id"))
        there = next((one for one in variants(row) if own == one["id"] or options == one["selectedOptions"]), None)
        variant, said = _variant(shop, deepcopy(there), entry, number)
        made.append(variant)
        complaints += [_at(("input", "variants", str(number)), one) for one in said]
    return made, complaints


# -- the fine-grained mutations


def _update(shop: Shop, given: Row) -> Row:
    wish = as_row(given["product"])
    there = shop.by_gid(wish.get("id"), "Product")
    if there is None:
        return {"product": None, "userErrors": [{"field": ["id"], "message": "Product does not exist"}]}
    row, complaints = _apply(shop, deepcopy(there), wish, ())
    if complaints:
        return {"product": None, "userErrors": complaints}
    return {"product": shop.store(row), "userErrors": []}


def _update_variants(shop: Shop, given: Row) -> Row:
    row = deepcopy(shop.by_gid(given["productId"], "Product"))
    if row is None:
        return _refused([_said(("productId",), "Product does not exist", "PRODUCT_DOES_NOT_EXIST")])
    changed: list[Row] = []
    complaints: list[Complaint] = []
    for number, entry in enumerate(as_rows(given["variants"])):
        path = ("variants", str(number))
        own = number_of("ProductVariant", entry.get("id"))
        there = next((one for one in variants(row) if one["id"] == own), None)
        if there is None:
            complaints.append(_said((*path, "id"), "Product variant does not exist", "PRODUCT_VARIANT_DOES_NOT_EXIST"))
            continue
        variant, said = _variant(shop, there, entry, number)
        changed.append(variant)
        complaints += [_at(path, one) for one in said]
    if complaints and not given.get("allowPartialUpdates"):
        return _refused(complaints)
    kept = shop.store(row)
    return {"product": kept, "productVariants": [shown(kept, one) for one in changed], "userErrors": complaints}


def shown(product: Row, variant: Row) -> Row:
    """A variant as resolvers take it: with the product it belongs to."""
    return {**variant, "owner": product}


def shown_variant(shop: Shop, number: int) -> Row | None:
    """A variant by its number."""
    product = shop.product_of(number)
    found = (shown(product, one) for one in variants(product)) if product else iter(())
    return next((one for one in found if one["id"] == number), None)


def item_row(shop: Shop, number: int) -> Row | None:
    """An inventory item as kept."""
    product = shop.product_of(number)
    rows = [as_row(one["item"]) for one in variants(product)] if product else []
    return next((row for row in rows if row["id"] == number), None)


def shown_item(shop: Shop, number: int) -> Row | None:
    """An inventory item as resolvers take it: with the variant it belongs to."""
    product = shop.product_of(number)
    found = (shown(product, one) for one in variants(product)) if product else iter(())
    return next((item_of(one) for one in found if as_row(one["item"])["id"] == number), None)


def item_of(variant: Row) -> Row:
    return {**as_row(variant["item"]), "variant": variant}


def _refused(complaints: Sequence[Complaint]) -> Row:
    return {"product": None, "userErrors": list(complaints)}


def _at(path: tuple[str, ...], complaint: Complaint) -> Complaint:
    return {**complaint, "field": [*path, *map(str, as_list(complaint["field"]))]}


def _said(path: Sequence[str], message: str, code: str) -> Complaint:
    return {"field": list(path), "message": message, "code": code}


MUTATIONS: dict[str, Callable[[Shop, Row], Row]] = {
    "productSet": _set,
    "productUpdate": _update,
    "productVariantsBulkUpdate": _update_variants,
}
