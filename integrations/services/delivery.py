"""Delivery: take due wishes, look at the target, write what differs, settle.

Touches only the target, except that a wish which could not be mapped is read again from its source. The vendor is
called with no transaction open; between calls, short transactions say what is about to happen and what did.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from django.conf import settings

from integrations.core import errors
from integrations.models import Call, Connection, Mode
from integrations.services import bulk_choice, connections, parents, targets, wishes, writing
from integrations.services.batch import Batch, Clients, Drained
from integrations.services.claims import Item, claim, put_off_blocked
from integrations.services.jobs import Job, load_job
from integrations.toolkit.http import Client
from tenants.walls import app_now, tenant_tx


def drain(
    tenant_id: int,
    connection_id: int,
    *,
    seconds: float,
    opener: Callable[..., Client] = connections.open_client,
) -> Drained:
    """Delivers what is due to one connection for about ``seconds``. Outages end it early and count against no record."""
    drained = Drained()
    ends = time.monotonic() + seconds
    clients = Clients(tenant_id, opener)
    has_begun = False
    while True:
        with tenant_tx(tenant_id, reason="claim"):
            target = Connection.objects.get(pk=connection_id)
            if not target.may_call or (target.open_until and target.open_until > app_now()):
                drained.retry_at, drained.code = target.open_until, target.state_code
                return drained
            if not (has_begun or target.failures):  # what there is much of goes in bulk
                bulk_choice.begin_due(connection_id)
            has_begun = True
            limit = 1 if target.failures else settings.SUTURE_CLAIM_BATCH
            items = claim(connection_id, limit=limit)
            if not items:
                put_off_blocked(connection_id)
        if not items:
            return drained
        for job, batch in _by_flow(tenant_id, items):
            failure = deliver(Batch(job, batch, clients, drained))
            if failure is not None:
                drained.code = failure.code
        if drained.code:
            return drained
        if time.monotonic() >= ends:
            drained.more = True
            return drained


def _by_flow(tenant_id: int, items: Sequence[Item]) -> Iterable[tuple[Job, list[Item]]]:
    """The items by flow and revision, each with the job that made them."""
    ordered = sorted(items, key=lambda item: (item.flow_id, item.revision_number))
    for (flow_id, revision), group in groupby(ordered, key=lambda item: (item.flow_id, item.revision_number)):
        with tenant_tx(tenant_id, reason="deliver"):
            job = load_job(flow_id, revision_number=revision, reads=False)
        yield job, list(group)


def deliver(batch: Batch) -> errors.SyncError | None:
    """Delivers a batch; returns the error that stopped all of it, if one did."""
    try:
        client = batch.clients.to(batch.job.target)
        wishes.refuse_poison_and_mode(batch)
        wishes.open_drafts(batch)
        wishes.refill(batch)
        wishes.load_links(batch)
        parents.resolve(batch)
        if batch.items:
            prepare(batch.job, client)
        for chunk in _chunks(batch.items, batch.stream.batch):
            _deliver_chunk(batch, client, chunk)
        batch.settle()
    except errors.SyncError as error:
        return batch.stop(error)
    if batch.lost:
        return None
    with batch.tx():
        call = Call.WRITE if batch.wrote else Call.READ
        connections.record_success(batch.job.target.pk, app_now(), call=call)
    return None


def _deliver_chunk(batch: Batch, client: Client, items: list[Item]) -> None:
    items = targets.read_linked(batch, client, items)
    items = targets.match(batch, client, items)
    items = targets.decide(batch, client, items)
    if items:
        writing.write(batch, client, items)


def prepare(job: Job, client: Client) -> None:
    """The marker's definition exists at the target before the first write; a preview writes not even that."""
    marker, target, make = job.kind.marker, job.target, job.target_stream.prepare
    if make is None or marker in target.prepared or job.mode == Mode.PREVIEW:
        return
    try:
        make(client, marker)
    except errors.RecordError as refusal:  # about no record: without the marker's definition nothing may be written
        raise errors.AccountError(refusal.code) from None
    with tenant_tx(job.tenant_id, reason="deliver"):
        row = Connection.objects.select_for_update().get(pk=target.pk)
        row.prepared = sorted({*row.prepared, marker})
        row.save(update_fields=["prepared"])
    target.prepared = row.prepared


def _chunks(items: Sequence[Item], size: int) -> list[list[Item]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
