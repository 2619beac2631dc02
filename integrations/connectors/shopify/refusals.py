"""What ``userErrors`` mean. Most of customers carry no code: they are told apart by field path and message.

The message is looked at and forgotten; only the field's name goes into the error.
"""

import re
from collections.abc import Mapping, Sequence

from integrations.core.errors import Rejected
from integrations.toolkit.graphql import UserError

TAKEN = re.compile(r"taken|already (?:been |in )?(?:used|use|assigned|exists)|must be unique|not unique", re.IGNORECASE)
GONE = re.compile(
    r"not exist|not found|could(?:n't| not) (?:be )?f(?:i|ou)nd|invalid id|deleted|cannot be located", re.IGNORECASE
)
PATH = re.compile(r"[A-Za-z0-9_.]{1,200}")
VENDOR_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,60}")
_TAKEN_CODES = frozenset({"TAKEN", "CAPABILITY_VIOLATION"})
_WORDS = {"email": re.compile(r"\be-?mail\b", re.IGNORECASE), "phone": re.compile(r"\bphone\b", re.IGNORECASE)}

_INVALID: Mapping[str, str] = {
    "email": "shopify.email_invalid",
    "phone": "shopify.phone_invalid",
    "firstName": "shopify.name_invalid",
    "lastName": "shopify.name_invalid",
    "province": "shopify.province_invalid",
    "provinceCode": "shopify.province_invalid",
    "country": "shopify.country_invalid",
    "countryCode": "shopify.country_invalid",
    "zip": "shopify.zip_invalid",
    "address": "shopify.address_invalid",
    "address1": "shopify.address_invalid",
    "address2": "shopify.address_invalid",
    "city": "shopify.address_invalid",
    "company": "shopify.address_invalid",
    "metafields": "shopify.metafield_invalid",
    "emailMarketingConsent": "shopify.consent_refused",
    "smsMarketingConsent": "shopify.consent_refused",
    "marketingState": "shopify.consent_refused",
    "tags": "shopify.tags_invalid",
}


# Somebody else's record, or none any more: a fresh look-up tells which, so the shell looks again before it holds.
_LOOK_AGAIN = frozenset(
    {
        "shopify.marker_taken",
        "shopify.email_taken",
        "shopify.phone_taken",
        "shopify.customer_gone",
        "shopify.address_gone",
    }
)


def refused(errors: Sequence[UserError], *, marks: bool, in_address: bool = False) -> Rejected:
    """The error for a mutation's ``userErrors``; the one that says most decides.

    ``marks``: the marker was among what was sent. ``in_address``: the mutation writes an address.
    """
    found = [(_code(error, marks=marks, in_address=in_address), error) for error in errors]
    code, told = min(found, key=lambda pair: (pair[0] not in _LOOK_AGAIN, pair[0] == "shopify.values_refused"))
    return rejected(code, told, errors, look_again=code in _LOOK_AGAIN)


def rejected(code: str, told: UserError, errors: Sequence[UserError], *, look_again: bool) -> Rejected:
    """The error of this code, with what may be told of the one that decided."""
    return Rejected(
        code,
        field=told.path if PATH.fullmatch(told.path) else None,
        vendor_code=told.code if VENDOR_CODE.fullmatch(told.code) else None,
        errors=len(errors),
        look_again=look_again or None,
    )


def _code(error: UserError, *, marks: bool, in_address: bool) -> str:
    names, message = tuple(filter(None, error.path.split("."))), error.message
    last = _last_word(names, message)
    in_address = in_address or "addresses" in names
    if error.code in _TAKEN_CODES or TAKEN.search(message):
        return _taken(names, last, marks=marks, in_address=in_address)
    if last == "addressId" or (in_address and last == "id"):
        return "shopify.address_gone"
    if (last in ("id", "customerId", "ownerId") or not names) and (error.code == "NOT_FOUND" or GONE.search(message)):
        return "shopify.customer_gone"
    if in_address and last in ("phone", "firstName", "lastName"):
        return "shopify.address_invalid"
    known = next((_INVALID[name] for name in (last, *reversed(names)) if name in _INVALID), None)
    return known or "shopify.values_refused"


def _taken(names: tuple[str, ...], last: str, *, marks: bool, in_address: bool) -> str:
    if in_address:
        return "shopify.address_exists"
    if "metafields" in names or "customId" in names:
        return "shopify.marker_taken" if marks else "shopify.metafield_taken"
    return {"email": "shopify.email_taken", "phone": "shopify.phone_taken"}.get(last, "shopify.values_refused")


def _last_word(names: tuple[str, ...], message: str) -> str:
    """The last name in the path that is no index; where no path was given, the word the message begins with."""
    last = next((name for name in reversed(names) if not name.isdigit()), "")
    if last and last not in ("input", "customer"):
        return last
    return next((word for word, pattern in _WORDS.items() if pattern.search(message)), "")
