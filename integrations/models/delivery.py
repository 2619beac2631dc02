"""The outbox: one wish on its way to one target, and the write-ahead intent of its write."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models

from integrations.models.bulk import BulkRun
from integrations.models.connection import Connection
from integrations.models.flow import Flow
from integrations.models.run import Run
from tenants.models import Tenant
from tenants.walls import TenantForeignKey, TenantModel


class DeliveryState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    HELD = "held", "Needs a person"
    CLAIMED = "claimed", "Being worked on"
    SENDING = "sending", "Being written"
    UNCERTAIN = "uncertain", "Checking what happened"
    DONE = "done", "Done"


OPEN = (DeliveryState.WAITING, DeliveryState.HELD)
IN_FLIGHT = (DeliveryState.CLAIMED, DeliveryState.SENDING, DeliveryState.UNCERTAIN)


class Delivery(TenantModel):
    """Per flow and source key at most one open and one in flight; an open one is not claimed while another flies.

    ``sealed_draft`` holds the wish, encrypted with the clinic's key and bound to tenant, flow and source key; it is
    erased when the delivery is done. A record that could not be mapped has none: it is read again on retry.
    ``guarded`` marks a wish that archives or clears and so waits for its pass to end (mass-change guard).
    ``codes`` are all problems, ``code`` the first. ``plan`` says, without values, what was or would be done.
    ``decision`` is what a person chose on the error desk (a candidate, fields to leave out), and the repair that it
    belongs to, with what it takes back where it does.
    ``looks`` counts empty look-ups of an uncertain create, and before that waits for a parent; ``crashes`` claims that
    ended without a word. ``changed_at`` is when the source record changed, on its vendor's clock: how fresh the target
    is counts from then. ``waits_for`` names the parents (stream/key) whose links would send it on; ``answers_for`` the
    keys of records that were merged into this one before it had a link to answer for them.

    A row of a bulk run (``bulk_run``) is *sending* without a lease: nobody claims it before the bulk run lets it go.
    ``bulk_line`` is its line in the present file, and ``sealed_target`` what the target answered in passes before.
    ``singly`` marks what a bulk run left out, or keeps back until its first pass is over.
    """

    tenant = models.ForeignKey(  # the database need not look: every flow's clinic exists, and each check costs a write
        Tenant, on_delete=models.PROTECT, related_name="+", db_index=False, db_constraint=False, editable=False
    )
    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    run = TenantForeignKey(Run, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    target = TenantForeignKey(Connection, on_delete=models.PROTECT, related_name="+", db_index=False)
    source_key = models.CharField(max_length=64)
    source_version = models.CharField(max_length=64, blank=True)
    revision_number = models.PositiveIntegerField(default=0)
    wish = models.BinaryField(null=True)
    sealed_draft = models.BinaryField(null=True)
    state = models.CharField(max_length=10, choices=DeliveryState, default=DeliveryState.WAITING)
    outcome = models.CharField(max_length=12, blank=True)
    code = models.CharField(max_length=60, blank=True)
    codes = models.JSONField(default=list)
    notes = models.JSONField(default=list)
    plan = models.JSONField(default=dict)
    decision = models.JSONField(default=dict)
    candidates = ArrayField(models.CharField(max_length=255), default=list)
    waits_for = ArrayField(models.CharField(max_length=110), default=list)
    answers_for = ArrayField(models.CharField(max_length=64), default=list)
    target_key = models.CharField(max_length=255, blank=True)
    guarded = models.BooleanField(default=False)
    backfill = models.BooleanField(default=False)
    tries = models.PositiveSmallIntegerField(default=0)
    crashes = models.PositiveSmallIntegerField(default=0)
    looks = models.PositiveSmallIntegerField(default=0)
    creates = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField()
    lease_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    bulk_run = TenantForeignKey(BulkRun, null=True, on_delete=models.RESTRICT, related_name="+", db_index=False)
    bulk_line = models.PositiveIntegerField(null=True)
    sealed_target = models.BinaryField(null=True)
    singly = models.BooleanField(default=False)
    ignored_until = models.DateTimeField(null=True)
    ignored_reason = models.CharField(max_length=255, blank=True)
    changed_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    held_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "flow", "source_key"],
                condition=models.Q(state__in=OPEN),
                name="delivery_one_open",
            ),
            models.UniqueConstraint(
                fields=["tenant", "flow", "source_key"],
                condition=models.Q(state__in=IN_FLIGHT),
                name="delivery_one_in_flight",
            ),
            models.UniqueConstraint(
                fields=["tenant", "bulk_run", "bulk_line"],
                condition=models.Q(bulk_line__isnull=False),
                name="delivery_one_a_line",
            ),
            models.CheckConstraint(
                name="delivery_bulk_has_no_lease",
                condition=models.Q(bulk_run__isnull=True, bulk_line__isnull=True, sealed_target__isnull=True)
                | models.Q(bulk_run__isnull=False, state="sending", lease_until__isnull=True),
            ),
        ]
        indexes = [
            models.Index(
                fields=["tenant", "target", "backfill", "not_before"],
                name="delivery_due",
                condition=models.Q(state="waiting"),
            ),
            models.Index(
                fields=["tenant", "target", "not_before"],
                name="delivery_in_flight",
                condition=models.Q(state__in=IN_FLIGHT, bulk_run__isnull=True),
            ),
            models.Index(
                fields=["tenant", "-held_at"],
                include=["code", "ignored_until"],
                name="delivery_held",
                condition=models.Q(state="held"),
            ),
            models.Index(
                fields=["-held_at"],
                include=["tenant", "code", "ignored_until"],
                name="delivery_held_newest",
                condition=models.Q(state="held"),
            ),
            models.Index(fields=["tenant", "source_key", "flow"], name="delivery_by_key"),
            GinIndex(fields=["waits_for"], name="delivery_waits_for", condition=models.Q(code="parent.missing")),
            models.Index(fields=["tenant", "run"], name="delivery_by_run"),
            models.Index(
                fields=["tenant", "bulk_run", "id"],
                name="delivery_by_bulk_run",
                condition=models.Q(bulk_run__isnull=False),
            ),
            models.Index(fields=["tenant", "done_at"], name="delivery_done", condition=models.Q(state="done")),
            models.Index(
                fields=["tenant", "flow", "-done_at"],
                include=["changed_at"],
                name="delivery_freshness",
                condition=models.Q(state="done", backfill=False, changed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source_key} ({self.get_state_display()})"
