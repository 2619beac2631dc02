"""The page of a proposal and the buttons that lead to it: who sees and does what, in constant queries (B2, AS8)."""

from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext

from integrations.flows.kind import Config
from integrations.models import Flow, Prediction, Proposal, Rehearsal
from integrations.services import configuration, proposals, rehearsal
from integrations.services.changes import OPERATOR
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, sign_in
from tests.shell.screens import page, post, text
from tests.shell.test_rehearsals import UPPER, add, begin, rehearsed
from tests.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

SETTINGS = {"missing_email": "create", "note": "for the newsletter"}


def act(client: Client, on_stage: Stage, proposal: int, do: str, site: str = "agency") -> Any:
    where = f"/{site}/integrations/flow/{on_stage.flow_id}/proposal/?id={proposal}"
    return client.post(where, {"do": do}, follow=True)


def settings_form(client: Client, on_stage: Stage, site: str) -> dict[str, str]:
    form = page(client, site, on_stage.flow_id, "settings").context["form"]
    return {name: field.initial or "" for name, field in form.fields.items()}


@pytest.fixture
def filled(on_stage: Stage) -> Stage:
    on_stage.set_flow(mode="live")
    for name in ("mia", "leo"):
        add(on_stage, name)
    on_stage.sync()
    return on_stage


def test_rehearse_first_keeps_the_form_as_a_proposal_and_publishes_nothing(filled: Stage, olga_at: Client) -> None:
    given = {**settings_form(olga_at, filled, "clinic"), **SETTINGS, "do": "rehearse", "revision": "1"}
    answer = post(olga_at, filled.flow_id, "settings", "clinic", **given)
    with tenant_tx(filled.tenant.pk):
        proposal, row = Proposal.objects.get(), Rehearsal.objects.get()
        assert Flow.objects.get(pk=filled.flow_id).revision_number == 1
    assert answer.url.endswith(f"/proposal/?id={proposal.pk}") and (proposal.note, row.state) == (
        SETTINGS["note"],
        "running",
    )
    assert "Under way." in text(olga_at.get(answer.url))
    assert f"Proposal {proposal.pk}" in text(page(olga_at, "clinic", filled.flow_id, "revisions"))
    rehearsal.carry_through(filled.tenant.pk, row.pk)
    refreshed = olga_at.get(f"{answer.url}&seen=running", headers={"HX-Request": "true"})
    assert refreshed.headers["HX-Refresh"] == "true"
    assert "Published as revision 2" in text(act(olga_at, filled, proposal.pk, "publish", "clinic"))


def test_a_viewer_reads_masked_values_and_does_nothing(filled: Stage, vik_at: Client, ana_at: Client) -> None:
    row = rehearsed(filled)
    where = {"id": str(row.proposal_id)}
    assert "MIA" in text(page(ana_at, "agency", filled.flow_id, "proposal", **where))
    said = text(page(vik_at, "clinic", filled.flow_id, "proposal", **where))
    assert "MIA" not in said and "M***" in said and 'name="do"' not in said
    for do in ("rehearse", "stop", "rebase", "publish", "withdraw"):
        assert act(vik_at, filled, row.proposal_id, do, "clinic").status_code == 403


def test_a_manager_may_rehearse_rules_and_leaves_publishing_to_the_agency(filled: Stage, olga_at: Client) -> None:
    row = rehearsed(filled)
    said = text(page(olga_at, "clinic", filled.flow_id, "proposal", id=str(row.proposal_id)))
    assert "Your agency publishes that." in said and 'value="publish"' not in said
    assert "only the agency may publish it" in text(act(olga_at, filled, row.proposal_id, "publish", "clinic"))


def test_it_warns_where_it_was_never_rehearsed_and_where_the_flow_moved_on(filled: Stage, ana_at: Client) -> None:
    with tenant_tx(filled.tenant.pk):
        flow = Flow.objects.select_related("source", "target").get(pk=filled.flow_id)
        proposal = proposals.propose(flow, UPPER, by=OPERATOR)
    where = {"id": str(proposal.pk)}
    assert "It was never rehearsed." in text(page(ana_at, "agency", filled.flow_id, "proposal", **where))
    with tenant_tx(filled.tenant.pk):
        row = rehearsal.begin(proposal, now=app_now())
    rehearsal.carry_through(filled.tenant.pk, row.pk)
    with tenant_tx(filled.tenant.pk):
        configuration.configure(flow, config=Config(settings={"missing_email": "skip"}), by=OPERATOR)
    said = text(page(ana_at, "agency", filled.flow_id, "proposal", **where))
    assert "The flow moved on meanwhile." in said and "It is out of date." in said and 'value="publish"' not in said
    assert "It departs from the published revision now." in text(act(ana_at, filled, proposal.pk, "rebase"))
    assert "Taken back. The flow runs as it did." in text(act(ana_at, filled, proposal.pk, "withdraw"))


def test_going_back_is_one_click_or_rehearsed_first(filled: Stage, ana_at: Client, olga_at: Client) -> None:
    with tenant_tx(filled.tenant.pk):
        flow = Flow.objects.select_related("source", "target").get(pk=filled.flow_id)
        configuration.configure(flow, config=UPPER, by=OPERATOR)
    assert post(olga_at, filled.flow_id, "revisions", "clinic", number="1").status_code == 403
    answer = post(ana_at, filled.flow_id, "revisions", number="1", do="rehearse")
    assert "/proposal/" in answer.url and "Back to revision 1" in text(ana_at.get(answer.url))
    post(ana_at, filled.flow_id, "revisions", number="1")
    with tenant_tx(filled.tenant.pk):
        assert Flow.objects.get(pk=filled.flow_id).revision_number == 3


def test_another_clinics_and_another_flows_proposal_is_absent(filled: Stage, house: House, olga_at: Client) -> None:
    row = begin(filled)
    rita = sign_in(house.rita)
    assert page(rita, "clinic", filled.flow_id, "proposal", id=str(row.proposal_id)).status_code == 302
    for other in ("0", "x", str(row.proposal_id + 1), "9" * 40):
        assert page(olga_at, "clinic", filled.flow_id, "proposal", id=other).status_code == 302
    other_flow = filled.join("products-to-products")
    assert page(olga_at, "clinic", other_flow, "proposal", id=str(row.proposal_id)).status_code == 302


def test_ten_thousand_records_take_no_more_questions_than_two(filled: Stage, ana_at: Client) -> None:
    row = rehearsed(filled)
    where = {"id": str(row.proposal_id)}
    page(ana_at, "agency", filled.flow_id, "proposal", **where)
    with CaptureQueriesContext(database) as few:
        page(ana_at, "agency", filled.flow_id, "proposal", **where)
    with tenant_tx(filled.tenant.pk):
        Prediction.objects.bulk_create(
            Prediction(
                rehearsal_id=row.pk, source_key=str(number), action="update", was_action="nothing", is_changed=True
            )
            for number in range(10_000)
        )
    with CaptureQueriesContext(database) as many:
        said = text(page(ana_at, "agency", filled.flow_id, "proposal", **where))
    assert "Page 1 of 201" in said and len(many) <= len(few)
