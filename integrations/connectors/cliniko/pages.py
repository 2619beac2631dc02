"""Cliniko's own pages, for people who want to look."""

import re
from collections.abc import Mapping

_SHARD = re.compile(r"[a-z]{2}[0-9]{1,2}")
_SUBDOMAIN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def page_url(resource: str, facts: Mapping[str, str], key: str) -> str:
    """The record's page in Cliniko, ``""`` until the account's address is known."""
    subdomain, shard = facts.get("subdomain", ""), facts.get("shard", "")
    if not (_SUBDOMAIN.fullmatch(subdomain) and _SHARD.fullmatch(shard) and key.isascii() and key.isdigit()):
        return ""
    return f"https://{subdomain}.{shard}.cliniko.com/{resource}/{key}"
