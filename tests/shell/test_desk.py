"""What people decide on the error desk (ask 5, C08, C14, C17, K37)."""

from datetime import timedelta

import pytest

from integrations.models import BUCKETS, Delivery, Flow, Run
from integrations.services import desk
from tenants.models import AuditEntry, Tenant
from tenants.walls import agency_tx, app_now, tenant_tx
from tests.conftest import House
from tests.desk_rows import hold, hold_many, make_flow, make_link

pytestmark = pytest.mark.django_db


@pytest.fixture
def flow(harbour: Tenant) -> Flow:
    return make_flow(harbour)


def counts(flow: Flow) -> dict[str, int]:
    """The run's counts, which must add up."""
    run = Run.objects.get(flow=flow)
    assert run.read == sum(getattr(run, bucket) for bucket in BUCKETS)
    return {bucket: getattr(run, bucket) for bucket in BUCKETS if getattr(run, bucket)}


def test_a_retry_puts_the_record_back_in_the_outbox_and_the_run_counts_follow(flow: Flow) -> None:
    held = hold(flow, "1", tries=7, code="http.timeout")
    with tenant_tx(flow.tenant_id, actor="olga"):
        assert desk.retry(Delivery.objects.filter(pk=held.pk)) == 1
        again = Delivery.objects.get(pk=held.pk)
        assert (again.state, again.tries, again.code, again.held_at) == ("waiting", 0, "", None)
        assert again.not_before <= app_now()
        assert again.sealed_draft is not None
        assert counts(flow) == {"waiting": 1}
        audit = AuditEntry.objects.get(action="delivery.retried")
    assert (audit.actor, audit.diff) == ("olga", {"record": "1", "codes": {"http.timeout": 1}})


def test_a_second_press_does_nothing(flow: Flow) -> None:
    held = hold(flow, "1")
    with tenant_tx(flow.tenant_id):
        assert desk.retry(Delivery.objects.filter(pk=held.pk)) == 1
        assert desk.retry(Delivery.objects.filter(pk=held.pk)) == 0
        assert counts(flow) == {"waiting": 1}


def test_many_go_back_at_once_by_filter_and_one_entry_says_how_many(flow: Flow) -> None:
    hold_many(flow, 40)
    with tenant_tx(flow.tenant_id):
        of_a_kind = Delivery.objects.filter(code="match.several")
        assert desk.kinds_of_trouble(of_a_kind) == {"match.several": 5}
        assert desk.retry(of_a_kind) == 5
        assert counts(flow) == {"held": 35, "waiting": 5}
        assert AuditEntry.objects.get(action="delivery.retried").diff == {"records": 5, "codes": {"match.several": 5}}


def test_the_agency_retries_across_clinics_with_one_entry_each(house: House, flow: Flow) -> None:
    other = make_flow(house.ridge)
    hold(flow, "1")
    hold(other, "1")
    with agency_tx([house.harbour.pk, house.ridge.pk], actor="ana", reason="agency site"):
        assert desk.retry(Delivery.objects.all()) == 2
        assert AuditEntry.objects.filter(action="delivery.retried").count() == 2


def test_another_clinics_delivery_is_not_there_to_be_retried(house: House, flow: Flow) -> None:
    foreign = hold(make_flow(house.ridge), "1")
    with tenant_tx(house.harbour.pk):
        assert desk.retry(Delivery.objects.filter(pk=foreign.pk)) == 0
    with tenant_tx(house.ridge.pk):
        assert Delivery.objects.get(pk=foreign.pk).state == "held"


def test_the_chosen_customer_is_kept_and_the_record_sent_on(flow: Flow) -> None:
    held = hold(flow, "1", candidates=["71", "72"])
    with tenant_tx(flow.tenant_id):
        held = Delivery.objects.select_related("flow").get(pk=held.pk)
        desk.choose_candidate(held, target_key="72")
        chosen = Delivery.objects.get(pk=held.pk)
        assert (chosen.state, chosen.decision) == ("waiting", {"chosen": "72"})
        assert AuditEntry.objects.get(action="delivery.chosen").diff["chosen"] == "72"


def test_a_customer_who_is_somebody_elses_cannot_be_chosen(flow: Flow) -> None:
    make_link(flow, "55", "72")
    held = hold(flow, "1", candidates=["72"])
    with tenant_tx(flow.tenant_id):
        held = Delivery.objects.select_related("flow").get(pk=held.pk)
        with pytest.raises(desk.Refused, match="72 is already linked to 55"):
            desk.choose_candidate(held, target_key="72")
        assert Delivery.objects.get(pk=held.pk).state == "held"
        assert counts(flow) == {"held": 1}


