"""What people do to clinics and memberships, and the audit of it."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db import connection
from django.db.models import Exists, OuterRef

from tenants.models import Agency, AgencyAuditEntry, AuditEntry, AuditSeal, Journal, Membership, Role, Tenant
from tenants.walls import (
    AgencyScope,
    AppNow,
    NoScope,
    TenantScope,
    agency_tx,
    current_scope,
    system_tx,
    widen_agency_scope,
)

SEAL_AFTER = timedelta(minutes=1)  # an open transaction may still add an entry that is older than the newest


def add_agency(*, name: str, slug: str, actor: str = "") -> Agency:
    """The agency whose installation this is."""
    with _as_agency(actor, "add agency"):
        agency = Agency(name=name, slug=slug)
        agency.full_clean()
        agency.save(force_insert=True)
        record_audit("agency.added", target=slug, actor=actor)
    return agency


def add_tenant(
    *,
    agency: Agency,
    slug: str,
    name: str,
    time_zone: str = "Australia/Sydney",
    country: str = "AU",
    currency: str = "AUD",
    actor: str = "",
    reason: str = "",
) -> Tenant:
    """A new clinic, visible at once to the agency's scope it is added in. Raises ValidationError."""
    with _as_agency(actor, reason or "add clinic"):
        tenant = Tenant(agency=agency, slug=slug, name=name, time_zone=time_zone, country=country, currency=currency)
        tenant.full_clean()
        save_new_tenant(tenant)
        record_audit("clinic.added", target=slug, reason=reason, tenant_id=tenant.pk, actor=actor)
    return tenant


def save_new_tenant(tenant: Tenant) -> None:
    """Inserts a clinic from inside `agency_tx`, whose wall shows a row only once its id is among those in scope."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('tenants_tenant_id_seq')")
        (tenant.pk,) = cursor.fetchone()
    widen_agency_scope(tenant.pk)
    tenant.save(force_insert=True)


def find_or_add_user(*, email: str) -> AbstractBaseUser:
    """The account of this address, made without a password where there is none; outside of any scope."""
    if current_scope() is not None:
        raise NoScope("accounts are found and made by app_login, outside a scope")
    users = get_user_model()._default_manager
    address = email.strip().lower()
    found = users.filter(email__iexact=address).first()
    if found is not None:
        return found
    user: AbstractBaseUser = users.create_user(username=address, email=address)
    return user


def add_member(
    *,
    user_id: int,
    role: Role,
    tenant_id: int | None = None,
    agency_id: int | None = None,
    actor: str = "",
    reason: str = "",
) -> Membership:
    """Gives a person a role; the place must fit it, which the database checks."""
    with _as_agency(actor, reason or "add member", [tenant_id] if tenant_id else []):
        member = Membership(user_id=user_id, role=role, tenant_id=tenant_id, agency_id=agency_id)
        member.full_clean(exclude=["user"])
        member.save(force_insert=True)
        record_audit("member.added", target=f"user {user_id}", diff={"role": role}, tenant_id=tenant_id, actor=actor)
    return member


def record_audit(
    action: str,
    *,
    target: str = "",
    reason: str = "",
    diff: Mapping[str, Any] | None = None,
    tenant_id: int | None = None,
    actor: str = "",
    actor_role: str = "",
) -> None:
    """Writes one entry in the transaction of what it describes. `diff` is masked by the caller: no values.

    In `tenant_tx` it is the clinic's; elsewhere `tenant_id` says whose, and without it, it is the agency's. Actor and
    reason default to the scope's.
    """
    scope = current_scope()
    if isinstance(scope, TenantScope | AgencyScope):
        actor, reason = actor or scope.actor, reason or scope.reason
    if isinstance(scope, TenantScope):
        tenant_id = scope.id
    words = {"actor": actor, "actor_role": actor_role, "action": action, "target": target, "reason": reason}
    if tenant_id is None:
        AgencyAuditEntry(**words, diff=dict(diff or {})).save(force_insert=True)
    else:
        AuditEntry(**words, diff=dict(diff or {}), tenant_id=tenant_id).save(force_insert=True)


@contextmanager
def _as_agency(actor: str, reason: str, tenant_ids: Iterable[int] = ()) -> Iterator[None]:
    """The scope in force if there is one, else the agency's."""
    if isinstance(current_scope(), AgencyScope | TenantScope):
        yield
        return
    with agency_tx(tenant_ids, actor=actor, reason=reason):
        yield


# The chain


def seal_audit(*, limit: int = 5000) -> int:
    """Adds the entries that have none yet to the hash chain; returns how many. For housekeeping, any number of times."""
    with system_tx("seal the audit"):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('tenants.audit_seal'))")
        last = AuditSeal.objects.order_by("-id").values_list("digest", flat=True).first()
        digest = bytes(last or b"")
        seals: list[AuditSeal] = []
        for journal, model in _JOURNALS.items():
            sealed = AuditSeal.objects.filter(journal=journal, entry_id=OuterRef("pk"))
            for entry in model.objects.filter(~Exists(sealed), at__lt=AppNow() - SEAL_AFTER).order_by("id")[:limit]:
                digest = _digest(digest, journal, entry)
                seals.append(AuditSeal(journal=journal, entry_id=entry.pk, digest=digest))
        AuditSeal.objects.bulk_create(seals)
    return len(seals)


def first_broken_seal() -> AuditSeal | None:
    """The first seal whose entry was changed or is gone, or whose predecessor is; None while the chain holds."""
    with system_tx("verify the audit"):
        digest = b""
        for seal in AuditSeal.objects.order_by("id").iterator():
            entry = _JOURNALS[Journal(seal.journal)].objects.filter(pk=seal.entry_id).first()
            if entry is None or bytes(seal.digest) != _digest(digest, seal.journal, entry):
                return seal
            digest = bytes(seal.digest)
    return None


_JOURNALS: dict[Journal, Any] = {Journal.CLINIC: AuditEntry, Journal.AGENCY: AgencyAuditEntry}


def _digest(previous: bytes, journal: str, entry: Any) -> bytes:
    words = [entry.actor, entry.actor_role, entry.action, entry.target, entry.reason]
    said = [journal, entry.pk, getattr(entry, "tenant_id", None), entry.at.isoformat(), *words, entry.diff]
    return hashlib.sha256(previous + json.dumps(said, sort_keys=True).encode()).digest()
