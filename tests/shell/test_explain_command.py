"""`manage.py explain`: the same words on a terminal, one object for programs (B1, design section 9)."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from integrations.models import Connection
from integrations.services.connections import save_credentials
from tenants.walls import tenant_tx
from tests.stage import KIND, Stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

MIA = {"first_name": "Mia", "last_name": "Chenoweth", "email": "mia.chenoweth@example.test"}


@pytest.fixture
def mia(on_stage: Stage) -> str:
    on_stage.set_flow(mode="live")
    key = str(on_stage.world.add_patient(**MIA))
    on_stage.sync()
    return key


def run(on_stage: Stage, key: str, *more: str) -> tuple[str, int]:
    out = StringIO()
    try:
        call_command("explain", "--tenant", on_stage.tenant.slug, KIND, key, *more, stdout=out)
    except SystemExit as ended:
        return out.getvalue(), int(ended.code or 0)
    return out.getvalue(), 0


def told(on_stage: Stage, key: str, *more: str) -> tuple[dict[str, Any], int]:
    out, status = run(on_stage, key, "--json", *more)
    return json.loads(out), status


def test_it_prints_one_object(on_stage: Stage, mia: str) -> None:
    on_stage.world.edit_patient(mia, first_name="Mya")
    body, status = told(on_stage, mia)
    assert status == 0
    assert (body["found"], body["key"], body["target"]["key"]) == (True, mia, on_stage.links()[mia])
    assert (body["next"]["action"], body["next"]["when"]) == ("update", "pass")
    assert "firstName" in body["next"]["writes"]
    (first,) = [one for one in body["fields"] if one["target"] == "firstName"]
    assert (first["source"], first["verdict"], first["before"], first["there"]) == (
        "first_name",
        "write",
        "M***",
        "M***",
    )
    assert body["log"][0]["outcome"] == "ok"
    assert body["masked"] is True


def test_values_are_shown_only_where_asked_for(on_stage: Stage, mia: str) -> None:
    for plain in (run(on_stage, mia)[0], run(on_stage, mia, "--json")[0]):
        assert "Chenoweth" not in plain and "mia.chenoweth" not in plain
    assert "Chenoweth" in run(on_stage, mia, "--values")[0]


def test_it_reads_well(on_stage: Stage, mia: str) -> None:
    out, status = run(on_stage, mia)
    assert status == 0
    assert f"Patient {mia} in Cliniko → customer {on_stage.links()[mia]} in Shopify" in out
    assert "Nothing: both sides agree" in out
    assert "Last name: Same on both sides" in out
    assert "What happened, newest first" in out


def test_an_email_finds_the_record_and_a_family_is_listed(on_stage: Stage, mia: str) -> None:
    """C17."""
    assert told(on_stage, MIA["email"])[0]["key"] == mia
    leo = str(on_stage.world.add_patient(**MIA | {"first_name": "Leo"}))
    body, status = told(on_stage, MIA["email"])
    assert (status, body["found"]) == (1, False)
    assert {one["key"] for one in body["candidates"]} == {mia, leo}


def test_nothing_found_is_said(on_stage: Stage, mia: str) -> None:
    out, status = run(on_stage, "404404404")
    assert status == 1
    assert "Nothing found. Try" in out


def test_a_vendor_that_cannot_be_asked_is_named_with_its_code(on_stage: Stage, mia: str) -> None:
    with tenant_tx(on_stage.tenant.pk):
        save_credentials(Connection.objects.get(vendor="cliniko"), {"api_key": "bad-planted-key-au1"})
    body, status = told(on_stage, mia)
    assert status == 1
    assert body["source"]["error"]["code"] == "cliniko.auth.rejected"
    assert body["source"]["error"]["advice"]
    assert body["log"]
    assert "planted" not in json.dumps(body)


@pytest.mark.parametrize(
    ("slug", "flow", "said"), [("nowhere", KIND, "no clinic"), ("harbour-physio", "nothing", "no flow")]
)
def test_it_says_why_it_could_not_run(on_stage: Stage, slug: str, flow: str, said: str) -> None:
    with pytest.raises(CommandError, match=said) as caught:
        call_command("explain", "--tenant", slug, flow, "1")
    assert caught.value.returncode == 2
