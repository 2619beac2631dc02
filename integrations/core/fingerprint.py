"""Keyed digests of drafts and fields.

Keyed with the clinic's own key (HMAC-SHA256), because plain hashes of e-mails or phones can be guessed and would
link one person across clinics. Digests are compared, never reversed.
"""

import hmac
from collections.abc import Callable, Iterable, Mapping

from integrations.core.records import Draft, Record
from integrations.core.values import Kind, Value

WISH_BYTES = 16
FIELD_BYTES = 8
KindOf = Callable[[str], Kind]


Order = tuple[tuple[str, str, Callable[[Value], str]], ...]  # name, how its part begins, canonical text


def order_of(names: Iterable[str], kind_of: KindOf) -> Order:
    """In which order a draft of these fields is read: worth keeping, because most drafts have the same."""
    return tuple((name, f"{name}\x1f", kind_of(name).canon) for name in sorted(names))


def wish(key: bytes, draft: Draft, kind_of: KindOf, order: Order | None = None) -> bytes:
    """The fingerprint of a draft: equal for equal wishes, whatever the order of their fields."""
    fields = draft.fields
    parts = [
        begin if (value := fields[name]) is None else begin + canon(value)
        for name, begin, canon in order or order_of(fields, kind_of)
    ]
    parts.append("gone" if draft.gone else "live")
    return hmac.digest(key, "\x1e".join(parts).encode(), "sha256")[:WISH_BYTES]


def reading(key: bytes, record: Record) -> str:
    """The fingerprint of a record as it was read, version included. ``key`` stands for the clinic and for everything
    that decides what is made of a record, so that equal readings made equal wishes."""
    told = repr((record.version, record.state.value, record.values))
    return hmac.digest(key, told.encode("utf-8", "surrogatepass"), "sha256")[:WISH_BYTES].hex()


def of_field(key: bytes, name: str, value: Value, kind_of: KindOf) -> str:
    """The digest of one field's canonical text, as hexadecimal; ``""`` where the field holds nothing."""
    canon = kind_of(name).canon(value)
    if not canon:
        return ""
    return hmac.digest(key, f"{name}\x1f{canon}".encode(), "sha256")[:FIELD_BYTES].hex()


def begun(key: bytes, name: str) -> hmac.HMAC:
    """A field's digest but for its canonical text: copied and carried on where there are many to make."""
    return hmac.new(key, f"{name}\x1f".encode(), "sha256")


def of_fields(key: bytes, values: Mapping[str, Value], kind_of: KindOf) -> dict[str, str]:
    return {name: of_field(key, name, value, kind_of) for name, value in values.items()}
