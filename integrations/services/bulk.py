"""Bulk runs: a long first load goes to its target as a file of rows, pass after pass, and comes back as results.

A bulk run owns its deliveries until they are settled or given back. Each step is short and its end committed: whoever
dies in one is followed by another who finds the file's digest, our identifier or the vendor's key, and goes on. Rows may be
sent again without harm, so a step that is done twice doubles nobody.
"""

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F

from integrations.connectors.base import BulkRun, BulkState
from integrations.core import errors
from integrations.models import BulkRunState, Call, Delivery, Mode
from integrations.services import connections
from integrations.services.batch import Clients, Drained
from integrations.services.bulk_gather import gather
from integrations.services.bulk_results import read_results
from integrations.services.bulk_sending import send_file
from integrations.services.bulk_work import Work, claim, later
from integrations.services.jobs import load_job
from integrations.toolkit.http import Client
from tenants.walls import app_now, tenant_tx

logger = logging.getLogger(__name__)

FIRST_LOOK_S = 3.0
LONGEST_LOOK_S = 60.0


def carry_on(
    tenant_id: int,
    bulk_run_id: int,
    *,
    seconds: float,
    opener: Callable[..., Client] = connections.open_client,
) -> Drained:
    """Takes a bulk run one step further. Vendor errors end the step with a code, and leave the run where it can go on.

    Raises LeaseLost when another worker holds the run.
    """
    with tenant_tx(tenant_id, reason="bulk"):
        run = claim(bulk_run_id)
        if run is None:
            return Drained()
        job = load_job(run.flow_id, revision_number=run.revision_number)
    work = Work(run, job, Clients(tenant_id, opener), time.monotonic() + seconds)
    starts = run.state == BulkRunState.STAGED and run.sent_at is None
    reads_outcomes = run.state == BulkRunState.READING
    try:
        _step(work)
    except errors.SyncError as error:
        return _interrupted(work, error, Call.WRITE if starts else Call.READ)
    with tenant_tx(tenant_id, reason="bulk"):
        connections.record_success(job.target.pk, app_now(), call=Call.WRITE if starts or reads_outcomes else Call.READ)
    return work.drained


def _step(work: Work) -> None:
    if code := _why_no_further(work):
        return _give_up(work, code)
    return _step_of(work)(work, work.clients.to(work.job.target))


def _why_no_further(work: Work) -> str:
    """Why the run ends here, "" if it goes on. What may have been started is always seen to its end."""
    run, job = work.run, work.job
    if run.crashes > settings.SUTURE_CRASH_TRIES:
        return "internal.run_crashes"
    if run.sent_at is None and job.mode != Mode.LIVE:
        return f"mode.{job.mode}"
    has_tried_enough = run.state == BulkRunState.GATHERING and run.tries >= settings.SUTURE_MAX_TRIES
    return run.code if has_tried_enough else ""


def _step_of(work: Work) -> Callable[[Work, Client], None]:
    match work.run.state:
        case BulkRunState.GATHERING:
            return send_file if work.run.pass_number else gather
        case BulkRunState.STAGED:
            return _start if work.run.sent_at is None else _find_started
        case BulkRunState.RUNNING:
            return _look
        case _:
            return read_results


def _give_up(work: Work, code: str) -> None:
    logger.warning("bulk run %d of tenant %d was given up: %s", work.run.pk, work.job.tenant_id, code)
    with work.tx():
        work.give_back()
        work.end(state=BulkRunState.FAILED, code=code, finished_at=app_now())


