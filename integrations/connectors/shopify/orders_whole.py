"""The lines of an order that did not come with it."""

from integrations.connectors.shopify.call import read
from integrations.connectors.shopify.orders_documents import MORE_LINES
from integrations.core.errors import VendorChanged
from integrations.toolkit import payload
from integrations.toolkit.http import Client

MOST_PAGES = 40  # ten thousand lines


def with_all_lines(client: Client, order: payload.Json) -> payload.Json:
    """The same order with every line, in as many more requests as that takes; none for most.

    Raises VendorChanged (``shopify.paging_stuck``) for a list that does not end.
    """
    connection = payload.optional_obj(order, "lineItems")
    if connection is None:
        return order
    nodes = list(payload.items(connection, "nodes", "lineItems"))
    for _ in range(MOST_PAGES):
        info = payload.obj(connection, "pageInfo", "lineItems")
        if not payload.flag(info, "hasNextPage", "pageInfo"):
            return {**order, "lineItems": {"nodes": nodes, "pageInfo": info}}
        cursor = payload.text(info, "endCursor", "pageInfo")
        answered = read(client, MORE_LINES, {"id": order["id"], "after": cursor}, cost=120)
        connection = payload.obj(payload.obj(answered.data, "order", "data"), "lineItems", "order")
        nodes += payload.items(connection, "nodes", "lineItems")
    raise VendorChanged("shopify.paging_stuck", rows=len(nodes))
