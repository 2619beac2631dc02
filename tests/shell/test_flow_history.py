"""The tab "History": the agency reckons, begins, pauses, goes on and stops; clinics watch (A16, A23, K42)."""

from datetime import date, timedelta

import pytest
from django.test import Client

from integrations.models import Connection, Run
from integrations.services import backfill
from integrations.services.connections import save_credentials
from tenants.models import AuditEntry
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, sign_in
from tests.shell.screens import page, post, text
from tests.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

TAB = "backfill"


def fill(on_stage: Stage, many: int) -> None:
    for number in range(many):
        on_stage.world.add_patient(first_name="Mia", last_name="Chen", email=f"mia{number}@example.test")


def runs(on_stage: Stage) -> list[Run]:
    with tenant_tx(on_stage.tenant.pk):
        return list(Run.objects.filter(is_backfill=True).order_by("pk"))


def begin(on_stage: Stage, since: date | None = None) -> Run:
    with tenant_tx(on_stage.tenant.pk):
        return backfill.begin(on_stage.flow_id, since=since, now=app_now())


def test_the_agency_sees_how_long_it_takes_before_it_begins(on_stage: Stage, ana_at: Client) -> None:
    """The source is asked how much there is; nothing begins."""
    on_stage.set_flow(mode="live")
    fill(on_stage, 3)
    said = text(post(ana_at, on_stage.flow_id, TAB, do="estimate", reach="day", since="2026-01-01"))
    assert "3 records to read, in less than a minute." in said
    assert "only what was made since 1 January 2026 is written" in said
    assert runs(on_stage) == []


def test_a_source_that_does_not_answer_gives_no_estimate_and_still_may_be_begun(
    on_stage: Stage, ana_at: Client
) -> None:
    on_stage.set_flow(mode="live")
    with tenant_tx(on_stage.tenant.pk):
        save_credentials(Connection.objects.get(vendor="cliniko"), {"api_key": "bad-planted-key-au1"})
    said = text(post(ana_at, on_stage.flow_id, TAB, do="estimate", reach="all"))
    assert "There is no estimate:" in said and 'value="begin"' in said


def test_everything_there_is_comes_in_and_the_list_says_so(on_stage: Stage, ana_at: Client, olga_at: Client) -> None:
    on_stage.set_flow(mode="live", start="activation", activated_at=app_now() + timedelta(days=1))
    fill(on_stage, 3)
    on_stage.sync()
    assert on_stage.links() == {}
    post(ana_at, on_stage.flow_id, TAB, do="begin", reach="all")
    (run,) = runs(on_stage)
    assert (run.made_from, run.state) == (None, "running")
    with tenant_tx(on_stage.tenant.pk):
        entry = AuditEntry.objects.get(action="flow.backfill_begun")
    assert (entry.target, entry.actor_role) == (f"flow {on_stage.flow_id}", "agency_owner")
    assert entry.diff == {"run": run.pk, "since": "everything"}
    for client, site in ((ana_at, "agency"), (olga_at, "clinic")):
        assert "Bringing in history" in text(client.get(f"/{site}/integrations/flow/"))
    assert "Bringing in history" in text(olga_at.get("/clinic/"))
    on_stage.report()
    assert len(on_stage.links()) == 3
    said = page(olga_at, "clinic", on_stage.flow_id, TAB)
    assert said.context["standing"] is None
    (line,) = said.context["latest"]
    assert (line["run"].read, line["run"].created, line["word"]) == (3, 3, "Done")
    assert "Bringing in history" not in text(olga_at.get("/clinic/"))


def test_a_day_is_asked_for_and_counts_in_the_clinics_zone(on_stage: Stage, ana_at: Client) -> None:
    on_stage.set_flow(mode="live")
    assert "Choose the day." in text(post(ana_at, on_stage.flow_id, TAB, do="begin", reach="day", since=""))
    assert "a day that has been" in text(
        post(ana_at, on_stage.flow_id, TAB, do="begin", reach="day", since="2999-01-01")
    )
    assert runs(on_stage) == []
    post(ana_at, on_stage.flow_id, TAB, do="begin", reach="day", since="2026-07-01")
    (run,) = runs(on_stage)
    assert run.made_from is not None and run.made_from.isoformat() == "2026-06-30T14:00:00+00:00"
    assert "What was made since 1 July 2026" in text(page(ana_at, "agency", on_stage.flow_id, TAB))


