"""A customer as Shopify answered it, read into a Record.

A value that Shopify withheld (protected data) is absent from the record, never None: nothing may take it for empty.
Absent on purpose as well, because they could not be written yet: consent without an e-mail address or phone number
to carry it, and name, phone and country of an address that does not exist (they alone make no address).
"""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache

from integrations.connectors.shopify.company_names import company_values
from integrations.connectors.shopify.operations import CONTACTS, TAG, Selection
from integrations.core.records import Record
from integrations.core.values import Value
from integrations.toolkit import payload

_GID = re.compile(r"gid://shopify/[A-Za-z]+/([0-9]{1,20})")

# Our name -> Shopify's name in an answer; MailingAddressInput calls the last one countryCode.
ADDRESS_MEMBERS = {
    "address.firstName": "firstName",
    "address.lastName": "lastName",
    "address.company": "company",
    "address.address1": "address1",
    "address.address2": "address2",
    "address.city": "city",
    "address.provinceCode": "provinceCode",
    "address.zip": "zip",
    "address.phone": "phone",
    "address.countryCode": "countryCodeV2",
}
MAKES_NO_ADDRESS = frozenset({"address.firstName", "address.lastName", "address.phone", "address.countryCode"})

_CONSENT = {"SUBSCRIBED": True, "UNSUBSCRIBED": False, "REDACTED": False}


def number_of(gid: str) -> str:
    """The number in a global id: ``gid://shopify/Customer/7`` -> ``7``. Raises VendorChanged for anything else."""
    found = _GID.fullmatch(gid)
    if found is None:
        raise payload.wrong("id", "global id", gid)
    return found[1]


def is_number(key: str) -> bool:
    """Whether a text can be a key at Shopify."""
    return key.isascii() and key.isdigit() and len(key) <= 20


def global_id(kind: str, key: str) -> str:
    """The global id of a key, which is digits only. Raises KeyError for anything else."""
    if not is_number(key):
        raise KeyError(key)
    return f"gid://shopify/{kind}/{key}"


def decode(row: payload.Json, selected: Selection, denied: Collection[str] = ()) -> Record:
    """``denied`` are the first steps of the paths inside this customer that Shopify withheld.

    Raises VendorChanged for a shape that does not fit.
    """
    fields = selected.fields
    changed_at = payload.instant(row, "updatedAt")
    values: dict[str, Value] = {
        name: payload.optional_text(row, name)
        for name in ("firstName", "lastName")
        if name in fields and name not in denied
    }
    values |= tag_values(row, selected, denied)
    values |= _email(row, fields, denied) | _phone(row, fields, denied)
    values |= {} if CONTACTS in denied else company_values(row, fields)
    handles: dict[str, str] = {}
    if "defaultAddress" not in denied and any(name in fields for name in ADDRESS_MEMBERS):
        address = payload.optional_obj(row, "defaultAddress")
        values |= address_values(address, fields)
        if address is not None:
            handles["address_id"] = payload.text(address, "id", "defaultAddress")
    values |= metafield_values(row, selected, denied)
    return Record(
        key=number_of(payload.text(row, "id")),
        version=changed_at.isoformat(),
        values=values,
        changed_at=changed_at,
        created_at=payload.optional_instant(row, "createdAt"),
        handles=handles,
    )


def tag_values(row: payload.Json, selected: Selection, denied: Collection[str] = ()) -> dict[str, Value]:
    """The ``tag.`` fields asked for, unless Shopify withheld them: yes, or None where the record lacks that tag."""
    if not selected.tags or "tags" in denied:
        return {}
    there = {tag.casefold() for tag in payload.texts(row, "tags")}
    return {name: name.removeprefix(TAG).casefold() in there or None for name in selected.tags}


def metafield_values(row: payload.Json, selected: Selection, denied: Collection[str] = ()) -> dict[str, Value]:
    """The metafields asked for, but for those that Shopify withheld."""
    values: dict[str, Value] = {}
    for number, name in enumerate(selected.metafields):
        if f"f{number}" not in denied:
            metafield = payload.optional_obj(row, f"f{number}")
            values[name] = None if metafield is None else payload.optional_text(metafield, "value", name)
    return values


def address_values(address: payload.Json | None, fields: Collection[str]) -> dict[str, Value]:
    """The address fields asked for; None each where there is no address, but for those that make none."""
    if address is None:
        return {name: None for name in _asked_members(frozenset(fields)) if name not in MAKES_NO_ADDRESS}
    return {
        name: payload.optional_text(address, member, "defaultAddress")
        for name, member in _asked_members(frozenset(fields)).items()
    }


@lru_cache(maxsize=64)
def _asked_members(fields: frozenset[str]) -> Mapping[str, str]:
    return {name: member for name, member in ADDRESS_MEMBERS.items() if name in fields}


def _email(row: payload.Json, fields: Collection[str], denied: Collection[str]) -> dict[str, Value]:
    if "defaultEmailAddress" in denied or not ("email" in fields or "emailMarketing" in fields):
        return {}
    email = payload.optional_obj(row, "defaultEmailAddress")
    values: dict[str, Value] = {}
    if "email" in fields:
        values["email"] = None if email is None else payload.optional_text(email, "emailAddress", "defaultEmailAddress")
    if "emailMarketing" in fields and email is not None:
        state = payload.text(email, "marketingState", "defaultEmailAddress")
        values["emailMarketing"] = _CONSENT.get(state)
    return values


def _phone(row: payload.Json, fields: Collection[str], denied: Collection[str]) -> dict[str, Value]:
    if "defaultPhoneNumber" in denied or not ("phone" in fields or "smsMarketing" in fields):
        return {}
    phone = payload.optional_obj(row, "defaultPhoneNumber")
    values: dict[str, Value] = {}
    if "phone" in fields:
        values["phone"] = None if phone is None else payload.optional_text(phone, "phoneNumber", "defaultPhoneNumber")
    if "smsMarketing" in fields and phone is not None:
        consent = payload.optional_obj(phone, "smsMarketingConsent", "defaultPhoneNumber")
        state = "" if consent is None else payload.text(consent, "state", "smsMarketingConsent")
        values["smsMarketing"] = _CONSENT.get(state)
    return values
