"""What a company is called here and in the shop, and which companies a customer is a contact of.

Two names are one company where their slugs are equal: "ACME Pty. Ltd." and "Acme Pty Ltd". A company that we made keeps
its slug in its external id, so that it is still known after the merchant gave it another name.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping

from integrations.connectors.shopify.operations import COMPANY, CONTACTS
from integrations.core.values import Kind, Text, Value, clean_text
from integrations.toolkit import payload

PREFIX = "suture-"
_LONGEST = 60


def slug(name: str) -> str:
    """The name as part of an external id: letters a to z, digits and hyphens; ``""`` for no name. The slug of a slug is
    itself. What these characters cannot hold, or not in full, is told apart by a digest."""
    text = clean_text(name).casefold()
    plain = unicodedata.normalize("NFKD", text)
    made = re.sub(r"[^a-z0-9]+", "-", "".join(char for char in plain if not unicodedata.combining(char))).strip("-")
    is_whole = all(char.isascii() for char in plain if char.isalnum())
    if not text or (made and is_whole and len(made) <= _LONGEST):
        return made
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{made[: _LONGEST - 9].rstrip('-')}-{digest}".strip("-")


def external_id(name: str) -> str:
    return f"{PREFIX}{slug(name)}"


def _canon(value: Value) -> str:
    """Slugs, a line each: a customer may be a contact of several companies."""
    names = value if isinstance(value, tuple) else (value,)
    return "\n".join(sorted({slug(name) for name in names if isinstance(name, str)} - {""}))


def _is_among(wanted: str, current: str) -> bool:
    """A contact of the company wished for, whatever others there are: nobody is taken out of one. So a wish for none is
    always fulfilled."""
    return not wanted or wanted in current.split("\n")


CompanyName = Kind(Text.name, _canon, Text.dump, Text.load, _is_among)


def company_values(row: payload.Json, fields: frozenset[str]) -> Mapping[str, Value]:
    """The company of a customer, all of them where there are several, None where there is none. Absent where it was not
    asked for, or withheld."""
    if COMPANY not in fields or row.get(CONTACTS) is None:
        return {}
    names: list[str] = []
    for profile in payload.items(row, CONTACTS):
        company = payload.optional_obj(profile, "company", CONTACTS)
        if company is None:
            return {}
        names += _names_of(company)
    return {COMPANY: tuple(names) if len(names) > 1 else next(iter(names), None)}


def _names_of(company: payload.Json) -> list[str]:
    """Its name, and the one we made it under where the merchant has changed that since."""
    name = payload.text(company, "name", "company")
    known = payload.optional_text(company, "externalId", "company") or ""
    ours = known.removeprefix(PREFIX) if known.startswith(PREFIX) else ""
    return [name, ours] if ours and ours != slug(name) else [name]
