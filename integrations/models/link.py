"""This source key is that target key, and what a flow last wished and wrote for it."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models

from integrations.models.connection import Connection
from integrations.models.flow import Flow
from tenants.walls import TenantForeignKey, TenantModel


class Link(TenantModel):
    """One row per pair of connections, streams and keys, shared by the flows that use it.

    A merged record's key moves to ``source_aliases``; a merged target's to ``target_aliases``.
    """

    source = TenantForeignKey(Connection, on_delete=models.PROTECT, related_name="+", db_index=False)
    target = TenantForeignKey(Connection, on_delete=models.PROTECT, related_name="+", db_index=False)
    source_stream = models.CharField(max_length=40)
    target_stream = models.CharField(max_length=40)
    source_key = models.CharField(max_length=64)
    target_key = models.CharField(max_length=255)
    source_aliases = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    target_aliases = ArrayField(models.CharField(max_length=255), default=list, blank=True)
    made_by = models.CharField(max_length=20, default="created")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        # Keys come first: without statistics on the other columns (migration 0004), a search by one key would be thought
        # as cheap by the other key's index.
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "source_key", "source", "source_stream", "target", "target_stream"],
                name="link_source_once",
            ),
            models.UniqueConstraint(
                fields=["tenant", "target_key", "source", "source_stream", "target", "target_stream"],
                name="link_target_once",
            ),
        ]
        indexes = [
            GinIndex(fields=["source_aliases"], name="link_source_aliases"),
        ]

    def __str__(self) -> str:
        return f"{self.source_key} → {self.target_key}"


class LinkState(TenantModel):
    """Per flow and link: the fingerprint of the last delivered wish, and the keyed digest, per target field, of what
    the target answered to our last write. ``source_key`` repeats the link's so that a page is gated in one query.

    ``dropped`` are fields left out because somebody else holds the value (field -> digest of that value), until the
    source's value changes. ``wish_before`` and ``flips`` find two systems that push one record to and fro.
    """

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="+", db_index=False)
    link = TenantForeignKey(Link, on_delete=models.CASCADE, related_name="states", db_index=False)
    source_key = models.CharField(max_length=64)
    wish = models.BinaryField()
    wish_before = models.BinaryField(null=True)
    flips = models.PositiveSmallIntegerField(default=0)
    flips_since = models.DateTimeField(null=True)
    digests = models.JSONField(default=dict)
    dropped = models.JSONField(default=dict)
    gone = models.BooleanField(default=False)
    source_version = models.CharField(max_length=64, blank=True)
    revision_number = models.PositiveIntegerField(default=0)
    written_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "flow", "source_key"], name="link_state_once")]
        indexes = [models.Index(fields=["tenant", "link"], name="link_state_by_link")]

    def __str__(self) -> str:
        return self.source_key