def _interrupted(work: Work, error: errors.SyncError, call: Call) -> Drained:
    """Lets the run go where it stands. What is no outage of the line and no matter of the account ends it."""
    with tenant_tx(work.job.tenant_id, reason="bulk"):
        if work.is_outside and isinstance(error, errors.Unavailable):  # where files are kept; the account answers
            retry_at: datetime | None = later(connections.backoff_s(work.run.tries // 2 + 1))
        else:
            retry_at = connections.record_failure(work.job.target.pk, error, call=call)
        if isinstance(error, errors.VendorChanged | errors.RecordError):
            _give_up(work, error.code)
        else:
            work.end(code=error.code, not_before=retry_at, tries=F("tries") + _tries_of(work, error))
    work.drained.code, work.drained.retry_at = error.code, retry_at
    return work.drained


def _tries_of(work: Work, error: errors.SyncError) -> int:
    """What counts against a run is what keeps it from being started. Files that do not get out of the house, where no
    outage is waited for, count twice: one by one the records may get through."""
    is_under_way = work.run.state in (BulkRunState.RUNNING, BulkRunState.READING)
    if is_under_way or not error.counts_as_try:
        return 0
    return 2 if work.is_outside else 1


# -- the vendor works


def _start(work: Work, client: Client) -> None:
    """Starts the run. That it was sent is committed first."""
    with work.tx():
        _announce(work)
    document = work.pass_.document(work.job.plan.target_fields, work.job.kind.marker)
    try:
        key = work.bulk.start(client, document, work.run.staged_key, work.run.identifier)
    except errors.Uncertain as error:
        with work.tx():
            work.end(code=error.code, not_before=later(settings.SUTURE_LOOK_AFTER_S), tries=F("tries") + 1)
        return
    except errors.SyncError as error:
        with work.tx():
            _take_back(work)
            if isinstance(error, errors.Unavailable):  # the file is staged anew
                work.own(state=BulkRunState.GATHERING)
        raise
    with work.tx():
        work.end(state=BulkRunState.RUNNING, vendor_key=key, not_before=later(FIRST_LOOK_S))


def _announce(work: Work) -> None:
    now = app_now()
    work.own(sent_at=now)
    mine = Delivery.objects.filter(bulk_run_id=work.run.pk, bulk_line__isnull=False)
    mine.filter(creates=0).update(creates=1)
    mine.update(sent_at=now)


def _take_back(work: Work) -> None:
    """Nothing ran: creates that were announced for it are taken back, unless an earlier start may have run."""
    work.own(sent_at=None)
    if work.is_first and not work.run.tries:
        Delivery.objects.filter(bulk_run_id=work.run.pk, bulk_line__isnull=False).update(creates=0)


def _find_started(work: Work, client: Client) -> None:
    """A start whose answer was lost is looked for by our identifier; not before it had time to show is another sent."""
    sent = work.sent_at
    found = work.bulk.find_started(client, work.run.identifier, sent)
    settled = sent + timedelta(seconds=settings.SUTURE_SETTLE_S)
    with work.tx():
        if found is not None:
            work.end(state=BulkRunState.RUNNING, vendor_key=found.key)
        elif app_now() < settled:
            work.end(not_before=max(later(1), min(settled, later(settings.SUTURE_LOOK_AFTER_S))), code=work.run.code)
        else:
            work.end(state=BulkRunState.GATHERING, sent_at=None, code=work.run.code)


def _look(work: Work, client: Client) -> None:
    """Whether it has ended. One that is not wanted any more, or takes too long, is asked to stop, and tells what it did."""
    run = work.run
    if work.job.mode != Mode.LIVE or work.is_overdue:
        work.bulk.cancel(client, run.vendor_key)
    told = work.bulk.look(client, run.vendor_key)
    is_new = app_now() < work.sent_at + timedelta(seconds=settings.SUTURE_SETTLE_S)
    is_running = is_new if told is None else told.state is BulkState.RUNNING
    with work.tx():
        if is_running and not work.is_overdue:
            work.end(polls=F("polls") + 1, not_before=later(_until_next_look(work, told)))
        else:
            work.end(state=BulkRunState.READING)


def _until_next_look(work: Work, told: BulkRun | None) -> float:
    """Seconds until it should have ended by its pace so far, which is better known the longer it goes; and less and less
    often where that is not told or not so."""
    gone = (app_now() - work.sent_at).total_seconds()
    rows = told.rows if told is not None and told.rows else 0
    left = gone * (work.run.rows - rows) / rows if rows else gone / 2
    return min(LONGEST_LOOK_S, max(FIRST_LOOK_S, min(left, gone), gone / 20))
