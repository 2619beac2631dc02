"""Sealed values: AES-256-GCM with one data key per clinic, wrapped by a key ring from the environment.

Everything sealed is bound to its clinic, row and field (associated data), so a ciphertext moved elsewhere does not
open. Destroying a clinic's data key makes everything sealed for it unreadable.
"""

import base64
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

from tenants.models import TenantKey

NONCE_BYTES = 12
KEY_BYTES = 32
FORMAT = b"\x01"


class Unsealable(Exception):
    """The ciphertext does not open: wrong place, wrong key, or damaged. Says no more than that."""


@dataclass(frozen=True, slots=True)
class Vault:
    """Seals and opens for one clinic. ``digest_key`` keys fingerprints and digests."""

    tenant_id: int
    digest_key: bytes = field(repr=False)
    _cipher: AESGCM = field(repr=False)

    def seal(self, plain: bytes, *, bound_to: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return FORMAT + nonce + self._cipher.encrypt(nonce, plain, self._bound(bound_to))

    def unseal(self, sealed: bytes | memoryview, *, bound_to: str) -> bytes:
        """Raises Unsealable."""
        sealed = bytes(sealed)
        if sealed[:1] != FORMAT:
            raise Unsealable("unknown format")
        nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, body, self._bound(bound_to))
        except InvalidTag:
            raise Unsealable("does not open here") from None

    def _bound(self, bound_to: str) -> bytes:
        return f"{self.tenant_id}:{bound_to}".encode()


def key_ring() -> Mapping[str, bytes]:
    """Key id -> 32 bytes, the first one current. Raises ValueError naming the faulty entry, never its key."""
    ring: dict[str, bytes] = {}
    for entry in settings.SUTURE_KEY_RING:
        key_id, _, encoded = str(entry).partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except ValueError:
            raise ValueError(f"SUTURE_KEY_RING entry {key_id!r} is not base64") from None
        if len(key) != KEY_BYTES:
            raise ValueError(f"SUTURE_KEY_RING entry {key_id!r} must hold {KEY_BYTES} bytes")
        ring[key_id] = key
    if not ring:
        raise ValueError("SUTURE_KEY_RING is empty")
    return ring


def open_vault(tenant_id: int) -> Vault:
    """The clinic's vault. Call inside its transaction; makes the data key on first use."""
    stored = TenantKey.objects.filter(tenant_id=tenant_id).values_list("key_id", "wrapped").first()
    if stored is None:
        return _first_key(tenant_id)
    return _unwrapped(tenant_id, stored[0], bytes(stored[1]))


def _first_key(tenant_id: int) -> Vault:
    key_id = next(iter(key_ring()))
    wrapped = wrap(tenant_id, os.urandom(KEY_BYTES), key_id)
    TenantKey.objects.bulk_create(
        [TenantKey(tenant_id=tenant_id, key_id=key_id, wrapped=wrapped)], ignore_conflicts=True
    )
    key_id, wrapped = TenantKey.objects.values_list("key_id", "wrapped").get(tenant_id=tenant_id)
    return _unwrapped(tenant_id, key_id, bytes(wrapped))


def wrap(tenant_id: int, data_key: bytes, key_id: str) -> bytes:
    """The data key sealed under the ring's key of that id. Raises KeyError for an id the ring lacks."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key_ring()[key_id]).encrypt(nonce, data_key, _wrapping(tenant_id, key_id))


def unwrap(tenant_id: int, wrapped: bytes, key_id: str) -> bytes:
    """Raises Unsealable."""
    try:
        key = key_ring()[key_id]
        return AESGCM(key).decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _wrapping(tenant_id, key_id))
    except (KeyError, InvalidTag):
        raise Unsealable(f"the key ring cannot open data key of ring key {key_id!r}") from None


def _wrapping(tenant_id: int, key_id: str) -> bytes:
    return f"data-key:{tenant_id}:{key_id}".encode()


@lru_cache(maxsize=1024)
def _unwrapped(tenant_id: int, key_id: str, wrapped: bytes) -> Vault:
    data_key = unwrap(tenant_id, wrapped, key_id)
    sealing = hmac.digest(data_key, b"suture seal", "sha256")
    return Vault(tenant_id, hmac.digest(data_key, b"suture digest", "sha256"), AESGCM(sealing))


# What is the agency's own, and no clinic's: few and short values, sealed under the ring itself


def seal_for_agency(agency_id: int, plain: bytes, *, bound_to: str) -> bytes:
    """Sealed under the ring's current key, whose id stands in front."""
    key_id = next(iter(key_ring()))
    nonce = os.urandom(NONCE_BYTES)
    body = _agency_cipher(key_id).encrypt(nonce, plain, f"agency:{agency_id}:{bound_to}:{key_id}".encode())
    return FORMAT + key_id.encode() + b":" + nonce + body


def unseal_for_agency(agency_id: int, sealed: bytes | memoryview, *, bound_to: str) -> bytes:
    """Raises Unsealable."""
    key_id, _, rest = bytes(sealed)[1:].partition(b":")
    name = key_id.decode(errors="replace")
    try:
        bound = f"agency:{agency_id}:{bound_to}:{name}".encode()
        return _agency_cipher(name).decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], bound)
    except (KeyError, InvalidTag, ValueError):
        raise Unsealable("does not open here") from None


def agency_key_id(sealed: bytes | memoryview) -> str:
    """The id of the ring's key that opens it."""
    return bytes(sealed)[1:].partition(b":")[0].decode(errors="replace")


def _agency_cipher(key_id: str) -> AESGCM:
    return AESGCM(hmac.digest(key_ring()[key_id], b"suture agency seal", "sha256"))
