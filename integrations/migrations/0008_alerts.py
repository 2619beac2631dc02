import django.db.models.deletion
import tenants.walls
from django.db import migrations, models

from tenants.operations import EnableWall, SameTenantKey

# The pulse asks which clinics have something to tell, and learns nothing else.
UNTOLD = ("SELECT (tenant_id, told_at, ended_at, end_told_at)",)


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0007_bulk_runs'),
        ('tenants', '0002_walls'),
    ]

    operations = [
        migrations.CreateModel(
            name='Alert',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('code', models.CharField(max_length=60)),
                ('call', models.CharField(choices=[('read', 'Reading'), ('write', 'Writing'), ('test', 'A test')], max_length=10)),
                ('opened_at', models.DateTimeField()),
                ('told_at', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
                ('end_told_at', models.DateTimeField(null=True)),
                ('connection', tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='alerts', to='integrations.connection')),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ['-opened_at'],
                'indexes': [models.Index(condition=models.Q(models.Q(('ended_at', None), ('told_at', None)), models.Q(('end_told_at', None), ('ended_at__isnull', False), ('told_at__isnull', False)), _connector='OR'), fields=['tenant'], name='alert_untold')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('ended_at', None)), fields=('tenant', 'connection'), name='alert_one_open')],
            },
        ),
        EnableWall("alert", system=UNTOLD),
        SameTenantKey("alert", "connection"),
    ]
