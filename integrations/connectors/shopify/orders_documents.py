"""The GraphQL documents of orders and of the refunds on them. Assembled from checked parts, as in ``operations.py``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache

from integrations.connectors.shopify.operations import (
    CLEAR_METAFIELDS,
    Selection,
    Shape,
    find_document,
    nodes_document,
    page_document,
    select,
    tags_shape,
    write_document,
)

LINES_FIRST = 25  # with each order; Shopify prices a list by its size, and few invoices have more
UNITS_FIRST = 50  # with each refund
LINES_MORE = 250  # to a request for the lines that did not fit
REFUNDS_FIRST = 250
REFUND = "refund."

ORDERS_BY_NAME = (
    "query OrdersByName($query: String!) { orders(first: 10, query: $query, sortKey: ID) { nodes { id name } } }"
)

MONEY = "{ shopMoney { amount currencyCode } }"
LINE = (
    "id title quantity refundableQuantity product { id } "
    f"originalUnitPriceSet {MONEY} discountAllocations {{ allocatedAmountSet {MONEY} }} "
    f"taxLines {{ rate priceSet {MONEY} }}"
)
TERMS = "id paymentSchedules(first: 5) { nodes { id dueAt completedAt } }"
_PAGE_INFO = "pageInfo { hasNextPage endCursor }"
_LINES = f"lineItems(first: {LINES_FIRST}) {{ nodes {{ {LINE} }} {_PAGE_INFO} }}"
_LINES_OBJECTS = 15  # what the list adds to the price of an order, by others' measures

_REFUND = (
    "id createdAt updatedAt processedAt note "
    f"order {{ id taxesIncluded totalReceivedSet {MONEY} }} totalRefundedSet {MONEY} "
    f"refundLineItems(first: {UNITS_FIRST}) {{ nodes {{ quantity lineItem {{ {LINE} }} }} {_PAGE_INFO} }}"
)


def _refund_fragment(name: str) -> str:
    return f"fragment {name} on Refund {{ {_REFUND} }}"


_REFUND_FRAGMENT = _refund_fragment("R")


def refund_selection(fields: frozenset[str]) -> Selection:
    """A refund is read whole, whatever is asked of it."""
    return Selection("Refund", fields, (), (), _REFUND_FRAGMENT, REFUND_OBJECTS)


REFUND_OBJECTS = 35

VARIANTS = """\
query VariantsOf($ids: [ID!]!) {
  nodes(ids: $ids) { ... on Product { id variants(first: 2) { nodes { id } } } }
}"""

TERMS_TEMPLATES = """\
query PaymentTermsTemplates {
  paymentTermsTemplates(paymentTermsType: FIXED) { id paymentTermsType }
}"""

MORE_LINES = f"""\
query OrderLines($id: ID!, $after: String) {{
  order(id: $id) {{ lineItems(first: {LINES_MORE}, after: $after) {{ nodes {{ {LINE} }} {_PAGE_INFO} }} }}
}}"""

# Always read: they cost nothing.
_SCALARS = "id updatedAt createdAt closedAt cancelledAt taxesIncluded displayFinancialStatus"
_BY_FIELD: Mapping[str, str] = {
    "number": "poNumber",
    "processedAt": "processedAt",
    "currency": "currencyCode",
    "note": "note",
    "customer": "customer { id }",
    "lines": _LINES,
    "tax": f"totalTaxSet {MONEY}",
    "dueOn": f"paymentTerms {{ {TERMS} }}",
}


@lru_cache(maxsize=256)
def order_selection(fields: frozenset[str], *, with_refunds: bool = False) -> Selection:
    """The part of an order that these stream fields need, with the refunds as fragment ``Back``.

    Raises KeyError for a metafield that cannot be one.
    """
    parts = [_SCALARS, *(text for name, text in _BY_FIELD.items() if name in fields)]
    if fields & {"total", "payment"}:
        parts.append(f"totalPriceSet {MONEY}")
    if fields & {"payment", "dueOn"}:
        parts.append(f"totalOutstandingSet {MONEY}")
    if with_refunds:
        parts.append(f"refunds(first: {REFUNDS_FIRST}) {{ ...Back }}")
    more = _LINES_OBJECTS * ("lines" in fields) + REFUND_OBJECTS * with_refunds
    selected = select("Order", fields, parts, more=more)
    return replace(selected, text=f"{selected.text}\n{_refund_fragment('Back')}") if with_refunds else selected


# -- reading


@lru_cache(maxsize=256)
def refunds_document(size: int) -> str:
    """So many refunds by id: number n is alias ``m<n>`` with ``$i<n>``."""
    return _aliased("RefundsById", "refund(id: $i{n}) {{ ...R }}", size) + f"\n{_REFUND_FRAGMENT}"


@lru_cache(maxsize=256)
def refund_notes_document(size: int) -> str:
    """What stands in the notes of so many orders' refunds."""
    inner = f"order(id: $i{{n}}) {{{{ id refunds(first: {REFUNDS_FIRST}) {{{{ id note }}}} }}}}"
    return _aliased("RefundNotes", inner, size)


@lru_cache(maxsize=256)
def refundable_document(size: int) -> str:
    """What a refund must know of so many orders: lines, money that came and went, and the refunds that are there."""
    return _aliased("Refundable", "order(id: $i{n}) {{ ...F }}", size) + f"\n{_REFUNDABLE}"


