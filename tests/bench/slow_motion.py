"""A worker in slow motion: every clock stands still and moves only by what would take time in the world.

A request costs the way to the vendor and back and its turn in the credential's budget, a beat of the pulse what it is
set to. What our own code costs is not counted (``make bench`` measures that), so figures are the plan's, not the machine's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connections

from integrations import worker
from integrations.models import Connection
from integrations.services import delivery, intake, pulse
from integrations.services.connections import open_client
from integrations.services.sync import begin_run
from integrations.toolkit.http import Client, HttpClient
from integrations.toolkit.quota import QuotaGate
from tests.stage import Stage

WAY_S = 0.3
"""To a vendor and back, as it is from another continent."""


@dataclass(slots=True)
class SlowMotion:
    """``moved`` is called after every move of the clocks; ``turns`` are the worker's."""

    stage: Stage
    began: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    elapsed_s: float = 0.0
    moved: Callable[[], None] = lambda: None
    turns: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for server in (self.stage.cliniko, self.stage.shopify):
            server.clock.set_speed(0.0)
            server.clock.advance(self.began.timestamp() - server.clock.now())
        self._show()

    @property
    def now(self) -> float:
        """Seconds since 1970 on all clocks."""
        return self.began.timestamp() + self.elapsed_s

    def forward(self, seconds: float) -> None:
        if seconds <= 0:
            return
        self.elapsed_s += seconds
        self.stage.cliniko.clock.advance(seconds)
        self.stage.shopify.clock.advance(seconds)
        self._show()
        self.moved()

    def _show(self) -> None:
        with connections["owner"].cursor() as cursor:
            cursor.execute("DELETE FROM tenants_clock")
            cursor.execute(
                "INSERT INTO tenants_clock (moved_at, shows, rate) VALUES (clock_timestamp(), %s, 0)",
                [self.began + timedelta(seconds=self.elapsed_s)],
            )

    # -- the worker

    def beat(self) -> None:
        """One look of the pulse, and what it rings for, piece after piece as one worker process does it."""
        due = worker.look()
        waiting = list(due.waiting)
        for flow in due.flows:
            run_id = begin_run(flow.tenant_id, flow.id, trigger="schedule")
            if run_id is not None:
                waiting.append(("run", pulse.Ring(flow.tenant_id, run_id)))
        for kind, ring in worker.by_turns(waiting, self.turns):
            if kind == "run":
                self.read(ring.id)
                self._drain_due()
            else:
                delivery.drain(ring.tenant_id, ring.id, seconds=settings.SUTURE_SLICE_S, opener=self._open)
        if not waiting:
            self.forward(settings.SUTURE_PULSE_S)

    def read(self, run_id: int | None) -> None:
        assert run_id is not None
        intake.run_slice(self.stage.tenant.pk, run_id, seconds=settings.SUTURE_SLICE_S, opener=self._open)

    def _drain_due(self) -> None:
        """A pass that ended wakes the pulse, which rings for what it found; other processes take that up at once."""
        for ring in pulse.due_drains():
            delivery.drain(ring.tenant_id, ring.id, seconds=settings.SUTURE_SLICE_S, opener=self._open)

    def _open(self, tenant_id: int, connection: Connection, **how: object) -> Client:
        """Each task opens its own client, as in a worker."""
        client = open_client(tenant_id, connection)
        assert isinstance(client, HttpClient) and isinstance(client.gate, QuotaGate)
        client._sleep, client._clock = self.forward, lambda: self.now
        client.gate = _Way(client.gate, self)  # type: ignore[assignment]  # a gate by its shape
        return client


class _Way:
    """A gate by the still clocks, and the way to the vendor after it."""

    def __init__(self, gate: QuotaGate, motion: SlowMotion) -> None:
        gate._sleep, gate._monotonic, gate._clock = motion.forward, lambda: motion.now, lambda: motion.now
        self._gate, self._motion = gate, motion

    def acquire(self, cost: int) -> None:
        self._gate.acquire(cost)
        self._motion.forward(WAY_S)

    def __getattr__(self, name: str) -> object:
        return getattr(self._gate, name)
