"""Alerts (C08, C14, asks 9 and 10): a connection's fault is told once, to those it concerns, and ends when what failed works."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.core import mail
from django.core.mail.backends import locmem
from django.core.management import call_command
from django.db import connections as databases
from django.test import override_settings
from django_q.models import OrmQ

from integrations import tasks, worker
from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.core import errors
from integrations.models import Alert, Call, Connection, ConnectionState, Flow, Mode
from integrations.services import alerts, connections, incidents, retention
from tenants.models import Role, Tenant
from tenants.services import add_member
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, MovedClock, make_user, sign_in
from tests.desk_rows import make_flow
from tests.faults.theatre import Theatre, theatre
from tests.stage import SHOP
from tests.telling import tell

pytestmark = pytest.mark.django_db

REFUSED = errors.AccountError("shopify.token_refused")
DOWN = errors.Unavailable("http.server_error")
THEIRS = errors.AccountError("shopify.address_invalid")  # said to be the clinic's to mend
committing = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.fixture
def shop(harbour: Tenant) -> Connection:
    flow = make_flow(harbour)
    with tenant_tx(harbour.pk):
        found: Connection = Connection.objects.get(pk=flow.target_id)
    return found


def fail(shop: Connection, error: errors.SyncError = REFUSED, *, times: int = 1, call: Call = Call.WRITE) -> None:
    for _ in range(times):
        with tenant_tx(shop.tenant_id):
            connections.record_failure(shop.pk, error, call=call)


def succeed(shop: Connection, *, call: Call = Call.WRITE) -> None:
    with tenant_tx(shop.tenant_id):
        connections.record_success(shop.pk, app_now(), call=call)


def renew(shop: Connection) -> None:
    """A person resumes it: a word, and no proof."""
    with tenant_tx(shop.tenant_id):
        Connection.objects.filter(pk=shop.pk).update(state=ConnectionState.OK, failures=0)


def all_alerts(shop: Connection) -> list[Alert]:
    with tenant_tx(shop.tenant_id):
        return list(Alert.objects.order_by("opened_at"))


def told(shop: Connection) -> list[str]:
    """The subjects of what one more telling sends."""
    before = len(mail.outbox)
    tell(shop.tenant_id)
    return [message.subject for message in mail.outbox[before:]]


STOPPED, WORKS = "Harbour Physio: Shop (Shopify) has stopped", "Harbour Physio: Shop (Shopify) works again"


# Once


def test_a_refused_key_is_told_once(shop: Connection) -> None:
    fail(shop, times=3)
    assert told(shop) == [STOPPED]
    fail(shop)
    assert told(shop) == []
    assert len(all_alerts(shop)) == 1


def test_an_outage_is_told_when_the_breaker_opens_and_not_before(shop: Connection) -> None:
    fail(shop, DOWN, times=4)
    assert told(shop) == []
    fail(shop, DOWN, times=5)
    assert told(shop) == [STOPPED]


def test_the_end_is_told_once_to_those_who_heard_of_the_beginning(shop: Connection) -> None:
    fail(shop, DOWN, times=5)
    told(shop)
    succeed(shop)
    succeed(shop)
    assert told(shop) == [WORKS]
    assert told(shop) == []


def test_what_ended_before_anybody_was_told_is_never_told(shop: Connection) -> None:
    fail(shop, DOWN, times=5)
    succeed(shop)
    assert told(shop) == []


def test_a_new_fault_after_the_end_is_told_anew(shop: Connection) -> None:
    for _ in range(2):
        fail(shop, DOWN, times=5)
        told(shop)
        succeed(shop)
        told(shop)
    assert [message.subject for message in mail.outbox] == [STOPPED, WORKS, STOPPED, WORKS]


def test_an_outage_that_becomes_a_refusal_is_told_as_one_and_ends_once(shop: Connection) -> None:
    fail(shop, DOWN, times=5)
    assert told(shop) == [STOPPED]
    fail(shop)
    assert told(shop) == [STOPPED]
    assert "does not accept the access token" in mail.outbox[-1].body
    renew(shop)
    succeed(shop)
    assert told(shop) == [WORKS]


def test_what_a_person_paused_alerts_nobody(shop: Connection) -> None:
    with tenant_tx(shop.tenant_id):
        Connection.objects.update(state=ConnectionState.PAUSED)
    fail(shop)
    fail(shop, DOWN, times=6)
    assert all_alerts(shop) == []


def test_the_database_keeps_one_open_alert_a_connection(shop: Connection) -> None:
    now = app_now()
    with tenant_tx(shop.tenant_id):
        for code in ("http.timeout", "shopify.outage"):
            alerts.open_alert(shop.pk, code, Call.READ, now)
    assert [alert.code for alert in all_alerts(shop)] == ["http.timeout"]


# When it is over (ask 10)


@pytest.mark.parametrize(
    ("failed", "worked", "ends"),
    [
        (Call.WRITE, Call.READ, False),
        (Call.WRITE, Call.WRITE, True),
        (Call.READ, Call.READ, True),
        (Call.READ, Call.WRITE, True),
        (Call.TEST, Call.READ, True),
    ],
)
def test_only_the_call_that_failed_shows_that_it_is_over(
    shop: Connection, failed: Call, worked: Call, ends: bool
) -> None:
    fail(shop, call=failed)
    renew(shop)
    assert all_alerts(shop)[0].ended_at is None, "a person's word is no proof"
    succeed(shop, call=worked)
    assert (all_alerts(shop)[0].ended_at is not None) is ends


def test_a_call_that_was_under_way_when_the_key_was_refused_ends_nothing(shop: Connection) -> None:
    fail(shop)
    succeed(shop)
    assert told(shop) == [STOPPED]
    assert all_alerts(shop)[0].ended_at is None


def end_by_test(shop: Connection) -> bool:
    with tenant_tx(shop.tenant_id):
        alerts.end_alert(shop.pk, Call.TEST, app_now())
    return all_alerts(shop)[0].ended_at is not None


def test_a_good_test_ends_what_nothing_will_try_again(shop: Connection) -> None:
    fail(shop)
    assert end_by_test(shop)


def test_a_good_test_does_not_end_what_a_flow_will_try(harbour: Tenant) -> None:
    flow = make_flow(harbour)
    with tenant_tx(harbour.pk):
        practice = Connection.objects.get(pk=flow.source_id)
    fail(practice, call=Call.READ)
    assert not end_by_test(practice)
    with tenant_tx(harbour.pk):
        Flow.objects.update(mode=Mode.OFF)
    assert end_by_test(practice)


# Who


def recipients(shop: Connection) -> set[str]:
    before = len(mail.outbox)
    tell(shop.tenant_id)
    return {person.split("@")[0] for message in mail.outbox[before:] for person in message.recipients()}


def test_the_agencys_fault_goes_to_owners_and_the_staff_that_reach_the_clinic(shop: Connection, house: House) -> None:
    everywhere, elsewhere, gone = make_user("everywhere"), make_user("elsewhere"), make_user("gone")
    agency, staff = house.agency.pk, Role.AGENCY_STAFF
    add_member(user_id=everywhere.pk, role=staff, agency_id=agency)
    add_member(user_id=elsewhere.pk, role=staff, agency_id=agency, tenant_id=house.ridge.pk)
    add_member(user_id=gone.pk, role=staff, agency_id=agency)
    gone.is_active = False
    gone.save()
    fail(shop)
    assert recipients(shop) == {"ana", "sam", "everywhere"}
    renew(shop)
    succeed(shop)
    assert recipients(shop) == {"ana", "sam", "everywhere"}


def test_the_clinics_own_fault_goes_to_its_managers_as_well(shop: Connection) -> None:
    fail(shop, THEIRS)
    assert recipients(shop) == {"ana", "sam", "olga"}


def test_another_clinics_people_hear_nothing(shop: Connection, ridge: Tenant) -> None:
    fail(shop, THEIRS)
    assert tell(ridge.pk) == 0
    assert mail.outbox == []


def test_where_there_is_nobody_to_tell_nobody_is_said_to_know(shop: Connection, house: House) -> None:
    type(house.ana).objects.update(is_active=False)
    fail(shop)
    assert told(shop) == []
    assert all_alerts(shop)[0].told_at is None


# What it says


@override_settings(SUTURE_BASE_URL="https://suture.example")
def test_the_mail_says_what_where_since_when_and_what_to_do(shop: Connection, harbour: Tenant) -> None:
    fail(shop, THEIRS)
    with tenant_tx(harbour.pk):
        Alert.objects.update(opened_at="2026-03-01T03:05:00Z")
    told(shop)
    body = mail.outbox[0].body
    assert "The shop does not accept this address." in body and "Correct street, city or postcode" in body
    assert "1 March 2026, 14:05 AEDT (Australia/Sydney)" in body
    for site in ("agency", "clinic"):
        assert f"https://suture.example/{site}/integrations/connection/{shop.pk}/change/" in body


def test_the_link_of_the_mail_opens_the_page(shop: Connection, house: House) -> None:
    fail(shop)
    told(shop)
    (link,) = re.findall(r"http\S+", mail.outbox[0].body)
    page = sign_in(house.ana).get(link.removeprefix("http://localhost:8000")).content.decode()
    assert "people were told" in page


def test_a_name_with_a_line_break_breaks_no_header(shop: Connection, harbour: Tenant) -> None:
    with tenant_tx(harbour.pk):
        Connection.objects.filter(pk=shop.pk).update(label="Shop\nBcc: x@example.com")
    fail(shop)
    (subject,) = told(shop)
    assert "\n" not in subject


# Screens


def test_the_first_pages_show_since_when_and_that_people_were_told(shop: Connection, house: House) -> None:
    fail(shop)
    ana, olga = sign_in(house.ana), sign_in(house.olga)
    pages = ((ana, "/agency/"), (ana, "/agency/?clinic=harbour-physio"), (olga, "/clinic/"))
    for who, path in pages:
        page = who.get(path).content.decode()
        assert "Since" in page and "nobody was told yet" in page, path
    told(shop)
    for who, path in pages:
        assert "people were told" in who.get(path).content.decode(), path


# The worker and the command


def test_the_pulse_rings_once_for_a_clinic_that_has_something_to_tell(shop: Connection) -> None:
    worker.ring_tellings(worker.look().untold)
    assert OrmQ.objects.count() == 0
    fail(shop)
    incidents.tell(hurry={shop.tenant_id})
    for _ in range(2):
        worker.ring_tellings(worker.look().untold)
    assert OrmQ.objects.count() == 1
    assert tasks.tell(shop.tenant_id) == "told 1"
    assert worker.look().untold == []


def test_sync_tells_at_its_end_and_prints_one_object(shop: Connection, capsys: pytest.CaptureFixture[str]) -> None:
    fail(shop)
    with tenant_tx(shop.tenant_id):
        Flow.objects.update(mode=Mode.OFF)
    with override_settings(EMAIL_BACKEND="django.core.mail.backends.console.EmailBackend"):
        call_command("sync", tenant="harbour-physio", json=True)
    said = capsys.readouterr()
    assert said.out.strip() == '{"flows": [], "ok": true}'
    assert STOPPED in said.err


class Unreachable(locmem.EmailBackend):
    def open(self) -> None:
        raise ConnectionRefusedError


def test_a_mail_server_that_is_down_loses_no_mail(shop: Connection) -> None:
    fail(shop)
    with override_settings(EMAIL_BACKEND=f"{__name__}.Unreachable"):
        assert tell(shop.tenant_id) == 0
    assert told(shop) == [STOPPED]


class Together(locmem.EmailBackend):
    """Lets nobody claim before both have seen what is due."""

    both = Barrier(2, timeout=20)

    def open(self) -> None:
        self.both.wait()


@committing
def test_two_workers_that_tell_at_once_send_one_mail(shop: Connection) -> None:
    fail(shop)

    incidents.tell(hurry={shop.tenant_id})

    def work(_: int) -> int:
        try:
            return alerts.tell(shop.tenant_id)
        finally:
            databases.close_all()

    with override_settings(EMAIL_BACKEND=f"{__name__}.Together"), ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(work, range(2))) == [0, 1]
    assert [message.subject for message in mail.outbox] == [STOPPED]


def test_old_alerts_are_removed_and_open_ones_stay(shop: Connection, clock: MovedClock) -> None:
    fail(shop, DOWN, times=5)
    succeed(shop)
    fail(shop)
    clock.forward(timedelta(days=100))
    retention.remove_aged(shop.tenant_id)
    assert [alert.code for alert in all_alerts(shop)] == [REFUSED.code]


# End to end


@pytest.fixture
def shown(house: House) -> Iterator[Theatre]:
    with theatre(house.harbour) as built:
        yield built


@committing
def test_a_shop_that_refuses_writes_only_stays_told_until_a_write_succeeds(shown: Theatre) -> None:
    """The test of the connection finds nothing wrong, and looking works: neither says that it is over."""
    shown.patients(3)
    shown.shopify.faults.add(Fault(FaultKind.STATUS, times=10**6, status=403, contains="customerCreate("))
    shown.pass_over()
    shop = shown.connection("shop")
    assert shop.state == ConnectionState.NEEDS_REAUTH
    assert told(shop) == [STOPPED]
    for _ in range(3):
        probe: Any = connections.test_connection(shown.tenant.pk, shop.pk)
        assert probe.works and shown.connection("shop").state == ConnectionState.OK
        assert told(shop) == []
        shown.work()
    assert told(shop) == []
    shown.calm()
    connections.test_connection(shown.tenant.pk, shop.pk)
    shown.settle()
    assert told(shop) == [WORKS]
    assert len(shown.links()) == 3


@committing
def test_a_new_key_ends_the_alert_with_the_first_work_that_it_does(shown: Theatre, house: House) -> None:
    shown.patients(2)
    shown.shopify.vendor.configure(SHOP, token="shpat_new")
    shown.pass_over()
    shop = shown.connection("shop")
    tell(shown.tenant.pk)
    with tenant_tx(shown.tenant.pk):
        connections.save_credentials(shop, {"access_token": "shpat_new"})
    assert all_alerts(shop)[0].ended_at is None
    shown.hang_up()
    shown.settle()
    assert len(told(shop)) == 1
    assert all_alerts(shop)[0].end_told_at is not None
