"""Incidents across clinics (B3, C08, C14, K47): the same fault is one, told to the agency once and once when it is over."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.core import mail
from django.core.mail.backends import locmem
from django.db import connection as database
from django.db import connections as databases
from django.test import override_settings
from django_q.models import OrmQ

from integrations import tasks, worker
from integrations.core import errors
from integrations.models import Alert, Call, Connection, ConnectionState, Flow, Incident, Telling
from integrations.services import alerts, connections, desk, incidents, noise, retention
from tenants.models import Role, Tenant
from tenants.services import add_member, add_tenant
from tenants.walls import agency_tx, app_now, system_tx, tenant_tx
from tests.conftest import House, MovedClock, make_user, sign_in
from tests.desk_rows import make_flow

pytestmark = pytest.mark.django_db

DOWN = errors.Unavailable("http.server_error")
LATE = errors.Unavailable("http.timeout")
REFUSED = errors.AccountError("shopify.token_refused")
THEIRS = errors.AccountError("shopify.address_invalid")  # said to be the clinics' to mend
WINDOW = timedelta(seconds=121)
committing = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


def open_clinics(house: House, count: int, *, first: int = 1) -> list[Connection]:
    """Shops of so many further clinics."""
    shops = []
    for number in range(first, first + count):
        clinic = add_tenant(agency=house.agency, slug=f"clinic-{number}", name=f"Clinic {number}")
        shops.append(shop_of(clinic))
    return shops


def shop_of(clinic: Tenant) -> Connection:
    with tenant_tx(clinic.pk):
        found: Connection = Connection.objects.create(
            name="shop", label="Shop", vendor="shopify", account="x.myshopify.com", state=ConnectionState.OK
        )
    return found


def fail(*shops: Connection, error: errors.SyncError = DOWN, call: Call = Call.WRITE) -> None:
    """Until it is an alert."""
    for shop in shops:
        for _ in range(5):
            with tenant_tx(shop.tenant_id):
                connections.record_failure(shop.pk, error, call=call)


def recover(*shops: Connection) -> None:
    for shop in shops:
        with tenant_tx(shop.tenant_id):
            Connection.objects.filter(pk=shop.pk).update(state=ConnectionState.FAILING)
            connections.record_success(shop.pk, app_now())


def told() -> list[tuple[str, list[str]]]:
    """Subjects and recipients of what one more round sends, clinics' own mails included."""
    before = len(mail.outbox)
    incidents.tell()
    for tenant_id in worker.look().untold:
        alerts.tell(tenant_id)
    return [(one.subject, sorted(person.split("@")[0] for person in one.to)) for one in mail.outbox[before:]]


def all_incidents() -> list[Incident]:
    with system_tx("test"):
        return list(Incident.objects.order_by("pk"))


def stopped(clinics: int) -> str:
    return f"Shopify has stopped for {clinics} clinics"


# One for all


def test_twenty_clinics_with_one_outage_are_one_mail_that_names_how_many(house: House, clock: MovedClock) -> None:
    shops = open_clinics(house, 20)
    fail(*shops[:10], error=DOWN)
    fail(*shops[10:], error=LATE, call=Call.READ)
    assert told() == [], "the first waits for the others"
    clock.forward(WINDOW)
    assert told() == [(stopped(20), ["ana"])]
    assert told() == []
    (incident,) = all_incidents()
    assert (incident.fingerprint, incident.told_clinics) == ("shopify:outage", 20)
    body = mail.outbox[-1].body
    assert "Clinic 1, " in body and "and 10 more" in body
    assert f"/agency/integrations/incident/{incident.pk}/change/" in body


def test_the_end_is_told_once_when_the_last_one_works_again(house: House, clock: MovedClock) -> None:
    shops = open_clinics(house, 3)
    fail(*shops)
    clock.forward(WINDOW)
    told()
    recover(*shops[:2])
    assert told() == []
    recover(shops[2])
    assert told() == [("Shopify works again everywhere", ["ana"])]
    assert told() == []
    assert all_incidents()[0].ended_at is not None


def test_a_new_outage_after_the_end_is_a_new_incident(house: House, clock: MovedClock) -> None:
    shops = open_clinics(house, 2)
    for _ in range(2):
        fail(*shops)
        clock.forward(WINDOW)
        assert told() == [(stopped(2), ["ana"])]
        recover(*shops)
        assert len(told()) == 1
    assert len(all_incidents()) == 2


