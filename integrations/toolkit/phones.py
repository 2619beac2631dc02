"""Phone numbers in E.164, by the clinic's country."""

import functools
import re
from typing import NamedTuple

import phonenumbers

from integrations.core.rules import Context, Transform, Unusable
from integrations.core.values import Value

_SEPARATORS = {ord(char): None for char in " -()."}
_TRUNK_COUNTRIES = frozenset({"AU", "NZ", "GB"})  # a plain 0 in front, and nothing else, for calls inside the country


class _Plan(NamedTuple):
    calling_code: str
    valid: re.Pattern[str]


@functools.cache
def _plan(country: str) -> _Plan | None:
    """The patterns of a country's mobile and landline numbers, as the phonenumbers library holds them."""
    if country not in _TRUNK_COUNTRIES:
        return None
    found = phonenumbers.PhoneMetadata.metadata_for_region(country)
    if found is None:
        return None
    kinds = [
        kind.national_number_pattern
        for kind in (found.mobile, found.fixed_line)
        if kind and kind.national_number_pattern
    ]
    return _Plan(str(found.country_code), re.compile("|".join(f"(?:{kind})" for kind in kinds), re.ASCII))


@functools.lru_cache(maxsize=16)  # a patient's number is asked for twice in a row
def e164(text: str, country: str) -> str | None:
    """The number in E.164, or None where nobody could call it. ``country`` reads numbers without a country code.

    What people type most, a national number of a country with the trunk prefix 0 or the same with its country code,
    is judged by the library's patterns directly; everything else by the library itself, thirty times slower. A
    property test holds the two equal.
    """
    digits = text if text.isdigit() else text.translate(_SEPARATORS)
    plan = _plan(country)
    if plan is not None and digits.isascii():
        if digits[:1] == "0" and digits[1:2] != "0":
            national = digits[1:]
        else:
            national = digits.removeprefix(f"+{plan.calling_code}") if digits[:1] == "+" else ""
        if national.isdecimal() and national[0] != "0" and "(0" not in text[1:] and plan.valid.fullmatch(national):
            return f"+{plan.calling_code}{national}"
    return _by_library(text, country)


def _by_library(text: str, country: str) -> str | None:
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _apply(value: Value, context: Context) -> Value:
    if not isinstance(value, str):
        raise Unusable("rule.not_text")
    if not value.strip():
        return None
    number = e164(value, context.country)
    if number is None:
        raise Unusable("rule.phone_unusable")
    return number


PHONE_TRANSFORM = Transform("e164", "Phone number in international form (+61 ...), by the clinic's country", _apply)
