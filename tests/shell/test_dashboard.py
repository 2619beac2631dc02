"""The first page of each site (C02, C10, ask 16): every clinic's state in a word, in a constant number of questions."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from config import dashboards
from integrations.models import Connection, Flow, QuotaBudget
from integrations.services import desk
from tenants.models import Tenant
from tenants.services import add_tenant
from tenants.walls import app_now, system_tx, tenant_tx
from tests.conftest import House, sign_in
from tests.desk_rows import hold, hold_many, make_flow, make_link

pytestmark = pytest.mark.django_db


def row(house: House, clinic: Tenant) -> dict[str, Any]:
    response = sign_in(house.ana).get("/agency/")
    return next(row for row in response.context["clinics"] if row["name"] == clinic.name)


def change(model: Any, flow: Flow, **changes: Any) -> None:
    with tenant_tx(flow.tenant_id):
        model.objects.update(**changes)


def test_a_clinic_without_connections_is_told_what_to_do(house: House) -> None:
    said = row(house, house.harbour)
    assert (said["word"], said["note"]) == ("Not set up", "Connect its practice system and its shop.")


STATES: list[tuple[str, Callable[[Flow], object]]] = [
    ("Working", lambda flow: None),
    ("Needs a person", lambda flow: hold(flow, "1")),
    ("Needs a person", lambda flow: change(Flow, flow, stopped_code="guard.mass_change")),
    ("Not answering", lambda flow: change(Connection, flow, state="failing")),
    ("Needs a new key", lambda flow: change(Connection, flow, state="needs_reauth")),
    ("Paused", lambda flow: change(Connection, flow, state="paused")),
    ("Paused", lambda flow: change(Flow, flow, mode="off")),
    ("Not set up", lambda flow: change(Flow, flow, last_success_at=None)),
    ("Working, but behind", lambda flow: change(Flow, flow, next_due_at=app_now() - timedelta(hours=1))),
]


@pytest.mark.parametrize(("word", "happens"), STATES, ids=[f"{n}-{word}" for n, (word, _) in enumerate(STATES)])
def test_each_state_has_its_word(house: House, word: str, happens: Callable[[Flow], object]) -> None:
    happens(make_flow(house.harbour))
    assert row(house, house.harbour)["word"] == word


def test_an_ignored_record_needs_nobody(house: House) -> None:
    flow = make_flow(house.harbour)
    hold(flow, "1", ignored_until=app_now() + timedelta(days=3))
    assert row(house, house.harbour)["word"] == "Working"


def test_the_most_used_quota_is_shown_with_its_connection(house: House) -> None:
    flow = make_flow(house.harbour)
    now = app_now().timestamp()
    with system_tx("test"):
        QuotaBudget.objects.create(
            vendor="shopify", subject="harbour-physio.myshopify.com", style="window", amount=100, per_s=60,
            window_at=now - 30, spent_before=55,
        )  # fmt: skip
    change(Connection, flow, quota_subject="harbour-physio.myshopify.com")
    said = row(house, house.harbour)
    assert (round(said["quota"]), said["quota_note"]) == (55, "Shop")


def test_the_agencys_page_asks_as_much_for_thirty_clinics_as_for_three(house: House) -> None:
    client = sign_in(house.ana)

    def asked() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get("/agency/").status_code == 200
        return len(captured)

    def grow(start: int, count: int) -> None:
        for number in range(start, start + count):
            clinic = add_tenant(agency=house.agency, slug=f"c{number}", name=f"Clinic {number}", actor="test")
            hold_many(make_flow(clinic), 3)

    grow(1, 3)
    asked()
    few = asked()
    grow(4, 12)
    assert asked() == few
    assert few <= 20


def test_the_worst_come_first_and_another_order_can_be_chosen(house: House) -> None:
    make_flow(house.harbour)
    flow = make_flow(house.ridge)
    hold_many(flow, 2)
    client = sign_in(house.ana)
    names = lambda query: [row["name"] for row in client.get(f"/agency/{query}").context["clinics"]]  # noqa: E731
    assert names("") == ["Ridge Podiatry", "Harbour Physio"]
    assert names("?sort=name") == ["Harbour Physio", "Ridge Podiatry"]
    assert names("?sort=held") == ["Ridge Podiatry", "Harbour Physio"]
    assert names("?sort=nonsense&p=x") == ["Ridge Podiatry", "Harbour Physio"]
    assert names("?q=harb") == ["Harbour Physio"]
    assert names("?q=nobody") == []


def test_assigned_staff_see_their_clinics_only(house: House) -> None:
    make_flow(house.harbour)
    hold(make_flow(house.ridge), "1")
    client = sign_in(house.sam)
    assert "Ridge" not in client.get("/agency/").content.decode()
    assert client.get("/agency/?clinic=ridge-podiatry").status_code == 404
    assert client.get("/agency/?clinic=harbour-physio").status_code == 200


@pytest.mark.parametrize("person", ["olga", "vik", "ana"])
def test_one_clinics_page_shows_what_needs_a_person_and_how_complete_it_is(house: House, person: str) -> None:
    flow = make_flow(house.harbour)
    for number in range(3):
        make_link(flow, f"s{number}", f"t{number}")
    hold(flow, "1")
    path = "/agency/?clinic=harbour-physio" if person == "ana" else "/clinic/"
    response = sign_in(getattr(house, person)).get(path)
    text = response.content.decode()
    assert "Another customer already uses this e-mail address." in text
    (shown,) = response.context["flows"]
    assert (shown["linked"], shown["eligible"], round(shown["percent"])) == (3, 4, 75)
    assert "Australia/Sydney" in text


def test_a_new_clinic_is_led_to_its_first_connection(house: House) -> None:
    step = "Connect its practice system and its shop."
    assert step in sign_in(house.ana).get("/agency/?clinic=harbour-physio").content.decode()
    assert step not in sign_in(house.olga).get("/clinic/").content.decode(), "it is not hers to do"


def test_a_clinics_manager_is_not_offered_what_only_the_agency_may_do(house: House) -> None:
    response = sign_in(house.olga).get("/clinic/")
    assert response.context["next_url"] == ""
    assert "Your agency sets this up" in response.content.decode()
    assert "Add a connection" not in response.content.decode()


def test_a_number_that_was_not_counted_to_the_end_says_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboards, "COUNT_MAX", 5)
    flow = make_flow(house.harbour)
    hold_many(flow, 4)
    assert row(house, house.harbour)["held_more"] == ""
    hold_many(flow, 3, start=5)
    assert (row(house, house.harbour)["held"], row(house, house.harbour)["held_more"]) == (5, "+")
    own = sign_in(house.olga)
    assert own.get("/clinic/").context["clinics"][0]["held"] == 7, "one clinic is counted further"
    monkeypatch.setattr(desk, "COUNT_MAX", 5)
    assert "5+" in own.get("/clinic/").content.decode()


def test_one_clinics_page_costs_the_same_with_three_records_and_thirty(house: House) -> None:
    flow = make_flow(house.harbour)
    client = sign_in(house.olga)

    def asked() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert client.get("/clinic/").status_code == 200
        return len(captured)

    hold_many(flow, 3)
    asked()
    few = asked()
    hold_many(flow, 27, start=4)
    assert asked() == few
