"""History by request: beside ordinary passes, paused, killed and carried on, and never twice (A02, A16, A23, K42, C1)."""

import json
import os
import signal
from collections.abc import Iterator
from datetime import date
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import override_settings

from integrations.connectors.cliniko.patients import PATIENTS
from integrations.connectors.shopify.customers import CUSTOMERS
from integrations.models import BUCKETS, Mode, QuotaBudget, Run, RunState
from integrations.services import backfill, intake
from tenants.walls import app_now, system_tx, tenant_tx
from tests.conftest import House
from tests.faults.invariants import assert_invariants
from tests.faults.theatre import Theatre, in_child, lease_s, theatre

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
OLD = {"created_at": "2024-02-01T00:00:00Z", "updated_at": "2024-02-01T00:00:00Z"}


@pytest.fixture
def shown(house: House) -> Iterator[Theatre]:
    """A practice that answers two patients a page, and a flow that takes what is made from its activation on."""
    with theatre(house.harbour, page=2) as built:
        built.set_flow(start="activation", activated_at=app_now())
        yield built


def begin(shown: Theatre, since: date | None = None) -> Run:
    with tenant_tx(shown.tenant.pk):
        return backfill.begin(shown.flow_id, since=since, now=app_now())


def last(shown: Theatre) -> Run:
    return shown.runs()[-1]


def test_what_was_made_before_the_start_comes_by_backfill_only(shown: Theatre):
    old = shown.patients(3, prefix="old", **OLD)
    shown.pass_over()
    assert shown.links() == {}
    begin(shown)
    shown.settle()
    assert set(shown.links()) == set(old)
    run = last(shown)
    assert (run.state, run.created, run.read) == (RunState.DONE, 3, sum(getattr(run, name) for name in BUCKETS))


def test_what_a_backfill_brought_in_is_kept_up_though_it_is_older_than_the_start(shown: Theatre):
    (key,) = shown.patients(1, prefix="old", **OLD)
    begin(shown)
    shown.settle()
    shown.world.edit_patient(key, first_name="Renamed")
    shown.forward(1)
    shown.pass_over()
    assert [row["firstName"] for row in shown.customers()] == ["Renamed"]


def test_a_second_backfill_writes_nothing(shown: Theatre):
    shown.patients(3, prefix="old", **OLD)
    begin(shown)
    shown.settle()
    writes = shown.shopify.vendor.writes("harbour-physio")
    begin(shown)
    shown.settle()
    assert shown.shopify.vendor.writes("harbour-physio") == writes
    assert last(shown).unchanged == 3


def test_a_day_to_begin_with_leaves_out_what_is_older(shown: Theatre):
    shown.patients(2, prefix="old", **OLD)
    (newer,) = shown.patients(1, prefix="new", created_at="2025-06-30T23:00:00Z")
    begin(shown, date(2025, 7, 1))  # in Sydney it was made on 1 July
    shown.settle()
    assert set(shown.links()) == {newer}
    assert last(shown).skipped == 2


def test_changes_go_on_while_a_backfill_is_paused(shown: Theatre):
    shown.patients(3, prefix="old", **OLD)
    run = begin(shown)
    with tenant_tx(shown.tenant.pk):
        assert backfill.pause(run)
    (key,) = shown.patients(1, prefix="fresh")
    shown.pass_over()
    assert set(shown.links()) == {key}
    with tenant_tx(shown.tenant.pk):
        assert backfill.resume(run)
    shown.settle()
    assert len(shown.links()) == 4
    assert_invariants(shown)


def test_one_backfill_at_a_time_and_the_same_one_is_carried_on(shown: Theatre):
    run = begin(shown)
    assert begin(shown).pk == run.pk
    with pytest.raises(backfill.Refused):
        begin(shown, date(2025, 1, 1))
    with tenant_tx(shown.tenant.pk):
        assert backfill.stop(run, app_now())
    assert begin(shown, date(2025, 1, 1)).pk != run.pk


def test_one_that_has_read_all_is_carried_on_until_it_is_delivered(shown: Theatre):
    """Killed while it delivers, the command does not read the practice from its beginning again."""
    shown.patients(3, prefix="old", **OLD)
    run = begin(shown)
    intake.run_slice(shown.tenant.pk, run.pk, seconds=30, client=shown._client("practice"))
    assert (last(shown).state, last(shown).waiting) == (RunState.DONE, 3)
    assert begin(shown).pk == run.pk
    assert begin(shown, date(2020, 1, 1)).pk != run.pk
    shown.settle()
    assert begin(shown).pk not in {one.pk for one in shown.runs()[:-1]}


