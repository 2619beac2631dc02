"""Alerts: that a connection stopped, or a flow's records wait or stay away, and people must know; told once."""

from django.db import models
from django.db.models import Q

from integrations.models.connection import Connection
from integrations.models.flow import Flow
from tenants.walls import TenantForeignKey, TenantModel


class Telling(models.TextChoices):
    """Who tells of it."""

    UNDECIDED = "", "Not decided yet"
    OWN = "own", "A mail of its own"
    MANAGERS = "managers", "The agency by its incident, the clinic's managers by a mail of their own"
    INCIDENT = "incident", "Its incident"


UNTOLD = Q(telling__in=(Telling.OWN, Telling.MANAGERS)) & (
    Q(told_at=None, ended_at=None) | Q(told_at__isnull=False, ended_at__isnull=False, end_told_at=None)
)
"""What people should hear by a mail of its own: that it began and, where they heard that, that it ended."""


class Call(models.TextChoices):
    """What failed: only the same succeeding shows that it is over."""

    READ = "read", "Reading"
    WRITE = "write", "Writing"
    TEST = "test", "A test"
    RECORDS = "records", "Records that wait"
    SILENCE = "silence", "Records that stay away"


class Alert(TenantModel):
    """A stretch of time in which a connection could not be used, and ``code``, which began it; or in which many records
    of a ``flow`` waited for the same reason (``code`` and ``field``; ``records`` is how many), or none came (``field``
    then says why). What is about a flow ends silently.

    ``told_at`` and ``end_told_at`` are set before a mail goes out: it may be lost, and is never sent twice. An alert
    that ended before anybody was told of it stays untold. ``incident`` is the agency's, and takes in a connection's alert
    soon after it was opened.
    """

    connection = TenantForeignKey(
        Connection, on_delete=models.CASCADE, null=True, related_name="alerts", db_index=False
    )
    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, null=True, related_name="alerts", db_index=False)
    # an incident is removed only after its alerts, so that nothing here has to be looked for
    incident = models.ForeignKey("integrations.Incident", on_delete=models.DO_NOTHING, null=True, related_name="alerts")
    telling = models.CharField(max_length=10, choices=Telling, default=Telling.UNDECIDED, blank=True)
    code = models.CharField(max_length=60)
    field = models.CharField(max_length=60, blank=True)
    records = models.PositiveIntegerField(default=0)
    call = models.CharField(max_length=10, choices=Call)
    opened_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    end_told_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "connection"], condition=Q(ended_at=None), name="alert_one_open"),
            models.UniqueConstraint(
                fields=["tenant", "flow", "code", "field"], condition=Q(ended_at=None), name="alert_one_open_a_flow"
            ),
            models.CheckConstraint(
                condition=Q(connection__isnull=False, flow=None) | Q(connection=None, flow__isnull=False),
                name="alert_about_one_thing",
            ),
        ]
        indexes = [
            models.Index(fields=["tenant"], condition=UNTOLD, name="alert_untold"),
            models.Index(fields=["tenant"], condition=Q(telling="", ended_at=None), name="alert_undecided"),
        ]
        ordering = ["-opened_at"]

    def __str__(self) -> str:
        return self.code