def test_a_record_that_is_linked_elsewhere_is_not_chosen_away(flow: Flow) -> None:
    make_link(flow, "1", "70")
    held = hold(flow, "1", candidates=["72"])
    with tenant_tx(flow.tenant_id), pytest.raises(desk.Refused, match="already linked to 70"):
        desk.choose_candidate(Delivery.objects.select_related("flow").get(pk=held.pk), target_key="72")


@pytest.mark.parametrize("key", ["", "7 2", 'x"y', "7" * 300])
def test_what_is_no_key_is_refused(flow: Flow, key: str) -> None:
    held = hold(flow, "1")
    with tenant_tx(flow.tenant_id), pytest.raises(desk.Refused):
        desk.choose_candidate(Delivery.objects.select_related("flow").get(pk=held.pk), target_key=key)


def test_a_decision_on_a_record_that_was_replaced_meanwhile_is_refused(flow: Flow) -> None:
    held = hold(flow, "1", candidates=["72"])
    with tenant_tx(flow.tenant_id):
        seen = Delivery.objects.select_related("flow").get(pk=held.pk)
        Delivery.objects.filter(pk=held.pk).update(state="done", outcome="superseded")
        with pytest.raises(desk.Refused, match="somebody was faster"):
            desk.choose_candidate(seen, target_key="72")


def test_the_shared_email_is_left_out_on_request(flow: Flow) -> None:
    held = hold(flow, "1", candidates=["72"])
    with tenant_tx(flow.tenant_id):
        held = Delivery.objects.select_related("flow").get(pk=held.pk)
        assert desk.may_leave_out(held) == ("email",)
        desk.create_without(held, fields=desk.may_leave_out(held))
        assert Delivery.objects.get(pk=held.pk).decision == {"drop": ["email"]}
        assert AuditEntry.objects.get(action="delivery.sent_without").diff["left_out"] == ["email"]


def test_what_nobody_shares_cannot_be_left_out(flow: Flow) -> None:
    held = hold(flow, "1", code="record.email_missing")
    with tenant_tx(flow.tenant_id):
        held = Delivery.objects.select_related("flow").get(pk=held.pk)
        assert desk.may_leave_out(held) == ()
        with pytest.raises(desk.Refused):
            desk.create_without(held, fields=())


def test_an_ignored_record_is_off_the_desk_until_its_day(flow: Flow) -> None:
    held = hold(flow, "1")
    with tenant_tx(flow.tenant_id):
        until = app_now() + timedelta(days=30)
        assert desk.ignore(Delivery.objects.all(), reason="moved away", until=until) == 1
        assert not desk.on_desk(app_now()).exists()
        assert desk.on_desk(until + timedelta(seconds=1)).count() == 1
        assert counts(flow) == {"held": 1}
        assert AuditEntry.objects.get(action="delivery.ignored").reason == "moved away"
        assert desk.stop_ignoring(Delivery.objects.filter(pk=held.pk)) == 1
        assert desk.on_desk(app_now()).count() == 1


@pytest.mark.parametrize(("reason", "days"), [(" ", 30), ("moved away", -1)])
def test_ignoring_needs_a_reason_and_a_day_to_come(flow: Flow, reason: str, days: int) -> None:
    hold(flow, "1")
    with tenant_tx(flow.tenant_id), pytest.raises(desk.Refused):
        desk.ignore(Delivery.objects.all(), reason=reason, until=app_now() + timedelta(days=days))


def test_a_mass_change_is_approved_as_a_whole_and_the_flow_goes_on(flow: Flow) -> None:
    for number in range(12):
        hold(flow, str(number), code="guard.mass_change")
    other = hold(flow, "99")
    with tenant_tx(flow.tenant_id):
        Flow.objects.filter(pk=flow.pk).update(stopped_code="guard.mass_change")
        assert desk.approve_mass_change(Flow.objects.get(pk=flow.pk), reason="closing down") == 12
        assert Flow.objects.get(pk=flow.pk).stopped_code == ""
        assert Delivery.objects.get(pk=other.pk).state == "held"
        assert counts(flow) == {"held": 1, "waiting": 12}
