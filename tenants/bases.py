"""The three classes of tables. Every model of ours derives from exactly one; `check` refuses the rest."""

from enum import StrEnum
from typing import Any, ClassVar

from django.db import models

from tenants.managers import InScope, TenantManager, stamp
from tenants.scope import ForeignRow, require_scope

OWN_APPS = ("tenants", "integrations", "reconciliation")


class Wall(StrEnum):
    TENANT = "tenant"
    AGENCY = "agency"
    SYSTEM = "system"


class TenantForeignKey(models.ForeignKey[Any, Any]):
    """A key to a row of the same clinic.

    PostgreSQL keeps it as the pair (tenant_id, x_id), made by the `SameTenantKey` operation in a migration, so
    Django's own constraint is left out. `check` finds a key that lacks its operation.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["db_constraint"] = False
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        kwargs.pop("db_constraint", None)
        return name, "tenants.walls.TenantForeignKey", args, kwargs


class TenantModel(models.Model):
    """A clinic's row. Indexes and unique constraints begin with `tenant`, which has no index of its own."""

    wall: ClassVar[Wall] = Wall.TENANT
    tenant_id: int
    tenant = models.ForeignKey(
        "tenants.Tenant", on_delete=models.PROTECT, related_name="+", db_index=False, editable=False
    )

    objects: ClassVar[TenantManager[Any]] = TenantManager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        stamp(self)
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        if not require_scope().admits(self.tenant_id):
            raise ForeignRow(f"{type(self).__name__} does not belong to a clinic in scope")
        return super().delete(*args, **kwargs)

    def _do_update(self, base_qs: Any, *args: Any) -> Any:
        """Django saves through the unfiltered base manager; a guessed primary key must not reach a foreign row."""
        return super()._do_update(base_qs.filter(InScope()), *args)


class AgencyModel(models.Model):
    """A row of the agency as a whole: app_agency only, unless its wall grants more."""

    wall: ClassVar[Wall] = Wall.AGENCY

    class Meta:
        abstract = True


class SystemModel(models.Model):
    """Machinery: leases, quota, routes, who signs in. app_system only, unless its wall grants more."""

    wall: ClassVar[Wall] = Wall.SYSTEM

    class Meta:
        abstract = True