def test_who_joins_later_mails_nobody_until_there_are_ten_times_as_many(house: House, clock: MovedClock) -> None:
    shops = open_clinics(house, 20)
    fail(*shops[:2])
    clock.forward(WINDOW)
    assert told() == [(stopped(2), ["ana"])]
    fail(*shops[2:19])
    clock.forward(WINDOW)
    assert told() == []
    fail(shops[19])
    assert told() == [(stopped(20), ["ana"])]
    assert told() == []
    assert len(all_incidents()) == 1


def test_the_few_that_are_left_are_named_once_and_their_end_is_no_news(house: House, clock: MovedClock) -> None:
    shops = open_clinics(house, 10)
    fail(*shops)
    clock.forward(WINDOW)
    told()
    recover(*shops[:9])
    assert told() == [], "the last one gets its time"
    clock.forward(timedelta(hours=1, minutes=1))
    assert told() == [("Shopify works again for 9 of 10 clinics", ["ana"])]
    assert "Left: Clinic 10." in mail.outbox[-1].body
    fail(shops[0])
    assert len(all_incidents()) == 1
    incidents.tell()
    assert len(all_incidents()) == 2, "what stops now is not what nearly everybody has left behind"
    recover(shops[9])
    assert told() == []


def test_what_ended_within_the_window_is_never_told(house: House, clock: MovedClock) -> None:
    shops = open_clinics(house, 3)
    fail(*shops)
    told()
    recover(*shops)
    clock.forward(WINDOW)
    assert told() == []
    assert all_incidents()[0].told_at is None


# One clinic's own


def test_one_clinics_outage_stays_its_own_alert(house: House, clock: MovedClock) -> None:
    shop = shop_of(house.harbour)
    fail(shop)
    clock.forward(WINDOW)
    assert told() == [("Harbour Physio: Shop (Shopify) has stopped", ["ana", "sam"])]
    recover(shop)
    assert told() == [("Harbour Physio: Shop (Shopify) works again", ["ana", "sam"])]
    assert told() == []


def test_one_refused_key_after_another_is_two_alerts(house: House, clock: MovedClock) -> None:
    """Another clinic's key, days later, is news: a person must act on each."""
    first, second = open_clinics(house, 2)
    fail(first, error=REFUSED)
    clock.forward(WINDOW)
    assert told() == [("Clinic 1: Shop (Shopify) has stopped", ["ana"])]
    fail(second, error=REFUSED)
    clock.forward(WINDOW)
    assert told() == [("Clinic 2: Shop (Shopify) has stopped", ["ana"])]


def test_keys_that_are_refused_together_are_one_incident(house: House, clock: MovedClock) -> None:
    """An app that was switched off refuses them all."""
    fail(*open_clinics(house, 5), error=REFUSED)
    clock.forward(WINDOW)
    assert told() == [(stopped(5), ["ana"])]


def test_the_second_outage_joins_the_first_ones_incident_and_its_clinics_alone_stays_told(
    house: House, clock: MovedClock
) -> None:
    shops = open_clinics(house, 10)
    fail(shops[0])
    clock.forward(WINDOW)
    assert told() == [("Clinic 1: Shop (Shopify) has stopped", ["ana"])]
    fail(*shops[1:9])
    assert told() == []
    fail(shops[9])
    assert told() == [(stopped(10), ["ana"])]
    recover(*shops)
    assert told() == [("Shopify works again everywhere", ["ana"])]


def test_different_faults_do_not_fold(house: House, clock: MovedClock) -> None:
    shops = open_clinics(house, 6)
    fail(*shops[:2], error=DOWN)
    fail(*shops[2:4], error=REFUSED)
    fail(*shops[4:], error=errors.AccountError("shopify.shop_frozen"))
    clock.forward(WINDOW)
    assert [subject for subject, _ in told()] == [stopped(2)] * 3
    assert len({incident.fingerprint for incident in all_incidents()}) == 3


def test_what_clinics_mend_themselves_reaches_each_manager_and_the_agency_once(house: House, clock: MovedClock) -> None:
    fail(shop_of(house.harbour), shop_of(house.ridge), error=THEIRS)
    clock.forward(WINDOW)
    assert sorted(told()) == [
        ("Harbour Physio: Shop (Shopify) has stopped", ["olga"]),
        ("Ridge Podiatry: Shop (Shopify) has stopped", ["rita"]),
        ("Shopify has stopped for 1 clinic", ["sam"]),
        (stopped(2), ["ana"]),
    ]
    assert told() == []


# Who reads what


