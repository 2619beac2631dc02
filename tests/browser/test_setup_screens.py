"""Setting a clinic up, as people do it: a key tested, a rule tried, a preview looked at. Pictures are looked at by a person."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from integrations.models import Connection
from integrations.services import connection_setup, connections
from integrations.services.changes import OPERATOR
from integrations.services.connections import save_credentials
from tenants.walls import tenant_tx
from tests.browser.window import PASSWORD, PHONE, Visit, Visitor
from tests.conftest import House
from tests.stage import Stage, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

LOOKS = pytest.mark.parametrize(
    ("width", "dark"), [(1280, False), (1280, True), (PHONE, False)], ids=["desk", "dark", "phone"]
)


@pytest.fixture
def on_stage(people: House) -> Iterator[Stage]:
    with stage(people.harbour, mode="off") as made:
        for number, first in enumerate(("Mia", "Noah", "Priya", "Tom", "Ava", "Leo", "Ruby", "Jack")):
            made.world.add_patient(
                first_name=first,
                preferred_first_name=first[:2],
                last_name="Chen",
                email=f"{first.lower()}@example.test" if number != 3 else None,
                phone=f"0412 345 67{number}" if number != 4 else "call mum",
                address_1=f"{number + 1} Wharf Street",
                city="Manly",
                state="NSW",
                post_code="2095",
                country_code="AU",
                accepted_privacy_policy=True,
            )
        yield made


def ids(on_stage: Stage) -> tuple[int, int]:
    with tenant_tx(on_stage.tenant.pk):
        return Connection.objects.get(name="practice").pk, Connection.objects.get(name="shop").pk


def test_all(on_stage: Stage) -> None:
    """Both sandboxes answer to the keys of the stage."""
    for pk in ids(on_stage):
        assert getattr(connections.test_connection(on_stage.tenant.pk, pk), "works", False)


def prove(window: Visitor) -> None:
    """The page that asks again who is there: agency people answer with their digits, others with their password."""
    if "reauthenticate" not in window.page.url:
        return
    if window.page.locator("[name=password]").count():
        window.page.fill("[name=password]", PASSWORD)
    window.send(".su-card form button.su-button[type=submit]")


@LOOKS
def test_a_connection_is_tested_with_a_good_key_and_a_bad_one(
    visit: Visit, people: House, on_stage: Stage, width: int, dark: bool
) -> None:
    practice, _ = ids(on_stage)
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    olga.goto("/clinic/integrations/connection/")
    olga.looks_right("connections")
    olga.goto(f"/clinic/integrations/connection/{practice}/change/")
    olga.looks_right("connection-untested")
    olga.send("text=Test connection")
    prove(olga)
    if olga.page.url.endswith("/test/") and not olga.page.locator("text=It works").count():
        olga.send("button:has-text('Test connection')")
    expect(olga.page.locator(".su-note strong").first).to_contain_text("It works")
    olga.looks_right("connection-tested")
    olga.shot("connection-tested-whole", whole=True)
    with tenant_tx(on_stage.tenant.pk):
        save_credentials(Connection.objects.get(pk=practice), {"api_key": "bad-planted-key-au1"})
    olga.goto(f"/clinic/integrations/connection/{practice}/change/")
    olga.send("text=Test connection")
    expect(olga.page.locator(".su-note").first).to_have_class("su-note su-tone-bad")
    olga.looks_right("connection-bad-key")
    assert "planted" not in olga.page.content()
    olga.goto(f"/clinic/integrations/connection/{practice}/key/")
    olga.looks_right("connection-key")
    assert olga.page.input_value("[name=key-api_key]") == ""


@LOOKS
def test_a_rule_is_edited_tried_and_published(
    visit: Visit, people: House, on_stage: Stage, width: int, dark: bool
) -> None:
    practice, _ = ids(on_stage)
    key = next(iter(on_stage.world.patients))
    with tenant_tx(on_stage.tenant.pk):
        connection = Connection.objects.get(pk=practice)
        connection_setup.release_field(connection, "Referred by", reason="Not clinical", by=OPERATOR)
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    flow = f"/agency/integrations/flow/{on_stage.flow_id}"
    ana.goto("/agency/integrations/flow/")
    ana.looks_right("flows")
    for tab in ("change", "settings", "values", "schedule", "preview", "revisions"):
        ana.goto(f"{flow}/{tab}/")
        ana.looks_right(f"flow-{tab}-empty")
    ana.goto(f"{flow}/fields/")
    ana.looks_right("flow-fields")
    ana.page.click("summary:has-text('First name') >> nth=0")
    ana.page.select_option("[name=rule-0-source]", "preferred_first_name")
    ana.page.fill("[name=asked]", key)
    ana.send("button:has-text('Try it')")
    expect(ana.page.locator(".su-trial")).to_contain_text("would be created")
    ana.looks_right("flow-tried")
    ana.shot("flow-tried-whole", whole=True)
    ana.page.fill("[name=note]", "Preferred names on parcels")
    ana.send("button:has-text('Publish')")
    expect(ana.page.locator("body")).to_contain_text("Published as revision 2")
    ana.goto(f"{flow}/revisions/")
    ana.looks_right("flow-revisions")


@LOOKS
def test_a_preview_is_looked_at_before_going_live(
    visit: Visit, people: House, on_stage: Stage, width: int, dark: bool
) -> None:
    on_stage.set_flow(mode="preview")
    on_stage.sync()
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    flow = f"/agency/integrations/flow/{on_stage.flow_id}"
    ana.goto(f"{flow}/preview/")
    ana.looks_right("flow-preview")
    ana.goto(f"{flow}/change/")
    ana.looks_right("flow-overview-preview")
    ana.send("button.su-mode[value=live]")
    expect(ana.page.locator(".su-ask h2")).to_contain_text("Go live?")
    ana.looks_right("flow-go-live")
    ana.send("button:has-text('Go live')")
    expect(ana.page.locator(".su-mode[aria-pressed=true]")).to_contain_text("Live")
    ana.looks_right("flow-live")


def test_the_editor_is_usable_by_keyboard(visit: Visit, people: House, on_stage: Stage) -> None:
    ana = visit()
    ana.sign_in(people.ana)
    ana.goto(f"/agency/integrations/flow/{on_stage.flow_id}/fields/")
    ana.page.focus(".su-rule summary >> nth=0")
    ana.page.keyboard.press("Enter")
    expect(ana.page.locator("[name=rule-0-source]")).to_be_visible()
    ana.page.keyboard.press("Tab")
    expect(ana.page.locator("[name=rule-0-source]")).to_be_focused()


def test_a_new_connection_is_made_from_what_people_paste(visit: Visit, people: House, on_stage: Stage) -> None:
    """A14: the address of the admin is as good as the shop's domain; anything else is refused with a sentence."""
    sam: Any = visit()
    sam.sign_in(people.ana)
    sam.goto("/agency/integrations/connection/add/")
    sam.looks_right("connection-vendors")
    sam.send("a:has-text('Shopify')")
    prove(sam)
    sam.page.select_option("[name=clinic]", label="Harbour Physio")
    sam.page.fill("[name=account]", "https://evil.example/store/x")
    sam.page.fill("[name=key-access_token]", "shpat_planted_token")
    sam.send("button:has-text('Keep')")
    expect(sam.page.locator("body")).to_contain_text("This is not a Shopify shop")
    sam.looks_right("connection-refused")
    sam.page.fill("[name=account]", "https://admin.shopify.com/store/ef760-ef")
    sam.page.fill("[name=key-access_token]", "shpat_planted_token")
    sam.send("button:has-text('Keep')")
    expect(sam.page.locator("body")).to_contain_text("ef760-ef.myshopify.com")
    sam.looks_right("connection-made")
