"""Blueprints: one configuration for the flows of many clinics, its versions, and how a version comes to each clinic."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from integrations.models.flow import Flow
from integrations.models.proposal import Proposal
from tenants.walls import AgencyModel, TenantForeignKey, TenantModel


class Blueprint(AgencyModel):
    """``config`` is what the agency edits: departures from the flow kind, as a clinic's own are. ``number`` is the newest
    version's, 0 before the first."""

    agency = models.ForeignKey("tenants.Agency", on_delete=models.PROTECT, related_name="+", db_index=False)
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=60)
    config = models.JSONField(default=dict)
    number = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["agency", "name"], name="blueprint_name_once")]
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class BlueprintVersion(AgencyModel):
    """A frozen, numbered snapshot of a blueprint."""

    blueprint = models.ForeignKey(Blueprint, on_delete=models.CASCADE, related_name="versions", db_index=False)
    number = models.PositiveIntegerField()
    config = models.JSONField()
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["blueprint", "number"], name="blueprint_version_once")]
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"version {self.number}"


class RolloutState(models.TextChoices):
    PREPARED = "prepared", "Prepared"
    FIRST = "first", "First clinics"
    REST = "rest", "All clinics"
    DONE = "done", "Published"
    STOPPED = "stopped", "Stopped"
    UNDONE = "undone", "Rolled back"


ROLLOUT_OPEN = (RolloutState.PREPARED, RolloutState.FIRST, RolloutState.REST)


class Rollout(AgencyModel):
    """One version on its way to the clinics that follow its blueprint: the first ones, a wait, then the rest."""

    blueprint = models.ForeignKey(Blueprint, on_delete=models.CASCADE, related_name="rollouts")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=RolloutState, default=RolloutState.PREPARED)
    made_at = models.DateTimeField()
    first_at = models.DateTimeField(null=True)
    rest_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["blueprint"], condition=Q(state__in=ROLLOUT_OPEN), name="rollout_one_open")
        ]
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"rollout of version {self.number}"


class Following(TenantModel):
    """That a clinic's flow follows a blueprint. All that the clinic knows of it stands here: its name and its lines.

    ``number`` is the version that the flow runs by, 0 before the first, and ``config`` that version's lines. ``own`` are
    the places that stay the clinic's whatever the blueprint says; so does every other place at which the flow differs.
    """

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="followings", db_index=False)
    blueprint = models.ForeignKey(Blueprint, on_delete=models.DO_NOTHING, related_name="followings")
    name = models.CharField(max_length=80)
    number = models.PositiveIntegerField(default=0)
    config = models.JSONField(default=dict)
    own = ArrayField(models.CharField(max_length=400), default=list)
    since = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "flow"], name="following_once")]
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.name


class StepState(models.TextChoices):
    PLANNED = "planned", "Not yet"
    DUE = "due", "Being published"
    DONE = "done", "Runs by it"
    REFUSED = "refused", "Could not take it"
    STOPPED = "stopped", "Left as it was"
    BACK = "back", "Being rolled back"
    UNDONE = "undone", "Rolled back"


class RolloutStep(TenantModel):
    """One flow's part of a rollout: what it is brought, by whom, and what became of it.

    ``before`` is its following as it was (``number``, ``config``, ``own``), ``from_revision`` and ``revision_number`` the
    flow's revisions before and after. ``asks_rehearsal`` until its proposal is being rehearsed.
    """

    rollout = models.ForeignKey(Rollout, on_delete=models.DO_NOTHING, related_name="steps")
    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="rollout_steps")
    name = models.CharField(max_length=80)
    number = models.PositiveIntegerField()
    config = models.JSONField()
    note = models.CharField(max_length=200, blank=True)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    actor = models.CharField(max_length=320)
    actor_role = models.CharField(max_length=20)
    is_first = models.BooleanField(default=False)
    state = models.CharField(max_length=10, choices=StepState, default=StepState.PLANNED)
    asks_rehearsal = models.BooleanField(default=False)
    proposal = TenantForeignKey(Proposal, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False)
    before = models.JSONField(default=dict)
    from_revision = models.PositiveIntegerField(null=True)
    revision_number = models.PositiveIntegerField(null=True)
    why = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "rollout", "flow"], name="rollout_step_once")]
        indexes = [
            models.Index(
                fields=["id"], condition=Q(state__in=["due", "back"]) | Q(asks_rehearsal=True), name="rollout_step_due"
            )
        ]
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.name} {self.number}"
