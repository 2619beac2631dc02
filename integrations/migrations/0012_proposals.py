import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.expressions
import tenants.walls
from django.conf import settings
from django.db import migrations, models

from tenants.operations import EnableWall, SameTenantKey

REHEARSAL = ("SELECT (id, tenant_id, flow_id, state, lease_until, not_before)",)


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0011_incidents'),
        ('tenants', '0002_walls'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Proposal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('config', models.JSONField()),
                ('based_on', models.PositiveIntegerField()),
                ('state', models.CharField(choices=[('open', 'Not published yet'), ('published', 'Published'), ('withdrawn', 'Taken back')], default='open', max_length=10)),
                ('note', models.CharField(blank=True, max_length=255)),
                ('created_at', models.DateTimeField()),
                ('closed_at', models.DateTimeField(null=True)),
                ('published_number', models.PositiveIntegerField(null=True)),
                ('author', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('flow', tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='proposals', to='integrations.flow')),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ['-pk'],
            },
        ),
        migrations.CreateModel(
            name='Rehearsal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('config', models.JSONField()),
                ('revision_number', models.PositiveIntegerField()),
                ('actor', models.CharField(blank=True, max_length=150)),
                ('state', models.CharField(choices=[('running', 'Under way'), ('done', 'Done'), ('failed', 'Failed'), ('stopped', 'Stopped')], default='running', max_length=10)),
                ('code', models.CharField(blank=True, max_length=60)),
                ('since', models.DateTimeField()),
                ('most', models.PositiveIntegerField()),
                ('expected', models.PositiveIntegerField(null=True)),
                ('place', models.TextField(null=True)),
                ('is_cut', models.BooleanField(default=False)),
                ('not_before', models.DateTimeField(null=True)),
                ('lease_until', models.DateTimeField(null=True)),
                ('fence', models.PositiveIntegerField(default=0)),
                ('crashes', models.PositiveSmallIntegerField(default=0)),
                ('started_at', models.DateTimeField()),
                ('finished_at', models.DateTimeField(null=True)),
                ('read', models.PositiveIntegerField(default=0)),
                ('created', models.PositiveIntegerField(default=0)),
                ('updated', models.PositiveIntegerField(default=0)),
                ('archived', models.PositiveIntegerField(default=0)),
                ('unchanged', models.PositiveIntegerField(default=0)),
                ('skipped', models.PositiveIntegerField(default=0)),
                ('held', models.PositiveIntegerField(default=0)),
                ('unclear', models.PositiveIntegerField(default=0)),
                ('changed', models.PositiveIntegerField(default=0)),
                ('newly_held', models.PositiveIntegerField(default=0)),
                ('fields', models.JSONField(default=dict)),
                ('codes', models.JSONField(default=dict)),
                ('flow', tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='rehearsals', to='integrations.flow')),
                ('proposal', tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='rehearsals', to='integrations.proposal')),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ['-pk'],
            },
        ),
        migrations.CreateModel(
            name='Prediction',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('source_key', models.CharField(max_length=64)),
                ('action', models.CharField(max_length=10)),
                ('code', models.CharField(blank=True, max_length=60)),
                ('fields', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=160), default=list, size=None)),
                ('was_action', models.CharField(max_length=10)),
                ('was_code', models.CharField(blank=True, max_length=60)),
                ('is_changed', models.BooleanField(default=False)),
                ('claims', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=300), default=list, size=None)),
                ('sealed_sample', models.BinaryField(null=True)),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
                ('rehearsal', tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='predictions', to='integrations.rehearsal')),
            ],
            options={
                'ordering': ['pk'],
            },
        ),
        migrations.AddIndex(
            model_name='proposal',
            index=models.Index(fields=['tenant', 'flow', '-id'], name='proposal_newest'),
        ),
        migrations.AddIndex(
            model_name='rehearsal',
            index=models.Index(fields=['tenant', 'proposal', '-id'], name='rehearsal_newest'),
        ),
        migrations.AddConstraint(
            model_name='rehearsal',
            constraint=models.UniqueConstraint(condition=models.Q(('state', 'running')), fields=('tenant', 'flow'), name='rehearsal_one_running_per_flow'),
        ),
        migrations.AddConstraint(
            model_name='rehearsal',
            constraint=models.CheckConstraint(condition=models.Q(('read', django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(django.db.models.expressions.CombinedExpression(models.F('created'), '+', models.F('updated')), '+', models.F('archived')), '+', models.F('unchanged')), '+', models.F('skipped')), '+', models.F('held')), '+', models.F('unclear')))), name='rehearsal_adds_up'),
        ),
        migrations.AddConstraint(
            model_name='prediction',
            constraint=models.UniqueConstraint(fields=('tenant', 'rehearsal', 'source_key'), name='prediction_once'),
        ),
        EnableWall("proposal"),
        EnableWall("rehearsal", system=REHEARSAL),
        EnableWall("prediction"),
        SameTenantKey("proposal", "flow"),
        SameTenantKey("rehearsal", "flow"),
        SameTenantKey("rehearsal", "proposal"),
        SameTenantKey("prediction", "rehearsal"),
    ]
