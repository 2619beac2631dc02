"""The budget of one credential at one vendor, shared by every process."""

from django.db import models

from tenants.walls import SystemModel


class QuotaBudget(SystemModel):
    """One row per vendor and subject (who the vendor counts requests against).

    Both styles are one leaking bucket. ``empty_at`` is the instant at which it holds nothing; each grant moves it on by
    cost / rate, and it never lags further behind than the bucket is large. Instants are seconds since 1970 on the
    database's clock, so that the arithmetic here and in ``toolkit.quota`` is the same.

    ``amount``, ``per_s`` and ``capacity`` begin as the connector states them. ``amount`` and ``capacity`` of a POINTS
    budget follow the vendor's answers; ``per_s`` is how long the vendor's unit of time takes here.
    ``inflight`` are points asked for whose answers are out; it decays, since a killed process settles nothing.
    ``live_until``: until then work that a person or an event waits for comes first.
    ``spent`` counts for people, in the window of ``per_s`` that began at ``window_at`` and in the one before.
    """

    vendor = models.CharField(max_length=40)
    subject = models.CharField(max_length=200)
    style = models.CharField(max_length=10)
    amount = models.FloatField()
    per_s = models.FloatField()
    capacity = models.FloatField(default=0)
    empty_at = models.FloatField(default=0)
    inflight = models.FloatField(default=0)
    inflight_at = models.FloatField(default=0)
    blocked_until = models.FloatField(default=0)
    live_until = models.FloatField(default=0)
    window_at = models.FloatField(default=0)
    spent = models.FloatField(default=0)
    spent_before = models.FloatField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["vendor", "subject"], name="quota_budget_subject"),
            models.CheckConstraint(condition=models.Q(amount__gt=0, per_s__gt=0), name="quota_budget_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.vendor} {self.subject}"
