"""Shopify's products as a stream. Facts and their sources: README.md beside this file.

The look-up by marker goes through ``productByIdentifier``, which does not use the search index; an SKU can only be
searched for, so that one made a moment ago may not be found, and every hit is compared exactly.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from integrations.connectors.base import Answer, Ask, Field, Page, Stream, Wanted
from integrations.connectors.shopify.bulk_products import BULK
from integrations.connectors.shopify.call import affordable, read
from integrations.connectors.shopify.links import admin_page
from integrations.connectors.shopify.lists import Listing, read_by_id, read_list, slices, withheld_names
from integrations.connectors.shopify.markers import OPEN_FIELDS, custom_id, define, with_definition
from integrations.connectors.shopify.operations import Selection
from integrations.connectors.shopify.product_decoding import decode_product
from integrations.connectors.shopify.product_documents import (
    MOST_HITS,
    PAGE_OF_HITS,
    find_document,
    hits_document,
    product_selection,
)
from integrations.connectors.shopify.products_writing import write_many
from integrations.connectors.shopify.scopes import with_stock_or_without
from integrations.core.errors import VendorChanged
from integrations.core.records import Record
from integrations.core.values import Code, Number, Text, YesNoUnknown
from integrations.toolkit import payload
from integrations.toolkit.http import Client

MOST_LOOKUPS = 20
STATUSES = "status:active,draft,archived,unlisted"  # named, because what a search without them shows is not sure
BEARS = "inventoryItem"

_LISTING = Listing("products", decode_product, STATUSES, BEARS, size=50)


def read_page(client: Client, ask: Ask, place: str | None) -> Page:
    """One page of everything or of what changed; see ``lists.read_list`` for what is raised."""
    return with_stock_or_without(
        client,
        ask.fields,
        lambda fields: read_list(client, ask, place, listing=_LISTING, selected=product_selection(fields)),
    )


def read_many(client: Client, keys: Sequence[str], fields: frozenset[str]) -> Mapping[str, Record]:
    """Products by key; deleted ones are absent. Raises Rejected if one cannot be decoded."""
    return with_stock_or_without(
        client,
        fields,
        lambda allowed: read_by_id(client, keys, listing=_LISTING, selected=product_selection(allowed)),
    )


_Question = tuple[str, str]  # the field that identifies, and its value


def find(client: Client, wanted: Sequence[Wanted], fields: frozenset[str], marker: str) -> Mapping[str, Answer]:
    """Which product carries each marker, and which have each SKU: one request for the batch, more where an SKU is
    part of many others. Every product with a variant of exactly that SKU answers, also one with several variants."""
    asked = list(dict.fromkeys(question for one in wanted for question in _questions(one, marker)))
    answers = with_definition(
        lambda: with_stock_or_without(
            client, fields | {marker, "sku"}, lambda allowed: _look_up_all(client, asked, allowed, marker)
        ),
        lambda: prepare(client, marker),
    )
    return {one.ref: _answer(one, marker, answers) for one in wanted}


def _questions(one: Wanted, marker: str) -> Iterator[_Question]:
    if marker and one.marker:
        yield marker, one.marker
    sku = one.keys.get("sku", "")
    if re.search(r"\w", sku):  # the index holds words: a search for anything else finds everything
        yield "sku", sku


def _look_up_all(
    client: Client, questions: Sequence[_Question], fields: frozenset[str], marker: str
) -> dict[_Question, tuple[Record, ...]]:
    selected = product_selection(fields)
    answers: dict[_Question, tuple[Record, ...]] = {}
    for some in slices(questions, MOST_LOOKUPS):
        answers |= affordable(some, lambda part: _look_up(client, part, selected, marker))
    return answers


def _look_up(
    client: Client, questions: Sequence[_Question], selected: Selection, marker: str
) -> dict[_Question, tuple[Record, ...]]:
    is_marker = tuple(name == marker for name, _ in questions)
    variables: dict[str, object] = {}
    for number, (name, value) in enumerate(questions):
        if name == marker:
            variables[f"i{number}"] = custom_id(marker, value)
        else:
            variables[f"q{number}"] = _search(value)
    cost = sum(selected.objects if marks else 3 + selected.objects * MOST_HITS * 0.1 for marks in is_marker)
    answered = read(client, find_document(is_marker, selected), variables, cost=cost, bears=BEARS)
    denied = withheld_names(answered)
    found: dict[_Question, tuple[Record, ...]] = {}
    for number, question in enumerate(questions):
        if is_marker[number]:
            row = payload.optional_obj(answered.data, f"m{number}", "data")
            found[question] = () if row is None else (decode_product(row, selected, denied),)
        else:
            first = payload.obj(answered.data, f"m{number}", "data")
            found[question] = tuple(_exact(client, question[1], first, selected, denied))
    return found


def _search(sku: str) -> str:
    """The search for one SKU, quoted whole. Backslash and quotation mark alone have a meaning inside quotes."""
    escaped = sku.replace("\\", "\\\\").replace('"', '\\"')
    return f'sku:"{escaped}"'


def _exact(
    client: Client, sku: str, first: payload.Json, selected: Selection, denied: Sequence[str]
) -> Iterator[Record]:
    """The products of every hit whose SKU is this one, each once. The record of one with several variants has the
    SKU that was found, so that it can be seen to be the one that was asked for."""
    seen: set[str] = set()
    for row in _hits(client, sku, first, selected):
        if Text.canon(payload.optional_text(row, "sku", "productVariants")) != sku:
            continue
        record = decode_product(payload.obj(row, "product", "productVariants"), selected, denied)
        if record.key not in seen:
            seen.add(record.key)
            yield replace(record, values={**record.values, "sku": sku})


def _hits(client: Client, sku: str, first: payload.Json, selected: Selection) -> Iterator[payload.Json]:
    """Every hit of a search, whose first page is there already. Raises VendorChanged if the list does not move on."""
    page, after = first, ""
    while True:
        yield from payload.items(page, "nodes", "productVariants")
        info = payload.obj(page, "pageInfo", "productVariants")
        if not payload.flag(info, "hasNextPage", "pageInfo"):
            return
        cursor = payload.text(info, "endCursor", "pageInfo")
        if cursor in ("", after):
            raise VendorChanged("shopify.paging_stuck")
        after = cursor
        variables = {"first": PAGE_OF_HITS, "after": after, "query": _search(sku)}
        estimate = 3 + PAGE_OF_HITS * selected.objects * 0.1
        answered = read(client, hits_document(selected), variables, cost=estimate, bears=BEARS)
        page = payload.obj(answered.data, "productVariants", "data")


def _answer(one: Wanted, marker: str, answers: Mapping[_Question, tuple[Record, ...]]) -> Answer:
    own = answers.get((marker, one.marker), ()) if marker else ()
    same = answers.get(("sku", one.keys.get("sku", "")), ())
    return Answer(own, {"sku": same} if same else {})


def prepare(client: Client, marker: str) -> None:
    """Makes the definition of the marker. Raises AccountError if it may not be made, or stands there as another type."""
    told = "Which record at its source this product is. Kept by Suture; please do not edit."
    define(client, marker, owner="PRODUCT", description=told)


def admin_url(facts: Mapping[str, str], key: str) -> str:
    """The product in the shop's admin, ``""`` while the shop's handle is not known."""
    return admin_page(facts, "products", key)


PRODUCTS = Stream(
    name="products",
    label="Products",
    fields=(
        Field("title", Text, "Title"),
        Field("status", Code, "Status (ACTIVE, DRAFT, ARCHIVED)"),
        Field("descriptionHtml", Text, "Description (HTML)"),
        Field("vendor", Text, "Vendor"),
        Field("productType", Text, "Product type"),
        Field("sku", Text, "SKU", natural_key=True),
        Field("barcode", Text, "Barcode"),
        Field("price", Number, "Price"),
        Field("compareAtPrice", Number, "Compare-at price"),
        Field("cost", Number, "Cost per item"),
        Field("taxable", YesNoUnknown, "Is taxed"),
        Field("tracked", YesNoUnknown, "Stock is tracked"),
    ),
    open_fields=OPEN_FIELDS,
    read_page=read_page,
    read_many=read_many,
    find=find,
    write_many=write_many,
    prepare=prepare,
    bulk=BULK,
    write_cost=17,
    batch=10,
    admin_url=admin_url,
)
