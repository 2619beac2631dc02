"""Whose rows this code may touch, and the only ways to say so.

A scope is entered by one of four context managers and by nothing else. Three of them open a short transaction,
switch the database role and set the tenant for that transaction only, so that nothing outlives it on a pooled
connection. The fourth, `all_tenants`, lifts the application's wall alone: PostgreSQL still refuses.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from tenants import roles


class ScopeError(Exception):
    """Code reached for a clinic's rows in a way the walls refuse. Always a bug, never a user's mistake."""


class NoScope(ScopeError):
    """A tenant table was used outside `tenant_tx`, `agency_tx`, `system_tx` or `all_tenants`."""


class ScopeChanged(ScopeError):
    """A scope was entered inside a different one."""


class ForeignRow(ScopeError):
    """A write carried a tenant that is not in scope."""


@dataclass(frozen=True, slots=True)
class TenantScope:
    id: int
    actor: str = ""
    reason: str = ""

    def admits(self, tenant_id: int) -> bool:
        return tenant_id == self.id


@dataclass(frozen=True, slots=True)
class AgencyScope:
    """`tenant_ids` are the clinics this person may see; `actor` is who acts."""

    tenant_ids: frozenset[int]
    actor: str
    reason: str

    def admits(self, tenant_id: int) -> bool:
        return tenant_id in self.tenant_ids


@dataclass(frozen=True, slots=True)
class SystemScope:
    reason: str

    def admits(self, tenant_id: int) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class AllTenantsScope:
    reason: str

    def admits(self, tenant_id: int) -> bool:
        return True


Scope = TenantScope | AgencyScope | SystemScope | AllTenantsScope

_scope: ContextVar[Scope | None] = ContextVar("suture_scope", default=None)


def current_scope() -> Scope | None:
    """The scope in force, or None."""
    return _scope.get()


def require_scope() -> Scope:
    """The scope in force. Raises NoScope."""
    scope = _scope.get()
    if scope is None:
        raise NoScope("a tenant table was used outside a scope; enter tenant_tx() first")
    return scope


def current_tenant_id() -> int:
    """The one clinic in scope. Raises NoScope outside `tenant_tx` (an agency's scope names many)."""
    scope = require_scope()
    if not isinstance(scope, TenantScope):
        raise NoScope("this needs one clinic; enter tenant_tx() or narrow_to()")
    return scope.id


@contextmanager
def tenant_tx(tenant_id: int, *, actor: str = "", reason: str = "") -> Iterator[TenantScope]:
    """A short transaction as app_tenant that sees one clinic.

    Entering it again for the same clinic does nothing; for another, or from an agency's or the system's scope, raises
    ScopeChanged. Refuses to run inside somebody else's transaction.
    """
    outer = _scope.get()
    if isinstance(outer, TenantScope) and outer.id == tenant_id:
        yield outer
        return
    scope = TenantScope(tenant_id, actor, reason)
    with _transaction(scope):
        yield scope


@contextmanager
def agency_tx(tenant_ids: Iterable[int], *, actor: str, reason: str) -> Iterator[AgencyScope]:
    """A short transaction as app_agency that sees the clinics this person may see."""
    scope = AgencyScope(frozenset(tenant_ids), actor, reason)
    outer = _scope.get()
    if isinstance(outer, AgencyScope) and outer.tenant_ids == scope.tenant_ids:
        yield outer
        return
    with _transaction(scope):
        yield scope


@contextmanager
def system_tx(reason: str) -> Iterator[SystemScope]:
    """A short transaction as app_system: the pulse, leases, quota. It can read nothing that is sealed."""
    outer = _scope.get()
    if isinstance(outer, SystemScope):
        yield outer
        return
    scope = SystemScope(reason)
    with _transaction(scope):
        yield scope


@contextmanager
def all_tenants(reason: str) -> Iterator[AllTenantsScope]:
    """Lifts the application's wall, and only that one: what the database role may see stays as it is."""
    if not reason:
        raise ValueError("all_tenants() needs a reason")
    scope = AllTenantsScope(reason)
    with _holding(scope):
        yield scope


@contextmanager
def narrow_to(tenant_id: int) -> Iterator[TenantScope]:
    """Steps from an agency's scope into one of its clinics, in the same transaction, and back.

    For what only app_tenant may touch, such as a clinic's data key. In that clinic's own scope it does nothing.
    """
    outer = require_scope()
    if isinstance(outer, TenantScope) and outer.id == tenant_id:
        yield outer
        return
    if not isinstance(outer, AgencyScope) or not outer.admits(tenant_id):
        raise ScopeChanged("narrow_to() leads from an agency's scope into one of its own clinics")
    scope = TenantScope(tenant_id, outer.actor, outer.reason)
    with transaction.atomic():
        enter_role(connection, scope)
        with _holding(scope):
            yield scope
        if not connection.needs_rollback:
            enter_role(connection, outer)


def widen_agency_scope(tenant_id: int) -> None:
    """Lets the running `agency_tx` see a clinic that it is about to add."""
    scope = require_scope()
    if not isinstance(scope, AgencyScope):
        raise ScopeChanged("only an agency's scope can be widened")
    wider = replace(scope, tenant_ids=scope.tenant_ids | {tenant_id})
    enter_role(connection, wider)
    _scope.set(wider)


@contextmanager
def _transaction(scope: Scope) -> Iterator[None]:
    outer = _scope.get()
    if outer is not None and not isinstance(outer, AllTenantsScope):
        raise ScopeChanged(f"{type(scope).__name__} inside {type(outer).__name__}")
    with transaction.atomic(durable=True):
        enter_role(connection, scope)
        with _holding(scope):
            yield
            if not connection.needs_rollback:
                _settle_constraints()
        # A savepoint here means a test's outer transaction, which SET LOCAL outlives. Restored on success only:
        # after an error the savepoint's rollback has done it, and a statement here would hide that error.
        if connection.savepoint_ids and not connection.needs_rollback:
            _leave_role()


@contextmanager
def _holding(scope: Scope) -> Iterator[None]:
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


def enter_role(database: BaseDatabaseWrapper, scope: Scope) -> None:
    """Switches role and tenant until the end of the transaction, in one statement."""
    match scope:
        case TenantScope():
            _set_local(database, roles.TENANT, tenant_id=str(scope.id))
        case AgencyScope():
            _set_local(database, roles.AGENCY, tenant_ids="{" + ",".join(map(str, sorted(scope.tenant_ids))) + "}")
        case SystemScope():
            _set_local(database, roles.SYSTEM)
        case AllTenantsScope():
            raise ScopeChanged("all_tenants() has no database role")


def _set_local(database: BaseDatabaseWrapper, role: str, *, tenant_id: str = "", tenant_ids: str = "") -> None:
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT set_config('role', %s, true), set_config('app.tenant_id', %s, true),"
            " set_config('app.tenant_ids', %s, true)",
            [role, tenant_id, tenant_ids],
        )


def _settle_constraints() -> None:
    """Lets deferred keys fail here, where the response can still change, and not at COMMIT."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def _leave_role() -> None:
    _set_local(connection, "none")
