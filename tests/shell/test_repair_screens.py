"""Repairs: who may propose, approve, decline and take back, what the screens show to whom, and what time does (B7, K35)."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from integrations import worker
from integrations.models import Delivery, Flow, Run
from integrations.services.desk import Refused
from integrations.vault import open_vault
from reconciliation import errands, repair
from reconciliation.models import Mismatch, Repair, RepairState, RepairStep, StepState
from reconciliation.repairing import preview_place
from tenants.models import AuditEntry
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, MovedClock, sign_in
from tests.desk_rows import make_flow
from tests.report_rows import MAIL, differ, done

pytestmark = pytest.mark.django_db
LISTED = "/clinic/reconciliation/mismatch/"
WHOLE = {"action": "bring_in_line", "_selected_action": "0", "select_across": "1", "index": "0"}


@pytest.fixture
def flow(house: House) -> Flow:
    return make_flow(house.harbour)


def proposed(flow: Flow, count: int = 2, *, by: str = "olga", start: int = 1) -> Repair:
    """A repair of so many records that was looked at."""
    report = done(flow, agree=1)
    for number in range(start, start + count):
        differ(flow, report, str(number))
    with tenant_tx(flow.tenant_id):
        (row,) = repair.propose(repair.choose(Mismatch.objects.all()), by=by, now=app_now())
        vault = open_vault(flow.tenant_id)
        for step in RepairStep.objects.filter(repair=row):
            told = json.dumps([["email", "old@example.com", MAIL]]).encode()
            step.sealed_preview = vault.seal(told, bound_to=preview_place(row.pk, step.source_key))
            step.state, step.action = StepState.READY, "update"
            step.save()
        Repair.objects.filter(pk=row.pk).update(state=RepairState.PROPOSED)
        return Repair.objects.get(pk=row.pk)


def address(row: Repair, site: str = "clinic") -> str:
    return f"/{site}/reconciliation/repair/{row.pk}/change/"


def body(response: Any) -> str:
    assert response.status_code == 200, response.status_code
    return str(response.content.decode())


def state(row: Repair) -> str:
    with tenant_tx(row.tenant_id):
        return str(Repair.objects.get(pk=row.pk).state)


# -- proposing


def test_bringing_in_line_asks_first_and_then_proposes(house: House, flow: Flow) -> None:
    report = done(flow, agree=1)
    differ(flow, report, "1")
    differ(flow, report, "1", field="lastName")
    differ(flow, report, "2", kind="duplicate", field="")
    client = sign_in(house.olga)
    asked = body(client.post(LISTED, WHOLE))
    assert "1 record can be brought in line" in asked and "A person decides about these" in asked
    with tenant_tx(flow.tenant_id):
        assert not Repair.objects.exists()
    answer = client.post(LISTED, {**WHOLE, "confirmed": "1"})
    with tenant_tx(flow.tenant_id):
        row = Repair.objects.get()
        assert (row.state, row.records, row.proposed_by) == ("previewing", 1, house.olga.username)
        assert not Delivery.objects.exists()
        assert AuditEntry.objects.filter(action="repair.proposed").exists()
    assert answer.headers["Location"] == address(row)
    assert "Being looked at" in body(client.get(address(row)))


def test_a_record_is_in_one_repair_at_a_time(flow: Flow) -> None:
    proposed(flow)
    with tenant_tx(flow.tenant_id):
        assert repair.choose(Mismatch.objects.all()).records == 0


def test_a_mismatch_leads_to_its_repair(house: House, flow: Flow) -> None:
    row = proposed(flow, 1)
    with tenant_tx(flow.tenant_id):
        mismatch = Mismatch.objects.get()
    page = body(sign_in(house.vik).get(f"/clinic/reconciliation/mismatch/{mismatch.pk}/change/"))
    assert address(row) in page


def test_nothing_is_proposed_for_a_flow_in_preview(house: House, flow: Flow) -> None:
    differ(flow, done(flow, agree=1), "1")
    with tenant_tx(flow.tenant_id):
        Flow.objects.filter(pk=flow.pk).update(mode="preview")
    sign_in(house.olga).post(LISTED, {**WHOLE, "confirmed": "1"})
    with tenant_tx(flow.tenant_id):
        assert not Repair.objects.exists()


def test_the_pulse_rings_for_a_repair_until_it_waits_for_a_person(flow: Flow) -> None:
    row = proposed(flow)
    assert not [ring for kind, ring in worker.look().waiting if kind == "repair"]
    with tenant_tx(flow.tenant_id):
        Repair.objects.update(state=RepairState.SENDING)
    assert [ring.id for kind, ring in worker.look().waiting if kind == "repair"] == [row.pk]


# -- approving


def test_approval_sends_ordinary_deliveries(house: House, flow: Flow) -> None:
    row = proposed(flow)
    sign_in(house.olga).post(address(row), {"do": "approve"})
    with tenant_tx(flow.tenant_id):
        sent = list(Delivery.objects.order_by("source_key"))
        run = Run.objects.get(trigger="repair")
        assert [(one.source_key, one.state, one.decision) for one in sent] == [
            ("1", "waiting", {"repair": row.pk}), ("2", "waiting", {"repair": row.pk}),
        ]  # fmt: skip
        entry = AuditEntry.objects.get(action="repair.approved")
        assert (entry.actor, entry.diff) == (house.olga.username, {"records": 2, "sent": 2})
    assert (run.read, run.waiting) == (2, 2)
    assert state(row) == RepairState.SENDING


def test_it_is_approved_once(house: House, flow: Flow) -> None:
    row = proposed(flow)
    for person in (house.olga, house.olga):
        sign_in(person).post(address(row), {"do": "approve"})
    with tenant_tx(flow.tenant_id):
        assert Delivery.objects.count() == 2
        with pytest.raises(Refused):
            repair.approve(row, by="ana", now=app_now())


@override_settings(SUTURE_REPAIR_ALONE_MAX=1)
def test_a_large_one_takes_somebody_else(house: House, flow: Flow) -> None:
    row = proposed(flow, by=house.olga.username)
    assert row.needs_second
    client = sign_in(house.olga)
    page = body(client.get(address(row)))
    assert 'value="approve"' not in page and "another manager of the clinic" in page
    client.post(address(row), {"do": "approve"})
    assert state(row) == RepairState.PROPOSED
    sign_in(house.ana).post(address(row, "agency"), {"do": "approve"})
    assert state(row) == RepairState.SENDING


@override_settings(SUTURE_REPAIR_ALONE_MAX=1)
def test_nobody_is_somebody_else_by_acting_as_them(flow: Flow) -> None:
    """AS21: who acts as a manager does not approve their own proposal, nor one that they made as somebody."""
    row = proposed(flow, by="ana")
    assert not repair.may_approve(row, "ana as olga")
    with tenant_tx(flow.tenant_id), pytest.raises(Refused):
        repair.approve(row, by="ana as olga", now=app_now())
    row.proposed_by = "ana as olga"
    assert not repair.may_approve(row, "olga") and not repair.may_approve(row, "ana") and repair.may_approve(row, "sam")


@override_settings(SUTURE_REPAIR_ALONE_MAX=2)
def test_one_at_the_bound_takes_nobody_else(flow: Flow) -> None:
    assert not proposed(flow).needs_second


def test_a_viewer_looks_with_values_masked_and_decides_nothing(house: House, flow: Flow) -> None:
    row, client = proposed(flow), sign_in(house.vik)
    page = body(client.get(address(row)))
    assert MAIL not in page and "m***@e***.com" in page and '<form method="post">' not in page.partition("su-detail")[2]
    for asked in ("approve", "decline", "undo"):
        assert client.post(address(row), {"do": asked, "reason": "x"}).status_code == 403
    assert MAIL in body(sign_in(house.olga).get(address(row)))


def test_another_clinics_repair_is_none(house: House, flow: Flow) -> None:
    row = proposed(flow)
    sign_in(house.rita).post(address(row), {"do": "approve"})
    assert state(row) == RepairState.PROPOSED


def test_declining_forgets_what_was_shown(house: House, flow: Flow) -> None:
    row = proposed(flow)
    sign_in(house.olga).post(address(row), {"do": "decline"})
    assert state(row) == RepairState.DECLINED
    with tenant_tx(flow.tenant_id):
        assert not RepairStep.objects.exclude(sealed_preview=None).exists()
        assert repair.choose(Mismatch.objects.all()).records == 2  # free for another one


# -- taking back


def test_taking_back_asks_why_and_only_once(house: House, flow: Flow) -> None:
    row, client = proposed(flow), sign_in(house.olga)
    with tenant_tx(flow.tenant_id):
        later = app_now() + timedelta(days=30)
        Repair.objects.update(state=RepairState.DONE, undo_until=later)
        RepairStep.objects.update(state=StepState.IN_LINE, outcome="updated", sealed_before=b"x")
    assert "2 records get back what was there before" in body(client.get(address(row)))
    client.post(address(row), {"do": "undo", "reason": " "})
    assert state(row) == RepairState.DONE
    client.post(address(row), {"do": "undo", "reason": "wrong list"})
    assert state(row) == RepairState.UNDOING
    with tenant_tx(flow.tenant_id):
        assert Repair.objects.get().undo_reason == "wrong list"
        assert AuditEntry.objects.get(action="repair.undone").reason == "wrong list"


def test_what_was_there_before_is_forgotten_in_time(flow: Flow, clock: MovedClock) -> None:
    row = proposed(flow)
    with tenant_tx(flow.tenant_id):
        RepairStep.objects.update(sealed_before=b"x", digests={"email": "d"}, outcome="updated")
        Repair.objects.update(state=RepairState.DONE, undo_until=app_now() + timedelta(days=30))
    clock.forward(timedelta(days=29))
    errands.remove_aged(flow.tenant_id)
    with tenant_tx(flow.tenant_id):
        assert RepairStep.objects.filter(sealed_before__isnull=False).count() == 2
    clock.forward(timedelta(days=2))
    errands.remove_aged(flow.tenant_id)
    with tenant_tx(flow.tenant_id):
        assert not RepairStep.objects.exclude(sealed_before=None, sealed_preview=None, digests={}).exists()
        row = Repair.objects.get()
        with pytest.raises(Refused, match="no longer kept"):
            repair.undo(row, by="olga", reason="late", now=app_now())
    clock.forward(timedelta(days=91))
    errands.remove_aged(flow.tenant_id)
    with tenant_tx(flow.tenant_id):
        assert not Repair.objects.exists()


def test_one_that_nobody_approves_lapses(flow: Flow, clock: MovedClock) -> None:
    row = proposed(flow)
    clock.forward(timedelta(days=8))
    errands.remove_aged(flow.tenant_id)
    assert state(row) == RepairState.LAPSED
    with tenant_tx(flow.tenant_id):
        assert not RepairStep.objects.exclude(sealed_preview=None).exists()


# -- the screens


def test_no_value_stands_in_the_tables_in_clear(flow: Flow) -> None:
    proposed(flow)
    with tenant_tx(flow.tenant_id), connection.cursor() as cursor:
        cursor.execute("SELECT t::text, encode(sealed_preview, 'escape') FROM reconciliation_repairstep t")
        assert "example.com" not in str(cursor.fetchall())


def test_a_page_costs_the_same_with_three_records_and_thirty(house: House, flow: Flow) -> None:
    client = sign_in(house.olga)

    def asked(url: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            body(client.get(url))
        return len(captured)

    small = proposed(flow, 3)
    asked(address(small))
    listed, page = asked("/clinic/reconciliation/repair/"), asked(address(small))
    large = proposed(flow, 27, start=10)
    assert (asked("/clinic/reconciliation/repair/"), asked(address(large))) == (listed, page)
    assert listed <= 22 and page <= 22


def test_records_are_shown_by_state_and_by_the_page(house: House, flow: Flow) -> None:
    row, client = proposed(flow, 30), sign_in(house.olga)
    with tenant_tx(flow.tenant_id):
        RepairStep.objects.filter(source_key="7").update(state=StepState.LEFT, code="record.email_missing")
    page = body(client.get(address(row)))
    assert "Page 1 of 2" in page and "29 records would be written" in page
    only = body(client.get(f"{address(row)}?only=left"))
    assert "This person has no e-mail address." in only and ">7<" in only and ">8<" not in only


def test_an_empty_list_says_what_to_do(house: House) -> None:
    assert "Nothing was repaired yet" in body(sign_in(house.olga).get("/clinic/reconciliation/repair/"))


@pytest.mark.proof
def test_of_ten_thousand_so_many_go_at_a_time_and_the_page_is_as_quick(house: House, flow: Flow) -> None:
    report, now = done(flow, agree=1), app_now()
    with tenant_tx(flow.tenant_id):
        Mismatch.objects.bulk_create(
            Mismatch(
                tenant_id=flow.tenant_id, flow=flow, report=report, kind="different", source_key=str(number), field="email",
                cause="hand", first_seen=now, last_seen=now,
            )
            for number in range(10_000)
        )  # fmt: skip
    client = sign_in(house.olga)
    assert "At most 5,000 go at a time" in body(client.post(LISTED, WHOLE))
    client.post(LISTED, {**WHOLE, "confirmed": "1"})
    with tenant_tx(flow.tenant_id):
        row = Repair.objects.get()
        RepairStep.objects.update(state=StepState.READY, action="update")
        Repair.objects.update(state=RepairState.PROPOSED)
    assert (row.records, row.needs_second) == (repair.MOST, True)
    started = time.perf_counter()
    assert "Page 1 of 200" in body(client.get(address(row)))
    assert time.perf_counter() - started < 0.5
    sign_in(house.ana).post(address(row, "agency"), {"do": "approve"})
    with tenant_tx(flow.tenant_id):
        assert Delivery.objects.filter(state="waiting").count() == repair.MOST
        assert repair.choose(Mismatch.objects.all()).records == repair.MOST  # the rest
