"""What ``userErrors`` of products mean. Some have a code, those of ``productUpdate`` and tags are told by field and words.

The message is looked at and forgotten; only the field's name and Shopify's code go into the error.
"""

import re
from collections.abc import Mapping, Sequence

from integrations.connectors.shopify.refusals import GONE, TAKEN, rejected
from integrations.core.errors import Rejected
from integrations.toolkit.graphql import UserError

_CODES: Mapping[str, str] = {
    "PRODUCT_DOES_NOT_EXIST": "shopify.product_gone",
    "PRODUCT_VARIANT_DOES_NOT_EXIST": "shopify.product_gone",
    "MUST_BE_FOR_THIS_PRODUCT": "shopify.product_gone",
    "NOT_FOUND": "shopify.product_gone",
    "PRODUCT_SUSPENDED": "shopify.product_suspended",
    "NEGATIVE_PRICE_VALUE": "shopify.price_invalid",
    "INVALID_METAFIELD": "shopify.metafield_invalid",
}
_FIELDS: Mapping[str, str] = {
    "title": "shopify.title_invalid",
    "price": "shopify.price_invalid",
    "compareAtPrice": "shopify.price_invalid",
    "cost": "shopify.price_invalid",
    "metafields": "shopify.metafield_invalid",
    "tags": "shopify.tags_invalid",
}
_LOOK_AGAIN = frozenset({"shopify.product_gone", "shopify.product_marker_taken"})
_TAKEN_CODES = frozenset({"TAKEN", "CAPABILITY_VIOLATION", "DUPLICATED_METAFIELD_VALUE"})


def product_refused(errors: Sequence[UserError], *, marks: bool) -> Rejected:
    """The error for a mutation's ``userErrors``; the one that says most decides. ``marks``: the marker was sent."""
    found = [(_code(error, marks=marks), error) for error in errors]
    code, told = min(found, key=lambda pair: (pair[0] not in _LOOK_AGAIN, pair[0] == "shopify.product_refused"))
    return rejected(code, told, errors, look_again=code in _LOOK_AGAIN)


def _code(error: UserError, *, marks: bool) -> str:
    names = [name for name in error.path.split(".") if name and not name.isdigit()]
    if "metafields" in names and (error.code in _TAKEN_CODES or TAKEN.search(error.message)):
        return "shopify.product_marker_taken" if marks else "shopify.metafield_taken"
    last = next(reversed(names), "")
    if error.code in _CODES:
        return _CODES[error.code]
    if last in ("", "id", "productId") and GONE.search(error.message):
        return "shopify.product_gone"
    known = next((_FIELDS[name] for name in reversed(names) if name in _FIELDS), None)
    if known is None and re.match(r"title\b", error.message, re.IGNORECASE):
        return "shopify.title_invalid"
    return known or "shopify.product_refused"
