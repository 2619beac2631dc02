"""Stock adjustments as a target: what was sold or returned elsewhere, booked on Cliniko's own level.

An adjustment is never changed and has no idempotency key. Its reference therefore stands in its notes, on a line of
ours, and is looked for there before anything is sent again. Facts and their sources: README.md, "Products and stock".
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial

from integrations.connectors.base import Answer, Field, Stream, Wanted, WriteItem, Written
from integrations.connectors.cliniko import lists
from integrations.connectors.cliniko.lists import ARCHIVED_TOO, Decode, Source, every_page
from integrations.connectors.cliniko.rows import is_key, reference, row_key, state_of, text_of, version_of
from integrations.connectors.cliniko.stock import ADJUSTMENTS
from integrations.core.errors import (
    AccountError,
    Rejected,
    SyncError,
    Throttled,
    Unavailable,
    Uncertain,
    VendorChanged,
)
from integrations.core.records import Record
from integrations.core.values import Number, Text, Value, clean_text
from integrations.toolkit import payload
from integrations.toolkit.http import Client, Reply
from integrations.toolkit.payload import Json

BATCH = 5  # one request each, and all of them together within one lease
LOOKED_BACK = timedelta(days=7)
NOTE = "Suture "  # what our line in the notes begins with

UPWARDS = frozenset(("Stock Purchase", "Returned", "Other"))
DOWNWARDS = frozenset(("Damaged", "Out of Date", "Item Sold", "Other", "Correction"))


def find(client: Client, wanted: Sequence[Wanted], fields: frozenset[str], marker: str) -> Mapping[str, Answer]:
    """Adjustments whose notes hold the marker, among those of the product in the last seven days, archived ones too.

    One list a product. Without a product in the wish all adjustments of these days are read.
    """
    products = {one.ref: _product(one) for one in wanted if clean_text(one.marker)}
    recent = {product: _recent(client, product) for product in dict.fromkeys(products.values())}
    return {one.ref: _marked(recent[products[one.ref]], one) if one.ref in products else Answer() for one in wanted}


def _product(wanted: Wanted) -> str:
    product = clean_text(_text(wanted.fields.get("product")))
    return product if is_key(product) else ""


def _recent(client: Client, product: str) -> list[Record]:
    since = (datetime.now(UTC) - LOOKED_BACK).strftime("%Y-%m-%dT%H:%M:%SZ")
    filters = ([("q[]", f"product_id:={product}")] if product else []) + [("q[]", f"created_at:>={since}")]
    pages = every_page(client, ADJUSTMENTS, (*filters, ARCHIVED_TOO))
    return [
        decode(row) for page in pages for row in page if not product or reference(row, "product") in (None, product)
    ]


def _marked(recent: Sequence[Record], wanted: Wanted) -> Answer:
    marker = clean_text(wanted.marker)
    return Answer(by_marker=tuple(record for record in recent if record.values["reference"] == marker))


def decode(row: Json) -> Record:
    """One adjustment. Of its notes only our own reference is read."""
    version, updated_at = version_of(row)
    state, changed_at = state_of(row, updated_at)
    values: dict[str, Value] = {
        "product": reference(row, "product"),
        "quantity": payload.optional_decimal(row, "quantity"),
        "adjustment_type": text_of(row, "adjustment_type"),
        "reference": _reference_in(row),
    }
    created_at = payload.optional_instant(row, "created_at")
    key = row_key(row, ADJUSTMENTS.collection)
    return Record(key, version, values, state, changed_at=changed_at, created_at=created_at)


def _reference_in(row: Json) -> str | None:
    """``comment`` is what the notes were called before."""
    notes = payload.optional_text(row, "notes") or payload.optional_text(row, "comment") or ""
    ours = (line.strip().removeprefix(NOTE) for line in notes.splitlines() if line.strip().startswith(NOTE))
    return clean_text(next(ours, "")) or None


# -- writing


def write_many(client: Client, items: Sequence[WriteItem], fields: frozenset[str], marker: str) -> Sequence[Written]:
    """One request an item, one outcome each; an adjustment that is there already is answered as it is.

    Raises what concerns the connection (AccountError, Throttled, VendorChanged) only when nothing was written before;
    otherwise it is the outcome of each item that was not sent because of it.
    """
    outcomes: list[Written] = []
    stopped: SyncError | None = None
    for item in items:
        if stopped is None:
            outcomes.append(_write(client, item))
            stopped = _stops(outcomes[-1].error)
        else:
            outcomes.append(Written(item.ref, error=stopped))
    if isinstance(stopped, AccountError | Throttled | VendorChanged) and not any(one.record for one in outcomes):
        raise stopped
    return outcomes


def _stops(error: SyncError | None) -> SyncError | None:
    """The error, if the items that follow would meet it too."""
    return error if isinstance(error, AccountError | Throttled | VendorChanged | Unavailable) else None


def _write(client: Client, item: WriteItem) -> Written:
    if item.current is not None and not item.fields:
        return Written(item.ref, item.current)
    try:
        reply = client.post(ADJUSTMENTS.path, _body(item), writes=True)
    except SyncError as error:
        return Written(item.ref, error=error)
    return _written(item, reply)


def _body(item: WriteItem) -> Mapping[str, str]:
    """What is sent. Raises Rejected for what Cliniko could not take, and for a change to an adjustment."""
    if item.current is not None:
        raise Rejected("cliniko.adjustment.final", fields=", ".join(sorted(item.fields)))
    product, kind = (clean_text(_text(item.fields.get(name))) for name in ("product", "adjustment_type"))
    if not is_key(product):
        raise Rejected("cliniko.values.rejected", fields="product")
    quantity = _checked(item.fields.get("quantity"), kind)
    told = clean_text(_text(item.fields.get("reference")))
    body = {"product_id": product, "quantity": _decimal(quantity), "adjustment_type": kind}
    return {**body, "notes": f"{NOTE}{told}"} if told else body


def _checked(quantity: Value, kind: str) -> Decimal:
    """The quantity, if its sign is one that the type allows."""
    if kind not in UPWARDS | DOWNWARDS:
        raise Rejected("cliniko.adjustment.type", fields="adjustment_type")
    if not isinstance(quantity, Decimal) or not quantity:
        raise Rejected("cliniko.adjustment.sign", fields="quantity")
    if kind not in (UPWARDS if quantity > 0 else DOWNWARDS):
        raise Rejected("cliniko.adjustment.sign", fields="quantity")
    return quantity


def _decimal(quantity: Decimal) -> str:
    """A decimal string with a point, as in Cliniko's own samples: ``-2.0``."""
    text = format(quantity.normalize(), "f")
    return text if "." in text else f"{text}.0"


