"""Acting as somebody of a clinic (ask 31, AS21): who may, for how long, what stays out of reach, and both names in the audit."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client

from integrations.flows import FLOW_KINDS
from integrations.models import Flow, FlowRevision
from tenants.models import AuditEntry, Membership, Role, Tenant
from tenants.services import add_agency, add_member, add_tenant
from tenants.signin import SIGNED_IN
from tenants.walls import agency_tx, tenant_tx
from tests.conftest import House, begin_acting, make_user, sign_in, sign_in_lately
from tests.desk_rows import hold, make_flow

pytestmark = pytest.mark.django_db


def begin(client: Client, other: User, clinic: Tenant, reason: str = "Ticket 7: her list is empty") -> Any:
    return client.post("/acting/begin/", {"user_pk": other.pk, "clinic": clinic.pk, "reason": reason})


def audit(clinic: Tenant) -> list[AuditEntry]:
    with tenant_tx(clinic.pk):
        return list(AuditEntry.objects.exclude(action__in=("clinic.added", "member.added")).order_by("pk"))


def is_user(client: Client, user: User) -> bool:
    return client.session["_auth_user_id"] == str(user.pk)


@pytest.mark.parametrize("staff", ["ana", "sam"])
def test_the_agency_acts_as_a_clinics_manager_and_both_names_are_kept(house: House, staff: str) -> None:
    flow = make_flow(house.harbour)
    client = begin_acting(getattr(house, staff), house.olga, house.harbour)
    assert is_user(client, house.olga)
    page = client.get("/clinic/").content.decode()
    both = f"{staff}@example.test as olga@example.test"
    assert f"<strong>{staff}@example.test</strong> acts as <strong>olga@example.test</strong>" in page
    client.post(f"/clinic/integrations/flow/{flow.pk}/mode/", {"mode": "off"})
    assert client.post("/acting/end/").headers["Location"] == "/agency/"
    assert is_user(client, getattr(house, staff))
    begun, changed, ended = audit(house.harbour)
    assert [entry.action for entry in (begun, changed, ended)] == ["acting.begun", "flow.mode", "acting.ended"]
    assert {entry.actor for entry in (begun, changed, ended)} == {both}
    assert begun.reason == "Ticket 7: her list is empty"
    assert "until" in begun.diff
    shown = sign_in(house.olga).get("/clinic/tenants/auditentry/").content.decode()
    assert both in shown
    assert "Acting begun" in shown


def test_it_ends_when_its_time_is_up_whatever_is_asked(house: House, settings: Any) -> None:
    settings.SUTURE_ACTING_S = 600
    flow = make_flow(house.harbour)
    start = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
    with time_machine.travel(start, tick=False) as moved:
        client = begin_acting(house.ana, house.olga, house.harbour)
        moved.shift(timedelta(seconds=599))
        assert client.get("/clinic/").status_code == 200
        moved.shift(timedelta(seconds=1))
        answer = client.post(f"/clinic/integrations/flow/{flow.pk}/mode/", {"mode": "off"})
        assert answer.headers["Location"] == "/agency/"
        assert is_user(client, house.ana)
        assert client.get("/clinic/").status_code == 302
    with tenant_tx(house.harbour.pk):
        assert Flow.objects.get(pk=flow.pk).mode == "live"
    assert audit(house.harbour)[-1].reason == "The time was up."


def test_it_lengthens_no_session_of_the_agency(house: House, settings: Any) -> None:
    """The agency's sign-in counts on from where it began, and bounds the acting too."""
    settings.SUTURE_AGENCY_SESSION_S = 3600
    client = sign_in_lately(house.ana)
    client.get("/agency/")
    session = client.session
    session[SIGNED_IN] -= 3000
    session.save()
    began = session[SIGNED_IN]
    begin(client, house.olga, house.harbour)
    assert client.session["acting"]["until"] == pytest.approx(began + 3600)
    client.post("/acting/end/")
    assert client.session[SIGNED_IN] == began
    assert "acting" not in client.session


def test_a_browser_left_open_is_signed_out_when_the_agency_would_be(house: House, settings: Any) -> None:
    settings.SUTURE_ACTING_S = 7200
    with time_machine.travel(datetime(2026, 3, 2, 1, 0, tzinfo=UTC), tick=False) as moved:
        client = begin_acting(house.ana, house.olga, house.harbour)
        client.get("/clinic/")
        moved.shift(timedelta(seconds=settings.SUTURE_AGENCY_IDLE_S + 60))
        client.get("/clinic/")
        assert "_auth_user_id" not in client.session


def test_who_may_not_be_acted_as(house: House) -> None:
    """Never another of the agency, nobody of a clinic out of reach, nobody of another agency, nobody elsewhere."""
    other_agency = add_agency(name="Other", slug="other")
    theirs = add_tenant(agency=other_agency, slug="theirs", name="Theirs")
    manager = make_user("mia")
    add_member(user_id=manager.pk, role=Role.CLINIC_MANAGER, tenant_id=theirs.pk)
    both = make_user("bo")
    add_member(user_id=both.pk, role=Role.CLINIC_VIEWER, tenant_id=house.harbour.pk)
    add_member(user_id=both.pk, role=Role.AGENCY_STAFF, agency_id=other_agency.pk)
    closed = make_user("cleo")
    add_member(user_id=closed.pk, role=Role.CLINIC_VIEWER, tenant_id=house.harbour.pk)
    User.objects.filter(pk=closed.pk).update(is_active=False)
    asked = [
        (house.ana, house.sam, house.harbour), (house.sam, house.ana, house.harbour), (house.ana, house.ana, house.harbour),
        (house.sam, house.rita, house.ridge), (house.ana, manager, theirs), (house.ana, house.olga, house.ridge),
        (house.ana, both, house.harbour), (house.ana, closed, house.harbour), (house.ana, house.nobody, house.harbour),
        (house.olga, house.vik, house.harbour), (house.olga, house.ana, house.harbour),
    ]  # fmt: skip
    for staff, other, clinic in asked:
        client = sign_in_lately(staff)
        assert begin(client, other, clinic).status_code == 403, (staff, other, clinic)
        assert is_user(client, staff)
    assert not audit(house.harbour)