def test_staff_of_some_clinics_read_of_theirs_alone(house: House, clock: MovedClock) -> None:
    everywhere, elsewhere = make_user("everywhere"), make_user("elsewhere")
    add_member(user_id=everywhere.pk, role=Role.AGENCY_STAFF, agency_id=house.agency.pk)
    other = add_tenant(agency=house.agency, slug="other", name="Other")
    add_member(user_id=elsewhere.pk, role=Role.AGENCY_STAFF, agency_id=house.agency.pk, tenant_id=other.pk)
    shops = [shop_of(house.harbour), shop_of(house.ridge)]
    fail(*shops)
    clock.forward(WINDOW)
    assert sorted(told()) == [("Shopify has stopped for 1 clinic", ["sam"]), (stopped(2), ["ana", "everywhere"])]
    (to_sam,) = [one for one in mail.outbox if one.to == ["sam@example.test"]]
    assert "Harbour Physio" in to_sam.body and "Ridge" not in to_sam.body
    recover(*shops)
    told()
    assert all("Ridge" not in one.body for one in mail.outbox if one.to == ["sam@example.test"])


@pytest.fixture
def shared(house: House, clock: MovedClock) -> Incident:
    """Of both clinics, and told."""
    fail(shop_of(house.harbour), shop_of(house.ridge))
    clock.forward(WINDOW)
    told()
    return all_incidents()[0]


def test_the_list_and_the_page_show_the_owner_all_and_staff_their_own(house: House, shared: Incident) -> None:
    for path in ("/agency/integrations/incident/", f"/agency/integrations/incident/{shared.pk}/change/"):
        for who, names, others in ((house.ana, ("Harbour", "Ridge"), ()), (house.sam, ("Harbour",), ("Ridge",))):
            page = sign_in(who).get(path).content.decode()
            assert all(name in page for name in names) and not any(name in page for name in others), (who, path)
            assert "The other system" in page and "Goes on" in page
    listed = sign_in(house.ana).get("/agency/integrations/incident/").content.decode()
    assert "2 clinics" in listed and "Alerts per clinic and week" in listed
    assert "1 clinic<" in sign_in(house.sam).get("/agency/integrations/incident/").content.decode()


def test_an_incident_of_others_is_as_absent_as_one_that_never_was(house: House, clock: MovedClock) -> None:
    fail(shop_of(house.ridge))
    told()
    (incident,) = all_incidents()
    sam = sign_in(house.sam)
    foreign, absent = (sam.get(f"/agency/integrations/incident/{key}/change/") for key in (incident.pk, 987_654))
    assert foreign.status_code == absent.status_code == 302
    assert "No incident yet" in sam.get("/agency/integrations/incident/").content.decode()
    assert sign_in(house.ana).get(f"/agency/integrations/incident/{incident.pk}/change/").status_code == 200


def test_a_clinics_site_has_no_incidents_and_its_role_no_right_to_them(house: House, shared: Incident) -> None:
    assert sign_in(house.olga).get("/clinic/integrations/incident/").status_code in (302, 404)
    with tenant_tx(house.harbour.pk), database.cursor() as cursor:
        cursor.execute(
            "SELECT bool_or(has_table_privilege(name, 'SELECT')) FROM unnest(%s::text[]) name",
            [["integrations_incident", "integrations_alerthook", "integrations_hookpost"]],
        )
        assert cursor.fetchone() == (False,)


# The noise budget (K47)


def test_an_incident_counts_once_and_an_alert_of_its_own_once(
    house: House, shared: Incident, clock: MovedClock
) -> None:
    clock.forward(timedelta(days=8))
    fail(*open_clinics(house, 1), error=REFUSED)
    clock.forward(WINDOW)
    told()
    with system_tx("test"):
        reached = list(Tenant.objects.values_list("pk", flat=True))
    with agency_tx(reached, actor="ana", reason="test"):
        measured, loudest = noise.measure(app_now(), len(reached)), noise.loudest(app_now())
    assert list(measured.weeks) == [1, 1, 0, 0]
    assert measured.per_clinic_and_week == pytest.approx(2 / (4 * 3)) and measured.is_within
    assert loudest == [("Clinic 1", 1)]


# A pass that wanted too much gone


def mass_change(flow: Flow, count: int = 20) -> None:
    with tenant_tx(flow.tenant_id):
        alerts.open_flow_alert(flow.pk, "guard.mass_change", app_now(), records=count)


