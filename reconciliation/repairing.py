"""A repair at work: its records looked at before anybody approves, read again after they were sent, and counted when they
went back. In slices under a lease; each page commits with what it found. Writes nothing at any vendor.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db.models import QuerySet

from integrations.core import errors
from integrations.core.values import Value, in_words
from integrations.models import IN_FLIGHT, Call, Connection, Delivery, DeliveryState
from integrations.services import connections, foresight, leases
from integrations.services.batch import Clients
from integrations.services.jobs import Job, load_job
from integrations.toolkit.http import Client
from reconciliation import judging
from reconciliation.joining import Row
from reconciliation.models import Mismatch, Repair, RepairState, RepairStep, StepState, UndoState
from reconciliation.services import SUSPECTS, LeaseLost, Slice
from reconciliation.staging import Limits
from tenants.walls import app_now, tenant_tx

AT_WORK = (RepairState.PREVIEWING, RepairState.SENDING, RepairState.UNDOING)
WAIT_S = 5
"""Until deliveries that are on their way are asked for again."""
WRITES = ("create", "update", "archive")
MOVING = (DeliveryState.WAITING, *IN_FLIGHT)


def run_slice(
    tenant_id: int, repair_id: int, *, seconds: float, opener: Callable[..., Client] = connections.open_client
) -> Slice:
    """Carries a repair on for about ``seconds``; nothing where somebody else does, or a person must act first."""
    with tenant_tx(tenant_id, reason="repair"):
        repair = _claim(repair_id)
        if repair is None:
            return Slice(more=False)
        started = app_now()
        work = Work(load_job(repair.flow_id), repair, opener)
    try:
        try:
            return work.carry_on(until=started + timedelta(seconds=seconds))
        except errors.SyncError as error:
            return work.interrupted(error)
    except LeaseLost:
        return Slice(more=False)


def _claim(repair_id: int) -> Repair | None:
    """Takes the repair's lease by one conditional update. One that crashed too often is given up instead."""
    now = app_now()
    if not leases.claim(Repair.objects.filter(pk=repair_id, state__in=AT_WORK), now):
        return None
    repair: Repair = Repair.objects.get(pk=repair_id)
    if repair.crashes > settings.SUTURE_CRASH_TRIES:
        Repair.objects.filter(pk=repair_id, fence=repair.fence).update(
            state=RepairState.FAILED, code="internal.run_crashes", ended_at=now, undo_until=now, lease_until=None
        )
        return None
    return repair


def preview_place(repair_id: int, source_key: str) -> str:
    """What a step's preview is sealed for."""
    return f"repair:{repair_id}:{source_key}"


class Asked(Clients):
    """Clients that know which connection was asked last: whose trouble an error is."""

    last: Connection

    def to(self, connection: Connection) -> Client:
        self.last = connection
        return super().to(connection)


