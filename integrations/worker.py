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
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from types import FrameType

import psycopg
from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django_q.tasks import async_task

from integrations import tasks
from integrations.doorbell import LIFELINE, PULSE_CHANNEL, WORKER, Ear, forget_own_queue, own_broker
from integrations.services import errands, leases, pulse, reruns, watching
from integrations.services.sync import begin_run
from tenants.walls import system_tx

logger = logging.getLogger(__name__)

PULSE = "pulse"
HOUSEKEEPING = "housekeeping"
WATCH = "watch"
DAY_S = 86_400
NEWS_EVERY_S = 10.0  # while an incident is open
TASKS = {
    "run": tasks.run_flow,
    "bulk": tasks.carry_on_bulk_run,
    "drain": tasks.drain,
    "rerun": tasks.carry_on_rerun,
}
WORKERS = int(str(settings.Q_CLUSTER["workers"]))
SHORTEST_BEAT_S = 0.05


class Cluster:
    """The django-q2 cluster as a process group of its own. It ends with us, however we end."""

    def __init__(self, worker: str) -> None:
        ours, theirs = os.pipe()[::-1]
        self._lifeline = ours
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, str(settings.BASE_DIR / "manage.py"), "qcluster"],
                env=os.environ | {WORKER: worker, LIFELINE: str(theirs)},
                pass_fds=(theirs,),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
            )
        finally:
            os.close(theirs)
        self.started_at = time.monotonic()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self, seconds: float) -> None:
        """Lets tasks finish for so long, then ends what is left of the group."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            logger.warning("worker: the cluster did not stop in time")
        self.kill()

    def kill(self) -> None:
        """Ends the whole group, orphans of a parent that died included."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


@dataclass(frozen=True, slots=True)
class Due:
    """What the pulse found in one look: flows to start, work to ring for, and what is being done already."""

    flows: Sequence[pulse.Ring]
    waiting: Sequence[tuple[str, pulse.Ring]]
    busy: Mapping[str, str]
    machines: int
    untold: Sequence[int] = ()
    has_news: bool = False


@dataclass(slots=True)
class Worker:
    """One machine's supervisor. ``run`` returns when asked to stop."""

    name: str = field(default_factory=lambda: f"{socket.gethostname()[:80]}:{os.getpid()}")
    cluster: Cluster | None = None
    stopping: bool = False
    canary_at: float = 0.0
    housekeeping_at: float = 0.0
    turns: dict[int, float] = field(default_factory=dict)
    restarts: int = 0
    ear: Ear = field(default_factory=lambda: Ear(PULSE_CHANNEL))

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        signal.signal(signal.SIGINT, self._ask_to_stop)
        self.cluster = Cluster(self.name)
        try:
            while not self.stopping:
                self._beat()
        finally:
            self._leave(PULSE)
            self.cluster.stop(settings.SUTURE_STOP_S)
            self._leave(tasks.beat_name(self.name))

    def _beat(self) -> None:
        """One tick, then a rest: until the next pulse is due or a task that ended wakes us."""
        began = time.monotonic()
        try:
            self.tick()
            self.ear.wait(max(0.0, settings.SUTURE_PULSE_S - (time.monotonic() - began)))
        except (DatabaseError, psycopg.Error):
            logger.warning("pulse: the database does not answer, trying again")
            close_old_connections()
            time.sleep(settings.SUTURE_PULSE_S)
        time.sleep(SHORTEST_BEAT_S)

    def tick(self) -> None:
        """Watch the cluster, and if this machine holds the pulse, ring for what is due."""
        close_old_connections()
        self.ear.listen()
        with system_tx("pulse"):
            silent_s = leases.age_s(tasks.beat_name(self.name))
            due = look() if leases.take(PULSE, self.name, seconds=settings.SUTURE_PULSE_LEASE_S) else None
        self._watch_cluster(silent_s)
        if due is None:
            return
        ring_due(due, self.turns)
        ring_tellings(due.untold, has_news=due.has_news)
        if time.monotonic() >= self.housekeeping_at:
            self.housekeeping_at = time.monotonic() + settings.SUTURE_RING_AGAIN_S
            ring_housekeeping()
            ring_watch()

    def _watch_cluster(self, silent_s: float | None) -> None:
        """Restarts a cluster that ended or whose canary stopped singing."""
        if self.cluster is None:
            return
        age_s = time.monotonic() - self.cluster.started_at
        silent_s = age_s if silent_s is None else min(age_s, silent_s)
        if self.cluster.has_ended or silent_s > settings.SUTURE_CANARY_LATE_S:
            logger.warning("worker: the cluster ended or executes nothing, starting it again")
            self._restart()
        elif time.monotonic() - self.canary_at >= settings.SUTURE_CANARY_EVERY_S:
            self.canary_at = time.monotonic()
            async_task(tasks.canary, broker=own_broker(self.name))

    def _restart(self) -> None:
        if self.cluster is not None:
            self.cluster.kill()
        self.restarts += 1
        self.canary_at = 0.0
        self.cluster = Cluster(self.name)

    def _leave(self, duty: str) -> None:
        """Gives a duty back at once, so that another machine takes it without waiting."""
        try:
            leases.drop(duty, self.name)
            forget_own_queue(self.name)
        except DatabaseError:
            logger.warning("worker: could not give %s back; it runs out by itself", duty)

    def _ask_to_stop(self, _signal: int, _frame: FrameType | None) -> None:
        self.stopping = True


