import django.contrib.postgres.fields
import django.db.models.deletion
import tenants.walls
from django.db import migrations, models

from tenants.operations import EnableWall, SameTenantKey

RERUN = ("SELECT (id, tenant_id, series, state, code, not_before)",)


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0013_blueprints'),
        ('tenants', '0002_walls'),
    ]

    operations = [
        migrations.CreateModel(
            name='Assignment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('source_key', models.CharField(max_length=64)),
                ('assignee', models.CharField(max_length=150)),
                ('at', models.DateTimeField()),
                ('flow', tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='integrations.flow')),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'indexes': [models.Index(fields=['tenant', 'assignee'], name='assignment_of_person')],
                'constraints': [models.UniqueConstraint(fields=('tenant', 'flow', 'source_key'), name='assignment_once_a_record')],
            },
        ),
        migrations.CreateModel(
            name='Comment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('source_key', models.CharField(max_length=64)),
                ('author', models.CharField(max_length=320)),
                ('text', models.CharField(max_length=500)),
                ('at', models.DateTimeField()),
                ('flow', tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='integrations.flow')),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ['at'],
                'indexes': [models.Index(fields=['tenant', 'flow', 'source_key', 'at'], name='comment_of_record')],
            },
        ),
        migrations.CreateModel(
            name='Override',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('source_key', models.CharField(max_length=64)),
                ('field', models.CharField(max_length=160)),
                ('sealed_value', models.BinaryField()),
                ('seen_digest', models.CharField(blank=True, max_length=64)),
                ('author', models.CharField(max_length=320)),
                ('made_at', models.DateTimeField()),
                ('flow', tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='overrides', to='integrations.flow')),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('tenant', 'flow', 'source_key', 'field'), name='override_once_a_field')],
            },
        ),
        migrations.CreateModel(
            name='Rerun',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('series', models.UUIDField()),
                ('chosen', models.JSONField(default=dict)),
                ('state', models.CharField(choices=[('canary', 'The first few are on their way'), ('ready', 'Waits for the first few'), ('running', 'The rest is on its way'), ('done', 'Done'), ('stopped', 'Stopped')], default='ready', max_length=10)),
                ('canary', django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), default=list, size=None)),
                ('total', models.PositiveIntegerField(default=0)),
                ('sent', models.PositiveIntegerField(default=0)),
                ('code', models.CharField(blank=True, max_length=60)),
                ('author', models.CharField(max_length=320)),
                ('not_before', models.DateTimeField()),
                ('begun_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField(null=True)),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ['-begun_at'],
                'indexes': [models.Index(fields=['tenant', '-begun_at'], name='rerun_newest'), models.Index(fields=['-begun_at'], name='rerun_newest_of_all'), models.Index(fields=['series'], name='rerun_of_series'), models.Index(condition=models.Q(('state__in', ('canary', 'ready', 'running'))), fields=['not_before'], name='rerun_due')],
            },
        ),
        EnableWall("override"),
        # what somebody wrote stays as it was written
        EnableWall("comment", tenant=("SELECT", "INSERT", "DELETE"), agency=("SELECT", "INSERT")),
        EnableWall("assignment"),
        EnableWall("rerun", system=RERUN),
        SameTenantKey("override", "flow"),
        SameTenantKey("comment", "flow"),
        SameTenantKey("assignment", "flow"),
    ]
