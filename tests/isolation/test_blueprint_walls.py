"""Blueprints are the agency's: who reaches one clinic sees of them nothing of another, and a clinic only its own lines."""

import pytest

from integrations.flows.kind import Config
from integrations.models import Blueprint, Flow
from integrations.services import blueprints
from tenants.walls import tenant_tx
from tests.blueprint_rows import OWNER, add_blueprint, add_flow, as_agency, carry_out_due
from tests.conftest import House, sign_in
from tests.isolation.objects import canary

pytestmark = pytest.mark.django_db


@pytest.fixture
def followed(house: House) -> Blueprint:
    """Followed by both clinics, each with a line that carries its canary; published to Ridge, which goes first."""
    flows = [
        add_flow(clinic, config=Config(value_maps={"status": {canary(clinic): "cancel"}}))
        for clinic in (house.harbour, house.ridge)
    ]
    made = add_blueprint(
        house.agency, Config(value_maps={"status": {"25": "cancel"}}), house.harbour, house.ridge, name="zqsecretzq"
    )
    with as_agency(house.harbour, house.ridge):
        rollout = blueprints.prepare(made, by=OWNER, first=flows[1:])
        blueprints.begin(rollout, by=OWNER)
    carry_out_due()
    return made


@pytest.mark.parametrize("place", ["change", "lines", "versions", "clinics", "history"])
def test_staff_of_one_clinic_see_nothing_of_another(house: House, followed: Blueprint, place: str) -> None:
    sam, ana = sign_in(house.sam), sign_in(house.ana)
    address = f"/agency/integrations/blueprint/{followed.pk}/{place}/"
    body = sam.get(address).content.decode()
    assert "zqsecretzq" in body
    for word in (house.ridge.name, house.ridge.slug, canary(house.ridge)):
        assert word not in body
    if place == "change":
        assert house.ridge.name in ana.get(address).content.decode()
    for given in ({"do": "begin"}, {"do": "undo"}, {"do": "stop"}, {"flow": "1"}, {"leave": "1"}):
        assert place in {"history", "versions"} or sam.post(address, given).status_code == 403


@pytest.mark.parametrize("person", ["olga", "vik"])
def test_a_clinic_reads_of_it_only_what_came_to_its_own_flow(house: House, followed: Blueprint, person: str) -> None:
    """Harbour follows, and nothing has come to it yet: it reads the name alone."""
    client = sign_in(getattr(house, person))
    with tenant_tx(house.harbour.pk):
        own = Flow.objects.get().pk
    with tenant_tx(house.ridge.pk):
        foreign = Flow.objects.get().pk
    body = client.get(f"/clinic/integrations/flow/{own}/blueprint/").content.decode()
    assert "zqsecretzq" in body
    assert canary(house.ridge) not in body and house.ridge.name not in body
    for flow_id in (foreign, 987_654_321):
        assert client.get(f"/clinic/integrations/flow/{flow_id}/blueprint/").status_code == 302
        given = {"place": "values.status.25", "revision": "2"}
        assert client.post(f"/clinic/integrations/flow/{flow_id}/blueprint/", given).status_code == 302
