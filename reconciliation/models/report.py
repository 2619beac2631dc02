"""Reports, the mismatches they found, when the next one is due, and what a running one has read so far."""

from django.db import models
from django.db.models import F, Q

from integrations.models import Flow
from reconciliation.compare import LEFT_PARTS, PARTS, RIGHT_PARTS, Cause
from reconciliation.compare import Mismatch as Kind
from tenants.walls import TenantForeignKey, TenantModel


class ReportState(models.TextChoices):
    RUNNING = "running", "Comparing"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"


class Phase(models.TextChoices):
    READ_LEFT = "read_left", "Reading the source"
    READ_RIGHT = "read_right", "Reading the target"
    JOIN = "join", "Comparing"
    PAIRS = "pairs", "Looking at what differs"
    ALONE = "alone", "Looking for what is too much"


class Every(models.TextChoices):
    """How often a flow is compared without anybody asking."""

    DAILY = "daily", "Every night"
    WEEKLY = "weekly", "Every Sunday night"
    OFF = "off", "Only when asked"


KINDS = (
    (Kind.MISSING_RIGHT.value, "Missing at the target"),
    (Kind.MISSING_LEFT.value, "Missing at the source"),
    (Kind.DIFFERENT.value, "Different"),
    (Kind.DUPLICATE.value, "There twice"),
    (Kind.LINKED_TWICE.value, "Linked twice"),
    (Kind.LINKED_TO_NOTHING.value, "Linked to nothing"),
)
CAUSES = (
    (Cause.HAND.value, "Edited by hand at the target"),
    (Cause.NOT_DELIVERED.value, "Not delivered yet"),
    (Cause.HELD.value, "Waits for a person"),
    (Cause.MAP_GAP.value, "A rule or value map has no answer"),
    (Cause.ARCHIVED.value, "Archived or merged"),
    (Cause.DELETED.value, "Deleted on one side"),
    (Cause.MISSED.value, "Changed at the source and not read since"),
    (Cause.UNKNOWN.value, "Not known"),
)


def _sum_of(parts: tuple[str, ...]) -> models.expressions.Combinable:
    first, *rest = (F(str(part)) for part in parts)
    return sum(rest, start=first)


class Report(TenantModel):
    """One comparison of both sides of a flow. Its counts add up, and the database refuses one in which they do not.

    ``phase`` and ``place`` are where it stands; ``layout`` names the fields and rules by which its first pages were
    staged: when those change under way, it begins anew. ``read_left`` and ``read_right`` count what was read, for people
    who wait; ``left``, ``right`` and their parts are set as it compares. ``found`` mismatches were not there before,
    ``closed`` ones are no more.
    """

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="reports", db_index=False)
    trigger = models.CharField(max_length=20, default="schedule")
    actor = models.CharField(max_length=150, blank=True)
    revision_number = models.PositiveIntegerField(default=0)
    state = models.CharField(max_length=10, choices=ReportState, default=ReportState.RUNNING)
    code = models.CharField(max_length=60, blank=True)
    phase = models.CharField(max_length=10, choices=Phase, default=Phase.READ_LEFT)
    place = models.TextField(null=True)
    layout = models.CharField(max_length=64, blank=True)
    not_before = models.DateTimeField(null=True)
    lease_until = models.DateTimeField(null=True)
    fence = models.PositiveIntegerField(default=0)
    crashes = models.PositiveSmallIntegerField(default=0)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    read_left = models.PositiveIntegerField(default=0)
    read_right = models.PositiveIntegerField(default=0)
    left = models.PositiveIntegerField(default=0)
    right = models.PositiveIntegerField(default=0)
    agree = models.PositiveIntegerField(default=0)
    missing_left = models.PositiveIntegerField(default=0)
    missing_right = models.PositiveIntegerField(default=0)
    different = models.PositiveIntegerField(default=0)
    duplicate = models.PositiveIntegerField(default=0)
    linked_twice = models.PositiveIntegerField(default=0)
    linked_to_nothing = models.PositiveIntegerField(default=0)
    left_out = models.PositiveIntegerField(default=0)
    others = models.PositiveIntegerField(default=0)
    found = models.PositiveIntegerField(default=0)
    closed = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "flow"], condition=Q(state="running"), name="report_one_running_per_flow"
            ),
            models.CheckConstraint(name="report_left_adds_up", condition=Q(left=_sum_of(LEFT_PARTS))),
            models.CheckConstraint(name="report_right_adds_up", condition=Q(right=_sum_of(RIGHT_PARTS))),
        ]
        indexes = [
            models.Index(fields=["tenant", "flow", "-started_at"], name="report_newest"),
            models.Index(fields=["-started_at"], name="report_newest_of_all"),
        ]
        ordering = ["-started_at"]

    def __str__(self) -> str:
        return f"report {self.pk}"

    @property
    def counts(self) -> dict[str, int]:
        return {name: int(getattr(self, name)) for name in PARTS}

    @property
    def compared(self) -> int:
        """The records that should be equal: all of the left side but what is left out, and what is missing there."""
        return self.left - self.left_out + self.missing_left + self.duplicate

    @property
    def agreement(self) -> float | None:
        """In per cent, None where there was nothing to compare."""
        return 100 * self.agree / self.compared if self.compared else None


