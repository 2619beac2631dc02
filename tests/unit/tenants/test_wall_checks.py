"""A table added without its wall is an error of `manage.py check`, by name (`faults.md` 6, last line)."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps

from tenants.bases import TenantForeignKey
from tenants.checks import check_models, model_faults, walls_in_migrations
from tenants.managers import TenantManager
from tenants.models import Tenant, TenantKey
from tenants.operations import EnableWall, SameTenantKey, key_name
from tenants.walls import SystemModel, TenantModel, TenantQuerySet


@pytest.fixture
def scratch() -> Iterator[None]:
    with isolate_apps("tenants"):
        yield


def faults(model: type[models.Model]) -> set[str]:
    return {str(fault.id).partition(".")[2] for fault in model_faults(model)}


def test_our_own_tables_have_no_fault() -> None:
    assert check_models(None) == []


def test_a_table_without_a_class_is_refused(scratch: None) -> None:
    class Stray(models.Model):
        class Meta:
            app_label = "tenants"

    assert faults(Stray) == {"E001"}


def test_a_new_tenant_table_whose_migration_builds_no_wall_is_refused(scratch: None) -> None:
    class Fresh(TenantModel):
        class Meta:
            app_label = "tenants"
            indexes = [models.Index(fields=["tenant", "id"], name="fresh_tenant")]

    assert faults(Fresh) == {"E002"}


def test_a_new_system_table_needs_its_wall_too(scratch: None) -> None:
    class Machine(SystemModel):
        class Meta:
            app_label = "tenants"

    assert faults(Machine) == {"E002"}


def test_keys_constraints_and_managers_of_a_tenant_table_are_looked_at(scratch: None) -> None:
    class Loose(TenantModel):
        tenant = models.ForeignKey(Tenant, null=True, on_delete=models.PROTECT)
        plain = models.ForeignKey(TenantKey, on_delete=models.CASCADE, related_name="+")
        unkeyed = TenantForeignKey(TenantKey, on_delete=models.CASCADE, related_name="+")
        code = models.CharField(max_length=9, unique=True)
        many = models.ManyToManyField(TenantKey)
        objects: Any = models.Manager()

        class Meta:
            app_label = "tenants"

    assert faults(Loose) == {"E002", "E003", "E004", "E005", "E006", "E007", "E008", "E009"}


def test_a_models_own_questions_keep_the_wall() -> None:
    class Questions(TenantQuerySet[Any]):
        def due(self) -> "Questions":
            return self

    manager: Any = TenantManager.from_queryset(Questions)()
    manager.model = TenantKey
    assert isinstance(manager, TenantManager)
    assert isinstance(manager.due(), Questions)
    assert "InScope" in str(manager.due().query.where)


def test_the_operations_deconstruct_to_themselves() -> None:
    for operation in (
        EnableWall("link", system=("SELECT (id)",)),
        EnableWall("lease", "system", rows={"tenant": "true"}),
        SameTenantKey("link", "source"),
    ):
        name, args, kwargs = operation.deconstruct()
        again = type(operation)(*args, **kwargs)
        assert (name, again.deconstruct()) == (type(operation).__name__, operation.deconstruct())


def test_a_right_is_text_of_a_known_shape() -> None:
    from tenants.operations import _checked

    assert _checked("UPDATE (state, due_at)") == "UPDATE (state, due_at)"
    for text in ("ALL", "TRUNCATE", "SELECT; DROP TABLE x", "SELECT (a) ON b", "UPDATE ()"):
        with pytest.raises(ValueError, match="not a right"):
            _checked(text)


def test_long_names_of_keys_stay_within_postgresqls_63_bytes() -> None:
    assert len(key_name("integrations_" + "x" * 60, "source_id")) <= 63


def test_walls_are_read_from_migrations_and_not_from_models() -> None:
    assert ("wall", "tenants", "tenantkey") in walls_in_migrations()
