"""Looking after clinics: records that pile up are one incident, the weekly digest, the silence alarm (B3, B8, K39, K47)."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core import mail
from django_q.models import OrmQ

from integrations import tasks, worker
from integrations.models import Alert, Connection, Delivery, Digest, Flow, Incident, SyncLogEntry, Volume, Watch
from integrations.services import alerts, desk, digests, incidents, noise, silence, watching
from tenants.models import AuditEntry, Tenant
from tenants.services import add_tenant
from tenants.walls import agency_tx, app_now, insert_rows, system_tx, tenant_tx
from tests.conftest import House, MovedClock, sign_in
from tests.desk_rows import hold, hold_many, make_flow

pytestmark = pytest.mark.django_db

WINDOW = timedelta(seconds=121)
CODE = "shopify.phone_invalid"


@pytest.fixture
def flow(harbour: Tenant, settings: object) -> Flow:
    settings.SUTURE_RECORDS_ALERT = 4
    return make_flow(harbour)


def pile_up(flow: Flow, count: int, *, code: str = CODE, field: str = "phone", start: int = 0) -> None:
    for number in range(start, start + count):
        hold(flow, f"{code}-{number}", code=code, codes=[{"code": code, "field": field}])


def look(*flows: Flow) -> list[str]:
    """One look at these clinics; the subjects of what the agency and its people are told."""
    before = len(mail.outbox)
    for flow in flows:
        watching.look_after(flow.tenant_id)
    incidents.tell()
    for tenant_id in worker.look().untold:
        alerts.tell(tenant_id)
    return [one.subject for one in mail.outbox[before:]]


def open_alerts(flow: Flow) -> list[Alert]:
    with tenant_tx(flow.tenant_id):
        return list(Alert.objects.filter(ended_at=None))


# Records that wait


def test_one_trouble_of_twenty_clinics_is_one_mail_and_closes_itself(
    house: House, flow: Flow, clock: MovedClock
) -> None:
    flows = []
    for number in range(20):
        flows.append(make_flow(add_tenant(agency=house.agency, slug=f"c-{number}", name=f"Clinic {number}")))
    for one in flows:
        pile_up(one, 5)
    assert look(*flows) == []
    clock.forward(WINDOW)
    assert look(*flows) == ["Patients become customers: waits for people in 20 clinics"]
    assert "The shop does not accept this phone number." in mail.outbox[-1].body
    assert "+61" not in mail.outbox[-1].body
    assert look(*flows) == []
    with system_tx("test"):
        assert Incident.objects.get().fingerprint == f"patients-to-customers:{CODE}:phone"
        assert noise.measure(app_now(), 20).per_clinic_and_week == 1 / (4 * 20)
    for one in flows:
        with tenant_tx(one.tenant_id):
            desk.retry(Delivery.objects.all())
    assert look(*flows) == ["Patients become customers: over everywhere"]
    assert look(*flows) == []


def test_another_field_or_code_is_another_incident_and_few_records_are_none(flow: Flow, clock: MovedClock) -> None:
    pile_up(flow, 4)
    pile_up(flow, 4, code="shopify.address_invalid", field="address.city")
    pile_up(flow, 3, code="match.several", field="")
    pile_up(flow, 9, code="shopify.row_lost", field="")  # settles by itself
    watching.look_after(flow.tenant_id)
    assert {(one.code, one.field, one.records) for one in open_alerts(flow)} == {
        (CODE, "phone", 4),
        ("shopify.address_invalid", "address.city", 4),
    }


def test_amounts_and_values_do_not_split_an_incident(flow: Flow) -> None:
    for number in range(4):
        told = {"code": "field.conflict", "field": f"total {number}.00"}
        hold(flow, str(number), code="field.conflict", codes=[told])
    watching.look_after(flow.tenant_id)
    assert [(one.field, one.records) for one in open_alerts(flow)] == [("", 4)]


def test_a_pile_that_hovers_around_the_bound_is_told_once(flow: Flow, clock: MovedClock) -> None:
    pile_up(flow, 4)
    look(flow)
    clock.forward(WINDOW)
    assert len(look(flow)) == 1
    with tenant_tx(flow.tenant_id):
        Delivery.objects.filter(source_key=f"{CODE}-0").update(ignored_until=app_now() + timedelta(days=9))
    assert look(flow) == []
    assert [one.records for one in open_alerts(flow)] == [3]
    with tenant_tx(flow.tenant_id):
        desk.retry(Delivery.objects.filter(source_key__in=[f"{CODE}-1", f"{CODE}-2"]))
    assert look(flow) == []
    assert open_alerts(flow) == []


def test_the_incidents_page_leads_to_the_records_of_each_clinic(house: House, flow: Flow, clock: MovedClock) -> None:
    other = make_flow(house.ridge)
    pile_up(flow, 4)
    pile_up(other, 4)
    look(flow, other)
    clock.forward(WINDOW)
    look(flow, other)
    with system_tx("test"):
        incident = Incident.objects.get()
    ana, sam = sign_in(house.ana), sign_in(house.sam)
    text = ana.get(f"/agency/integrations/incident/{incident.pk}/change/").content.decode()
    for said in ("Harbour Physio", "Ridge Podiatry", "4 records wait", f"code={CODE}&amp;flow=patients-to-customers"):
        assert said in text, said
    theirs = sam.get(f"/agency/integrations/incident/{incident.pk}/change/").content.decode()
    assert "Harbour Physio" in theirs and "Ridge" not in theirs
    assert "Patients become customers" in ana.get("/agency/integrations/incident/").content.decode()


def test_a_clinic_is_looked_after_every_few_minutes(flow: Flow, clock: MovedClock) -> None:
    assert watching.due() == [flow.tenant_id]
    assert tasks.look_after_due() == "looked after 1"
    assert watching.due() == []
    clock.forward(timedelta(seconds=301))
    assert watching.due() == [flow.tenant_id]


def test_the_worker_rings_for_all_of_them_at_once_and_not_for_nothing(
    flow: Flow, house: House, clock: MovedClock
) -> None:
    make_flow(house.ridge)
    for _ in range(2):
        worker.ring_watch()
    assert OrmQ.objects.count() == 1
    tasks.look_after_due()
    clock.forward(timedelta(seconds=31))
    worker.ring_watch()
    assert OrmQ.objects.count() == 1


# The digest


def test_the_digest_comes_on_monday_morning_with_counts_and_links_alone(
    house: House, flow: Flow, clock: MovedClock
) -> None:
    now = app_now()
    hold(flow, "SECRET-1", code="record.email_missing", held_at=now - timedelta(days=40))
    hold(flow, "SECRET-2", code="record.email_missing")
    hold(flow, "SECRET-3", code="match.marker_twice")
    look(flow)
    with tenant_tx(flow.tenant_id):
        due = Watch.objects.get().digest_due_at
    assert (due.astimezone(UTC).hour in (21, 22)) and due > app_now()
    clock.forward(due - app_now() + timedelta(minutes=1))
    assert look(flow) == ["Harbour Physio: 3 records wait this week"]
    (letter,) = mail.outbox
    assert letter.to == ["olga@example.test"]
    assert "You can fix 2: " in letter.body and "1 longer than a month" in letter.body
    assert "Your agency looks after 1: " in letter.body
    assert letter.body.count("This person has no e-mail address.") == 1, "one line, whatever it is made of"
    assert "/clinic/integrations/delivery/?code=record.email_missing" in letter.body
    assert "SECRET" not in letter.body and "chen" not in letter.body.lower()
    clock.forward(timedelta(minutes=10))
    assert look(flow) == [], "once a week"


def made(flow: Flow) -> Digest:
    with tenant_tx(flow.tenant_id):
        return digests.make(app_now())


def test_a_digest_tells_the_most_frequent_kinds_first(flow: Flow, house: House) -> None:
    many = ["match.several", "field.conflict", "unmapped_value", "internal.poison", "record.email_missing"]
    many += ["match.shared_email", "match.shared_sku", "product.name_missing", "product.price_missing"]
    many += ["shopify.province_invalid", "invoice.total_differs"]
    for number, code in enumerate(many):
        for one in range(number + 1):
            hold(flow, f"{number}00{one}", code=code)
    row = made(flow)
    digests.send(flow.tenant_id)
    told = [line for line in mail.outbox[-1].body.splitlines() if " x " in line]
    assert [int(line.split(" x ")[0]) for line in told] == list(range(11, 1, -1)), "the rarest is left to the desk"
    shown = sign_in(house.olga).get(f"/clinic/integrations/digest/{row.pk}/change/")
    assert [then for _, then, *_ in shown.context["kinds"]] == list(range(11, 0, -1))


def test_a_calm_week_is_told_as_well(flow: Flow) -> None:
    made(flow)
    assert digests.send(flow.tenant_id) == 1
    assert mail.outbox[-1].subject == "Harbour Physio: nothing waits this week"
    assert digests.send(flow.tenant_id) == 0


def test_somebody_signs_it_off_and_that_is_kept(house: House, flow: Flow) -> None:
    hold_many(flow, 16)
    row = made(flow)
    page = f"/clinic/integrations/digest/{row.pk}/change/"
    olga, vik = sign_in(house.olga), sign_in(house.vik)
    assert "I have seen this" not in vik.get(page).content.decode()
    assert vik.post(page, {"do": "sign"}).status_code == 403
    with tenant_tx(flow.tenant_id):
        desk.retry(Delivery.objects.filter(code="match.several"))
    assert "I have seen this" in olga.get(page).content.decode()
    olga.post(page, {"do": "sign"})
    olga.post(page, {"do": "sign"})
    with tenant_tx(flow.tenant_id):
        row.refresh_from_db()
        assert (row.signed_by, digests.total(row.waiting), digests.total(row.signed_waiting)) == (
            "olga@example.test",
            16,
            14,
        )
        assert AuditEntry.objects.get(action="digest.signed").diff == {"waiting": 14}
    for client, site in ((olga, "clinic"), (sign_in(house.ana), "agency")):
        assert (
            "olga@example.test has seen this."
            in client.get(f"/{site}/integrations/digest/{row.pk}/change/").content.decode()
        )
        assert "Signed off" in client.get(f"/{site}/integrations/digest/").content.decode()


def test_a_mail_server_that_is_down_loses_no_digest(flow: Flow, settings: object) -> None:
    made(flow)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    assert digests.send(flow.tenant_id) == 0
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    assert digests.send(flow.tenant_id) == 1


# Silence


NOON = datetime(2026, 3, 11, 1, 0, tzinfo=UTC)  # a Wednesday, noon in Sydney


def usual(flow: Flow, *, until: datetime, weeks: int = 6, an_hour: int = 4) -> None:
    """So many records an hour, from nine to five on weekdays in Sydney."""
    rows = []
    start = until - timedelta(weeks=weeks)
    for hours in range(weeks * 7 * 24):
        hour = start + timedelta(hours=hours)
        local = hour + timedelta(hours=11)
        if local.weekday() < 5 and 9 <= local.hour < 17:
            rows.append((flow.pk, hour, an_hour))
    with tenant_tx(flow.tenant_id):
        insert_rows(Volume, ("flow_id", "hour", "records"), rows)
        Watch.objects.update_or_create(
            tenant_id=flow.tenant_id,
            defaults={"next_at": until, "counted_to": until, "digest_due_at": NOON + timedelta(weeks=9)},
        )


@pytest.fixture
def at_noon(clock: MovedClock) -> MovedClock:
    clock.forward(NOON - app_now())
    return clock


def test_a_flow_that_brings_nothing_at_a_busy_hour_is_told_with_the_likely_reason(
    flow: Flow, at_noon: MovedClock
) -> None:
    usual(flow, until=NOON - timedelta(hours=2))
    assert look(flow) == []
    assert open_alerts(flow) == [], "eight records that did not come may be chance"
    at_noon.forward(timedelta(hours=2))
    look(flow)
    (alert,) = open_alerts(flow)
    assert (alert.code, alert.field, alert.call) == ("flow.silent", "vendor", "silence")
    at_noon.forward(WINDOW)
    assert look(flow) == ["Harbour Physio: Patients become customers is unusually quiet"]
    assert "The runs end well and find nothing" in mail.outbox[-1].body
    assert mail.outbox[-1].to == ["ana@example.test", "sam@example.test"]
    with agency_tx([flow.tenant_id], actor="ana", reason="test"):
        assert noise.measure(app_now(), 1).alerts[0] == 1, "the noise budget counts it"
    with tenant_tx(flow.tenant_id):
        SyncLogEntry.objects.create(at=app_now(), flow=flow, source_key="1", action="create", outcome="ok")
    at_noon.forward(timedelta(hours=1))
    assert look(flow) == []
    assert open_alerts(flow) == []


def test_a_night_and_a_weekend_are_no_silence(flow: Flow, at_noon: MovedClock) -> None:
    usual(flow, until=NOON + timedelta(days=2, hours=5))  # Friday, five o'clock
    at_noon.forward(timedelta(days=5))  # Monday noon, less the morning
    with tenant_tx(flow.tenant_id):
        Volume.objects.create(flow=flow, hour=NOON + timedelta(days=4, hours=22), records=4)
    look(flow)
    assert open_alerts(flow) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": "paused"}, "paused"),
        ({"state": "failing", "failures": 3}, "failing"),
        ({"state_code": "quota.wait"}, "quota"),
        ({}, "vendor"),
    ],
)
def test_the_reason_is_the_likeliest(flow: Flow, changes: dict, reason: str) -> None:
    with tenant_tx(flow.tenant_id):
        Connection.objects.filter(pk=flow.source_id).update(**changes)
        found = Flow.objects.select_related("source", "target").get()
        assert silence.reason_of(found, app_now()) == reason
        found.stopped_code = "guard.mass_change"
        assert silence.reason_of(found, app_now()) == "stopped"


def test_when_most_clinics_are_quiet_at_once_it_is_a_holiday(house: House, flow: Flow, at_noon: MovedClock) -> None:
    flows = [
        flow,
        make_flow(house.ridge),
        *(make_flow(add_tenant(agency=house.agency, slug=f"c-{n}", name=f"C {n}")) for n in range(2)),
    ]
    for one in flows:
        usual(one, until=NOON - timedelta(hours=3))
    at_noon.forward(timedelta(hours=-3))
    for _ in range(6):
        look(*flows)
        at_noon.forward(timedelta(hours=1))
    assert [open_alerts(one) for one in flows] == [[], [], [], []]
    with tenant_tx(flow.tenant_id):
        assert Watch.objects.get().quiet_for > 12


def test_a_clinic_without_a_past_is_never_too_quiet(flow: Flow, at_noon: MovedClock) -> None:
    usual(flow, until=NOON - timedelta(hours=6), weeks=2)
    look(flow)
    assert open_alerts(flow) == []