_REFUNDABLE = (
    f"fragment F on Order {{ id taxesIncluded totalPriceSet {MONEY} totalReceivedSet {MONEY} "
    f"refunds(first: {REFUNDS_FIRST}) {{ id note }} "
    f"transactions(first: 250) {{ id kind status gateway amountSet {MONEY} parentTransaction {{ id }} }} {_LINES} }}"
)


def _aliased(name: str, field: str, size: int) -> str:
    variables = ", ".join(f"$i{number}: ID!" for number in range(size))
    lines = [f"  m{number}: {field.format(n=number)}" for number in range(size)]
    return "\n".join([f"query {name}{size}({variables}) {{", *lines, "}"])


# -- writing


class OrderStep(StrEnum):
    """One mutation that an order, or a refund on one, may need next."""

    CREATE = "orderCreate"
    UPDATE = "orderUpdate"
    CUSTOMER = "orderCustomerSet"
    CLEAR_METAFIELDS = "metafieldsDelete"
    TAGS_ADD = "tagsAdd"
    TAGS_REMOVE = "tagsRemove"
    CANCEL = "orderCancel"
    MARK_PAID = "orderMarkAsPaid"
    TERMS_CREATE = "paymentTermsCreate"
    TERMS_UPDATE = "paymentTermsUpdate"
    TERMS_DELETE = "paymentTermsDelete"
    CLOSE = "orderClose"
    OPEN = "orderOpen"
    REFUND = "refundCreate"


_PLAIN_ERRORS = "userErrors { field message }"
_CODED_ERRORS = "userErrors { code field message }"
_ORDER = f"order {{ ...R }} {_PLAIN_ERRORS}"
_TERMS = f"paymentTerms {{ {TERMS} }} {_CODED_ERRORS}"
_OPTIONS = "{{inventoryBehaviour: BYPASS, sendReceipt: false, sendFulfillmentReceipt: false}}"

SHAPES: dict[str, Shape] = {
    OrderStep.CREATE: Shape(
        ("$i{n}: OrderCreateOrderInput!",), f"order: $i{{n}}, options: {_OPTIONS}", f"order {{ ...R }} {_CODED_ERRORS}"
    ),
    OrderStep.UPDATE: Shape(("$i{n}: OrderInput!",), "input: $i{n}", _ORDER),
    OrderStep.CUSTOMER: Shape(
        ("$c{n}: ID!", "$i{n}: ID!"), "orderId: $c{n}, customerId: $i{n}", f"order {{ ...R }} {_CODED_ERRORS}"
    ),
    OrderStep.CLEAR_METAFIELDS: CLEAR_METAFIELDS,
    OrderStep.TAGS_ADD: tags_shape("Order"),
    OrderStep.TAGS_REMOVE: tags_shape("Order"),
    OrderStep.CANCEL: Shape(
        ("$c{n}: ID!", "$i{n}: String"),
        "orderId: $c{n}, reason: OTHER, restock: false, notifyCustomer: false, "
        "refundMethod: {{originalPaymentMethodsRefund: false}}, staffNote: $i{n}",
        "job { id done } orderCancelUserErrors { code field message }",
    ),
    OrderStep.MARK_PAID: Shape(("$i{n}: OrderMarkAsPaidInput!",), "input: $i{n}", _ORDER),
    OrderStep.TERMS_CREATE: Shape(
        ("$c{n}: ID!", "$i{n}: PaymentTermsCreateInput!"),
        "referenceId: $c{n}, paymentTermsAttributes: $i{n}",
        _TERMS,
    ),
    OrderStep.TERMS_UPDATE: Shape(("$i{n}: PaymentTermsUpdateInput!",), "input: $i{n}", _TERMS),
    OrderStep.TERMS_DELETE: Shape(("$i{n}: PaymentTermsDeleteInput!",), "input: $i{n}", f"deletedId {_CODED_ERRORS}"),
    OrderStep.CLOSE: Shape(("$i{n}: OrderCloseInput!",), "input: $i{n}", _ORDER),
    OrderStep.OPEN: Shape(("$i{n}: OrderOpenInput!",), "input: $i{n}", _ORDER),
}
REFUND_SHAPES: dict[str, Shape] = {
    OrderStep.REFUND: Shape(
        ("$i{n}: RefundInput!", "$k{n}: String!"),
        "input: $i{n}",
        f"refund {{ ...R }} {_PLAIN_ERRORS}",
        "@idempotent(key: $k{n})",
    ),
}


def every_document(fields: frozenset[str]) -> Sequence[str]:
    """One of each shape, for validation."""
    selected, paged = order_selection(fields), order_selection(fields, with_refunds=True)
    return (
        VARIANTS, TERMS_TEMPLATES, MORE_LINES, ORDERS_BY_NAME, refunds_document(2), refund_notes_document(2), refundable_document(2),
        write_document("Orders", tuple(SHAPES.items()), selected),
        *(write_document("Orders", (shape,), selected) for shape in SHAPES.items()),
        write_document("Refunds", tuple(REFUND_SHAPES.items()), refund_selection(fields)),
        find_document(3, selected), nodes_document(10, selected),
        page_document("orders", "ID", selected), page_document("orders", "UPDATED_AT", paged),
    )  # fmt: skip
