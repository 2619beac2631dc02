import django.core.validators
import django.db.models.deletion
import tenants.walls
from django.db import migrations, models

from tenants.operations import EnableWall, SameTenantKey

# Requests are counted for all clinics at once, without a look at anything of theirs.
COUNTS_CALLS = (
    "SELECT (tenant_id, connection_id, day, calls)",
    "INSERT (tenant_id, connection_id, day, calls)",
    "UPDATE (calls)",
)


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0015_watches'),
        ('tenants', '0002_walls'),
    ]

    operations = [
        migrations.CreateModel(
            name='ConnectionDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('calls', models.PositiveIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name='FlowDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('passes', models.PositiveIntegerField(default=0)),
                ('failed', models.PositiveIntegerField(default=0)),
                ('read', models.PositiveBigIntegerField(default=0)),
                ('created', models.PositiveIntegerField(default=0)),
                ('updated', models.PositiveIntegerField(default=0)),
                ('archived', models.PositiveIntegerField(default=0)),
                ('loaded', models.PositiveIntegerField(default=0)),
                ('held', models.PositiveIntegerField(null=True)),
                ('waits', models.JSONField(default=dict)),
                ('compared', models.PositiveIntegerField(null=True)),
                ('agreed', models.PositiveIntegerField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name='HandTime',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(max_length=60)),
                ('minutes', models.DecimalField(decimal_places=1, max_digits=5, validators=[django.core.validators.MinValueValidator(0)])),
            ],
        ),
        migrations.RemoveIndex(
            model_name='delivery',
            name='delivery_done_age',
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state', 'done')), fields=['tenant', 'done_at'], name='delivery_done'),
        ),
        migrations.AddField(
            model_name='connectionday',
            name='connection',
            field=tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='integrations.connection'),
        ),
        migrations.AddField(
            model_name='connectionday',
            name='tenant',
            field=models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='flowday',
            name='flow',
            field=tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='integrations.flow'),
        ),
        migrations.AddField(
            model_name='flowday',
            name='tenant',
            field=models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='handtime',
            name='tenant',
            field=models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddConstraint(
            model_name='connectionday',
            constraint=models.UniqueConstraint(fields=('tenant', 'day', 'connection'), name='connection_day_once'),
        ),
        migrations.AddConstraint(
            model_name='flowday',
            constraint=models.UniqueConstraint(fields=('tenant', 'day', 'flow'), name='flow_day_once'),
        ),
        migrations.AddConstraint(
            model_name='handtime',
            constraint=models.UniqueConstraint(fields=('tenant', 'kind'), name='hand_time_once_a_kind'),
        ),
        EnableWall("flowday"),
        EnableWall("connectionday", system=COUNTS_CALLS),
        EnableWall("handtime"),
        SameTenantKey("flowday", "flow"),
        SameTenantKey("connectionday", "connection"),
    ]
