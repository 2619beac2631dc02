"""Configurations that are not live yet, and what they would do, record by record."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from integrations.models.flow import Flow
from tenants.walls import TenantForeignKey, TenantModel


class ProposalState(models.TextChoices):
    OPEN = "open", "Not published yet"
    PUBLISHED = "published", "Published"
    WITHDRAWN = "withdrawn", "Taken back"


class Proposal(TenantModel):
    """A configuration that somebody wants for a flow. ``based_on`` is the revision it departs from,
    ``published_number`` the one it became."""

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="proposals", db_index=False)
    config = models.JSONField()
    based_on = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=ProposalState, default=ProposalState.OPEN)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    note = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    published_number = models.PositiveIntegerField(null=True)

    class Meta:
        indexes = [models.Index(fields=["tenant", "flow", "-id"], name="proposal_newest")]
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"proposal {self.pk}"


class RehearsalState(models.TextChoices):
    RUNNING = "running", "Under way"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"


class Rehearsal(TenantModel):
    """What a proposal would do with the records of the last days, beside what the flow does with them now.

    ``config`` is the proposal's as it was rehearsed, ``revision_number`` the one it is held against. ``place`` is where
    the reading stands; ``is_cut`` says that there were more than ``most`` records. The counts tell of the proposal:
    ``created`` to ``unclear`` add up to ``read``; ``changed`` records end otherwise than now, ``newly_held`` of them wait
    for a person and do not now. ``fields`` counts changed records by target field, ``codes`` what would be newly held or
    left out by code.
    """

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="rehearsals", db_index=False)
    proposal = TenantForeignKey(Proposal, on_delete=models.CASCADE, related_name="rehearsals", db_index=False)
    config = models.JSONField()
    revision_number = models.PositiveIntegerField()
    actor = models.CharField(max_length=150, blank=True)
    state = models.CharField(max_length=10, choices=RehearsalState, default=RehearsalState.RUNNING)
    code = models.CharField(max_length=60, blank=True)
    since = models.DateTimeField()
    most = models.PositiveIntegerField()
    expected = models.PositiveIntegerField(null=True)
    place = models.TextField(null=True)
    is_cut = models.BooleanField(default=False)
    not_before = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0)
    crashes = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    read = models.PositiveIntegerField(default=0)
    created = models.PositiveIntegerField(default=0)
    updated = models.PositiveIntegerField(default=0)
    archived = models.PositiveIntegerField(default=0)
    unchanged = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    held = models.PositiveIntegerField(default=0)
    unclear = models.PositiveIntegerField(default=0)
    changed = models.PositiveIntegerField(default=0)
    newly_held = models.PositiveIntegerField(default=0)
    fields = models.JSONField(default=dict)
    codes = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "flow"], condition=Q(state="running"), name="rehearsal_one_running_per_flow"
            ),
            models.CheckConstraint(
                name="rehearsal_adds_up",
                condition=Q(
                    read=models.F("created")
                    + models.F("updated")
                    + models.F("archived")
                    + models.F("unchanged")
                    + models.F("skipped")
                    + models.F("held")
                    + models.F("unclear")
                ),
            ),
        ]
        indexes = [models.Index(fields=["tenant", "proposal", "-id"], name="rehearsal_newest")]
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"rehearsal {self.pk}"


class Prediction(TenantModel):
    """What a rehearsal foretells of one record, to be held against what happens. No values but in ``sealed_sample``.

    ``action``, ``code`` and ``fields`` are what the proposal leads to, ``was_action`` and ``was_code`` what the flow does
    now. ``claims`` are what the record would take at the target for itself (a record's key, digests of natural keys),
    now and as proposed: whoever comes after it meets them.
    """

    rehearsal = TenantForeignKey(Rehearsal, on_delete=models.CASCADE, related_name="predictions", db_index=False)
    source_key = models.CharField(max_length=64)
    action = models.CharField(max_length=10)
    code = models.CharField(max_length=60, blank=True)
    fields = ArrayField(models.CharField(max_length=160), default=list)
    was_action = models.CharField(max_length=10)
    was_code = models.CharField(max_length=60, blank=True)
    is_changed = models.BooleanField(default=False)
    claims = ArrayField(models.CharField(max_length=300), default=list)
    sealed_sample = models.BinaryField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "rehearsal", "source_key"], name="prediction_once"),
        ]
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.source_key
