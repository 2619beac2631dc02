"""Shopify's stock levels as a stream: one record per inventory item and location, ``ITEM@LOCATION``.

A level is found by where it belongs, its product and its location, and never made or deleted by us: what a shop does
not stock yet is a level without a quantity. Facts and their sources: README.md beside this file.
"""

import re
from collections.abc import Mapping, Sequence

from integrations.connectors.base import Answer, Field, Stream, Wanted
from integrations.connectors.shopify.call import affordable, read
from integrations.connectors.shopify.decoding import global_id, number_of
from integrations.connectors.shopify.inventory_documents import (
    BY_ITEM_POINTS,
    BY_PRODUCT_POINTS,
    by_item_document,
    by_product_document,
)
from integrations.connectors.shopify.inventory_writing import write_many
from integrations.connectors.shopify.levels import decode_level
from integrations.connectors.shopify.lists import slices
from integrations.core.errors import VendorChanged
from integrations.core.records import Record
from integrations.core.values import Number, Text, Value
from integrations.toolkit import payload
from integrations.toolkit.http import Client

MOST_LEVELS = 25  # in one document; each is a dozen points

_KEY = re.compile(r"([0-9]{1,20})@([0-9]{1,20})")
_DIGITS = re.compile(r"[0-9]{1,20}")
_Place = tuple[str, str]  # the number of a product or an item, and that of a location


def find(client: Client, wanted: Sequence[Wanted], fields: frozenset[str], marker: str) -> Mapping[str, Answer]:
    """The level of each wish's ``product`` at its ``location``, as if found by a marker.

    Nothing answers where the product is gone or has several variants: then no item is the product's.
    """
    places = {one.ref: place for one in wanted if (place := _place(one.fields)) is not None}
    levels: dict[_Place, Record] = {}
    for some in slices(list(dict.fromkeys(places.values())), MOST_LEVELS):
        levels |= affordable(some, lambda part: _of_products(client, part))
    found = {ref: levels[place] for ref, place in places.items() if place in levels}
    return {one.ref: Answer((found[one.ref],)) if one.ref in found else Answer() for one in wanted}


def _place(fields: Mapping[str, Value]) -> _Place | None:
    """Where a wish's stock belongs, None if it does not say."""
    product, location = (fields.get(name) for name in ("product", "location"))
    if not isinstance(product, str) or not isinstance(location, str):
        return None
    return (product, location) if _DIGITS.fullmatch(product) and _DIGITS.fullmatch(location) else None


def _of_products(client: Client, places: Sequence[_Place]) -> dict[_Place, Record]:
    variables: dict[str, object] = {}
    for number, (product, location) in enumerate(places):
        variables[f"i{number}"] = {"id": global_id("Product", product)}
        variables[f"l{number}"] = global_id("Location", location)
    answered = read(client, by_product_document(len(places)), variables, cost=len(places) * BY_PRODUCT_POINTS)
    levels: dict[_Place, Record] = {}
    for number, (product, location) in enumerate(places):
        row = payload.optional_obj(answered.data, f"m{number}", "data")
        variants = () if row is None else payload.items(payload.obj(row, "variants"), "nodes", "variants")
        if len(variants) == 1:
            item = payload.obj(variants[0], "inventoryItem", "variants")
            levels[product, location] = decode_level(item, location=location, product=product)
    return levels


def read_many(client: Client, keys: Sequence[str], fields: frozenset[str]) -> Mapping[str, Record]:
    """Levels by key; those of deleted items are absent.

    Raises KeyError for what is no key, and Rejected if one cannot be decoded: absence would say that it is gone.
    """
    found: dict[str, Record] = {}
    for some in slices(list(dict.fromkeys(keys)), MOST_LEVELS):
        found |= affordable(some, lambda part: _of_items(client, part))
    return found


def _of_items(client: Client, keys: Sequence[str]) -> dict[str, Record]:
    places = [_parsed(key) for key in keys]
    variables: dict[str, object] = {}
    for number, (item, location) in enumerate(places):
        variables[f"i{number}"] = global_id("InventoryItem", item)
        variables[f"l{number}"] = global_id("Location", location)
    answered = read(client, by_item_document(len(places)), variables, cost=len(places) * BY_ITEM_POINTS)
    found: dict[str, Record] = {}
    for number, (key, (_, location)) in enumerate(zip(keys, places, strict=True)):
        row = payload.optional_obj(answered.data, f"m{number}", "data")
        if row is not None:
            found[key] = _decoded(row, location)
    return found


def _parsed(key: str) -> _Place:
    found = _KEY.fullmatch(key)
    if found is None:
        raise KeyError(key)
    return found[1], found[2]


def _decoded(row: payload.Json, location: str) -> Record:
    """Raises Rejected for a level that does not fit, so that a caller can leave out that one alone."""
    try:
        products = _products(row)
        several = len(products) > 1 or any(count > 1 for count in products.values())
        return decode_level(row, location=location, product=next(iter(products), None), several=several)
    except VendorChanged as error:
        raise payload.unreadable(error) from None


def _products(row: payload.Json) -> dict[str, int]:
    """The products that sell an item, with how many variants each has (two stands for more)."""
    connection = payload.optional_obj(row, "variants") or {}
    found: dict[str, int] = {}
    for variant in payload.optional_items(connection, "nodes", "variants"):
        product = payload.obj(variant, "product", "variants")
        siblings = payload.items(payload.obj(product, "variants", "product"), "nodes", "variants")
        found[number_of(payload.text(product, "id", "product"))] = len(siblings)
    return found


INVENTORY = Stream(
    name="inventory",
    label="Stock levels",
    fields=(
        Field("product", Text, "Product (number)", fixed=True),
        Field("location", Text, "Location (number)", fixed=True),
        Field("available", Number, "Available"),
    ),
    read_many=read_many,
    find=find,
    write_many=write_many,
    write_cost=26,  # found, tracked, activated
    batch=50,
)
