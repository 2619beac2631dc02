"""Pages of a shop's admin, for people."""

import re
from collections.abc import Mapping

_HANDLE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def admin_page(facts: Mapping[str, str], kind: str, key: str) -> str:
    """The page of one record, ``""`` while the shop's handle is not known. ``kind`` as the address has it: ``orders``."""
    handle = facts.get("handle", "")
    return f"https://admin.shopify.com/store/{handle}/{kind}/{key}" if _HANDLE.fullmatch(handle) else ""
