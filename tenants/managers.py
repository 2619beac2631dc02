"""Wall 1 in the ORM: one lazy expression filters every read, one check stamps every write."""

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.expressions import Expression, F
from django.db.models.sql.compiler import SQLCompiler

from tenants.scope import AgencyScope, ForeignRow, Scope, TenantScope, current_scope, require_scope

M = TypeVar("M", bound=models.Model)


class InScope(Expression):
    """True for the rows of the clinics in scope.

    Nothing is looked up until the SQL is written, so a queryset may be built at import, in a form field or a default,
    and means the scope of whoever runs it. Written without a scope it raises NoScope, or, when `open_outside`, lets
    every row through: for the few tables that say who may sign in where, which are read before there is a scope.
    `or_null` keeps the rows of no clinic for the agency.
    """

    conditional = True
    output_field = models.BooleanField()

    def __init__(self, column: str = "tenant_id", *, open_outside: bool = False, or_null: bool = False) -> None:
        super().__init__()
        self.column: Any = F(column)
        self.open_outside = open_outside
        self.or_null = or_null

    def get_source_expressions(self) -> list[Any]:
        return [self.column]

    def set_source_expressions(self, exprs: Sequence[Any]) -> None:
        (self.column,) = exprs

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, tuple[Any, ...]]:
        scope = current_scope() if self.open_outside else require_scope()
        if not isinstance(scope, TenantScope | AgencyScope):
            return "TRUE", ()
        column, params = compiler.compile(self.column)
        if isinstance(scope, TenantScope):
            return f"{column} = %s", (*params, scope.id)
        seen = f"{column} = ANY(%s::bigint[])"
        if self.or_null:
            seen = f"({column} IS NULL OR {seen})"
            params = (*params, *params)
        return seen, (*params, sorted(scope.tenant_ids))


def stamp(row: Any, scope: Scope | None = None) -> None:
    """Gives an unsaved row the clinic in scope and refuses another's. Raises ForeignRow or NoScope."""
    scope = scope or require_scope()
    if row.tenant_id is None and isinstance(scope, TenantScope):
        row.tenant_id = scope.id
    if row.tenant_id is None or not scope.admits(row.tenant_id):
        raise ForeignRow(f"{type(row).__name__} does not belong to a clinic in scope")


class TenantQuerySet(models.QuerySet[M]):
    """Reads are filtered by the manager; writes are stamped and checked here."""

    def bulk_create(self, objs: Iterable[M], *args: Any, **kwargs: Any) -> list[M]:
        rows = list(objs)
        scope = require_scope()
        for row in rows:
            stamp(row, scope)
        return super().bulk_create(rows, *args, **kwargs)

    def bulk_update(self, objs: Iterable[M], fields: Iterable[str], batch_size: int | None = None) -> int:
        names = list(fields)
        _refuse_tenant(names)
        return super().bulk_update(objs, names, batch_size)

    def update(self, **kwargs: Any) -> int:
        _refuse_tenant(kwargs)
        return super().update(**kwargs)


def _refuse_tenant(names: Collection[str]) -> None:
    if "tenant" in names or "tenant_id" in names:
        raise ForeignRow("a row never moves to another clinic")


if TYPE_CHECKING:
    _Manager = models.Manager
else:
    # Built from the queryset, so that `TenantManager.from_queryset(OwnQuerySet)` adds a model's own questions.
    _Manager = models.Manager.from_queryset(TenantQuerySet)


class TenantManager(_Manager[M]):
    """The manager of a tenant table: no method of it sees another clinic's row."""

    def get_queryset(self) -> models.QuerySet[M]:
        return super().get_queryset().filter(InScope())


class OpenManager(models.Manager[M]):
    """For the tables that say who may sign in where: filtered in a scope, open before there is one."""

    column = "tenant_id"
    or_null = False

    def get_queryset(self) -> models.QuerySet[M]:
        return super().get_queryset().filter(InScope(self.column, open_outside=True, or_null=self.or_null))
