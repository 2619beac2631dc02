"""What the queue may run: each takes a tenant and an id, calls one service, returns a short summary.

A task may run twice or die half-way; the queue is only a doorbell.
"""

from django.conf import settings

from integrations.services import delivery, intake


def run_flow(tenant_id: int, run_id: int) -> str:
    done = intake.run_slice(tenant_id, run_id, seconds=settings.SUTURE_SLICE_S)
    return "more" if done.more else "end"


def drain(tenant_id: int, connection_id: int) -> str:
    done = delivery.drain(tenant_id, connection_id, seconds=settings.SUTURE_SLICE_S)
    return done.code or ("more" if done.more else "end")
