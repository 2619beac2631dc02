"""When a comparison is due, and what the queue runs for it."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection as database

from integrations.models import Flow, Mode
from integrations.services.errands import Errand
from integrations.services.pulse import Ring
from integrations.services.schedule import next_due
from integrations.tasks import at_work
from reconciliation import mailing, repair, repairing, services, staging
from reconciliation.models import Every, Mismatch, Repair, Report, ReportState, Staged, Timetable
from tenants.walls import app_now, tenant_tx

CRON = {Every.DAILY: "0 2 * * *", Every.WEEKLY: "0 2 * * 0"}
"""In the clinic's zone; flows are spread over five minutes."""
LIMIT = 200
WRITING = (Mode.LIVE, Mode.PILOT)

_CALLABLE = "{c}.state NOT IN ('paused', 'needs_reauth') AND ({c}.open_until IS NULL OR {c}.open_until <= app_now())"

_DUE_REPORTS = f"""
SELECT r.tenant_id, r.id FROM reconciliation_report r JOIN integrations_flow f ON f.id = r.flow_id
JOIN integrations_connection a ON a.id = f.source_id JOIN integrations_connection b ON b.id = f.target_id
WHERE r.state = 'running' AND (r.lease_until IS NULL OR r.lease_until < app_now())
  AND (r.not_before IS NULL OR r.not_before <= app_now())
  AND {_CALLABLE.format(c="a")} AND {_CALLABLE.format(c="b")}
ORDER BY r.id LIMIT {LIMIT}
"""  # noqa: S608 - constants only

_DUE_REPAIRS = f"""
SELECT r.tenant_id, r.id FROM reconciliation_repair r JOIN integrations_flow f ON f.id = r.flow_id
JOIN integrations_connection a ON a.id = f.source_id JOIN integrations_connection b ON b.id = f.target_id
WHERE r.state IN ('previewing', 'sending', 'undoing') AND (r.lease_until IS NULL OR r.lease_until < app_now())
  AND (r.not_before IS NULL OR r.not_before <= app_now())
  AND {_CALLABLE.format(c="a")} AND {_CALLABLE.format(c="b")}
ORDER BY r.id LIMIT {LIMIT}
"""  # noqa: S608

_DUE_MAILINGS = f"""
SELECT m.tenant_id, m.id FROM reconciliation_mailing m
WHERE m.every <> 'off' AND m.next_due_at <= app_now() ORDER BY m.next_due_at LIMIT {LIMIT}
"""  # noqa: S608

_DUE_FLOWS = f"""
SELECT t.tenant_id, t.flow_id FROM reconciliation_timetable t
WHERE t.every <> 'off' AND t.next_due_at <= app_now() ORDER BY t.next_due_at LIMIT {LIMIT}
"""  # noqa: S608


_AGREEMENT = """
UPDATE integrations_flowday d SET compared = r.compared, agreed = r.agree
FROM (SELECT DISTINCT ON (report.flow_id, day) report.flow_id, day, agree,
        "left" - left_out + missing_left + duplicate AS compared
    FROM reconciliation_report report JOIN tenants_tenant t ON t.id = report.tenant_id
    CROSS JOIN LATERAL (SELECT (started_at AT TIME ZONE t.time_zone)::date AS day) AS its
    WHERE report.tenant_id = %(clinic)s AND state = 'done' AND started_at > app_now() - %(days)s * interval '1 day'
    ORDER BY report.flow_id, day, started_at DESC) AS r
WHERE d.tenant_id = %(clinic)s AND d.flow_id = r.flow_id AND d.day = r.day
  AND (d.compared, d.agreed) IS DISTINCT FROM (r.compared, r.agree)
"""


def due_reports() -> list[Ring]:
    """Reports to carry on. They count as backfill: whoever waits for a change goes first."""
    return _ask(_DUE_REPORTS)


def due_flows() -> list[Ring]:
    """Flows whose night has come."""
    return _ask(_DUE_FLOWS)


def due_repairs() -> list[Ring]:
    """Repairs to look at, to read again or to count. Somebody waits for them."""
    return _ask(_DUE_REPAIRS, backfill=False)


def due_mailings() -> list[Ring]:
    """Clinics whose people are to be told."""
    return _ask(_DUE_MAILINGS, backfill=False)


def _ask(statement: str, *, backfill: bool = True) -> list[Ring]:
    with database.cursor() as cursor:
        cursor.execute(statement)
        return [Ring(tenant_id, pk, backfill=backfill) for tenant_id, pk in cursor.fetchall()]


