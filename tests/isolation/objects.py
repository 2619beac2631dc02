"""One valid, boring row of any tenant model, for any clinic; every free text of it carries the clinic's canary.

A model registered tomorrow is built from its own fields. One whose constraints need more gets a line in `MORE`;
`test_matrix` fails by name when a row cannot be built.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.db import models

from integrations.models import Blueprint, Rollout
from tenants.models import Agency, Tenant
from tenants.walls import agency_tx, tenant_tx

MORE: Mapping[str, Mapping[str, Any]] = {
    "integrations.Connection": {"vendor": "cliniko", "account": ""},
    "integrations.Flow": {"kind": "patients-to-customers", "every": "15m", "mode": "live"},
    "integrations.Delivery": {"state": "held", "code": "match.ambiguous"},
    # one series, so that what is done to it in one clinic could reach the other
    "integrations.Rerun": {"series": UUID(int=1), "state": "canary", "canary": [1]},
    "integrations.FlowRevision": {"config": {"rules": [], "values": {}, "settings": {}}},
}
ALSO_NEEDED: Mapping[str, frozenset[str]] = {"integrations.Alert": frozenset({"connection"})}
"""Columns that may be empty, of which a row must have one."""

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)


def canary(tenant: Tenant) -> str:
    """A word that stands in this clinic's rows and nowhere else."""
    return f"zq{tenant.slug.partition('-')[0]}zq"


def build(model: type[models.Model], tenant: Tenant, made: dict[type[models.Model], Any] | None = None) -> Any:
    """A saved row, with the rows it needs; those in `made` are used again and added to."""
    with tenant_tx(tenant.pk, actor=canary(tenant)):
        return _build(model, tenant, {} if made is None else made)


def rows_above(tenant: Tenant, user: User) -> dict[type[models.Model], Any]:
    """What rows of clinics may refer to and is no clinic's: the agency, a person, and the agency's own rows."""
    made: dict[type[models.Model], Any] = {Agency: tenant.agency, User: user}
    with agency_tx([tenant.pk], actor="test", reason="test"):
        for model in (Blueprint, Rollout):
            _build(model, tenant, made)
    return made


def _build(model: type[models.Model], tenant: Tenant, made: dict[type[models.Model], Any]) -> Any:
    if model not in made:
        given = MORE.get(model._meta.label, {})
        values = {
            field.name: _value(field, tenant, made)
            for field in model._meta.concrete_fields
            if field.name not in given and (_is_required(field) or field.name in ALSO_NEEDED.get(model._meta.label, ()))
        }
        made[model] = model._default_manager.create(**values, **given)
    return made[model]


def _is_required(field: Any) -> bool:
    has_value = field.has_default() or field.has_db_default() or getattr(field, "auto_now_add", False)
    return not (field.primary_key or field.null or has_value or field.name == "tenant") and (
        not field.blank or isinstance(field, models.CharField | models.TextField)
    )


def _value(field: Any, tenant: Tenant, made: dict[type[models.Model], Any]) -> Any:
    if isinstance(field, models.ForeignKey):
        return _build(field.related_model, tenant, made)
    if field.blank:
        return ""
    if field.choices:
        return field.choices[0][0]
    for kind, value in _VALUES:
        if isinstance(field, kind):
            return value(field, tenant)
    raise TypeError(f"say in MORE what {field} may hold")


_VALUES: tuple[tuple[Any, Callable[[Any, Tenant], Any]], ...] = (
    ((models.CharField, models.TextField), lambda field, tenant: canary(tenant)[: field.max_length]),
    (models.BooleanField, lambda field, tenant: False),
    (models.DecimalField, lambda field, tenant: Decimal(1)),
    (models.IntegerField, lambda field, tenant: 1),
    (models.FloatField, lambda field, tenant: 1.0),
    (models.DateTimeField, lambda field, tenant: NOW),
    (models.DateField, lambda field, tenant: NOW.date()),
    (models.BinaryField, lambda field, tenant: b"\0" * 32),
    (models.JSONField, lambda field, tenant: {}),
    (ArrayField, lambda field, tenant: []),
)
