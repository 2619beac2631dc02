from django.db import migrations

from tenants.operations import EnableWall, SameTenantKey

# The pulse sees ids, states and times of every clinic, nothing that is sealed or personal.
CONNECTION = ("SELECT (id, tenant_id, vendor, state, open_until, quota_subject)",)
FLOW = ("SELECT (id, tenant_id, source_id, target_id, mode, urgent, stopped_code, next_due_at)",)
RUN = ("SELECT (id, tenant_id, flow_id, state, since, lease_until, not_before)",)
DELIVERY = ("SELECT (id, tenant_id, target_id, state, not_before, lease_until, guarded, backfill)",)

KEYS = (
    ("flow", "source"),
    ("flow", "target"),
    ("mappingrule", "flow"),
    ("valuemap", "flow"),
    ("flowrevision", "flow"),
    ("link", "source"),
    ("link", "target"),
    ("run", "flow"),
    ("linkstate", "flow"),
    ("linkstate", "link"),
    ("delivery", "flow"),
    ("delivery", "run"),
    ("delivery", "target"),
    ("synclogentry", "flow"),
)


class Migration(migrations.Migration):
    dependencies = [("integrations", "0001_initial"), ("tenants", "0002_walls")]

    operations = [
        EnableWall("connection", system=CONNECTION),
        EnableWall("flow", system=FLOW),
        EnableWall("mappingrule"),
        EnableWall("valuemap"),
        EnableWall("flowrevision"),
        EnableWall("link"),
        EnableWall("linkstate"),
        EnableWall("run", system=RUN),
        EnableWall("delivery", system=DELIVERY),
        # append-only: kept lines are removed by age, never changed
        EnableWall("synclogentry", tenant=("SELECT", "INSERT", "DELETE"), agency=("SELECT", "INSERT")),
        EnableWall("quotabudget", "system", tenant=("SELECT",), agency=("SELECT",)),
        *(SameTenantKey(model, field) for model, field in KEYS),
    ]
