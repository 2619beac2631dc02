"""First loads in bulk: the same end as one by one, whoever dies on the way, and nobody doubled."""

import os
import random
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db.models import Count
from django.test import override_settings

from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.connectors.shopify.sandbox_call import Refusal
from integrations.connectors.shopify.sandbox_shop import Row
from integrations.models import Alert, BulkRun, BulkRunState, Call, Delivery, DeliveryState, FlowRevision, Mode
from integrations.services import alerts, bulk, bulk_files, delivery, intake, pulse
from integrations.services.bulk_work import LeaseLost, Work, claim
from tenants.models import Agency
from tenants.walls import app_now, tenant_tx
from tests.conftest import House
from tests.faults.invariants import assert_invariants
from tests.faults.killing import count_boundaries, killed_at
from tests.faults.theatre import MARKER, Theatre, new_clinic, set_clock, theatre
from tests.stage import SHOP

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

START = "bulkOperationRunMutation"
SAMPLE = 6
RULES = [
    {"target": "metafields.clinic.suburb", "source": "city", "transforms": ["single_line"]},
    {"target": "tag.newsletter", "source": "accepted_email_marketing", "transforms": []},
]


@pytest.fixture
def shown(house: House) -> Iterator[Theatre]:
    """More than five go in bulk, and the shop works through a file at once."""
    with override_settings(SUTURE_BULK_FROM=5), theatre(house.harbour) as built:
        built.shopify.vendor.configure(SHOP, bulk_rows_per_s=1e6)
        yield built


def people(shown: Theatre, count: int = 30, *, first: int = 0) -> list[str]:
    """Some with everything that a customer can have, some without an address or a consent."""
    return [
        shown.world.add_patient(
            first_name=f"Given{number}",
            last_name=f"Family{number}",
            email=f"p{number}@example.com",
            phone=f"0400 000 {number:03}",
            address_1=f"{number} Sea Rd" if number % 2 else None,
            city="Geelong" if number % 2 else None,
            accepted_email_marketing=True if number % 3 else None,
            accepted_sms_marketing=True if number % 5 == 0 else None,
        )
        for number in range(first, first + count)
    ]


def bulk_runs(shown: Theatre) -> list[BulkRun]:
    with tenant_tx(shown.tenant.pk):
        return list(BulkRun.objects.order_by("pk"))


def read_all(shown: Theatre) -> BulkRun:
    """Everything read, and the bulk run begun but not carried on."""
    shown.start()
    only = shown.only
    for ring in pulse.due_runs(only):
        intake.run_slice(ring.tenant_id, ring.id, seconds=30, client=shown._client("practice"))
    drain(shown)
    (run,) = bulk_runs(shown)
    return run


def drain(shown: Theatre) -> None:
    delivery.drain(shown.tenant.pk, shown.connection("shop").pk, seconds=30, opener=shown._open)


def step(shown: Theatre) -> BulkRun:
    (run,) = bulk_runs(shown)
    bulk.carry_on(shown.tenant.pk, run.pk, seconds=30, opener=shown._open)
    return bulk_runs(shown)[0]


def operations(shown: Theatre) -> list[Row]:
    """The vendor's bulk runs."""
    return shown.shop.bulks


def as_made(row: Row) -> dict[str, object]:
    """A customer without what differs from one making to the next."""
    return {
        **{name: row[name] for name in ("firstName", "lastName", "email", "phone", "tags", "emailState", "smsState")},
        "addresses": [{name: value for name, value in one.items() if name != "id"} for one in row["addresses"]],
        "metafields": {
            name: one["type"] if name == MARKER else one["value"] for name, one in row["metafields"].items()
        },
    }


def with_rules(shown: Theatre) -> None:
    rules = [{**rule, "write": "always", "conflict": "source"} for rule in RULES]
    with tenant_tx(shown.tenant.pk):
        FlowRevision.objects.filter(flow_id=shown.flow_id).update(config={"settings": {}, "rules": rules})


# -- the same end as one by one


