"""The supervisor behind ``manage.py worker``: the one process to run in production.

It starts the django-q2 cluster as a child group and holds the pulse. The pulse rings doorbells for what is due; truth is
in our tables, so a doorbell may be lost and is rung again. A canary task shows that tasks are executed: when it stops,
the whole group is ended and started anew (a worker killed while idle can freeze the cluster).
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django_q.tasks import async_task

from integrations import tasks
from integrations.services import leases, pulse
from integrations.services.sync import begin_run

logger = logging.getLogger(__name__)

PULSE = "pulse"
HOUSEKEEPING = "housekeeping"
DAY_S = 86_400


@dataclass(slots=True)
class Worker:
    """One machine's supervisor. ``run`` returns when asked to stop."""

    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    cluster: subprocess.Popen[bytes] | None = None
    stopping: bool = False
    started_at: float = 0.0
    canary_at: float = 0.0
    turns: dict[int, float] = field(default_factory=dict)
    restarts: int = 0

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        signal.signal(signal.SIGINT, self._ask_to_stop)
        self._start_cluster()
        try:
            while not self.stopping:
                began = time.monotonic()
                try:
                    self.tick()
                except DatabaseError:
                    logger.warning("pulse: the database does not answer, trying again")
                    close_old_connections()
                time.sleep(max(0.05, settings.SUTURE_PULSE_S - (time.monotonic() - began)))
        finally:
            self._stop_cluster()
            self._leave()

    def tick(self) -> None:
        """One beat: watch the cluster, and if this machine holds the pulse, ring for what is due."""
        close_old_connections()
        self._watch_cluster()
        if leases.take(PULSE, self.name, seconds=settings.SUTURE_PULSE_LEASE_S):
            ring_due(self.turns)

    # -- the cluster ---------------------------------------------------------------------------------------------

    def _start_cluster(self) -> None:
        environment = os.environ | {tasks.WORKER: self.name}
        self.cluster = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, str(settings.BASE_DIR / "manage.py"), "qcluster"],
            env=environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        self.started_at = time.monotonic()
        self.canary_at = 0.0
        leases.hold(tasks.beat_name(self.name), self.name, seconds=0)

    def _watch_cluster(self) -> None:
        """Restarts a cluster that ended or whose canary stopped singing."""
        if self.cluster is None or self.cluster.poll() is not None:
            logger.warning("worker: the cluster ended, starting it again")
            self._restart()
            return
        silent_s = leases.age_s(tasks.beat_name(self.name))
        if silent_s is not None and silent_s > settings.SUTURE_CANARY_LATE_S:
            logger.warning("worker: no task was executed for %d s, restarting the cluster", silent_s)
            self._restart()
            return
        if time.monotonic() - self.canary_at >= settings.SUTURE_CANARY_EVERY_S:
            self.canary_at = time.monotonic()
            async_task(tasks.canary)

    def _restart(self) -> None:
        self._end_group(signal.SIGKILL)
        self.restarts += 1
        self._start_cluster()

    def _stop_cluster(self) -> None:
        """Lets tasks finish, for as long as the settings allow, then ends what is left."""
        if self.cluster is None:
            return
        self.cluster.send_signal(signal.SIGTERM)
        try:
            self.cluster.wait(settings.SUTURE_STOP_S)
        except subprocess.TimeoutExpired:
            logger.warning("worker: the cluster did not stop in time")
        self._end_group(signal.SIGKILL)

    def _end_group(self, how: signal.Signals) -> None:
        if self.cluster is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.cluster.pid, how)
        self.cluster.wait()

    def _leave(self) -> None:
        """Gives the pulse back at once, so that another machine takes it without waiting."""
        try:
            if leases.live(PULSE).get(PULSE) == self.name:
                leases.drop(PULSE)
            leases.drop(tasks.beat_name(self.name))
        except DatabaseError:
            logger.warning("worker: could not give the pulse back; it runs out by itself")

    def _ask_to_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = True


WORKERS = int(str(settings.Q_CLUSTER["workers"]))


def ring_due(turns: dict[int, float]) -> int:
    """Starts due flows and rings for due runs and drains, clinics by turns. Returns how many doorbells rang.

    ``turns`` remembers when each clinic was last served. A clinic's backfill never has more than half of the workers.
    """
    for due in pulse.due_flows():
        begin_run(due.tenant_id, due.id, trigger="schedule")
    busy = leases.live("work:")
    load = Counter(int(holder) for holder in busy.values() if holder.isdigit())
    waiting = [("run", ring) for ring in pulse.due_runs()] + [("drain", ring) for ring in pulse.due_drains()]
    half = max(1, int(WORKERS * settings.SUTURE_FAIR_SHARE))
    rang = 0
    for kind, ring in _by_turns(waiting, turns):
        name = tasks.work_name(kind, ring.tenant_id, ring.id)
        if name in busy or (ring.backfill and load[ring.tenant_id] >= half):
            continue
        if not leases.take(name, str(ring.tenant_id), seconds=settings.SUTURE_RING_AGAIN_S):
            continue
        async_task(tasks.run_flow if kind == "run" else tasks.drain, ring.tenant_id, ring.id)
        turns[ring.tenant_id] = time.monotonic()
        load[ring.tenant_id] += 1
        rang += 1
        if rang + len(busy) >= 2 * WORKERS:
            break
    _ring_housekeeping()
    return rang


def _by_turns(waiting: Iterable[tuple[str, pulse.Ring]], turns: dict[int, float]) -> list[tuple[str, pulse.Ring]]:
    """Live work before backfill; among equals the clinic that has waited longest, one piece a clinic at a time."""
    pieces: Counter[int] = Counter()
    ordered = []
    for kind, ring in waiting:
        pieces[ring.tenant_id] += 1
        ordered.append((ring.backfill, pieces[ring.tenant_id], turns.get(ring.tenant_id, 0.0), kind, ring))
    return [(kind, ring) for *_, kind, ring in sorted(ordered, key=lambda row: row[:3])]


def _ring_housekeeping() -> None:
    if leases.take(HOUSEKEEPING, str(time.time_ns()), seconds=DAY_S):
        async_task(tasks.housekeep)
