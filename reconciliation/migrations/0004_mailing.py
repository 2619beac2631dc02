import django.db.models.deletion
import tenants.walls
from django.conf import settings
from django.db import migrations, models

from tenants.operations import EnableWall, SameTenantKey

# The pulse asks whose mail is due, and learns nothing else.
MAILING = ("SELECT (id, tenant_id, every, next_due_at)",)


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0011_incidents'),
        ('reconciliation', '0003_stage_by_key'),
        ('tenants', '0002_walls'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Mailing',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('every', models.CharField(choices=[('findings', 'After a night that found something new'), ('weekly', 'Every Monday'), ('off', 'Never')], default='off', max_length=10)),
                ('told_until', models.DateTimeField(null=True)),
                ('next_due_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name='ReportLink',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('digest', models.BinaryField()),
                ('created_at', models.DateTimeField()),
                ('expires_at', models.DateTimeField()),
                ('used_at', models.DateTimeField(null=True)),
            ],
        ),
        migrations.AddIndex(
            model_name='mismatch',
            index=models.Index(condition=models.Q(('closed_at', None)), fields=['tenant', 'flow'], include=('cause', 'first_seen'), name='mismatch_standing'),
        ),
        migrations.AddField(
            model_name='mailing',
            name='tenant',
            field=models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='reportlink',
            name='report',
            field=tenants.walls.TenantForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='reconciliation.report'),
        ),
        migrations.AddField(
            model_name='reportlink',
            name='tenant',
            field=models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant'),
        ),
        migrations.AddField(
            model_name='reportlink',
            name='user',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddIndex(
            model_name='mailing',
            index=models.Index(fields=['next_due_at'], name='mailing_due'),
        ),
        migrations.AddConstraint(
            model_name='mailing',
            constraint=models.UniqueConstraint(fields=('tenant',), name='mailing_once_a_clinic'),
        ),
        migrations.AddIndex(
            model_name='reportlink',
            index=models.Index(fields=['expires_at'], name='report_link_age'),
        ),
        migrations.AddConstraint(
            model_name='reportlink',
            constraint=models.UniqueConstraint(fields=('tenant', 'digest'), name='report_link_once'),
        ),
        EnableWall("mailing", system=MAILING),
        EnableWall("reportlink"),
        SameTenantKey("reportlink", "report"),
    ]
