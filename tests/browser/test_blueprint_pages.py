"""Files of a flow's lines, and blueprints, as the agency and a clinic see them. Pictures are looked at by a person."""

from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect

from integrations.flows.kind import Config
from integrations.models import RolloutStep
from integrations.services import blueprints
from tenants.models import Tenant
from tenants.services import add_tenant
from tenants.walls import app_now, tenant_tx
from tests.blueprint_rows import OWNER, add_blueprint, add_flow, as_agency, carry_out_due
from tests.browser.window import DESK, PHONE, Visit
from tests.conftest import House

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


def looks(quick: str = "") -> pytest.MarkDecorator:
    """Four looks, of which `make test` takes at most one."""
    ways = {"light": (DESK, False), "dark": (DESK, True), "phone": (PHONE, False), "phone-dark": (PHONE, True)}
    return pytest.mark.parametrize(
        ("width", "dark"),
        [pytest.param(*way, id=name, marks=() if name == quick else pytest.mark.proof) for name, way in ways.items()],
    )


LINES = Config(
    value_maps={"status": {"25": "cancel", "26": "ignore", "*": "leave_unpaid"}}, removed=frozenset({"note"})
)
OWN = Config(value_maps={"status": {"25": "mark_paid"}})
FILES = {
    "good": "Value map;Value;Becomes\r\nInvoice status;25;Cancel\r\nInvoice status;Grün;Leave out\r\n".encode("cp1252"),
    "mixed": b"Value map,Value,Becomes\nInvoice status,20,Leave out\nInvoice status,26,Explode\nstatus,=1+1,hold\nstatus,10,leave_unpaid\nTaxes,1,x\n",
    "bad": b"Name,Price\n1,2\n",
}


@looks("phone-dark")
def test_a_file_is_looked_at_before_it_is_imported(
    visit: Visit, people: House, tmp_path: Path, width: int, dark: bool
) -> None:
    flow = f"/clinic/integrations/flow/{add_flow(people.harbour, config=OWN)}"
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    olga.goto(f"{flow}/values/")
    olga.looks_right("sheet-values")
    olga.page.click("text=Import a file")
    olga.settle()
    olga.looks_right("sheet-import")
    for name, data in FILES.items():
        path = tmp_path / f"{name}.csv"
        path.write_bytes(data)
        olga.page.set_input_files("[name=sheet]", path)
        olga.send("button:has-text('Show what it would do')")
        olga.shot(f"sheet-{name}-whole", whole=True)
        olga.looks_right(f"sheet-{name}")
        if name == "mixed":
            olga.send("button:has-text('Publish')")
            expect(olga.page.locator("body")).to_contain_text("Nothing was published: some lines were refused.")
            olga.looks_right("sheet-refused")
            olga.page.check("[name=good]")
            olga.send("button:has-text('Publish')")
            expect(olga.page.locator("body")).to_contain_text("Published as revision 3")
            olga.goto(f"{flow}/import/?what=values")


def many(house: House, count: int) -> list[Tenant]:
    names = ("Harbour", "Ridge", "Bayside", "Northcote", "Fremantle", "Kew", "St Kilda", "Toowong")
    clinics = [
        add_tenant(agency=house.agency, slug=f"clinic-{n}", name=f"{names[n % 8]} Allied Health {n}")
        for n in range(count)
    ]
    for number, clinic in enumerate(clinics):
        add_flow(clinic, config=OWN if number % 5 == 0 else Config())
    return clinics


@looks("light")
def test_a_blueprint_goes_from_its_lines_to_forty_clinics(visit: Visit, people: House, width: int, dark: bool) -> None:
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    flow_id = add_flow(people.harbour, config=OWN)
    clinics = [people.harbour, *many(people, 39)]
    made = add_blueprint(people.agency, LINES, *clinics, name="Invoices, as we do them")
    with as_agency(*clinics):
        for name in ("Podiatry", "Weekend clinics"):
            blueprints.add_blueprint(people.agency.pk, blueprints.FLOW_KINDS["patients-to-customers"], name, Config(), by=OWNER)  # fmt: skip
    add_flow(people.ridge)
    here = f"/agency/integrations/blueprint/{made.pk}"
    ana.goto(f"{here}/lines/")
    ana.shot("blueprint-lines-whole", whole=True)
    ana.looks_right("blueprint-lines")
    ana.goto(f"{here}/clinics/")
    ana.looks_right("blueprint-clinics")
    ana.goto(f"{here}/change/")
    ana.shot("blueprint-to-prepare-whole", whole=True)
    ana.looks_right("blueprint-to-prepare")
    ana.page.check("[name=flow] >> nth=0")
    ana.page.fill("[name=note]", "Closed invoices are left out")
    ana.send("button:has-text('Prepare version 1')")
    ana.looks_right("blueprint-prepared")
    ana.send("button:has-text('Publish to the first clinics')")
    carry_out_due()
    ana.goto(f"{here}/change/")
    ana.looks_right("blueprint-first")
    with as_agency(*clinics):
        rollout = blueprints.newest_rollout(made)
        assert rollout is not None
        RolloutStep.objects.filter(rollout=rollout, is_first=True).update(at=app_now() - timedelta(days=2))
    ana.goto(f"{here}/change/")
    ana.looks_right("blueprint-watched")
    ana.send("button:has-text('Publish to all the others')")
    carry_out_due()
    carry_out_due()
    ana.goto(f"{here}/change/")
    ana.shot("blueprint-done-whole", whole=True)
    ana.looks_right("blueprint-done")
    ana.goto(f"{here}/versions/")
    ana.looks_right("blueprint-versions")
    ana.goto("/agency/integrations/blueprint/")
    ana.looks_right("blueprints")
    with tenant_tx(people.harbour.pk):
        assert RolloutStep.objects.get(flow_id=flow_id).state == "done"


@looks()
def test_the_first_blueprint_is_made(visit: Visit, people: House, width: int, dark: bool) -> None:
    ana = visit(width=width, dark=dark)
    ana.sign_in(people.ana)
    ana.goto("/agency/integrations/blueprint/")
    ana.looks_right("blueprints-none")
    ana.page.click("text=Add a blueprint >> nth=0")
    ana.settle()
    ana.page.fill("[name=name]", "House rules")
    ana.looks_right("blueprint-add")
    ana.send("button:has-text('Make the blueprint')")
    ana.looks_right("blueprint-made")


@looks()
def test_a_flow_tells_whose_each_line_is(visit: Visit, people: House, width: int, dark: bool) -> None:
    flow_id = add_flow(people.harbour, config=OWN)
    made = add_blueprint(people.agency, LINES, people.harbour, name="Invoices, as we do them")
    with as_agency(people.harbour):
        blueprints.begin(blueprints.prepare(made, by=OWNER), by=OWNER)
    carry_out_due()
    for person, site in ((people.ana, "agency"), (people.olga, "clinic"), (people.vik, "clinic")):
        one = visit(width=width, dark=dark)
        one.sign_in(person)
        one.goto(f"/{site}/integrations/flow/{flow_id}/blueprint/")
        one.looks_right(f"flow-blueprint-{person.first_name.lower()}")
        one.goto(f"/{site}/integrations/flow/{flow_id}/values/")
        one.looks_right(f"flow-origins-{person.first_name.lower()}")
