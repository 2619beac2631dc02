"""The sync log: append-only, what happened to which key. No personal values."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from integrations.models.flow import Flow
from tenants.walls import TenantForeignKey, TenantModel


class Action(models.TextChoices):
    CREATE = "create", "Create"
    UPDATE = "update", "Update"
    ARCHIVE = "archive", "Mark as archived"
    LINK = "link", "Link"
    UNLINK = "unlink", "Unlink"
    MOVE = "move", "Follow a merge"
    MAP = "map", "Map"
    LOOK = "look", "Look up"
    SKIP = "skip", "Skip"


class Outcome(models.TextChoices):
    OK = "ok", "Done"
    SAME = "same", "Already so"
    HELD = "held", "Needs a person"
    RETRY = "retry", "Will be tried again"
    UNCERTAIN = "uncertain", "Checking what happened"
    PREVIEW = "preview", "Would be done"
    SKIPPED = "skipped", "Skipped"


class SyncLogEntry(TenantModel):
    """One line. ``fields`` are names of target fields, ``run_id`` a number without a key (runs age out sooner)."""

    at = models.DateTimeField()
    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="+")
    run_number = models.BigIntegerField(null=True)
    source_key = models.CharField(max_length=64)
    target_key = models.CharField(max_length=255, blank=True)
    action = models.CharField(max_length=10, choices=Action)
    outcome = models.CharField(max_length=10, choices=Outcome)
    code = models.CharField(max_length=60, blank=True)
    fields = ArrayField(models.CharField(max_length=160), default=list)
    duration_ms = models.PositiveIntegerField(null=True)
    request_id = models.CharField(max_length=120, blank=True)
    actor = models.CharField(max_length=150, blank=True)

    class Meta:
        verbose_name = "sync log entry"
        verbose_name_plural = "sync log"
        indexes = [
            models.Index(fields=["tenant", "-at"], name="log_newest"),
            models.Index(fields=["-at"], name="log_newest_of_all"),
            models.Index(fields=["tenant", "source_key", "-at"], name="log_by_source"),
            models.Index(fields=["tenant", "target_key", "-at"], name="log_by_target"),
        ]
        ordering = ["-at"]

    def __str__(self) -> str:
        return f"{self.get_action_display()} {self.source_key}"
