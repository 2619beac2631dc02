"""Repairs as people see them, from the choice to the undo; the pictures are looked at (K35, B7)."""

import json
from datetime import timedelta

import pytest

from integrations.models import Flow
from integrations.vault import open_vault
from reconciliation import repair
from reconciliation.models import Mismatch, Repair, RepairState, RepairStep, StepState, UndoState
from reconciliation.repairing import preview_place
from tenants.walls import app_now, tenant_tx
from tests.browser.window import PHONE, Visit
from tests.conftest import House
from tests.desk_rows import make_flow
from tests.report_rows import differ, done

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

LOOKS = [
    pytest.param(1280, False, id="light"),
    pytest.param(1280, True, id="dark", marks=pytest.mark.proof),
    pytest.param(PHONE, False, id="phone", marks=pytest.mark.proof),
    pytest.param(PHONE, True, id="phone-dark"),
]
CHANGES = [
    ["email", "mia.chan@example.com", "mia.chen@example.com"],
    ["phone", "", "+61 412 345 678"],
    ["address.city", "Melborne", "Melbourne"],
]


@pytest.fixture
def flow(people: House) -> Flow:
    flow: Flow = make_flow(people.harbour)
    report = done(flow, agree=1190, different=60)
    for number in range(60):
        differ(flow, report, f"14820193755503{number:02}")
    return flow


def looked_at(flow: Flow, by: str) -> Repair:
    """A repair that waits for approval; one record in ten needs nothing or is held."""
    with tenant_tx(flow.tenant_id):
        (row,) = repair.propose(repair.choose(Mismatch.objects.all()), by=by, now=app_now())
        vault = open_vault(flow.tenant_id)
        for number, step in enumerate(RepairStep.objects.filter(repair=row).order_by("pk")):
            if number % 10 == 2:
                step.state, step.action, step.code = StepState.LEFT, "hold", "record.email_missing"
            else:
                place = preview_place(row.pk, step.source_key)
                told = json.dumps(CHANGES[: 1 + number % 3]).encode()
                step.sealed_preview = vault.seal(told, bound_to=place)
                step.state, step.action = StepState.READY, "create" if number % 7 == 3 else "update"
            step.save()
        Repair.objects.filter(pk=row.pk).update(state=RepairState.PROPOSED)
    return row


def ended(row: Repair) -> None:
    with tenant_tx(row.tenant_id):
        steps = RepairStep.objects.filter(repair=row, state=StepState.READY)
        steps.update(state=StepState.IN_LINE, outcome="updated", sealed_before=b"x")
        steps = RepairStep.objects.filter(repair=row, action="create")
        steps.update(outcome="created", sealed_before=None)
        RepairStep.objects.filter(repair=row, pk__in=list(steps.values_list("pk", flat=True)[:2])).update(
            state=StepState.UNEQUAL, code="repair.still_unequal"
        )
        Repair.objects.filter(pk=row.pk).update(
            state=RepairState.DONE, approved_by="ana", approved_at=app_now(), ended_at=app_now(), in_line=52,
            unequal=2, undo_until=app_now() + timedelta(days=30),
        )  # fmt: skip


def went_back(row: Repair) -> None:
    with tenant_tx(row.tenant_id):
        done_steps = RepairStep.objects.filter(repair=row, sealed_before__isnull=False)
        done_steps.update(undo_state=UndoState.UNDONE)
        RepairStep.objects.filter(repair=row, outcome="created").update(
            undo_state=UndoState.KEPT, undo_code="repair.created"
        )
        some = list(done_steps.values_list("pk", flat=True)[:3])
        RepairStep.objects.filter(pk__in=some).update(
            undo_state=UndoState.PARTLY, undo_code="repair.changed_since", kept_fields=["phone"]
        )
        Repair.objects.filter(pk=row.pk).update(
            state=RepairState.UNDONE, undone=45, kept=9, undone_by="ana", undo_reason="the wrong list"
        )


@pytest.mark.parametrize(("width", "dark"), LOOKS)
def test_a_repair_is_readable_at_every_stage(visit: Visit, people: House, flow: Flow, width: int, dark: bool) -> None:
    row = looked_at(flow, by="sam")
    address = f"/clinic/reconciliation/repair/{row.pk}/change/"
    olga = visit(width=width, dark=dark)
    olga.sign_in(people.olga)
    olga.goto(address)
    olga.looks_right("row-repair-proposed")
    ended(row)
    olga.goto(address)
    olga.page.click("summary")
    olga.looks_right("row-repair-done")
    went_back(row)
    olga.goto(address)
    olga.looks_right("row-repair-undone")
    olga.goto("/clinic/reconciliation/repair/")
    olga.looks_right("list-repair")


def test_a_person_chooses_and_proposes(visit: Visit, people: House, flow: Flow) -> None:
    olga = visit()
    olga.sign_in(people.olga)
    olga.goto("/clinic/reconciliation/repair/")
    olga.looks_right("list-repair-empty")
    olga.goto("/clinic/reconciliation/mismatch/")
    olga.page.check("input[name=select_across]")
    olga.page.click("button[value=bring_in_line]")
    olga.settle()
    olga.looks_right("mismatch-confirm")
    olga.page.click("button[name=confirmed]")
    olga.settle()
    assert "Nothing is sent before somebody approves" in olga.page.inner_text("body")
    olga.looks_right("row-repair-previewing")


def test_who_proposed_a_large_one_sees_who_must_approve(visit: Visit, people: House, flow: Flow) -> None:
    row = looked_at(flow, by=people.olga.username)
    olga = visit(width=PHONE)
    olga.sign_in(people.olga)
    olga.goto(f"/clinic/reconciliation/repair/{row.pk}/change/")
    olga.looks_right("row-repair-second")
    assert not olga.page.query_selector("button[value=approve]")


@pytest.mark.proof
def test_a_viewer_sees_values_masked(visit: Visit, people: House, flow: Flow) -> None:
    row = looked_at(flow, by="sam")
    vik = visit()
    vik.sign_in(people.vik)
    vik.goto(f"/clinic/reconciliation/repair/{row.pk}/change/")
    vik.looks_right("row-repair-viewer")
