"""A flow that follows a blueprint: whose each line is, and how a version comes to it, is rehearsed and goes again.

What runs is kind < blueprint < the clinic's own lines. It is worked out whenever a version comes, and published as an
ordinary revision, so that a run needs to know nothing of blueprints. Everything here runs inside the clinic's transaction.
"""

from collections.abc import Collection
from enum import StrEnum

from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config
from integrations.flows.layers import differing, flat, laid, rebased
from integrations.models import Flow, FlowRevision, Following, Proposal, ProposalState, RolloutStep, StepState
from integrations.services import proposals, rehearsal
from integrations.services.changes import By, Refused, refused
from integrations.services.configuration import configure
from integrations.services.configured import config_of, tidy
from tenants.walls import app_now


class Origin(StrEnum):
    """Where a line comes from that is not the kind's."""

    BLUEPRINT = "blueprint"
    OWN = "own"


def following_of(flow: Flow) -> Following | None:
    row: Following | None = Following.objects.filter(flow=flow).first()
    return row


def own_places(following: Following, effective: Config) -> frozenset[str]:
    """The places that are the clinic's own: those it kept for itself, and those at which it differs from the version
    that it runs by."""
    return frozenset(following.own) | differing(effective, Config.from_json(following.config))


def origins(following: Following, effective: Config) -> dict[str, Origin]:
    """Whose each line is, by place; what is in neither is the kind's."""
    own = own_places(following, effective)
    places = own | flat(Config.from_json(following.config)).keys()
    return {place: Origin.OWN if place in own else Origin.BLUEPRINT for place in sorted(places)}


def own_beside(following: Following, effective: Config, layer: Config) -> frozenset[str]:
    """What stays the clinic's once ``layer`` comes. A flow that comes new to its blueprint brings its lines as its own,
    but for those that say what the blueprint says."""
    if following.number:
        return own_places(following, effective)
    return frozenset(following.own) | (differing(effective, layer) & flat(effective).keys())


def inheriting(flow: Flow, following: Following, effective: Config, layer: Config) -> Config:
    """The flow's configuration with ``layer`` below the clinic's own lines."""
    return tidy(FLOW_KINDS[flow.kind], laid(layer, effective, own_beside(following, effective, layer)))


def layer_of(flow: Flow) -> Config:
    """The lines of the version that the flow runs by, none where it follows no blueprint."""
    row = following_of(flow)
    return Config.from_json(row.config) if row is not None else Config()


def still_inheriting(flow: Flow, wanted: Config) -> Config:
    """A configuration that was written down without knowing of the blueprint, as in a file, with what the flow inherits
    wherever it says nothing."""
    row = following_of(flow)
    if row is None:
        return wanted
    inherited = {place for place, origin in origins(row, config_of(flow)).items() if origin is Origin.BLUEPRINT}
    return laid(wanted, Config.from_json(row.config), inherited - flat(wanted).keys())


# -- a line is given back


def give_back(flow: Flow, places: Collection[str], *, by: By, revision_seen: int | None = None) -> tuple[str, ...]:
    """These lines are the blueprint's again; what it says nothing of goes as shipped. Raises Refused."""
    if not by.is_agency and any(place.startswith("rules.") for place in places):
        raise refused("", "following.denied", "Which fields flow is the agency's to decide.")
    Flow.objects.select_for_update(of=("self",), no_key=True).get(pk=flow.pk)
    following = Following.objects.get(flow=flow)
    effective, layer = config_of(flow), Config.from_json(following.config)
    note = f"Back to blueprint “{following.name}”"
    changed = configure(flow, config=laid(effective, layer, places), by=by, note=note, revision_seen=revision_seen)
    Following.objects.filter(pk=following.pk).update(own=sorted(own_places(following, effective) - set(places)))
    return changed


# -- a version comes, is rehearsed, goes again


def carry_out(step_id: int) -> str:
    """What is due of one flow's part of a rollout; what became of it, ``""`` where nothing was due any more."""
    step: RolloutStep = RolloutStep.objects.select_for_update(of=("self",), no_key=True).get(pk=step_id)
    flow: Flow = (
        Flow.objects.select_for_update(of=("self",), no_key=True)
        .select_related("source", "target")
        .get(pk=step.flow_id)
    )
    if step.state == StepState.DUE:
        _bring(step, flow)
    elif step.state == StepState.BACK:
        _take_back(step, flow)
    elif step.asks_rehearsal and step.state == StepState.PLANNED:
        _rehearse(step, flow)
        return "rehearsed"
    else:
        RolloutStep.objects.filter(pk=step.pk).update(asks_rehearsal=False)
        return ""
    return str(step.state)


