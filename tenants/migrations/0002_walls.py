from django.db import migrations

from tenants.operations import ALL, OWN_CLINIC, SEEN_CLINICS, EnableWall

READ = ("SELECT",)
APPEND = ("SELECT", "INSERT")

OWN_MEMBERS = f"{OWN_CLINIC.format(column='tenant_id')} AND role IN ('clinic_manager', 'clinic_viewer')"
SEEN_MEMBERS = f"(tenant_id IS NULL OR {SEEN_CLINICS.format(column='tenant_id')})"

# Another package's table, so not forced: its own migrations run as the owner. Inside a scope one sees the people
# of one's own clinics; the sub-select obeys the wall of tenants_membership.
PEOPLE = """
ALTER TABLE auth_user ENABLE ROW LEVEL SECURITY;
CREATE POLICY people_login ON auth_user TO suture_app_login USING (true) WITH CHECK (true);
CREATE POLICY people_inside ON auth_user FOR SELECT TO suture_app_tenant, suture_app_agency
    USING (EXISTS (SELECT FROM tenants_membership m WHERE m.user_id = auth_user.id));
"""
NO_PEOPLE = """
DROP POLICY people_inside ON auth_user;
DROP POLICY people_login ON auth_user;
ALTER TABLE auth_user DISABLE ROW LEVEL SECURITY;
"""
# The owner alone moves every process's clock, and only tests do.
OWNER_CLOCK = "CREATE POLICY wall_owner ON tenants_clock TO suture_owner USING (true) WITH CHECK (true)"
NO_OWNER_CLOCK = "DROP POLICY wall_owner ON tenants_clock"


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial"), ("auth", "0012_alter_user_first_name_max_length")]

    operations = [
        EnableWall("agency", "system", login=READ, tenant=READ, system=READ, agency=("SELECT", "INSERT", "UPDATE")),
        EnableWall(
            "tenant",
            "system",
            login=READ,
            tenant=READ,
            system=READ,
            agency=("SELECT", "INSERT", "UPDATE"),
            rows={"tenant": OWN_CLINIC.format(column="id"), "agency": SEEN_CLINICS.format(column="id")},
        ),
        # A clinic's id is drawn before its row, which is visible only once its id is in scope.
        migrations.RunSQL(
            "GRANT USAGE ON SEQUENCE tenants_tenant_id_seq TO suture_app_agency",
            "REVOKE USAGE ON SEQUENCE tenants_tenant_id_seq FROM suture_app_agency",
        ),
        EnableWall(
            "membership",
            "system",
            login=READ,
            system=READ,
            tenant=ALL,
            agency=ALL,
            rows={"tenant": OWN_MEMBERS, "agency": SEEN_MEMBERS},
        ),
        EnableWall("tenantkey", agency=()),
        EnableWall("auditentry", tenant=APPEND, agency=APPEND, system=APPEND),
        EnableWall("agencyauditentry", "agency", agency=APPEND, system=APPEND, login=("SELECT (id, at)", "INSERT")),
        EnableWall("auditseal", "system", system=APPEND, agency=READ),
        EnableWall("lease", "system"),
        EnableWall("clock", "system", login=READ, tenant=READ, agency=READ, system=READ),
        migrations.RunSQL(OWNER_CLOCK, NO_OWNER_CLOCK),
        migrations.RunSQL(PEOPLE, NO_PEOPLE),
    ]
