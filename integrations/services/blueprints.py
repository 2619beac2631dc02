"""Blueprints: made, edited, published as a version to the first clinics, then to all, stopped or rolled back.

Everything here runs in the agency's transaction and reaches the clinics in its scope. What a step does to a flow is
``following``'s, in that clinic's own transaction, when the pulse rings for it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, F, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config, FlowKind
from integrations.models import (
    ROLLOUT_OPEN,
    Alert,
    Blueprint,
    BlueprintVersion,
    Delivery,
    DeliveryState,
    Flow,
    Following,
    Rollout,
    RolloutState,
    RolloutStep,
    Run,
    StepState,
)
from integrations.services.changes import By, Fault, Refused, refused
from integrations.services.config_faults import kind_faults
from integrations.services.configured import tidy
from tenants.services import record_audit
from tenants.walls import app_now, insert_rows

FIRST_CLINICS = 3
LONGEST_NAME = 80


# -- made and edited


def add_blueprint(agency_id: int, kind: FlowKind, name: str, config: Config, *, by: By) -> Blueprint:
    """A blueprint without a version yet. Raises Refused."""
    name = name.strip()
    if not name or len(name) > LONGEST_NAME:
        raise refused("name", "blueprint.name", f"Give it a name of at most {LONGEST_NAME} characters.")
    if Blueprint.objects.filter(agency_id=agency_id, name=name).exists():
        raise refused("name", "blueprint.name_taken", f"There is a blueprint named {name} already.")
    made: Blueprint = Blueprint.objects.create(
        agency_id=agency_id,
        kind=kind.name,
        name=name,
        config=_right(kind, config).as_json(),
        created_at=app_now(),
    )
    _audit("blueprint.added", made, by)
    return made


def edit(blueprint: Blueprint, config: Config, *, by: By) -> bool:
    """Keeps its lines; no clinic is touched before they are published. False if nothing is new. Raises Refused."""
    wanted = _right(FLOW_KINDS[blueprint.kind], config)
    if wanted == Config.from_json(blueprint.config):
        return False
    blueprint.config = wanted.as_json()
    blueprint.save(update_fields=["config"])
    _audit("blueprint.edited", blueprint, by)
    return True


def _right(kind: FlowKind, config: Config) -> Config:
    wanted = tidy(kind, config)
    if faults := faults_of(kind, wanted):
        raise Refused(faults)
    return wanted


def faults_of(kind: FlowKind, config: Config) -> list[Fault]:
    """What is wrong with it in every clinic. Whether a custom field is released is asked in each."""
    settled = kind.extra_rules({**kind.default_settings(), **config.settings})
    return kind_faults(kind, config, [rule.source for rule in (*config.rules, *settled)])


# -- who follows


def may_follow(blueprint: Blueprint) -> QuerySet[Flow]:
    """The flows of its kind that follow no blueprint."""
    rows: QuerySet[Flow] = Flow.objects.filter(kind=blueprint.kind).exclude(pk__in=Following.objects.values("flow_id"))
    return rows.select_related("tenant").order_by("tenant__name", "name")


def follow(blueprint: Blueprint, flow_ids: Collection[int], *, by: By) -> int:
    """These flows follow it from now on, and run as they do until a version is published to them."""
    flows = list(may_follow(blueprint).filter(pk__in=flow_ids))
    now = app_now()
    insert_rows(
        Following,
        ("tenant_id", "flow_id", "blueprint_id", "name", "since"),
        [(flow.tenant_id, flow.pk, blueprint.pk, blueprint.name, now) for flow in flows],
    )
    for flow in flows:
        _audit("flow.follows", flow, by, {"blueprint": blueprint.pk})
    return len(flows)


def leave(blueprint: Blueprint, flow_id: int, *, by: By) -> bool:
    """The flow keeps its lines as its own. False where it did not follow."""
    row = Following.objects.filter(blueprint=blueprint, flow_id=flow_id).select_related("flow").first()
    if row is None:
        return False
    RolloutStep.objects.filter(flow_id=flow_id, rollout__blueprint=blueprint, state__in=_AHEAD).update(
        state=StepState.STOPPED, asks_rehearsal=False
    )
    row.delete()
    _audit("flow.leaves", row.flow, by, {"blueprint": blueprint.pk})
    return True


# -- one version on its way

_AHEAD = (StepState.PLANNED, StepState.DUE)


def open_rollout(blueprint: Blueprint) -> Rollout | None:
    row: Rollout | None = Rollout.objects.filter(blueprint=blueprint, state__in=ROLLOUT_OPEN).first()
    return row


def newest_rollout(blueprint: Blueprint) -> Rollout | None:
    row: Rollout | None = Rollout.objects.filter(blueprint=blueprint).first()
    return row


def prepare(blueprint: Blueprint, *, by: By, note: str = "", first: Collection[int] = ()) -> Rollout:
    """A new version where its lines changed, and a step for each flow that does not run by it yet. Nothing happens to
    any flow. ``first`` are the flows that go first, the smallest ones where none is named. Raises Refused."""
    row: Blueprint = Blueprint.objects.select_for_update().get(pk=blueprint.pk)
    if open_rollout(row):
        raise refused("", "rollout.open", "A version is on its way already. Let it arrive, or stop it first.")
    number = _version(row, by, note)
    behind = list(Following.objects.filter(blueprint=row).exclude(number=number).select_related("flow"))
    if not behind:
        raise refused(
            "", "rollout.nobody", "Every flow that follows it runs by these lines: nobody is left to publish to."
        )
    now = app_now()
    rollout: Rollout = Rollout.objects.create(blueprint=row, number=number, made_at=now)
    chosen = {one.flow_id for one in behind if one.flow_id in set(first)} or _smallest([one.flow_id for one in behind])
    columns = ("tenant_id", "rollout_id", "flow_id", "name", "number", "config", "note", "author_id", "actor", "actor_role", "is_first")  # fmt: skip
    whose = (note.strip()[:200], by.user_id, by.actor, by.role)
    insert_rows(
        RolloutStep,
        columns,
        [
            (one.tenant_id, rollout.pk, one.flow_id, row.name, number, row.config, *whose, one.flow_id in chosen)
            for one in behind
        ],
    )
    blueprint.refresh_from_db()
    _audit("blueprint.prepared", row, by, {"version": number, "flows": len(behind)})
    return rollout


def _version(row: Blueprint, by: By, note: str) -> int:
    newest = BlueprintVersion.objects.filter(blueprint=row, number=row.number).first()
    if newest is not None and newest.config == row.config:
        return int(row.number)
    row.number = 1 + (BlueprintVersion.objects.filter(blueprint=row).aggregate(n=Max("number"))["n"] or 0)
    row.save(update_fields=["number"])
    BlueprintVersion.objects.create(
        blueprint=row,
        number=row.number,
        config=row.config,
        author_id=by.user_id,
        note=note.strip()[:200],
        created_at=app_now(),
    )
    return int(row.number)


def _smallest(flow_ids: Sequence[int]) -> set[int]:
    """A tenth of them, at least one and at most three: those whose longest pass read least."""
    most = Run.objects.filter(tenant_id=OuterRef("tenant_id"), flow_id=OuterRef("pk")).order_by("-read").values("read")
    rows = Flow.objects.filter(pk__in=flow_ids).annotate(size=Coalesce(Subquery(most[:1]), 0)).order_by("size", "pk")
    wanted = max(1, min(FIRST_CLINICS, len(flow_ids) // 10))
    return set(rows.values_list("pk", flat=True)[:wanted])


def ask_rehearsal(rollout: Rollout, flow_ids: Collection[int]) -> int:
    """The pulse begins them one by one. Only flows that were not published to yet."""
    steps = RolloutStep.objects.filter(rollout=rollout, flow_id__in=flow_ids, state=StepState.PLANNED)
    return int(steps.update(asks_rehearsal=True))


def begin(rollout: Rollout, *, by: By) -> None:
    """Publishes to the first clinics. Raises Refused."""
    _move(rollout, RolloutState.PREPARED, RolloutState.FIRST, first_at=app_now())
    RolloutStep.objects.filter(rollout=rollout, is_first=True, state=StepState.PLANNED).update(state=StepState.DUE)
    _audit("blueprint.first_clinics", rollout.blueprint, by, {"version": rollout.number})


@dataclass(frozen=True, slots=True)
class Watch:
    """How the first clinics fare. ``until`` is when they were watched for long enough, None before all of them run by
    it; ``newly_held`` and ``alerts`` are theirs since then."""

    first: int
    arrived: int
    refused: int
    until: datetime | None
    newly_held: int
    alerts: int
    now: datetime

    @property
    def has_settled(self) -> bool:
        return self.until is not None

    @property
    def is_over(self) -> bool:
        return self.until is not None and self.now >= self.until

    @property
    def has_trouble(self) -> bool:
        return bool(self.newly_held or self.alerts or self.refused)


def watch(rollout: Rollout) -> Watch:
    steps = list(RolloutStep.objects.filter(rollout=rollout, is_first=True).select_related("flow"))
    arrived = [step for step in steps if step.state == StepState.DONE and step.at]
    ahead = [step for step in steps if step.state in _AHEAD]
    held, stopped = Q(pk=None), Q(pk=None)
    for step in arrived:
        held |= Q(tenant_id=step.tenant_id, flow_id=step.flow_id, held_at__gte=step.at)
        ends = (step.flow.source_id, step.flow.target_id)
        stopped |= Q(tenant_id=step.tenant_id, connection_id__in=ends, opened_at__gte=step.at)
    newest = max((step.at for step in steps if step.at), default=rollout.first_at)
    return Watch(
        first=len(steps),
        arrived=len(arrived),
        refused=sum(step.state == StepState.REFUSED for step in steps),
        until=newest + timedelta(seconds=settings.SUTURE_BLUEPRINT_WAIT_S) if newest and not ahead else None,
        newly_held=Delivery.objects.filter(held, state=DeliveryState.HELD).count(),
        alerts=Alert.objects.filter(stopped).count(),
        now=app_now(),
    )


def go_on(rollout: Rollout, *, by: By, reason: str = "") -> None:
    """Publishes to the rest. Raises Refused before the first ones were watched for long enough, and while they have
    trouble, unless a reason is given."""
    seen = watch(rollout)
    if not seen.is_over:
        raise refused("", "rollout.too_early", "The first clinics have not run by it for long enough yet.")
    if seen.has_trouble and not reason.strip():
        raise refused(
            "reason", "rollout.trouble", "The first clinics have trouble. Say why all others shall have it too."
        )
    _move(rollout, RolloutState.FIRST, RolloutState.REST, rest_at=app_now())
    RolloutStep.objects.filter(rollout=rollout, state=StepState.PLANNED).update(state=StepState.DUE)
    told = {"version": rollout.number, "newly_held": seen.newly_held, "alerts": seen.alerts}
    _audit("blueprint.all_clinics", rollout.blueprint, by, told, reason=reason)


def stop(rollout: Rollout, *, by: By) -> None:
    """Whoever does not run by it yet stays as they are. Raises Refused for one that is closed."""
    _move(rollout, ROLLOUT_OPEN, RolloutState.STOPPED, closed_at=app_now())
    _leave_ahead(rollout)
    _audit("blueprint.stopped", rollout.blueprint, by, {"version": rollout.number})


def undo(rollout: Rollout, *, by: By) -> int:
    """Takes the version back from every flow that runs by it; how many those are. What a clinic changed since stays its
    own. Raises Refused for one that is not the newest, or was rolled back."""
    if newest_rollout(rollout.blueprint) != rollout:
        raise refused("", "rollout.not_newest", "Another version was published since. Roll that back first.")
    was = (RolloutState.FIRST, RolloutState.REST, RolloutState.DONE, RolloutState.STOPPED)
    _move(rollout, was, RolloutState.UNDONE, closed_at=app_now())
    _leave_ahead(rollout)
    count = RolloutStep.objects.filter(rollout=rollout, state=StepState.DONE).update(
        state=StepState.BACK, author_id=by.user_id, actor=by.actor, actor_role=by.role
    )
    _audit("blueprint.rolled_back", rollout.blueprint, by, {"version": rollout.number, "flows": count})
    return int(count)


def count_steps(rollout: Rollout) -> dict[str, int]:
    rows = RolloutStep.objects.filter(rollout=rollout).order_by().values_list("state").annotate(n=Count("pk"))
    return dict(rows)


def _leave_ahead(rollout: Rollout) -> None:
    RolloutStep.objects.filter(rollout=rollout, state__in=_AHEAD).update(state=StepState.STOPPED, asks_rehearsal=False)


def _move(rollout: Rollout, was: Any, state: RolloutState, **stamps: datetime) -> None:
    """By one conditional update: two people cannot decide differently. Raises Refused."""
    states = [was] if isinstance(was, str) else list(was)
    if not Rollout.objects.filter(pk=rollout.pk, state__in=states).update(state=state, **stamps):
        rollout.refresh_from_db()
        raise refused("", "rollout.moved", f"It is past that: {rollout.get_state_display().lower()}.")
    rollout.refresh_from_db()


def follower_counts() -> Subquery:
    """How many flows in scope follow a blueprint, for its list."""
    rows = Following.objects.filter(blueprint_id=OuterRef("pk")).order_by().values("blueprint_id")
    return Subquery(rows.annotate(n=Count("pk")).values("n"))


def rollout_states() -> Subquery:
    """The state of its newest rollout."""
    return Subquery(Rollout.objects.filter(blueprint_id=OuterRef("pk")).order_by("-pk").values("state")[:1])


def behind_counts() -> Subquery:
    """How many of them do not run by its newest version."""
    rows = Following.objects.filter(blueprint_id=OuterRef("pk")).exclude(number=F("blueprint__number")).order_by()
    return Subquery(rows.values("blueprint_id").annotate(n=Count("pk")).values("n"))


def _audit(action: str, row: Blueprint | Flow, by: By, diff: Any = None, *, reason: str = "") -> None:
    record_audit(
        action,
        target=f"{row._meta.model_name} {row.pk}",
        reason=reason.strip()[:500],
        diff=diff,
        tenant_id=row.tenant_id if isinstance(row, Flow) else None,
        actor=by.actor,
        actor_role=by.role,
    )
