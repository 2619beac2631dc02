"""Vendors' JSON: decoded within limits, then read field by field through small checks that know the path.

Everything here raises VendorChanged with the path and the type that was found, never with the value.
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from typing import NoReturn, TypeVar

import msgspec

from integrations.core.errors import Rejected, VendorChanged

Json = Mapping[str, object]
Read = TypeVar("Read")

MOST_NODES = 100_000
MOST_DEPTH = 64
MOST_BYTES = 25 * 1024 * 1024

_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEP = [0] * 256
_STEP[ord("[")] = _STEP[ord("{")] = 1
_STEP[ord("]")] = _STEP[ord("}")] = -1
_ODD_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_ODD_CHARACTER = re.compile("[\x00\ud800-\udfff]")
_NUMBER = re.compile(r"[+-]?\d{1,40}(?:\.\d{1,40})?")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not a number")


_decoder = msgspec.json.Decoder(float_hook=Decimal)
_lenient = json.JSONDecoder(parse_constant=_no_constant, parse_float=Decimal)  # takes halves of surrogate pairs


def decode(body: bytes) -> object:
    """What a JSON text in UTF-8 says. Numbers with a point become Decimal, whole ones stay exact, NUL characters
    disappear and halves of surrogate pairs become U+FFFD, because no database and no vendor takes them.

    Raises VendorChanged: ``payload.json``, ``payload.too_deep``, ``payload.too_many``, ``payload.too_big``.
    """
    if len(body) > MOST_BYTES:
        raise VendorChanged("payload.too_big", bytes=len(body))
    _check_depth(body)
    _check_nodes(body)
    try:
        if _ODD_ESCAPE.search(body):
            return _without_odd_characters(_lenient.decode(body.decode("utf-8-sig")))
        data: object = _decoder.decode(body.removeprefix(BOM_UTF8))
        return data
    except (ValueError, InvalidOperation):
        code = "payload.json"
    except RecursionError:
        code = "payload.too_deep"
    raise VendorChanged(code, bytes=len(body))


def _check_depth(body: bytes) -> None:
    """Brackets inside texts count as well: the price of a check that costs a tenth of the decoding. Text made to
    hide depth from it still meets the interpreter's own limit in the decoder."""
    brackets = body.translate(None, _NOT_BRACKETS)
    if len(brackets) > MOST_DEPTH and max(accumulate(map(_STEP.__getitem__, brackets))) > MOST_DEPTH:
        raise VendorChanged("payload.too_deep", bytes=len(body))


def _check_nodes(body: bytes) -> None:
    """Every node takes two bytes at least, so that ordinary pages are not even counted. Commas and colons inside
    texts count too: an answer this large would have been asked for in smaller pages."""
    if len(body) > 2 * MOST_NODES and body.count(b",") + body.count(b"{") + body.count(b"[") > MOST_NODES:
        raise VendorChanged("payload.too_many", bytes=len(body))


def _without_odd_characters(data: object) -> object:
    if isinstance(data, str):
        whole = data.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return _ODD_CHARACTER.sub(lambda found: "" if found[0] == "\0" else "�", whole)
    if isinstance(data, dict):
        return {str(_without_odd_characters(name)): _without_odd_characters(value) for name, value in data.items()}
    if isinstance(data, list):
        return [_without_odd_characters(value) for value in data]
    return data


def wrong(path: str, expected: str, value: object) -> VendorChanged:
    """The error for a value that is not what our facts say; only its type is told."""
    return VendorChanged(
        "payload.shape", path=path, expected=expected, found="absent" if value is _ABSENT else _type(value)
    )


def unreadable(error: VendorChanged) -> Rejected:
    """The same finding as a fault of one record, which is held while the page goes on."""
    return Rejected("record.unreadable", **error.facts)


_ABSENT = object()
_TYPES = {
    dict: "object",
    list: "list",
    str: "text",
    bool: "yes or no",
    int: "number",
    Decimal: "number",
    type(None): "null",
}


def _type(value: object) -> str:
    return _TYPES.get(type(value), type(value).__name__)


