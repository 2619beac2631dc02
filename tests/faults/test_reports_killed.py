"""A worker that dies while it compares: another carries on, nothing is invented, nothing is lost (C24, B7)."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connections

from integrations.core.errors import AccountError
from integrations.services.connections import open_client
from reconciliation import joining, services, staging
from reconciliation.here import compare
from reconciliation.models import Report, ReportState, Staged
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, MovedClock
from tests.faults.killing import Counter, Killed, boundaries
from tests.reports import compared, customer, edit, patients, rows, seen
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
NAMES = ("ada", "ben", "cal", "dee", "eve", "fay")


@pytest.fixture
def clinic(house: House) -> Iterator[Stage]:
    """Six patients, of whom three do not agree."""
    with stage(house.harbour) as built:
        open_wide(built)
        keys = patients(built, NAMES)
        built.sync()
        edit(built, keys["ada"], lastName="Smith")
        built.shop.remove(int(customer(built, keys["ben"])["id"]))
        built.world.remove(keys["cal"])
        yield built


def begin(clinic: Stage) -> int:
    with tenant_tx(clinic.tenant.pk):
        return services.begin(clinic.flow_id, trigger="test", now=app_now()).pk


def die() -> None:
    raise Killed


def killed_at(clinic: Stage, number: int) -> int:
    """Carries a comparison on, and dies at its n-th boundary; how many were passed."""
    counter = Counter(number, die)
    with boundaries(counter):
        try:
            compare(clinic.tenant.pk, clinic.flow_id, opener=open_client)
        except Killed:
            connections["default"].close()
    return counter.count


def test_a_comparison_that_is_killed_anywhere_ends_as_if_nothing_had_happened(clinic: Stage, clock: MovedClock) -> None:
    whole = compared(clinic)
    wanted, expected = seen(clinic), whole.counts
    boundaries_passed = killed_at(clinic, 0)
    assert boundaries_passed > 15
    for number in range(1, boundaries_passed + 1, 3):
        killed_at(clinic, number)
        clock.forward(timedelta(seconds=settings.SUTURE_LEASE_S + 1))
        report = compared(clinic)
        assert (report.counts, seen(clinic)) == (expected, wanted), number
    with tenant_tx(clinic.tenant.pk):
        assert not Staged.objects.exists()


def test_a_second_worker_leaves_while_the_first_holds_the_lease(clinic: Stage) -> None:
    report_id = begin(clinic)
    with tenant_tx(clinic.tenant.pk):
        first = services._claim(report_id)
        assert first is not None and services._claim(report_id) is None


def test_whoever_comes_back_late_saves_nothing(clinic: Stage, clock: MovedClock) -> None:
    report_id = begin(clinic)
    with tenant_tx(clinic.tenant.pk):
        late = services._claim(report_id)
    clock.forward(timedelta(seconds=settings.SUTURE_LEASE_S + 1))
    report = compared(clinic)
    with tenant_tx(clinic.tenant.pk), pytest.raises(services.LeaseLost):
        services._end(late, ReportState.FAILED, "", app_now())
    with tenant_tx(clinic.tenant.pk):
        assert Report.objects.get(pk=report_id).state == report.state == ReportState.DONE


def test_one_that_is_stopped_under_way_ends_there(clinic: Stage) -> None:
    report_id = begin(clinic)

    def stopping(tenant_id: int, connection: object, **how: object) -> object:
        with tenant_tx(clinic.tenant.pk):
            services.stop(report_id, app_now())
        return open_client(tenant_id, connection, **how)

    assert not services.run_slice(clinic.tenant.pk, report_id, seconds=30, opener=stopping).more
    with tenant_tx(clinic.tenant.pk):
        assert Report.objects.get(pk=report_id).state == ReportState.STOPPED
        assert not Staged.objects.exists()


def test_one_that_kills_its_worker_again_and_again_is_given_up(clinic: Stage, clock: MovedClock) -> None:
    report_id = begin(clinic)
    for _ in range(settings.SUTURE_CRASH_TRIES + 1):
        with tenant_tx(clinic.tenant.pk):
            services._claim(report_id)
        clock.forward(timedelta(seconds=settings.SUTURE_LEASE_S + 1))
    with tenant_tx(clinic.tenant.pk):
        report = Report.objects.get(pk=report_id)
    assert (report.state, report.code) == (ReportState.FAILED, "internal.run_crashes")


def test_a_stage_that_the_database_lost_is_read_again(clinic: Stage) -> None:
    """An unlogged table is empty after a crash of the database; a report that went on would find everything missing."""
    whole = compared(clinic)
    wanted = seen(clinic)
    report_id = begin(clinic)
    services.run_slice(clinic.tenant.pk, report_id, seconds=0, opener=open_client)
    services.run_slice(clinic.tenant.pk, report_id, seconds=0, opener=open_client)
    with connections["owner"].cursor() as cursor:
        cursor.execute("TRUNCATE reconciliation_staged")
    connections["owner"].close()
    report = compared(clinic)
    assert report.pk == report_id
    assert (report.counts, seen(clinic)) == (whole.counts, wanted)


def test_a_page_of_many_suspects_is_cut_into_several_readings(clinic: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compared(clinic)
    monkeypatch.setattr(services, "SUSPECTS", 1)
    monkeypatch.setattr(joining, "PAGE", 2)
    report = compared(clinic)
    assert report.counts == whole.counts and report.found == 0


def test_a_slice_that_ends_goes_on_where_it_stood(clinic: Stage) -> None:
    whole = compared(clinic)
    report_id = begin(clinic)
    slices = 1
    while services.run_slice(clinic.tenant.pk, report_id, seconds=0, opener=open_client).more:
        slices += 1
    with tenant_tx(clinic.tenant.pk):
        report = Report.objects.get(pk=report_id)
    assert slices > 5 and report.counts == whole.counts


def test_a_key_that_is_refused_ends_the_report_and_stops_the_connection(clinic: Stage) -> None:
    def refused(*_: object, **__: object) -> object:
        raise AccountError("cliniko.auth.rejected")

    report_id = begin(clinic)
    done = services.run_slice(clinic.tenant.pk, report_id, seconds=30, opener=refused)
    assert (done.more, done.code) == (False, "cliniko.auth.rejected")
    with tenant_tx(clinic.tenant.pk):
        report = Report.objects.select_related("flow__source").get(pk=report_id)
        assert report.state == ReportState.FAILED and not report.flow.source.may_call
        assert rows(clinic) == [] and not staging.is_marked(report_id)
