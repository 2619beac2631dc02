"""What a blueprint's pages show: its followers, what a version would change of each, and how its rollout fares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Page, Paginator
from django.urls import reverse

from integrations.admin.rules import Words
from integrations.admin.said import Difference, differences
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config
from integrations.models import Blueprint, Following, Rehearsal, Rollout, RolloutState, RolloutStep, StepState
from integrations.services import blueprints, following
from integrations.services.config_faults import kind_faults
from integrations.services.configured import config_of
from integrations.words import flow_name
from tenants.models import Tenant

FOLLOWERS = 50
CHANGES_SHOWN = 4

STEP_TONES = {
    StepState.PLANNED: ("idle", "schedule"),
    StepState.DUE: ("info", "sync"),
    StepState.DONE: ("ok", "check_circle"),
    StepState.REFUSED: ("bad", "error"),
    StepState.STOPPED: ("idle", "front_hand"),
    StepState.BACK: ("info", "undo"),
    StepState.UNDONE: ("idle", "undo"),
}
ROLLOUT_TONES = {
    RolloutState.PREPARED: ("info", "edit_note"),
    RolloutState.FIRST: ("info", "flight_takeoff"),
    RolloutState.REST: ("info", "sync"),
    RolloutState.DONE: ("ok", "check_circle"),
    RolloutState.STOPPED: ("warn", "front_hand"),
    RolloutState.UNDONE: ("idle", "undo"),
}


@dataclass(frozen=True, slots=True)
class Follower:
    """One flow that follows, and what the lines that are being looked at would change of it."""

    row: Following
    clinic: Tenant
    name: str
    url: str
    own: int
    changes: Sequence[Difference]
    left_off: int
    why_not: str
    step: RolloutStep | None
    rehearsal: Rehearsal | None
    rehearsal_url: str

    @property
    def tone(self) -> tuple[str, str]:
        return STEP_TONES[StepState(self.step.state)] if self.step else ("idle", "circle")


def followers(blueprint: Blueprint, rollout: Rollout | None, config: Config, page: str | None) -> Page[Any]:
    """A page of the flows that follow, the first clinics of a rollout first; in as many questions for one as for fifty."""
    rows = Following.objects.filter(blueprint=blueprint).select_related("flow__source")
    steps = {}
    if rollout is not None:
        steps = {step.flow_id: step for step in RolloutStep.objects.filter(rollout=rollout).select_related("proposal")}
    firsts = {flow_id for flow_id, step in steps.items() if step.is_first}
    names = dict(Tenant.objects.values_list("pk", "name"))
    keys = sorted(
        rows.values_list("pk", "tenant_id", "flow_id"), key=lambda one: (one[2] not in firsts, names.get(one[1], ""))
    )
    some: Page[Any] = Paginator([pk for pk, _, _ in keys], FOLLOWERS).get_page(page)
    shown = rows.filter(pk__in=list(some)).prefetch_related("flow__rules", "flow__value_maps")
    by_pk = {row.pk: row for row in shown}
    clinics = Tenant.objects.in_bulk([row.tenant_id for row in shown])
    rehearsals = _rehearsals([step for step in steps.values() if step.proposal_id])
    some.object_list = [
        _follower(by_pk[pk], clinics, steps.get(by_pk[pk].flow_id), rehearsals, config) for pk in some if pk in by_pk
    ]
    return some


def _rehearsals(steps: Sequence[RolloutStep]) -> dict[int, Rehearsal]:
    """The newest of each proposal."""
    rows = Rehearsal.objects.filter(proposal_id__in=[step.proposal_id for step in steps]).order_by("pk")
    return {row.proposal_id: row for row in rows}


def _follower(
    row: Following,
    clinics: dict[int, Tenant],
    step: RolloutStep | None,
    rehearsals: dict[int, Rehearsal],
    config: Config,
) -> Follower:
    flow, effective = row.flow, config_of(row.flow)
    kind = FLOW_KINDS[flow.kind]
    wanted = following.inheriting(flow, row, effective, config)
    is_settled = step is not None and step.state not in {StepState.PLANNED, StepState.DUE}
    changes = [] if is_settled else list(differences(Words.of_kind(kind), effective, wanted))
    faults = [] if is_settled else kind_faults(kind, wanted, flow.source.released_fields)
    return Follower(
        row=row,
        clinic=clinics[row.tenant_id],
        name=flow_name(flow),
        url=reverse("agency:integrations_flow_blueprint", args=[flow.pk]),
        own=len(following.own_places(row, effective))
        if row.number
        else len(following.own_beside(row, effective, config)),
        changes=changes[:CHANGES_SHOWN],
        left_off=len(changes[CHANGES_SHOWN:]),
        why_not=" ".join(fault.sentence for fault in faults),
        step=step,
        rehearsal=rehearsals.get(step.proposal_id) if step and step.proposal_id else None,
        rehearsal_url=_proposal_url(flow.pk, step),
    )


def _proposal_url(flow_id: int, step: RolloutStep | None) -> str:
    if step is None or not step.proposal_id:
        return ""
    return f"{reverse('agency:integrations_flow_proposal', args=[flow_id])}?id={step.proposal_id}"


def standing(rollout: Rollout) -> dict[str, Any]:
    """How far a rollout is, for the head of the page."""
    counts = blueprints.count_steps(rollout)
    total = sum(counts.values())
    tone, icon = ROLLOUT_TONES[RolloutState(rollout.state)]
    return {
        "rollout": rollout,
        "tone": tone,
        "icon": icon,
        "counts": [(StepState(state).label, *STEP_TONES[StepState(state)], counts[state]) for state in StepState if counts.get(state)],
        "total": total,
        "is_moving": bool(counts.get(StepState.DUE) or counts.get(StepState.BACK)),
        "watch": blueprints.watch(rollout) if rollout.state == RolloutState.FIRST else None,
        "can_undo": rollout.state in {RolloutState.FIRST, RolloutState.REST, RolloutState.DONE, RolloutState.STOPPED}
        and bool(counts.get(StepState.DONE)),
    }  # fmt: skip
