"""The SQL guard: the part of wall 1 that also sees raw SQL, base managers, cascades and other people's code."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from django.apps import apps
from django.db.backends.base.base import BaseDatabaseWrapper

from tenants.bases import Wall
from tenants.scope import NoScope, current_scope

GUARDED_ALIAS = "default"


@cache
def tenant_tables() -> re.Pattern[str]:
    """Matches a statement that names a tenant table."""
    tables = [model._meta.db_table for model in apps.get_models() if getattr(model, "wall", None) is Wall.TENANT]
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, tables)) or '(?!)'})\b")


def refuse_unscoped(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Lets a statement pass if there is a scope or it names no tenant table. Raises NoScope."""
    if current_scope() is None:
        text = sql if isinstance(sql, str) else sql.as_string(context["connection"].connection)
        found = tenant_tables().search(text)
        if found:
            raise NoScope(f"a statement named {found[0]} outside a scope")
    return execute(sql, params, many, context)


def install(*, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Receiver of `connection_created`. The owner's connection, which only migrates, is left alone."""
    if connection.alias == GUARDED_ALIAS and _guard not in connection.execute_wrappers:
        connection.execute_wrappers.append(_guard)


def _guard(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    return refuse_unscoped(execute, sql, params, many, context)
