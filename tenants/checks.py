"""System checks: a gap in a wall is an error with a name before it is a leak."""

from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from django.apps import AppConfig, apps
from django.core.checks import CheckMessage, Error
from django.db import connections, models

from tenants import roles
from tenants.bases import OWN_APPS, TenantForeignKey, Wall
from tenants.guard import GUARDED_ALIAS
from tenants.managers import TenantManager
from tenants.operations import EnableWall, SameTenantKey, pair_name


class WallsBroken(Exception):
    """The database would not hold the walls up. The text says what is wrong, one sentence a line."""


def check_models(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Every table of ours has a class, its migration's wall, its same-tenant keys, and keys that begin with the clinic."""
    found: list[CheckMessage] = []
    for model in apps.get_models(include_auto_created=True):
        if model._meta.app_label in OWN_APPS and not model._meta.proxy and model._meta.managed:
            found += model_faults(model)
    return found


def model_faults(model: type[models.Model]) -> Iterator[CheckMessage]:
    wall = getattr(model, "wall", None)
    if not isinstance(wall, Wall):
        yield _error(
            "E001", f"{model.__name__} has no wall: derive from TenantModel, AgencyModel or SystemModel.", model
        )
        return
    if ("wall", model._meta.app_label, model._meta.model_name) not in walls_in_migrations():
        yield _error("E002", f"No migration builds {model.__name__}'s wall: add EnableWall to it.", model)
    if wall is Wall.TENANT:
        yield from _tenant_faults(model)


def _tenant_faults(model: type[models.Model]) -> Iterator[CheckMessage]:
    if model._meta.get_field("tenant").null:
        yield _error("E003", f"{model.__name__}.tenant may not be null.", model)
    if not isinstance(model._default_manager, TenantManager):
        yield _error("E004", f"{model.__name__}'s default manager is not a TenantManager.", model)
    if model._meta.many_to_many:
        yield _error("E005", f"{model.__name__} has a many-to-many field; write its table as a tenant model.", model)
    for field in model._meta.concrete_fields:
        target = field.remote_field.model if field.remote_field else None
        if getattr(target, "wall", None) is Wall.TENANT:
            yield from _key_faults(model, field)
    for names in _unique_fields(model):
        if not names or names[0] != "tenant":
            yield _error("E008", f"A unique constraint of {model.__name__} does not begin with the clinic.", model)
    if not any(names and names[0] == "tenant" for names in [*_unique_fields(model), *_indexed_fields(model)]):
        yield _error("E009", f"No index of {model.__name__} begins with the clinic.", model)


def _key_faults(model: type[models.Model], field: "models.Field[Any, Any]") -> Iterator[CheckMessage]:
    if not isinstance(field, TenantForeignKey):
        yield _error(
            "E006", f"{model.__name__}.{field.name} points at a tenant table: make it a TenantForeignKey.", model
        )
    elif ("key", model._meta.app_label, f"{model._meta.model_name}.{field.name}") not in walls_in_migrations():
        yield _error("E007", f"No migration makes {model.__name__}.{field.name} a SameTenantKey.", model)


def _unique_fields(model: type[models.Model]) -> Iterator[Sequence[str]]:
    for field in model._meta.concrete_fields:
        if field.unique and not field.primary_key:
            yield (field.name,)
    if len(model._meta.pk_fields) > 1:
        yield [field.name for field in model._meta.pk_fields]
    yield from model._meta.unique_together
    for constraint in model._meta.constraints:
        if isinstance(constraint, models.UniqueConstraint):
            yield constraint.fields or tuple(map(str, _expression_names(constraint)))


def _expression_names(constraint: models.UniqueConstraint) -> Iterator[str]:
    for expression in constraint.expressions:
        yield getattr(expression, "name", "")


def _indexed_fields(model: type[models.Model]) -> Iterator[Sequence[str]]:
    for index in model._meta.indexes:
        yield index.fields
    if any(pair == pair_name(model._meta.db_table) for pair in _pairs()):
        yield ("tenant",)


def _pairs() -> Iterator[str]:
    for kind, app_label, name in walls_in_migrations():
        if kind == "key":
            model_name, field_name = name.split(".")
            there = {field.name: field for field in apps.get_model(app_label, model_name)._meta.concrete_fields}
            target = there[field_name].related_model if field_name in there else None  # a field that has left since
            if isinstance(target, type) and issubclass(target, models.Model):
                yield pair_name(target._meta.db_table)


@cache
def walls_in_migrations() -> frozenset[tuple[str, str, str]]:
    """What our migrations build: ("wall", app, model) and ("key", app, "model.field")."""
    return frozenset(_walls_in_migrations())


def _walls_in_migrations() -> Iterator[tuple[str, str, str]]:
    for config in apps.get_app_configs():
        if config.label in OWN_APPS and (config.path and config.module):
            for operation in _operations(f"{config.name}.migrations"):
                if isinstance(operation, EnableWall):
                    yield "wall", config.label, operation.name_lower
                elif isinstance(operation, SameTenantKey):
                    yield "key", config.label, f"{operation.model_name.lower()}.{operation.field_name}"


def _operations(package: str) -> Iterator[object]:
    try:
        folder = import_module(package)
    except ModuleNotFoundError:
        return
    for module in iter_modules(folder.__path__):
        yield from import_module(f"{package}.{module.name}").Migration.operations


def check_admins(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """On our two sites a tenant table is shown by TenantModelAdmin and by nothing else."""
    from tenants.admin import TenantModelAdmin  # noqa: PLC0415 - the admin must not load before the models
    from tenants.sites import SITES, load_admins  # noqa: PLC0415

    load_admins()
    return [
        _error("E010", f"{model.__name__} is registered on {site.name} without TenantModelAdmin.", model)
        for site in SITES
        for model, admin in site._registry.items()
        if getattr(model, "wall", None) is Wall.TENANT and not isinstance(admin, TenantModelAdmin)
    ]


def check_database(*, databases: Sequence[str] | None, **kwargs: Any) -> list[CheckMessage]:
    """`check --database default`: what PostgreSQL really does."""
    if GUARDED_ALIAS not in (databases or ()):
        return []
    return [_error("E020", fault, None) for fault in database_faults()]


def refuse_broken_walls() -> None:
    """What a web server or a worker calls before its first request. Raises WallsBroken."""
    faults = list(database_faults())
    if faults:
        raise WallsBroken("\n".join(faults))


def database_faults() -> Iterator[str]:
    with connections[GUARDED_ALIAS].cursor() as cursor:
        cursor.execute(
            "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles"
            " WHERE rolname IN (session_user, %s, %s, %s) AND (rolsuper OR rolbypassrls)",
            [roles.TENANT, roles.AGENCY, roles.SYSTEM],
        )
        for name, is_super, _ in cursor.fetchall():
            yield f"The database role {name} {'is a superuser' if is_super else 'may bypass row-level security'}."
        cursor.execute(_TABLES, [[model._meta.db_table for model in walled_models()]])
        states = {table: (enabled, forced, owned, policies) for table, enabled, forced, owned, policies in cursor}
    for model in walled_models():
        yield from _table_faults(model, states.get(model._meta.db_table))


_TABLES = """
SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_has_role(session_user, c.relowner, 'MEMBER'),
       (SELECT COALESCE(jsonb_object_agg(COALESCE(r.rolname, 'public'), pg_get_expr(p.polqual, p.polrelid)), '{}')
        FROM pg_policy p LEFT JOIN pg_roles r ON r.oid = ANY (p.polroles) WHERE p.polrelid = c.oid)::text
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%s)
"""


def _table_faults(model: Any, state: tuple[bool, bool, bool, str] | None) -> Iterator[str]:
    table = model._meta.db_table
    if state is None:
        yield f"The table {table} does not exist: run migrate."
        return
    enabled, forced, owned, policies = state
    if owned:
        yield f"The database role that signs in owns {table}, or may become its owner."
    if not (enabled and forced):
        yield f"Row-level security on {table} is not enabled and forced."
    if policies == "{}":
        yield f"{table} has no policy."
    if model.wall is Wall.TENANT and "app.tenant_id" not in policies:
        yield f"No policy of {table} asks for the clinic."


def walled_models() -> list[type[models.Model]]:
    return [model for model in apps.get_models() if isinstance(getattr(model, "wall", None), Wall)]


def _error(number: str, sentence: str, model: type[models.Model] | None) -> Error:
    return Error(sentence, obj=model, id=f"walls.{number}")
