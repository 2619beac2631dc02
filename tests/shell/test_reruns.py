"""Many held records tried again: a few first, then the rest, of one clinic or of all (B3, K36)."""

from datetime import timedelta

import pytest
from django.test import Client

from integrations import worker
from integrations.models import Delivery, Flow, Rerun, RerunState
from integrations.services import desk, reruns
from integrations.services.desk_choice import Chosen
from tenants.models import Tenant
from tenants.walls import agency_tx, app_now, system_tx, tenant_tx
from tests.conftest import House, MovedClock, sign_in
from tests.desk_rows import hold, hold_many, make_flow

pytestmark = pytest.mark.django_db

CODE = "field.conflict"


@pytest.fixture
def flow(harbour: Tenant) -> Flow:
    return make_flow(harbour)


def hold_all(flow: Flow, count: int, *, start: int = 0) -> None:
    for number in range(start, start + count):
        hold(flow, str(number), code=CODE, held_at=app_now() - timedelta(minutes=number + 1))


def begin(flow: Flow, **chosen: str) -> Rerun:
    with tenant_tx(flow.tenant_id, actor="olga"):
        reruns.begin(Chosen.of({"code": CODE, **chosen}), by="olga")
        return Rerun.objects.latest("pk")


def states(flow: Flow) -> dict[str, int]:
    with tenant_tx(flow.tenant_id):
        rows = list(Delivery.objects.values_list("state", flat=True))
    return {state: rows.count(state) for state in sorted(set(rows))}


def arrive(flow: Flow, state: str = "done", code: str = "") -> None:
    """What is on its way ends so."""
    with tenant_tx(flow.tenant_id):
        Delivery.objects.filter(state="waiting").update(
            state=state, outcome="updated" if state == "done" else "", code=code, held_at=app_now() if code else None
        )


def step(flow: Flow, row: Rerun) -> str:
    return reruns.carry_on(flow.tenant_id, row.pk)


def test_five_go_first_and_the_rest_once_these_went_through(flow: Flow, clock: MovedClock) -> None:
    hold_all(flow, 12)
    hold(flow, "other", code="match.several")
    row = begin(flow)
    assert (row.total, row.sent, len(row.canary)) == (12, 5, 5)
    assert states(flow) == {"held": 8, "waiting": 5}
    assert step(flow, row) == "canary", "they have not arrived"
    arrive(flow)
    assert [step(flow, row) for _ in range(3)] == ["ready", "running", "done"]
    assert states(flow) == {"done": 5, "held": 1, "waiting": 7}
    with tenant_tx(flow.tenant_id):
        row.refresh_from_db()
        assert (row.sent, row.total, row.state) == (12, 12, "done")


def test_the_oldest_go_first(flow: Flow) -> None:
    hold_all(flow, 8)
    row = begin(flow)
    with tenant_tx(flow.tenant_id):
        assert set(Delivery.objects.filter(pk__in=row.canary).values_list("source_key", flat=True)) == set("34567")


def test_nothing_more_is_sent_when_one_of_the_first_fails_and_it_says_why(flow: Flow) -> None:
    hold_all(flow, 12)
    row = begin(flow)
    with tenant_tx(flow.tenant_id):
        first = Delivery.objects.filter(pk__in=row.canary).first()
        Delivery.objects.filter(pk=first.pk).update(state="held", code="shopify.phone_invalid", held_at=app_now())
    assert step(flow, row) == "stopped"
    assert step(flow, row) == "over"
    arrive(flow)
    assert states(flow) == {"done": 4, "held": 8}
    with tenant_tx(flow.tenant_id):
        assert Rerun.objects.get().code == "shopify.phone_invalid"
    text = sign_in_olga(flow).get(f"/clinic/integrations/rerun/{row.pk}/change/").content.decode()
    assert "The first few failed, so the rest was not sent" in text
    assert "The shop does not accept this phone number." in text


def sign_in_olga(flow: Flow) -> Client:
    from django.contrib.auth.models import User

    return sign_in(User.objects.get(username="olga@example.test"))


def test_what_comes_back_or_is_held_meanwhile_is_not_sent_by_it(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reruns, "PAGE", 3)
    hold_all(flow, 12)
    row = begin(flow)
    arrive(flow)
    step(flow, row)
    assert step(flow, row) == "running"
    arrive(flow, "held", CODE)
    hold(flow, "new", code=CODE)
    for expected in ("running", "running", "done"):
        assert step(flow, row) == expected
    with tenant_tx(flow.tenant_id):
        row.refresh_from_db()
        assert (row.sent, reruns.came_back(row)) == (12, 4)


