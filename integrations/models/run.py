"""One execution of a flow. Its counts add up, and the database refuses a row in which they do not."""

from django.db import models
from django.db.models import F

from integrations.models.flow import Flow
from tenants.walls import TenantForeignKey, TenantModel

BUCKETS = ("created", "updated", "archived", "unchanged", "skipped", "held", "uncertain", "waiting", "superseded")
"""Where each record a run read ends, or stands now."""


class RunState(models.TextChoices):
    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped for a person"


class Run(TenantModel):
    """A pass over the source. ``since`` None means everything; ``place`` is where the pass stands; ``vendor_now`` the
    vendor's clock at its start and ``newest_seen`` the newest change it read: together they become the watermark.

    A backfill is a pass of its own beside the flow's ordinary ones: it reads everything, takes what was made from
    ``made_from`` on, whatever the flow's start, and leaves the flow's watermark alone.
    """

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="runs")
    trigger = models.CharField(max_length=20, default="schedule")
    revision_number = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=10, choices=RunState, default=RunState.RUNNING)
    code = models.CharField(max_length=60, blank=True)
    is_backfill = models.BooleanField(default=False)
    made_from = models.DateTimeField(null=True)
    since = models.DateTimeField(null=True)
    place = models.TextField(null=True)
    vendor_now = models.DateTimeField(null=True)
    newest_seen = models.DateTimeField(null=True)
    expected = models.PositiveIntegerField(null=True)
    pages = models.PositiveIntegerField(default=0)
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
    uncertain = models.PositiveIntegerField(default=0)
    waiting = models.PositiveIntegerField(default=0)
    superseded = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="run_counts_add_up",
                condition=models.Q(read=sum((F(bucket) for bucket in BUCKETS[1:]), start=F(BUCKETS[0]))),
            ),
            models.UniqueConstraint(
                fields=["tenant", "flow", "is_backfill"],
                condition=models.Q(state__in=["running", "paused"]),
                name="run_one_live_per_flow",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant", "flow", "-started_at"], name="run_newest"),
            models.Index(fields=["-started_at"], name="run_newest_of_all"),
        ]
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return f"run {self.pk}"
