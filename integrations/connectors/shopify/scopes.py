"""What a token may do, as "Test connection" found it, and what to do where it may not read stock or companies."""

from collections.abc import Callable, Collection
from typing import TypeVar

from integrations.connectors.shopify.operations import COMPANY
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
    return _with_or_without(readable(client, fields), STOCK, read, ("shopify.scope_missing",))


def with_company_or_without(fields: frozenset[str], read: Callable[[frozenset[str]], _Read]) -> _Read:
    """Reads what may be read. Where Shopify refuses the whole answer for the company, that is left out.

    The list of a customer's companies may not be null, so that a refused one can take the customer with it.
    """
    codes = ("shopify.scope_missing", "shopify.protected_data")
    return _with_or_without(fields, frozenset({COMPANY}), read, codes)


def _with_or_without(
    allowed: frozenset[str], optional: frozenset[str], read: Callable[[frozenset[str]], _Read], codes: Collection[str]
) -> _Read:
    try:
        return read(allowed)
    except AccountError as error:
        if error.code not in codes or not allowed & optional:
            raise
        return read(allowed - optional)
