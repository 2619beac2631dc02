"""Repairs: what was chosen to be brought in line, what each record would get and got, and what was there before."""

from django.db import models
from django.db.models import Q

from integrations.models import Flow
from tenants.walls import TenantForeignKey, TenantModel


class RepairState(models.TextChoices):
    PREVIEWING = "previewing", "Being looked at"
    PROPOSED = "proposed", "Waits for approval"
    SENDING = "sending", "Being delivered"
    DONE = "done", "Done"
    UNDOING = "undoing", "Being taken back"
    UNDONE = "undone", "Taken back"
    DECLINED = "declined", "Declined"
    LAPSED = "lapsed", "Never approved"
    FAILED = "failed", "Given up"


class StepState(models.TextChoices):
    PLANNED = "planned", "Not looked at yet"
    READY = "ready", "Will be written"
    LEFT = "left", "Nothing to write"
    SENT = "sent", "On its way"
    IN_LINE = "in_line", "In line"
    UNEQUAL = "unequal", "Still not equal"


class UndoState(models.TextChoices):
    NONE = "", "–"
    SENT = "sent", "On its way back"
    UNDONE = "undone", "As it was before"
    PARTLY = "partly", "Partly as it was before"
    KEPT = "kept", "Could not be taken back"


class Repair(TenantModel):
    """Some records of one flow on their way from a preview to being equal on both sides, and back where somebody wants.

    ``proposed_by`` and ``approved_by`` are people as the audit names them; where ``needs_second`` they are different ones.
    ``records`` is how many were chosen; ``in_line`` and ``unequal`` are set once all were read again, ``undone`` and
    ``kept`` once all that could be taken back was. ``undo_until`` is when what was there before is forgotten.
    """

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="+", db_index=False)
    state = models.CharField(max_length=10, choices=RepairState, default=RepairState.PREVIEWING)
    code = models.CharField(max_length=60, blank=True)
    proposed_by = models.CharField(max_length=320)
    proposed_at = models.DateTimeField()
    needs_second = models.BooleanField(default=False)
    approved_by = models.CharField(max_length=320, blank=True)
    approved_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    undone_by = models.CharField(max_length=320, blank=True)
    undo_reason = models.CharField(max_length=255, blank=True)
    undo_until = models.DateTimeField(null=True)
    records = models.PositiveIntegerField(default=0)
    in_line = models.PositiveIntegerField(default=0)
    unequal = models.PositiveIntegerField(default=0)
    undone = models.PositiveIntegerField(default=0)
    kept = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0)
    crashes = models.PositiveSmallIntegerField(default=0)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-proposed_at"], name="repair_newest"),
            models.Index(fields=["-proposed_at"], name="repair_newest_of_all"),
            models.Index(
                fields=["id"], name="repair_at_work", condition=Q(state__in=["previewing", "sending", "undoing"])
            ),
        ]
        ordering = ["-proposed_at"]

    def __str__(self) -> str:
        return f"repair {self.pk}"


class RepairStep(TenantModel):
    """One record of a repair.

    ``action`` is what the preview foresaw (create, update, archive), ``outcome`` what the delivery did, ``code`` why
    nothing is written or why it is still not equal. ``sealed_preview`` holds, per field, both values in words;
    ``sealed_before`` the typed values of the target fields that were written over, kept in the transaction that announced
    the write. ``fields`` are their names; ``digests`` and ``left`` what had been remembered of them before, and what the
    target answered. Of what is taken back, ``kept_fields`` are those that could not be.
    """

    repair = TenantForeignKey(Repair, on_delete=models.CASCADE, related_name="steps", db_index=False)
    source_key = models.CharField(max_length=64)
    target_key = models.CharField(max_length=255, blank=True)
    state = models.CharField(max_length=10, choices=StepState, default=StepState.PLANNED)
    action = models.CharField(max_length=10, blank=True)
    outcome = models.CharField(max_length=12, blank=True)
    code = models.CharField(max_length=60, blank=True)
    sealed_preview = models.BinaryField(null=True)
    sealed_before = models.BinaryField(null=True)
    fields = models.JSONField(default=list)
    digests = models.JSONField(default=dict)
    left = models.JSONField(default=dict)
    was_gone = models.BooleanField(default=False)
    undo_state = models.CharField(max_length=10, choices=UndoState, default=UndoState.NONE, blank=True)
    undo_code = models.CharField(max_length=60, blank=True)
    kept_fields = models.JSONField(default=list)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "repair", "source_key"], name="repair_step_once"),
        ]
        indexes = [
            models.Index(fields=["tenant", "repair", "state", "id"], name="repair_step_by_state"),
        ]

    def __str__(self) -> str:
        return str(self.source_key)
