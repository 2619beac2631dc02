import django.db.models.deletion
import django.db.models.expressions
import tenants.walls
from django.db import migrations, models

from tenants.operations import EnableWall, SameTenantKey

# The pulse asks which reports and timetables are due, and learns nothing else.
REPORT = ("SELECT (id, tenant_id, flow_id, state, lease_until, not_before)",)
TIMETABLE = ("SELECT (tenant_id, flow_id, every, next_due_at)",)


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("integrations", "0009_merged_before_linked"),
        ("tenants", "0002_walls"),
    ]

    operations = [
        migrations.CreateModel(
            name="Report",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("trigger", models.CharField(default="schedule", max_length=20)),
                ("actor", models.CharField(blank=True, max_length=150)),
                ("revision_number", models.PositiveIntegerField(default=0)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("running", "Comparing"),
                            ("done", "Done"),
                            ("failed", "Failed"),
                            ("stopped", "Stopped"),
                        ],
                        default="running",
                        max_length=10,
                    ),
                ),
                ("code", models.CharField(blank=True, max_length=60)),
                (
                    "phase",
                    models.CharField(
                        choices=[
                            ("read_left", "Reading the source"),
                            ("read_right", "Reading the target"),
                            ("join_left", "Comparing"),
                            ("join_right", "Looking for what is too much"),
                            ("join_links", "Looking at the links"),
                        ],
                        default="read_left",
                        max_length=10,
                    ),
                ),
                ("place", models.TextField(null=True)),
                ("layout", models.CharField(blank=True, max_length=64)),
                ("not_before", models.DateTimeField(null=True)),
                ("lease_until", models.DateTimeField(null=True)),
                ("fence", models.PositiveIntegerField(default=0)),
                ("crashes", models.PositiveSmallIntegerField(default=0)),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(null=True)),
                ("read_left", models.PositiveIntegerField(default=0)),
                ("read_right", models.PositiveIntegerField(default=0)),
                ("left", models.PositiveIntegerField(default=0)),
                ("right", models.PositiveIntegerField(default=0)),
                ("agree", models.PositiveIntegerField(default=0)),
                ("missing_left", models.PositiveIntegerField(default=0)),
                ("missing_right", models.PositiveIntegerField(default=0)),
                ("different", models.PositiveIntegerField(default=0)),
                ("duplicate", models.PositiveIntegerField(default=0)),
                ("linked_twice", models.PositiveIntegerField(default=0)),
                ("linked_to_nothing", models.PositiveIntegerField(default=0)),
                ("left_out", models.PositiveIntegerField(default=0)),
                ("others", models.PositiveIntegerField(default=0)),
                ("found", models.PositiveIntegerField(default=0)),
                ("closed", models.PositiveIntegerField(default=0)),
                (
                    "flow",
                    tenants.walls.TenantForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="reports",
                        to="integrations.flow",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-started_at"],
            },
        ),
        migrations.CreateModel(
            name="Mismatch",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("missing_right", "Missing at the target"),
                            ("missing_left", "Missing at the source"),
                            ("different", "Different"),
                            ("duplicate", "There twice"),
                            ("linked_twice", "Linked twice"),
                            ("linked_to_nothing", "Linked to nothing"),
                        ],
                        max_length=20,
                    ),
                ),
                ("source_key", models.CharField(blank=True, max_length=64)),
                ("target_key", models.CharField(blank=True, max_length=255)),
                ("field", models.CharField(blank=True, max_length=160)),
                (
                    "cause",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("hand", "Edited by hand at the target"),
                            ("not_delivered", "Not delivered yet"),
                            ("held", "Waits for a person"),
                            ("map_gap", "A rule or value map has no answer"),
                            ("archived", "Archived or merged"),
                            ("deleted", "Deleted on one side"),
                            ("missed", "Changed at the source and not read since"),
                            ("", "Not known"),
                        ],
                        max_length=20,
                    ),
                ),
                ("code", models.CharField(blank=True, max_length=60)),
                ("sealed_values", models.BinaryField(null=True)),
                ("first_seen", models.DateTimeField()),
                ("last_seen", models.DateTimeField()),
                ("closed_at", models.DateTimeField(null=True)),
                (
                    "flow",
                    tenants.walls.TenantForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="mismatches",
                        to="integrations.flow",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
                (
                    "report",
                    tenants.walls.TenantForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="mismatches",
                        to="reconciliation.report",
                    ),
                ),
            ],
            options={
                "verbose_name_plural": "mismatches",
                "ordering": ["-last_seen"],
            },
        ),
        migrations.CreateModel(
            name="Staged",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("report_number", models.BigIntegerField()),
                ("side", models.PositiveSmallIntegerField(choices=[(0, "Left"), (1, "Right"), (2, "Mark")])),
                ("key", models.CharField(max_length=255)),
                ("marker", models.CharField(blank=True, max_length=255)),
                ("standing", models.CharField(blank=True, max_length=10)),
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
        migrations.CreateModel(
            name="Timetable",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "every",
                    models.CharField(
                        choices=[
                            ("daily", "Every night"),
                            ("weekly", "Every Sunday night"),
                            ("off", "Only when asked"),
                        ],
                        default="daily",
                        max_length=10,
                    ),
                ),
                ("next_due_at", models.DateTimeField(null=True)),
                (
                    "flow",
                    tenants.walls.TenantForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="integrations.flow",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        editable=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="report",
            index=models.Index(fields=["tenant", "flow", "-started_at"], name="report_newest"),
        ),
        migrations.AddIndex(
            model_name="report",
            index=models.Index(fields=["-started_at"], name="report_newest_of_all"),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "running")), fields=("tenant", "flow"), name="report_one_running_per_flow"
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "left",
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        models.F("agree"), "+", models.F("different")
                                    ),
                                    "+",
                                    models.F("missing_right"),
                                ),
                                "+",
                                models.F("linked_twice"),
                            ),
                            "+",
                            models.F("left_out"),
                        ),
                    )
                ),
                name="report_left_adds_up",
            ),
        ),
        migrations.AddConstraint(
            model_name="report",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "right",
                        django.db.models.expressions.CombinedExpression(
                            django.db.models.expressions.CombinedExpression(
                                django.db.models.expressions.CombinedExpression(
                                    django.db.models.expressions.CombinedExpression(
                                        django.db.models.expressions.CombinedExpression(
                                            models.F("agree"), "+", models.F("different")
                                        ),
                                        "+",
                                        models.F("missing_left"),
                                    ),
                                    "+",
                                    models.F("linked_twice"),
                                ),
                                "+",
                                models.F("duplicate"),
                            ),
                            "+",
                            models.F("others"),
                        ),
                    )
                ),
                name="report_right_adds_up",
            ),
        ),
        migrations.AddIndex(
            model_name="mismatch",
            index=models.Index(fields=["tenant", "report"], name="mismatch_by_report"),
        ),
        migrations.AddIndex(
            model_name="mismatch",
            index=models.Index(fields=["tenant", "-last_seen"], name="mismatch_newest"),
        ),
        migrations.AddIndex(
            model_name="mismatch",
            index=models.Index(fields=["-last_seen"], name="mismatch_newest_of_all"),
        ),
        migrations.AddConstraint(
            model_name="mismatch",
            constraint=models.UniqueConstraint(
                condition=models.Q(("closed_at", None)),
                fields=("tenant", "flow", "kind", "source_key", "target_key", "field"),
                name="mismatch_once_while_open",
            ),
        ),
        migrations.AddIndex(
            model_name="staged",
            index=models.Index(
                condition=models.Q(("marker", ""), _negated=True),
                fields=["tenant", "report_number", "marker"],
                name="staged_by_marker",
            ),
        ),
        migrations.AddConstraint(
            model_name="staged",
            constraint=models.UniqueConstraint(fields=("tenant", "report_number", "side", "key"), name="staged_once"),
        ),
        migrations.AddIndex(
            model_name="timetable",
            index=models.Index(fields=["next_due_at"], name="timetable_due"),
        ),
        migrations.AddConstraint(
            model_name="timetable",
            constraint=models.UniqueConstraint(fields=("tenant", "flow"), name="timetable_once_a_flow"),
        ),
        # what a crash of the database may lose is read again
        migrations.RunSQL(
            "ALTER TABLE reconciliation_staged SET UNLOGGED", "ALTER TABLE reconciliation_staged SET LOGGED"
        ),
        EnableWall("report", system=REPORT),
        EnableWall("mismatch"),
        EnableWall("timetable", system=TIMETABLE),
        EnableWall("staged", agency=()),
        SameTenantKey("report", "flow"),
        SameTenantKey("mismatch", "flow"),
        SameTenantKey("mismatch", "report"),
        SameTenantKey("timetable", "flow"),
    ]
