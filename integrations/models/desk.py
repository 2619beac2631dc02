"""What people add to records on the error desk. It belongs to the record, so that a newer wish for it changes nothing."""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from integrations.models.flow import Flow
from tenants.walls import TenantForeignKey, TenantModel


class Override(TenantModel):
    """A value that a person gave for one source field of one record, until the source's own value changes.

    ``field`` is a name that rules read. ``sealed_value`` is bound to clinic, flow, record and field; ``seen_digest`` is
    the keyed digest of what the source said when it was given, ``""`` for nothing.
    """

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="overrides", db_index=False)
    source_key = models.CharField(max_length=64)
    field = models.CharField(max_length=160)
    sealed_value = models.BinaryField(editable=False)
    seen_digest = models.CharField(max_length=64, blank=True)
    author = models.CharField(max_length=320)
    made_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "flow", "source_key", "field"], name="override_once_a_field")
        ]

    def __str__(self) -> str:
        return f"{self.field} of {self.source_key}"


class Comment(TenantModel):
    """What somebody wrote about a record, for whoever looks at it next."""

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="+", db_index=False)
    source_key = models.CharField(max_length=64)
    author = models.CharField(max_length=320)
    text = models.CharField(max_length=500)
    at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["tenant", "flow", "source_key", "at"], name="comment_of_record")]
        ordering = ["at"]

    def __str__(self) -> str:
        return f"on {self.source_key}"


class Assignment(TenantModel):
    """Whose turn it is with a record: the account's name of one of the clinic's people or of the agency's."""

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="+", db_index=False)
    source_key = models.CharField(max_length=64)
    assignee = models.CharField(max_length=150)
    at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "flow", "source_key"], name="assignment_once_a_record")
        ]
        indexes = [models.Index(fields=["tenant", "assignee"], name="assignment_of_person")]

    def __str__(self) -> str:
        return f"{self.source_key}: {self.assignee}"


class RerunState(models.TextChoices):
    CANARY = "canary", "The first few are on their way"
    READY = "ready", "Waits for the first few"
    RUNNING = "running", "The rest is on its way"
    DONE = "done", "Done"
    STOPPED = "stopped", "Stopped"


RERUN_LIVE = (RerunState.CANARY, RerunState.READY, RerunState.RUNNING)


class Rerun(TenantModel):
    """Many held records of a clinic sent again: a few first (``canary``), and the rest once these went through.

    ``chosen`` says which, as questions to the desk; only what was held before ``begun_at`` belongs to it, so that one
    that comes back is not sent twice. ``series`` is shared by the reruns of several clinics that were begun together:
    the few are few among all of them. ``sent`` counts what went out, of ``total``; ``code`` says why it stopped.
    """

    series = models.UUIDField()
    chosen = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=RerunState, default=RerunState.READY)
    canary = ArrayField(models.BigIntegerField(), default=list)
    total = models.PositiveIntegerField(default=0)
    sent = models.PositiveIntegerField(default=0)
    code = models.CharField(max_length=60, blank=True)
    author = models.CharField(max_length=320)
    not_before = models.DateTimeField()
    begun_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-begun_at"], name="rerun_newest"),
            models.Index(fields=["-begun_at"], name="rerun_newest_of_all"),
            models.Index(fields=["series"], name="rerun_of_series"),
            models.Index(fields=["not_before"], condition=Q(state__in=RERUN_LIVE), name="rerun_due"),
        ]
        ordering = ["-begun_at"]

    def __str__(self) -> str:
        return f"rerun {self.pk}"