def _at(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


# -- the value itself


def as_object(value: object, at: str) -> Json:
    """``value`` as an object. ``at`` is where it stands, for the error."""
    if isinstance(value, dict):
        return value
    raise wrong(at, "object", value)


def as_list(value: object, at: str) -> Sequence[object]:
    """``value`` as a list."""
    if isinstance(value, list):
        return value
    raise wrong(at, "list", value)


def as_objects(value: object, at: str) -> Sequence[Json]:
    """``value`` as a list of objects."""
    found = as_list(value, at)
    for index, entry in enumerate(found):
        if entry.__class__ is not dict:
            raise wrong(f"{at}[{index}]", "object", entry)
    return found  # type: ignore[return-value]  # every entry was just seen to be an object


# -- members of an object; ``at`` is the object's own path


def obj(parent: Json, name: str, at: str = "") -> Json:
    """A member that is an object."""
    return as_object(parent.get(name, _ABSENT), _at(at, name))


def optional_obj(parent: Json, name: str, at: str = "") -> Json | None:
    """A member that is an object, null or absent."""
    value = parent.get(name)
    return None if value is None else as_object(value, _at(at, name))


def items(parent: Json, name: str, at: str = "") -> Sequence[Json]:
    """A member that is a list of objects."""
    return as_objects(parent.get(name, _ABSENT), _at(at, name))


def optional_items(parent: Json, name: str, at: str = "") -> Sequence[Json]:
    """A member that is a list of objects; empty for null or absent."""
    value = parent.get(name)
    return () if value is None else as_objects(value, _at(at, name))


def texts(parent: Json, name: str, at: str = "") -> tuple[str, ...]:
    """A member that is a list of texts; empty for null or absent."""
    value = parent.get(name)
    found = () if value is None else as_list(value, _at(at, name))
    for entry in found:
        if not isinstance(entry, str):
            raise wrong(_at(at, name), "list of texts", entry)
    return tuple(str(entry) for entry in found)


def text(parent: Json, name: str, at: str = "") -> str:
    """A member that is text, perhaps empty."""
    value = parent.get(name, _ABSENT)
    if isinstance(value, str):
        return value
    raise wrong(_at(at, name), "text", value)


def optional_text(parent: Json, name: str, at: str = "") -> str | None:
    """A member that is text; None for null, absent and empty."""
    value = parent.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    raise wrong(_at(at, name), "text or null", value)


def key(parent: Json, name: str, at: str = "") -> str:
    """A vendor's id as text, given as text or as a whole number."""
    value = parent.get(name, _ABSENT)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**40:
        return str(value)
    if isinstance(value, str) and value.strip() and len(value) <= 200:
        return value
    raise wrong(_at(at, name), "id", value)


def flag(parent: Json, name: str, at: str = "") -> bool:
    """A member that is true or false."""
    value = parent.get(name, _ABSENT)
    if isinstance(value, bool):
        return value
    raise wrong(_at(at, name), "yes or no", value)


def optional_flag(parent: Json, name: str, at: str = "") -> bool | None:
    """A member that is true, false, or null or absent for "no answer"; empty text counts as null."""
    value = parent.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return value
    raise wrong(_at(at, name), "yes, no or null", value)


def whole(parent: Json, name: str, at: str = "") -> int:
    """A member that is a whole number of at most 64 bits, written as a number or as text."""
    value = parent.get(name, _ABSENT)
    if isinstance(value, str) and len(value) <= 20 and value.lstrip("-").isdecimal() and value.isascii():
        value = int(value) if value.count("-") == value[:1].count("-") else _ABSENT
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    raise wrong(_at(at, name), "whole number", parent.get(name, _ABSENT))


def optional_whole(parent: Json, name: str, at: str = "") -> int | None:
    """The same; None for null, absent and empty."""
    return _optional(whole, parent, name, at)


def decimal(parent: Json, name: str, at: str = "") -> Decimal:
    """A member that is a decimal number, written as text or as a number, without exponent."""
    value = parent.get(name, _ABSENT)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
        if abs(number.adjusted()) <= 40:
            return number
    elif isinstance(value, str) and _NUMBER.fullmatch(value) and value.isascii():
        return Decimal(value)
    raise wrong(_at(at, name), "decimal number", value)


def optional_decimal(parent: Json, name: str, at: str = "") -> Decimal | None:
    """The same; None for null, absent and empty."""
    return _optional(decimal, parent, name, at)


def instant(parent: Json, name: str, at: str = "") -> datetime:
    """A member that is a date and time with its offset, as an aware instant in UTC."""
    value = parent.get(name, _ABSENT)
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise wrong(_at(at, name), "date and time with offset", value)


def optional_instant(parent: Json, name: str, at: str = "") -> datetime | None:
    """The same; None for null, absent and empty."""
    return _optional(instant, parent, name, at)


def day(parent: Json, name: str, at: str = "") -> date:
    """A member that is a date without time."""
    value = parent.get(name, _ABSENT)
    if isinstance(value, str) and _DAY.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise wrong(_at(at, name), "date", value)


def optional_day(parent: Json, name: str, at: str = "") -> date | None:
    """The same; None for null, absent and empty."""
    return _optional(day, parent, name, at)


def _optional(read: Callable[[Json, str, str], Read], parent: Json, name: str, at: str) -> Read | None:
    value = parent.get(name)
    return None if value is None or value == "" else read(parent, name, at)
