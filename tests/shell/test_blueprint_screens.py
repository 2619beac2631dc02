"""A blueprint's pages: who may do what, what each clinic would see changed, and whose each line of a flow is (B2)."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from integrations.flows.kind import Config
from integrations.models import Blueprint, Following, Rollout
from integrations.services import blueprints
from tenants.models import Tenant
from tenants.services import add_tenant
from tenants.walls import agency_tx
from tests.blueprint_rows import INVOICES, OWNER, add_blueprint, add_flow, as_agency, carry_out_due, config_of
from tests.conftest import House, MovedClock, sign_in
from tests.shell.screens import page, text

pytestmark = pytest.mark.django_db

LIST = "/agency/integrations/blueprint/"
LINES = Config(value_maps={"status": {"25": "cancel", "26": "ignore"}})
OWN = Config(value_maps={"status": {"25": "mark_paid"}})


@pytest.fixture
def ana_at(house: House) -> Client:
    return sign_in(house.ana)


@pytest.fixture
def sam_at(house: House) -> Client:
    return sign_in(house.sam)


@pytest.fixture
def olga_at(house: House) -> Client:
    return sign_in(house.olga)


@pytest.fixture
def flows(house: House) -> tuple[int, int]:
    return add_flow(house.harbour, config=OWN), add_flow(house.ridge)


@pytest.fixture
def followed(house: House, flows: tuple[int, int]) -> Blueprint:
    """Harbour, with a line of its own, and Ridge follow it; nothing is published yet."""
    return add_blueprint(house.agency, LINES, house.harbour, house.ridge)


def at(blueprint: Blueprint, place: str = "change") -> str:
    return f"{LIST}{blueprint.pk}/{place}/"


def do(client: Client, blueprint: Blueprint, what: str, **more: Any) -> str:
    return text(client.post(at(blueprint), {"do": what, **more}, follow=True))


def publish(house: House, blueprint: Blueprint) -> None:
    with override_settings(SUTURE_BLUEPRINT_WAIT_S=0):
        with as_agency(house.harbour, house.ridge):
            rollout = blueprints.prepare(blueprint, by=OWNER)
            blueprints.begin(rollout, by=OWNER)
        carry_out_due()
        with as_agency(house.harbour, house.ridge):
            blueprints.go_on(rollout, by=OWNER)
        carry_out_due()


def test_a_blueprint_is_made_from_a_clinics_lines_edited_followed_and_published(
    house: House, flows: tuple[int, int], ana_at: Client, clock: MovedClock
) -> None:
    assert "No blueprint yet" in text(ana_at.get(LIST))
    answer = ana_at.post(f"{LIST}add/", {"name": "House rules", "kind": INVOICES, "like": flows[0]}, follow=True)
    assert "The blueprint is made." in text(answer)
    with agency_tx([], actor="t", reason="t"):
        made = Blueprint.objects.get()
    assert Config.from_json(made.config) == OWN

    kept = {"map-status-key": ["25", "26", "20"], "map-status-value": ["cancel", "ignore", "mark_paid"]}
    assert "No clinic is touched before you publish" in text(ana_at.post(at(made, "lines"), {**settings_of(ana_at, made), **kept}, follow=True))  # fmt: skip
    assert "Ridge Podiatry" in text(ana_at.get(at(made, "clinics")))
    assert "2 flows follow" in text(ana_at.post(at(made, "clinics"), {"flow": flows}, follow=True))

    body = text(ana_at.get(at(made)))
    assert "Invoice status: 26" in body and "Prepare version 1" in body
    assert "Prepared. Nothing has changed yet" in do(ana_at, made, "prepare", flow=flows[1], note="For all")
    assert "Publish to the first clinics" in text(ana_at.get(at(made)))
    assert "goes to the first clinics now" in do(ana_at, made, "begin")
    carry_out_due()
    assert "are being watched until" in text(ana_at.get(at(made)))
    assert "for long enough yet" in do(ana_at, made, "go")
    clock.forward(timedelta(days=2))
    assert "goes to all the others now" in do(ana_at, made, "go")
    carry_out_due()
    carry_out_due()
    assert "All of them run by these lines." in text(ana_at.get(at(made)))
    assert config_of(house.harbour, flows[0]).value_maps == {"status": {"25": "mark_paid", "26": "ignore"}}
    assert "Version 1" in text(ana_at.get(at(made, "versions")))
    assert "taken back from 2 flows" in do(ana_at, made, "undo")
    carry_out_due()
    assert config_of(house.ridge, flows[1]) == Config()


def settings_of(client: Client, blueprint: Blueprint) -> dict[str, str]:
    """The boxes of the settings as they stand."""
    form = client.get(at(blueprint, "lines")).context["form"]
    return {name: str(form[name].value() or "") for name in form.fields}


def test_lines_that_are_refused_are_said_beside_them(followed: Blueprint, ana_at: Client) -> None:
    given = {**settings_of(ana_at, followed), "map-status-key": ["25"], "map-status-value": ["explode"]}
    answer = ana_at.post(at(followed, "lines"), given)
    assert "choose one of" in text(answer)
    with agency_tx([], actor="t", reason="t"):
        assert Config.from_json(Blueprint.objects.get().config) == LINES


def test_what_would_change_is_told_clinic_by_clinic_with_who_keeps_what(
    house: House, followed: Blueprint, flows: tuple[int, int], ana_at: Client
) -> None:
    shown = ana_at.get(at(followed)).context["followers"]
    told = {one.clinic.name: ([line.label for line in one.changes], one.own) for one in shown}
    assert told == {
        "Harbour Physio": (["Invoice status: 26"], 1),
        "Ridge Podiatry": (["Invoice status: 25", "Invoice status: 26"], 0),
    }


def test_staff_look_at_their_own_clinics_and_change_nothing(
    house: House, followed: Blueprint, flows: tuple[int, int], sam_at: Client
) -> None:
    body = text(sam_at.get(at(followed)))
    assert "Harbour Physio" in body and "Ridge" not in body
    assert "1 flow follows" in body
    for place, given in (("change", {"do": "prepare"}), ("lines", {}), ("clinics", {"flow": flows[1]})):
        assert sam_at.post(at(followed, place), given).status_code == 403
    assert sam_at.get(f"{LIST}add/").status_code == 403
    with agency_tx([house.ridge.pk], actor="t", reason="t"):
        assert not Rollout.objects.exists()


def test_a_clinic_has_no_page_of_blueprints(followed: Blueprint, olga_at: Client) -> None:
    assert olga_at.get(LIST).status_code in (302, 403)
    assert olga_at.get("/clinic/integrations/blueprint/").status_code == 404


# The flow's side


def test_each_line_of_a_flow_tells_whose_it_is_and_is_given_back(
    house: House, followed: Blueprint, flows: tuple[int, int], olga_at: Client
) -> None:
    assert "from the next version on" in text(page(olga_at, "clinic", flows[0], "blueprint"))
    publish(house, followed)
    body = text(page(olga_at, "clinic", flows[0], "blueprint"))
    assert "From blueprint House rules" in body and "The blueprint says: Cancel" in body
    values = text(page(olga_at, "clinic", flows[0], "values"))
    assert "This clinic&#x27;s own" in values and "From blueprint House rules" in values
    given = {"place": "values.status.25", "revision": "3"}
    answer = olga_at.post(f"/clinic/integrations/flow/{flows[0]}/blueprint/", given, follow=True)
    assert "Published as revision 4: Invoice status." in text(answer)
    assert config_of(house.harbour, flows[0]).value_maps == {"status": {"25": "cancel", "26": "ignore"}}


def test_a_viewer_gives_nothing_back(house: House, followed: Blueprint, flows: tuple[int, int]) -> None:
    publish(house, followed)
    vik = sign_in(house.vik)
    assert 'name="place"' not in text(page(vik, "clinic", flows[0], "blueprint"))
    answer = vik.post(f"/clinic/integrations/flow/{flows[0]}/blueprint/", {"place": "values.status.25"})
    assert answer.status_code == 403


def test_a_line_is_not_given_back_over_somebody_elses_change(
    house: House, followed: Blueprint, flows: tuple[int, int], olga_at: Client
) -> None:
    publish(house, followed)
    given = {"place": "values.status.25", "revision": "2"}
    answer = olga_at.post(f"/clinic/integrations/flow/{flows[0]}/blueprint/", given, follow=True)
    assert "Somebody published revision 3 meanwhile" in text(answer)
    assert "This clinic's own" in text(page(olga_at, "clinic", flows[0], "blueprint"))


def test_a_flow_without_a_blueprint_says_so(flows: tuple[int, int], olga_at: Client, ana_at: Client) -> None:
    assert "follows no blueprint" in text(page(olga_at, "clinic", flows[0], "blueprint"))
    assert "On a blueprint's page" in text(page(ana_at, "agency", flows[0], "blueprint"))


# Many clinics


def many(house: House, count: int) -> list[Tenant]:
    clinics = [add_tenant(agency=house.agency, slug=f"clinic-{n}", name=f"Clinic {n}") for n in range(count)]
    for clinic in clinics:
        add_flow(clinic)
    return clinics


def test_questions_do_not_grow_with_the_clinics(house: House, ana_at: Client) -> None:
    def asked(address: str) -> int:
        with CaptureQueriesContext(database) as queries:
            assert ana_at.get(address).status_code == 200
        return len(queries)

    def addresses(blueprint: Blueprint) -> list[str]:
        return [LIST, at(blueprint), at(blueprint, "clinics"), at(blueprint, "versions")]

    few = add_blueprint(house.agency, LINES, *many(house, 2))
    with as_agency(*Tenant.objects.all()):
        blueprints.prepare(few, by=OWNER)
    asked(at(few))
    before = [asked(address) for address in addresses(few)]
    clinics = [add_tenant(agency=house.agency, slug=f"more-{n}", name=f"More {n}") for n in range(8)]
    for clinic in clinics:
        add_flow(clinic, config=OWN)
    with as_agency(*Tenant.objects.all()):
        rollout = blueprints.newest_rollout(few)
        assert rollout is not None
        blueprints.stop(rollout, by=OWNER)
        blueprints.follow(few, [flow.pk for flow in blueprints.may_follow(few)], by=OWNER)
        blueprints.prepare(few, by=OWNER)
        assert Following.objects.filter(blueprint=few).count() == 10
    assert [asked(address) for address in addresses(few)] == before
