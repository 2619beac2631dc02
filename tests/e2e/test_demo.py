"""`make demo ARGS=--once`: three clinics are there, their counts add up, and a second run writes nothing (asks 1 and 2)."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command

from integrations.demo import people
from integrations.demo.vendors import AlreadyRunning, serving
from integrations.models import BUCKETS
from tenants.models import Membership, Role, Tenant
from tenants.services import add_agency, add_tenant

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.fixture(autouse=True)
def apart(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of its own, and both ways in which the demo points at its sandboxes put back afterwards."""
    settings.SUTURE_VAR, settings.SUTURE_SANDBOX, settings.SUTURE_VENDOR_URLS = tmp_path, False, {}
    for name in ("SUTURE_SANDBOX", "SUTURE_VENDOR_URLS"):
        monkeypatch.setenv(name, "")
    return tmp_path


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


def run_once() -> dict[str, Any]:
    told = io.StringIO()
    call_command("demo", "--once", "--json", stdout=told, stderr=io.StringIO())
    answer: dict[str, Any] = json.loads(told.getvalue())
    return answer


def test_three_clinics_are_synced_people_can_sign_in_and_a_second_run_writes_nothing(apart: Path) -> None:
    first = run_once()
    assert first["ok"]
    assert {flow["tenant"] for flow in first["flows"]} == {"harbour-physio", "ridge-podiatry", "bay-street-skin"}
    for flow in first["flows"]:
        assert flow["read"] == sum(flow[bucket] for bucket in BUCKETS) > 10
        assert flow["created"] + flow["updated"] > 10 and flow["writes"]["shopify"] >= flow["created"]
        assert flow["writes"]["cliniko"] == flow["waiting"] == flow["uncertain"] == 0
    assert any(flow["held"] for flow in first["flows"]), "the error desk has something to show"

    cast = people.keep(apart / "demo" / "people.json")
    assert (apart / "demo" / "people.json").stat().st_mode & 0o777 == 0o600
    for person in cast:
        assert_can_sign_in(person)
    second = run_once()
    assert second["ok"] and second["writes"] == 0
    assert people.keep(apart / "demo" / "people.json") == cast


def assert_can_sign_in(person: people.Person) -> None:
    """With what is printed."""
    user = authenticate(username=person.email, password=person.password)
    assert user is not None
    assert Authenticator.objects.get(user_id=user.pk).wrap().validate_code(person.code())
    membership = Membership.objects.of_user(user.pk).get()
    assert membership.role == person.role
    assert (membership.agency_id is None) == (person.role is not Role.AGENCY_OWNER)


def test_clinics_that_the_demo_did_not_make_are_left_alone() -> None:
    add_tenant(agency=add_agency(name="Real", slug="real"), slug="real-clinic", name="Real Clinic")
    with pytest.raises(CommandError, match="did not make"):
        run_once()
    assert Tenant.objects.count() == 1


def test_two_demos_do_not_share_one_folder(apart: Path) -> None:
    with serving(apart / "sandbox", port=0), pytest.raises(CommandError, match="already"):
        run_once()
    with serving(apart / "sandbox", port=0), pytest.raises(AlreadyRunning), serving(apart / "sandbox", port=0):
        pass


def test_a_taken_port_is_stepped_around(apart: Path) -> None:
    with serving(apart / "one") as first, serving(apart / "two") as second:
        assert not set(first.urls.values()) & set(second.urls.values())
