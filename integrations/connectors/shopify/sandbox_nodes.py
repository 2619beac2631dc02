"""``nodes``: anything by its global id, whatever kind it is of."""

from collections.abc import Callable, Sequence

from graphql import GraphQLError

from integrations.connectors.shopify.sandbox_call import Call, Info, call_of
from integrations.connectors.shopify.sandbox_order_reads import shown
from integrations.connectors.shopify.sandbox_products import number_of, shown_item
from integrations.connectors.shopify.sandbox_rows import Row

_SCOPES = {
    "Customer": "read_customers",
    "InventoryItem": "read_inventory",
    "Location": "read_locations",
    "Order": "read_orders",
    "Product": "read_products",
}


def _node(call: Call, wanted: str) -> Row | None:
    """What is shown of this global id, with what it is. Raises GraphQLError without the scope for it."""
    kind = wanted.removeprefix("gid://shopify/").partition("/")[0]
    if kind not in _SCOPES:
        raise GraphQLError(f"Invalid global id '{wanted}'")
    call.need(_SCOPES[kind], "nodes")
    found = _found(call, kind, wanted)
    return found and {**found, "kind": kind}


def _found(call: Call, kind: str, wanted: str) -> Row | None:
    match kind:
        case "InventoryItem":
            return shown_item(call.shop, number_of(kind, wanted))
        case "Location":
            return call.shop.locations.get(number_of(kind, wanted))
        case "Order":
            return shown(call, call.shop.by_gid(wanted, kind))
        case _:
            return call.shop.by_gid(wanted, kind)


def _nodes(_: object, info: Info, *, ids: Sequence[str]) -> object:
    return [_node(call_of(info), wanted) for wanted in ids]


QUERIES: dict[str, Callable[..., object]] = {"nodes": _nodes}
