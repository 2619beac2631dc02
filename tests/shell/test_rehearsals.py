"""A rehearsal as work: what it reads, what it keeps, how it is rung for, stopped and told on a terminal (B2, C24)."""

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from integrations import errands
from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.core.rules import Rule
from integrations.flows.kind import Config
from integrations.models import Connection, Flow, Prediction, Rehearsal
from integrations.services import errands as registry
from integrations.services import proposals, rehearsal
from integrations.services.changes import OPERATOR, Refused
from tenants.walls import app_now, system_tx, tenant_tx
from tests.conftest import MovedClock
from tests.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

UPPER = Config(rules=(Rule("firstName", "first_name", ("single_line", "upper")),))


@pytest.fixture
def filled(on_stage: Stage) -> Stage:
    """Three patients who are customers, and one without an e-mail, who waits."""
    on_stage.set_flow(mode="live")
    for name in ("mia", "leo", "kim"):
        add(on_stage, name)
    add(on_stage, "ned", email=None)
    on_stage.sync()
    return on_stage


def add(on_stage: Stage, name: str, **given: Any) -> str:
    whole = {"first_name": name, "last_name": "Chen", "email": f"{name}@example.test", "accepted_privacy_policy": True}
    return on_stage.world.add_patient(**whole | given)


def begin(on_stage: Stage, config: Config = UPPER, **how: Any) -> Rehearsal:
    with tenant_tx(on_stage.tenant.pk):
        flow = Flow.objects.select_related("source", "target").get(pk=on_stage.flow_id)
        return rehearsal.begin(proposals.propose(flow, config, by=OPERATOR), now=app_now(), **how)


def ended(on_stage: Stage, row: Rehearsal) -> Rehearsal:
    return rehearsal.carry_through(on_stage.tenant.pk, row.pk, max_wait_s=0)


def rehearsed(on_stage: Stage, config: Config = UPPER, **how: Any) -> Rehearsal:
    return ended(on_stage, begin(on_stage, config, **how))


def predictions(on_stage: Stage, row: Rehearsal) -> list[Prediction]:
    with tenant_tx(on_stage.tenant.pk):
        return list(Prediction.objects.filter(rehearsal_id=row.pk).order_by("pk"))


def test_it_counts_what_would_change_by_record_and_by_field(filled: Stage) -> None:
    writes = filled.writes
    row = rehearsed(filled)
    assert (row.state, row.read, row.updated, row.held, row.changed, row.newly_held) == ("done", 4, 3, 1, 3, 0)
    assert row.fields == {"firstName": 3}
    assert filled.writes == writes


def test_what_would_newly_wait_is_counted_with_its_code(filled: Stage) -> None:
    """The shop refuses nobody here; the clinic's own setting would."""
    filled.world.edit_patient(add(filled, "una"), accepted_privacy_policy=None)
    filled.sync()
    row = rehearsed(filled, Config(settings={"privacy_unknown": "skip", "missing_email": "create"}))
    assert row.codes == {"record.privacy_unknown": 1}
    assert (row.created, row.skipped, row.changed) == (1, 1, 2)


def test_values_are_kept_of_a_few_and_sealed(filled: Stage) -> None:
    row = rehearsed(filled)
    made = predictions(filled, row)
    assert [one.sealed_sample is not None for one in made] == [True, True, True, False]
    with tenant_tx(filled.tenant.pk), connection.cursor() as cursor:
        cursor.execute("SELECT p::text, encode(p.sealed_sample, 'escape') FROM integrations_prediction p")
        assert "MIA" not in str(cursor.fetchall())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rehearsal, "SAMPLES", 1)
        again = rehearsed(filled)
    assert sum(one.sealed_sample is not None for one in predictions(filled, again)) == 1


def test_only_the_last_days_are_read_and_only_so_many(filled: Stage) -> None:
    add(filled, "old", created_at="2020-01-01T00:00:00Z", updated_at="2020-01-01T00:00:00Z")
    assert rehearsed(filled).read == 4
    row = rehearsed(filled, most=2)
    assert (row.read, row.is_cut, row.state) == (2, True, "done")
    assert rehearsed(filled, most=4).is_cut is False