@dataclass(slots=True)
class Work:
    """One claimed slice."""

    job: Job
    repair: Repair
    opener: InitVar[Callable[..., Client]]
    clients: Asked = field(init=False)

    def __post_init__(self, opener: Callable[..., Client]) -> None:
        self.clients = Asked(self.job.tenant_id, opener)

    def carry_on(self, *, until: datetime) -> Slice:
        steps = {
            RepairState.PREVIEWING: self._preview,
            RepairState.SENDING: self._verify,
            RepairState.UNDOING: self._follow_back,
        }
        while True:
            retry_at = steps[RepairState(self.repair.state)]()
            if retry_at is not None:
                return Slice(more=True, retry_at=retry_at)
            if self.repair.state not in AT_WORK:
                return Slice(more=False)
            with tenant_tx(self.job.tenant_id, reason="repair"):
                if app_now() >= until:
                    self.save(lease_until=None, crashes=0)
                    return Slice(more=True)

    def save(self, **changes: object) -> None:
        """Raises LeaseLost if the repair is somebody else's by now. Call inside the clinic's transaction."""
        owned = Repair.objects.filter(pk=self.repair.pk, fence=self.repair.fence, state=self.repair.state)
        if not owned.update(**changes):
            raise LeaseLost
        for name, value in changes.items():
            setattr(self.repair, name, value)

    def _extend(self) -> None:
        self.save(lease_until=leases.lease_end(app_now()), code="", crashes=0)

    def interrupted(self, error: errors.SyncError) -> Slice:
        """Lets the repair go, and tells the connection that was asked what happened."""
        with tenant_tx(self.job.tenant_id, reason="repair"):
            retry_at = connections.record_failure(self.clients.last.pk, error, call=Call.READ)
            due = retry_at or app_now() + timedelta(seconds=settings.SUTURE_PAUSED_RETRY_S)
            self.save(lease_until=None, not_before=due, code=error.code, crashes=0)
        return Slice(more=True, retry_at=due, code=error.code)

    def _steps(self, state: StepState) -> QuerySet[RepairStep]:
        steps: QuerySet[RepairStep] = RepairStep.objects.filter(repair=self.repair, state=state).order_by("pk")
        return steps

    def _put_off(self) -> datetime:
        due: datetime = app_now() + timedelta(seconds=WAIT_S)
        self.save(lease_until=None, not_before=due, crashes=0)
        return due

    # -- before anybody approves

    def _preview(self) -> datetime | None:
        with tenant_tx(self.job.tenant_id, reason="repair"):
            steps = list(self._steps(StepState.PLANNED)[:SUSPECTS])
            if not steps:
                self.save(state=RepairState.PROPOSED, lease_until=None)
                return None
        ahead = foresight.look_ahead(self.job, [step.source_key for step in steps], self.clients)
        with tenant_tx(self.job.tenant_id, reason="repair"):
            self._extend()
            for step in steps:
                self._foresee(step, ahead[step.source_key])
            RepairStep.objects.bulk_update(steps, ["state", "action", "code", "target_key", "sealed_preview"])
        return None

    def _foresee(self, step: RepairStep, ahead: foresight.Outlook) -> None:
        writes = ahead.next.action in WRITES
        step.state = StepState.READY if writes else StepState.LEFT
        step.action, step.code = ahead.next.action[:10], ahead.next.code
        step.target_key = ahead.target_key or step.target_key
        if writes:
            step.sealed_preview = self._sealed(step, ahead.changes)

    def _sealed(self, step: RepairStep, changes: Sequence[tuple[str, Value, Value]]) -> bytes:
        told = [[name, in_words(there), in_words(wanted)] for name, there, wanted in changes]
        return self.job.vault.seal(json.dumps(told).encode(), bound_to=preview_place(self.repair.pk, step.source_key))

    # -- after it was sent

    def _verify(self) -> datetime | None:
        with tenant_tx(self.job.tenant_id, reason="repair"):
            steps = self._arrived()
            if not steps:
                if self._steps(StepState.SENT).exists():
                    return self._put_off()
                self._end()
                return None
            rows = [Row(step.source_key, None, step.source_key, step.target_key) for step in steps]
            suspects = judging.follow_links(self.job, rows)
            limits = Limits.of(self.repair.flow)
        read = judging.read_again(self.job, suspects, self.clients.to)
        with tenant_tx(self.job.tenant_id, reason="repair"):
            self._extend()
            wrong = judging.still_wrong(self.job, limits, suspects, read)
            for step in steps:
                found = wrong.get(step.source_key, ())
                step.state = StepState.UNEQUAL if found else StepState.IN_LINE
                step.code = (step.code or found[0].code or "repair.still_unequal") if found else ""
            RepairStep.objects.bulk_update(steps, ["state", "code"])
            self._close([step.source_key for step in steps if step.state == StepState.IN_LINE])
        return None

    def _arrived(self) -> list[RepairStep]:
        """The next steps that nothing is on its way for any more."""
        sent = self._steps(StepState.SENT)
        moving = Delivery.objects.filter(flow_id=self.repair.flow_id, state__in=MOVING)
        return list(sent.exclude(source_key__in=moving.values("source_key"))[:SUSPECTS])

    def _close(self, keys: Sequence[str]) -> None:
        """What is in line now no longer stands on the list of mismatches."""
        closed = Mismatch.objects.filter(flow_id=self.repair.flow_id, source_key__in=keys, closed_at=None)
        closed.update(closed_at=app_now(), sealed_values=None)

    def _end(self) -> None:
        now, count = app_now(), partial(self._count, "state")
        self.save(
            state=RepairState.DONE,
            lease_until=None,
            ended_at=now,
            undo_until=now + timedelta(days=settings.SUTURE_KEEP_PREIMAGE_DAYS),
            in_line=count(StepState.IN_LINE),
            unequal=count(StepState.UNEQUAL),
        )

    # -- on its way back

    def _follow_back(self) -> datetime | None:
        with tenant_tx(self.job.tenant_id, reason="repair"):
            back = RepairStep.objects.filter(repair=self.repair, undo_state=UndoState.SENT)
            moving = Delivery.objects.filter(
                flow_id=self.repair.flow_id, state__in=MOVING, decision__contains={"repair": self.repair.pk}
            )
            back.exclude(source_key__in=moving.values("source_key")).update(
                undo_state=UndoState.KEPT, undo_code="repair.overtaken"
            )
            if back.exists():
                return self._put_off()
            count = partial(self._count, "undo_state")
            undone = count(UndoState.UNDONE) + count(UndoState.PARTLY)
            self.save(state=RepairState.UNDONE, lease_until=None, undone=undone, kept=count(UndoState.KEPT))
        return None

    def _count(self, column: str, value: str) -> int:
        return int(RepairStep.objects.filter(repair=self.repair, **{column: value}).count())
