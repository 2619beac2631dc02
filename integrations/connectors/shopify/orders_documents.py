"""The GraphQL documents of orders and of the refunds on them. Assembled from checked parts, as in ``operations.py``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from integrations.connectors.shopify.operations import METAFIELDS, TAG, Selection, metafield_name

LINES_FIRST = 25  # with each order; Shopify prices a list by its size, and few invoices have more
UNITS_FIRST = 50  # with each refund
LINES_MORE = 250  # to a request for the lines that did not fit
REFUNDS_FIRST = 250
REFUND = "refund."

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
_REFUND_FRAGMENT = f"fragment R on Refund {{ {_REFUND} }}"
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
    """The part of an order that these stream fields need, as fragment ``O``.

    Raises KeyError for a metafield that cannot be one.
    """
    metafields = tuple(sorted(name for name in fields if name.startswith(METAFIELDS)))
    tags = tuple(sorted(name for name in fields if name.startswith(TAG)))
    parts = [_SCALARS, *(text for name, text in _BY_FIELD.items() if name in fields), *(["tags"] if tags else [])]
    if fields & {"total", "payment"}:
        parts.append(f"totalPriceSet {MONEY}")
    if fields & {"payment", "dueOn"}:
        parts.append(f"totalOutstandingSet {MONEY}")
    for number, name in enumerate(metafields):
        namespace, key = metafield_name(name)
        parts.append(f'f{number}: metafield(namespace: "{namespace}", key: "{key}") {{ value }}')
    if with_refunds:
        parts.append(f"refunds(first: {REFUNDS_FIRST}) {{ ...R }}")
    text = " ".join(parts)
    fragments = f"fragment O on Order {{ {text} }}" + (f"\n{_REFUND_FRAGMENT}" if with_refunds else "")
    objects = 1 + text.count("{") + _LINES_OBJECTS * ("lines" in fields) + REFUND_OBJECTS * with_refunds
    return Selection("Order", fields, metafields, tags, fragments, objects)


# -- reading


@lru_cache(maxsize=512)
def find_document(identifiers: int, selected: Selection) -> str:
    """So many look-ups in one query: number n is alias ``m<n>`` with the identifier ``$i<n>``."""
    variables = ", ".join(f"$i{number}: OrderIdentifierInput!" for number in range(identifiers))
    lines = [f"  m{number}: orderByIdentifier(identifier: $i{number}) {{ ...O }}" for number in range(identifiers)]
    return "\n".join([f"query FindOrders({variables}) {{", *lines, "}", selected.text])


@lru_cache(maxsize=256)
def nodes_document(size: int, selected: Selection) -> str:
    """So many orders by id. The size is in the name because it decides the cost, which is learnt by document."""
    head = f"query OrdersById{size}($ids: [ID!]!)"
    return f"{head} {{ nodes(ids: $ids) {{ ... on Order {{ ...O }} }} }}\n{selected.text}"


@lru_cache(maxsize=256)
def page_document(sort_key: str, selected: Selection) -> str:
    head = "query OrdersPage($first: Int!, $after: String, $query: String) {"
    asked = f"orders(first: $first, after: $after, query: $query, sortKey: {sort_key})"
    return f"{head}\n{asked} {{ nodes {{ ...O }} {_PAGE_INFO} }} }}\n{selected.text}"


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


@dataclass(frozen=True, slots=True)
class _Shape:
    """Variables with their types, arguments, what is selected; ``directive`` follows the arguments."""

    variables: tuple[str, ...]
    arguments: str
    answer: str
    directive: str = ""


_PLAIN_ERRORS = "userErrors { field message }"
_CODED_ERRORS = "userErrors { code field message }"
_ORDER = f"order {{ ...O }} {_PLAIN_ERRORS}"
_NODE = f"node {{ ... on Order {{ ...O }} }} {_PLAIN_ERRORS}"
_TERMS = f"paymentTerms {{ {TERMS} }} {_CODED_ERRORS}"
_OPTIONS = "{{inventoryBehaviour: BYPASS, sendReceipt: false, sendFulfillmentReceipt: false}}"

_SHAPES: Mapping[OrderStep, _Shape] = {
    OrderStep.CREATE: _Shape(
        ("$i{n}: OrderCreateOrderInput!",), f"order: $i{{n}}, options: {_OPTIONS}", f"order {{ ...O }} {_CODED_ERRORS}"
    ),
    OrderStep.UPDATE: _Shape(("$i{n}: OrderInput!",), "input: $i{n}", _ORDER),
    OrderStep.CUSTOMER: _Shape(
        ("$c{n}: ID!", "$i{n}: ID!"), "orderId: $c{n}, customerId: $i{n}", f"order {{ ...O }} {_CODED_ERRORS}"
    ),
    OrderStep.CLEAR_METAFIELDS: _Shape(
        ("$i{n}: [MetafieldIdentifierInput!]!",),
        "metafields: $i{n}",
        f"deletedMetafields {{ namespace key }} {_PLAIN_ERRORS}",
    ),
    OrderStep.TAGS_ADD: _Shape(("$c{n}: ID!", "$i{n}: [String!]!"), "id: $c{n}, tags: $i{n}", _NODE),
    OrderStep.TAGS_REMOVE: _Shape(("$c{n}: ID!", "$i{n}: [String!]!"), "id: $c{n}, tags: $i{n}", _NODE),
    OrderStep.CANCEL: _Shape(
        ("$c{n}: ID!", "$i{n}: String"),
        "orderId: $c{n}, reason: OTHER, restock: false, notifyCustomer: false, "
        "refundMethod: {{originalPaymentMethodsRefund: false}}, staffNote: $i{n}",
        "job { id done } orderCancelUserErrors { code field message }",
    ),
    OrderStep.MARK_PAID: _Shape(("$i{n}: OrderMarkAsPaidInput!",), "input: $i{n}", _ORDER),
    OrderStep.TERMS_CREATE: _Shape(
        ("$c{n}: ID!", "$i{n}: PaymentTermsCreateInput!"),
        "referenceId: $c{n}, paymentTermsAttributes: $i{n}",
        _TERMS,
    ),
    OrderStep.TERMS_UPDATE: _Shape(("$i{n}: PaymentTermsUpdateInput!",), "input: $i{n}", _TERMS),
    OrderStep.TERMS_DELETE: _Shape(("$i{n}: PaymentTermsDeleteInput!",), "input: $i{n}", f"deletedId {_CODED_ERRORS}"),
    OrderStep.CLOSE: _Shape(("$i{n}: OrderCloseInput!",), "input: $i{n}", _ORDER),
    OrderStep.OPEN: _Shape(("$i{n}: OrderOpenInput!",), "input: $i{n}", _ORDER),
    OrderStep.REFUND: _Shape(
        ("$i{n}: RefundInput!", "$k{n}: String!"),
        "input: $i{n}",
        f"refund {{ ...R }} {_PLAIN_ERRORS}",
        " @idempotent(key: $k{n})",
    ),
}


@lru_cache(maxsize=512)
def write_document(steps: tuple[OrderStep, ...], selected: Selection) -> str:
    """One mutation for a batch: step number n is alias ``m<n>`` with the variables ``$i<n>``, ``$c<n>``, ``$k<n>``."""
    variables: list[str] = []
    lines: list[str] = []
    for number, step in enumerate(steps):
        shape = _SHAPES[step]
        variables += (text.format(n=number) for text in shape.variables)
        arguments, directive = shape.arguments.format(n=number), shape.directive.format(n=number)
        lines.append(f"  m{number}: {step.value}({arguments}){directive} {{ {shape.answer} }}")
    body = "\n".join([f"mutation Orders({', '.join(variables)}) {{", *lines, "}"])
    body = f"{body}\n{selected.text}" if "...O" in body else body
    return f"{body}\n{_REFUND_FRAGMENT}" if "...R" in body else body


def step_points(step: OrderStep, selected: Selection) -> int:
    """What Shopify will ask for one step: ten points for a mutation and one per object selected."""
    answer = _SHAPES[step].answer
    inner = selected.objects * ("...O" in answer) + REFUND_OBJECTS * ("...R" in answer)
    return 10 + answer.count("{") + inner


def every_document(fields: frozenset[str]) -> Sequence[str]:
    """One of each shape, for validation."""
    selected, paged = order_selection(fields), order_selection(fields, with_refunds=True)
    return (
        VARIANTS, TERMS_TEMPLATES, MORE_LINES, refunds_document(2), refund_notes_document(2), refundable_document(2),
        write_document(tuple(OrderStep), selected), *(write_document((step,), selected) for step in OrderStep),
        find_document(3, selected), nodes_document(10, selected),
        page_document("ID", selected), page_document("UPDATED_AT", paged),
    )  # fmt: skip
