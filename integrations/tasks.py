"""What the queue may run: each takes a tenant and an id, calls one service, returns a short summary.

A task may run twice or die half-way; the queue is only a doorbell. A task that starts answers the doorbell: its lease
tells the pulse that the work is being done, and for whom.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from integrations.services import delivery, intake, leases, retention
from tenants.models import Tenant
from tenants.services import seal_audit

WORKER = "SUTURE_WORKER"


def run_flow(tenant_id: int, run_id: int) -> str:
    with _at_work("run", tenant_id, run_id):
        done = intake.run_slice(tenant_id, run_id, seconds=settings.SUTURE_SLICE_S)
    return "more" if done.more else "end"


def drain(tenant_id: int, connection_id: int) -> str:
    with _at_work("drain", tenant_id, connection_id):
        done = delivery.drain(tenant_id, connection_id, seconds=settings.SUTURE_SLICE_S)
    return done.code or ("more" if done.more else "end")


def housekeep() -> str:
    """Retention clinic by clinic, and the audit's seal."""
    removed = 0
    for tenant_id in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        removed += sum(retention.remove_aged(tenant_id).values())
    seal_audit()
    return f"removed {removed}"


def canary() -> str:
    """Shows that tasks are executed on this machine."""
    beat()
    return "alive"


def work_name(kind: str, tenant_id: int, row_id: int) -> str:
    return f"work:{kind}:{tenant_id}:{row_id}"


def beat_name(worker: str) -> str:
    return f"beat:{worker}"


def beat() -> None:
    if worker := os.environ.get(WORKER, ""):
        leases.hold(beat_name(worker), worker, seconds=0)


@contextmanager
def _at_work(kind: str, tenant_id: int, row_id: int) -> Iterator[None]:
    name = work_name(kind, tenant_id, row_id)
    leases.hold(name, str(tenant_id), seconds=settings.SUTURE_TASK_S + 5)
    beat()
    try:
        yield
    finally:
        leases.drop(name)
