from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("reconciliation", "0004_mailing"),
    ]

    operations = [
        migrations.AlterField(
            model_name="staged",
            name="side",
            field=models.PositiveSmallIntegerField(
                choices=[(0, "Left"), (1, "Right"), (2, "Mark"), (3, "Pair"), (4, "Alone"), (5, "Agreed")]
            ),
        ),
    ]
