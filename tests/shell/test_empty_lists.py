"""What lists say where there is nothing yet, and where nothing fits what was asked."""

import pytest

from tenants.models import Role
from tenants.services import add_agency, add_member
from tests.conftest import House, make_user, sign_in

pytestmark = pytest.mark.django_db


def test_an_agency_without_clinics_is_told_to_add_one(house: House) -> None:
    agency = add_agency(name="New Agency", slug="new", actor="test")
    otto = make_user("otto")
    add_member(user_id=otto.pk, agency_id=agency.pk, role=Role.AGENCY_OWNER, actor="test", reason="test")
    client = sign_in(otto)
    for page in ("tenants/tenant/", "health/", ""):
        text = client.get(f"/agency/{page}").content.decode()
        assert "No clinic yet" in text and "Try fewer letters" not in text
    assert "Add the first clinic" in client.get("/agency/tenants/tenant/").content.decode()
    assert "No clinic fits" in client.get("/agency/health/?q=zzz").content.decode()


@pytest.mark.parametrize(
    "page", ["tenants/tenant", "integrations/flow", "integrations/connection", "tenants/auditentry"]
)
def test_a_search_that_finds_nothing_offers_everything(house: House, page: str) -> None:
    text = sign_in(house.ana).get(f"/agency/{page}/?q=zzz").content.decode()
    assert "Nothing fits" in text and "Show everything" in text
    assert "yielded" not in text
