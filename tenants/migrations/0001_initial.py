import django.core.validators
import django.db.models.deletion
import tenants.clock
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Clock',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('moved_at', models.DateTimeField()),
                ('shows', models.DateTimeField()),
                ('rate', models.FloatField(default=1.0)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.RunSQL(tenants.clock.CREATE_APP_NOW, tenants.clock.DROP_APP_NOW),
        migrations.CreateModel(
            name='Agency',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=120)),
                ('slug', models.SlugField(max_length=60, unique=True)),
            ],
            options={
                'verbose_name_plural': 'agencies',
            },
        ),
        migrations.CreateModel(
            name='Lease',
            fields=[
                ('name', models.CharField(max_length=120, primary_key=True, serialize=False)),
                ('holder', models.CharField(default='', max_length=120)),
                ('fence', models.BigIntegerField(default=0)),
                ('expires_at', models.DateTimeField()),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='AgencyAuditEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(db_default=tenants.clock.AppNow())),
                ('actor', models.CharField(default='', max_length=320)),
                ('actor_role', models.CharField(default='', max_length=20)),
                ('action', models.CharField(max_length=60)),
                ('target', models.CharField(default='', max_length=120)),
                ('reason', models.CharField(default='', max_length=500)),
                ('diff', models.JSONField(default=dict)),
            ],
            options={
                'verbose_name_plural': 'agency audit entries',
                'abstract': False,
                'indexes': [models.Index(fields=['-at'], name='agency_audit_newest')],
            },
        ),
        migrations.CreateModel(
            name='AuditSeal',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('journal', models.CharField(choices=[('clinic', 'Clinics'), ('agency', 'Agency')], max_length=10)),
                ('entry_id', models.BigIntegerField()),
                ('digest', models.BinaryField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('journal', 'entry_id'), name='audit_seal_once')],
            },
        ),
        migrations.CreateModel(
            name='Tenant',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.SlugField(max_length=60, unique=True)),
                ('name', models.CharField(max_length=120)),
                ('time_zone', models.CharField(default='Australia/Sydney', max_length=60)),
                ('country', models.CharField(default='AU', help_text='Two letters; phone numbers are read with it.', max_length=2, validators=[django.core.validators.RegexValidator('^[A-Z]{2}$', 'Two capital letters.')])),
                ('currency', models.CharField(default='AUD', max_length=3, validators=[django.core.validators.RegexValidator('^[A-Z]{3}$', 'Three capital letters.')])),
                ('created_at', models.DateTimeField(db_default=tenants.clock.AppNow(), editable=False)),
                ('active', models.BooleanField(default=True)),
                ('agency', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='tenants', to='tenants.agency')),
            ],
            options={
                'verbose_name': 'clinic',
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('agency_owner', 'Agency owner'), ('agency_staff', 'Agency staff'), ('clinic_manager', 'Clinic manager'), ('clinic_viewer', 'Clinic viewer')], max_length=20)),
                ('agency', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='memberships', to='tenants.agency')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='memberships', to='tenants.tenant')),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('agency__isnull', False), ('role', 'agency_owner'), ('tenant__isnull', True)), models.Q(('agency__isnull', False), ('role', 'agency_staff')), models.Q(('agency__isnull', True), ('role__in', ('clinic_manager', 'clinic_viewer')), ('tenant__isnull', False)), _connector='OR'), name='membership_role_fits_place'), models.UniqueConstraint(fields=('user', 'tenant'), name='membership_once_per_clinic'), models.UniqueConstraint(condition=models.Q(('tenant__isnull', True)), fields=('user', 'agency'), name='membership_once_per_agency')],
            },
        ),
        migrations.CreateModel(
            name='AuditEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('at', models.DateTimeField(db_default=tenants.clock.AppNow())),
                ('actor', models.CharField(default='', max_length=320)),
                ('actor_role', models.CharField(default='', max_length=20)),
                ('action', models.CharField(max_length=60)),
                ('target', models.CharField(default='', max_length=120)),
                ('reason', models.CharField(default='', max_length=500)),
                ('diff', models.JSONField(default=dict)),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'verbose_name_plural': 'audit entries',
                'abstract': False,
                'indexes': [models.Index(fields=['tenant', '-at'], name='audit_newest'), models.Index(fields=['tenant', 'target', '-at'], name='audit_of_target')],
            },
        ),
        migrations.CreateModel(
            name='TenantKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('key_id', models.CharField(max_length=40)),
                ('wrapped', models.BinaryField()),
                ('created_at', models.DateTimeField(db_default=tenants.clock.AppNow(), editable=False)),
                ('tenant', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='tenants.tenant')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('tenant',), name='tenant_key_once')],
            },
        ),
    ]
