import django.db.models.deletion
import tenants.walls
from django.db import migrations, models

from tenants.operations import ALL, EnableWall, SameTenantKey

SYSTEM = "suture_app_system"
# Incidents are folded for all clinics at once: by ids, codes and times, and the names that a person gave a connection.
ALERT = "id, connection_id, run_id, incident_id, telling, code, call, opened_at"
GRANTS = (
    f"SELECT ({ALERT}), UPDATE (incident_id, telling, told_at, end_told_at) ON integrations_alert",
    "SELECT (name, label) ON integrations_connection",
)


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0010_delivery_of_its_flows_clinic'),
        ('tenants', '0002_walls'),
    ]

    operations = [
        migrations.CreateModel(
            name='AlertHook',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('sealed_url', models.BinaryField()),
                ('host', models.CharField(max_length=255)),
                ('set_at', models.DateTimeField()),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='HookPost',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('text', models.TextField()),
                ('made_at', models.DateTimeField()),
                ('state', models.CharField(choices=[('waiting', 'Waiting'), ('sending', 'On its way'), ('sent', 'Sent'), ('failed', 'Not sent'), ('unclear', 'Unclear')], default='waiting', max_length=10)),
                ('tries', models.PositiveSmallIntegerField(default=0)),
                ('not_before', models.DateTimeField()),
                ('code', models.CharField(blank=True, max_length=60)),
            ],
            options={
                'ordering': ['-made_at'],
            },
        ),
        migrations.CreateModel(
            name='Incident',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('vendor', models.CharField(max_length=30)),
                ('fingerprint', models.CharField(max_length=120)),
                ('code', models.CharField(max_length=60)),
                ('call', models.CharField(choices=[('read', 'Reading'), ('write', 'Writing'), ('test', 'A test')], max_length=10)),
                ('joins', models.BooleanField(default=True)),
                ('opened_at', models.DateTimeField()),
                ('last_joined_at', models.DateTimeField()),
                ('told_at', models.DateTimeField(null=True)),
                ('told_clinics', models.PositiveIntegerField(default=0)),
                ('ended_at', models.DateTimeField(null=True)),
                ('end_told_at', models.DateTimeField(null=True)),
            ],
            options={
                'ordering': ['-opened_at'],
            },
        ),
        migrations.RemoveIndex(
            model_name='alert',
            name='alert_untold',
        ),
        migrations.AddField(
            model_name='alert',
            name='run',
            field=tenants.walls.TenantForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='alerts', to='integrations.run'),
        ),
        migrations.AddField(
            model_name='alert',
            name='telling',
            field=models.CharField(blank=True, choices=[('', 'Not decided yet'), ('own', 'A mail of its own'), ('managers', "The agency by its incident, the clinic's managers by a mail of their own"), ('incident', 'Its incident')], default='own', max_length=10),
        ),
        # what was open before tells of itself
        migrations.AlterField(
            model_name='alert',
            name='telling',
            field=models.CharField(blank=True, choices=[('', 'Not decided yet'), ('own', 'A mail of its own'), ('managers', "The agency by its incident, the clinic's managers by a mail of their own"), ('incident', 'Its incident')], default='', max_length=10),
        ),
        migrations.AlterField(
            model_name='alert',
            name='connection',
            field=tenants.walls.TenantForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='alerts', to='integrations.connection'),
        ),
        migrations.AddField(
            model_name='alerthook',
            name='agency',
            field=models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.agency'),
        ),
        migrations.AddField(
            model_name='hookpost',
            name='agency',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.agency'),
        ),
        migrations.AddField(
            model_name='incident',
            name='agency',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.agency'),
        ),
        migrations.AddField(
            model_name='alert',
            name='incident',
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='alerts', to='integrations.incident'),
        ),
        migrations.AddIndex(
            model_name='alert',
            index=models.Index(condition=models.Q(('telling__in', ('own', 'managers')), models.Q(models.Q(('ended_at', None), ('told_at', None)), models.Q(('end_told_at', None), ('ended_at__isnull', False), ('told_at__isnull', False)), _connector='OR')), fields=['tenant'], name='alert_untold'),
        ),
        migrations.AddIndex(
            model_name='alert',
            index=models.Index(condition=models.Q(('ended_at', None), ('telling', '')), fields=['tenant'], name='alert_undecided'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.UniqueConstraint(fields=('tenant', 'run'), name='alert_once_a_run'),
        ),
        migrations.AddConstraint(
            model_name='alert',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('connection__isnull', False), ('run', None)), models.Q(('connection', None), ('run__isnull', False)), _connector='OR'), name='alert_about_one_thing'),
        ),
        migrations.AddIndex(
            model_name='hookpost',
            index=models.Index(fields=['agency', '-made_at'], name='hook_post_newest'),
        ),
        migrations.AddIndex(
            model_name='hookpost',
            index=models.Index(condition=models.Q(('state__in', ['waiting', 'sending'])), fields=['not_before'], name='hook_post_due'),
        ),
        migrations.AddIndex(
            model_name='incident',
            index=models.Index(fields=['-opened_at'], name='incident_newest'),
        ),
        migrations.AddIndex(
            model_name='incident',
            index=models.Index(condition=models.Q(('ended_at', None)), fields=['id'], name='incident_open'),
        ),
        migrations.AddConstraint(
            model_name='incident',
            constraint=models.UniqueConstraint(condition=models.Q(('joins', True)), fields=('agency', 'fingerprint'), name='incident_one_joins'),
        ),
        SameTenantKey("alert", "run"),
        EnableWall("incident", "agency", agency=("SELECT",), system=ALL),
        # the address is sealed, so the pulse's role sees only that there is one
        EnableWall("alerthook", "agency", system=("SELECT (id, agency_id)",)),
        EnableWall("hookpost", "agency", system=ALL),
        *(
            migrations.RunSQL(f"GRANT {rights} TO {SYSTEM}", f"REVOKE {rights} FROM {SYSTEM}")
            for rights in GRANTS
        ),
    ]
