"""The scope around a page: who is asked in, what is rendered where, and what a failure takes with it."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.exceptions import ValidationError
from django.db import connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import RequestFactory

from tenants.middleware import person
from tenants.models import AuditEntry, Membership, Role, Tenant
from tenants.people import person_for
from tenants.services import add_member, add_tenant, find_or_add_user, first_broken_seal, record_audit, seal_audit
from tenants.sites import LiveView, clinic_site, live_view
from tenants.walls import NoScope, ScopeChanged, TenantScope, agency_tx, app_now, current_scope, narrow_to, tenant_tx
from tests.conftest import House, sign_in

pytestmark = pytest.mark.django_db


def request_of(user: Any, method: str = "get") -> HttpRequest:
    request = getattr(RequestFactory(), method)("/clinic/")
    request.user = user
    request.session = SessionStore()
    request._dont_enforce_csrf_checks = True
    return request


def entries() -> int:
    return AuditEntry.objects.filter(action="probe").count()


def test_a_view_runs_and_its_template_renders_inside_the_clinics_scope(house: House) -> None:
    template = engines["django"].from_string("{% for entry in entries %}[{{ entry.action }}]{% endfor %}")

    def view(request: HttpRequest) -> TemplateResponse:
        record_audit("probe")
        return TemplateResponse(request, template, {"entries": AuditEntry.objects.filter(action="probe")})

    response = clinic_site.admin_view(view)(request_of(house.olga))
    assert response.content == b"[probe]"
    assert current_scope() is None
    with tenant_tx(house.harbour.pk):
        assert AuditEntry.objects.get(action="probe").actor == "olga@example.test"


def test_a_5xx_takes_its_writes_with_it(house: House) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        record_audit("probe")
        return HttpResponse(status=503)

    assert clinic_site.admin_view(view)(request_of(house.olga)).status_code == 503
    with tenant_tx(house.harbour.pk):
        assert entries() == 0


def test_a_streamed_response_is_refused(house: House) -> None:
    with pytest.raises(TypeError, match="outside its scope"):
        clinic_site.admin_view(lambda request: StreamingHttpResponse(["x"]))(request_of(house.olga))


def test_a_live_view_calls_with_no_transaction_open_and_renders_in_a_second_one(house: House) -> None:
    seen: list[object] = []
    before = len(connection.savepoint_ids)

    @live_view
    def view(request: HttpRequest) -> LiveView:
        seen.append(current_scope())
        answer: Any = yield lambda: (current_scope(), len(connection.savepoint_ids) - before)
        seen.append(answer)
        again: Any = yield lambda: "second"
        seen.append((again, current_scope()))
        return HttpResponse("done")

    assert clinic_site.admin_view(view)(request_of(house.olga)).content == b"done"
    inside = TenantScope(house.harbour.pk, "olga@example.test", "clinic site")
    assert seen == [inside, (None, 0), ("second", inside)]


def test_a_live_view_may_answer_without_calling(house: House) -> None:
    @live_view
    def view(request: HttpRequest) -> LiveView:
        if current_scope() is not None:
            return HttpResponse("at once")
        yield lambda: None
        return HttpResponse()

    assert clinic_site.admin_view(view)(request_of(house.olga)).content == b"at once"


# People


def test_what_each_person_may_be_and_where(house: House) -> None:
    ana, sam, olga = person_for(house.ana), person_for(house.sam), person_for(house.olga)
    assert (ana.agency_role, ana.agency_clinics) == (Role.AGENCY_OWNER, {house.harbour.pk, house.ridge.pk})
    assert (sam.agency_role, sam.agency_clinics) == (Role.AGENCY_STAFF, {house.harbour.pk})
    assert (olga.agency_role, dict(olga.clinics)) == (None, {house.harbour.pk: Role.CLINIC_MANAGER})
    assert person_for(house.nobody).clinics == {}


def test_a_disabled_account_is_nobody(house: House) -> None:
    house.olga.is_active = False
    assert person_for(house.olga).clinics == {}


def test_who_signed_out_within_a_request_has_no_rights_left(house: House) -> None:
    request = request_of(house.olga)
    assert person(request).clinics
    request.user = AnonymousUser()
    assert not person(request).clinics
    assert not clinic_site.has_permission(request)


def test_a_manager_adds_a_member_who_has_no_account_and_one_who_has(house: House) -> None:
    client = sign_in(house.olga)
    for address in ("Nora@Example.test", "rita@example.test"):
        answer = client.post("/clinic/tenants/membership/add/", {"email": address, "role": "clinic_viewer"})
        assert (answer.status_code, answer.headers["Location"]) == (302, "/clinic/tenants/membership/")
        again = client.post("/clinic/tenants/membership/add/", {"email": address, "role": "clinic_viewer"})
        assert again.status_code == 302
    with tenant_tx(house.harbour.pk):
        assert Membership.objects.filter(role=Role.CLINIC_VIEWER).count() == 3
        assert AuditEntry.objects.filter(action="member.added", actor="olga@example.test").count() == 2


def test_a_manager_cannot_give_an_agency_role_or_change_their_own(house: House) -> None:
    client = sign_in(house.olga)
    answer = client.post("/clinic/tenants/membership/add/", {"email": "x@example.test", "role": "agency_owner"})
    assert answer.status_code == 200
    with tenant_tx(house.harbour.pk):
        own = Membership.objects.get(user=house.olga).pk
        viewer = Membership.objects.get(user=house.vik).pk
    change = {"role": "clinic_viewer"}
    assert client.post(f"/clinic/tenants/membership/{own}/change/", change).status_code == 403
    assert client.post(f"/clinic/tenants/membership/{own}/delete/", {"post": "yes"}).status_code == 403
    promoted = client.post(f"/clinic/tenants/membership/{viewer}/change/", {"role": "clinic_manager"})
    assert promoted.status_code == 302
    with tenant_tx(house.harbour.pk):
        assert Membership.objects.get(user=house.vik).role == Role.CLINIC_MANAGER
        entry = AuditEntry.objects.get(action="membership.changed")
        assert (entry.target, entry.actor_role) == (f"membership {viewer}", "clinic_manager")


def test_the_owner_adds_a_clinic_and_staff_cannot(house: House) -> None:
    form = {"name": "Cove Dental", "slug": "cove", "time_zone": "Australia/Hobart", "country": "AU", "currency": "AUD"}
    assert sign_in(house.sam).post("/agency/tenants/tenant/add/", form).status_code == 403
    assert sign_in(house.ana).post("/agency/tenants/tenant/add/", form | {"active": "on"}).status_code == 302
    cove = Tenant.objects.get(slug="cove")
    assert (cove.agency, cove.active) == (house.agency, True)
    wrong = form | {"slug": "cove", "time_zone": "Mars/Base"}
    assert sign_in(house.ana).post("/agency/tenants/tenant/add/", wrong).status_code == 200


# Services and the audit


def test_a_clinic_is_added_inside_a_running_agency_scope(house: House) -> None:
    with agency_tx([house.harbour.pk], actor="ana", reason="test"):
        cove = add_tenant(agency=house.agency, slug="cove", name="Cove")
        assert set(Tenant.objects.values_list("slug", flat=True)) == {"harbour-physio", "cove"}
        with narrow_to(cove.pk):
            record_audit("probe")


def test_accounts_are_found_outside_of_scopes_only(house: House) -> None:
    assert find_or_add_user(email=" OLGA@example.test").pk == house.olga.pk
    with tenant_tx(house.harbour.pk), pytest.raises(NoScope):
        find_or_add_user(email="olga@example.test")


def test_a_manager_scope_adds_members_of_its_own_clinic_only(house: House) -> None:
    with tenant_tx(house.harbour.pk), pytest.raises(ValidationError):
        add_member(user_id=house.nobody.pk, role=Role.CLINIC_VIEWER, tenant_id=house.ridge.pk)


def test_the_audit_is_sealed_into_a_chain_that_shows_tampering(house: House, clock: Any) -> None:
    assert seal_audit() == 0  # too fresh: an older entry may still be on its way
    clock.forward(timedelta(minutes=2))
    sealed = seal_audit()
    assert sealed >= 8
    assert (seal_audit(), first_broken_seal()) == (0, None)
    with tenant_tx(house.harbour.pk):
        record_audit("probe", diff={"email": "o***@e***"})
    clock.forward(timedelta(minutes=2))
    assert (seal_audit(), first_broken_seal()) == (1, None)
    assert app_now().tzinfo is not None


def test_a_scope_of_another_clinic_is_not_entered_by_accident(house: House) -> None:
    with tenant_tx(house.harbour.pk), pytest.raises(ScopeChanged), tenant_tx(house.ridge.pk):
        pass
