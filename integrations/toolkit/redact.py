"""Masks for what people and logs may see."""

import re

_NUMBERS = re.compile(r"\d")


def email(text: str) -> str:
    """``jane@example.com`` -> ``j***@e***.com``."""
    local, at, domain = text.strip().partition("@")
    if not at:
        return word(text)
    name, dot, top = domain.rpartition(".")
    return f"{local[:1]}***@{(name or domain)[:1]}***{dot}{top if name else ''}"


def phone(text: str) -> str:
    """Only how it begins with + and its last two digits: ``+***78``."""
    digits = "".join(_NUMBERS.findall(text))
    return f"{'+' if text.strip().startswith('+') else ''}***{digits[-2:] if len(digits) > 5 else ''}"


def word(text: str) -> str:
    """The first letter: ``Nguyen`` -> ``N***``; empty stays empty."""
    stripped = text.strip()
    return f"{stripped[:1]}***" if stripped else ""


def token(text: str) -> str:
    """The last four characters of a secret long enough to spare them: ``…a1b2``."""
    return f"…{text[-4:]}" if len(text) >= 16 else "…"


def mask(text: str) -> str:
    """Any value of unknown class, masked by its look."""
    if "@" in text:
        return email(text)
    if len(_NUMBERS.findall(text)) >= 6:
        return phone(text)
    return word(text)


_ORDINARY = re.compile(r"[a-z][a-z_-]{0,39}|v\d{1,3}|\d{4}-\d{2}|\d+(\.\d+)?|graphql\.json|[A-Za-z]{1,40}", re.ASCII)


def safe_path(url: str) -> str:
    """The path of an address for logs: no host, no query, and ``*`` for any segment that is not a plain word or number."""
    path = re.sub(r"^[a-z]+://[^/]*", "", url).split("?", 1)[0].split("#", 1)[0]
    return "/".join(part if not part or _ORDINARY.fullmatch(part) else "*" for part in path.split("/"))[:200]
