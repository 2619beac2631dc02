"""Reports by mail: who hears of a clinic's when, and the links that lead there, of which only digests are kept."""

from django.conf import settings
from django.db import models

from reconciliation.models.report import Report
from tenants.walls import TenantForeignKey, TenantModel


class MailEvery(models.TextChoices):
    """When a clinic's people are told how its flows agree."""

    FINDINGS = "findings", "After a night that found something new"
    WEEKLY = "weekly", "Every Monday"
    OFF = "off", "Never"


class Mailing(TenantModel):
    """A clinic's choice, up to when its managers were told, and when they hear next: empty while there is nothing to tell."""

    every = models.CharField(max_length=10, choices=MailEvery, default=MailEvery.OFF)
    told_until = models.DateTimeField(null=True)
    next_due_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="mailing_once_a_clinic")]
        indexes = [models.Index(fields=["next_due_at"], name="mailing_due")]

    def __str__(self) -> str:
        return str(self.get_every_display())


class ReportLink(TenantModel):
    """A link in somebody's mail: for one person who signs in, once, and not for long. ``digest`` is what is kept of its
    secret. ``report`` is where it leads; without one, to the clinic's list."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    report = TenantForeignKey(Report, null=True, on_delete=models.CASCADE, related_name="+", db_index=False)
    digest = models.BinaryField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "digest"], name="report_link_once")]
        indexes = [models.Index(fields=["expires_at"], name="report_link_age")]

    def __str__(self) -> str:
        return f"link {self.pk}"
