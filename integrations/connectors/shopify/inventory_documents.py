"""The GraphQL documents of stock levels and locations.

Every document that can come out of here is validated in the tests, as those of ``operations.py`` are.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache

from integrations.connectors.shopify.operations import Shape, select, write_document

LEVEL = select(
    "InventoryLevel", frozenset(), ['id isActive updatedAt quantities(names: ["available"]) { name quantity }']
)
_AT = "inventoryLevel(locationId: $l{n}, includeInactive: true) {{ ...R }}"
_OF_ITEM = f"id tracked updatedAt {_AT}"
_OF_PRODUCT = "nodes {{ id product {{ id variants(first: 2) {{ nodes {{ id }} }} }} }}"
BY_PRODUCT_POINTS = 4 + LEVEL.objects
BY_ITEM_POINTS = 7 + LEVEL.objects

LOCATIONS = """\
query Locations($first: Int!, $after: String) {
  locations(first: $first, after: $after, includeInactive: true, includeLegacy: true, sortKey: ID) {
    nodes { id name isActive isFulfillmentService }
    pageInfo { hasNextPage endCursor }
  }
}"""


@lru_cache(maxsize=64)
def by_product_document(size: int) -> str:
    """So many levels by product ``$i<n>`` and location ``$l<n>``: number n is alias ``m<n>``."""
    inside = f"id variants(first: 2) {{{{ nodes {{{{ id inventoryItem {{{{ {_OF_ITEM} }}}} }}}} }}}}"
    return _read("StockOfProducts", "ProductIdentifierInput!", "productByIdentifier(identifier: $i{n})", inside, size)


@lru_cache(maxsize=64)
def by_item_document(size: int) -> str:
    """So many levels by inventory item ``$i<n>`` and location ``$l<n>``, with the product each item belongs to."""
    inside = f"{_OF_ITEM} variants(first: 2) {{{{ {_OF_PRODUCT} }}}}"
    return _read("StockOfItems", "ID!", "inventoryItem(id: $i{n})", inside, size)


def _read(title: str, kind: str, root: str, inside: str, size: int) -> str:
    variables = ", ".join(f"$i{n}: {kind}, $l{n}: ID!" for n in range(size))
    lines = [f"  m{n}: {root.format(n=n)} {{ {inside.format(n=n)} }}" for n in range(size)]
    return "\n".join([f"query {title}({variables}) {{", *lines, "}", LEVEL.text])


class StockStep(StrEnum):
    """One mutation that a write may need next."""

    TRACK = "inventoryItemUpdate"
    ACTIVATE = "inventoryActivate"
    SET = "inventorySetQuantities"


_ONCE = "@idempotent(key: $k{n})"
SHAPES: dict[str, Shape] = {
    StockStep.TRACK: Shape(
        ("$c{n}: ID!", "$i{n}: InventoryItemInput!"),
        "id: $c{n}, input: $i{n}",
        "inventoryItem { id tracked } userErrors { field message }",
    ),
    StockStep.ACTIVATE: Shape(
        ("$c{n}: ID!", "$l{n}: ID!", "$i{n}: Int", "$k{n}: String!"),
        "inventoryItemId: $c{n}, locationId: $l{n}, available: $i{n}",
        "inventoryLevel { ...R } userErrors { field message }",
        _ONCE,
    ),
    StockStep.SET: Shape(
        ("$i{n}: InventorySetQuantitiesInput!", "$k{n}: String!"),
        "input: $i{n}",
        "inventoryAdjustmentGroup { id } userErrors { code field message }",
        _ONCE,
    ),
}


def every_inventory_document() -> Sequence[str]:
    """One of each shape, for validation."""
    return (
        LOCATIONS, by_product_document(3), by_item_document(3),
        *(write_document("Stock", (shape,), LEVEL) for shape in SHAPES.items()),
        write_document("Stock", tuple(SHAPES.items()), LEVEL),
    )  # fmt: skip
