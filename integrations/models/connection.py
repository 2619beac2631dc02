"""A clinic's account at a vendor."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from tenants.walls import TenantModel


class ConnectionState(models.TextChoices):
    UNVERIFIED = "unverified", "Not tested yet"
    OK = "ok", "Working"
    NEEDS_REAUTH = "needs_reauth", "Needs a new key"
    PAUSED = "paused", "Paused"
    FAILING = "failing", "Not answering"


class Connection(TenantModel):
    """Credentials are sealed and write-only; ``hints`` holds the last four characters of each, for people.

    ``account`` is the normalised name the origin is built from, ``vendor_account`` the vendor's own id for it, kept
    from the first test so that a later key of another account is refused. ``facts`` are probed, without personal
    values. ``released_fields`` are custom fields the agency owner released by name. ``prepared`` lists markers whose
    definitions exist at the vendor. ``failures`` and ``open_until`` are the breaker's.
    """

    name = models.SlugField(max_length=60)
    label = models.CharField(max_length=120, blank=True)
    vendor = models.CharField(max_length=30)
    account = models.CharField(max_length=255, blank=True)
    vendor_account = models.CharField(max_length=64, blank=True, editable=False)
    sealed_credentials = models.BinaryField(default=b"", editable=False)
    hints = models.JSONField(default=dict, editable=False)
    state = models.CharField(max_length=20, choices=ConnectionState, default=ConnectionState.UNVERIFIED)
    state_code = models.CharField(max_length=60, blank=True, editable=False)
    state_since = models.DateTimeField(null=True, editable=False)
    tested_at = models.DateTimeField(null=True, editable=False)
    last_answer_at = models.DateTimeField(null=True, editable=False)
    zone = models.CharField(max_length=60, blank=True)
    quota_subject = models.CharField(max_length=255, blank=True, editable=False)
    facts = models.JSONField(default=dict, editable=False)
    findings = models.JSONField(default=list, editable=False)
    released_fields = ArrayField(models.CharField(max_length=120), default=list, blank=True)
    prepared = ArrayField(models.CharField(max_length=255), default=list, editable=False)
    failures = models.PositiveSmallIntegerField(default=0, editable=False)
    open_until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="connection_name_once")]
        ordering = ["name"]

    def __str__(self) -> str:
        return self.label or self.name.replace("-", " ").capitalize()

    @property
    def may_call(self) -> bool:
        """Whether work may be sent there: neither paused nor waiting for a new key."""
        return self.state not in {ConnectionState.PAUSED, ConnectionState.NEEDS_REAUTH}
