"""A proposal and its rehearsal, as the agency, a clinic's manager and a viewer see them (B2). Pictures are looked at."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from integrations.models import Prediction, Rehearsal
from integrations.services import rehearsal
from tenants.walls import app_now, tenant_tx
from tests.browser.window import PHONE, Visit
from tests.conftest import House
from tests.stage import Stage, open_wide, stage

pytestmark = [pytest.mark.proof, pytest.mark.django_db(transaction=True, databases=["default", "owner"])]

LOOKS = pytest.mark.parametrize(
    ("width", "dark"),
    [(1280, False), (1280, True), (PHONE, False), (PHONE, True)],
    ids=["light", "dark", "phone", "phone-dark"],
)
MANY = 10_000


@pytest.fixture
def on_stage(people: House) -> Iterator[Stage]:
    """Patients who are customers, and three without an answer to the privacy question."""
    with stage(people.harbour) as made:
        open_wide(made)
        for number in range(9):
            made.world.add_patient(
                first_name="mia", last_name="Chen", email=f"mia{number}@example.test", phone=f"0400 000 00{number}",
                accepted_privacy_policy=None if number % 3 == 0 else True,
            )  # fmt: skip
        made.sync()
        yield made


def newest(on_stage: Stage) -> Rehearsal:
    with tenant_tx(on_stage.tenant.pk):
        row: Rehearsal = Rehearsal.objects.get(pk=Rehearsal.objects.order_by("-pk").values_list("pk", flat=True)[0])
    return row


def swell(on_stage: Stage) -> None:
    """As if ten thousand records had been looked at."""
    row = newest(on_stage)
    with tenant_tx(on_stage.tenant.pk):
        Prediction.objects.bulk_create(
            Prediction(rehearsal_id=row.pk, source_key=f"9{number}", action="update", fields=["firstName"],
                       was_action="nothing", is_changed=True) for number in range(MANY - row.read)
        )  # fmt: skip
        more = MANY - row.read
        Rehearsal.objects.filter(pk=row.pk).update(
            read=MANY, updated=row.updated + more, changed=row.changed + more, is_cut=True,
            fields={"firstName": row.fields.get("firstName", 0) + more, "lastName": 12},
        )  # fmt: skip


@LOOKS
def test_a_change_is_rehearsed_published_and_rolled_back(
    visit: Visit, people: House, on_stage: Stage, width: int, dark: bool
) -> None:
    flow = f"integrations/flow/{on_stage.flow_id}"
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    ana.goto(f"/agency/{flow}/fields/")
    ana.page.click("summary:has-text('First name') >> nth=0")
    ana.page.select_option("#rule-0-step-1", "upper")
    ana.page.fill("[name=note]", "Names in capitals for the labels")
    ana.shot("rehearsal-fields", whole=True)
    ana.send("button:has-text('Rehearse first')")
    ana.looks_right("rehearsal-running")
    place = ana.page.url.replace(ana.origin, "")
    rehearsal.carry_through(on_stage.tenant.pk, newest(on_stage).pk)
    ana.goto(place)
    expect(ana.page.locator("body")).to_contain_text("MIA")
    ana.looks_right("rehearsal-done")
    ana.shot("rehearsal-done-whole", whole=True)
    vik = visit(width=width, dark=dark)
    vik.sign_in(people.vik)
    vik.goto(place.replace("/agency/", "/clinic/"))
    expect(vik.page.locator("body")).not_to_contain_text("MIA")
    assert vik.page.locator("button:has-text('Publish')").count() == 0
    vik.looks_right("rehearsal-viewer")
    vik.shot("rehearsal-viewer-whole", whole=True)
    swell(on_stage)
    ana.goto(f"{place}&page=3")
    ana.looks_right("rehearsal-many")
    ana.shot("rehearsal-many-whole", whole=True)
    ana.send("#publish >> xpath=ancestor::section >> button:has-text('Publish')")
    expect(ana.page.locator("body")).to_contain_text("Published as revision 2: First name")
    ana.send("button:has-text('Rehearse it first') >> nth=0")
    with tenant_tx(on_stage.tenant.pk):
        rehearsal.stop(newest(on_stage).pk, app_now())
    ana.page.reload()
    ana.settle()
    ana.looks_right("rehearsal-stopped")
    ana.goto(f"/agency/{flow}/revisions/")
    ana.looks_right("rehearsal-revisions")
    ana.send("button:has-text('Publish this one again') >> nth=0")
    expect(ana.page.locator("body")).to_contain_text("Published as revision 3")
    ana.goto(f"/agency/{flow}/revisions/")
    ana.send("a:has-text('Proposal')")
    ana.looks_right("rehearsal-behind")
    ana.send("button:has-text('Take back')")


@LOOKS
def test_a_manager_rehearses_a_setting_and_publishes_it(
    visit: Visit, people: House, on_stage: Stage, width: int, dark: bool
) -> None:
    flow = f"integrations/flow/{on_stage.flow_id}"
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    olga.goto(f"/clinic/{flow}/settings/")
    olga.page.check("[name=privacy_unknown][value=skip]")
    olga.send("button:has-text('Rehearse first')")
    rehearsal.carry_through(on_stage.tenant.pk, newest(on_stage).pk)
    olga.page.reload()
    olga.settle()
    expect(olga.page.locator("body")).to_contain_text("Why records would not go through")
    olga.shot("rehearsal-manager-whole", whole=True)
    olga.send("#publish >> xpath=ancestor::section >> button:has-text('Publish')")
    expect(olga.page.locator("body")).to_contain_text("Published as revision 2")
