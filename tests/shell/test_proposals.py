"""Proposals: kept, brought up to date, published, taken back; by whom, and with which trace (B2)."""

from dataclasses import replace

import pytest

from integrations.core.rules import Rule
from integrations.flows.kind import Config
from integrations.models import Flow, FlowRevision, Proposal
from integrations.services import configuration, proposals
from integrations.services.changes import OPERATOR, By, Refused
from integrations.services.configured import config_of
from tenants.models import AuditEntry, Role

pytestmark = pytest.mark.django_db

OLGA = By("olga", Role.CLINIC_MANAGER)
SETTING = Config(settings={"missing_email": "create"})
RULE = Rule("firstName", "first_name", ("single_line", "upper"))


def propose(flow: Flow, config: Config = SETTING, by: By = OPERATOR) -> Proposal:
    flow.refresh_from_db()
    return proposals.propose(flow, config, by=by, note="for the newsletter")


def publish_meanwhile(flow: Flow, config: Config) -> None:
    configuration.configure(flow, config=config, by=OPERATOR, note="meanwhile")


def config_now(flow: Flow) -> Config:
    return config_of(Flow.objects.get(pk=flow.pk))


def audited() -> list[str]:
    rows = AuditEntry.objects.filter(action__startswith="flow.prop").order_by("pk")
    return list(rows.values_list("action", flat=True))


def test_a_proposal_changes_nothing_until_it_is_published(flow: Flow) -> None:
    proposal = propose(flow)
    assert config_now(flow) == Config()
    assert proposals.publish(proposal, by=OPERATOR) == ("settings.missing_email",)
    assert config_now(flow) == SETTING
    newest = FlowRevision.objects.get(flow=flow, number=2)
    assert (newest.note, proposal.published_number, proposal.state) == ("for the newsletter", 2, "published")
    assert audited() == ["flow.proposed", "flow.proposal_published"]


def test_what_would_change_nothing_or_could_not_be_is_refused(flow: Flow) -> None:
    for config in (Config(), Config(settings={"missing_email": "hold"}), Config(settings={"missing_email": "perhaps"})):
        with pytest.raises(Refused):
            propose(flow, config)
    assert not Proposal.objects.exists()


def test_one_whose_flow_moved_on_is_brought_up_to_date_first(flow: Flow) -> None:
    """What others published stays, what the proposal changes is laid upon it."""
    proposal = propose(flow, replace(SETTING, rules=(RULE,)))
    publish_meanwhile(flow, Config(settings={"shared_email": "create"}))
    with pytest.raises(Refused):
        proposals.publish(proposal, by=OPERATOR)
    told = proposals.rebase(proposal, by=OPERATOR)
    assert (told.overlap, told.is_empty, proposal.based_on) == ((), False, 2)
    proposals.publish(proposal, by=OPERATOR)
    both = {"missing_email": "create", "shared_email": "create"}
    assert config_now(flow) == Config(rules=(RULE,), settings=both)


def test_where_both_changed_the_same_the_proposals_word_stands_and_is_named(flow: Flow) -> None:
    proposal = propose(flow)
    publish_meanwhile(flow, Config(settings={"missing_email": "skip"}))
    assert proposals.rebase(proposal, by=OPERATOR).overlap == ("settings.missing_email",)
    assert Config.from_json(proposal.config) == SETTING


def test_where_somebody_published_the_same_nothing_is_left(flow: Flow) -> None:
    proposal = propose(flow)
    publish_meanwhile(flow, SETTING)
    assert proposals.rebase(proposal, by=OPERATOR) == ((), True)


def test_a_departure_that_is_taken_back_is_taken_back_after_a_rebase_too(flow: Flow) -> None:
    publish_meanwhile(flow, replace(SETTING, removed=frozenset({"phone"})))
    proposal = propose(flow, SETTING)
    publish_meanwhile(flow, Config(rules=(RULE,), removed=frozenset({"phone"})))
    proposals.rebase(proposal, by=OPERATOR)
    assert Config.from_json(proposal.config) == Config(rules=(RULE,))


def test_rules_are_the_agencys_to_publish_settings_a_managers_too(flow: Flow) -> None:
    rule, setting = propose(flow, Config(rules=(RULE,))), propose(flow, by=OLGA)
    with pytest.raises(Refused, match="only the agency"):
        proposals.publish(rule, by=OLGA)
    assert proposals.publish(setting, by=OLGA)


def test_one_that_is_closed_stays_closed(flow: Flow) -> None:
    proposal = propose(flow)
    proposals.withdraw(proposal, by=OPERATOR)
    for verb in (proposals.withdraw, proposals.publish, proposals.rebase):
        with pytest.raises(Refused, match="taken back"):
            verb(proposal, by=OPERATOR)
    assert audited() == ["flow.proposed", "flow.proposal_withdrawn"]


def test_going_back_is_proposed_like_anything_else(flow: Flow) -> None:
    publish_meanwhile(flow, SETTING)
    proposal = proposals.propose_revision(flow, 1, by=OPERATOR)
    proposals.publish(proposal, by=OPERATOR)
    assert config_now(flow) == Config()
    assert FlowRevision.objects.filter(flow=flow).count() == 3


def test_a_configuration_is_published_at_once_where_somebody_is_sure(flow: Flow) -> None:
    assert proposals.publish_config(flow, SETTING, by=OPERATOR, note="blueprint 3")
    assert proposals.publish_config(flow, SETTING, by=OPERATOR, note="blueprint 3") == ()