def test_it_is_paused_goes_on_and_is_stopped(on_stage: Stage, ana_at: Client) -> None:
    on_stage.set_flow(mode="live")
    begin(on_stage)
    states = []
    for verb in ("pause", "resume", "stop"):
        post(ana_at, on_stage.flow_id, TAB, do=verb)
        states.append(runs(on_stage)[0].state)
    assert states == ["paused", "running", "stopped"]
    with tenant_tx(on_stage.tenant.pk):
        done = list(AuditEntry.objects.filter(action__startswith="flow.backfill").values_list("action", flat=True))
    assert sorted(done) == ["flow.backfill_paused", "flow.backfill_resumed", "flow.backfill_stopped"]
    late = ana_at.post(f"/agency/integrations/flow/{on_stage.flow_id}/{TAB}/", {"do": "stop"}, follow=True)
    assert "it had ended, or somebody was faster" in text(late)


def test_a_refusal_is_a_sentence(on_stage: Stage, ana_at: Client) -> None:
    off = text(post(ana_at, on_stage.flow_id, TAB, do="begin", reach="all"))
    assert "The flow is off. Set it to preview, pilot or live first." in off
    on_stage.set_flow(mode="live")
    begin(on_stage, date(2026, 7, 1))
    said = text(post(ana_at, on_stage.flow_id, TAB, do="begin", reach="all"))
    assert "A backfill with another beginning is under way." in said
    assert len(runs(on_stage)) == 1


@pytest.mark.parametrize("do", ["estimate", "begin", "pause", "resume", "stop"])
def test_clinics_watch_and_change_nothing(on_stage: Stage, olga_at: Client, vik_at: Client, do: str) -> None:
    on_stage.set_flow(mode="live")
    begin(on_stage)
    for client in (olga_at, vik_at):
        assert post(client, on_stage.flow_id, TAB, "clinic", do=do, reach="all").status_code == 403
        said = text(page(client, "clinic", on_stage.flow_id, TAB))
        assert 'name="do"' not in said and "Your agency pauses and stops it." in said
    assert [run.state for run in runs(on_stage)] == ["running"]


def test_the_numbers_say_how_far_it_is(on_stage: Stage, olga_at: Client) -> None:
    on_stage.set_flow(mode="live")
    run = begin(on_stage)
    with tenant_tx(on_stage.tenant.pk):
        Run.objects.filter(pk=run.pk).update(
            started_at=app_now() - timedelta(seconds=590), expected=12_000, read=4_500, created=3_000, waiting=1_500
        )
    shown = page(olga_at, "clinic", on_stage.flow_id, TAB)
    assert (shown.context["standing"].percent, shown.context["standing"].left) == (25, "about 30 min")
    assert "4,500 of 12,000" in text(shown) and "1,500" in text(shown)
    assert "25 %" in text(olga_at.get("/clinic/"))


def test_what_was_read_is_still_shown_while_it_is_written(on_stage: Stage, ana_at: Client) -> None:
    on_stage.set_flow(mode="live")
    run = begin(on_stage)
    with tenant_tx(on_stage.tenant.pk):
        Run.objects.filter(pk=run.pk).update(state="done", finished_at=app_now(), expected=10, read=10, waiting=10)
    said = text(page(ana_at, "agency", on_stage.flow_id, TAB))
    assert "All is read, the rest is being written" in said and 'value="pause"' not in said


def test_the_page_asks_anew_for_its_numbers_and_wholly_when_the_state_changed(on_stage: Stage, ana_at: Client) -> None:
    on_stage.set_flow(mode="live")
    begin(on_stage)
    address = f"/agency/integrations/flow/{on_stage.flow_id}/{TAB}/"
    same = ana_at.get(address, {"seen": "running"}, headers={"HX-Request": "true"})
    other = ana_at.get(address, {"seen": "paused"}, headers={"HX-Request": "true"})
    assert "HX-Refresh" not in same.headers and other.headers["HX-Refresh"] == "true"


def test_the_history_of_another_clinics_flow_is_absent(on_stage: Stage, house: House) -> None:
    on_stage.set_flow(mode="live")
    rita = sign_in(house.rita)
    assert page(rita, "clinic", on_stage.flow_id, TAB).status_code == 302
    assert post(rita, on_stage.flow_id, TAB, "clinic", do="begin", reach="all").status_code == 302
    assert runs(on_stage) == []
