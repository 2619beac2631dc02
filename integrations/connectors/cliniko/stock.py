"""Stock levels as a stream: one record a product, under the product's own id.

Whether a sale or an adjustment touches a product's ``updated_at`` is not stated, so a pass over changes also reads the
stock adjustments made since, and then the products that they name. README.md, "Products and stock".
"""

from collections.abc import Sequence
from functools import partial

from integrations.connectors.base import Field, Stream
from integrations.connectors.cliniko import lists
from integrations.connectors.cliniko.lists import PAGE_SIZE, Decode, Listing, Part, Source
from integrations.connectors.cliniko.pages import page_url
from integrations.connectors.cliniko.products import LISTING
from integrations.connectors.cliniko.rows import row_key, state_of, version_of
from integrations.core.records import Record
from integrations.core.values import Number, Text
from integrations.toolkit import payload
from integrations.toolkit.http import Client
from integrations.toolkit.payload import Json

ADJUSTMENTS = Listing("stock_adjustments", stamp="created_at")


def _ready(_client: Client, _rows: Sequence[Json], _fields: frozenset[str]) -> Decode:
    return _decode


def _decode(row: Json) -> Record:
    """The version holds the level itself, whatever ``updated_at`` says. No level is "not tracked", never zero."""
    key = row_key(row, LISTING.collection)
    stamp, updated_at = version_of(row)
    level = payload.optional_decimal(row, "stock_level")
    state, changed_at = state_of(row, updated_at)
    created_at = payload.optional_instant(row, "created_at")
    values = {"product": key, "level": level}
    return Record(key, f"{stamp} {Number.canon(level)}", values, state, changed_at=changed_at, created_at=created_at)


SOURCE = Source(
    LISTING,
    _ready,
    elsewhere=(Part("adjusted", ADJUSTMENTS, ("created_at:>={since}", "archived_at:*"), names="product"),),
)

STOCK = Stream(
    name="stock",
    label="Stock levels",
    fields=(
        Field("product", Text, "Product", writable=False),
        Field("level", Number, "Stock level, empty when not tracked", writable=False),
    ),
    read_page=partial(lists.read_page, SOURCE),
    read_many=partial(lists.read_many, SOURCE),
    batch=PAGE_SIZE,
    poll_cost=5.0,
    admin_url=partial(page_url, "products"),
)