def test_a_worker_that_is_killed_between_pages_loses_nothing_and_sends_nothing_twice(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reruns, "PAGE", 2)
    hold_all(flow, 10)
    row = begin(flow)
    arrive(flow)
    step(flow, row)
    real = reruns.desk.retry
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):

        def die(rows: object, **given: object) -> int:
            real(rows, **given)
            raise KeyboardInterrupt

        killed.setattr(reruns.desk, "retry", die)
        step(flow, row)
    with tenant_tx(flow.tenant_id):
        row.refresh_from_db()
        assert (row.state, row.sent) == ("ready", 5)
    assert [step(flow, row) for _ in range(4)] == ["running", "running", "running", "done"]
    with tenant_tx(flow.tenant_id):
        row.refresh_from_db()
        assert row.sent == 10
    assert states(flow) == {"done": 5, "waiting": 5}


def test_of_many_clinics_five_go_first_in_all_and_all_stop_with_them(house: House, flow: Flow) -> None:
    """One fault in two clinics: fixed once, tried with five, then sent in both."""
    other = make_flow(house.ridge)
    hold_all(flow, 9)
    hold_all(other, 4)
    with agency_tx([house.harbour.pk, house.ridge.pk], actor="ana", reason="agency site"):
        series = reruns.begin(Chosen(code=CODE), by="ana")
        mine, theirs = Rerun.objects.filter(series=series).order_by("tenant__name")
    assert (len(mine.canary), len(theirs.canary)) == (3, 2)
    arrive(flow)
    assert step(flow, mine) == "ready"
    assert rung() == {(other.tenant_id, theirs.pk)}, "the first few of the other clinic are on their way"
    assert step(flow, mine) == "ready"
    arrive(other, "held", CODE)
    assert step(other, theirs) == "stopped"
    assert step(flow, mine) == "stopped"
    assert states(flow) == {"done": 3, "held": 6}
    with tenant_tx(flow.tenant_id):
        assert Rerun.objects.get().code == CODE


def rung() -> set[tuple[int, int]]:
    with system_tx("test"):
        return {(ring.tenant_id, ring.id) for ring in reruns.due()}


def test_the_worker_rings_for_it(flow: Flow) -> None:
    hold_all(flow, 7)
    row = begin(flow)
    assert ("rerun", row.pk) in {(kind, ring.id) for kind, ring in worker.look().waiting}
    assert worker.TASKS["rerun"](flow.tenant_id, row.pk) == "canary"
    assert rung() == set(), "looked after again in a moment"


def test_it_is_begun_from_the_list_with_what_is_chosen_there(flow: Flow, house: House) -> None:
    hold_many(flow, 80)
    olga = sign_in(house.olga)
    asked = {"action": "retry_chosen", "index": "0", "select_across": "1", "_selected_action": ["0"]}
    page = "/clinic/integrations/delivery/?code=match.several"
    text = olga.post(page, asked).content.decode()
    assert "10 records" in text and "5 go first." in text
    done = olga.post(page, {**asked, "confirmed": "1", "canary": "1"})
    with tenant_tx(flow.tenant_id):
        row = Rerun.objects.get()
    assert done.headers["Location"] == f"/clinic/integrations/rerun/{row.pk}/change/"
    assert (row.total, row.sent, row.chosen, row.author) == (10, 5, {"code": "match.several"}, "olga@example.test")
    assert "5 of 10 records are being tried again together" in olga.get(page).content.decode()
    shown = olga.get(done.headers["Location"]).content.decode()
    assert "5 records go first." in shown and 'data-refresh="3"' in shown
    olga.post(done.headers["Location"], {"do": "stop"})
    assert step(flow, row) == "over"
    assert "Somebody stopped" in olga.get(done.headers["Location"]).content.decode()


def test_a_viewer_begins_and_stops_nothing(flow: Flow, house: House) -> None:
    hold_all(flow, 7)
    row = begin(flow)
    vik = sign_in(house.vik)
    assert vik.post(f"/clinic/integrations/rerun/{row.pk}/change/", {"do": "stop"}).status_code == 403
    asked = {"action": "retry_chosen", "select_across": "1", "_selected_action": ["0"], "confirmed": "1", "canary": "1"}
    vik.post("/clinic/integrations/delivery/", asked)
    with tenant_tx(flow.tenant_id):
        assert Rerun.objects.get().state == RerunState.CANARY


def test_nothing_to_try_is_said(flow: Flow) -> None:
    with tenant_tx(flow.tenant_id), pytest.raises(desk.Refused):
        reruns.begin(Chosen(code=CODE), by="olga")
