"""Meters: what each flow did and how often each connection was called, day by day. Runs and deliveries go sooner."""

from django.core.validators import MinValueValidator
from django.db import models

from integrations.models.connection import Connection
from integrations.models.flow import Flow
from tenants.walls import TenantForeignKey, TenantModel


class FlowDay(TenantModel):
    """A day of a flow, in the clinic's zone. ``loaded`` are the records that first loads wrote; ``created``, ``updated``
    and ``archived`` leave them out.

    ``waits`` counts changes by how long the target was behind, in steps: step n ends at 1.1 ** n seconds, so that days add
    up to a month. ``held`` is what was on the error desk when the day was kept, None where that was long after its end.
    ``compared`` and ``agreed`` are the counts of the day's last report, None without one.
    """

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()
    passes = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    read = models.PositiveBigIntegerField(default=0)
    created = models.PositiveIntegerField(default=0)
    updated = models.PositiveIntegerField(default=0)
    archived = models.PositiveIntegerField(default=0)
    loaded = models.PositiveIntegerField(default=0)
    held = models.PositiveIntegerField(null=True)
    waits = models.JSONField(default=dict)
    compared = models.PositiveIntegerField(null=True)
    agreed = models.PositiveIntegerField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "day", "flow"], name="flow_day_once")]

    def __str__(self) -> str:
        return f"{self.day}"


class ConnectionDay(TenantModel):
    """How many requests a connection's vendor was sent on a day, in the clinic's zone."""

    connection = TenantForeignKey(Connection, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()
    calls = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "day", "connection"], name="connection_day_once")]

    def __str__(self) -> str:
        return f"{self.day}"


class HandTime(TenantModel):
    """How many minutes a clinic takes to copy one record of a flow kind by hand, where it says other than the kind does."""

    kind = models.CharField(max_length=60)
    minutes = models.DecimalField(max_digits=5, decimal_places=1, validators=[MinValueValidator(0)])

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "kind"], name="hand_time_once_a_kind")]

    def __str__(self) -> str:
        return self.kind