@pytest.mark.parametrize("writes_marker", [True, False])
def test_thirty_patients_in_bulk_end_as_one_by_one(shown: Theatre, writes_marker: bool) -> None:
    ends = []
    for number, most in enumerate((5, 10**6)):
        new_clinic(shown, Agency.objects.get(), number)
        shown.shopify.vendor.configure(SHOP, bulk_rows_per_s=1e6, custom_id_writes_marker=writes_marker)
        with_rules(shown)
        people(shown)
        with override_settings(SUTURE_BULK_FROM=most):
            shown.pass_over()
        assert_invariants(shown)
        assert [run.created for run in shown.runs()] == [30]
        assert bool(operations(shown)) is (most == 5)
        ends.append(sorted(map(repr, map(as_made, shown.customers()))))
        writes = shown.writes
        shown.forward(600)
        shown.pass_over()
        assert shown.writes == writes
    assert ends[0] == ends[1]


def test_a_bulk_run_costs_a_handful_of_calls(shown: Theatre) -> None:
    people(shown)
    shown.pass_over()
    (run,) = bulk_runs(shown)
    assert (run.state, run.code, run.finished_at is None) == (BulkRunState.DONE, "", False)
    assert len(operations(shown)) == 5  # customers, markers, both consents, addresses
    assert not any("customerCreate" in entry.roots for entry in shown.shopify.vendor.operations)
    assert all(row.sealed_draft is None and row.sealed_target is None for row in shown.deliveries())


def test_a_look_at_a_bulk_run_does_not_say_that_writing_works_and_its_outcomes_do(shown: Theatre) -> None:
    shown.shopify.vendor.configure(SHOP, bulk_rows_per_s=1.0)
    people(shown)
    read_all(shown)
    while step(shown).state != BulkRunState.RUNNING:
        pass
    with tenant_tx(shown.tenant.pk):
        alerts.open_alert(shown.connection("shop").pk, "http.server_error", Call.WRITE, app_now())
        (alert,) = Alert.objects.all()
    shown.forward(5)
    assert step(shown).state == BulkRunState.RUNNING

    def has_ended() -> bool:
        with tenant_tx(shown.tenant.pk):
            return Alert.objects.get(pk=alert.pk).ended_at is not None

    assert not has_ended()
    shown.settle()
    assert has_ended()


def test_no_file_is_left_and_what_a_dead_worker_left_is_swept(shown: Theatre, tmp_path: Path) -> None:
    people(shown)
    with override_settings(SUTURE_VAR=tmp_path):
        shown.pass_over()
        folder = tmp_path / "bulk"
        assert list(folder.iterdir()) == [] and folder.stat().st_mode & 0o77 == 0
        for name, age_s in (("old", 7200), ("new", 0)):
            (folder / name).touch()
            os.utime(folder / name, (time.time() - age_s,) * 2)
        assert bulk_files.sweep() == 1
        assert [path.name for path in folder.iterdir()] == ["new"]


def test_a_few_go_one_by_one(shown: Theatre) -> None:
    people(shown, 5)
    shown.pass_over()
    assert bulk_runs(shown) == [] and len(shown.customers()) == 5


@pytest.mark.parametrize("mode", [Mode.PREVIEW, Mode.PILOT])
def test_only_a_live_flow_goes_in_bulk(shown: Theatre, mode: str) -> None:
    keys = people(shown, 12)
    shown.set_flow(mode=mode, pilot_keys=keys)
    shown.pass_over()
    assert bulk_runs(shown) == [] and operations(shown) == []


