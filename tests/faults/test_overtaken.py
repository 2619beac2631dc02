"""What is under way is overtaken: by a newer wish, a merge, a mode, a release taken back, a person. The newest word wins."""

from collections.abc import Callable, Iterator

import pytest
from django.db import IntegrityError

from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.models import Connection, ConnectionState, Delivery, FlowRevision, Run, RunState, SyncLogEntry
from integrations.services import connections, desk, gate, intake, settlement
from integrations.services.counts import Moves
from integrations.services.jobs import load_job
from integrations.services.outbox import Outbox
from integrations.services.synclog import Log
from tenants.walls import app_now, tenant_tx
from tests.conftest import House
from tests.faults.invariants import assert_invariants
from tests.faults.theatre import MARKER, Theatre, theatre

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

MIA = {"first_name": "Mia", "last_name": "Chen", "email": "mia@example.com"}


@pytest.fixture
def shown(house: House) -> Iterator[Theatre]:
    with theatre(house.harbour) as built:
        yield built


@pytest.fixture
def by_one(house: House) -> Iterator[Theatre]:
    """A practice that answers one patient a page."""
    with theatre(house.harbour, page=1) as built:
        yield built


def read_only(shown: Theatre, *, seconds: float = 30) -> int:
    """A pass whose wishes nobody has delivered yet; with no seconds its first page. Returns the run."""
    run_id = shown.start()
    assert run_id is not None
    carry_on(shown, run_id, seconds=seconds)
    return run_id


def carry_on(shown: Theatre, run_id: int, *, seconds: float = 30) -> intake.Slice:
    return intake.run_slice(shown.tenant.pk, run_id, seconds=seconds, client=shown._client("practice"))


def run_of(shown: Theatre, run_id: int) -> Run:
    return next(run for run in shown.runs() if run.pk == run_id)


def change_run(shown: Theatre, run_id: int, **columns: object) -> None:
    with tenant_tx(shown.tenant.pk):
        Run.objects.filter(pk=run_id).update(**columns)


# -- by a newer reading


@pytest.mark.parametrize("held", [True, False], ids=["on the desk", "waiting"])
def test_a_refusal_of_privacy_withdraws_what_still_waits(shown: Theatre, held: bool) -> None:
    key = shown.world.add_patient(**MIA | ({"email": None} if held else {}), accepted_privacy_policy=True)
    read_only(shown)
    shown.world.edit_patient(key, email="mia@example.com", accepted_privacy_policy=False)
    shown.forward(1)
    shown.pass_over()
    assert shown.held() == {}
    assert shown.customers() == []
    assert [run.superseded for run in shown.runs()] == [1, 0]
    assert_invariants(shown)


def test_a_patient_archived_before_the_first_delivery_is_not_delivered(shown: Theatre) -> None:
    key = shown.world.add_patient(**MIA)
    read_only(shown)
    shown.world.archive(key)
    shown.forward(1)
    shown.pass_over()
    assert shown.customers() == []
    assert_invariants(shown)


def test_a_wish_that_a_person_touched_meanwhile_is_counted_where_it_stood(shown: Theatre) -> None:
    key = shown.world.add_patient(**MIA | {"email": None})
    run_id = read_only(shown)
    with tenant_tx(shown.tenant.pk):
        job, known = load_job(shown.flow_id), gate.know(shown.flow_id, [key])
        assert desk.retry(Delivery.objects.all()) == 1
        moves, now = Moves(), app_now()
        outbox = Outbox(job, run_id, known, moves=moves, log=Log(shown.flow_id, run_id, now), now=now)
        outbox.withdraw([key])
        moves.save()
    run = run_of(shown, run_id)
    assert (run.held, run.waiting, run.superseded) == (0, 0, 1)


# -- by a merge


def test_a_merged_patient_who_still_waits_is_not_delivered(shown: Theatre) -> None:
    stays = shown.world.add_patient(**MIA)
    gone = shown.world.add_patient(**MIA | {"email": "old@example.com"})
    read_only(shown)
    shown.world.merge(gone, stays)
    shown.forward(1)
    shown.pass_over()
    assert list(shown.links()) == [stays]
    assert len(shown.customers()) == 1
    assert_invariants(shown)


