"""Moves every clinic's data key under the ring's current key. Online, resumable, one clinic a transaction."""

from integrations.vault import key_ring, unwrap, wrap
from tenants.models import Tenant, TenantKey
from tenants.walls import tenant_tx


def rotate() -> tuple[int, int]:
    """Returns (clinics moved, clinics already there). Raises Unsealable if the ring lacks a key still in use."""
    current = next(iter(key_ring()))
    moved = kept = 0
    for tenant_id in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        with tenant_tx(tenant_id, reason="rotate keys"):
            row = TenantKey.objects.select_for_update().first()
            if row is None or row.key_id == current:
                kept += 1
                continue
            data_key = unwrap(tenant_id, bytes(row.wrapped), row.key_id)
            row.key_id, row.wrapped = current, wrap(tenant_id, data_key, current)
            row.save(update_fields=["key_id", "wrapped"])
            moved += 1
    return moved, kept
