"""What all of Cliniko's rows have in common: ids, references, stamps, and values written as text or as numbers."""

import re
from datetime import datetime
from decimal import Decimal

from integrations.core.records import State
from integrations.toolkit import payload
from integrations.toolkit.payload import Json

_ENDS = ("archived_at", "deleted_at", "merged_at")
_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_MAX_ID_DIGITS = 20  # a 64-bit number has 19


def row_key(row: Json, collection: str) -> str:
    """The id as text: a string of digits, a bare whole number, or what the record's own link says.

    Raises VendorChanged if none of them tells it: a number with a point or an exponent has lost its last digits.
    """
    given = row.get("id")
    if type(given) is str and given.isascii() and given.isdigit() and len(given) <= _MAX_ID_DIGITS:
        return given
    if type(given) is int and 0 < given < 2**63:
        return str(given)
    linked = linked_key(row.get("links"))
    if linked:
        return linked
    raise payload.wrong(f"{collection}[].id", "id", given)


def is_key(text: str) -> bool:
    """Whether the text can stand in a filter on ids."""
    return text.isascii() and text.isdigit() and len(text) <= _MAX_ID_DIGITS


def linked_key(links: object) -> str:
    """The id at the end of ``{"self": "https://.../patients/17"}``, ``""`` if there is none."""
    address = links.get("self") if isinstance(links, dict) else None
    if not isinstance(address, str):
        return ""
    key = address.partition("?")[0].rstrip("/").rpartition("/")[2]
    return key if is_key(key) else ""


def reference(row: Json, name: str) -> str | None:
    """The id that the member refers to, None where it is absent, null or empty.

    Raises VendorChanged for one that is there but names nothing: a record is not to lose what it belongs to.
    """
    given = row.get(name)
    if given in (None, "", {}, {"links": {"self": None}}):
        return None
    key = linked_key(given.get("links")) if isinstance(given, dict) else ""
    if not key:
        raise payload.wrong(name, "reference", given)
    return key


def version_of(row: Json) -> tuple[str, datetime]:
    """``updated_at`` as text that sorts like the instant it names, and as that instant.

    Whether archiving touches it is not documented; two readings with equal versions may thus differ in their state.
    """
    text = row.get("updated_at")
    if isinstance(text, str) and _SECONDS.fullmatch(text):
        try:
            return text, datetime.fromisoformat(text)
        except ValueError:
            pass  # a thirteenth month: told below
    instant = payload.instant(row, "updated_at")
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ"), instant


def is_gone(row: Json) -> bool:
    """Whether the row is archived, deleted or merged; older answers hold ``""`` for "never"."""
    return bool(row.get("archived_at") or row.get("deleted_at") or row.get("merged_at"))


def state_of(row: Json, updated_at: datetime) -> tuple[State, datetime]:
    """Live or archived, and when the row last changed. Raises VendorChanged for an end that is no instant."""
    if not is_gone(row):
        return State.LIVE, updated_at
    return State.ARCHIVED, max(updated_at, *(at for name in _ENDS if (at := payload.optional_instant(row, name))))


def text_of(row: Json, name: str) -> str | None:
    """A member as text, None where it is absent, null or blank. Codes and numbers were bare numbers at times."""
    given = row.get(name)
    if isinstance(given, int | Decimal) and not isinstance(given, bool):
        return format(payload.decimal(row, name).normalize() + Decimal(0), "f")
    text = payload.optional_text(row, name)
    return text if text and not text.isspace() else None
