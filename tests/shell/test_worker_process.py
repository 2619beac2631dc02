"""C1, C2, C3: the worker as it runs in production, with its cluster, and what happens when parts of it are killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from integrations import worker
from integrations.services import leases
from tests.conftest import House
from tests.faults.invariants import assert_invariants
from tests.faults.theatre import Theatre, lease_s, theatre

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

PATIENCE_S = 120.0  # a busy machine; what is asserted is that it happens, within what C2 allows and some more


@pytest.fixture
def shown(house: House) -> Iterator[Theatre]:
    with theatre(house.harbour) as built:
        yield built


class Machine:
    """One ``manage.py worker``, its settings shortened."""

    def __init__(self, shown: Theatre, log: Path) -> None:
        url, name = os.environ["DATABASE_URL"], str(connection.settings_dict["NAME"])
        head, _, query = url.partition("?")
        self.log = log
        environment = os.environ | {
            "DATABASE_URL": f"{head.rpartition('/')[0]}/{name}?{query}",
            "SUTURE_SANDBOX": "1",
            "SUTURE_VENDOR_URLS": f"cliniko={shown.cliniko.url},shopify={shown.shopify.url}/{{account}}",
            "SUTURE_PULSE_S": "0.3",
            "SUTURE_PULSE_LEASE_S": "3",
            "SUTURE_CANARY_EVERY_S": "1",
            "SUTURE_CANARY_LATE_S": "20",
            "SUTURE_RING_AGAIN_S": "10",
            "LOG_LEVEL": "WARNING",
        }
        environment.pop("DATABASE_OWNER_URL", None)
        with log.open("w") as told:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "worker"],
                cwd=settings.BASE_DIR,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=told,
            )

    def cluster(self) -> int:
        """The cluster's group, 0 while there is none."""
        children = [pid for pid, (parent, _) in processes().items() if parent == self.process.pid]
        return children[0] if children else 0

    def members(self) -> dict[str, list[int]]:
        """The processes of the cluster by what they are. Workers come before the monitor, the pusher comes last."""
        table = processes()
        group = self.cluster()
        sentinel = next((pid for pid, (parent, _) in table.items() if parent == group), 0)
        rest = sorted(pid for pid, (parent, _) in table.items() if parent == sentinel and sentinel)
        return {"sentinel": [sentinel], "workers": rest[:-2], "monitor": rest[-2:-1], "pusher": rest[-1:]}

    def is_whole(self) -> bool:
        return len(self.members()["workers"]) == worker.WORKERS

    def end(self) -> None:
        group = self.cluster()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if group and alive_in(group):
            os.killpg(group, signal.SIGKILL)


def processes() -> dict[int, tuple[int, int]]:
    """pid -> (parent, group) of all that live; the dead that nobody waited for are none."""
    table = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if state != "Z":
                table[int(folder.name)] = (int(parent), int(group))
    return table


def alive_in(group: int) -> list[int]:
    return [pid for pid, (_, member_of) in processes().items() if member_of == group]


def until(holds: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> float:
    """Waits for it, looking now and then. Returns how long that took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - began


@pytest.fixture
def machines(shown: Theatre, tmp_path: Path) -> Iterator[Callable[[], Machine]]:
    started: list[Machine] = []

    def start() -> Machine:
        started.append(Machine(shown, tmp_path / f"worker-{len(started)}.log"))
        return started[-1]

    yield start
    for machine in started:
        machine.end()


class Proof:
    """Shows that work is done: each new patient becomes a customer."""

    def __init__(self, shown: Theatre) -> None:
        self.shown, self.made = shown, 0

    def __call__(self, what: str, seconds: float = PATIENCE_S) -> float:
        self.made += 1
        (key,) = self.shown.patients(1, prefix=f"proof{self.made}-")
        self.shown.start()
        return until(lambda: key in self.shown.links(), f"work goes on after {what}", seconds)


def hang_up_all() -> None:
    """What a restart of the database does to everybody's connections."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND usename = session_user AND pid <> pg_backend_pid()"
        )


def test_c02_the_worker_survives_the_loss_of_any_of_its_parts(shown: Theatre, machines: Callable[[], Machine]) -> None:
    """Two machines: one pulses, the other stands by and takes over; then every kind of process dies in turn."""
    works = Proof(shown)
    first = machines()
    works("the start")
    until(lambda: leases.live(worker.PULSE), "the pulse is held")
    second = machines()
    until(second.is_whole, "the second machine is up")
    (holder,) = leases.live(worker.PULSE).values()
    assert holder.endswith(f":{first.process.pid}"), "the second one stands by"

    group = first.cluster()
    first.process.kill()
    first.process.wait()
    works("the supervisor that held the pulse was killed")
    (holder,) = leases.live(worker.PULSE).values()
    assert holder.endswith(f":{second.process.pid}")
    until(lambda: not alive_in(group), "the orphaned cluster ends by itself")

    for part in ("workers", "pusher", "monitor", "sentinel"):
        until(second.is_whole, "the cluster is whole")
        os.kill(second.members()[part][0], signal.SIGKILL)
        assert works(f"one of {part} was killed") <= 90
    hang_up_all()  # what was in hand at that moment is free again when its lease ends
    works("all connections to the database were cut", seconds=lease_s() + PATIENCE_S)
    os.killpg(second.cluster(), signal.SIGKILL)
    works("the whole group was killed")

    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        until(second.is_whole, "the cluster is whole")
        group = second.cluster()
        began = time.monotonic()
        second.process.send_signal(signal.SIGTERM)
        assert second.process.wait(90) == 0
        assert time.monotonic() - began <= 60
        assert not alive_in(group)
        assert stranger.poll() is None, "only its own group ends"
        assert not leases.live(worker.PULSE), "the pulse was given back"
    finally:
        stranger.kill()
        stranger.wait()
    shown.forward(300)
    shown.pass_over()
    assert len(shown.customers()) == works.made
    assert_invariants(shown)


@pytest.mark.proof
@pytest.mark.parametrize("part", ["workers", "pusher", "monitor", "sentinel"])
def test_c02_ten_times_each(shown: Theatre, machines: Callable[[], Machine], part: str) -> None:
    works, machine = Proof(shown), machines()
    works("the start")
    for _ in range(10):
        until(machine.is_whole, "the cluster is whole")
        os.kill(machine.members()[part][0], signal.SIGKILL)
        assert works(f"one of {part} was killed") <= 90
    shown.forward(300)
    shown.pass_over()
    assert_invariants(shown)
