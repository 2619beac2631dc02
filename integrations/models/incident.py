"""Incidents: one fault in several clinics, told to the agency once; and its own channel for that."""

from django.db import models
from django.db.models import Q

from integrations.models.alert import Call
from tenants.walls import AgencyModel


class Incident(AgencyModel):
    """A stretch of time in which the same fault stops connections, or holds records of the same ``kind`` of flow, of one
    clinic or of two hundred: their alerts.

    ``fingerprint`` says what folds, without anything personal; ``code`` and ``call`` are those of the first alert. While
    it ``joins``, a further alert becomes part of it: an outage until it ended, a fault that people must mend until they
    were told, since another clinic's key, days later, is news. ``told_clinics`` is how many the last mail named; 1 where
    it was left to the clinic's own alert. As with alerts, a mail is claimed here before it goes out.
    """

    agency = models.ForeignKey("tenants.Agency", on_delete=models.PROTECT, related_name="+", db_index=False)
    vendor = models.CharField(max_length=30)
    kind = models.CharField(max_length=60, blank=True)
    fingerprint = models.CharField(max_length=190)
    code = models.CharField(max_length=60)
    call = models.CharField(max_length=10, choices=Call)
    joins = models.BooleanField(default=True)
    opened_at = models.DateTimeField()
    last_joined_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True)
    told_clinics = models.PositiveIntegerField(default=0)
    ended_at = models.DateTimeField(null=True)
    end_told_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["agency", "fingerprint"], condition=Q(joins=True), name="incident_one_joins"
            )
        ]
        indexes = [
            models.Index(fields=["-opened_at"], name="incident_newest"),
            models.Index(fields=["id"], condition=Q(ended_at=None), name="incident_open"),
        ]
        ordering = ["-opened_at"]

    def __str__(self) -> str:
        return self.code


class AlertHook(AgencyModel):
    """Where else the agency wants to read its alerts. The address is a secret: sealed, write-only; ``host`` is shown."""

    agency = models.OneToOneField("tenants.Agency", on_delete=models.PROTECT, related_name="+")
    sealed_url = models.BinaryField(editable=False)
    host = models.CharField(max_length=255)
    set_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.host


class PostState(models.TextChoices):
    WAITING = "waiting", "Waiting"
    SENDING = "sending", "On its way"
    SENT = "sent", "Sent"
    FAILED = "failed", "Not sent"
    UNCLEAR = "unclear", "Unclear"


class HookPost(AgencyModel):
    """One message on its way to the webhook. What may have arrived (``unclear``) is not sent again.

    ``not_before`` is when it is due, and while it is being sent, until when its sender may be believed to be alive.
    """

    agency = models.ForeignKey("tenants.Agency", on_delete=models.PROTECT, related_name="+", db_index=False)
    text = models.TextField()
    made_at = models.DateTimeField()
    state = models.CharField(max_length=10, choices=PostState, default=PostState.WAITING)
    tries = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField()
    code = models.CharField(max_length=60, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["agency", "-made_at"], name="hook_post_newest"),
            models.Index(fields=["not_before"], condition=Q(state__in=["waiting", "sending"]), name="hook_post_due"),
        ]
        ordering = ["-made_at"]

    def __str__(self) -> str:
        return self.get_state_display()