def wanted_of(step: RolloutStep, flow: Flow, following: Following) -> Config:
    """What the step would make of its flow as it runs now."""
    return inheriting(flow, following, config_of(flow), Config.from_json(step.config))


def _bring(step: RolloutStep, flow: Flow) -> None:
    following = following_of(flow)
    if following is None:
        return _settle(step, StepState.REFUSED, why="It follows this blueprint no more.")
    effective, layer = config_of(flow), Config.from_json(step.config)
    own, wanted = own_beside(following, effective, layer), wanted_of(step, flow, following)
    step.from_revision = flow.revision_number
    try:
        _publish(step, flow, wanted)
    except Refused as refusal:
        return _settle(step, StepState.REFUSED, why=str(refusal)[:500])
    step.before = {"number": following.number, "config": following.config, "own": list(following.own)}
    step.revision_number = flow.revision_number
    Following.objects.filter(pk=following.pk).update(
        name=step.name, number=step.number, config=step.config, own=sorted(own)
    )
    return _settle(step, StepState.DONE)


def _publish(step: RolloutStep, flow: Flow, wanted: Config) -> None:
    """By its proposal where that is what was rehearsed, else at once. Raises Refused."""
    proposal = step.proposal if step.proposal_id else None
    if proposal is not None and proposal.state == ProposalState.OPEN:
        if Config.from_json(proposal.config) == wanted and not proposals.is_behind(proposal):
            proposals.publish(proposal, by=_by(step))
            return flow.refresh_from_db()
        proposals.withdraw(proposal, by=_by(step))
    configure(flow, config=wanted, by=_by(step), note=note_of(step))
    return None


def _take_back(step: RolloutStep, flow: Flow) -> None:
    """The flow as it was before the step, with what was changed at it since."""
    following = following_of(flow)
    numbers = {step.from_revision, step.revision_number}
    known = {row.number: row for row in FlowRevision.objects.filter(flow=flow, number__in=numbers)}
    if following is None or len(known) < len(numbers):
        return _settle(step, StepState.REFUSED, why="What it was before is not known any more.")
    before, after = (Config.from_json(known[number].config) for number in (step.from_revision, step.revision_number))
    now = config_of(flow)
    wanted = rebased(after, now, before)
    try:
        configure(flow, config=wanted, by=_by(step), note=f"Rolled back: {note_of(step)}"[:255])
    except Refused as refusal:
        return _settle(step, StepState.REFUSED, why=str(refusal)[:500])
    own = {*step.before["own"], *differing(after, now)}
    Following.objects.filter(pk=following.pk).update(
        number=step.before["number"], config=step.before["config"], own=sorted(own)
    )
    return _settle(step, StepState.UNDONE)


def _rehearse(step: RolloutStep, flow: Flow) -> None:
    """Proposes what the step would make of its flow, and begins to rehearse that; or says why it cannot."""
    why, following = "", following_of(flow)
    try:
        if following is None:
            raise refused("", "following.gone", "It follows this blueprint no more.")
        step.proposal = _proposal(step, flow, wanted_of(step, flow, following))
        rehearsal.begin(step.proposal, now=app_now())
    except Refused as refusal:
        why = str(refusal)[:500]
    RolloutStep.objects.filter(pk=step.pk).update(asks_rehearsal=False, proposal=step.proposal, why=why)


def _proposal(step: RolloutStep, flow: Flow, wanted: Config) -> Proposal:
    """The step's own where it still says so, else a new one. Raises Refused."""
    made: Proposal | None = step.proposal if step.proposal_id else None
    if made is not None and made.state == ProposalState.OPEN:
        if Config.from_json(made.config) == wanted and not proposals.is_behind(made):
            return made
        proposals.withdraw(made, by=_by(step))
    return proposals.propose(flow, wanted, by=_by(step), note=note_of(step))


def note_of(step: RolloutStep) -> str:
    said = f"Blueprint “{step.name}”, version {step.number}"
    return f"{said}: {step.note}" if step.note else said


def _settle(step: RolloutStep, state: StepState, *, why: str = "") -> None:
    step.state, step.why, step.at, step.asks_rehearsal = state, why, app_now(), False
    step.save(update_fields=["state", "why", "at", "asks_rehearsal", "before", "from_revision", "revision_number"])


def _by(step: RolloutStep) -> By:
    return By(step.actor, step.actor_role, step.author_id)