def look() -> Due:
    """What is due now, in one transaction of the pulse."""
    with system_tx("pulse"):
        waiting = [
            *(("drain", ring) for ring in pulse.due_drains()),
            *(("run", ring) for ring in pulse.due_runs()),
            *(("bulk", ring) for ring in pulse.due_bulk_runs()),
            *(("rerun", ring) for ring in reruns.due()),
            *((errand.name, ring) for errand in errands.errands() for ring in errand.due()),
        ]
        untold, has_news = pulse.due_tellings()
        return Due(
            flows=pulse.due_flows(),
            waiting=waiting,
            busy=leases.live(tasks.WORK) if waiting else {},
            machines=leases.count_since(tasks.BEAT, seconds=settings.SUTURE_CANARY_LATE_S) if waiting else 1,
            untold=untold,
            has_news=has_news,
        )


def ring_due(due: Due, turns: dict[int, float]) -> int:
    """Starts due flows and rings for due runs, bulk runs and drains, clinics by turns. Returns how many doorbells rang.

    ``turns`` remembers when each clinic was last served. A clinic's backfill never has more than its fair share of the
    workers, and no more doorbells are out than workers can answer soon: what is not rung for now waits in our tables.
    """
    waiting = list(due.waiting)
    for flow in due.flows:
        run_id = begin_run(flow.tenant_id, flow.id, trigger="schedule")
        if run_id is not None:
            waiting.append(("run", pulse.Ring(flow.tenant_id, run_id)))
    workers = WORKERS * max(1, due.machines)
    share = max(1, int(workers * settings.SUTURE_FAIR_SHARE))
    load = Counter(int(holder.partition(":")[0]) for holder in due.busy.values())
    room = 2 * workers - len(due.busy)
    rang = 0
    for kind, ring in by_turns(waiting, turns):
        if rang >= room:
            break
        name = tasks.work_name(kind, ring.tenant_id, ring.id)
        if name in due.busy or (ring.backfill and load[ring.tenant_id] >= share):
            continue
        if leases.take(name, tasks.work_holder(ring.tenant_id), seconds=settings.SUTURE_RING_AGAIN_S):
            async_task(TASKS.get(kind) or errands.task_of(kind), ring.tenant_id, ring.id)
            turns[ring.tenant_id] = time.monotonic()
            load[ring.tenant_id] += 1
            rang += 1
    return rang


def ring_tellings(untold: Iterable[int], *, has_news: bool = False) -> None:
    """One doorbell for what concerns the agency as a whole and one a clinic, rung again for mails that the mail server
    did not take."""
    if has_news and leases.take(tasks.TELL_AGENCY, str(time.time_ns()), seconds=NEWS_EVERY_S):
        async_task(tasks.tell_agency)
    for tenant_id in untold:
        if leases.take(f"{tasks.TELL}{tenant_id}", str(time.time_ns()), seconds=settings.SUTURE_RING_AGAIN_S):
            async_task(tasks.tell, tenant_id)


def by_turns(waiting: Iterable[tuple[str, pulse.Ring]], turns: Mapping[int, float]) -> list[tuple[str, pulse.Ring]]:
    """Live deliveries first: somebody waits for what was already read. Then, one of each in turn, asking for changes
    and first loads, so that neither starves where workers are few. Within these one piece a clinic, and the clinic
    first that has waited longest."""
    pieces: Counter[int] = Counter()
    ordered = []
    for kind, ring in waiting:
        pieces[ring.tenant_id] += 1
        ordered.append((pieces[ring.tenant_id], turns.get(ring.tenant_id, 0.0), kind, ring))
    ordered.sort(key=lambda row: row[:2])
    in_turn = [(kind, ring) for _, _, kind, ring in ordered]
    loads = [one for one in in_turn if one[1].backfill]
    asking = [one for one in in_turn if one[0] == "run" and not one[1].backfill]
    deliveries = [one for one in in_turn if one[0] != "run" and not one[1].backfill]
    return deliveries + [one for pair in zip_longest(asking, loads) for one in pair if one]


def ring_housekeeping() -> None:
    """Once a day, by whichever machine holds the pulse."""
    if leases.take(HOUSEKEEPING, str(time.time_ns()), seconds=DAY_S):
        async_task(tasks.housekeep)


def ring_watch() -> None:
    """Once for all clinics whose turn it is to be looked after: nobody waits for it, and it takes no turn from work."""
    if leases.take(WATCH, str(time.time_ns()), seconds=settings.SUTURE_RING_AGAIN_S) and watching.due():
        async_task(tasks.look_after_due)