def test_it_needs_a_reason_a_fresh_sign_in_and_the_second_step(house: House) -> None:
    client = sign_in_lately(house.ana)
    for reason in ("", "    ", "no"):
        assert "/act/" in begin(client, house.olga, house.harbour, reason).headers["Location"]
    assert "/accounts/reauthenticate/" in begin(sign_in(house.ana), house.olga, house.harbour).headers["Location"]
    without = sign_in(house.sam, second_factor=False)
    assert begin(without, house.olga, house.harbour).status_code == 403
    assert client.get("/acting/begin/").status_code == 302
    assert begin(Client(), house.olga, house.harbour).headers["Location"] == "/"
    assert not audit(house.harbour)


def test_there_is_no_chain(house: House) -> None:
    client = begin_acting(house.ana, house.olga, house.harbour)
    assert begin(client, house.vik, house.harbour).status_code == 403
    assert is_user(client, house.olga)


def test_account_and_members_stay_out_of_reach(house: House) -> None:
    client = begin_acting(house.ana, house.olga, house.harbour)
    for place in (
        "password/change/",
        "2fa/",
        "2fa/totp/deactivate/",
        "2fa/recovery-codes/",
        "email/",
        "logout/",
        "reauthenticate/",
    ):
        for method in (client.get, client.post):
            assert method(f"/accounts/{place}").headers["Location"] == "/clinic/", place
    assert client.post("/clinic/logout/").headers["Location"] == "/clinic/"
    with tenant_tx(house.harbour.pk):
        vik = Membership.objects.get(user=house.vik)
    base = "/clinic/tenants/membership/"
    assert client.get(base).status_code == 200
    assert client.post(f"{base}add/", {"email": "n@example.test", "role": "clinic_viewer"}).status_code == 403
    assert client.post(f"{base}{vik.pk}/change/", {"role": "clinic_manager"}).status_code == 403
    assert client.post(f"{base}{vik.pk}/delete/", {"post": "yes"}).status_code == 403
    assert is_user(client, house.olga)


def test_values_stay_masked_for_who_acts_as_a_viewer(house: House) -> None:
    held = hold(make_flow(house.harbour), "1")
    client = begin_acting(house.ana, house.vik, house.harbour)
    as_vik = sign_in(house.vik).get(f"/clinic/integrations/delivery/{held.pk}/change/")
    shown = client.get(f"/clinic/integrations/delivery/{held.pk}/change/")
    assert shown.status_code == as_vik.status_code == 200
    assert shown.context["may_act"] is as_vik.context["may_act"] is False


def test_a_right_taken_away_ends_it_at_the_next_page(house: House) -> None:
    client = begin_acting(house.sam, house.olga, house.harbour)
    with agency_tx([house.harbour.pk], actor="test", reason="test"):
        Membership.objects.of_user(house.sam.pk).delete()
    client.get("/clinic/")
    assert is_user(client, house.sam)
    assert audit(house.harbour)[-1].reason == "It is no longer allowed."
    gone = begin_acting(house.ana, house.olga, house.harbour)
    User.objects.filter(pk=house.ana.pk).update(is_active=False)
    assert gone.get("/clinic/").headers["Location"] == "/accounts/login/"
    assert "_auth_user_id" not in gone.session


def test_a_session_that_the_package_alone_made_is_nobodys(house: House) -> None:
    client = sign_in(house.olga)
    session = client.session
    session["hijack_history"] = [str(house.ana.pk)]
    session.save()
    assert client.get("/clinic/").status_code == 302


def test_the_members_page_leads_there_for_the_agency_alone(house: House) -> None:
    agency = sign_in_lately(house.ana)
    listed = agency.get("/agency/tenants/membership/").content.decode()
    member = Membership.objects.of_user(house.olga.pk).get()
    assert f"/agency/tenants/membership/{member.pk}/act/" in listed
    asked = agency.get(f"/agency/tenants/membership/{member.pk}/act/").content.decode()
    assert "olga@example.test" in asked
    assert "30 minutes" in asked
    clinic_page = agency.get("/agency/?clinic=harbour-physio")
    people = agency.get(clinic_page.context["members_url"]).content.decode()
    assert "olga@example.test" in people
    assert "rita@example.test" not in people
    ana = Membership.objects.of_user(house.sam.pk).get()
    assert agency.get(f"/agency/tenants/membership/{ana.pk}/act/").status_code == 403
    assert "/act/" not in sign_in(house.olga).get("/clinic/tenants/membership/").content.decode()
    assert sign_in(house.olga).get(f"/clinic/tenants/membership/{member.pk}/act/").status_code in (302, 404)


def test_what_is_published_meanwhile_names_both(house: House) -> None:
    """A revision's author is whose right it was; its note says who used it."""
    flow = make_flow(house.harbour)
    client = begin_acting(house.ana, house.olga, house.harbour)
    given = FLOW_KINDS[flow.kind].default_settings() | {"missing_email": "skip", "note": "Agreed by phone"}
    assert client.post(f"/clinic/integrations/flow/{flow.pk}/settings/", given).status_code == 302
    with tenant_tx(house.harbour.pk):
        revision = FlowRevision.objects.get(number=2)
    assert revision.author_id == house.olga.pk
    assert revision.note == "Agreed by phone (by ana@example.test in their name)"
