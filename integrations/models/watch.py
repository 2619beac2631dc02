"""What is looked after clinic by clinic: the desk's totals, how much a flow usually brings, and the weekly digest."""

from django.db import models

from integrations.models.flow import Flow
from tenants.walls import TenantForeignKey, TenantModel


class Watch(TenantModel):
    """When a clinic is looked at next, and what was seen last. ``counted_to`` is the hour up to which volumes are kept.

    ``expected_today`` is how many records it has brought by now on other such days, ``quiet_for`` how many it would have
    brought since the last one came: together they tell a day on which all clinics are closed.
    """

    next_at = models.DateTimeField()
    digest_due_at = models.DateTimeField(null=True)
    counted_to = models.DateTimeField(null=True)
    expected_today = models.FloatField(default=0)
    quiet_for = models.FloatField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="watch_once_a_clinic")]
        indexes = [models.Index(fields=["next_at"], name="watch_due")]
        verbose_name_plural = "watches"

    def __str__(self) -> str:
        return f"next at {self.next_at:%H:%M}"


class Volume(TenantModel):
    """How many records a flow brought in one hour, which began at ``hour``; hours without any have no row."""

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="volumes", db_index=False)
    hour = models.DateTimeField()
    records = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "flow", "hour"], name="volume_once_an_hour")]

    def __str__(self) -> str:
        return f"{self.records} at {self.hour:%Y-%m-%d %H}"


class Digest(TenantModel):
    """What waited at a clinic at the end of a week, told its managers by mail, and who signed it off.

    ``waiting`` holds counts only: ``lanes`` by owner and age, ``kinds`` by code; ``signed_waiting`` the same, as it was
    when somebody signed. A mail is claimed (``mailed_at``) before it goes out.
    """

    made_at = models.DateTimeField()
    waiting = models.JSONField(default=dict)
    mailed_at = models.DateTimeField(null=True)
    signed_at = models.DateTimeField(null=True)
    signed_by = models.CharField(max_length=320, blank=True)
    signed_waiting = models.JSONField(default=dict)

    class Meta:
        indexes = [
            models.Index(fields=["tenant", "-made_at"], name="digest_newest"),
            models.Index(fields=["-made_at"], name="digest_newest_of_all"),
        ]
        ordering = ["-made_at"]

    def __str__(self) -> str:
        return f"digest of {self.made_at:%Y-%m-%d}"