def test_what_is_there_and_what_is_shared_stays_out_and_ends_as_today(shown: Theatre) -> None:
    """A customer of the merchant's is matched by name and e-mail; a stranger's e-mail asks; of two that share one the
    first is made and the second asks; one without e-mail or phone asks."""
    keys = people(shown, 12)
    ida = shown.world.add_patient(first_name="Ida", last_name="Moss", email="ida@example.com")
    tom = shown.world.add_patient(first_name="Tom", last_name="Hale", email="zoe@example.com")
    ivy = shown.world.add_patient(first_name="Ivy", last_name="Reed", email="p3@example.com")
    ned = shown.world.add_patient(first_name="Ned", last_name="Moss")
    known = shown.shop.create({"firstName": "Ida", "lastName": "Moss", "email": "ida@example.com"})
    shown.shop.create({"firstName": "Zoe", "lastName": "Lund", "email": "zoe@example.com"})
    shown.pass_over()
    assert operations(shown)[0]["rows"] == 12
    assert set(shown.links()) == {*keys, ida}
    assert shown.links()[ida] == str(known[0]["id"] if isinstance(known, tuple) else known["id"])
    assert shown.held() == {
        tom: "match.shared_email",
        ivy: "match.shared_email",
        ned: "record.email_missing",
    }
    assert_invariants(shown, strangers=1)


