"""Is everything in place? In words, with what to do."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.core.checks import run_checks
from django.core.management.base import BaseCommand
from django.db import connection as database

from integrations.messages import message
from integrations.models import Connection, ConnectionState, Delivery, DeliveryState, Flow
from integrations.services import leases
from integrations.vault import Unsealable, key_ring, open_vault
from integrations.worker import PULSE
from tenants.models import Tenant, TenantKey
from tenants.walls import tenant_tx


@dataclass(frozen=True, slots=True)
class Finding:
    word: str  # ok, warning, problem
    sentence: str


class Command(BaseCommand):
    help = "Check database, walls, keys, worker and every clinic's connections. Exit status 1 if something is wrong."
    requires_system_checks = ()

    def handle(self, **_: object) -> None:
        problems = 0
        for finding in findings():
            problems += finding.word == "problem"
            self.stdout.write(f"{finding.word:>8}  {finding.sentence}")
        if problems:
            sys.exit(1)


def findings() -> Iterator[Finding]:
    yield from _database()
    yield from _checks()
    yield from _keys()
    yield from _worker()
    for tenant in Tenant.objects.filter(active=True).order_by("slug"):
        yield from _clinic(tenant)


def _database() -> Iterator[Finding]:
    with database.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int / 10000, current_user")
        major, user = cursor.fetchone()
    word = "ok" if 15 <= major <= 18 else "problem"
    yield Finding(word, f"PostgreSQL {major} as {user}.")


def _checks() -> Iterator[Finding]:
    faults = run_checks(databases=["default"])
    for fault in faults:
        yield Finding("problem" if fault.is_serious() else "warning", f"{fault.msg} ({fault.id})")
    if not faults:
        yield Finding("ok", "Both walls stand, and no setting is unsafe.")


def _keys() -> Iterator[Finding]:
    try:
        ring = key_ring()
    except ValueError as fault:
        yield Finding("problem", f"{fault}.")
        return
    current = next(iter(ring))
    old = 0
    for tenant in Tenant.objects.order_by("slug"):
        try:
            with tenant_tx(tenant.pk, reason="doctor"):
                open_vault(tenant.pk)
                old += TenantKey.objects.exclude(key_id=current).count()
        except Unsealable as fault:
            yield Finding("problem", f"{tenant.name}: {fault}.")
    if old:
        yield Finding(
            "warning", f"{old} clinics' keys are under an older key of the ring: run `manage.py rotate_keys`."
        )
    else:
        yield Finding("ok", "Every clinic's key opens with the current key of the ring.")


def _worker() -> Iterator[Finding]:
    holder = leases.live(PULSE).get(PULSE)
    if holder:
        yield Finding("ok", f"The worker {holder} holds the pulse.")
    else:
        yield Finding("warning", "No worker runs: start `manage.py worker`, or nothing is synced by itself.")
    if settings.SUTURE_SANDBOX:
        yield Finding("warning", "SUTURE_SANDBOX is on: vendors are stand-ins.")


def _clinic(tenant: Tenant) -> Iterator[Finding]:
    with tenant_tx(tenant.pk, reason="doctor"):
        connections = list(Connection.objects.order_by("name"))
        flows = list(Flow.objects.order_by("name"))
        held = Delivery.objects.filter(state=DeliveryState.HELD).count()
    for connection in connections:
        well = connection.state in {ConnectionState.OK, ConnectionState.UNVERIFIED}
        told = "" if well or not connection.state_code else f" {message(connection.state_code).advice}"
        yield Finding(
            "ok" if well else "problem", f"{tenant.slug}: {connection} – {connection.get_state_display()}.{told}"
        )
    for flow in flows:
        stopped = f" Stopped: {message(flow.stopped_code).sentence}" if flow.stopped_code else ""
        yield Finding("problem" if stopped else "ok", f"{tenant.slug}: {flow} – {flow.get_mode_display()}.{stopped}")
    if held:
        yield Finding("warning", f"{tenant.slug}: {held} records wait for a person.")
