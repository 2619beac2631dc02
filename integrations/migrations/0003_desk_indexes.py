from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('integrations', '0002_walls'),
        ('tenants', '0002_walls'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='delivery',
            name='delivery_held',
        ),
        migrations.RemoveIndex(
            model_name='delivery',
            name='delivery_by_key',
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state', 'held')), fields=['tenant', '-held_at'], include=('code', 'ignored_until'), name='delivery_held'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(condition=models.Q(('state', 'held')), fields=['-held_at'], include=('tenant', 'code', 'ignored_until'), name='delivery_held_newest'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(fields=['tenant', 'source_key', 'flow'], name='delivery_by_key'),
        ),
        migrations.AddIndex(
            model_name='run',
            index=models.Index(fields=['-started_at'], name='run_newest_of_all'),
        ),
        migrations.AddIndex(
            model_name='synclogentry',
            index=models.Index(fields=['-at'], name='log_newest_of_all'),
        ),
    ]
