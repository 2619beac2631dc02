"""A flow's history and value maps, as the agency and a clinic's manager see them. Pictures are looked at by a person."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.models import Delivery, Flow, Link, Run
from integrations.services import backfill
from tenants.walls import app_now, tenant_tx
from tests.browser import looking
from tests.browser.window import PHONE, Visit
from tests.conftest import House
from tests.stage import Stage, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

LOOKS = pytest.mark.parametrize(  # the two furthest apart are looked at each time
    ("width", "dark"),
    [
        (1280, False),
        pytest.param(1280, True, marks=pytest.mark.proof),
        pytest.param(PHONE, False, marks=pytest.mark.proof),
        (PHONE, True),
    ],
    ids=["light", "dark", "phone", "phone-dark"],
)


@pytest.fixture
def on_stage(people: House) -> Iterator[Stage]:
    with stage(people.harbour) as made:
        for number in range(8):
            made.world.add_patient(first_name="Mia", last_name="Chen", email=f"mia{number}@example.test")
        yield made


def begun(on_stage: Stage) -> None:
    """One backfill a quarter through, one stopped, one done."""
    with tenant_tx(on_stage.tenant.pk):
        flow, now = Flow.objects.get(pk=on_stage.flow_id), app_now()
        for days, state in ((40, "stopped"), (12, "done")):
            at = now - timedelta(days=days)
            Run.objects.create(
                flow=flow, is_backfill=True, state=state, started_at=at, finished_at=at + timedelta(minutes=days), read=4120,
                created=3800, updated=102, unchanged=193, held=25, made_from=at - timedelta(days=300),
            )  # fmt: skip
        run = backfill.begin(flow.pk, since=None, now=now)
        Run.objects.filter(pk=run.pk).update(
            started_at=now - timedelta(seconds=590), expected=12_000, read=4_500, created=3_000, waiting=1_500
        )


@LOOKS
def test_history_is_reckoned_begun_watched_and_stopped(
    visit: Visit, people: House, on_stage: Stage, width: int, dark: bool
) -> None:
    flow = f"integrations/flow/{on_stage.flow_id}"
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    olga.goto(f"/clinic/{flow}/backfill/")
    olga.looks_right("history-clinic-empty")
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    ana.goto(f"/agency/{flow}/backfill/")
    ana.looks_right("history-empty")
    ana.page.check("[name=reach][value=day]")
    ana.page.fill("[name=since]", "2026-07-01")
    ana.send("button:has-text('See how long it takes')")
    expect(ana.page.locator(".su-estimate")).to_contain_text("8 records to read")
    ana.shot("history-estimate", whole=True)
    ana.send("button:has-text('Begin')")
    ana.send("button:has-text('Pause')")
    ana.looks_right("history-paused")
    ana.send("button:has-text('Go on')")
    ana.page.click("summary:has-text('Stop it')")
    ana.send("button:has-text('Stop it for good')")
    expect(ana.page.locator("body")).to_contain_text("another one may begin")
    begun(on_stage)
    for window, site in ((ana, "agency"), (olga, "clinic")):
        window.goto(f"/{site}/{flow}/backfill/")
        window.looks_right(f"history-{site}")
        window.shot(f"history-{site}-whole", whole=True)
        window.goto(f"/{site}/{flow}/change/")
        window.looks_right(f"overview-{site}")
    olga.goto("/clinic/integrations/flow/")
    olga.looks_right("flows-under-way")


def test_the_numbers_move_by_themselves_and_keep_the_focus(visit: Visit, people: House, on_stage: Stage) -> None:
    begun(on_stage)
    ana = visit()
    ana.sign_in(people.ana)
    ana.goto(f"/agency/integrations/flow/{on_stage.flow_id}/backfill/")
    ana.page.focus("button:has-text('Pause')")
    with tenant_tx(on_stage.tenant.pk):
        Run.objects.filter(is_backfill=True, state="running").update(read=6_500, created=5_000)
    expect(ana.page.locator("#history-now")).to_contain_text("6,500", timeout=12_000)
    expect(ana.page.locator("button:has-text('Pause')")).to_be_focused()


@LOOKS
def test_a_value_without_a_line_is_mapped_and_tried(
    visit: Visit, people: House, on_stage: Stage, width: int, dark: bool
) -> None:
    on_stage.join("invoices-to-orders")
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    flow = f"/clinic/integrations/flow/{on_stage.flow_id}"
    olga.goto(f"{flow}/values/")
    olga.looks_right("values-empty")
    keys = [bills.add_invoice(on_stage.world, [{"price": "100"}], status=status) for status in (25, 25, 20, 10)]
    on_stage.sync()
    olga.goto(f"{flow}/values/")
    olga.looks_right("values")
    olga.shot("values-whole", whole=True)
    olga.page.select_option("select[aria-label='What 25 becomes']", "mark_paid")
    olga.page.fill("[name=asked]", str(keys[0]))
    olga.send("button:has-text('Try it')")
    expect(olga.page.locator(".su-trial")).to_contain_text("would be created")
    olga.shot("values-tried", whole=True)
    olga.page.fill("[name=add-status-key]", "60")
    olga.send("button:has-text('Publish')")
    expect(olga.page.locator("body")).to_contain_text("Choose what 60 becomes.")
    olga.looks_right("values-fault")
    olga.page.fill("[name=add-status-key]", "")
    olga.send("button:has-text('Publish')")
    expect(olga.page.locator("body")).to_contain_text("2 held records are tried again.")
    olga.looks_right("values-published")
    olga.goto(f"{flow}/settings/")
    olga.shot("settings", whole=True)
    vik = visit(width=width, dark=dark)
    vik.sign_in(people.vik)
    vik.goto(f"{flow}/values/")
    vik.looks_right("values-viewer")


def test_a_line_is_given_by_keyboard(visit: Visit, people: House, on_stage: Stage) -> None:
    on_stage.join("invoices-to-orders")
    bills.add_invoice(on_stage.world, [{"price": "100"}], status=25)
    on_stage.sync()
    olga = visit()
    olga.sign_in(people.olga)
    olga.goto(f"/clinic/integrations/flow/{on_stage.flow_id}/values/")
    names = looking.keyboard_path(olga.page, most=120)
    assert names.index("What 25 becomes") < names.index("What anything else becomes") < names.index("Publish")
    olga.page.focus("select[aria-label='What 25 becomes']")
    olga.page.keyboard.type("Leave out")
    olga.page.focus("button:has-text('Publish')")
    with olga.page.expect_navigation():
        olga.page.keyboard.press("Enter")
    expect(olga.page.locator("body")).to_contain_text("Published as revision 2: Invoice status")


@LOOKS
def test_an_order_is_followed_and_its_figures_are_explained(
    visit: Visit, people: House, on_stage: Stage, width: int, dark: bool
) -> None:
    on_stage.set_flow(mode="live")
    on_stage.join("invoices-to-orders")
    patient = str(next(iter(on_stage.world.patients)))
    invoice = bills.add_invoice(
        on_stage.world, [{"price": "90", "quantity": 2}, {"price": "33.33"}], patient_id=patient
    )
    wrong = bills.add_invoice(on_stage.world, [{"price": "90"}, {"price": "12.5", "rate": 0}])
    bills.edit_invoice(on_stage.world, str(wrong), total_amount="104.5")
    on_stage.report()
    bills.credit(on_stage.world, str(invoice))
    on_stage.report()
    with tenant_tx(on_stage.tenant.pk):
        link = Link.objects.get(source_key=str(invoice))
        held = Delivery.objects.get(state="held")
    for person, site in ((people.olga, "clinic"), (people.ana, "agency")):
        window = visit(width=width, dark=dark)
        window.sign_in(person)
        window.goto(f"/{site}/integrations/link/{link.pk}/change/")
        expect(window.page.locator(".su-trail-hops li")).to_have_count(3)
        window.looks_right(f"trail-{site}")
        window.shot(f"trail-{site}-whole", whole=True)
        window.goto(f"/{site}/integrations/delivery/{held.pk}/change/")
        window.looks_right(f"differs-{site}")
        window.page.click("text=Why does it differ?")
        window.settle()
        expect(window.page.locator(".su-explained")).to_contain_text("2.00 cannot be explained")
        window.looks_right(f"explained-{site}")
        window.shot(f"explained-{site}-whole", whole=True)
