"""The tab "Value maps": what was really met, lines in words, and held records tried again (C19)."""

from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext

from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.models import Delivery, Flow, SeenValue
from integrations.services import configured
from tenants.models import AuditEntry
from tenants.walls import app_now, tenant_tx
from tests.shell.screens import page, post, text
from tests.stage import Stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

KIND = "invoices-to-orders"
TAB = "values"


@pytest.fixture
def bills_on_stage(on_stage: Stage) -> Stage:
    """Two invoices of a status that nobody mapped, and one that is paid; read once."""
    on_stage.join(KIND)
    for status in (25, 25, 20):
        bill(on_stage, status)
    on_stage.sync()
    return on_stage


def bill(on_stage: Stage, status: int) -> str:
    return str(bills.add_invoice(on_stage.world, [{"price": "100", "rate": 0}], status=status))


def form_of(response: Any) -> dict[str, Any]:
    """The boxes as a browser would send them back unchanged, ``{value: what it becomes}`` put in later."""
    (shown,) = response.context["maps"]
    lines = {line.value: line.chosen for line in (*shown.lines, shown.rest)}
    return {"lines": lines, "revision": "1"}


def sent(given: dict[str, Any], **more: Any) -> dict[str, Any]:
    lines = given["lines"]
    boxes = {"map-status-key": list(lines), "map-status-value": list(lines.values()), "revision": given["revision"]}
    return {**boxes, **more}


def maps_of(on_stage: Stage) -> Any:
    with tenant_tx(on_stage.tenant.pk):
        return configured.config_of(Flow.objects.get(pk=on_stage.flow_id)).value_maps


def test_what_was_met_without_a_line_comes_first_with_what_waits_for_it(bills_on_stage: Stage, olga_at: Client) -> None:
    shown = page(olga_at, "clinic", bills_on_stage.flow_id, TAB)
    (status,) = shown.context["maps"]
    first, second = status.lines[:2]
    assert (first.words, first.is_unmapped, first.met.times, first.met.waiting) == ("25", True, 2, 2)
    assert (second.words, second.is_unmapped, second.met.times, second.chosen) == ("Paid (20)", False, 1, "mark_paid")
    assert {line.words for line in status.lines[2:]} == {"Open (10)", "Closed (30)", "Open (credit) (40)"}
    assert (status.rest.value, status.rest.chosen_words) == ("*", "Ask a person")
    body = text(shown)
    assert "No line yet" in body and "2 records wait" in body and "and try the 2 held ones again" in body
    assert "Like anything else: ask a person" in body


def test_a_line_is_given_and_the_held_records_go_through(bills_on_stage: Stage, olga_at: Client) -> None:
    given = form_of(page(olga_at, "clinic", bills_on_stage.flow_id, TAB))
    given["lines"]["25"] = "leave_unpaid"
    answer = olga_at.post(
        f"/clinic/integrations/flow/{bills_on_stage.flow_id}/{TAB}/",
        sent(given, again="1", note="25 is open"),
        follow=True,
    )
    assert "2 held records are tried again." in text(answer)
    assert maps_of(bills_on_stage) == {"status": {"25": "leave_unpaid"}}
    bills_on_stage.report()
    assert bills_on_stage.held() == {}
    with tenant_tx(bills_on_stage.tenant.pk):
        retried = AuditEntry.objects.get(action="delivery.retried")
    assert (retried.actor, retried.diff["records"]) == ("olga@example.test", 2)


def test_without_the_tick_nothing_held_is_touched(bills_on_stage: Stage, olga_at: Client) -> None:
    given = form_of(page(olga_at, "clinic", bills_on_stage.flow_id, TAB))
    given["lines"]["25"] = "leave_unpaid"
    post(olga_at, bills_on_stage.flow_id, TAB, "clinic", **sent(given))
    assert set(bills_on_stage.held().values()) == {"unmapped_value"}


def test_only_records_that_wait_for_a_line_of_this_flow_are_tried_again(bills_on_stage: Stage, olga_at: Client) -> None:
    with tenant_tx(bills_on_stage.tenant.pk):
        one = Delivery.objects.filter(state="held").first()
        assert one is not None
        Delivery.objects.filter(pk=one.pk).update(code="invoice.total_differs")
    given = form_of(page(olga_at, "clinic", bills_on_stage.flow_id, TAB))
    post(olga_at, bills_on_stage.flow_id, TAB, "clinic", **sent(given, again="1"))
    assert set(bills_on_stage.held().values()) == {"invoice.total_differs"}


