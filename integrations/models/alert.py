"""Alerts: that a connection stopped and people must know, told once, and that it works again."""

from django.db import models
from django.db.models import Q

from integrations.models.connection import Connection
from tenants.walls import TenantForeignKey, TenantModel

UNTOLD = Q(told_at=None, ended_at=None) | Q(told_at__isnull=False, ended_at__isnull=False, end_told_at=None)
"""What people should hear: that it began and, where they heard that, that it ended."""


class Call(models.TextChoices):
    """What failed: only the same succeeding shows that it is over."""

    READ = "read", "Reading"
    WRITE = "write", "Writing"
    TEST = "test", "A test"


class Alert(TenantModel):
    """A stretch of time in which a connection could not be used, and ``code``, which began it.

    ``told_at`` and ``end_told_at`` are set before a mail goes out: it may be lost, and is never sent twice. An alert
    that ended before anybody was told of it stays untold.
    """

    connection = TenantForeignKey(Connection, on_delete=models.CASCADE, related_name="alerts", db_index=False)
    code = models.CharField(max_length=60)
    call = models.CharField(max_length=10, choices=Call)
    opened_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    end_told_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "connection"], condition=Q(ended_at=None), name="alert_one_open")
        ]
        indexes = [models.Index(fields=["tenant"], condition=UNTOLD, name="alert_untold")]
        ordering = ["-opened_at"]

    def __str__(self) -> str:
        return self.code
