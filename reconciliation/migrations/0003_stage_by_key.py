import django.db.models.deletion
from django.db import migrations, models

from tenants.operations import EnableWall


class Migration(migrations.Migration):
    """The stage is made anew: what is in it is read again, since a report begins anew when the form of a stage changes."""

    dependencies = [
        ("reconciliation", "0002_repairs"),
    ]

    operations = [
        migrations.AlterField(
            model_name="report",
            name="phase",
            field=models.CharField(
                choices=[
                    ("read_left", "Reading the source"),
                    ("read_right", "Reading the target"),
                    ("join", "Comparing"),
                    ("pairs", "Looking at what differs"),
                    ("alone", "Looking for what is too much"),
                ],
                default="read_left",
                max_length=10,
            ),
        ),
        migrations.DeleteModel(name="Staged"),
        migrations.CreateModel(
            name="Staged",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "tenant_id",
                        "report_number",
                        "side",
                        "key",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("report_number", models.BigIntegerField()),
                (
                    "side",
                    models.PositiveSmallIntegerField(
                        choices=[(0, "Left"), (1, "Right"), (2, "Mark"), (3, "Pair"), (4, "Alone")]
                    ),
                ),
                ("key", models.CharField(max_length=255)),
                ("marker", models.CharField(blank=True, max_length=255)),
                ("standing", models.CharField(blank=True, max_length=10)),
                ("fingerprint", models.BinaryField(null=True)),
                ("digests", models.BinaryField(default=b"")),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "staged",
            },
        ),
        # what a crash of the database may lose is read again
        migrations.RunSQL(
            "ALTER TABLE reconciliation_staged SET UNLOGGED", "ALTER TABLE reconciliation_staged SET LOGGED"
        ),
        EnableWall("staged", agency=()),
    ]
