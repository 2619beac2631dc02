"""The desk, the log, the runs and the dashboards, as people see them; the pictures are looked at."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from integrations.models import Connection, Flow, QuotaBudget, Run
from tenants.services import add_tenant
from tenants.walls import app_now, system_tx, tenant_tx
from tests.browser import looking
from tests.browser.window import PHONE, Visit
from tests.conftest import House
from tests.desk_rows import hold_many, log_many, make_flow, make_link
from tests.stage import Stage, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

LOOKS = [(1280, False), (1280, True), (PHONE, False), (PHONE, True)]
IDS = ["light", "dark", "phone", "phone-dark"]


@pytest.fixture
def flow(people: House) -> Flow:
    flow = make_flow(people.harbour)
    hold_many(flow, 200)
    log_many(flow, 30)
    for number in range(12):
        make_link(flow, f"31{number:02}", f"71200{number:02}", source_aliases=["3099"] if number == 3 else [])
    with tenant_tx(flow.tenant_id):
        run = Run.objects.get()
        Run.objects.filter(pk=run.pk).update(read=1200, created=640, updated=41, unchanged=300, skipped=19, held=200)
    return flow


@pytest.mark.parametrize(("width", "dark"), LOOKS, ids=IDS)
def test_the_lists_are_readable(visit: Visit, people: House, flow: Flow, width: int, dark: bool) -> None:
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    olga.goto("/clinic/")
    olga.looks_right("dashboard-clinic")
    for name in ("delivery", "run", "synclogentry", "link"):
        olga.goto(f"/clinic/integrations/{name}/")
        olga.looks_right(f"list-{name}")


@pytest.mark.parametrize(("width", "dark"), LOOKS, ids=IDS)
def test_the_pages_of_one_row_are_readable(visit: Visit, people: House, flow: Flow, width: int, dark: bool) -> None:
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    for name in ("run", "synclogentry", "link"):
        olga.goto(f"/clinic/integrations/{name}/")
        olga.page.click(".su-list tbody th a >> nth=0")
        olga.settle()
        olga.looks_right(f"row-{name}")
    olga.goto("/clinic/integrations/synclogentry/find/")
    olga.looks_right("find-person")


@pytest.fixture
def on_stage(people: House) -> Iterator[Stage]:
    with stage(people.harbour) as built:
        person = {"last_name": "Chen", "accepted_privacy_policy": True, "address_1": "4 Quay St", "city": "Manly"}
        built.shop.create(
            {"firstName": "Ann", "lastName": "Nguyen", "email": "family@example.com", "phone": "+61400000001"}
        )
        built.world.add_patient(first_name="Mia", email="family@example.com", **person)
        built.sync()
        yield built


@pytest.mark.parametrize(("width", "dark"), LOOKS, ids=IDS)
def test_a_shared_email_is_settled_side_by_side(
    visit: Visit, people: House, on_stage: Stage, width: int, dark: bool
) -> None:
    vik = visit(width=width, dark=dark)
    vik.sign_in(people.vik)
    vik.goto("/clinic/integrations/delivery/")
    vik.page.click(".su-list tbody th a")
    vik.settle()
    vik.looks_right("held-viewer")
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    olga.goto("/clinic/integrations/delivery/")
    olga.page.click(".su-list tbody th a")
    olga.settle()
    olga.looks_right("held")
    olga.shot("held-whole", whole=True)
    olga.page.click("text=Ignore for now")
    olga.looks_right("held-ignoring")
    olga.send("button[value=choose]")
    expect(olga.page.get_by_text("Nobody is waited for")).to_be_visible()
    olga.looks_right("desk-empty")


def test_many_are_settled_by_keyboard(visit: Visit, people: House, flow: Flow) -> None:
    olga = visit()
    olga.sign_in(people.olga)
    olga.goto("/clinic/integrations/delivery/?code=match.several")
    assert "Try again" in " ".join(looking.keyboard_path(olga.page, most=160))
    olga.page.focus("[name=select_across]")
    olga.page.keyboard.press("Space")
    olga.send("button[value=retry_chosen]")
    expect(olga.page.get_by_role("heading", name="25 records")).to_be_visible()
    olga.looks_right("confirm")
    olga.send("button[name=confirmed]")
    expect(olga.page.get_by_text("5 records go first.")).to_be_visible()
    olga.looks_right("rerun")


@pytest.mark.parametrize(("width", "dark"), LOOKS, ids=IDS)
def test_forty_clinics_at_a_glance(visit: Visit, people: House, flow: Flow, width: int, dark: bool) -> None:
    states = (
        {},
        {"held": 3},
        {"mode": "off"},
        {"stopped_code": "guard.mass_change"},
        {},
        {"state": "failing"},
        {},
        {"state": "needs_reauth"},
    )
    with system_tx("test"):
        QuotaBudget.objects.create(
            vendor="cliniko", subject="au1", style="window", amount=200, per_s=60, window_at=app_now().timestamp() - 30, spent_before=150
        )  # fmt: skip
    for number in range(38):
        clinic = add_tenant(
            agency=people.agency, slug=f"c{number}", name=f"{NAMES[number % len(NAMES)]} {number}", actor="ana"
        )
        if number % 9 == 8:
            continue
        given = dict(states[number % len(states)])
        held, state = int(given.pop("held", 0)), given.pop("state", "")
        own = make_flow(clinic, **given)
        hold_many(own, held * number)
        if state:
            with tenant_tx(clinic.pk):
                Connection.objects.filter(vendor="shopify").update(state=state, state_code="shopify.auth.rejected")
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    ana.goto("/agency/")
    ana.looks_right("dashboard-agency")
    ana.goto("/agency/?clinic=harbour-physio")
    ana.looks_right("dashboard-agency-clinic")
    ana.shot("dashboard-agency-clinic-whole", whole=True)
    ana.goto("/agency/integrations/delivery/")
    ana.looks_right("list-delivery-agency")
    ana.goto("/agency/tenants/auditentry/")
    ana.looks_right("list-audit-agency")


NAMES = (
    "Harbour Street Physio",
    "Bondi Podiatry",
    "Gippsland Chiro & Massage",
    "Top End Allied Health",
    "Fremantle Feet",
)


def test_a_new_clinic_is_told_what_to_do(visit: Visit, people: House) -> None:
    olga = visit()
    olga.sign_in(people.olga)
    for name, path in (
        ("home", ""),
        ("desk", "integrations/delivery/"),
        ("log", "integrations/synclogentry/"),
        ("runs", "integrations/run/"),
        ("links", "integrations/link/"),
    ):
        olga.goto(f"/clinic/{path}")
        olga.looks_right(f"empty-{name}")
