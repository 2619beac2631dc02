"""Reports by mail: when, to whom, and a link that opens once, for its person, for a while (issue's report by link, C12, C14)."""

import hashlib
import re
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core import mail
from django.db import connection
from django.test import Client
from django.utils.crypto import get_random_string

from integrations import worker
from integrations.models import Flow
from reconciliation import errands, mailing
from reconciliation.models import MailEvery, Mailing, Report, ReportLink, ReportState
from tenants.models import AuditEntry, Membership, Role
from tenants.services import add_member
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, MovedClock, make_user, sign_in
from tests.desk_rows import make_flow
from tests.report_rows import MAIL, differ, done

pytestmark = pytest.mark.django_db


@pytest.fixture
def flow(house: House) -> Flow:
    return make_flow(house.harbour)


def choose(house: House, every: MailEvery) -> Mailing:
    with tenant_tx(house.harbour.pk):
        mailing.choose(house.harbour, every, app_now())
        return Mailing.objects.get()


def ended(flow: Flow, *, found: int = 1) -> Report:
    """A comparison that ended now, and found so much that is new."""
    report = done(flow, agree=9, different=found)
    with tenant_tx(flow.tenant_id):
        Report.objects.filter(pk=report.pk).update(found=found)
        if found:
            mailing.note_findings(flow.tenant, app_now())
    return report


def send(house: House) -> int:
    with tenant_tx(house.harbour.pk):
        row = Mailing.objects.get()
    return mailing.send_due(house.harbour.pk, row.pk)


def mailed(house: House, flow: Flow, clock: MovedClock) -> tuple[Report, str]:
    """A report that was told of, and the path of the link in the mail."""
    choose(house, MailEvery.FINDINGS)
    clock.forward(timedelta(minutes=1))
    report = ended(flow)
    clock.forward(timedelta(days=1, minutes=10))
    assert send(house) == 1
    return report, link_in(mail.outbox[-1])


def link_in(letter: Any) -> str:
    found = re.search(r"/report-link/\d+/[\w-]+/", letter.body)
    assert found is not None
    return found[0]


# -- when


def test_nobody_is_told_unless_the_clinic_wants_it(house: House, flow: Flow, clock: MovedClock) -> None:
    choose(house, MailEvery.OFF)
    ended(flow)
    clock.forward(timedelta(days=8))
    assert send(house) == 0 and not mail.outbox
    assert not [ring for kind, ring in worker.look().waiting if kind == "mail_report"]


def test_a_night_that_found_something_is_told_in_the_morning_once(house: House, flow: Flow, clock: MovedClock) -> None:
    choose(house, MailEvery.FINDINGS)
    clock.forward(timedelta(minutes=1))
    ended(flow)
    ended(make_flow(house.harbour, name="second"))
    with tenant_tx(house.harbour.pk):
        due = Mailing.objects.get().next_due_at
    local = due.astimezone(ZoneInfo(house.harbour.time_zone))
    assert (local.hour, local.minute < 5) == (7, True)
    assert send(house) == 0
    clock.forward(due - app_now() + timedelta(seconds=1))
    rung = [(kind, ring.tenant_id) for kind, ring in worker.look().waiting if kind == "mail_report"]
    assert rung == [("mail_report", house.harbour.pk)]
    assert send(house) == 1
    assert send(house) == 0
    assert len(mail.outbox) == 1
    assert not [ring for kind, ring in worker.look().waiting if kind == "mail_report"]


def test_a_quiet_night_is_not_told(house: House, flow: Flow, clock: MovedClock) -> None:
    choose(house, MailEvery.FINDINGS)
    clock.forward(timedelta(minutes=1))
    ended(flow, found=0)
    clock.forward(timedelta(days=2))
    assert send(house) == 0 and not mail.outbox


def test_each_monday_is_told_and_a_week_without_a_comparison_is_not(
    house: House, flow: Flow, clock: MovedClock
) -> None:
    row = choose(house, MailEvery.WEEKLY)
    local = row.next_due_at.astimezone(ZoneInfo(house.harbour.time_zone))
    assert (local.weekday(), local.hour) == (0, 7)
    clock.forward(timedelta(minutes=1))
    ended(flow, found=0)
    clock.forward(timedelta(days=8))
    assert send(house) == 1
    clock.forward(timedelta(days=8))
    assert send(house) == 0
    with tenant_tx(house.harbour.pk):
        assert Mailing.objects.get().next_due_at > app_now()


# -- to whom, and what