def test_a_flow_that_is_off_is_not_backfilled(shown: Theatre):
    shown.set_flow(mode="off")
    with pytest.raises(backfill.Refused):
        begin(shown)


def test_killed_three_times_it_goes_on_where_it_stood(shown: Theatre, monkeypatch: pytest.MonkeyPatch):
    """SIGKILL after the commit of a page, three times; no page is read twice, nothing is lost, nothing doubled."""
    keys = shown.patients(8, prefix="old", **OLD)
    run = begin(shown)
    shown.hang_up()
    for _ in range(3):
        status = in_child(lambda: _read_and_die(shown, run.pk))
        assert status & 0x7F == signal.SIGKILL
        shown.forward(lease_s() + 1)
    shown.settle()
    assert set(shown.links()) == set(keys)
    assert last(shown).read == 8
    assert_invariants(shown)


def _read_and_die(shown: Theatre, run_id: int) -> None:
    intake.run_slice(shown.tenant.pk, run_id, seconds=0, client=shown._client("practice"))
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_command_says_what_it_did_as_json_and_refuses_in_words(shown: Theatre):
    shown.patients(3, prefix="old", **OLD)
    told = StringIO()
    flow = "patients-to-customers"
    call_command("backfill", flow, tenant=shown.tenant.slug, json=True, stdout=told)
    (counts,) = json.loads(told.getvalue())["flows"]
    assert (counts["flow"], counts["read"], counts["created"]) == (flow, 3, 3)
    with pytest.raises(CommandError, match="no flow"):
        call_command("backfill", "nothing", tenant=shown.tenant.slug)
    with pytest.raises(CommandError, match="no clinic"):
        call_command("backfill", flow, tenant="nowhere")


def test_an_estimate_reckons_with_both_limits(shown: Theatre):
    """Reading at fifty requests a second, writing at two points a second with twenty in the bucket."""
    shown.patients(4, prefix="old", **OLD)
    shown.patients(1, prefix="new")
    shown.pass_over()  # both accounts are known by now
    with system_tx("test"):
        QuotaBudget.objects.filter(vendor="cliniko").update(amount=3000.0, per_s=60.0, capacity=0.0)
        QuotaBudget.objects.filter(vendor="shopify").update(amount=2.0, per_s=1.0, capacity=20.0)
    told = backfill.estimate(shown.tenant.pk, shown.flow_id, client=shown._client("practice"))
    assert told.records == 5
    assert told.read_s == pytest.approx(5 * PATIENTS.read_cost / 50)
    assert told.write_s == pytest.approx((5 * CUSTOMERS.write_cost - 20) / 2)
    assert told.seconds == told.write_s


def test_an_estimate_of_many_reckons_with_the_pace_of_bulk_runs(shown: Theatre):
    """Every one of these has a row in the passes that make it and mark it, and none elsewhere."""
    shown.patients(6, prefix="old", **OLD)
    shown.pass_over()
    with override_settings(SUTURE_BULK_FROM=5, SUTURE_BULK_ROWS_PER_S=0.5):
        told = backfill.estimate(shown.tenant.pk, shown.flow_id, client=shown._client("practice"))
    assert told.write_s == pytest.approx(6 * 2 / 0.5, rel=0.01)
    with override_settings(SUTURE_BULK_FROM=5, SUTURE_BULK_ROWS_PER_S=0.5, SUTURE_BULK_ROWS=2):
        three = backfill.estimate(shown.tenant.pk, shown.flow_id, client=shown._client("practice"))
    before_the_second_and_third_file = 2 + 4
    assert three.write_s - told.write_s == pytest.approx(before_the_second_and_third_file * backfill.OWN_ROW_S)
    shown.set_flow(mode=Mode.PREVIEW)
    with override_settings(SUTURE_BULK_FROM=5, SUTURE_BULK_ROWS_PER_S=0.5):
        told = backfill.estimate(shown.tenant.pk, shown.flow_id, client=shown._client("practice"))
    assert told.write_s != pytest.approx(6 * 2 / 0.5, rel=0.01)