def test_a_stopped_pass_is_told_once_and_ends_silently_once_it_is_decided(house: House, clock: MovedClock) -> None:
    flow = make_flow(house.harbour)
    for _ in range(2):
        mass_change(flow)
    assert told() == [], "another clinic may have the same"
    clock.forward(WINDOW)
    said = "Harbour Physio: Patients become customers: 20 records wait for the same reason"
    assert told() == [(said, ["ana", "sam"])]
    assert "/agency/integrations/delivery/?code=guard.mass_change&clinic=harbour-physio" in mail.outbox[-1].body
    with tenant_tx(house.harbour.pk):
        desk.approve_mass_change(flow)
    assert told() == []
    with tenant_tx(house.harbour.pk):
        assert Alert.objects.get().ended_at is not None
    assert all_incidents()[0].ended_at is not None
    mass_change(flow)
    clock.forward(WINDOW)
    assert len(told()) == 1, "the next one is news"


def test_mass_changes_of_many_clinics_are_one_mail(house: House, clock: MovedClock) -> None:
    for number in range(3):
        mass_change(make_flow(add_tenant(agency=house.agency, slug=f"c-{number}", name=f"Clinic {number}")))
    clock.forward(WINDOW)
    assert told() == [("Patients become customers: waits for people in 3 clinics", ["ana"])]
    assert "Clinic 0, Clinic 1, Clinic 2" in mail.outbox[-1].body


# Workers, mail servers, age


def test_of_removed_connections_nothing_more_is_told(house: House, shared: Incident, clock: MovedClock) -> None:
    for clinic in (house.harbour, house.ridge):
        with tenant_tx(clinic.pk):
            Connection.objects.all().delete()
    assert told() == []
    assert all_incidents()[0].ended_at is not None
    assert not worker.look().has_news


def test_the_pulse_rings_for_the_agency_and_not_for_nothing(house: House) -> None:
    assert not worker.look().has_news
    fail(*open_clinics(house, 2))
    for _ in range(2):
        due = worker.look()
        worker.ring_tellings(due.untold, has_news=due.has_news)
    assert OrmQ.objects.count() == 1
    with override_settings(SUTURE_INCIDENT_WINDOW_S=0):
        assert tasks.tell_agency() == "told 1, posted 0"


class Unreachable(locmem.EmailBackend):
    def open(self) -> None:
        raise ConnectionRefusedError


def test_a_mail_server_that_is_down_loses_no_incident(house: House, clock: MovedClock) -> None:
    fail(*open_clinics(house, 2))
    clock.forward(WINDOW)
    with override_settings(EMAIL_BACKEND=f"{__name__}.Unreachable"):
        assert incidents.tell() == 0
    assert told() == [(stopped(2), ["ana"])]


class Together(locmem.EmailBackend):
    """Lets nobody claim before both have seen what is due."""

    both = Barrier(2, timeout=20)

    def open(self) -> None:
        self.both.wait()


@committing
def test_two_workers_fold_and_tell_one_incident_once(house: House) -> None:
    fail(*open_clinics(house, 8))

    def work(_: int) -> int:
        try:
            return incidents.tell()
        finally:
            databases.close_all()

    with (
        override_settings(EMAIL_BACKEND=f"{__name__}.Together", SUTURE_INCIDENT_WINDOW_S=0),
        ThreadPoolExecutor(2) as pool,
    ):
        assert sorted(pool.map(work, range(2))) == [0, 1]
    assert [one.subject for one in mail.outbox] == [stopped(8)]
    assert len(all_incidents()) == 1


def test_old_incidents_go_after_their_alerts(house: House, shared: Incident, clock: MovedClock) -> None:
    assert retention.remove_aged_of_agency() == 0
    with system_tx("test"):
        members = list(Alert.objects.values_list("tenant_id", "connection_id"))
    for tenant_id, pk in members:
        with tenant_tx(tenant_id):
            connections_row = Connection.objects.get(pk=pk)
        recover(connections_row)
    told()
    clock.forward(timedelta(days=100))
    assert retention.remove_aged_of_agency() == 0, "its alerts are still there"
    for clinic in (house.harbour, house.ridge):
        retention.remove_aged(clinic.pk)
    assert retention.remove_aged_of_agency() == 1


def test_what_was_told_by_the_incident_says_so_at_each_connection(house: House, shared: Incident) -> None:
    with system_tx("test"):
        assert set(Alert.objects.values_list("telling", flat=True)) == {Telling.INCIDENT}
    assert "people were told" in sign_in(house.ana).get("/agency/?clinic=harbour-physio").content.decode()