def _written(item: WriteItem, reply: Reply) -> Written:
    """A success whose body says nothing leaves it open what was written: it is looked for before another try."""
    try:
        record = decode(payload.as_object(reply.data, "stock_adjustment"))
    except VendorChanged:
        unclear = Uncertain("cliniko.adjustment.unclear", request_id=reply.request_id or None)
        return Written(item.ref, error=unclear, request_id=reply.request_id)
    return Written(item.ref, record, request_id=reply.request_id)


def _text(value: Value) -> str | None:
    return value if isinstance(value, str) else None


def _ready(_client: Client, _rows: Sequence[Json], _fields: frozenset[str]) -> Decode:
    return decode


SOURCE = Source(ADJUSTMENTS, _ready)

STOCK_ADJUSTMENTS = Stream(
    name="stock_adjustments",
    label="Stock adjustments",
    fields=(
        Field("product", Text, "Product", fixed=True),
        Field("quantity", Number, "Quantity, below zero for what left", fixed=True),
        Field("adjustment_type", Text, "Type of adjustment", fixed=True),
        Field("reference", Text, "Reference to what it was made for", fixed=True),
        Field("notes", Text, "Notes other than our own line", clinical=True, writable=False),
    ),
    read_all=partial(lists.read_page, SOURCE),
    read_many=partial(lists.read_many, SOURCE),
    find=find,
    write_many=write_many,
    batch=BATCH,
)