def test_a_chain_of_merges_is_followed_to_its_end(shown: Theatre) -> None:
    """The one in the middle was merged long ago: no pass reads it again by itself."""
    middle, gone, stays = (shown.world.add_patient(**MIA | {"email": email}) for email in (None, MIA["email"], None))
    shown.pass_over()
    (customer,) = shown.links().values()
    shown.world.merge(middle, stays)
    for turn in range(2):
        shown.forward(600)
        shown.patients(1, prefix=f"later{turn}")
        shown.pass_over()
    shown.forward(600)
    shown.world.edit_patient(stays, email="mya@example.com")
    shown.world.merge(gone, middle)
    shown.forward(1)
    shown.pass_over()
    assert shown.links()[stays] == customer
    assert not {gone, middle} & shown.links().keys()


# -- within what is kept at once


def before_the_second_request(shown: Theatre, monkeypatch: pytest.MonkeyPatch, deed: Callable[[], object]) -> None:
    """What somebody does at the practice between two requests of the next pass."""
    client, asked = shown._client("practice"), []
    once = client._once  # type: ignore[attr-defined]

    def asking(*given: object, **named: object) -> object:
        asked.append(given)
        if len(asked) == 2:
            deed()
        return once(*given, **named)

    monkeypatch.setattr(client, "_once", asking)


