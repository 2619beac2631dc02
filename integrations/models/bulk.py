"""A long first load on its way: one file of rows at a time, handed to the vendor to be worked through."""

from django.db import models

from integrations.models.connection import Connection
from integrations.models.flow import Flow
from tenants.walls import TenantForeignKey, TenantModel


class BulkRunState(models.TextChoices):
    GATHERING = "gathering", "Making the list"
    STAGED = "staged", "List handed over"
    RUNNING = "running", "Being written"
    READING = "reading", "Reading the results"
    DONE = "done", "Done"
    FAILED = "failed", "Given up"


BULK_LIVE = (BulkRunState.GATHERING, BulkRunState.STAGED, BulkRunState.RUNNING, BulkRunState.READING)


class BulkRun(TenantModel):
    """Owns its *sending* deliveries for as long as it takes, pass after pass. Of a flow's live ones the eldest has its
    turn; the others are filled meanwhile.

    Pass 0 finds out who takes part: ``place`` is how far the target was read for it, ``looked`` how many records were.
    ``identifier`` is ours and goes along with the start, ``vendor_key`` names what was started. ``sent_at`` is when a
    start was sent, from before it goes out until the pass ends: without a ``vendor_key`` its answer is not known.
    ``tries`` counts what did not work in a pass before anything ran, ``polls`` the looks since the start.
    """

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="bulk_runs", db_index=False)
    target = TenantForeignKey(Connection, on_delete=models.PROTECT, related_name="+", db_index=False)
    revision_number = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=10, choices=BulkRunState, default=BulkRunState.GATHERING)
    code = models.CharField(max_length=60, blank=True)
    pass_number = models.PositiveSmallIntegerField(default=0)
    pass_name = models.CharField(max_length=40, blank=True)
    place = models.TextField(null=True)
    looked = models.PositiveIntegerField(default=0)
    identifier = models.CharField(max_length=64, blank=True)
    staged_key = models.TextField(blank=True)
    vendor_key = models.CharField(max_length=255, blank=True)
    file_digest = models.CharField(max_length=64, blank=True)
    rows = models.PositiveIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0)
    polls = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    not_before = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0)
    crashes = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "flow", "-started_at"], name="bulk_run_newest"),
            models.Index(
                fields=["tenant", "flow", "id"], condition=models.Q(state__in=BULK_LIVE), name="bulk_run_turns"
            ),
        ]
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return f"bulk run {self.pk}"
