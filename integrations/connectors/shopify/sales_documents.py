"""The GraphQL documents of sales: of an order, what moved stock, and nothing of who bought it.

What a refund gave back is read apart, for those orders only that have one. Every document that can come out of here is
validated in the tests, as those of ``operations.py`` are.
"""

from collections.abc import Sequence
from functools import lru_cache

from integrations.connectors.shopify.operations import nodes_document, page_document, select
from integrations.connectors.shopify.orders_documents import REFUNDS_FIRST
from integrations.connectors.shopify.refunds import MARKER

LINES_FIRST = 25  # with each order; the rest comes in requests of their own
RETURNED_FIRST = 50  # with each refund, and to a request for more
RETURNED_POINTS = 10
_LISTS_OBJECTS = 10  # what the lists add to the price of an order

_PAGE_INFO = "pageInfo { hasNextPage endCursor }"
_LINES = f"lineItems(first: {LINES_FIRST}) {{ nodes {{ id quantity product {{ id }} }} {_PAGE_INFO} }}"
_REFUNDS = f"refunds(first: {REFUNDS_FIRST}) {{ id createdAt processedAt }}"

SALE = select(
    "Order",
    frozenset({MARKER}),
    ["id name createdAt updatedAt test sourceIdentifier", _LINES, _REFUNDS],
    more=_LISTS_OBJECTS,
)


@lru_cache(maxsize=64)
def returned_document(size: int) -> str:
    """What so many refunds ``$i<n>`` gave back, each from its cursor ``$a<n>`` on: number n is alias ``m<n>``."""
    variables = ", ".join(f"$i{n}: ID!, $a{n}: String" for n in range(size))
    lines = [
        f"  m{n}: refund(id: $i{n}) {{ refundLineItems(first: {RETURNED_FIRST}, after: $a{n}) {{ ...L }} }}"
        for n in range(size)
    ]
    row = "id quantity restockType lineItem { id product { id } }"
    fragment = f"fragment L on RefundLineItemConnection {{ nodes {{ {row} }} {_PAGE_INFO} }}"
    return "\n".join([f"query ReturnedUnits{size}({variables}) {{", *lines, "}", fragment])


def every_sales_document() -> Sequence[str]:
    """One of each shape, for validation."""
    return (
        page_document("orders", "ID", SALE), page_document("orders", "UPDATED_AT", SALE), nodes_document(25, SALE),
        returned_document(1), returned_document(3),
    )  # fmt: skip
