"""Moves every clinic's data key, and what the agency sealed, under the ring's current key. Online, resumable, one clinic
a transaction."""

from integrations.models import AlertHook
from integrations.services import hooks
from integrations.vault import agency_key_id, key_ring, seal_for_agency, unwrap, wrap
from tenants.models import Tenant, TenantKey
from tenants.walls import agency_tx, tenant_tx


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
    _reseal_hooks(current)
    return moved, kept


def _reseal_hooks(current: str) -> None:
    with agency_tx((), actor="", reason="rotate keys"):
        for hook in AlertHook.objects.select_for_update():
            if agency_key_id(hook.sealed_url) != current:
                plain = hooks.address_of(hook).encode()
                hook.sealed_url = seal_for_agency(hook.agency_id, plain, bound_to=hooks.PLACE)
                hook.save(update_fields=["sealed_url"])