def carry_repair_on(tenant_id: int, repair_id: int) -> str:
    with at_work("repair", tenant_id, repair_id):
        done = repairing.run_slice(tenant_id, repair_id, seconds=settings.SUTURE_SLICE_S)
    return done.code or ("more" if done.more else "end")


def reconcile(tenant_id: int, report_id: int) -> str:
    with at_work("reconcile", tenant_id, report_id):
        done = services.run_slice(tenant_id, report_id, seconds=settings.SUTURE_SLICE_S)
    return done.code or ("more" if done.more else "end")


def mail_report(tenant_id: int, mailing_id: int) -> str:
    with at_work("mail_report", tenant_id, mailing_id):
        return f"{mailing.send_due(tenant_id, mailing_id)} mails"


def begin_due(tenant_id: int, flow_id: int) -> str:
    with at_work("compare", tenant_id, flow_id), tenant_tx(tenant_id, reason="reconcile"):
        return "begun" if begin_if_due(flow_id, app_now()) else "not due"


def begin_if_due(flow_id: int, now: datetime) -> bool:
    """Begins what is due, and says when it is due next. Preview writes nothing that could be compared, and is left out.
    Call inside the clinic's transaction."""
    due = Timetable.objects.select_for_update(of=("self",)).filter(flow_id=flow_id, next_due_at__lte=now)
    table = due.exclude(every=Every.OFF).first()
    if table is None:
        return False
    flow = Flow.objects.select_related("tenant").get(pk=flow_id)
    set_timetable(flow, Every(table.every), now)
    if flow.mode in WRITING:
        services.begin(flow_id, trigger="schedule", now=now)
    return bool(flow.mode in WRITING)


def add_timetables(tenant_id: int) -> int:
    """Every flow that writes is compared at night, from the next one on, unless somebody says otherwise."""
    with tenant_tx(tenant_id, reason="reconcile"):
        known = Timetable.objects.values("flow_id")
        new = list(Flow.objects.select_related("tenant").filter(mode__in=WRITING).exclude(pk__in=known))
        for flow in new:
            set_timetable(flow, Every.DAILY, app_now())
    return len(new)


def set_timetable(flow: Flow, every: Every, now: datetime) -> Timetable:
    """How often a flow is compared from now on. Call inside the clinic's transaction, with ``tenant`` loaded."""
    due = None
    if every is not Every.OFF:
        due = next_due(CRON[every], zone=flow.tenant.time_zone, after=now, name=f"report of {flow.pk}")
    table, _ = Timetable.objects.update_or_create(
        flow=flow, tenant_id=flow.tenant_id, defaults={"every": every, "next_due_at": due}
    )
    made: Timetable = table
    return made


def sweep(tenant_id: int) -> int:
    """What housekeeping does for a clinic: timetables for new flows, agreement for its meters, and the removal of what is
    old; how much of it."""
    add_timetables(tenant_id)
    keep_agreement(tenant_id)
    return remove_aged(tenant_id)


def keep_agreement(tenant_id: int) -> int:
    """Notes on the flows' days what their last reports came to, since reports go sooner; on how many days."""
    with tenant_tx(tenant_id, reason="meters"), database.cursor() as cursor:
        cursor.execute(_AGREEMENT, {"clinic": tenant_id, "days": settings.SUTURE_KEEP_DONE_DAYS})
        return int(cursor.rowcount)


def remove_aged(tenant_id: int) -> int:
    """Mismatches that closed long ago, old reports that nothing open refers to, stages that nobody ended, old repairs,
    links that were mailed, and what was there before a repair, each once its time is over."""
    with tenant_tx(tenant_id, reason="retention"):
        edge = app_now() - timedelta(days=settings.SUTURE_KEEP_RUN_DAYS)
        repair.lapse(app_now())
        mailing.remove_aged(app_now())
        Repair.objects.exclude(state__in=repairing.AT_WORK).filter(proposed_at__lt=edge).delete()
        removed = int(Mismatch.objects.filter(closed_at__lt=edge).delete()[0])
        used = Mismatch.objects.values("report_id")
        aged = Report.objects.exclude(state=ReportState.RUNNING).filter(started_at__lt=edge).exclude(pk__in=used)
        removed += int(aged.delete()[0])
        running = Report.objects.filter(state=ReportState.RUNNING).values("pk")
        for report_id in Staged.objects.exclude(report_number__in=running).values_list("report_number").distinct():
            staging.forget(report_id[0])
    return removed


ERRANDS = (
    Errand("reconcile", due_reports, reconcile, sweep),
    Errand("compare", due_flows, begin_due),
    Errand("repair", due_repairs, carry_repair_on),
    Errand("mail_report", due_mailings, mail_report),
)
