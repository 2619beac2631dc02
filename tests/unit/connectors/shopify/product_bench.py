"""Builders for products that are written to the sandboxed shop."""

from collections.abc import Mapping
from decimal import Decimal

from integrations.connectors.base import WriteItem, Written
from integrations.connectors.shopify.products import PRODUCTS, prepare, read_many, write_many
from integrations.core import diffing
from integrations.core.records import Record
from integrations.core.values import Value
from tests.unit.connectors.shopify.bench import SHOP, Direct

MARKER = "metafields.suture.cliniko_product_id"
SHELF = "metafields.clinic.shelf"
FIELDS = frozenset({known.name for known in PRODUCTS.fields} | {MARKER, SHELF, "tag.clinic", "tag.old"})
TAPE: Mapping[str, Value] = {
    "title": "Strapping tape",
    "status": "ACTIVE",
    "descriptionHtml": "<p>38 mm</p>",
    "vendor": "Harbour",
    "productType": "Tape",
    "sku": "TAPE-38",
    "barcode": "9300000000017",
    "price": Decimal("12.50"),
    "cost": Decimal("7.25"),
    "taxable": True,
    "tracked": True,
    "tag.clinic": True,
    SHELF: "A 3",
    MARKER: "88",
}
SCOPES = ("write_customers", "write_products", "write_inventory", "read_locations")


def ready(**settings: object) -> Direct:
    """A client of a shop whose marker is defined."""
    client = Direct()
    client.sandbox.configure(SHOP, **{"scopes": SCOPES, **settings})
    prepare(client, MARKER)
    return client


def new(ref: str = "88", /, **changes: Value) -> WriteItem:
    wish = {**TAPE, MARKER: ref, **changes}
    return WriteItem(ref, diffing.new(wish, PRODUCTS.kind_of).fields, wish, None)


def write(client: Direct, *items: WriteItem) -> list[Written]:
    return list(write_many(client, items, FIELDS, MARKER))


def patch(record: Record, wish: Mapping[str, Value], ref: str = "88") -> WriteItem | None:
    """The item that brings a record to a wish, None when it is already there. Everything there counts as ours."""
    found = diffing.diff(
        wish, record.values, kind_of=PRODUCTS.kind_of, digest=lambda name, value: repr(value),
        written={name: repr(value) for name, value in record.values.items()}, policies={},
    )  # fmt: skip
    return WriteItem(ref, found.fields, wish, record) if found else None


def changed(record: Record, **changes: Value) -> WriteItem:
    item = patch(record, {**TAPE, **changes})
    assert item is not None
    return item


def bring(client: Direct, item: WriteItem, *, most: int = 8) -> tuple[Record, list[str]]:
    """Writes step by step as the shell does; the record at the end, and the mutations it took."""
    steps: list[str] = []
    left: WriteItem | None = item
    record = item.current
    while left is not None:
        assert len(steps) < most, f"did not converge: {steps}"
        [written] = write(client, left)
        assert written.error is None and written.record is not None, written.error
        steps += client.roots
        record = written.record
        left = patch(record, item.wanted, item.ref)
    assert record is not None
    return record, steps


def made(client: Direct, **changes: Value) -> Record:
    """The tape as a product."""
    return bring(client, new("88", **changes))[0]


def read(client: Direct, key: str) -> Record | None:
    return read_many(client, [key], FIELDS).get(key)
