"""The GraphQL documents of products. A product's variants are asked for two at a time: one is ours, a second says no.

Every document that can come out of here is validated in the tests, as those of ``operations.py`` are.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache

from integrations.connectors.shopify.operations import (
    CLEAR_METAFIELDS,
    Selection,
    Shape,
    nodes_document,
    page_document,
    select,
    tags_shape,
    write_document,
)

OWN = ("title", "status", "descriptionHtml", "vendor", "productType")
VARIANT = ("sku", "barcode", "price", "compareAtPrice", "taxable")
STOCK = frozenset({"tracked", "cost"})  # members of the inventory item, which needs a scope of its own
OF_VARIANT = frozenset(VARIANT) | STOCK
MOST_HITS = 5  # of one SKU's search in the first request; the rest is paged
PAGE_OF_HITS = 100


@lru_cache(maxsize=256)
def product_selection(fields: frozenset[str]) -> Selection:
    """The part of a product that these stream fields need. Raises KeyError for a metafield that cannot be one."""
    inside = ["id", *(name for name in VARIANT if name in fields)]
    if fields & STOCK:
        inside.append("inventoryItem { id tracked unitCost { amount } }")
    variants = f"variants(first: 2) {{ nodes {{ {' '.join(inside)} }} }}"
    return select("Product", fields, ["id updatedAt createdAt", *(name for name in OWN if name in fields), variants])


@lru_cache(maxsize=64)
def row_selection(fields: frozenset[str]) -> Selection:
    """The product without its variant, as a row of a bulk run answers it: no connection, and no other scope."""
    return select("Product", fields, ["id updatedAt createdAt", *(name for name in OWN if name in fields)])


class ProductStep(StrEnum):
    """One mutation that a write may need next."""

    CREATE = "productSet"
    UPDATE = "productUpdate"
    VARIANT = "productVariantsBulkUpdate"
    CLEAR_METAFIELDS = "metafieldsDelete"
    TAGS_ADD = "tagsAdd"
    TAGS_REMOVE = "tagsRemove"


_TYPED = "userErrors { code field message }"
SHAPES: dict[str, Shape] = {
    ProductStep.CREATE: Shape(
        ("$k{n}: ProductSetIdentifiers", "$i{n}: ProductSetInput!"),
        "identifier: $k{n}, input: $i{n}, synchronous: true",
        f"product {{ ...R }} {_TYPED}",
        points=3,  # a fifth for the variant and two fifths for each metafield
    ),
    ProductStep.UPDATE: Shape(
        ("$i{n}: ProductUpdateInput!",), "product: $i{n}", "product { ...R } userErrors { field message }"
    ),
    ProductStep.VARIANT: Shape(
        ("$c{n}: ID!", "$i{n}: [ProductVariantsBulkInput!]!"),
        "productId: $c{n}, variants: $i{n}",
        f"product {{ ...R }} {_TYPED}",
    ),
    ProductStep.CLEAR_METAFIELDS: CLEAR_METAFIELDS,
    ProductStep.TAGS_ADD: tags_shape("Product"),
    ProductStep.TAGS_REMOVE: tags_shape("Product"),
}

_HITS = "{ nodes { id sku product { ...R } } pageInfo { hasNextPage endCursor } }"


@lru_cache(maxsize=512)
def find_document(is_marker: tuple[bool, ...], selected: Selection) -> str:
    """Look-ups in one query: number n is alias ``m<n>``, by the identifier ``$i<n>`` or the search ``$q<n>``."""
    declared: list[str] = []
    lines: list[str] = []
    for number, marks in enumerate(is_marker):
        if marks:
            declared.append(f"$i{number}: ProductIdentifierInput!")
            lines.append(f"  m{number}: productByIdentifier(identifier: $i{number}) {{ ...R }}")
        else:
            declared.append(f"$q{number}: String!")
            lines.append(f"  m{number}: productVariants(first: {MOST_HITS}, query: $q{number}) {_HITS}")
    return "\n".join([f"query FindProducts({', '.join(declared)}) {{", *lines, "}", selected.text])


@lru_cache(maxsize=64)
def hits_document(selected: Selection) -> str:
    """A page of the variants that a search finds."""
    head = "query ProductVariantHits($first: Int!, $after: String, $query: String!) {"
    return "\n".join(
        (head, f"  productVariants(first: $first, after: $after, query: $query) {_HITS}", "}", selected.text)
    )


def every_product_document(fields: frozenset[str]) -> Sequence[str]:
    """One of each shape, for validation."""
    selected = product_selection(fields)
    return (
        write_document("Products", tuple(SHAPES.items()), selected),
        *(write_document("Products", (shape,), selected) for shape in SHAPES.items()),
        find_document((True, False, True), selected), hits_document(selected), nodes_document(10, selected),
        page_document("products", "ID", selected), page_document("products", "UPDATED_AT", selected),
    )  # fmt: skip
