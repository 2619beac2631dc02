"""What a token may do, as "Test connection" found it, and what to do where it may not read stock."""

from collections.abc import Callable
from typing import TypeVar

from integrations.connectors.shopify.product_documents import STOCK
from integrations.core.errors import AccountError
from integrations.toolkit.http import Client

_Read = TypeVar("_Read")


def may_read(client: Client, scope: str) -> bool:
    """False only where the scopes are known and this one to read is not among them."""
    known = client.facts.get("scopes", "")
    return not known or scope in known.split(",")


def readable(client: Client, fields: frozenset[str]) -> frozenset[str]:
    """The fields of a product without those that the token may not read."""
    return fields if may_read(client, "read_inventory") else fields - STOCK


def with_stock_or_without(client: Client, fields: frozenset[str], read: Callable[[frozenset[str]], _Read]) -> _Read:
    """Reads what may be read. Where Shopify refuses the whole answer for stock and cost, they are left out.

    An inventory item may not be null, so that a refused one can take the product, and the list, with it.
    """
    allowed = readable(client, fields)
    try:
        return read(allowed)
    except AccountError as error:
        if error.code != "shopify.scope_missing" or not allowed & STOCK:
            raise
        return read(allowed - STOCK)
