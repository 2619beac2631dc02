"""The walls between clinics, in one place to import from. `design.md`'s words: wall 1 is the application, wall 2 PostgreSQL.

* `scope` says whose rows may be touched · `managers`, `bases` and `guard` are wall 1 · `operations` builds wall 2
* `rows` writes many rows through both · `clock` is the one clock they agree on · `checks` refuses a gap
"""

from tenants.bases import AgencyModel, SystemModel, TenantForeignKey, TenantModel, Wall
from tenants.clock import AppNow, app_now, move_clock
from tenants.managers import InScope, OpenManager, TenantManager, TenantQuerySet
from tenants.operations import ALL, EVERY_ROW, OWN_CLINIC, SEEN_CLINICS, EnableWall, SameTenantKey
from tenants.rows import Inserted, insert_rows, text_array
from tenants.scope import (
    AgencyScope,
    AllTenantsScope,
    ForeignRow,
    NoScope,
    Scope,
    ScopeChanged,
    ScopeError,
    SystemScope,
    TenantScope,
    agency_tx,
    all_tenants,
    current_scope,
    current_tenant_id,
    narrow_to,
    require_scope,
    system_tx,
    tenant_tx,
    widen_agency_scope,
)

__all__ = [
    "ALL",
    "EVERY_ROW",
    "OWN_CLINIC",
    "SEEN_CLINICS",
    "AgencyModel",
    "AgencyScope",
    "AllTenantsScope",
    "AppNow",
    "EnableWall",
    "ForeignRow",
    "InScope",
    "Inserted",
    "NoScope",
    "OpenManager",
    "SameTenantKey",
    "Scope",
    "ScopeChanged",
    "ScopeError",
    "SystemModel",
    "SystemScope",
    "TenantForeignKey",
    "TenantManager",
    "TenantModel",
    "TenantQuerySet",
    "TenantScope",
    "Wall",
    "agency_tx",
    "all_tenants",
    "app_now",
    "current_scope",
    "current_tenant_id",
    "insert_rows",
    "move_clock",
    "narrow_to",
    "require_scope",
    "system_tx",
    "tenant_tx",
    "text_array",
    "widen_agency_scope",
]
