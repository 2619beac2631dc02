"""Who owns what: the agency, its clinics, the people who may see them, and what they did."""

from typing import ClassVar
from zoneinfo import available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from tenants.walls import AgencyModel, AppNow, OpenManager, SystemModel, TenantModel

NOBODY = ""


class Role(models.TextChoices):
    AGENCY_OWNER = "agency_owner", "Agency owner"
    AGENCY_STAFF = "agency_staff", "Agency staff"
    CLINIC_MANAGER = "clinic_manager", "Clinic manager"
    CLINIC_VIEWER = "clinic_viewer", "Clinic viewer"


AGENCY_ROLES = (Role.AGENCY_OWNER, Role.AGENCY_STAFF)
CLINIC_ROLES = (Role.CLINIC_MANAGER, Role.CLINIC_VIEWER)


class Agency(SystemModel):
    """Who runs this installation."""

    name = models.CharField(max_length=120)
    slug = models.SlugField(max_length=60, unique=True)

    class Meta:
        verbose_name_plural = "agencies"

    def __str__(self) -> str:
        return self.name


class TenantManager(OpenManager["Tenant"]):
    """Inside a scope its clinics, before one every clinic's name: someone has to find out where people belong."""

    column = "id"

    def of_agency(self, agency_id: int) -> "models.QuerySet[Tenant]":
        return self.filter(agency_id=agency_id)


class Tenant(SystemModel):
    """One clinic; owns every row of every tenant table. Days and due times are counted in its `time_zone`."""

    agency = models.ForeignKey(Agency, on_delete=models.PROTECT, related_name="tenants")
    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    time_zone = models.CharField(max_length=60, default="Australia/Sydney")
    country = models.CharField(
        max_length=2,
        default="AU",
        validators=[RegexValidator("^[A-Z]{2}$", "Two capital letters.")],
        help_text="Two letters; phone numbers are read with it.",
    )
    currency = models.CharField(
        max_length=3, default="AUD", validators=[RegexValidator("^[A-Z]{3}$", "Three capital letters.")]
    )
    created_at = models.DateTimeField(db_default=AppNow(), editable=False)
    active = models.BooleanField(default=True)

    objects: ClassVar[TenantManager] = TenantManager()

    class Meta:
        verbose_name = "clinic"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.time_zone not in available_timezones():
            raise ValidationError({"time_zone": "Not the name of a time zone, such as Australia/Sydney."})


class TenantKey(TenantModel):
    """A clinic's data key, wrapped by a key of the ring. Destroying this row makes all the clinic's secrets noise."""

    key_id = models.CharField(max_length=40)
    wrapped = models.BinaryField()
    created_at = models.DateTimeField(db_default=AppNow(), editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="tenant_key_once")]

    def __str__(self) -> str:
        return f"key under {self.key_id}"


class MembershipManager(OpenManager["Membership"]):
    """Inside a scope the members of its clinics; the agency's own people only in the agency's."""

    or_null = True

    def of_user(self, user_id: int) -> "models.QuerySet[Membership]":
        return self.filter(user_id=user_id)


class Membership(SystemModel):
    """What a person may be at one place.

    An agency role names the agency; with a clinic beside it, it reaches that clinic only (assigned staff, one row
    a clinic), without one all of them. A clinic role names the clinic alone.
    """

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    agency = models.ForeignKey(Agency, null=True, blank=True, on_delete=models.PROTECT, related_name="memberships")
    tenant = models.ForeignKey(Tenant, null=True, blank=True, on_delete=models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role)

    objects: ClassVar[MembershipManager] = MembershipManager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="membership_role_fits_place",
                condition=Q(role=Role.AGENCY_OWNER, agency__isnull=False, tenant__isnull=True)
                | Q(role=Role.AGENCY_STAFF, agency__isnull=False)
                | Q(role__in=CLINIC_ROLES, agency__isnull=True, tenant__isnull=False),
            ),
            models.UniqueConstraint(fields=["user", "tenant"], name="membership_once_per_clinic"),
            models.UniqueConstraint(
                fields=["user", "agency"], condition=Q(tenant__isnull=True), name="membership_once_per_agency"
            ),
        ]

    def __str__(self) -> str:
        return self.get_role_display()


class AuditRecord(models.Model):
    """Who did what, for whom and why. Nobody has the right to change or delete one; `AuditSeal` shows it if they did.

    `diff` holds field names with masked values, never values; `actor` is the account's name, two names joined where
    somebody acts as somebody else.
    """

    at = models.DateTimeField(db_default=AppNow())
    actor = models.CharField(max_length=320, default=NOBODY)
    actor_role = models.CharField(max_length=20, default=NOBODY)
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=120, default=NOBODY)
    reason = models.CharField(max_length=500, default=NOBODY)
    diff = models.JSONField(default=dict)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.action} {self.target}".strip()


class AuditEntry(AuditRecord, TenantModel):
    """What was done for one clinic."""

    class Meta(AuditRecord.Meta):
        indexes = [
            models.Index(fields=["tenant", "-at"], name="audit_newest"),
            models.Index(fields=["tenant", "target", "-at"], name="audit_of_target"),
        ]
        verbose_name_plural = "audit entries"


class AgencyAuditEntry(AuditRecord, AgencyModel):
    """What was done for the agency as a whole, and who signed in."""

    class Meta(AuditRecord.Meta):
        indexes = [models.Index(fields=["-at"], name="agency_audit_newest")]
        verbose_name_plural = "agency audit entries"


class Journal(models.TextChoices):
    CLINIC = "clinic", "Clinics"
    AGENCY = "agency", "Agency"


class AuditSeal(SystemModel):
    """One link of the hash chain over both journals: the digest of an entry and of the seal before it."""

    journal = models.CharField(max_length=10, choices=Journal)
    entry_id = models.BigIntegerField()
    digest = models.BinaryField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["journal", "entry_id"], name="audit_seal_once")]

    def __str__(self) -> str:
        return f"{self.journal} {self.entry_id}"


class Lease(SystemModel):
    """Who holds a named duty, until when; `fence` grows with each holder, so that a late one is found out."""

    name = models.CharField(max_length=120, primary_key=True)
    holder = models.CharField(max_length=120, default=NOBODY)
    fence = models.BigIntegerField(default=0)
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.name


class Clock(SystemModel):
    """At most one row, and none outside of tests: since `moved_at` the clock runs from `shows` at `rate`."""

    moved_at = models.DateTimeField()
    shows = models.DateTimeField()
    rate = models.FloatField(default=1.0)

    def __str__(self) -> str:
        return self.shows.isoformat()
