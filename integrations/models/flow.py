"""A flow kind running for a clinic between two of its connections, and what it was configured with, when."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from integrations.core.records import OnConflict, Write
from integrations.models.connection import Connection
from tenants.walls import TenantForeignKey, TenantModel


class Mode(models.TextChoices):
    OFF = "off", "Off"
    PREVIEW = "preview", "Preview: show, do not write"
    PILOT = "pilot", "Pilot: listed records only"
    LIVE = "live", "Live"


class Flow(TenantModel):
    """``watermark`` is how far the source is certainly read (the vendor's clock). ``stopped_code`` is set while a
    guard waits for a person. ``wants_full_pass`` asks for one pass over everything: the gate makes it cheap."""

    name = models.SlugField(max_length=80)
    kind = models.CharField(max_length=60)
    source = TenantForeignKey(Connection, on_delete=models.PROTECT, related_name="+")
    target = TenantForeignKey(Connection, on_delete=models.PROTECT, related_name="+")
    mode = models.CharField(max_length=10, choices=Mode, default=Mode.OFF)
    start = models.CharField(max_length=20, default="all")
    activated_at = models.DateTimeField(null=True, editable=False)
    every = models.CharField(max_length=60, default="15m")
    urgent = models.BooleanField(default=False)
    settings = models.JSONField(default=dict, blank=True)
    pilot_keys = ArrayField(models.CharField(max_length=64), default=list, blank=True)
    pilot_tag = models.CharField(max_length=120, blank=True)
    revision_number = models.PositiveIntegerField(default=0, editable=False)
    next_due_at = models.DateTimeField(null=True, editable=False)
    watermark = models.DateTimeField(null=True, editable=False)
    swept_at = models.DateTimeField(null=True, editable=False)
    wants_full_pass = models.BooleanField(default=True, editable=False)
    stopped_code = models.CharField(max_length=60, blank=True, editable=False)
    last_success_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "name"], name="flow_name_once")]
        indexes = [models.Index(fields=["next_due_at"], name="flow_due", condition=~models.Q(mode="off"))]
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class MappingRule(TenantModel):
    """A clinic's departure from its flow kind's rules: replaces, adds or (``removed``) takes away one target field."""

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="rules")
    target = models.CharField(max_length=160)
    source = models.CharField(max_length=160, blank=True)
    transforms = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    write = models.CharField(max_length=10, choices=[(mode, mode.value) for mode in Write], default=Write.ALWAYS)
    conflict = models.CharField(
        max_length=10, choices=[(policy, policy.value) for policy in OnConflict], default=OnConflict.SOURCE_WINS
    )
    removed = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "flow", "target"], name="rule_target_once")]
        ordering = ["target"]

    def __str__(self) -> str:
        return self.target


class ValueMap(TenantModel):
    """One line of a value map: a source value and the target value or action it becomes; ``*`` for unknown ones."""

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="value_maps")
    name = models.CharField(max_length=60)
    source_value = models.CharField(max_length=255)
    target_value = models.CharField(max_length=255)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "flow", "name", "source_value"], name="value_map_line_once")
        ]
        ordering = ["name", "source_value"]

    def __str__(self) -> str:
        return f"{self.name}: {self.source_value}"


class SeenValue(TenantModel):
    """A source value that a flow met where a value map decides, and in how many readings: what a map should cover."""

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="seen_values", db_index=False)
    name = models.CharField(max_length=60)
    source_value = models.CharField(max_length=255)
    times = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "flow", "name", "source_value"], name="seen_value_once")
        ]
        ordering = ["name", "source_value"]

    def __str__(self) -> str:
        return f"{self.name}: {self.source_value}"


class FlowRevision(TenantModel):
    """A frozen, numbered snapshot of a flow's rules, maps and settings. A run keeps the one it started with."""

    flow = TenantForeignKey(Flow, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    config = models.JSONField()
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    note = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant", "flow", "number"], name="revision_number_once")]
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"revision {self.number}"
