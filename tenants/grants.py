"""What the roles may do with other packages' tables. Ours are granted by their own walls, in migrations."""

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections

from tenants import roles

INSIDE = f"{roles.TENANT}, {roles.AGENCY}, {roles.SYSTEM}"
# Names for people on a page. Which users a scope sees is a policy of its own (migration 0002).
PERSON = "SELECT (id, username, email, first_name, last_name, is_active, last_login)"


def grant_third_party(*, using: str = DEFAULT_DB_ALIAS, **kwargs: Any) -> None:
    """Receiver of `post_migrate`, so that a package's new table is reachable without a migration of ours."""
    connection = connections[using]
    with connection.cursor() as cursor:
        existing = set(connection.introspection.table_names(cursor))
        for table, right, role in _grants():
            if table in existing:
                cursor.execute(f'GRANT {right} ON "{table}" TO {role}')


def _grants() -> Iterator[tuple[str, str, str]]:
    yield "django_migrations", "SELECT", roles.LOGIN
    for model in apps.get_models(include_auto_created=True):
        if not hasattr(model, "wall") and model._meta.managed and not model._meta.proxy:
            yield model._meta.db_table, "SELECT, INSERT, UPDATE, DELETE", roles.LOGIN
    yield "django_content_type", "SELECT", INSIDE
    yield "auth_user", PERSON, f"{roles.TENANT}, {roles.AGENCY}"
    # A doorbell is rung in the transaction that made the work, and the pulse rings lost ones again.
    yield "django_q_ormq", "INSERT, SELECT (id)", f"{roles.TENANT}, {roles.AGENCY}"
    yield "django_q_ormq", "SELECT, INSERT", roles.SYSTEM
