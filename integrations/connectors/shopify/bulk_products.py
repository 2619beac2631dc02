"""Products in bulk: one pass, in which each row makes a product whole, as ``productSet`` does it singly.

A row may be sent again: the marker identifies its product, and the same row leaves the same product.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from integrations.connectors.base import BulkPass, BulkResult, WriteItem, Written
from integrations.connectors.shopify import bulk, bulk_rows
from integrations.connectors.shopify.operations import Selection
from integrations.connectors.shopify.product_decoding import decode_own
from integrations.connectors.shopify.product_documents import OF_VARIANT, SHAPES, ProductStep, row_selection
from integrations.connectors.shopify.products_writing import create, refuse
from integrations.connectors.shopify.steps import Job, Withheld, Writer
from integrations.core.records import Record
from integrations.core.values import clean_text
from integrations.toolkit import payload

_DOCUMENT = (
    "mutation BulkProductSet($identifier: ProductSetIdentifiers, $input: ProductSetInput!) {{"
    " productSet(identifier: $identifier, input: $input) {{ product {P} userErrors {{ code field message }} }} }}"
)


@lru_cache(maxsize=64)
def document(fields: frozenset[str], marker: str) -> str:
    """The mutation, which answers the product as it is then."""
    return _DOCUMENT.format(P=bulk_rows.braced(row_selection(fields | {marker})))


def takes(item: WriteItem, marker: str) -> bool:
    """A product to be made, with a marker: without one, a row that is sent again would make a second product."""
    return item.current is None and bool(clean_text(item.fields.get(marker)))


def row(item: WriteItem, marker: str) -> Mapping[str, object] | None:
    """Raises Rejected for a status that Shopify does not know, and for a wish for no price."""
    if not takes(item, marker):
        return None
    sent = create(item, marker).variables
    return {"identifier": sent["k"], "input": sent["i"]}


def outcome(item: WriteItem, result: BulkResult, fields: frozenset[str], marker: str) -> Written:
    """What became of an item: the product as it is now, or the error."""
    return bulk_rows.outcome(
        Job(item, ProductStep.CREATE, {}),
        result,
        writer=_WRITER,
        selected=row_selection(fields | {marker}),
        marker=marker,
        is_about=lambda told, _: _carries(told.record, item, marker),
    )


def _carries(record: Record | None, item: WriteItem, marker: str) -> bool:
    return record is not None and clean_text(record.values.get(marker)) == clean_text(item.fields.get(marker))


def _record(job: Job, result: payload.Json, withheld: Withheld, selected: Selection) -> Record:
    """The product after the step, with its variant as it was sent: the answer leaves that out."""
    own = decode_own(payload.obj(result, "product"), selected, {path[-1] for path in withheld})
    sent = {name: value for name, value in job.item.fields.items() if name in OF_VARIANT and value is not None}
    return replace(own, values={**sent, **own.values})


_WRITER = Writer("Products", SHAPES, _record, refuse)
BULK = bulk.way((BulkPass("products", document, row, outcome),), takes)