class Mismatch(TenantModel):
    """Something that is not equal on both sides, from the first report that saw it to the one that sees it no more.

    ``field`` is a target field, ``""`` where the record as a whole is meant. ``sealed_values`` holds both sides' values in
    words, encrypted and bound to this very mismatch; they are erased when it closes. ``report`` is the last one that saw it.
    """

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="mismatches", db_index=False)
    report = TenantForeignKey(Report, on_delete=models.CASCADE, related_name="mismatches", db_index=False)
    kind = models.CharField(max_length=20, choices=KINDS)
    source_key = models.CharField(max_length=64, blank=True)
    target_key = models.CharField(max_length=255, blank=True)
    field = models.CharField(max_length=160, blank=True)
    cause = models.CharField(max_length=20, choices=CAUSES, blank=True)
    code = models.CharField(max_length=60, blank=True)
    sealed_values = models.BinaryField(null=True)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "mismatches"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "flow", "kind", "source_key", "target_key", "field"],
                condition=Q(closed_at=None),
                name="mismatch_once_while_open",
            )
        ]
        indexes = [
            models.Index(fields=["tenant", "report"], name="mismatch_by_report"),
            models.Index(fields=["tenant", "-last_seen"], name="mismatch_newest"),
            models.Index(fields=["-last_seen"], name="mismatch_newest_of_all"),
            models.Index(
                fields=["tenant", "flow"],
                include=["cause", "first_seen"],
                name="mismatch_standing",
                condition=Q(closed_at=None),
            ),
        ]
        ordering = ["-last_seen"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.source_key or self.target_key}"


class Timetable(TenantModel):
    """How often a flow is compared, and when next."""

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="+", db_index=False)
    every = models.CharField(max_length=10, choices=Every, default=Every.DAILY)
    next_due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "flow"], name="timetable_once_a_flow")]
        indexes = [models.Index(fields=["next_due_at"], name="timetable_due")]

    def __str__(self) -> str:
        return str(self.every)


class Side(models.IntegerChoices):
    LEFT = 0
    RIGHT = 1
    MARK = 2
    """Not a side: the row by which a report knows that what it staged is still there."""
    PAIR = 3
    """What the join left over: a source key with a record or a link; ``marker`` is the target key that belongs to it, and
    ``standing`` says whether by a link."""
    ALONE = 4
    """And a target record without a link that carries a source key."""
    AGREED = 5
    """Keys of source records that a haul of target records agreed with, in ``digests``; ``marker`` is their number."""


class Staged(TenantModel):
    """A record of one side of a running report, as digests. ``marker`` is the source key that a target record carries.

    The table is not logged: a crash of the database empties it, whole, and the report begins anew. ``report_number`` has
    no key, the clinic's none either, and no row a number of its own: they would cost as much as the rows.
    Source records are there until their counterparts are read and agree with them; of the target those that agree with
    none. ``fingerprint`` is null where a record cannot be compared.
    """

    pk = models.CompositePrimaryKey("tenant_id", "report_number", "side", "key")
    tenant = models.ForeignKey(
        "tenants.Tenant",
        on_delete=models.DO_NOTHING,
        related_name="+",
        db_index=False,
        db_constraint=False,
        editable=False,
    )
    report_number = models.BigIntegerField()
    side = models.PositiveSmallIntegerField(choices=Side)
    key = models.CharField(max_length=255)
    marker = models.CharField(max_length=255, blank=True)
    standing = models.CharField(max_length=10, blank=True)
    fingerprint = models.BinaryField(null=True)
    digests = models.BinaryField(default=b"")

    class Meta:
        verbose_name_plural = "staged"

    def __str__(self) -> str:
        return self.key
