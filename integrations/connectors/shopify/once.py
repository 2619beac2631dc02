"""Keys that make a mutation happen once (``@idempotent``), and what Shopify says of them.

A key is made of the wish and of exactly what is sent: the same attempt repeats with the same key, anything else gets
another. Shopify keeps a key for 24 hours.
"""

import json
import re
from uuid import UUID, uuid5

from integrations.core.errors import Rejected, SyncError, Unavailable

PREVIOUS_ATTEMPT_FAILED = "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED"
_OURS = UUID("5d0b4c2e-6f5a-5c1b-9a6b-0f6c7b1f6a42")
_WORD = re.compile(r"\bIDEMPOTENCY_[A-Z_]{1,60}\b")


def once_key(seed: str, sent: object, turn: int = 0) -> str:
    """The key for one attempt. ``turn`` counts the keys of this same attempt that Shopify declared spent."""
    text = json.dumps([seed, sent, turn] if turn else [seed, sent], separators=(",", ":"), sort_keys=True)
    return str(uuid5(_OURS, text))


def document_uri(seed: str) -> str:
    """What a stock movement of ours refers to, so that it can be told from others'."""
    return f"gid://suture/Delivery/{uuid5(_OURS, seed)}"


def key_error(code: str, message: str = "") -> SyncError | None:
    """The error for a code, or for one named in a message, that speaks of the key; None if none does."""
    found = code if code.startswith("IDEMPOTENCY_") else next(iter(_WORD.findall(message)), "")
    if found == "IDEMPOTENCY_CONCURRENT_REQUEST":
        return Unavailable("shopify.request_running")
    if found:
        return Rejected("shopify.request_key_spent", vendor_code=found[:60], look_again=True)
    return None
