"""How fresh a flow's target is, in a sentence on its overview (A20)."""

from datetime import timedelta

import pytest
from django.test import Client

from integrations.models import Delivery, Flow, Run
from tenants.walls import app_now, tenant_tx
from tests.shell.screens import page, text
from tests.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


def deliver(on_stage: Stage, seconds: list[float]) -> None:
    """Changes that took so long from the source to the target."""
    with tenant_tx(on_stage.tenant.pk):
        flow, now = Flow.objects.get(), app_now()
        run = Run.objects.create(flow=flow, state="done", started_at=now)
        Delivery.objects.bulk_create(
            Delivery(
                flow=flow, run=run, target_id=flow.target_id, source_key=str(number), state="done", outcome="updated",
                not_before=now, done_at=now, changed_at=now - timedelta(seconds=took),
            )
            for number, took in enumerate(seconds)
        )  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "sentence"),
    [
        ([], "No change was delivered in the last 24 hours, so there is nothing to measure yet."),
        ([0.2], "The one change of the last 24 hours arrived within 1 s."),
        ([3.1, 4, 200], "All 3 changes of the last 24 hours arrived within 3 min 20 s, half within 4 s."),
        ([4.0] * 20 + [12] * 18 + [900] * 2, "19 of 20 changes arrive within 12 s, half within 4 s; 40 changes in the"),
    ],
    ids=["none", "one", "few", "many"],
)
def test_the_overview_says_how_soon_changes_arrive(
    on_stage: Stage, olga_at: Client, seconds: list[float], sentence: str
) -> None:
    on_stage.set_flow(mode="live")
    deliver(on_stage, seconds)
    assert sentence in text(page(olga_at, "clinic", on_stage.flow_id))


def test_a_flow_that_writes_nothing_measures_nothing(on_stage: Stage, olga_at: Client) -> None:
    assert "nothing to measure" not in text(page(olga_at, "clinic", on_stage.flow_id))


@pytest.mark.parametrize(("seconds", "words"), [(5, "less than a minute ago"), (200, "3 minutes ago")])
def test_the_newest_pass_is_told_beside_it(on_stage: Stage, olga_at: Client, seconds: int, words: str) -> None:
    on_stage.set_flow(mode="live", last_success_at=app_now() - timedelta(seconds=seconds))
    said = text(page(olga_at, "clinic", on_stage.flow_id)).replace("\xa0", " ")
    assert f"The newest pass ended {words}." in said
