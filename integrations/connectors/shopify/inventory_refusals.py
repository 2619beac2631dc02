"""What ``userErrors`` of stock mean. Those of activation and of items have no code: told by field and words."""

import re
from collections.abc import Mapping, Sequence

from integrations.connectors.shopify.once import key_error
from integrations.connectors.shopify.refusals import GONE, rejected
from integrations.core.errors import SyncError
from integrations.toolkit.graphql import UserError

_CODES: Mapping[str, str] = {
    "CHANGE_FROM_QUANTITY_STALE": "shopify.stock_changed",
    "COMPARE_QUANTITY_STALE": "shopify.stock_changed",
    "INVALID_INVENTORY_ITEM": "shopify.stock_item_gone",
    "INVALID_LOCATION": "shopify.stock_location_gone",
    "INVALID_QUANTITY_NEGATIVE": "shopify.stock_quantity_invalid",
    "INVALID_QUANTITY_TOO_HIGH": "shopify.stock_quantity_invalid",
    "INVALID_QUANTITY_TOO_LOW": "shopify.stock_quantity_invalid",
}
_LOOK_AGAIN = frozenset({"shopify.stock_changed", "shopify.stock_item_gone"})
_ALREADY = re.compile(r"already", re.IGNORECASE)
_LOCATION = re.compile(r"\blocation\b", re.IGNORECASE)


def stock_refused(errors: Sequence[UserError]) -> SyncError:
    """The error for a mutation's ``userErrors``; one that speaks of the key goes first, then the one that says most."""
    for error in errors:
        if (about_key := key_error(error.code, error.message)) is not None:
            return about_key
    code, told = min(
        ((_code(error), error) for error in errors), key=lambda pair: (pair[0] == "shopify.stock_refused", pair[0])
    )
    return rejected(code, told, errors, look_again=code in _LOOK_AGAIN)


def _code(error: UserError) -> str:
    if error.code in _CODES:
        return _CODES[error.code]
    last = error.path.rpartition(".")[2]
    if error.code:
        return "shopify.stock_refused"
    if _ALREADY.search(error.message):
        return "shopify.stock_changed"
    if last == "locationId" or (last == "" and _LOCATION.search(error.message)):
        return "shopify.stock_location_gone"
    return "shopify.stock_item_gone" if GONE.search(error.message) else "shopify.stock_refused"
