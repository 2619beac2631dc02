import django.db.models.deletion
import tenants.walls
from django.db import migrations, models

from tenants.operations import EnableWall, SameTenantKey

TABLES = ("integrations_alert", "integrations_run")
CONVERT = "; ".join(
    [
        *(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY" for table in TABLES),
        "UPDATE integrations_alert a SET flow_id = r.flow_id, call = 'records',"
        " ended_at = coalesce(a.ended_at, a.opened_at), end_told_at = coalesce(a.end_told_at, a.opened_at)"
        " FROM integrations_run r WHERE r.id = a.run_id",
        "SET CONSTRAINTS ALL IMMEDIATE",
        *(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY" for table in TABLES),
    ]
)
KEY = "integrations_alert_run_id_same_tenant"
DROP_KEY = f"ALTER TABLE integrations_alert DROP CONSTRAINT {KEY}"
ADD_KEY = (
    f"ALTER TABLE integrations_alert ADD CONSTRAINT {KEY} FOREIGN KEY (tenant_id, run_id)"
    " REFERENCES integrations_run (tenant_id, id) DEFERRABLE INITIALLY IMMEDIATE"
)
SYSTEM = "suture_app_system"
WATCH = ("SELECT (id, tenant_id, next_at, expected_today, quiet_for)",)
# Records that wait are folded for all clinics as well: by kinds of flow and codes.
GRANTS = (
    "SELECT (flow_id, field, records) ON integrations_alert",
    "SELECT (kind, name) ON integrations_flow",
)


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0014_desk'),
        ('tenants', '0002_walls'),
    ]

    operations = [
        migrations.CreateModel(
            name='Digest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('made_at', models.DateTimeField()),
                ('waiting', models.JSONField(default=dict)),
                ('mailed_at', models.DateTimeField(null=True)),
                ('signed_at', models.DateTimeField(null=True)),
                ('signed_by', models.CharField(blank=True, max_length=320)),
                ('signed_waiting', models.JSONField(default=dict)),
            ],
            options={
                'ordering': ['-made_at'],
            },
        ),
        migrations.CreateModel(
            name='Volume',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hour', models.DateTimeField()),
                ('records', models.PositiveIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name='Watch',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('next_at', models.DateTimeField()),
                ('digest_due_at', models.DateTimeField(null=True)),
                ('counted_to', models.DateTimeField(null=True)),
                ('expected_today', models.FloatField(default=0)),
                ('quiet_for', models.FloatField(default=0)),
            ],
            options={
                'verbose_name_plural': 'watches',
            },
        ),
        migrations.RemoveConstraint(
            model_name='alert',
            name='alert_once_a_run',
        ),
        migrations.RemoveConstraint(
            model_name='alert',
            name='alert_about_one_thing',
        ),
        migrations.AddField(
            model_name='alert',
            name='field',
            field=models.CharField(blank=True, max_length=60),
        ),
        migrations.AddField(
            model_name='alert',
            name='flow',
            field=tenants.walls.TenantForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='alerts', to='integrations.flow'),
        ),
        # what was told of a stopped pass is told of its flow from now on; the owner sees rows only where nothing is forced
        migrations.RunSQL(CONVERT, migrations.RunSQL.noop),
        migrations.RunSQL(DROP_KEY, ADD_KEY),
        migrations.RemoveField(
            model_name='alert',
            name='run',
        ),
        migrations.AddField(
            model_name='alert',
            name='records',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='incident',
            name='kind',
            field=models.CharField(blank=True, max_length=60),
        ),
        migrations.AlterField(
            model_name='alert',
            name='call',
            field=models.CharField(choices=[('read', 'Reading'), ('write', 'Writing'), ('test', 'A test'), ('records', 'Records that wait'), ('silence', 'Records that stay away')], max_length=10),
        ),
        migrations.AlterField(
            model_name='incident',
            name='call',
            field=models.CharField(choices=[('read', 'Reading'), ('write', 'Writing'), ('test', 'A test'), ('records', 'Records that wait'), ('silence', 'Records that stay away')], max_length=10),
        ),
        migrations.AlterField(
            model_name='incident',
            name='fingerprint',
            field=models.CharField(max_length=190),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.UniqueConstraint(condition=models.Q(('ended_at', None)), fields=('tenant', 'flow', 'code', 'field'), name='alert_one_open_a_flow'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('connection__isnull', False), ('flow', None)), models.Q(('connection', None), ('flow__isnull', False)), _connector='OR'), name='alert_about_one_thing'),
        ),
        migrations.AddField(
            model_name='digest',
            name='tenant',
            field=models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='volume',
            name='flow',
            field=tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='volumes', to='integrations.flow'),
        ),
        migrations.AddField(
            model_name='volume',
            name='tenant',
            field=models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='watch',
            name='tenant',
            field=models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddIndex(
            model_name='digest',
            index=models.Index(fields=['tenant', '-made_at'], name='digest_newest'),
        ),
        migrations.AddIndex(
            model_name='digest',
            index=models.Index(fields=['-made_at'], name='digest_newest_of_all'),
        ),
        migrations.AddConstraint(
            model_name='volume',
            constraint=models.UniqueConstraint(fields=('tenant', 'flow', 'hour'), name='volume_once_an_hour'),
        ),
        migrations.AddIndex(
            model_name='watch',
            index=models.Index(fields=['next_at'], name='watch_due'),
        ),
        migrations.AddConstraint(
            model_name='watch',
            constraint=models.UniqueConstraint(fields=('tenant',), name='watch_once_a_clinic'),
        ),
        EnableWall("watch", system=WATCH),
        EnableWall("volume"),
        EnableWall("digest"),
        SameTenantKey("alert", "flow"),
        SameTenantKey("volume", "flow"),
        *(
            migrations.RunSQL(f"GRANT {rights} TO {SYSTEM}", f"REVOKE {rights} FROM {SYSTEM}")
            for rights in GRANTS
        ),
    ]
