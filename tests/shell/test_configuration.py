"""The one way to change a configuration: what is refused, what is frozen, and who may (C03, C19, C27)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from integrations.core.records import OnConflict, Write
from integrations.core.rules import Rule
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config, FlowKind, ValueMapSpec
from integrations.models import Connection, Flow, FlowRevision, Link, MappingRule, Mode
from integrations.services import configuration, configured, connection_setup
from integrations.services.changes import By, Refused
from integrations.services.jobs import load_job
from tenants.models import AuditEntry, Role
from tenants.walls import app_now
from tests.shell.conftest import connect
from tests.stage import KIND

pytestmark = pytest.mark.django_db

ANA = By("ana@example.test", Role.AGENCY_OWNER)
SAM = By("sam@example.test", Role.AGENCY_STAFF)
OLGA = By("olga@example.test", Role.CLINIC_MANAGER)
SALES_KIND = "shop-sales-to-stock-adjustments"
REFERRER = Rule("metafields.clinic.referrer", "custom_fields.referrer", ("trim",), Write.IF_EMPTY)


def codes(refusal: "pytest.ExceptionInfo[Refused]") -> dict[str, str]:
    return {fault.where: fault.code for fault in refusal.value.faults}


def settle(flow: Flow) -> None:
    Flow.objects.filter(pk=flow.pk).update(wants_full_pass=False)
    flow.refresh_from_db()


def test_a_change_is_frozen_as_the_next_revision_and_what_a_run_loads_is_it(flow: Flow) -> None:
    settle(flow)
    told = configuration.configure(flow, config=Config(settings={"missing_email": "skip"}), note="Skip", by=ANA)
    assert told == ("settings.missing_email",)
    assert (flow.revision_number, flow.wants_full_pass) == (2, True)
    assert load_job(flow.pk).plan.context.settings["missing_email"] == "skip"
    assert load_job(flow.pk, revision_number=1).plan.context.settings["missing_email"] == "hold"
    assert Config.from_json(FlowRevision.objects.get(number=2).config) == configured.config_of(flow)


def test_what_only_repeats_the_kind_is_no_change(flow: Flow) -> None:
    settle(flow)
    shipped = FLOW_KINDS[KIND]
    same = Config(
        rules=tuple(replace(rule, unusable="") for rule in shipped.rules), settings=shipped.default_settings()
    )
    assert configuration.configure(flow, config=same, by=ANA) == ()
    assert (flow.revision_number, flow.wants_full_pass) == (1, False)


def test_a_schedule_makes_no_revision_and_asks_for_no_full_pass(flow: Flow) -> None:
    settle(flow)
    assert configuration.configure(flow, every="2h", by=ANA) == ("every",)
    assert (flow.revision_number, flow.wants_full_pass, flow.every) == (1, False, "2h")


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        (Rule("firstName", "date_of_birth"), "rule.source_clinical"),
        (Rule("firstName", "shoe_size"), "rule.source_unknown"),
        (REFERRER, "rule.source_not_released"),
        (Rule("shoeSize", "first_name"), "rule.target_unknown"),
        (Rule("metafields.", "first_name"), "rule.target_unknown"),
        (Rule("metafields.suture.cliniko_patient_id", "first_name"), "rule.target_unknown"),
        (Rule("firstName", "first_name", ("shout",)), "rule.transform_unknown"),
        (Rule("firstName", "accepted_email_marketing"), "rule.kind_mismatch"),
        (Rule("emailMarketing", "first_name"), "rule.kind_mismatch"),
    ],
)
def test_a_rule_that_may_not_be_is_refused_with_a_sentence(flow: Flow, rule: Rule, code: str) -> None:
    with pytest.raises(Refused) as refusal:
        configuration.configure(flow, config=Config(rules=(rule,)), by=ANA)
    assert codes(refusal) == {f"rules.{rule.target}": code}
    assert refusal.value.faults[0].sentence.endswith(".")
    assert FlowRevision.objects.count() == 1 and not MappingRule.objects.exists()


def test_all_mistakes_are_told_at_once(flow: Flow) -> None:
    wrong = Config(
        rules=(Rule("firstName", "date_of_birth"),),
        settings={"missing_email": "perhaps", "colour": "blue"},
        value_maps={"status": {"20": "paid"}},
    )
    with pytest.raises(Refused) as refusal:
        configuration.configure(flow, config=wrong, every="often", start="soon", by=ANA)
    assert codes(refusal) == {
        "rules.firstName": "rule.source_clinical",
        "settings.missing_email": "setting.choice",
        "settings.colour": "setting.unknown",
        "values.status": "value_map.unknown",
        "every": "flow.schedule",
        "start": "flow.start",
    }


def test_a_value_map_takes_the_actions_of_its_kind_only(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """C19: a line, the catch-all, and an action nobody knows."""
    spec = ValueMapSpec(
        "status", "Invoice status", "status", {"*": "hold"}, (("mark_paid", "Mark paid"), ("hold", "Ask a person"))
    )
    kind: FlowKind = replace(FLOW_KINDS[KIND], value_maps=(spec,))
    monkeypatch.setitem(FLOW_KINDS, KIND, kind)
    configuration.configure(flow, config=Config(value_maps={"status": {"20": "mark_paid", "*": "hold"}}), by=OLGA)
    assert configured.config_of(flow).value_maps == {"status": {"20": "mark_paid"}}
    with pytest.raises(Refused) as refusal:
        configuration.configure(flow, config=Config(value_maps={"status": {"20": "explode"}}), by=OLGA)
    assert codes(refusal) == {"values.status.20": "value_map.action"}


def test_a_custom_field_is_closed_until_the_owner_releases_it_by_name_and_again_once_taken_back(flow: Flow) -> None:
    for by in (SAM, OLGA):
        with pytest.raises(Refused):
            connection_setup.release_field(flow.source, "Referrer", reason="not clinical", by=by)
    with pytest.raises(Refused):
        connection_setup.release_field(flow.source, "Referrer", reason=" ", by=ANA)
    assert connection_setup.release_field(flow.source, "Referrer", reason="Who sent them", by=ANA) == REFERRER.source
    entry = AuditEntry.objects.get(action="connection.field_released")
    assert (entry.reason, entry.diff, entry.actor_role) == ("Who sent them", {"field": REFERRER.source}, "agency_owner")
    configuration.configure(flow, config=Config(rules=(REFERRER,)), by=ANA)
    assert REFERRER.source in load_job(flow.pk).plan.source_fields
    settle(flow)
    connection_setup.take_back_field(flow.source, REFERRER.source, reason="It held notes", by=ANA)
    assert REFERRER.source not in load_job(flow.pk).plan.source_fields
    flow.refresh_from_db()
    assert flow.wants_full_pass


def test_a_target_field_has_one_owner_among_the_flows_that_are_on(flow: Flow) -> None:
    """Design 5: two flows may not write one field; disjoint they may."""
    configuration.change_mode(flow, Mode.LIVE, by=ANA)
    second = configuration.add_flow(
        kind=FLOW_KINDS[KIND], source=connect("second-practice", "cliniko"), target=flow.target, name="second", by=ANA
    )
    with pytest.raises(Refused) as refusal:
        configuration.change_mode(second, Mode.PREVIEW, by=ANA)
    assert codes(refusal)["rules.email"] == "rule.target_owned"
    assert KIND in refusal.value.faults[0].sentence
    configuration.change_mode(flow, Mode.OFF, by=ANA)
    configuration.change_mode(second, Mode.PREVIEW, by=ANA)


@pytest.mark.parametrize("first", ["stock-to-inventory", "shop-sales-to-stock-adjustments"])
def test_stock_has_one_master_between_two_systems(flow: Flow, first: str) -> None:
    """C13: whichever is on keeps the other off, in words; between other systems it may run."""
    both = {name: add(name, flow.source, flow.target) for name in ("stock-to-inventory", SALES_KIND)}
    (second,) = (row for name, row in both.items() if name != first)
    configuration.change_mode(both[first], Mode.LIVE, by=ANA)
    for mode in (Mode.PREVIEW, Mode.LIVE):
        with pytest.raises(Refused) as refusal:
            configuration.change_mode(second, mode, by=ANA)
        assert codes(refusal) == {"mode": "flow.two_masters"}
    assert first in refusal.value.faults[0].sentence and refusal.value.faults[0].sentence.endswith(".")
    elsewhere = add(second.kind, flow.source, connect("second-shop", "shopify"), name="elsewhere")
    assert configuration.change_mode(elsewhere, Mode.LIVE, by=ANA)
    for row in (both[first], elsewhere):
        configuration.change_mode(row, Mode.OFF, by=ANA)
    assert configuration.change_mode(second, Mode.LIVE, by=ANA)


def add(kind: str, practice: Connection, shop: Connection, *, name: str = "") -> Flow:
    """A flow of this kind between the two, off."""
    ends = {"cliniko": practice, "shopify": shop}
    facts = FLOW_KINDS[kind]
    source, target = ends[facts.source_vendor], ends[facts.target_vendor]
    return configuration.add_flow(kind=facts, source=source, target=target, name=name or kind, by=ANA)


def test_direction_is_a_capability(flow: Flow) -> None:
    """C27: a source that is no source, and a target that is no target, cannot be chosen."""
    with pytest.raises(Refused) as refusal:
        configuration.add_flow(kind=FLOW_KINDS[KIND], source=flow.target, target=flow.source, name="backwards", by=ANA)
    assert codes(refusal) == {"source": "flow.source_vendor", "target": "flow.target_vendor"}


def test_only_the_agency_lets_a_flow_write_and_everyone_may_stop_it(flow: Flow) -> None:
    with pytest.raises(Refused):
        configuration.change_mode(flow, Mode.LIVE, by=OLGA)
    settle(flow)
    assert configuration.change_mode(flow, Mode.LIVE, by=SAM, waived=("sku.duplicate",))
    assert flow.activated_at is not None and flow.wants_full_pass and flow.next_due_at is None
    assert not configuration.change_mode(flow, Mode.LIVE, by=SAM)
    assert configuration.change_mode(flow, Mode.OFF, by=OLGA)
    diffs = list(AuditEntry.objects.filter(action="flow.mode").order_by("pk").values_list("diff", flat=True))
    assert diffs[0] == {"from": "off", "to": "live", "waived": ["sku.duplicate"]}


def test_a_pilot_needs_a_list(flow: Flow) -> None:
    with pytest.raises(Refused) as refusal:
        configuration.change_mode(flow, Mode.PILOT, by=ANA)
    assert codes(refusal) == {"mode": "mode.pilot_empty"}
    configuration.configure(flow, pilot_keys=[" 12 ", "12", "", "13"], by=ANA)
    assert flow.pilot_keys == ["12", "13"]
    assert configuration.change_mode(flow, Mode.PILOT, by=ANA)


def test_an_older_revision_comes_back_as_a_new_one(flow: Flow) -> None:
    rule = Rule("firstName", "preferred_first_name", ("single_line",), conflict=OnConflict.HOLD)
    configuration.configure(flow, config=Config(rules=(rule,), removed=frozenset({"phone"})), by=ANA)
    assert configured.config_of(flow) == Config((rule,), frozenset({"phone"}))
    configuration.restore_revision(flow, 1, by=ANA)
    assert (configured.config_of(flow), flow.revision_number) == (Config(), 3)


def test_credentials_are_kept_by_name_changed_by_box_and_never_told(flow: Flow) -> None:
    """C06, AS23: empty boxes keep, the audit names boxes, a linked connection keeps its account."""
    shop = flow.target
    assert connection_setup.set_credentials(shop, {"access_token": "shpat_planted_one"}, account="EF760-ef", by=OLGA)
    assert (shop.account, shop.hints["access_token"]) == ("ef760-ef.myshopify.com", "_one")
    assert not connection_setup.set_credentials(shop, {"access_token": ""}, account=None, by=OLGA)
    assert connection_setup.set_credentials(shop, {"webhook_secret": "planted_secret_two"}, account=None, by=OLGA)
    told = [f"{entry.diff}{entry.reason}" for entry in AuditEntry.objects.all()]
    assert "planted" not in str(told) and "webhook_secret" in str(told)
    Link.objects.create(
        source=flow.source,
        target=shop,
        source_stream="patients",
        target_stream="customers",
        source_key="1",
        target_key="2",
    )
    with pytest.raises(Refused, match="Make a new connection"):
        connection_setup.set_credentials(shop, {}, account="other-shop", by=OLGA)
    assert Connection.objects.get(pk=shop.pk).account == "ef760-ef.myshopify.com"
    with pytest.raises(Refused) as refusal:
        connection_setup.set_credentials(shop, {"access_token": "not a token"}, account=None, by=OLGA)
    assert codes(refusal) == {"credentials": "connection.credentials"}


def test_a_paused_connection_is_not_called_until_it_is_resumed(flow: Flow) -> None:
    connection_setup.pause_connection(flow.source, reason="Moving house", by=OLGA)
    assert not Connection.objects.get(pk=flow.source_id).may_call
    connection_setup.resume_connection(flow.source, by=OLGA)
    assert Connection.objects.get(pk=flow.source_id).may_call


def test_activation_is_the_first_step_to_writing_and_stays(flow: Flow) -> None:
    before = app_now()
    configuration.change_mode(flow, Mode.PREVIEW, by=ANA)
    Flow.objects.filter(pk=flow.pk).update(activated_at=before - timedelta(days=1))  # what a preview's run noted
    configuration.change_mode(flow, Mode.LIVE, by=ANA)
    assert flow.activated_at is not None and flow.activated_at >= before