def test_a_value_that_was_never_met_gets_a_line(bills_on_stage: Stage, olga_at: Client) -> None:
    given = form_of(page(olga_at, "clinic", bills_on_stage.flow_id, TAB))
    added = {"add-status-key": " 60 ", "add-status-value": "ignore"}
    assert post(olga_at, bills_on_stage.flow_id, TAB, "clinic", **sent(given, **added)).status_code == 302
    assert maps_of(bills_on_stage) == {"status": {"60": "ignore"}}
    (status,) = page(olga_at, "clinic", bills_on_stage.flow_id, TAB).context["maps"]
    line = next(line for line in status.lines if line.value == "60")
    assert (line.chosen_words, line.met.times, line.is_unmapped) == ("Leave out", 0, False)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("60", "", "Choose what 60 becomes."),
        ("", "ignore", "Type the value that it is for."),
        ("20", "ignore", "20 has a line already."),
        ("*", "ignore", "* has a line already."),
    ],
)
def test_half_a_line_is_told_and_nothing_is_published(
    bills_on_stage: Stage, olga_at: Client, key: str, value: str, sentence: str
) -> None:
    given = form_of(page(olga_at, "clinic", bills_on_stage.flow_id, TAB))
    given["lines"]["25"] = "cancel"
    added = {"add-status-key": key, "add-status-value": value}
    answer = post(olga_at, bills_on_stage.flow_id, TAB, "clinic", **sent(given, **added))
    assert sentence in text(answer) and "Not published yet" in text(answer)
    assert maps_of(bills_on_stage) == {}
    (status,) = answer.context["maps"]
    assert [line.chosen for line in status.lines if line.value == "25"] == ["cancel"]


def test_an_action_that_does_not_exist_is_refused_beside_its_line(bills_on_stage: Stage, olga_at: Client) -> None:
    given = form_of(page(olga_at, "clinic", bills_on_stage.flow_id, TAB))
    given["lines"]["25"] = "burn"
    answer = post(olga_at, bills_on_stage.flow_id, TAB, "clinic", **sent(given))
    (status,) = answer.context["maps"]
    (line,) = [line for line in status.lines if line.value == "25"]
    assert "choose one of" in line.faults[0] and answer.context["faults"] == []
    assert maps_of(bills_on_stage) == {}


def test_a_line_taken_away_goes_like_anything_else_again(bills_on_stage: Stage, olga_at: Client) -> None:
    given = form_of(page(olga_at, "clinic", bills_on_stage.flow_id, TAB))
    given["lines"] |= {"25": "cancel", "20": "close", "*": "ignore"}
    post(olga_at, bills_on_stage.flow_id, TAB, "clinic", **sent(given))
    assert maps_of(bills_on_stage) == {"status": {"25": "cancel", "20": "close", "*": "ignore"}}
    given["lines"] |= {"25": "", "20": "mark_paid", "*": "hold"}
    post(olga_at, bills_on_stage.flow_id, TAB, "clinic", **sent(given | {"revision": "2"}))
    assert maps_of(bills_on_stage) == {}


def test_a_form_without_the_map_leaves_it_as_it_was(bills_on_stage: Stage, olga_at: Client) -> None:
    given = form_of(page(olga_at, "clinic", bills_on_stage.flow_id, TAB))
    given["lines"]["25"] = "cancel"
    post(olga_at, bills_on_stage.flow_id, TAB, "clinic", **sent(given))
    post(olga_at, bills_on_stage.flow_id, TAB, "clinic", note="nothing")
    assert maps_of(bills_on_stage) == {"status": {"25": "cancel"}}


def test_two_people_at_the_same_map_do_not_overwrite_each_other(
    bills_on_stage: Stage, olga_at: Client, ana_at: Client
) -> None:
    given = form_of(page(olga_at, "clinic", bills_on_stage.flow_id, TAB))
    given["lines"]["25"] = "cancel"
    post(olga_at, bills_on_stage.flow_id, TAB, "clinic", **sent(given))
    given["lines"]["25"] = "ignore"
    late = post(ana_at, bills_on_stage.flow_id, TAB, **sent(given))
    assert "Somebody published revision 2 meanwhile" in text(late)
    assert maps_of(bills_on_stage) == {"status": {"25": "cancel"}}


