"""V1-V19 as a flow meets them: whatever a vendor does, nothing is lost, nothing is doubled, nobody is asked in vain."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from django.core import mail
from django.test import override_settings

from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.connectors.shopify.sandbox import throttle_storm
from integrations.connectors.shopify.sandbox_call import Refusal
from integrations.models import Connection, ConnectionState
from integrations.services import intake
from integrations.services.connections import save_credentials
from tenants.walls import app_now, tenant_tx
from tests.conftest import House
from tests.faults.invariants import assert_invariants
from tests.faults.theatre import Theatre, theatre
from tests.stage import KEY, SHOP
from tests.telling import tell

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

CREATE = "customerCreate("
MANY = 10**6


@pytest.fixture
def shown(house: House) -> Iterator[Theatre]:
    with theatre(house.harbour) as built:
        yield built


def creates(shown: Theatre) -> int:
    """Documents that asked the shop for a new customer and were run."""
    return sum("customerCreate" in operation.roots for operation in shown.shopify.vendor.operations)


def all_tries(shown: Theatre) -> list[int]:
    return [row.tries + row.crashes for row in shown.deliveries()]


# V1: limits


def test_v01_storms_of_429_never_count_as_tries(shown: Theatre) -> None:
    shown.patients(12)
    reset = (("X-RateLimit-Reset", str(int(shown.cliniko.clock.now()) + 20)),)
    shown.cliniko.faults.add(Fault(FaultKind.STATUS, times=6, status=429, headers=reset))
    shown.shopify.faults.add(throttle_storm(8))
    shown.shopify.faults.add(Fault(FaultKind.STATUS, times=4, status=429, headers=(("Retry-After", "2"),)))
    shown.pass_over()
    assert len(shown.links()) == 12
    assert set(all_tries(shown)) == {0}
    assert all(row.creates == 1 for row in shown.deliveries())
    assert shown.connection("shop").state != ConnectionState.FAILING
    assert_invariants(shown)


# V2: the vendor is down


def test_v02_the_breaker_opens_after_five_failures_and_one_probe_closes_it(shown: Theatre) -> None:
    keys = shown.patients(30)
    shown.shopify.faults.add(Fault(FaultKind.STATUS, times=MANY, status=503))
    shown.start()
    while shown.connection("shop").state != ConnectionState.FAILING:
        shown.work()
        due = shown.next_due()
        assert due is not None
        shown.forward((due - app_now()).total_seconds() + 1)
    assert shown.connection("shop").failures == 5
    asked = len(shown.shopify.journal.entries())
    shown.work()
    assert len(shown.shopify.journal.entries()) - asked <= 3, "one probe, of three tries at most"
    shown.calm()
    shown.settle()
    assert shown.connection("shop").state == ConnectionState.OK
    assert set(shown.links()) == set(keys)
    assert_invariants(shown)


def test_v02_an_outage_of_six_hours_burns_no_records_tries(shown: Theatre) -> None:
    """Ask 8: when the vendor is back, everything goes through, and nobody had to press a button."""
    shown.patients(10)
    shown.pass_over()
    shown.forward(600)
    shown.world.edit_patient(next(iter(shown.world.patients)), email="new@example.com")
    shown.patients(25, prefix="later")
    shown.forward(5)
    for status, contains in ((503, "mutation"), (502, "")):
        shown.shopify.faults.add(Fault(FaultKind.STATUS, times=MANY, status=status, contains=contains))
    began, asked = shown.moved, len(shown.shopify.journal.entries())
    shown.start()
    while shown.moved - began < timedelta(hours=6):
        shown.work()
        due = shown.next_due()
        assert due is not None
        shown.forward(max(1.0, (due - app_now()).total_seconds() + 1))
    assert set(all_tries(shown)) == {0}
    assert len(shown.shopify.journal.entries()) - asked <= 100
    assert not shown.held()
    shown.calm()
    took = shown.settle()
    assert took <= timedelta(hours=1)
    assert len(shown.links()) == 35
    assert_invariants(shown)


def test_v02_a_source_that_is_down_keeps_its_place(shown: Theatre) -> None:
    shown.patients(250)
    shown.cliniko.faults.add(Fault(FaultKind.STATUS, times=9, skip=2, status=500, path="/v1/patients"))
    shown.pass_over()
    assert len(shown.links()) == 250
    assert len(shown.runs()) == 1
    assert_invariants(shown)


# V4, V5, V7, V8: answers that are no answers


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.HTML),
        Fault(FaultKind.TRUNCATE, share=0.6),
        Fault(FaultKind.REPLACE, status=200, body=""),
        Fault(FaultKind.REPLACE, status=200, body="{}"),
        Fault(FaultKind.REPLACE, status=200, body='{"data": {}}'),
        Fault(FaultKind.REPLACE, status=200, body='{"errors": [{"message": "oops"}]}'),
        Fault(FaultKind.STATUS, status=302, headers=(("Location", "https://example.com/"),)),
        Fault(FaultKind.STATUS_AFTER, status=502),
        Fault(FaultKind.STATUS_AFTER, status=500, body="{}"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{len(fault.body)}",
)
def test_v05_an_answer_that_proves_nothing_is_looked_into(shown: Theatre, fault: Fault) -> None:
    """On the write that makes customers: whether it was done or not, each is there once in the end."""
    keys = shown.patients(3, address_1="1 Sea Rd", city="Geelong")
    shown.shopify.faults.add(replace(fault, contains=CREATE))
    shown.pass_over()
    shown.forward(3600)
    shown.pass_over()
    assert set(shown.links()) == set(keys)
    assert len(shown.customers()) == 3
    assert_invariants(shown)


@pytest.mark.parametrize(
    ("quirk", "code"),
    [
        ({"foreign_next": "https://evil.example"}, "http.foreign_link"),
        ({"loop_at_page": 2}, "cliniko.paging.loop"),
    ],
)
def test_v08_a_list_that_leads_astray_ends_the_pass_once_and_is_read_when_mended(
    house: House, quirk: dict[str, object], code: str
) -> None:
    with theatre(house.harbour, page=5) as shown:
        shown.patients(14)
        shown.world.set_quirks(**quirk)
        before = len(shown.cliniko.journal.entries())
        shown.pass_over()
        (run,) = shown.runs()
        assert (run.state, run.code) == ("failed", code)
        assert len(shown.cliniko.journal.entries()) - before <= 10
        shown.world.set_quirks(foreign_next="", loop_at_page=0)
        shown.forward(60)
        shown.pass_over()
        assert len(shown.links()) == 14
        assert_invariants(shown)


# V6: the key is refused


def give_key(shown: Theatre, name: str, **given: str) -> None:
    with tenant_tx(shown.tenant.pk):
        save_credentials(Connection.objects.get(name=name), given)
    shown.hang_up()


def test_v06_a_refused_token_pauses_the_connection_once_and_a_new_one_resumes(shown: Theatre) -> None:
    """Ask 34."""
    shown.patients(40)
    shown.shopify.vendor.configure(SHOP, token="shpat_new")
    shown.pass_over()
    shop = shown.connection("shop")
    assert (shop.state, shop.state_code) == (ConnectionState.NEEDS_REAUTH, "shopify.token_refused")
    asked = len(shown.shopify.journal.entries())
    assert asked <= 2
    shown.forward(3600)
    shown.start()
    shown.work()
    assert len(shown.shopify.journal.entries()) == asked, "nobody knocks again before a person acted"
    assert not shown.held()
    give_key(shown, "shop", access_token="shpat_new")
    shown.settle()
    assert len(shown.links()) == 40
    assert set(all_tries(shown)) == {0}
    assert_invariants(shown)


def test_v06_a_refused_source_key_stops_the_run_and_the_next_one_reads_all(shown: Theatre) -> None:
    shown.patients(150)
    user = shown.world.users[KEY]
    shown.cliniko.faults.add(Fault(FaultKind.STATUS, times=MANY, skip=2, status=401))
    shown.pass_over()
    assert shown.connection("practice").state == ConnectionState.NEEDS_REAUTH
    assert [run.state for run in shown.runs()] == ["failed"]
    asked = len(shown.cliniko.journal.entries())
    shown.forward(3600)
    shown.work()
    assert len(shown.cliniko.journal.entries()) == asked
    shown.calm()
    shown.world.users["fresh-key-au1"] = replace(user, api_key="fresh-key-au1")
    give_key(shown, "practice", api_key="fresh-key-au1")
    shown.pass_over()
    assert len(shown.links()) == 150
    assert_invariants(shown)


# V9, V10: the answer is lost


def test_v09_lost_create_response_for_every_create(shown: Theatre) -> None:
    keys = shown.patients(23, address_1="1 Sea Rd", city="Geelong")
    shown.shopify.faults.add(Fault(FaultKind.DROP_AFTER, times=3, contains=CREATE))
    shown.pass_over()
    assert set(shown.links()) == set(keys)
    assert len(shown.customers()) == 23
    assert creates(shown) == 3, "each was asked for once and found by looking"
    assert {(row.creates, row.outcome) for row in shown.deliveries()} == {(1, "created")}
    assert shown.runs()[-1].created == 23
    assert_invariants(shown)


def test_v09_a_create_that_never_arrived_is_sent_once_more_after_looking_twice(shown: Theatre) -> None:
    shown.patients(4)
    shown.shopify.faults.add(Fault(FaultKind.DROP_BEFORE, contains=CREATE))
    took = shown.pass_over()
    assert took >= timedelta(seconds=55)
    assert {(row.creates, row.looks) for row in shown.deliveries()} == {(2, 1)} or all(
        row.creates == 2 for row in shown.deliveries()
    )
    assert_invariants(shown)


def test_v09_a_create_lost_again_and_again_is_left_to_a_person(shown: Theatre) -> None:
    keys = shown.patients(2)
    shown.shopify.faults.add(Fault(FaultKind.DROP_BEFORE, times=MANY, contains=CREATE))
    shown.pass_over()
    assert shown.held() == dict.fromkeys(keys, "delivery.unproven")
    assert not shown.customers()


@pytest.mark.parametrize("lag_s", [15, 58])
def test_v10_a_lost_create_that_no_search_shows_for_a_while_is_not_made_twice(
    shown: Theatre, monkeypatch: pytest.MonkeyPatch, lag_s: float
) -> None:
    """Every look-up of the shop lags, by marker and by e-mail as well: only the settle window protects."""
    shown.patients(5)
    shop = shown.shop
    shown.shopify.vendor.configure(SHOP, search_lag_s=lag_s)
    for name in ("by_mark", "by_email", "by_phone"):
        look_up = getattr(type(shop), name)

        def lagging(self: object, *given: str, look_up: Callable[..., object] = look_up) -> object:
            found = look_up(shop, *given)
            return found if found in shop.searchable() else None

        monkeypatch.setattr(type(shop), name, lagging)
    shown.shopify.faults.add(Fault(FaultKind.DROP_AFTER, times=1, contains=CREATE))
    shown.pass_over()
    assert len(shown.customers()) == len(shown.links()) == 5
    assert creates(shown) == 1
    assert_invariants(shown)


# V11: part of a batch is refused


def test_v11_part_of_a_batch_refused_has_an_outcome_per_item(shown: Theatre) -> None:
    keys = shown.patients(10)
    refused = {"field": ["firstName"], "message": "First name is not allowed"}
    shown.shopify.vendor.refuse_next(SHOP, Refusal("customerCreate", skip=3, times=2, user_error=refused))
    shown.pass_over()
    assert len(shown.links()) == 8
    assert set(shown.held()) < set(keys) and len(shown.held()) == 2
    assert_invariants(shown)


# V12, V13, V14: what moves while it is read


def test_v12_equal_timestamps_at_every_cut(house: House) -> None:
    """Five hundred patients changed in one second, read in pages that cut through it; some changed again in it."""
    with theatre(house.harbour, page=100) as shown:
        stamp = shown.world.stamp()
        keys = shown.patients(500, created_at=stamp, updated_at=stamp)
        shown.pass_over()
        assert len(shown.links()) == 500
        for number, key in enumerate(keys[::25]):
            shown.world.edit_patient(key, email=f"again{number}@example.com", updated_at=stamp)
        late = shown.world.add_patient(
            first_name="Late", last_name="Lee", email="late@example.com", created_at=stamp, updated_at=stamp
        )
        shown.pass_over()
        assert late in shown.links()
        assert shown.runs()[-1].read == 501
        assert_invariants(shown)


@pytest.mark.parametrize("full", [True, False], ids=["first_load", "increment"])
def test_v13_records_that_move_while_they_are_paged(house: House, full: bool) -> None:
    with theatre(house.harbour, page=4) as shown:
        keys = shown.patients(30)
        if not full:
            shown.pass_over()
            shown.forward(600)
            for number, key in enumerate(keys):
                shown.world.edit_patient(key, email=f"second{number}@example.com")
            shown.forward(60)
        run = shown.start()
        assert run is not None
        for turn in range(40):
            done = intake.run_slice(shown.tenant.pk, run, seconds=0, client=shown._client("practice"))
            if not done.more:
                break
            if turn < 6:  # somebody in the practice is busy
                shown.world.edit_patient(keys[turn * 4], email=f"moved{turn}@example.com")
                shown.world.archive(keys[29 - turn])
                shown.world.remove(keys[(21, 22, 23, 1, 2, 3)[turn]])
                shown.patients(2, prefix=f"new{turn}-")
                shown.forward(1)
        shown.settle()
        shown.forward(300)
        shown.pass_over()
        assert_invariants(shown)


@pytest.mark.parametrize("minutes", [-15, 15])
def test_v14_a_vendor_clock_that_is_off(shown: Theatre, minutes: int) -> None:
    shown.cliniko.clock.advance(minutes * 60)
    for turn in range(4):
        keys = shown.patients(3, prefix=f"turn{turn}-")
        shown.forward(1)
        shown.pass_over()
        shown.world.edit_patient(keys[0], email=f"edited{turn}@example.com")
        shown.forward(1)
        shown.pass_over()
        shown.forward(400)
    assert len(shown.links()) == 12
    assert_invariants(shown)


@pytest.mark.parametrize("late", [timedelta(seconds=90), timedelta(minutes=40)])
def test_v14_rows_that_show_late_are_swept_up_within_a_day(shown: Theatre, late: timedelta) -> None:
    shown.patients(3)
    shown.pass_over()
    shown.forward(600)
    shown.world.set_quirks(lag_s=late.total_seconds())
    keys = shown.patients(2, prefix="late")
    shown.forward(1)
    shown.pass_over()
    assert not set(keys) & set(shown.links())
    for _ in range(4):
        shown.forward(3600)
        shown.patients(1, prefix=f"w{_}-")
        shown.pass_over()
    shown.world.set_quirks(lag_s=0.0)
    shown.forward(24 * 3600)
    shown.pass_over()
    assert set(keys) <= set(shown.links())
    assert_invariants(shown)


# V19: to and fro


def test_v19_our_own_echo_costs_nothing(shown: Theatre) -> None:
    shown.patients(8, address_1="1 Sea Rd", city="Geelong", accepted_email_marketing=True)
    shown.pass_over()
    shown.forward(30)
    asked, writes = len(shown.shopify.journal.entries()), shown.writes
    for _ in range(3):
        shown.pass_over()
        shown.forward(60)
    assert len(shown.shopify.journal.entries()) == asked
    assert shown.writes == writes
    assert shown.runs()[-1].unchanged == shown.runs()[-1].read


def test_v19_a_record_pushed_to_and_fro_is_held(shown: Theatre) -> None:
    (key,) = shown.patients(1)
    shown.pass_over()
    for turn in range(14):
        shown.forward(180)
        shown.world.edit_patient(key, email=f"side{turn % 2}@example.com")
        shown.forward(1)
        shown.pass_over()
        if shown.held():
            break
    assert shown.held() == {key: "guard.flapping"}
    assert turn <= 8
    writes = shown.writes
    shown.forward(180)
    shown.pass_over()
    assert shown.writes == writes


def test_v15_a_mass_change_stops_and_asks(shown: Theatre) -> None:
    keys = shown.patients(60)
    shown.pass_over()
    shown.forward(600)
    for key in keys[:20]:
        shown.world.archive(key)
    shown.forward(5)
    writes = shown.writes
    shown.pass_over()
    assert shown.held() == dict.fromkeys(keys[:20], "guard.mass_change")
    assert shown.writes == writes
    for _ in range(2):  # the agency hears of it once a run, and a pass after it is no news
        tell(shown.tenant.pk)
        shown.forward(600)
        shown.pass_over()
    assert [one.subject for one in mail.outbox] == [
        f"{shown.tenant}: Patients become customers: 20 records wait for the same reason"
    ]


def test_a_sync_in_one_process_gives_up_on_a_shop_that_stays_down_and_the_next_one_delivers(shown: Theatre) -> None:
    shown.patients(3)
    down = Fault(FaultKind.STATUS, times=MANY, status=503)
    shown.shopify.faults.add(down)
    with override_settings(SUTURE_BACKOFF_BASE_S=0.1, SUTURE_BACKOFF_CAP_S=0.3):
        told = shown.report(max_wait_s=2)
    assert not told.ok and [flow.counts["waiting"] for flow in told.flows] == [3]
    shown.shopify.faults.clear()
    with override_settings(SUTURE_BACKOFF_BASE_S=0.1, SUTURE_BACKOFF_CAP_S=0.3):
        assert shown.report(max_wait_s=2).ok
    assert len(shown.links()) == 3


@pytest.mark.parametrize("side", ["practice", "shop"])
def test_a_connection_without_its_keys_waits_for_them_and_nothing_breaks(shown: Theatre, side: str) -> None:
    shown.patients(2)
    with tenant_tx(shown.tenant.pk):
        kept = bytes(shown.connection(side).sealed_credentials)
        Connection.objects.filter(name=side).update(sealed_credentials=b"")
    assert not shown.report(max_wait_s=2).ok
    faulty = shown.connection(side)
    assert (faulty.state, faulty.state_code) == (ConnectionState.NEEDS_REAUTH, "connection.incomplete")
    with tenant_tx(shown.tenant.pk):
        Connection.objects.filter(name=side).update(sealed_credentials=kept, state=ConnectionState.OK, state_code="")
    shown.pass_over()
    assert len(shown.links()) == 2
