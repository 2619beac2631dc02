"""C7, C8, C10: a record that kills its worker, a worker that wakes after its lease, a clock that jumps."""

import os
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from integrations.services import delivery
from integrations.toolkit.wire import Wire
from tenants.walls import app_now
from tests.conftest import House
from tests.faults.invariants import assert_invariants
from tests.faults.killing import boundaries, count_boundaries, kill_self
from tests.faults.theatre import Theatre, in_child, set_clock, theatre

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

POISON = "poison@example.com"


@pytest.fixture
def shown(house: House) -> Iterator[Theatre]:
    with theatre(house.harbour) as built:
        yield built


def choke_on_poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that is about to write this record dies, as one does that runs out of memory."""
    exchange = Wire.exchange

    def choking(self: Wire, method: str, target: str, headers: object, content: bytes | None) -> object:
        if content and b"mutation" in content and POISON.encode() in content:
            kill_self()
        return exchange(self, method, target, headers, content)  # type: ignore[arg-type]

    monkeypatch.setattr(Wire, "exchange", choking)


@pytest.mark.parametrize("known", [False, True], ids=["create", "update"])
def test_c10_a_poison_record_is_held_after_three_crashes_and_the_rest_goes_on(
    shown: Theatre, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    good = shown.patients(6)
    (bad,) = shown.patients(1, prefix="x", email="well@example.com" if known else POISON)
    if known:
        shown.pass_over()
        shown.forward(600)
        shown.world.edit_patient(bad, email=POISON)
        shown.world.edit_patient(good[0], email="edited@example.com")
    late = shown.patients(3, prefix="late")
    shown.forward(10)
    choke_on_poison(monkeypatch)
    deaths = 0
    shown.start()
    for _ in range(60):
        shown.hang_up()
        deaths += os.WIFSIGNALED(in_child(shown.work))
        due = shown.next_due()
        if due is None:
            break
        shown.forward(max(1.0, (due - app_now()).total_seconds() + 1))
    assert 2 <= deaths <= 3
    assert shown.held() == {bad: "internal.poison" if known else "delivery.unproven"}
    assert set(shown.links()) == {*good, *late} | ({bad} if known else set())
    assert_invariants(shown)


class FallAsleep:
    """Stops the process at the n-th boundary, or the first after it where it holds no rows: stopped before a commit it
    would keep their locks, and nobody could overtake it."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, name: str) -> None:
        self.left -= 1
        if self.left <= 0 and name != "commit.before":
            self.left = sys.maxsize
            os.kill(os.getpid(), signal.SIGSTOP)


def sleepy(shown: Theatre, at: int) -> int:
    """A drain in another process that is stopped on its way, as by a laptop's lid. Returns its id."""
    from django.db import connections

    only = shown.only
    shown.hang_up()
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(60)
            with boundaries(FallAsleep(at)):
                for target in only.targets or ():
                    delivery.drain(shown.tenant.pk, target, seconds=30, opener=shown._open)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    return pid


def intake_only(shown: Theatre, count: int) -> None:
    """Patients that wait in the outbox."""
    from integrations.services import intake

    shown.patients(count, address_1="1 Sea Rd", city="Geelong")
    run = shown.start()
    assert run is not None
    intake.run_slice(shown.tenant.pk, run, seconds=30, client=shown._client("practice"))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4, pytest.param(0.55, marks=pytest.mark.proof)])
def test_c07_a_stopped_worker_that_wakes_after_its_lease_is_stopped_by_the_fence(shown: Theatre, share: float) -> None:
    intake_only(shown, 3)
    only = shown.only

    def drained() -> None:
        for target in only.targets or ():
            delivery.drain(shown.tenant.pk, target, seconds=30, opener=shown._open)

    shown.hang_up()
    names = count_boundaries(drained)
    shown.pass_over()
    shown.forward(600)
    shown.patients(3, prefix="second", address_1="2 Sea Rd", city="Geelong")
    from integrations.services import intake

    run = shown.start()
    assert run is not None
    intake.run_slice(shown.tenant.pk, run, seconds=30, client=shown._client("practice"))
    pid = sleepy(shown, max(1, int(len(names) * share)))
    try:
        shown.forward(5 * 60)
        shown.settle()
        told = {row.pk: (row.state, row.outcome, row.fence) for row in shown.deliveries()}
        customers = len(shown.customers())
    except BaseException:
        os.kill(pid, signal.SIGKILL)  # it may hold rows, and nobody could empty the tables
        raise
    os.kill(pid, signal.SIGCONT)
    _, status = os.waitpid(pid, 0)
    assert status == 0, "it ends quietly, having saved nothing"
    assert {row.pk: (row.state, row.outcome, row.fence) for row in shown.deliveries()} == told
    assert len(shown.customers()) == customers == 6
    assert_invariants(shown)


def test_c08_a_clock_that_jumps_back_or_ahead_loses_nothing(shown: Theatre) -> None:
    intake_only(shown, 5)
    set_clock(timedelta(hours=9))
    shown.work()
    set_clock(timedelta(hours=-9))
    shown.patients(3, prefix="then")
    shown.start()
    shown.work()
    set_clock(timedelta())
    shown.forward(60)
    shown.pass_over()
    assert len(shown.links()) == 8
    assert_invariants(shown)
