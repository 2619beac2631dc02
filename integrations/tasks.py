"""What the queue may run: each takes a tenant and an id, calls one service, returns a short summary.

A task may run twice or die half-way; the queue is only a doorbell. A task that starts answers the doorbell: its lease
tells the pulse that the work is being done, and for whom. A task that ends wakes the pulse, which rings for what is next.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from integrations.doorbell import WORKER, wake_pulse
from integrations.services import (
    alerts,
    bulk,
    bulk_files,
    delivery,
    errands,
    hooks,
    incidents,
    intake,
    leases,
    meters,
    reruns,
    retention,
    watching,
)
from tenants.models import Tenant
from tenants.services import seal_audit

WORK = "work:"
BEAT = "beat:"
TELL = "tell:"
TELL_AGENCY = f"{TELL}agency"
FORGOTTEN_S = 86_400


def run_flow(tenant_id: int, run_id: int) -> str:
    with at_work("run", tenant_id, run_id):
        done = intake.run_slice(tenant_id, run_id, seconds=settings.SUTURE_SLICE_S)
    return "more" if done.more else "end"


def drain(tenant_id: int, connection_id: int) -> str:
    with at_work("drain", tenant_id, connection_id):
        done = delivery.drain(tenant_id, connection_id, seconds=settings.SUTURE_SLICE_S)
    return done.code or ("more" if done.more else "end")


def carry_on_bulk_run(tenant_id: int, bulk_run_id: int) -> str:
    with at_work("bulk", tenant_id, bulk_run_id):
        done = bulk.carry_on(tenant_id, bulk_run_id, seconds=settings.SUTURE_SLICE_S)
    return done.code or "step"


def carry_on_rerun(tenant_id: int, rerun_id: int) -> str:
    with at_work("rerun", tenant_id, rerun_id):
        return reruns.carry_on(tenant_id, rerun_id)


def look_after_due() -> str:
    return f"looked after {watching.look_after_due(seconds=settings.SUTURE_SLICE_S)}"


def tell(tenant_id: int) -> str:
    return f"told {alerts.tell(tenant_id)}"


def tell_agency() -> str:
    mails, posts = incidents.tell(), hooks.send_due()
    wake_pulse()
    return f"told {mails}, posted {posts}"


def housekeep() -> str:
    """Meters and retention clinic by clinic, the audit's seal, files of dead workers, and duties of machines that never came back."""
    removed = 0
    for tenant_id in Tenant.objects.order_by("pk").values_list("pk", flat=True):
        meters.keep(tenant_id)
        removed += sum(retention.remove_aged(tenant_id).values())
        removed += sum(errand.sweep(tenant_id) for errand in errands.errands())
    removed += retention.remove_aged_of_agency()
    seal_audit()
    bulk_files.sweep()
    for prefix in (WORK, BEAT, TELL):
        leases.forget_aged(prefix, seconds=FORGOTTEN_S)
    return f"removed {removed}"


def canary() -> str:
    """Shows that tasks are executed on this machine."""
    beat()
    return "alive"


def work_name(kind: str, tenant_id: int, row_id: int) -> str:
    return f"{WORK}{kind}:{tenant_id}:{row_id}"


def work_holder(tenant_id: int) -> str:
    """One doorbell or one task, and for whom: a task that ends must not give back what a later one holds."""
    return f"{tenant_id}:{uuid.uuid4().hex[:12]}"


def beat_name(worker: str) -> str:
    return f"{BEAT}{worker}"


def beat() -> None:
    if worker := os.environ.get(WORKER, ""):
        leases.hold(beat_name(worker), worker, seconds=0)


@contextmanager
def at_work(kind: str, tenant_id: int, row_id: int) -> Iterator[None]:
    """Answers the doorbell that was rung for this piece of work, and wakes the pulse at its end."""
    name, holder = work_name(kind, tenant_id, row_id), work_holder(tenant_id)
    leases.hold(name, holder, seconds=settings.SUTURE_TASK_S + 5)
    beat()
    try:
        yield
    finally:
        leases.drop(name, holder)
        beat()
        wake_pulse()
        meters.keep_calls()
