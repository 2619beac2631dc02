"""Kinds of value a field can hold, and the one canonical spelling of each.

A value is parsed once, at the edge. ``None`` means "the vendor has none"; a field that was not sent is absent.
Canonical text is what diffing, fingerprints and reconciliation compare, so that a vendor's own spelling of a
phone number or a province is never a change.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from integrations.core import lines
from integrations.core.lines import Line

Value = str | bool | Decimal | datetime | date | tuple[str, ...] | tuple[Line, ...] | None


def _same(wanted: str, current: str) -> bool:
    return wanted == current


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value.

    ``canon`` gives canonical text, ``""`` for nothing at all. ``satisfied(wanted, current)`` says, of two canonical
    texts, whether the target already is as wished. ``dump`` and ``load`` go to and from JSON. ``texts`` are all values
    there are, where they are few: by them such texts are known from their digests.
    """

    name: str
    canon: Callable[[Value], str]
    dump: Callable[[Value], object]
    load: Callable[[object], Value]
    satisfied: Callable[[str, str], bool] = _same
    texts: tuple[Value, ...] = ()


def clean_text(value: Value) -> str:
    """Text without surrounding or doubled blanks, in Unicode form NFC; ``""`` for None."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"expected text, not {type(value).__name__}")
    if value.isascii() and value.isalnum():
        return value
    text = " ".join(value.split())
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _lower(value: Value) -> str:
    return clean_text(value).lower()


def _upper(value: Value) -> str:
    return clean_text(value).upper()


def _phone(value: Value) -> str:
    text = clean_text(value)
    if text.isascii() and text[1:].isdigit() and text[0] == "+":
        return text
    digits = "".join(char for char in text if char.isdigit() and char.isascii())
    return f"+{digits}" if text.startswith("+") else digits


def _yes_no(value: Value) -> str:
    return "yes" if value is True else "no" if value is False else ""


def _absent_is_not_consent(wanted: str, current: str) -> bool:
    """A target that never asked is as good as one that was told no."""
    return wanted == current or (wanted == "no" and current == "")


def _tags(value: Value) -> str:
    return "\n".join(sorted({clean_text(tag).lower() for tag in _as_tags(value)}))


def _as_tags(value: Value) -> tuple[str, ...]:
    return tuple(tag for tag in value if isinstance(tag, str)) if isinstance(value, tuple) else ()


def as_lines(value: Value) -> tuple[Line, ...]:
    """The lines that a value holds, none where it holds something else."""
    return tuple(line for line in value if isinstance(line, Line)) if isinstance(value, tuple) else ()


def in_words(value: Value) -> str:
    """The value as a person reads it; ``""`` for nothing."""
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    if isinstance(value, tuple):
        return ", ".join(one if isinstance(one, str) else lines.in_words(one) for one in value)
    return format(value, "f") if isinstance(value, Decimal) else str(value)


def _decimal(value: Value) -> str:
    if value is None:
        return ""
    if not isinstance(value, Decimal):
        raise TypeError(f"expected a decimal number, not {type(value).__name__}")
    return format(value.normalize() + Decimal(0), "f")


def _instant(value: Value) -> str:
    if value is None:
        return ""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise TypeError("expected an aware instant")
    return value.astimezone(UTC).isoformat()


def _day(value: Value) -> str:
    return value.isoformat() if isinstance(value, date) else ""


def _text_or_none(raw: object) -> Value:
    if raw is None or isinstance(raw, str):
        return raw
    raise TypeError(f"expected text, not {type(raw).__name__}")


def _bool_or_none(raw: object) -> Value:
    if raw is None or isinstance(raw, bool):
        return raw
    raise TypeError(f"expected yes or no, not {type(raw).__name__}")


def _plain(value: Value) -> object:
    return value


Text = Kind("text", clean_text, _plain, _text_or_none)
Email = Kind("e-mail", _lower, _plain, _text_or_none)
Phone = Kind("phone number", _phone, _plain, _text_or_none)
Code = Kind("code", _upper, _plain, _text_or_none)
YesNoUnknown = Kind("yes, no or unknown", _yes_no, _plain, _bool_or_none, _absent_is_not_consent, (True, False))
Tags = Kind(
    "tags",
    _tags,
    lambda value: list(_as_tags(value)),
    lambda raw: tuple(str(tag) for tag in raw) if isinstance(raw, list) else (),
)
Number = Kind(
    "number",
    _decimal,
    lambda value: None if value is None else str(value),
    lambda raw: None if raw is None else Decimal(str(raw)),
)
Instant = Kind(
    "date and time",
    _instant,
    lambda value: _instant(value) or None,
    lambda raw: None if raw is None else datetime.fromisoformat(str(raw)),
)
Day = Kind(
    "date",
    _day,
    lambda value: _day(value) or None,
    lambda raw: None if raw is None else date.fromisoformat(str(raw)),
)
Lines = Kind(
    "lines",
    lambda value: lines.canonical(as_lines(value)),
    lambda value: lines.dump(as_lines(value)),
    lambda raw: lines.load(raw) if isinstance(raw, list) else (),
)
