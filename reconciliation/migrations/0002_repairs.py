import django.db.models.deletion
import tenants.walls
from django.db import migrations, models

from tenants.operations import EnableWall, SameTenantKey

# The pulse asks which repairs are due, and learns nothing else.
REPAIR = ("SELECT (id, tenant_id, flow_id, state, lease_until, not_before)",)


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0011_incidents'),
        ('reconciliation', '0001_reports'),
        ('tenants', '0002_walls'),
    ]

    operations = [
        migrations.CreateModel(
            name='Repair',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('previewing', 'Being looked at'), ('proposed', 'Waits for approval'), ('sending', 'Being delivered'), ('done', 'Done'), ('undoing', 'Being taken back'), ('undone', 'Taken back'), ('declined', 'Declined'), ('lapsed', 'Never approved'), ('failed', 'Given up')], default='previewing', max_length=10)),
                ('code', models.CharField(blank=True, max_length=60)),
                ('proposed_by', models.CharField(max_length=320)),
                ('proposed_at', models.DateTimeField()),
                ('needs_second', models.BooleanField(default=False)),
                ('approved_by', models.CharField(blank=True, max_length=320)),
                ('approved_at', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
                ('undone_by', models.CharField(blank=True, max_length=320)),
                ('undo_reason', models.CharField(blank=True, max_length=255)),
                ('undo_until', models.DateTimeField(null=True)),
                ('records', models.PositiveIntegerField(default=0)),
                ('in_line', models.PositiveIntegerField(default=0)),
                ('unequal', models.PositiveIntegerField(default=0)),
                ('undone', models.PositiveIntegerField(default=0)),
                ('kept', models.PositiveIntegerField(default=0)),
                ('not_before', models.DateTimeField(null=True)),
                ('lease_until', models.DateTimeField(null=True)),
                ('fence', models.PositiveIntegerField(default=0)),
                ('crashes', models.PositiveSmallIntegerField(default=0)),
                ('flow', tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='integrations.flow')),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'ordering': ['-proposed_at'],
            },
        ),
        migrations.CreateModel(
            name='RepairStep',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('source_key', models.CharField(max_length=64)),
                ('target_key', models.CharField(blank=True, max_length=255)),
                ('state', models.CharField(choices=[('planned', 'Not looked at yet'), ('ready', 'Will be written'), ('left', 'Nothing to write'), ('sent', 'On its way'), ('in_line', 'In line'), ('unequal', 'Still not equal')], default='planned', max_length=10)),
                ('action', models.CharField(blank=True, max_length=10)),
                ('outcome', models.CharField(blank=True, max_length=12)),
                ('code', models.CharField(blank=True, max_length=60)),
                ('sealed_preview', models.BinaryField(null=True)),
                ('sealed_before', models.BinaryField(null=True)),
                ('fields', models.JSONField(default=list)),
                ('digests', models.JSONField(default=dict)),
                ('left', models.JSONField(default=dict)),
                ('was_gone', models.BooleanField(default=False)),
                ('undo_state', models.CharField(blank=True, choices=[('', '–'), ('sent', 'On its way back'), ('undone', 'As it was before'), ('partly', 'Partly as it was before'), ('kept', 'Could not be taken back')], default='', max_length=10)),
                ('undo_code', models.CharField(blank=True, max_length=60)),
                ('kept_fields', models.JSONField(default=list)),
                ('repair', tenants.walls.TenantForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='steps', to='reconciliation.repair')),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
        ),
        migrations.AddIndex(
            model_name='repair',
            index=models.Index(fields=['tenant', '-proposed_at'], name='repair_newest'),
        ),
        migrations.AddIndex(
            model_name='repair',
            index=models.Index(fields=['-proposed_at'], name='repair_newest_of_all'),
        ),
        migrations.AddIndex(
            model_name='repair',
            index=models.Index(condition=models.Q(('state__in', ['previewing', 'sending', 'undoing'])), fields=['id'], name='repair_at_work'),
        ),
        migrations.AddIndex(
            model_name='repairstep',
            index=models.Index(fields=['tenant', 'repair', 'state', 'id'], name='repair_step_by_state'),
        ),
        migrations.AddConstraint(
            model_name='repairstep',
            constraint=models.UniqueConstraint(fields=('tenant', 'repair', 'source_key'), name='repair_step_once'),
        ),
        EnableWall("repair", system=REPAIR),
        EnableWall("repairstep"),
        SameTenantKey("repair", "flow"),
        SameTenantKey("repairstep", "repair"),
    ]
