"""Migration operations that build wall 2. Explicit and frozen: what a migration says never changes with the code."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation, OperationCategory
from django.db.migrations.state import ProjectState

from tenants import roles

ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")

OWN_CLINIC = "{column} = (SELECT current_setting('app.tenant_id'))::bigint"
SEEN_CLINICS = "{column} = ANY ((SELECT current_setting('app.tenant_ids'))::bigint[])"
EVERY_ROW = "true"

_RIGHTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "tenant": {"tenant": ALL, "agency": ALL, "system": (), "login": ()},
    "agency": {"tenant": (), "agency": ALL, "system": (), "login": ()},
    "system": {"tenant": (), "agency": (), "system": ALL, "login": ()},
}
_RIGHT = re.compile(r"(SELECT|INSERT|UPDATE|DELETE)(?: \(([a-z0-9_, ]+)\))?")


class EnableWall(Operation):
    """Row-level security, forced, with one policy and one set of grants for each role that may come in.

    `wall` is the table's class: "tenant" (default), "agency" or "system". The four role arguments replace what the
    class grants; a right may name columns: `system=("SELECT (id, tenant_id, due_at)", "UPDATE (due_at)")`.
    `rows` replaces a role's row condition, for the few tables whose clinic is not in `tenant_id`.
    """

    category = OperationCategory.ALTERATION
    reduces_to_sql = True
    reversible = True

    def __init__(
        self,
        model_name: str,
        wall: str = "tenant",
        *,
        tenant: Sequence[str] | None = None,
        agency: Sequence[str] | None = None,
        system: Sequence[str] | None = None,
        login: Sequence[str] | None = None,
        rows: Mapping[str, str] | None = None,
    ) -> None:
        self.model_name = model_name
        self.wall = wall
        given = {"tenant": tenant, "agency": agency, "system": system, "login": login}
        self.rights = {word: _RIGHTS[wall][word] if rights is None else rights for word, rights in given.items()}
        self.rows = dict(rows or {})
        self._args = (model_name, wall)
        self._kwargs = {word: rights for word, rights in given.items() if rights is not None}

    @property
    def name_lower(self) -> str:
        return self.model_name.lower()

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
        kwargs: dict[str, Any] = dict(self._kwargs)
        if self.rows:
            kwargs["rows"] = self.rows
        return type(self).__name__, self._args, kwargs

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Walls are not part of the models' state."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        quote = schema_editor.quote_name
        table = quote(model._meta.db_table)
        schema_editor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        schema_editor.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        for word, rights in self.rights.items():
            if rights:
                condition = self.condition(word)
                schema_editor.execute(
                    f"CREATE POLICY wall_{word} ON {table} TO {roles.BY_WORD[word]}"
                    f" USING ({condition}) WITH CHECK ({condition})"
                )
                schema_editor.execute(f"GRANT {', '.join(map(_checked, rights))} ON {table} TO {roles.BY_WORD[word]}")

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        table = schema_editor.quote_name(model._meta.db_table)
        for word, rights in self.rights.items():
            if rights:
                schema_editor.execute(f"REVOKE ALL ON {table} FROM {roles.BY_WORD[word]}")
                schema_editor.execute(f"DROP POLICY wall_{word} ON {table}")
        schema_editor.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        schema_editor.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")

    def condition(self, word: str) -> str:
        """Which rows a role may see. Strict settings: a scope that was not entered raises, it never means no rows."""
        if word in self.rows:
            return self.rows[word]
        if self.wall == "tenant" and word == "tenant":
            return OWN_CLINIC.format(column="tenant_id")
        if self.wall == "tenant" and word == "agency":
            return SEEN_CLINICS.format(column="tenant_id")
        return EVERY_ROW

    def describe(self) -> str:
        return f"Wall off {self.model_name} ({self.wall})"

    @property
    def migration_name_fragment(self) -> str:
        return f"{self.name_lower}_wall"


class SameTenantKey(Operation):
    """FOREIGN KEY (tenant_id, x_id) REFERENCES parent (tenant_id, id), and the parent's unique pair it needs."""

    category = OperationCategory.ALTERATION
    reduces_to_sql = True
    reversible = True

    def __init__(self, model_name: str, field_name: str) -> None:
        self.model_name = model_name
        self.field_name = field_name

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
        return type(self).__name__, (self.model_name, self.field_name), {}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Keys of pairs are not part of the models' state."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        child, parent, column, key = self._names(model)
        pair = pair_name(parent)
        schema_editor.execute(
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_constraint"
            f" WHERE conname = '{pair}' AND conrelid = '\"{parent}\"'::regclass)"
            f' THEN ALTER TABLE "{parent}" ADD CONSTRAINT "{pair}" UNIQUE (tenant_id, id); END IF; END $$'
        )
        schema_editor.execute(
            f'ALTER TABLE "{child}" ADD CONSTRAINT "{key}" FOREIGN KEY (tenant_id, "{column}")'
            f' REFERENCES "{parent}" (tenant_id, id) DEFERRABLE INITIALLY IMMEDIATE'
        )

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if not self.allow_migrate_model(schema_editor.connection.alias, model):
            return
        child, parent, _, key = self._names(model)
        pair = pair_name(parent)
        schema_editor.execute(f'ALTER TABLE "{child}" DROP CONSTRAINT "{key}"')
        schema_editor.execute(
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_constraint k JOIN pg_constraint u ON k.conindid = u.conindid"
            f" WHERE k.contype = 'f' AND u.contype = 'u' AND u.conname = '{pair}')"
            f' THEN ALTER TABLE "{parent}" DROP CONSTRAINT "{pair}"; END IF; END $$'
        )

    def _names(self, model: Any) -> tuple[str, str, str, str]:
        field = model._meta.get_field(self.field_name)
        child = model._meta.db_table
        return child, field.remote_field.model._meta.db_table, field.column, key_name(child, field.column)

    def describe(self) -> str:
        return f"Keep {self.model_name}.{self.field_name} inside one clinic"

    @property
    def migration_name_fragment(self) -> str:
        return f"{self.model_name.lower()}_{self.field_name}_same_tenant"


def key_name(child_table: str, column: str) -> str:
    """The name of a same-tenant key; PostgreSQL would cut it at 63 bytes."""
    return f"{child_table}_{column}"[:50] + "_same_tenant"


def pair_name(parent_table: str) -> str:
    return f"{parent_table}"[:50] + "_tenant_pair"


def _checked(right: str) -> str:
    if not _RIGHT.fullmatch(right):
        raise ValueError(f"not a right: {right!r}")
    return right
