"""Many rows into one table, through both walls, at the speed of the hot path."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, TypeAlias

import psycopg
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import FieldDoesNotExist
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connection, models
from django.db.backends.utils import CursorWrapper
from django.db.models.fields import NOT_PROVIDED

from tenants.bases import Wall
from tenants.clock import AppNow
from tenants.scope import ForeignRow, TenantScope, current_tenant_id, require_scope

PAGE = 1000
LONG = 20

Row = Sequence[Any]
Literal = Callable[[Any], str]
Field: TypeAlias = "models.Field[Any, Any]"


class Inserted(list[tuple[Any, ...]]):
    """What `returning` asked for, a tuple a row; `written` counts the rows inserted or updated, asked for or not."""

    written: int = 0


def insert_rows(
    model: type[models.Model],
    columns: Sequence[str],
    rows: Iterable[Row],
    *,
    on_conflict: str = "",
    returning: Sequence[str] = (),
) -> Inserted:
    """INSERT .. SELECT FROM unnest(..), a thousand rows a statement, values in the order of `columns`. One and the same
    object in all rows of a long page is sent once.

    In `tenant_tx` the clinic is stamped; elsewhere `tenant_id` is one of the columns and each value must be in scope.
    Fields that are not named get their default, as Django would give it. `on_conflict` is what follows ON CONFLICT,
    with per cent signs doubled. Raises NoScope and ForeignRow.
    """
    scope = require_scope() if getattr(model, "wall", None) is Wall.TENANT else None
    source = iter(rows)
    done = Inserted()
    while page := list(islice(source, PAGE)):
        by_column = list(zip(*page, strict=True))
        same = (False, *map(_is_same, by_column[1:]))
        named = tuple(zip(columns, same, strict=True))
        plan = _plan(model, named, on_conflict, tuple(returning), isinstance(scope, TenantScope))
        with _plain_cursor() as cursor:
            _insert_page(cursor, plan, by_column, done)
    return done


def _plain_cursor() -> CursorWrapper:
    """One that sends values beside the statement: a page of rows in its text would be escaped, copied and parsed."""
    connection.ensure_connection()
    prepare: Callable[[Any], CursorWrapper] = connection._prepare_cursor  # type: ignore[attr-defined]
    return prepare(psycopg.Cursor(connection.connection))


def _is_same(values: Sequence[Any]) -> bool:
    first = values[0]
    return len(values) >= LONG and all(value is first for value in values)


@dataclass(frozen=True, slots=True)
class _Plan:
    """``literals`` are those of the given columns. Of these ``same`` go as one value, the others as arrays."""

    sql: str
    literals: tuple[Literal, ...]
    same: tuple[bool, ...]
    defaults: tuple[tuple[Callable[[], Any], Literal], ...]
    stamps: bool
    fixed: tuple[Any, ...]
    tenant_at: int | None
    returns: bool


def _insert_page(cursor: CursorWrapper, plan: _Plan, by_column: list[tuple[Any, ...]], done: Inserted) -> None:
    if plan.tenant_at is not None:
        _verify_tenants(set(by_column[plan.tenant_at]))
    once: list[Any] = [current_tenant_id()] if plan.stamps else []
    once += plan.fixed
    arrays = []
    for literal, values, is_same in zip(plan.literals, by_column, plan.same, strict=True):
        if is_same:
            once.append(_array(literal, values[:1]))
        else:
            arrays.append(_array(literal, values))
    arrays += [_array(literal, [default() for _ in by_column[0]]) for default, literal in plan.defaults]
    cursor.execute(plan.sql, [*once, *arrays])
    done.written += cursor.rowcount
    if plan.returns:
        done.extend(cursor.fetchall())


def _verify_tenants(tenant_ids: set[int]) -> None:
    scope = require_scope()
    if not all(scope.admits(tenant_id) for tenant_id in tenant_ids):
        raise ForeignRow("insert_rows() was given rows of a clinic that is not in scope")


@lru_cache(maxsize=256)
def _plan(
    model: type[models.Model],
    columns: tuple[tuple[str, bool], ...],
    on_conflict: str,
    returning: tuple[str, ...],
    in_tenant: bool,
) -> _Plan:
    """The statement and how its values are written; the same for every clinic, whose id is stamped when it is sent."""
    quote = connection.ops.quote_name
    given = [_field(model, name) for name, _ in columns]
    same = tuple(is_same for _, is_same in columns)
    stamped = _stamped(model, given, in_tenant=in_tenant)
    fixed = _plain_defaults(model, given)
    clocked = [field for field in model._meta.concrete_fields if field not in given and _is_clocked(field)]
    called = _called_defaults(model, given)
    once = stamped + [field for field, _ in fixed]
    shared = [field for field, is_same in zip(given, same, strict=True) if is_same]
    arrays = [field for field, is_same in zip(given, same, strict=True) if not is_same] + [field for field, _ in called]
    targets = [quote(str(field.column)) for field in once + shared + clocked + arrays]
    selected = [f"%s::{_db_type(field)}" for field in once]
    selected += [f"(%s::{_sent_as(field)}[])[1]::{_db_type(field)}" for field in shared]
    selected += ["(SELECT app_now())"] * len(clocked)
    selected += [f"u.c{i}::{_db_type(field)}" for i, field in enumerate(arrays)]
    sql = (
        f"INSERT INTO {quote(model._meta.db_table)} ({', '.join(targets)}) SELECT {', '.join(selected)} "  # noqa: S608
        f"FROM unnest({', '.join(f'%s::{_sent_as(field)}[]' for field in arrays)}) "
        f"AS u({', '.join(f'c{i}' for i in range(len(arrays)))})"
    )
    if on_conflict:
        sql += f" ON CONFLICT {on_conflict}"
    if returning:
        sql += f" RETURNING {', '.join(quote(str(_field(model, name).column)) for name in returning)}"
    return _Plan(
        sql=sql,
        literals=tuple(_literal(field) for field in given),
        same=same,
        defaults=tuple((default, _literal(field)) for field, default in called),
        stamps=bool(stamped),
        fixed=tuple(value for _, value in fixed),
        tenant_at=next((i for i, field in enumerate(given) if _is_tenant(model, field)), None),
        returns=bool(returning),
    )


def _field(model: type[models.Model], name: str) -> Field:
    for field in model._meta.concrete_fields:
        if name in (field.name, field.attname):
            return field
    raise FieldDoesNotExist(f"{model.__name__} has no column {name}")


def _is_tenant(model: type[models.Model], field: Field) -> bool:
    return getattr(model, "wall", None) is Wall.TENANT and field.name == "tenant"


def _stamped(model: type[models.Model], given: Sequence[Field], *, in_tenant: bool) -> list[Field]:
    if getattr(model, "wall", None) is not Wall.TENANT:
        return []
    named = any(field.name == "tenant" for field in given)
    if in_tenant:
        if named:
            raise ForeignRow("in tenant_tx() the clinic is stamped, not given")
        return [_field(model, "tenant")]
    if not named:
        raise ForeignRow("outside tenant_tx() every row names its tenant_id")
    return []


def _missing(model: type[models.Model], given: Sequence[Field]) -> list[Field]:
    return [
        field
        for field in model._meta.concrete_fields
        if field not in given and field.name != "tenant" and field.db_default is NOT_PROVIDED
    ]


def _is_clocked(field: Field) -> bool:
    """Read once a statement: a default of the column would call the function for every row."""
    return isinstance(field.db_default, AppNow)


def _is_called(field: Field) -> bool:
    return field.has_default() and callable(field.default) and field.default not in (dict, list)


def _plain_defaults(model: type[models.Model], given: Sequence[Field]) -> list[tuple[Field, Any]]:
    plain = [field for field in _missing(model, given) if not _is_called(field) and not field.primary_key]
    values = [(field, field.get_db_prep_save(field.get_default(), connection)) for field in plain]
    return [(field, value) for field, value in values if value is not None]


def _called_defaults(model: type[models.Model], given: Sequence[Field]) -> list[tuple[Field, Callable[[], Any]]]:
    return [(field, field.default) for field in _missing(model, given) if _is_called(field)]


def _db_type(field: Field) -> str:
    """The type to cast to, without its length: a cast to varchar(n) would cut in silence where a column refuses."""
    full = field.rel_db_type(connection) if field.primary_key else field.db_type(connection)
    return re.sub(r"\(.*?\)", "", str(full))


def _sent_as(field: Field) -> str:
    """An array travels as text, since unnest() flattens arrays of arrays."""
    return "text" if isinstance(field, ArrayField) else _db_type(field)


def _literal(field: Field) -> Literal:
    """How one value stands inside an array literal. Written here since the driver adapts item by item, slowly."""
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    if isinstance(field, ArrayField):
        item = _literal(field.base_field)
        return lambda value: _quoted(_array(item, value))
    if isinstance(field, models.JSONField):
        encode = (field.encoder or DjangoJSONEncoder)().encode
        return lambda value: _quoted(encode(value))
    return next((literal for kind, literal in _LITERALS if isinstance(field, kind)), lambda value: _quoted(str(value)))


_LITERALS: "tuple[tuple[type[Field], Literal], ...]" = (
    (models.BinaryField, lambda value: '"\\\\x' + bytes(value).hex() + '"'),
    (models.BooleanField, lambda value: "t" if value else "f"),
    (models.IntegerField, lambda value: str(int(value))),
    (models.DateField, lambda value: '"' + value.isoformat() + '"'),  # a DateTimeField is one, too
    (models.TimeField, lambda value: '"' + value.isoformat() + '"'),
    (models.DurationField, lambda value: f'"{value.total_seconds()} seconds"'),
)


def text_array(texts: Iterable[str]) -> str:
    """An array literal for a parameter cast to text[]: the driver's own way with lists is slow."""
    return _array(_quoted, texts)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _array(literal: Literal, values: Iterable[Any]) -> str:
    """A value that repeats the one before, as whole columns do, is written once."""
    parts, before, part = [], None, "NULL"
    for value in values:
        if value is not before:
            before, part = value, "NULL" if value is None else literal(value)
        parts.append(part)
    return "{" + ",".join(parts) + "}"