def test_two_that_would_share_an_address_are_told_apart_across_pages(filled: Stage) -> None:
    """The first would be created, and the second would find it: as deliveries do, whatever page each stands on."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("integrations.connectors.cliniko.lists.PAGE_SIZE", 2)
        keys = [add(filled, "same", email="same@example.test") for _ in range(3)]
        row = rehearsed(filled)
    told = {one.source_key: (one.action, one.code) for one in predictions(filled, row)}
    shared = ("hold", "match.shared_email")
    assert [told[key] for key in keys] == [("create", ""), shared, shared]
    assert row.newly_held == 0


def test_it_is_rung_for_as_backfill_and_not_while_a_connection_rests(filled: Stage) -> None:
    row = begin(filled)
    with system_tx("test"):
        (ring,) = errands.due_rehearsals()
    assert (ring.tenant_id, ring.id, ring.backfill) == (filled.tenant.pk, row.pk, True)
    assert registry.task_of("rehearse") is errands.rehearse
    with tenant_tx(filled.tenant.pk):
        Connection.objects.filter(name="shop").update(state="paused")
    with system_tx("test"):
        assert errands.due_rehearsals() == []
    with tenant_tx(filled.tenant.pk):
        Connection.objects.filter(name="shop").update(state="ok")
    assert errands.rehearse(filled.tenant.pk, row.pk) == "end"
    with system_tx("test"):
        assert errands.due_rehearsals() == []


def test_an_outage_keeps_the_place_and_a_refusal_ends_it(filled: Stage, clock: MovedClock) -> None:
    filled.shopify.faults.add(Fault(FaultKind.STATUS, times=50, status=503))
    row = ended(filled, begin(filled))
    assert (row.state, row.read, row.code) == ("running", 0, "http.server_error")
    filled.shopify.faults.clear()
    clock.forward(timedelta(hours=1))
    assert ended(filled, row).state == "done"
    filled.shopify.faults.add(Fault(FaultKind.STATUS, times=50, status=401))
    row = rehearsed(filled)
    assert (row.state, row.read) == ("failed", 0) and row.code


def test_a_flow_is_rehearsed_by_one_at_a_time_and_by_the_same_again(filled: Stage) -> None:
    row = begin(filled)
    with tenant_tx(filled.tenant.pk):
        assert rehearsal.begin(row.proposal, now=app_now()).pk == row.pk
    with pytest.raises(Refused, match="under way"):
        begin(filled, Config(settings={"missing_email": "skip"}))
    with tenant_tx(filled.tenant.pk):
        assert rehearsal.stop(row.pk, app_now()) and not rehearsal.stop(row.pk, app_now())
    assert rehearsed(filled, Config(settings={"missing_email": "skip"})).state == "done"


def test_old_ones_go_with_what_they_foretold(filled: Stage, clock: MovedClock) -> None:
    row = rehearsed(filled)
    assert registry.errands() and rehearsal.remove_aged(filled.tenant.pk) == 0
    clock.forward(timedelta(days=31))
    assert rehearsal.remove_aged(filled.tenant.pk) == 1
    assert predictions(filled, row) == []


def told(*given: str) -> Any:
    out = StringIO()
    call_command("rehearse", *given, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_the_command_proposes_rehearses_and_prints_one_object(filled: Stage) -> None:
    where = ("patients-to-customers", "--tenant", filled.tenant.slug)
    one = told(*where, "--set", "missing_email=create", "--note", "why not")
    assert (one["state"], one["read"], one["changed"], one["created"]) == ("done", 4, 1, 1)
    ((record),) = one["records"]
    assert (record["now"], record["then"]["action"]) == ({"action": "hold", "code": "record.email_missing"}, "create")
    assert told(*where)["proposal"] == one["proposal"]
    out = StringIO()
    call_command("rehearse", *where, "--proposal", str(one["proposal"]), stdout=out, stderr=StringIO())
    assert "1 would change" in out.getvalue() and "hold [record.email_missing] -> create" in out.getvalue()


def test_the_command_says_why_it_could_not_run(on_stage: Stage) -> None:
    here = ("--tenant", on_stage.tenant.slug)
    for given in (
        ("nothing", *here),
        ("patients-to-customers", "--tenant", "nobody"),
        ("patients-to-customers", *here),
        ("patients-to-customers", *here, "--set", "missing_email"),
        ("patients-to-customers", *here, "--set", "missing_email=perhaps"),
        ("patients-to-customers", *here, "--revision", "9"),
    ):
        with pytest.raises(CommandError) as refused:
            call_command("rehearse", *given, stdout=StringIO())
        assert refused.value.returncode == 2, given
