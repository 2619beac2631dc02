"""Proposals: configurations that are not live yet. Made, brought up to date, published or taken back.

Pages, commands and blueprints use the same verbs. All of them run inside the clinic's transaction and are audited by
name, never by value; what may not be is refused as a whole, as ``configuration`` refuses it.
"""

from collections.abc import Mapping
from typing import NamedTuple

from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config
from integrations.flows.layers import rebased
from integrations.models import Flow, FlowRevision, Proposal, ProposalState
from integrations.services.changes import By, Refused, refused
from integrations.services.config_faults import config_faults
from integrations.services.configuration import configure
from integrations.services.configured import config_changes, config_of, tidy
from tenants.services import record_audit
from tenants.walls import app_now


class Rebased(NamedTuple):
    """What bringing a proposal up to date came to: the names of what both sides had changed, where the proposal's word
    stands; and whether nothing is left of it to publish."""

    overlap: tuple[str, ...]
    is_empty: bool


def propose(flow: Flow, config: Config, *, by: By, note: str = "") -> Proposal:
    """Keeps a configuration for this flow without publishing it. Raises Refused where it could not be published, and
    where it would change nothing."""
    wanted = tidy(FLOW_KINDS[flow.kind], config)
    if faults := config_faults(flow, wanted):
        raise Refused(faults)
    names = config_changes(FLOW_KINDS[flow.kind], config_of(flow), wanted)
    if not names:
        raise refused("", "proposal.empty", "That is how the flow runs already: there is nothing to rehearse.")
    proposal: Proposal = Proposal.objects.create(
        tenant_id=flow.tenant_id,
        flow=flow,
        config=wanted.as_json(),
        based_on=flow.revision_number,
        author_id=by.user_id,
        note=note.strip()[:255],
        created_at=app_now(),
    )
    _audit("flow.proposed", proposal, by, {"fields": names, "based_on": proposal.based_on})
    return proposal


def propose_revision(flow: Flow, number: int, *, by: By) -> Proposal:
    """Proposes an older revision's configuration. Raises Refused, and FlowRevision.DoesNotExist."""
    stored = FlowRevision.objects.get(flow=flow, number=number)
    return propose(flow, Config.from_json(stored.config), by=by, note=f"Back to revision {number}")


def changes_of(proposal: Proposal) -> list[str]:
    """The names of what it would change of the flow as it runs now."""
    flow = proposal.flow
    return config_changes(FLOW_KINDS[flow.kind], config_of(flow), Config.from_json(proposal.config))


def is_behind(proposal: Proposal) -> bool:
    """Whether somebody published another revision since it was made."""
    return bool(proposal.based_on != proposal.flow.revision_number)


def may_publish(proposal: Proposal, by: By) -> bool:
    """Rules are the agency's to decide; settings and value maps a clinic's manager's as well."""
    return by.is_agency or not any(name.startswith("rules.") for name in changes_of(proposal))


def rebase(proposal: Proposal, *, by: By) -> Rebased:
    """Departs from the flow as it runs now: what the proposal changed, upon what others changed meanwhile. Raises Refused
    for one that is closed, or that cannot be any more."""
    row = _locked(proposal)
    flow, kind = row.flow, FLOW_KINDS[row.flow.kind]
    base = Config.from_json(FlowRevision.objects.get(flow=flow, number=row.based_on).config)
    ours, theirs = Config.from_json(row.config), config_of(flow)
    merged = tidy(kind, rebased(base, ours, theirs))
    if faults := config_faults(flow, merged):
        raise Refused(faults)
    both = set(config_changes(kind, base, ours)) & set(config_changes(kind, base, theirs))
    overlap = tuple(sorted(both & set(config_changes(kind, theirs, merged))))
    row.config, row.based_on = merged.as_json(), flow.revision_number
    row.save(update_fields=["config", "based_on"])
    _audit("flow.proposal_rebased", row, by, {"based_on": row.based_on, "overlap": list(overlap)})
    proposal.refresh_from_db()
    return Rebased(overlap, not config_changes(kind, theirs, merged))


def publish(proposal: Proposal, *, by: By) -> tuple[str, ...]:
    """Makes it the flow's next revision; returns the names of what changed. Raises Refused for one that is closed, whose
    flow moved on meanwhile, or that this person may not publish."""
    row = _locked(proposal)
    if not may_publish(row, by):
        raise refused("", "proposal.denied", "It changes which fields flow: only the agency may publish it.")
    config = Config.from_json(row.config)
    changed = configure(row.flow, config=config, note=row.note, by=by, revision_seen=row.based_on)
    row.state, row.closed_at, row.published_number = ProposalState.PUBLISHED, app_now(), row.flow.revision_number
    row.save(update_fields=["state", "closed_at", "published_number"])
    _audit("flow.proposal_published", row, by, {"fields": list(changed), "revision": row.published_number})
    proposal.refresh_from_db()
    return changed


def withdraw(proposal: Proposal, *, by: By) -> None:
    """It will not be published. Raises Refused for one that is closed."""
    row = _locked(proposal)
    row.state, row.closed_at = ProposalState.WITHDRAWN, app_now()
    row.save(update_fields=["state", "closed_at"])
    _audit("flow.proposal_withdrawn", row, by, {})
    proposal.refresh_from_db()


def publish_config(flow: Flow, config: Config, *, by: By, note: str) -> tuple[str, ...]:
    """Publishes a configuration to a flow at once, as its next revision; returns the names of what changed, none where
    the flow runs so already. Raises Refused."""
    return configure(flow, config=config, by=by, note=note)


def _locked(proposal: Proposal) -> Proposal:
    row: Proposal = (
        Proposal.objects.select_for_update(of=("self",), no_key=True)
        .select_related("flow__source", "flow__target")
        .get(pk=proposal.pk)
    )
    if row.state != ProposalState.OPEN:
        raise refused("", "proposal.closed", f"This proposal is closed: {row.get_state_display().lower()}.")
    return row


def _audit(action: str, proposal: Proposal, by: By, diff: Mapping[str, object]) -> None:
    record_audit(
        action,
        target=f"flow {proposal.flow_id}",
        reason=proposal.note,
        diff={"proposal": proposal.pk, **diff},
        tenant_id=proposal.tenant_id,
        actor=by.actor,
        actor_role=by.role,
    )
