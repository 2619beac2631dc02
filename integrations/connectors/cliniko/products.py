"""Cliniko's products as a stream. Facts and their sources: README.md beside this file."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial

from integrations.connectors.base import Field, Stream
from integrations.connectors.cliniko import lists
from integrations.connectors.cliniko.lists import PAGE_SIZE, Decode, Listing, Source
from integrations.connectors.cliniko.pages import page_url
from integrations.connectors.cliniko.rows import reference, row_key, state_of, text_of, version_of
from integrations.connectors.cliniko.tables import look_up
from integrations.core.errors import VendorChanged
from integrations.core.records import Record
from integrations.core.values import Number, Text, Value
from integrations.toolkit import payload
from integrations.toolkit.http import Client
from integrations.toolkit.payload import Json

LISTING = Listing("products")

_TAXES = Listing("taxes")
_TEXTS = ("name", "item_code", "serial_number")
_NUMBERS = ("price_including_tax", "price_ex_tax", "cost_price", "stock_level")


def _ready(client: Client, rows: Sequence[Json], _fields: frozenset[str]) -> Decode:
    taxes = look_up(client, _TAXES, _linked_taxes(rows), members=("name", "rate", "amount"))
    return partial(_decode, taxes)


def _linked_taxes(rows: Sequence[Json]) -> set[str]:
    """The taxes of these products; a reference that cannot be read is told when its product is decoded."""
    found = set()
    for row in rows:
        try:
            found.add(reference(row, "tax"))
        except VendorChanged:
            continue
    return {key for key in found if key}


def _decode(taxes: Mapping[str, Json], row: Json) -> Record:
    version, updated_at = version_of(row)
    values: dict[str, Value] = {name: text_of(row, name) for name in _TEXTS}
    values |= {name: payload.optional_decimal(row, name) for name in _NUMBERS}
    values["tax_rate"], values["tax_name"] = _tax(taxes, reference(row, "tax"))
    state, changed_at = state_of(row, updated_at)
    created_at = payload.optional_instant(row, "created_at")
    key = row_key(row, LISTING.collection)
    return Record(key, version, values, state, changed_at=changed_at, created_at=created_at)


def _tax(taxes: Mapping[str, Json], key: str | None) -> tuple[Decimal | None, str | None]:
    """Rate in per cent and name: no tax is 0, and one that the account no longer lists is not known.

    ``amount`` is the deprecated copy of the rate.
    """
    if key is None:
        return Decimal(0), None
    row = taxes.get(key, {})
    rate = payload.optional_decimal(row, "rate", "taxes[]")
    if rate is None:
        rate = payload.optional_decimal(row, "amount", "taxes[]")
    return rate, text_of(row, "name")


SOURCE = Source(LISTING, _ready)

PRODUCTS = Stream(
    name="products",
    label="Products",
    fields=(
        Field("name", Text, "Name", writable=False),
        Field("item_code", Text, "Item code (SKU), neither unique nor always there", writable=False),
        Field("serial_number", Text, "Serial number, often the barcode", writable=False),
        Field("price_including_tax", Number, "Price with tax", writable=False),
        Field("price_ex_tax", Number, "Price without tax", writable=False),
        Field("cost_price", Number, "Cost price", writable=False),
        Field("tax_rate", Number, "Tax in per cent, 0 for none", writable=False),
        Field("tax_name", Text, "Name of the tax", writable=False),
        Field("stock_level", Number, "Stock level, empty when not tracked", writable=False),
        Field("notes", Text, "Notes", clinical=True, writable=False),
    ),
    read_page=partial(lists.read_page, SOURCE),
    read_many=partial(lists.read_many, SOURCE),
    batch=PAGE_SIZE,
    poll_cost=3.0,
    admin_url=partial(page_url, "products"),
)
