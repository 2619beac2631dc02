"""A worker that dies while it repairs, or takes back: another carries on, and nothing is written twice (C24, B7)."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connections

from integrations.services.connections import open_client
from reconciliation import repair, repairing
from reconciliation.models import Repair, RepairState, UndoState
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, MovedClock
from tests.faults.killing import Counter, Killed, boundaries
from tests.repairs import carried_on, proposed, standing, steps, taken_back
from tests.reports import compared, customer, edit, patients
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
EVERY = 1 if os.environ.get("SUTURE_PROOF") else 13  # which boundaries are died at


@pytest.fixture
def clinic(house: House) -> Iterator[Stage]:
    with stage(house.harbour) as built:
        open_wide(built)
        yield built


def die() -> None:
    raise Killed


def dying(number: int, work: Callable[[], object]) -> int:
    """Works, and dies at the n-th boundary; how many were passed."""
    counter = Counter(number, die)
    with boundaries(counter):
        try:
            work()
        except Killed:
            connections["default"].close()
    return counter.count


def mischief(clinic: Stage, keys: dict[str, str]) -> Repair:
    """Both customers edited by hand, and the repair of that approved."""
    edit(clinic, keys["ada"], lastName="Smith")
    edit(clinic, keys["ben"], firstName="Benny", lastName="Brown")
    compared(clinic)
    row = proposed(clinic)
    with tenant_tx(clinic.tenant.pk):
        repair.approve(Repair.objects.get(pk=row.pk), by="ana", now=app_now())
    return row


def work_on(clinic: Stage, row: Repair) -> Callable[[], object]:
    def work() -> None:
        clinic.report()
        repairing.run_slice(clinic.tenant.pk, row.pk, seconds=30, opener=open_client)

    return work


def names(clinic: Stage, keys: dict[str, str]) -> list[tuple[str, str]]:
    return [(row["firstName"], row["lastName"]) for row in (customer(clinic, keys[name]) for name in ("ada", "ben"))]


def test_a_repair_and_its_undo_that_are_killed_anywhere_write_each_record_once(
    clinic: Stage, clock: MovedClock
) -> None:
    keys = patients(clinic, ("ada", "ben"))
    clinic.sync()
    whole = mischief(clinic, keys)
    passed = dying(0, work_on(clinic, whole))
    assert passed > 15
    for number in range(1, passed + 1, EVERY):
        row = mischief(clinic, keys)
        written = clinic.writes
        dying(number, work_on(clinic, row))
        clock.forward(timedelta(seconds=settings.SUTURE_LEASE_S + 1))
        clinic.report()
        row = carried_on(clinic, row.pk)
        assert (row.state, row.in_line, row.unequal) == (RepairState.DONE, 2, 0), number
        assert clinic.writes - written == 2, number
        written = clinic.writes
        row = _taken_back_dying(clinic, clock, row, number)
        assert {step.undo_state for step in steps(clinic, row.pk).values()} == {UndoState.UNDONE}, number
        assert names(clinic, keys) == [("Ada", "Smith"), ("Benny", "Brown")], number
        assert clinic.writes - written == 2, number


def _taken_back_dying(clinic: Stage, clock: MovedClock, row: Repair, number: int) -> Repair:
    with tenant_tx(clinic.tenant.pk):
        assert repair.undo(Repair.objects.get(pk=row.pk), by="olga", reason="test", now=app_now()) == 2
    dying(number, work_on(clinic, row))
    clock.forward(timedelta(seconds=settings.SUTURE_LEASE_S + 1))
    clinic.report()
    return carried_on(clinic, row.pk)


def test_a_second_worker_leaves_while_the_first_holds_the_lease(clinic: Stage) -> None:
    keys = patients(clinic, ("ada", "ben"))
    clinic.sync()
    row = mischief(clinic, keys)
    with tenant_tx(clinic.tenant.pk):
        assert repairing._claim(row.pk) is not None and repairing._claim(row.pk) is None


def test_one_that_kills_its_worker_again_and_again_is_given_up(clinic: Stage, clock: MovedClock) -> None:
    keys = patients(clinic, ("ada", "ben"))
    clinic.sync()
    row = mischief(clinic, keys)
    for _ in range(settings.SUTURE_CRASH_TRIES + 1):
        with tenant_tx(clinic.tenant.pk):
            repairing._claim(row.pk)
        clock.forward(timedelta(seconds=settings.SUTURE_LEASE_S + 1))
    given_up = standing(clinic, row.pk)
    assert (given_up.state, given_up.code) == (RepairState.FAILED, "internal.run_crashes")
    assert not repairing.run_slice(clinic.tenant.pk, row.pk, seconds=30, opener=open_client).more


def test_whoever_comes_back_late_saves_nothing(clinic: Stage, clock: MovedClock) -> None:
    keys = patients(clinic, ("ada", "ben"))
    clinic.sync()
    row = mischief(clinic, keys)
    with tenant_tx(clinic.tenant.pk):
        late = repairing._claim(row.pk)
    assert late is not None
    clock.forward(timedelta(seconds=settings.SUTURE_LEASE_S + 1))
    clinic.report()
    assert carried_on(clinic, row.pk).state == RepairState.DONE
    taken_back(clinic, row.pk)
    with tenant_tx(clinic.tenant.pk), pytest.raises(repairing.LeaseLost):
        repairing.Work(repairing.load_job(clinic.flow_id), late, open_client).save(lease_until=None)
    assert standing(clinic, row.pk).state == RepairState.UNDONE
