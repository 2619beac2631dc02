"""A worker that dies while it rehearses: another carries on, and the same is foretold of every record (B2, C24)."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connections

from integrations.core.rules import Rule
from integrations.flows.kind import Config
from integrations.models import Flow, Prediction, Rehearsal
from integrations.services import proposals, rehearsal
from integrations.services.changes import OPERATOR
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, MovedClock
from tests.faults.killing import Counter, Killed, boundaries
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

UPPER = Config(rules=(Rule("firstName", "first_name", ("single_line", "upper")),))
PAGES = 3


@pytest.fixture
def clinic(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Six patients in three pages: four known, two new ones that share an address."""
    monkeypatch.setattr("integrations.connectors.cliniko.lists.PAGE_SIZE", 2)
    with stage(house.harbour) as built:
        open_wide(built)
        for name in ("ada", "ben", "cal", "dee"):
            add(built, name, name)
        built.sync()
        add(built, "eve", "eve")
        add(built, "fay", "eve")
        yield built


def add(built: Stage, name: str, address: str) -> None:
    built.world.add_patient(
        first_name=name, last_name="Ng", email=f"{address}@example.test", accepted_privacy_policy=True
    )


def begin(clinic: Stage) -> int:
    with tenant_tx(clinic.tenant.pk):
        flow = Flow.objects.select_related("source", "target").get(pk=clinic.flow_id)
        row = rehearsal.begin(proposals.propose(flow, UPPER, by=OPERATOR), now=app_now())
    return int(row.pk)


def carried_on(clinic: Stage, rehearsal_id: int, *, dies_at: int) -> int:
    """Carries it on, and dies at its n-th boundary (0: never); how many were passed."""

    def die() -> None:
        raise Killed

    counter = Counter(dies_at, die)
    with boundaries(counter):
        try:
            rehearsal.run_slice(clinic.tenant.pk, rehearsal_id, seconds=30)
        except Killed:
            connections["default"].close()
    return counter.count


def seen(clinic: Stage, rehearsal_id: int) -> tuple[object, ...]:
    with tenant_tx(clinic.tenant.pk):
        row = Rehearsal.objects.get(pk=rehearsal_id)
        told = Prediction.objects.filter(rehearsal=row).order_by("source_key")
        records = list(told.values_list("source_key", "was_action", "action", "code", "fields", "claims"))
        return row.state, row.read, row.changed, row.fields, row.created, row.held, row.updated, records


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.proof)])
def test_a_rehearsal_that_is_killed_anywhere_ends_as_if_nothing_had_happened(
    clinic: Stage, clock: MovedClock, step: int
) -> None:
    first = begin(clinic)
    passed = carried_on(clinic, first, dies_at=0)
    expected = seen(clinic, first)
    assert expected[:3] == ("done", 6, 5) and passed > 5 * PAGES
    for number in range(1, passed + 1, step):
        row = begin(clinic)
        carried_on(clinic, row, dies_at=number)
        clock.forward(timedelta(seconds=settings.SUTURE_LEASE_S + 1))
        carried_on(clinic, row, dies_at=0)
        assert seen(clinic, row) == expected, number


def test_a_second_worker_leaves_while_the_first_holds_the_lease(clinic: Stage) -> None:
    row = begin(clinic)
    with tenant_tx(clinic.tenant.pk):
        first = rehearsal._claim(row)
        assert first is not None and rehearsal._claim(row) is None


def test_whoever_comes_back_late_saves_nothing(clinic: Stage, clock: MovedClock) -> None:
    row = begin(clinic)
    calls = []

    def late(tenant_id: int, connection: object, **how: object) -> object:
        """While the first worker opens its client, its lease runs out and another does all the work."""
        if not calls:
            calls.append(row)
            clock.forward(timedelta(seconds=settings.SUTURE_LEASE_S + 1))
            carried_on(clinic, row, dies_at=0)
        return rehearsal.connections.open_client(tenant_id, connection, **how)

    assert not rehearsal.run_slice(clinic.tenant.pk, row, seconds=30, opener=late).more
    assert seen(clinic, row)[:2] == ("done", 6)


def test_one_that_is_stopped_under_way_ends_there(clinic: Stage) -> None:
    row = begin(clinic)

    def stopping(tenant_id: int, connection: object, **how: object) -> object:
        with tenant_tx(clinic.tenant.pk):
            rehearsal.stop(row, app_now())
        return rehearsal.connections.open_client(tenant_id, connection, **how)

    assert not rehearsal.run_slice(clinic.tenant.pk, row, seconds=30, opener=stopping).more
    assert seen(clinic, row)[:2] == ("stopped", 0)


def test_one_that_kills_its_worker_again_and_again_is_given_up(clinic: Stage, clock: MovedClock) -> None:
    row = begin(clinic)
    for _ in range(settings.SUTURE_CRASH_TRIES + 1):
        with tenant_tx(clinic.tenant.pk):
            rehearsal._claim(row)
        clock.forward(timedelta(seconds=settings.SUTURE_LEASE_S + 1))
    assert seen(clinic, row)[0] == "failed"