def test_a_viewer_sees_the_lines_and_changes_none(bills_on_stage: Stage, vik_at: Client) -> None:
    body = text(page(vik_at, "clinic", bills_on_stage.flow_id, TAB))
    assert "Mark as paid" in body and "<select" not in body and 'name="again"' not in body
    given = sent({"lines": {"25": "cancel"}, "revision": "1"})
    assert post(vik_at, bills_on_stage.flow_id, TAB, "clinic", **given).status_code == 403


def test_the_page_asks_as_much_for_many_values_as_for_few(bills_on_stage: Stage, olga_at: Client) -> None:
    address = f"/clinic/integrations/flow/{bills_on_stage.flow_id}/{TAB}/"
    counts = []
    for start, many in ((100, 3), (1000, 300)):
        with tenant_tx(bills_on_stage.tenant.pk):
            flow = Flow.objects.get(pk=bills_on_stage.flow_id)
            SeenValue.objects.bulk_create(
                SeenValue(flow=flow, name="status", source_value=str(start + number), times=1, last_at=app_now())
                for number in range(many)
            )
        olga_at.get(address)
        with CaptureQueriesContext(database) as captured:
            shown = olga_at.get(address)
        counts.append(len(captured))
    assert counts[0] == counts[1]
    (status,) = shown.context["maps"]
    assert status.left_off == 104 and "104 rarer values" in text(shown)


def test_a_map_is_tried_on_a_real_record_before_it_is_published(bills_on_stage: Stage, olga_at: Client) -> None:
    key = next(key for key, code in bills_on_stage.held().items() if code == "unmapped_value")
    given = form_of(page(olga_at, "clinic", bills_on_stage.flow_id, TAB))
    as_is = post(olga_at, bills_on_stage.flow_id, TAB, "clinic", **sent(given, do="try", asked=key))
    assert as_is.context["trial"]["action"] == "hold"
    given["lines"]["25"] = "mark_paid"
    answer = post(olga_at, bills_on_stage.flow_id, TAB, "clinic", **sent(given, do="try", asked=key))
    trial = answer.context["trial"]
    (payment,) = [line for line in trial["lines"] if line.source == "Paid or unpaid, by the status"]
    assert (trial["action"], payment.after) == ("create", "paid")
    assert "Not published yet" in text(answer)
    assert maps_of(bills_on_stage) == {} and len(bills_on_stage.shop.orders) == 1


def test_the_desk_says_which_value_a_record_waits_for(bills_on_stage: Stage, olga_at: Client) -> None:
    assert "Invoice status 25" in text(olga_at.get("/clinic/integrations/delivery/"))


def test_a_viewer_tries_the_published_map_only(bills_on_stage: Stage, vik_at: Client) -> None:
    key = next(key for key, code in bills_on_stage.held().items() if code == "unmapped_value")
    given = sent({"lines": {"25": "mark_paid"}, "revision": "1"}, do="try", asked=key)
    answer = post(vik_at, bills_on_stage.flow_id, TAB, "clinic", **given)
    assert answer.context["trial"]["action"] == "hold"


def test_settings_are_tried_on_a_real_record_before_they_are_published(on_stage: Stage, olga_at: Client) -> None:
    patient = str(on_stage.world.add_patient(first_name="Mia", last_name="Chen", email=None))
    kind = page(olga_at, "clinic", on_stage.flow_id, "settings").context["kind"]
    given = kind.default_settings() | {"missing_email": "skip", "do": "try", "asked": patient}
    answer = post(olga_at, on_stage.flow_id, "settings", "clinic", **given)
    assert answer.context["trial"]["action"] == "skip"
    assert "Not published yet" in text(answer)
    with tenant_tx(on_stage.tenant.pk):
        assert configured.config_of(Flow.objects.get()).settings == {}
    wrong = post(olga_at, on_stage.flow_id, "settings", "clinic", **(given | {"missing_email": "perhaps"}))
    assert wrong.context["trial"] is None and "Select a valid choice" in text(wrong)
