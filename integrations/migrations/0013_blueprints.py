import django.contrib.postgres.fields
import django.db.models.deletion
import tenants.walls
from django.conf import settings
from django.db import migrations, models

from tenants.operations import EnableWall, SameTenantKey

# the pulse rings for steps, and closes a rollout that has arrived everywhere
STEP = ("SELECT (id, tenant_id, rollout_id, state, asks_rehearsal)",)
ROLLOUT = ("SELECT (id, state)", "UPDATE (state, closed_at)")


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0012_proposals'),
        ('tenants', '0002_walls'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Blueprint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=80)),
                ('kind', models.CharField(max_length=60)),
                ('config', models.JSONField(default=dict)),
                ('number', models.PositiveIntegerField(default=0)),
                ('created_at', models.DateTimeField()),
                ('agency', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.agency')),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='BlueprintVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('config', models.JSONField()),
                ('note', models.CharField(blank=True, max_length=200)),
                ('created_at', models.DateTimeField()),
                ('author', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('blueprint', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='versions', to='integrations.blueprint')),
            ],
            options={
                'ordering': ['-number'],
            },
        ),
        migrations.CreateModel(
            name='Following',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=80)),
                ('number', models.PositiveIntegerField(default=0)),
                ('config', models.JSONField(default=dict)),
                ('own', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=400), default=list, size=None)),
                ('since', models.DateTimeField()),
                ('blueprint', models.ForeignKey(on_delete=django.db.models.deletion.DO_NOTHING, related_name='followings', to='integrations.blueprint')),
                ('flow', tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='followings', to='integrations.flow')),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ['pk'],
            },
        ),
        migrations.CreateModel(
            name='Rollout',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('state', models.CharField(choices=[('prepared', 'Prepared'), ('first', 'First clinics'), ('rest', 'All clinics'), ('done', 'Published'), ('stopped', 'Stopped'), ('undone', 'Rolled back')], default='prepared', max_length=10)),
                ('made_at', models.DateTimeField()),
                ('first_at', models.DateTimeField(null=True)),
                ('rest_at', models.DateTimeField(null=True)),
                ('closed_at', models.DateTimeField(null=True)),
                ('blueprint', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rollouts', to='integrations.blueprint')),
            ],
            options={
                'ordering': ['-pk'],
            },
        ),
        migrations.CreateModel(
            name='RolloutStep',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=80)),
                ('number', models.PositiveIntegerField()),
                ('config', models.JSONField()),
                ('note', models.CharField(blank=True, max_length=200)),
                ('actor', models.CharField(max_length=320)),
                ('actor_role', models.CharField(max_length=20)),
                ('is_first', models.BooleanField(default=False)),
                ('state', models.CharField(choices=[('planned', 'Not yet'), ('due', 'Being published'), ('done', 'Runs by it'), ('refused', 'Could not take it'), ('stopped', 'Left as it was'), ('back', 'Being rolled back'), ('undone', 'Rolled back')], default='planned', max_length=10)),
                ('asks_rehearsal', models.BooleanField(default=False)),
                ('before', models.JSONField(default=dict)),
                ('from_revision', models.PositiveIntegerField(null=True)),
                ('revision_number', models.PositiveIntegerField(null=True)),
                ('why', models.CharField(blank=True, max_length=500)),
                ('at', models.DateTimeField(null=True)),
                ('author', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('flow', tenants.walls.TenantForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='rollout_steps', to='integrations.flow')),
                ('proposal', tenants.walls.TenantForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='integrations.proposal')),
                ('rollout', models.ForeignKey(on_delete=django.db.models.deletion.DO_NOTHING, related_name='steps', to='integrations.rollout')),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ['pk'],
            },
        ),
        migrations.AddConstraint(
            model_name='blueprint',
            constraint=models.UniqueConstraint(fields=('agency', 'name'), name='blueprint_name_once'),
        ),
        migrations.AddConstraint(
            model_name='blueprintversion',
            constraint=models.UniqueConstraint(fields=('blueprint', 'number'), name='blueprint_version_once'),
        ),
        migrations.AddConstraint(
            model_name='following',
            constraint=models.UniqueConstraint(fields=('tenant', 'flow'), name='following_once'),
        ),
        migrations.AddConstraint(
            model_name='rollout',
            constraint=models.UniqueConstraint(condition=models.Q(('state__in', ('prepared', 'first', 'rest'))), fields=('blueprint',), name='rollout_one_open'),
        ),
        migrations.AddIndex(
            model_name='rolloutstep',
            index=models.Index(condition=models.Q(('state__in', ['due', 'back']), ('asks_rehearsal', True), _connector='OR'), fields=['id'], name='rollout_step_due'),
        ),
        migrations.AddConstraint(
            model_name='rolloutstep',
            constraint=models.UniqueConstraint(fields=('tenant', 'rollout', 'flow'), name='rollout_step_once'),
        ),
        EnableWall("blueprint", "agency"),
        EnableWall("blueprintversion", "agency"),
        EnableWall("rollout", "agency", system=ROLLOUT),
        EnableWall("following"),
        EnableWall("rolloutstep", system=STEP),
        SameTenantKey("following", "flow"),
        SameTenantKey("rolloutstep", "flow"),
        SameTenantKey("rolloutstep", "proposal"),
    ]