def test_what_is_there_may_be_many_pages_away(shown: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is read on where it was read to, when a step's time is over."""
    for number in range(230):
        shown.shop.create({"firstName": f"S{number}", "lastName": "Stranger", "email": f"s{number}@example.com"})
    people(shown, 12)
    twin = shown.world.add_patient(first_name="S229", last_name="Stranger", email="s229@example.com")
    run = read_all(shown)
    for _ in range(3):
        bulk.carry_on(shown.tenant.pk, run.pk, seconds=0, opener=shown._open)
    (run,) = bulk_runs(shown)
    assert (run.pass_number, run.looked) == (1, 200)
    shown.settle()
    assert operations(shown)[0]["rows"] == 12
    assert twin in shown.links() and len(shown.customers()) == 242


def test_reading_a_far_larger_shop_is_not_worth_it(shown: Theatre) -> None:
    for number in range(320):
        shown.shop.create({"firstName": f"S{number}", "lastName": "Stranger", "email": f"s{number}@example.com"})
    people(shown, 8)
    shown.pass_over()
    assert operations(shown) == [] and len(shown.links()) == 8
    assert [run.state for run in bulk_runs(shown)] == [BulkRunState.DONE]


# -- while it is under way


def test_others_go_on_meanwhile_and_changes_wait_for_its_end(shown: Theatre) -> None:
    keys = people(shown, 12)
    shown.shopify.vendor.configure(SHOP, bulk_at_once=0)  # no place is free
    shown.start()
    shown.work()
    assert {row.state for row in shown.deliveries()} == {DeliveryState.SENDING}
    (run,) = shown.runs()
    assert (run.waiting, run.read) == (12, 12)
    shown.world.edit_patient(keys[0], first_name="Renamed")
    late = shown.world.add_patient(first_name="Late", last_name="Comer", email="late@example.com")
    shown.forward(30)
    shown.start()
    shown.work()
    assert set(shown.links()) == {late}
    shown.shopify.vendor.configure(SHOP, bulk_at_once=5)
    shown.settle()
    names = {row["email"]: row["firstName"] for row in shown.customers()}
    assert names["p0@example.com"] == "Renamed" and len(names) == 13
    assert_invariants(shown)


def test_a_long_first_load_goes_in_bulk_runs_that_take_turns(shown: Theatre) -> None:
    """None of it is written one by one while it waits for a turn, and a full bulk run is given no more."""
    with override_settings(SUTURE_BULK_ROWS=12):
        people(shown, 18)
        shown.shopify.vendor.configure(SHOP, bulk_rows_per_s=1.0)
        shown.start()
        for ring in pulse.due_runs(shown.only):
            intake.run_slice(ring.tenant_id, ring.id, seconds=30, client=shown._client("practice"))
        drain(shown)
        first, second = bulk_runs(shown)
        assert [ring.id for ring in pulse.due_bulk_runs(shown.only)] == [first.pk]
        with tenant_tx(shown.tenant.pk):
            assert claim(second.pk) is None
            counts = Delivery.objects.values_list("bulk_run_id").annotate(Count("pk")).order_by("bulk_run_id")
            assert list(counts) == [(first.pk, 12), (second.pk, 6)]
        shown.settle()
        assert [run.state for run in bulk_runs(shown)] == [BulkRunState.DONE] * 2
    first, second = bulk_runs(shown)
    assert first.finished_at and second.sent_at and first.finished_at <= second.sent_at
    assert len(shown.customers()) == len(shown.links()) == 18
    assert not any("customerCreate" in entry.roots for entry in shown.shopify.vendor.operations)
    assert_invariants(shown)


def test_a_bulk_run_that_waits_for_its_turn_is_filled_by_the_first_load_alone(shown: Theatre) -> None:
    people(shown, 12)
    shown.shopify.vendor.configure(SHOP, bulk_at_once=0)
    read_all(shown)
    late = people(shown, 7, first=12)
    shown.forward(30)
    shown.start()
    shown.work()
    assert sorted(shown.links()) == sorted(late) and len(bulk_runs(shown)) == 1


def test_a_full_vendor_is_asked_again_after_the_pause_it_names(shown: Theatre) -> None:
    people(shown, 12)
    shown.shopify.vendor.configure(SHOP, bulk_at_once=0)
    read_all(shown)
    for _ in range(3):
        run = step(shown)
    assert (run.state, run.code) == (BulkRunState.STAGED, "shopify.bulk_full")
    assert run.sent_at is None and run.not_before is not None and run.tries == 0
    assert {row.creates for row in shown.deliveries()} == {0}


def test_a_run_is_looked_at_less_and_less_often(shown: Theatre) -> None:
    people(shown, 12)
    shown.shopify.vendor.configure(SHOP, bulk_rows_per_s=0.01)
    read_all(shown)
    pauses = []
    for _ in range(14):
        run = step(shown)
        if run.state == BulkRunState.RUNNING and run.not_before:
            pauses.append(round((run.not_before - app_now()).total_seconds(), 1))
            shown.forward(pauses[-1] + 0.1)
    assert pauses[0] > 2 and pauses == sorted(pauses) and 50 < pauses[-1] <= 60


def test_a_flow_switched_off_stops_its_bulk_run_and_takes_what_it_did(shown: Theatre) -> None:
    people(shown, 20)
    shown.shopify.vendor.configure(SHOP, bulk_rows_per_s=1.0)
    read_all(shown)
    for _ in range(3):
        step(shown)
    shown.shopify.clock.advance(8.5)
    shown.set_flow(mode=Mode.OFF)
    shown.forward(5)
    shown.work()
    assert [one["status"] for one in operations(shown)] == ["CANCELED"]
    (run,) = bulk_runs(shown)
    assert run.state == BulkRunState.FAILED and run.code == "mode.off"
    made = len(shown.customers())
    assert 0 < made < 20
    shown.set_flow(mode=Mode.LIVE)
    shown.shopify.vendor.configure(SHOP, bulk_rows_per_s=1e6)
    shown.forward(4000)
    shown.pass_over()
    assert len(shown.customers()) == 20
    assert_invariants(shown)


def test_a_refused_key_pauses_the_connection_and_the_run_goes_on_with_a_new_one(shown: Theatre) -> None:
    people(shown, 12)
    read_all(shown)
    step(shown)
    shown.shopify.faults.add(Fault(FaultKind.STATUS, status=401, body='{"errors":"[API] Invalid API key"}'))
    run = step(shown)
    assert run.state == BulkRunState.GATHERING and run.code == "shopify.token_refused"
    assert shown.connection("shop").state == "needs_reauth"
    assert not shown.work()
    connection = shown.connection("shop")
    with tenant_tx(shown.tenant.pk):
        connection.state = "ok"
        connection.save(update_fields=["state"])
    shown.settle()
    assert len(operations(shown)) == 5
    assert_invariants(shown)


# -- when it goes wrong


def test_a_refused_row_is_held_and_a_lost_one_looked_up(shown: Theatre) -> None:
    keys = people(shown, 12)
    long = shown.world.add_patient(first_name="x" * 300, last_name="Long", email="long@example.com")
    shown.shopify.vendor.refuse_next(SHOP, Refusal("customerSet", skip=4))
    shown.pass_over()
    assert shown.held() == {long: "shopify.name_invalid"}
    assert set(shown.links()) == set(keys)
    assert_invariants(shown)


def test_a_row_refused_in_a_later_pass_is_held_with_its_customer_linked(shown: Theatre) -> None:
    keys = people(shown, 12)
    shown.shopify.vendor.refuse_next(
        SHOP,
        Refusal(
            "customerEmailMarketingConsentUpdate",
            user_error={"field": ["input"], "message": "is invalid", "code": "INVALID"},
        ),
    )
    shown.pass_over()
    assert len(shown.held()) == 1 and set(shown.links()) == set(keys)


@pytest.mark.parametrize("writes_marker", [True, False])
def test_an_operation_that_fails_midway_doubles_nobody(shown: Theatre, writes_marker: bool) -> None:
    keys = people(shown)
    shown.shopify.vendor.configure(SHOP, bulk_fail_after=11, custom_id_writes_marker=writes_marker)
    shown.pass_over()
    assert set(shown.links()) == set(keys) and len(shown.customers()) == 30
    assert_invariants(shown)


def test_an_answer_lost_to_a_start_is_found_and_nothing_is_started_twice(shown: Theatre) -> None:
    people(shown, 12)
    shown.shopify.faults.add(Fault(FaultKind.DROP_AFTER, contains=START))
    shown.pass_over()
    assert len(operations(shown)) == 5
    assert_invariants(shown)


def test_a_start_that_never_arrived_is_sent_anew_once_it_is_sure(shown: Theatre) -> None:
    people(shown, 12)
    shown.shopify.faults.add(Fault(FaultKind.HTML, contains=START))  # something between us and the shop answers
    took = shown.pass_over()
    assert took > timedelta(seconds=settings.SUTURE_SETTLE_S)
    assert len(operations(shown)) == 5
    assert_invariants(shown)


@pytest.mark.parametrize("contains", ["stagedUploadsCreate", "BulkOperationById"])
def test_a_lost_answer_elsewhere_is_asked_for_again(shown: Theatre, contains: str) -> None:
    people(shown, 12)
    shown.shopify.faults.add(Fault(FaultKind.STATUS, status=503, times=4, contains=contains))
    shown.pass_over()
    assert len(operations(shown)) == 5 and len(shown.customers()) == 12
    assert_invariants(shown)


@pytest.mark.parametrize(("method", "path"), [("POST", f"/{SHOP}/staged-uploads"), ("GET", f"/{SHOP}/bulk-results")])
def test_a_file_that_does_not_get_through_is_sent_or_fetched_again(shown: Theatre, method: str, path: str) -> None:
    people(shown, 12)
    shown.shopify.faults.add(Fault(FaultKind.DROP_BEFORE, times=2, method=method, path=path))
    shown.pass_over()
    assert len(operations(shown)) == 5 and len(shown.customers()) == 12
    assert_invariants(shown)


def test_files_that_never_get_through_let_all_go_one_by_one_and_stop_nothing_else(shown: Theatre) -> None:
    people(shown, 12)
    shown.shopify.faults.add(
        Fault(FaultKind.STATUS, status=403, times=99, method="POST", path=f"/{SHOP}/staged-uploads")
    )
    took = shown.pass_over()
    (run,) = bulk_runs(shown)
    assert (run.state, run.code) == (BulkRunState.FAILED, "http.upload_refused")
    assert took < timedelta(minutes=10) and shown.connection("shop").failures == 0
    assert len(shown.customers()) == 12
    assert_invariants(shown)


def test_a_document_that_is_refused_lets_all_go_one_by_one(shown: Theatre) -> None:
    people(shown, 12)
    refusal = {"field": None, "message": "no", "code": "INVALID_MUTATION"}
    shown.shopify.vendor.refuse_next(SHOP, Refusal(START, user_error=refusal))
    shown.pass_over()
    (run,) = bulk_runs(shown)
    assert (run.state, run.code) == (BulkRunState.FAILED, "shopify.bulk_refused")
    assert operations(shown) == [] and len(shown.customers()) == 12
    assert_invariants(shown)


def test_results_that_are_gone_are_looked_up(shown: Theatre) -> None:
    people(shown, 12)
    read_all(shown)
    for _ in range(3):
        step(shown)
    shown.forward(8 * 86_400)
    shown.settle(within=timedelta(days=20))
    assert len(shown.customers()) == 12
    assert_invariants(shown)


def test_a_run_that_kills_its_workers_gives_its_records_back(shown: Theatre) -> None:
    people(shown, 12)
    run = read_all(shown)
    with tenant_tx(shown.tenant.pk):
        BulkRun.objects.filter(pk=run.pk).update(crashes=settings.SUTURE_CRASH_TRIES)
    shown.settle()
    (run,) = bulk_runs(shown)
    assert (run.state, run.code) == (BulkRunState.FAILED, "internal.run_crashes")
    assert len(shown.customers()) == 12 and operations(shown) == []
    assert_invariants(shown)


def test_who_comes_late_saves_nothing(shown: Theatre) -> None:
    people(shown, 12)
    run = read_all(shown)
    for _ in range(3):
        step(shown)
    shown.forward(60)
    with tenant_tx(shown.tenant.pk):
        zombie = claim(run.pk)
    assert zombie is not None
    shown.forward(settings.SUTURE_LEASE_S + 1)
    assert step(shown).state == BulkRunState.READING
    late = Work(zombie, None, None, 0.0)  # type: ignore[arg-type]
    with tenant_tx(shown.tenant.pk), pytest.raises(LeaseLost):
        late.end(state=BulkRunState.DONE)


# -- killed anywhere


def world(shown: Theatre) -> None:
    people(shown, 9)
    shown.world.add_patient(first_name="Ivy", last_name="Reed", email="p3@example.com")
    shown.world.add_patient(first_name="Ida", last_name="Moss", email="ida@example.com")
    shown.shop.create({"firstName": "Ida", "lastName": "Moss", "email": "ida@example.com"})


def run_through(shown: Theatre) -> None:
    """To its end: the clock goes fast, so that nobody sleeps."""
    shown.start()
    shown.work()
    while shown.next_due() is not None:
        shown.work()


def ready(shown: Theatre, number: int) -> None:
    new_clinic(shown, Agency.objects.get(), number)
    shown.shopify.vendor.configure(SHOP, bulk_rows_per_s=1e6)
    world(shown)
    shown.hang_up()
    set_clock(shown.moved, rate=50.0)


def kill_and_recover(shown: Theatre, number: int, boundary: int) -> bool:
    ready(shown, number)
    died = killed_at(boundary, lambda: run_through(shown))
    shown.forward(7200)
    shown.settle()
    shown.forward(600)
    shown.pass_over()
    assert_invariants(shown)
    assert len(shown.customers()) == 10
    return died


@pytest.fixture
def doomed(house: House) -> Iterator[Theatre]:
    with override_settings(SUTURE_BULK_FROM=5), theatre(house.harbour) as built:
        yield built


def boundaries_of(shown: Theatre) -> int:
    ready(shown, 0)
    return len(count_boundaries(lambda: run_through(shown)))


def test_killed_at_some_boundaries(doomed: Theatre) -> None:
    count = boundaries_of(doomed)
    chosen = random.Random(os.environ.get("SUTURE_SEED", "")).sample(range(1, count + 1), SAMPLE)
    for number, boundary in enumerate(chosen, start=1):
        kill_and_recover(doomed, number, boundary)


@pytest.mark.proof
def test_killed_at_every_boundary(doomed: Theatre) -> None:
    count = boundaries_of(doomed)
    print(f"{count} boundaries")
    assert sum(kill_and_recover(doomed, boundary, boundary) for boundary in range(1, count + 1)) > count * 0.9
