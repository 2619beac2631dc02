"""What ``userErrors`` of companies mean. They carry a code; where one comes without, its words are looked at."""

from collections.abc import Mapping, Sequence

from integrations.connectors.shopify import refusals
from integrations.connectors.shopify.operations import COMPANY_CREATE
from integrations.core.errors import SyncError, Uncertain
from integrations.toolkit.graphql import UserError

TAKEN = "shopify.company_taken"
CONTACT_TAKEN = "shopify.company_contact_taken"
_GONE = "shopify.company_gone"

_CODES: Mapping[str, str] = {
    "LIMIT_REACHED": "shopify.company_limit",
    "RESOURCE_NOT_FOUND": _GONE,
    "BLANK": "shopify.company_invalid",
    "TOO_LONG": "shopify.company_invalid",
}
_LOOK_AGAIN = (TAKEN, CONTACT_TAKEN, _GONE)


def refused(errors: Sequence[UserError], *, step: str) -> SyncError:
    """The error for a company that is not made, or a customer that does not become its contact (``step``)."""
    told = errors[0]
    if told.code == "INTERNAL_ERROR":
        return Uncertain("shopify.outage", vendor_code=told.code)
    code = _code(told, TAKEN if step == COMPANY_CREATE else CONTACT_TAKEN)
    return refusals.rejected(code, told, errors, look_again=code in _LOOK_AGAIN)


def _code(told: UserError, taken: str) -> str:
    if told.code == "TAKEN" or refusals.TAKEN.search(told.message):
        return taken
    if not told.code and refusals.GONE.search(told.message):
        return _GONE
    return _CODES.get(told.code, "shopify.company_refused")
