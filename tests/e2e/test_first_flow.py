"""Patients become customers, from one sandboxed vendor to the other over loopback HTTP."""

from collections.abc import Iterator

import pytest

from tenants.models import Tenant
from tests.stage import Stage, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.fixture
def on_stage(harbour: Tenant) -> Iterator[Stage]:
    with stage(harbour) as built:
        yield built


def test_it_works(on_stage: Stage) -> None:
    """C09, C15, C16: a patient appears as a customer with marker, address and link, without a click."""
    key = on_stage.world.add_patient(
        first_name="Mia",
        last_name="Chen",
        email="Mia.Chen@Example.com ",
        phone="0400 000 001",
        address_1="12 Wattle Street",
        city="Geelong",
        state="VIC",
        post_code="3220",
        country_code="AU",
        accepted_email_marketing=True,
        accepted_privacy_policy=True,
    )
    counts = on_stage.sync()
    assert counts["created"] == counts["read"] == 1
    (customer,) = on_stage.customers()
    print(customer)
    assert on_stage.links() == {key: str(customer["id"]).rsplit("/", 1)[-1]}


def test_a_second_sync_writes_nothing(on_stage: Stage) -> None:
    for number in range(12):
        on_stage.world.add_patient(
            first_name="Pat", last_name=f"Number{number}", email=f"p{number}@example.com", accepted_privacy_policy=True
        )
    on_stage.sync()
    assert len(on_stage.customers()) == 12
    writes = on_stage.writes
    counts = on_stage.sync()
    assert on_stage.writes == writes
    assert counts["unchanged"] == counts["read"]


def test_an_edit_writes_one_field(on_stage: Stage) -> None:
    key = on_stage.world.add_patient(first_name="Mia", last_name="Chen", email="mia@example.com", phone="0400 000 001")
    on_stage.sync()
    writes = on_stage.writes
    on_stage.world.edit_patient(key, email="mia.chen@example.com")
    counts = on_stage.sync()
    assert counts["updated"] == 1
    assert on_stage.writes == writes + 1
    (done,) = on_stage.deliveries(outcome="updated")
    assert done.plan["fields"] == ["email"]
    assert done.sealed_draft is None