def test_a_patient_read_and_then_read_as_merged_is_not_delivered(
    shown: Theatre, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = shown.world.add_patient(**MIA)
    shown.pass_over()
    shown.forward(600)
    late = shown.world.add_patient(first_name="Lea", last_name="Marsh", email="lea@example.com")
    shown.forward(1)
    before_the_second_request(shown, monkeypatch, lambda: shown.world.merge(late, stays))
    shown.pass_over()
    run = shown.runs()[-1]
    assert run.skipped == 1 and run.superseded >= 1  # he who stays may be read in the overlap, too
    assert list(shown.links()) == [stays]
    assert len(shown.customers()) == 1
    assert_invariants(shown)


def test_a_patient_read_and_then_unreadable_waits_for_a_person(shown: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    key = shown.world.add_patient(**MIA)
    shown.pass_over()
    shown.forward(600)
    shown.world.edit_patient(key, email="mia.chen@example.com")
    shown.forward(1)

    def spoil() -> None:
        shown.world.archive(key)
        shown.world.first.raw[key] = {"email": ["no text"]}

    before_the_second_request(shown, monkeypatch, spoil)
    shown.pass_over()
    assert shown.held() == {key: "record.unreadable"}
    assert shown.runs()[-1].superseded == 1
    assert_invariants(shown)


def test_pages_before_an_error_are_kept(by_one: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "HAUL_ROWS", 10)
    by_one.patients(3)
    by_one.cliniko.faults.add(Fault(FaultKind.STATUS, status=503, times=3, contains="page=3&"))
    read_only(by_one)
    (run,) = by_one.runs()
    assert (run.pages, run.read, run.code) == (2, 2, "http.server_error")
    assert len(by_one.deliveries()) == 2


def test_what_is_read_ahead_fails_after_what_was_read_is_kept(house: House) -> None:
    with theatre(house.harbour, page=1, ahead=True) as shown:
        shown.patients(5)
        shown.cliniko.faults.add(Fault(FaultKind.STATUS, status=503, times=3, contains="page=4&"))
        read_only(shown)
        (run,) = shown.runs()
        assert (run.pages, run.read, run.code) == (3, 3, "http.server_error")
        shown.cliniko.faults.clear()
        shown.settle()
        shown.pass_over()
        assert len(shown.customers()) == 5
        assert_invariants(shown)


# -- by a mode


def test_a_pilot_holds_back_what_was_wished_before_it(shown: Theatre) -> None:
    first, *others = shown.patients(4)
    read_only(shown)
    shown.set_flow(mode="pilot", pilot_keys=[first])
    shown.settle()
    assert list(shown.links()) == [first]
    assert {row.code for row in shown.deliveries(source_key__in=others)} == {"mode.pilot"}
    shown.set_flow(mode="live")
    shown.pass_over()
    assert set(shown.links()) == {first, *others}
    assert_invariants(shown)


def test_a_flow_switched_off_does_not_send_a_lost_create_again(shown: Theatre) -> None:
    (key,) = shown.patients(1)
    shown.shopify.faults.add(Fault(FaultKind.DROP_BEFORE, contains="customerCreate("))
    shown.start()
    shown.work()
    shown.set_flow(mode="off")
    for _ in range(4):
        shown.forward(300)
        shown.work()
    assert shown.customers() == []
    (row,) = shown.deliveries()
    assert (row.state, row.code) == ("waiting", "mode.off")
    shown.set_flow(mode="live")
    shown.pass_over()
    assert list(shown.links()) == [key]
    assert_invariants(shown)


def test_a_pass_ends_when_its_flow_is_switched_off(by_one: Theatre) -> None:
    by_one.patients(3)
    run_id = read_only(by_one, seconds=0)
    by_one.set_flow(mode="off")
    asked = len(by_one.cliniko.journal.entries())
    carry_on(by_one, run_id)
    assert run_of(by_one, run_id).state == RunState.STOPPED
    assert len(by_one.cliniko.journal.entries()) == asked


# -- by a failure in the middle of a pass over everything


def test_a_pass_over_everything_that_failed_is_carried_on(by_one: Theatre) -> None:
    by_one.patients(3)
    by_one.pass_over()
    by_one.set_flow()
    run_id = read_only(by_one, seconds=0)
    change_run(by_one, run_id, state=RunState.FAILED, finished_at=app_now())
    stood = run_of(by_one, run_id).place
    run = run_of(by_one, by_one.start() or 0)
    assert run.since is None
    assert run.place == stood is not None


def test_a_change_since_starts_it_over(by_one: Theatre) -> None:
    """What the failed pass read was judged by the mode of then."""
    keys = by_one.patients(3)
    by_one.set_flow(mode="preview")
    run_id = read_only(by_one, seconds=0)
    change_run(by_one, run_id, state=RunState.FAILED, finished_at=app_now())
    by_one.set_flow(mode="live")
    with tenant_tx(by_one.tenant.pk):
        Delivery.objects.all().delete()
    by_one.pass_over()
    assert set(by_one.links()) == set(keys)


def test_a_pass_that_crashed_too_often_lets_go_of_what_its_guard_kept(by_one: Theatre) -> None:
    (key,) = by_one.patients(1)
    by_one.pass_over()
    by_one.forward(600)
    by_one.world.archive(key)
    by_one.forward(1)
    run_id = read_only(by_one, seconds=0)
    change_run(by_one, run_id, crashes=99)
    carry_on(by_one, run_id)
    assert run_of(by_one, run_id).code == "internal.run_crashes"
    by_one.settle()
    assert by_one.customers()[0]["tags"] == ["inactive"]


# -- by a release taken back


def test_a_field_taken_back_while_a_draft_waits_is_not_written(shown: Theatre) -> None:
    answers = {"sections": [{"name": "Intake", "token": "t", "archived": False, "fields": [
        {"name": "Employer", "type": "text", "token": "e", "value": "Acme Pty Ltd"},
    ]}]}  # fmt: skip
    rule = {"target": "metafields.clinic.employer", "source": "custom_fields.employer", "transforms": []}
    rule |= {"write": "always", "conflict": "source"}
    change(shown, released=["custom_fields.employer"], rules=[rule])
    shown.world.add_patient(**MIA, custom_fields=answers)
    read_only(shown)
    change(shown, released=[])
    shown.settle()
    (customer,) = shown.customers()
    assert set(customer["metafields"]) == {MARKER}
    assert {row.crashes for row in shown.deliveries()} == {0}


def change(shown: Theatre, *, released: list[str], rules: list[dict[str, object]] | None = None) -> None:
    with tenant_tx(shown.tenant.pk):
        Connection.objects.filter(name="practice").update(released_fields=released)
        if rules is not None:
            FlowRevision.objects.update(config={"rules": rules})


# -- by another of the same batch


def test_two_who_fit_one_customer_do_not_both_take_it(shown: Theatre) -> None:
    """A family's address: the first is matched, the second is a person's question and writes nothing."""
    shown.shop.create({"firstName": "M.", "lastName": "Chen", "email": "mia@example.com"})
    mia = shown.world.add_patient(**MIA)
    leo = shown.world.add_patient(**MIA | {"first_name": "Leo"})
    shown.pass_over()
    (customer,) = shown.customers()
    assert customer["firstName"] == "Mia"
    assert customer["metafields"][MARKER]["value"] == mia
    assert list(shown.links()) == [mia]
    assert shown.held() == {leo: "match.shared_email"}


def test_a_link_does_not_follow_its_mark_to_somebody_elses_customer(shown: Theatre) -> None:
    mia, leo = shown.patients(2)
    shown.pass_over()
    links = shown.links()
    kept = shown.shop.customers[int(links[leo])]
    shown.shop.remove(int(links[mia]))
    shown.shop.store(kept | {"metafields": {MARKER: kept["metafields"][MARKER] | {"value": mia}}})
    shown.forward(600)
    shown.world.edit_patient(mia, first_name="Mya")
    shown.forward(1)
    shown.pass_over()
    assert shown.held() == {mia: "match.target_linked"}
    assert shown.links() == links


# -- by another transaction


def test_a_batch_settled_at_the_second_try_is_linked(shown: Theatre, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try's links are rolled back with it."""
    save, tries = settlement._save_deliveries, []

    def clashing(*given: object) -> None:
        tries.append(given)
        if len(tries) == 1:
            raise IntegrityError
        save(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(settlement, "_save_deliveries", clashing)
    shown.shop.create({"firstName": "M.", "lastName": "Chen", "email": "mia@example.com"})
    key = shown.world.add_patient(**MIA)
    shown.pass_over()
    assert list(shown.links()) == [key]
    assert {row.crashes for row in shown.deliveries()} == {0}
    assert_invariants(shown)


# -- by a person


def test_what_was_pushed_to_and_fro_goes_through_once_the_hour_is_over(shown: Theatre) -> None:
    (key,) = shown.patients(1)
    shown.pass_over()
    for turn in range(14):
        shown.forward(180)
        shown.world.edit_patient(key, email=f"side{turn % 2}@example.com")
        shown.forward(1)
        shown.pass_over()
        if shown.held():
            break
    shown.forward(3700)
    with tenant_tx(shown.tenant.pk):
        desk.retry(Delivery.objects.all())
    shown.settle()
    assert shown.held() == {}
    assert shown.customers()[0]["email"] == shown.world.row(key)["email"]


@pytest.mark.parametrize("answers", [True, False])
def test_a_paused_connection_stays_paused_whatever_it_answers(shown: Theatre, answers: bool) -> None:
    with tenant_tx(shown.tenant.pk):
        Connection.objects.filter(name="practice").update(state=ConnectionState.PAUSED)
    if not answers:
        shown.cliniko.faults.add(Fault(FaultKind.STATUS, status=401, times=9))
    connections.test_connection(shown.tenant.pk, shown.connection("practice").pk)
    assert shown.connection("practice").state == ConnectionState.PAUSED


def test_a_conflict_tells_which_fields_differ(shown: Theatre) -> None:
    rule = {"target": "firstName", "source": "first_name", "transforms": ["single_line"]}
    change(shown, released=[], rules=[rule | {"write": "always", "conflict": "hold"}])
    key = shown.world.add_patient(**MIA)
    shown.pass_over()
    (customer,) = shown.customers()
    shown.shop.store(customer | {"firstName": "Millie"})
    shown.forward(600)
    shown.world.edit_patient(key, first_name="Mya", last_name="Chan")
    shown.forward(1)
    shown.pass_over()
    assert shown.held() == {key: "field.conflict"}
    with tenant_tx(shown.tenant.pk):
        assert SyncLogEntry.objects.get(code="field.conflict").fields == ["firstName"]
