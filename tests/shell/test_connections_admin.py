"""Connections' screens: keys go in and never come out, tests say in words what they found, owners release fields (C06, A14, AS23, AS24)."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from integrations.admin.setup import ASKS_PER_MINUTE
from integrations.models import Connection, ConnectionState
from integrations.services.connections import credentials_of, save_credentials
from tenants.models import AuditEntry
from tenants.walls import tenant_tx
from tests.conftest import House, sign_in
from tests.stage import KEY, Stage, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.fixture
def on_stage(transactional_db: None, house: House) -> Iterator[Stage]:
    cache.clear()
    with stage(house.harbour, mode="off") as made:
        yield made


def fresh(client: Client) -> Client:
    """As if this person had just proved who they are."""
    session = client.session
    session["account_authentication_methods_user"] = session["_auth_user_id"]
    session["account_authentication_methods"] = [{"method": "password", "at": time.time(), "reauthenticated": True}]
    session.save()
    return client


def pk_of(on_stage: Stage, name: str = "practice") -> int:
    with tenant_tx(on_stage.tenant.pk):
        return int(Connection.objects.values_list("pk", flat=True).get(name=name))


def address(site: str, pk: int, place: str = "change") -> str:
    return f"/{site}/integrations/connection/{pk}/{place}/"


def text(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return re.sub(r"\s+", " ", response.content.decode())


def state(on_stage: Stage, name: str = "practice") -> Connection:
    with tenant_tx(on_stage.tenant.pk):
        found: Connection = Connection.objects.get(name=name)
        return found


def test_the_list_and_the_page_open_for_all_roles_and_hold_no_key(on_stage: Stage, house: House) -> None:
    pk = pk_of(on_stage)
    for person, site in ((house.ana, "agency"), (house.olga, "clinic"), (house.vik, "clinic")):
        client = sign_in(person)
        assert "Not tested yet" in text(client.get(f"/{site}/integrations/connection/"))
        body = text(client.get(address(site, pk)))
        assert "•••• " + KEY[-4:] in body and KEY not in body


@pytest.mark.parametrize("place", ["change", "key", "test", "pause", "fields", "history"])
def test_a_foreign_connection_is_as_absent_as_one_that_never_was(place: str, on_stage: Stage, house: House) -> None:
    rita = fresh(sign_in(house.rita))
    for method in (rita.get, rita.post):
        foreign, absent = method(address("clinic", pk_of(on_stage), place)), method(address("clinic", 10**9, place))
        assert foreign.status_code == absent.status_code
        assert foreign.headers.get("location", "").replace(str(pk_of(on_stage)), str(10**9)) == absent.headers.get(
            "location", ""
        )


def test_a_good_key_is_described_in_words(on_stage: Stage, house: House) -> None:
    """C06: role, shard, account name and zone are read back and shown."""
    olga = fresh(sign_in(house.olga))
    body = text(olga.post(address("clinic", pk_of(on_stage), "test")))
    assert "It works: Harbour Physio" in body
    assert "power receptionist" in body and "Australia/Sydney" in body
    assert state(on_stage).state == ConnectionState.OK
    shop = text(olga.post(address("clinic", pk_of(on_stage, "shop"), "test")))
    assert "The token may read and write customers" in shop


def test_a_bad_key_says_what_to_do(on_stage: Stage, house: House) -> None:
    with tenant_tx(on_stage.tenant.pk):
        save_credentials(Connection.objects.get(name="practice"), {"api_key": "bad-planted-key-au1"})
    body = text(fresh(sign_in(house.olga)).post(address("clinic", pk_of(on_stage), "test")))
    assert "Needs a new key" in body and 'role="alert"' in body
    assert "planted" not in body
    with tenant_tx(on_stage.tenant.pk):
        assert AuditEntry.objects.filter(action="connection.tested", actor=house.olga.username).exists()


@pytest.mark.parametrize("place", ["key", "test"])
def test_whoever_did_not_prove_themselves_lately_is_asked_first(place: str, on_stage: Stage, house: House) -> None:
    """AS23: changing or testing a key asks who is there; looking does not."""
    olga, url = sign_in(house.olga), address("clinic", pk_of(on_stage), place)
    for answer in (olga.get(url), olga.post(url, {"key-api_key": "another-key-au1"})):
        assert answer.status_code == 302 and answer.headers["location"].startswith("/accounts/reauthenticate/?next=")
    assert state(on_stage).hints["api_key"] == KEY[-4:]
    assert olga.get(address("clinic", pk_of(on_stage))).status_code == 200


def test_a_key_is_changed_and_an_empty_box_keeps_it(on_stage: Stage, house: House) -> None:
    olga, url = fresh(sign_in(house.olga)), address("clinic", pk_of(on_stage), "key")
    shown = olga.get(url)
    assert KEY not in text(shown) and "key-api_key" not in shown.context["form"].initial
    olga.post(url, {"key-api_key": "", "key-contact_email": "desk@harbour.example"})
    with tenant_tx(on_stage.tenant.pk):
        assert credentials_of(Connection.objects.get(name="practice"))["api_key"] == KEY
    olga.post(url, {"key-api_key": "second-planted-key-au3", "key-contact_email": "desk@harbour.example"})
    changed = state(on_stage)
    assert (changed.account, changed.state) == ("au3", ConnectionState.UNVERIFIED)
    refused = text(olga.post(url, {"key-api_key": "not a key!", "key-contact_email": "desk@harbour.example"}))
    assert "does not look like" in refused and "not a key!" not in refused
    with tenant_tx(on_stage.tenant.pk):
        diffs = [entry.diff for entry in AuditEntry.objects.filter(action="connection.credentials").order_by("pk")]
    assert diffs == [{"fields": ["contact_email"]}, {"fields": ["account", "api_key"]}]


def test_looking_never_writes(on_stage: Stage, house: House) -> None:
    """AS24: GET and HEAD change nothing, not even on the pages that act."""
    ana, before = fresh(sign_in(house.ana)), state(on_stage)
    for place in ("change", "key", "test", "pause", "fields"):
        for method in (ana.get, ana.head):
            method(address("agency", before.pk, place), {"action": "release", "name": "x", "reason": "y"})
    after = state(on_stage)
    assert (after.state, after.tested_at, after.released_fields) == (before.state, None, [])


def test_a_viewer_looks_and_does_nothing(on_stage: Stage, house: House) -> None:
    vik, pk = fresh(sign_in(house.vik)), pk_of(on_stage)
    body = text(vik.get(address("clinic", pk)))
    assert "Test connection" not in body and "Change the key" not in body
    for place in ("key", "test", "pause", "fields", "change"):
        assert vik.post(address("clinic", pk, place), {"name": "Referrer", "reason": "x"}).status_code == 403


def test_only_the_agencys_owner_releases_a_custom_field(on_stage: Stage, house: House) -> None:
    pk, given = pk_of(on_stage), {"name": "Referred by", "reason": "A marketing question"}
    assert sign_in(house.sam).post(address("agency", pk, "fields"), given).status_code == 403
    assert sign_in(house.olga).post(address("clinic", pk, "fields"), given).status_code == 403
    ana = sign_in(house.ana)
    ana.post(address("agency", pk, "fields"), given)
    assert state(on_stage).released_fields == ["custom_fields.referred_by"]
    assert "Released" in text(ana.get(address("agency", pk)))
    ana.post(address("agency", pk, "fields"), {"name": "custom_fields.referred_by", "action": "take_back"})
    assert state(on_stage).released_fields == []


def test_a_connection_is_paused_resumed_and_renamed(on_stage: Stage, house: House) -> None:
    olga, pk = sign_in(house.olga), pk_of(on_stage)
    olga.post(address("clinic", pk, "pause"), {"reason": "Moving"})
    assert state(on_stage).state == ConnectionState.PAUSED
    assert "What is due waits" in text(olga.get(address("clinic", pk)))
    olga.post(address("clinic", pk, "pause"))
    assert state(on_stage).may_call
    olga.post(address("clinic", pk), {"label": "Our Cliniko"})
    assert state(on_stage).label == "Our Cliniko"


@pytest.mark.parametrize(
    "typed", ["ef760-ef", "https://admin.shopify.com/store/ef760-ef/orders", "EF760-ef.myshopify.com"]
)
def test_a_shop_is_named_in_any_form(typed: str, on_stage: Stage, house: House) -> None:
    """A14."""
    ana = fresh(sign_in(house.ana))
    given = {
        "clinic": str(house.ridge.pk),
        "label": "Ridge shop",
        "account": typed,
        "key-access_token": "shpat_planted_token",
    }
    assert ana.post("/agency/integrations/connection/add/?vendor=shopify", given).status_code == 302
    with tenant_tx(house.ridge.pk):
        made = Connection.objects.get()
        assert (made.account, made.name, made.tenant_id) == ("ef760-ef.myshopify.com", "ridge-shop", house.ridge.pk)


def test_what_is_no_shop_is_refused_with_a_sentence_and_nothing_is_made(on_stage: Stage, house: House) -> None:
    ana = fresh(sign_in(house.ana))
    given = {
        "clinic": str(house.ridge.pk),
        "label": "x",
        "account": "https://evil.example/x",
        "key-access_token": "shpat_planted_token",
    }
    body = text(ana.post("/agency/integrations/connection/add/?vendor=shopify", given))
    assert "This is not a Shopify shop" in body and "planted" not in body
    with tenant_tx(house.ridge.pk):
        assert not Connection.objects.exists()
    assert fresh(sign_in(house.olga)).get("/clinic/integrations/connection/add/?vendor=shopify").status_code == 403


def test_a_clinic_the_staff_may_not_see_cannot_be_given_a_connection(on_stage: Stage, house: House) -> None:
    given = {
        "clinic": str(house.ridge.pk),
        "label": "x",
        "account": "ef760-ef",
        "key-access_token": "shpat_planted_token",
    }
    body = text(fresh(sign_in(house.sam)).post("/agency/integrations/connection/add/?vendor=shopify", given))
    assert "Select a valid choice" in body and "Ridge" not in body


def test_a_vendor_is_not_asked_all_the_time(on_stage: Stage, house: House) -> None:
    olga, pk = fresh(sign_in(house.olga)), pk_of(on_stage)
    cache.set(f"asks:{on_stage.tenant.pk}:{house.olga.pk}", ASKS_PER_MINUTE, 60)
    assert olga.post(address("clinic", pk, "test")).status_code == 302
    assert state(on_stage).tested_at is None