def test_managers_each_get_a_link_of_their_own_and_no_value(house: House, flow: Flow, clock: MovedClock) -> None:
    second = make_user("otto")
    add_member(user_id=second.pk, role=Role.CLINIC_MANAGER, tenant_id=house.harbour.pk)
    choose(house, MailEvery.FINDINGS)
    clock.forward(timedelta(minutes=1))
    report = ended(flow)
    differ(flow, report, "1")
    clock.forward(timedelta(days=1, minutes=10))
    assert send(house) == 2
    assert sorted(letter.to[0] for letter in mail.outbox) == [house.olga.email, second.email]
    assert len({link_in(letter) for letter in mail.outbox}) == 2
    for letter in mail.outbox:
        assert not letter.attachments and MAIL not in letter.body and "90.0 % agree" in letter.body


def test_only_a_digest_is_kept(house: House, flow: Flow, clock: MovedClock) -> None:
    _, path = mailed(house, flow, clock)
    secret = path.rstrip("/").rpartition("/")[2]
    with tenant_tx(house.harbour.pk), connection.cursor() as cursor:
        assert bytes(ReportLink.objects.get().digest) == hashlib.sha256(secret.encode()).digest()
        cursor.execute("SELECT t::text || encode(digest, 'escape') FROM reconciliation_reportlink t")
        assert secret not in str(cursor.fetchall())


# -- the link


def test_the_link_opens_once_after_signing_in(house: House, flow: Flow, clock: MovedClock) -> None:
    report, path = mailed(house, flow, clock)
    answer = Client().get(path)
    assert answer.status_code == 302 and answer.headers["Location"].startswith("/accounts/login/?next=/report-link/")
    olga = sign_in(house.olga)
    for _ in range(2):  # looking ahead uses nothing up
        assert "Open the report" in olga.get(path).content.decode()
    answer = olga.post(path)
    assert answer.headers["Location"] == f"/clinic/reconciliation/report/{report.pk}/change/"
    with tenant_tx(house.harbour.pk):
        assert AuditEntry.objects.filter(action="report.opened_by_link", actor=house.olga.username).exists()
    for again in (olga.get(path), olga.post(path)):
        assert again.status_code == 404 and "does not open any more" in again.content.decode()


def test_the_link_is_nobody_elses(house: House, flow: Flow, clock: MovedClock) -> None:
    """A colleague, another clinic's manager and the agency are told the same as of a link that never was."""
    _, path = mailed(house, flow, clock)
    never = f"/report-link/{house.harbour.pk}/{get_random_string(43)}/"
    for person in (house.vik, house.rita, house.ana, house.sam, house.nobody):
        client = sign_in(person)
        told = {client.get(path).status_code, client.post(path).status_code, client.get(never).status_code}
        assert told == {404}
    foreign = path.replace(f"/{house.harbour.pk}/", f"/{house.ridge.pk}/")
    assert sign_in(house.olga).post(foreign).status_code == 404
    assert sign_in(house.olga).post(path).status_code == 302


def test_the_link_ends_with_its_time_and_with_the_membership(house: House, flow: Flow, clock: MovedClock) -> None:
    _, path = mailed(house, flow, clock)
    client = sign_in(house.olga)
    with tenant_tx(house.harbour.pk):
        Membership.objects.filter(user=house.olga).update(role=Role.CLINIC_VIEWER)
    assert client.get(path).status_code == 200  # still theirs, and shows what a viewer may see
    clock.forward(timedelta(days=7, seconds=1))
    assert sign_in(house.olga).post(path).status_code == 404
    clock.forward(timedelta(days=2))
    errands.remove_aged(house.harbour.pk)
    with tenant_tx(house.harbour.pk):
        assert not ReportLink.objects.exists()


def test_findings_of_several_flows_lead_to_all_flows(house: House, flow: Flow, clock: MovedClock) -> None:
    choose(house, MailEvery.FINDINGS)
    clock.forward(timedelta(minutes=1))
    ended(flow)
    ended(make_flow(house.harbour, name="second"))
    clock.forward(timedelta(days=1, minutes=10))
    send(house)
    answer = sign_in(house.olga).post(link_in(mail.outbox[0]))
    assert answer.headers["Location"] == "/clinic/reconciliation/report/summary/"


# -- choosing


def test_a_manager_chooses_and_a_viewer_does_not(house: House, flow: Flow) -> None:
    report = done(flow, agree=1)
    address = f"/clinic/reconciliation/report/{report.pk}/change/"
    assert sign_in(house.vik).post(address, {"do": "mailing", "mail": "weekly"}).status_code == 403
    client = sign_in(house.olga)
    client.post(address, {"do": "mailing", "mail": "weekly"})
    client.post(address, {"do": "mailing", "mail": "hourly"})
    with tenant_tx(house.harbour.pk):
        assert Mailing.objects.get().every == MailEvery.WEEKLY
        assert AuditEntry.objects.filter(action="report.mailing.weekly").exists()
    assert '<option value="weekly" selected>' in client.get(address).content.decode()
    assert report.state == ReportState.DONE
