"""What ``orderCreate`` is given: everything that a new order can carry, in one call."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from integrations.connectors.base import WriteItem
from integrations.connectors.shopify.call import read
from integrations.connectors.shopify.decoding import is_number, number_of
from integrations.connectors.shopify.markers import added_tags, filled_metafields
from integrations.connectors.shopify.order_lines import check_sums, line_items, money
from integrations.connectors.shopify.orders_decoding import PAID, UNPAID, gid
from integrations.connectors.shopify.orders_documents import VARIANTS
from integrations.connectors.shopify.passes import stamp
from integrations.core.errors import Rejected
from integrations.core.lines import Line, total_of
from integrations.core.values import Value, as_lines, clean_text
from integrations.toolkit import payload
from integrations.toolkit.http import Client

GATEWAY = "manual"
_MOST_PRODUCTS = 100

Variants = Mapping[str, Sequence[str]]  # product number -> global ids of its variants, at most two


def create_input(fields: Mapping[str, Value], marker: str, variants: Variants, currency: str) -> dict[str, object]:
    """``OrderCreateOrderInput``. ``currency`` is the shop's, for an order that does not say its own.

    Raises Rejected for lines that cannot stand on an order, or do not come to what it must come to.
    """
    lines = as_lines(fields.get("lines"))
    check_sums(lines, _number(fields.get("total")), _number(fields.get("tax")))
    currency = clean_text(fields.get("currency")).upper() or currency
    if not currency:
        raise Rejected("shopify.currency_missing", field="currency")
    made: dict[str, object] = {"currency": currency, "taxesIncluded": True, **_head(fields, marker)}
    if held := filled_metafields(fields, marker):
        made["metafields"] = held
    made["lineItems"] = line_items(lines, currency, _chosen(lines, variants))
    made |= _payment(fields, total_of(lines), currency)
    if fields.get("closed") is True and "processedAt" in made:
        made["closedAt"] = made["processedAt"]
    return made


def _head(fields: Mapping[str, Value], marker: str) -> dict[str, object]:
    made: dict[str, object] = {}
    if customer := clean_text(fields.get("customer")):
        made["customer"] = {"toAssociate": {"id": gid("Customer", customer)}}
    if at := _at(fields):
        made["processedAt"] = at
    texts = {"poNumber": fields.get("number"), "sourceIdentifier": fields.get(marker), "note": fields.get("note")}
    made |= {name: text for name, text in texts.items() if text}
    if tags := added_tags(fields):
        made["tags"] = tags
    return made


def _payment(fields: Mapping[str, Value], total: Decimal, currency: str) -> dict[str, object]:
    """One payment of the whole, or none: what is said of the state must agree with it."""
    state = fields.get("payment")
    if state == UNPAID:
        return {"financialStatus": "PENDING"}
    if state != PAID:
        return {}
    payment: dict[str, object] = {"kind": "SALE", "status": "SUCCESS", "gateway": GATEWAY}
    payment["amountSet"] = money(total, currency)
    if at := _at(fields):
        payment["processedAt"] = at
    return {"financialStatus": "PAID", **({"transactions": [payment]} if total > 0 else {})}


def _at(fields: Mapping[str, Value]) -> str:
    at = fields.get("processedAt")
    return stamp(at) if isinstance(at, datetime) else ""


def _number(value: Value) -> Decimal | None:
    return value if isinstance(value, Decimal) else None


def _chosen(lines: Sequence[Line], variants: Variants) -> dict[str, str]:
    """The one variant of each product. Raises Rejected for a product that is gone, or that has several."""
    chosen: dict[str, str] = {}
    for product in (line.product for line in lines if line.product):
        found = variants.get(product, ())
        if len(found) != 1:
            raise Rejected("shopify.product_variants" if found else "shopify.product_gone", field="lines")
        chosen[product] = found[0]
    return chosen


def variants_of(client: Client, items: Sequence[WriteItem]) -> Variants:
    """The variants for the products of a whole batch of creates, read at once."""
    new = [as_lines(item.fields.get("lines")) for item in items if item.current is None]
    products = sorted({line.product for lines in new for line in lines if is_number(line.product)})
    found: dict[str, Sequence[str]] = {}
    for start in range(0, len(products), _MOST_PRODUCTS):
        ids = [gid("Product", key) for key in products[start : start + _MOST_PRODUCTS]]
        answered = read(client, VARIANTS, {"ids": ids}, cost=4 * len(ids))
        for row in payload.as_list(answered.data.get("nodes"), "nodes"):
            if row:
                found |= _variants(payload.as_object(row, "nodes"))
    return found


def _variants(product: payload.Json) -> dict[str, Sequence[str]]:
    nodes = payload.items(payload.obj(product, "variants", "nodes"), "nodes", "variants")
    return {number_of(payload.text(product, "id", "nodes")): [payload.text(one, "id", "variants") for one in nodes]}
