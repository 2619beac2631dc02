"""Bulk runs: a long first load goes to its target as a file of rows, pass after pass, and comes back as results.

A bulk run owns its deliveries until they are settled or given back. Each step is short and its end committed: whoever
dies in one is followed by another who finds the file's digest, our identifier or the vendor's key, and goes on. Rows may be
sent again without harm, so a step that is done twice doubles nobody.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice

from django.conf import settings
from django.db import connection as database
from django.db.models import F

from integrations.connectors.base import BulkResult, BulkState
from integrations.core import errors
from integrations.models import BulkRunState, Delivery, Mode
from integrations.services import bulk_files, connections, settlement, writing
from integrations.services.batch import Batch, Clients, Drained
from integrations.services.bulk_gather import gather
from integrations.services.bulk_work import PAGE, Work, claim, later
from integrations.services.claims import Item
from integrations.services.delivery import prepare
from integrations.services.jobs import load_job
from integrations.toolkit import transfer
from integrations.toolkit.http import Client
from tenants.walls import app_now, tenant_tx

FIRST_LOOK_S = 3.0
LONGEST_LOOK_S = 60.0
LONGEST_RUN = timedelta(days=2)  # a bulk run that has not told its end by then has none

_NUMBER = """
UPDATE integrations_delivery d SET bulk_line = sent.line
FROM unnest(%(ids)s::bigint[], %(lines)s::int[]) AS sent(id, line) WHERE d.id = sent.id AND d.bulk_run_id = %(bulk_run)s
"""


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
    bulk = job.target_stream.bulk
    if bulk is None:
        raise errors.VendorChanged("flow.target_unwritable", stream=job.target_stream.name)
    work = Work(run, job, bulk, Clients(tenant_id, opener), time.monotonic() + seconds)
    try:
        _step(work)
    except errors.SyncError as error:
        return _interrupted(work, error)
    with tenant_tx(tenant_id, reason="bulk"):
        connections.record_success(job.target.pk, app_now())
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
            return _send_file if work.run.pass_number else gather
        case BulkRunState.STAGED:
            return _start if work.run.sent_at is None else _find_started
        case BulkRunState.RUNNING:
            return _look
        case _:
            return _read_results


def _give_up(work: Work, code: str) -> None:
    with work.tx():
        work.give_back()
        work.end(state=BulkRunState.FAILED, code=code, finished_at=app_now())


def _interrupted(work: Work, error: errors.SyncError) -> Drained:
    """Lets the run go where it stands. What is no outage of the line and no matter of the account ends it."""
    with tenant_tx(work.job.tenant_id, reason="bulk"):
        retry_at = connections.record_failure(work.job.target.pk, error)
        if isinstance(error, errors.VendorChanged | errors.RecordError):
            _give_up(work, error.code)
        else:
            may_wait = work.run.state in (BulkRunState.RUNNING, BulkRunState.READING) or error.counts_as_try is False
            work.end(code=error.code, not_before=retry_at, **({} if may_wait else {"tries": F("tries") + 1}))
    work.drained.code, work.drained.retry_at = error.code, retry_at
    return work.drained


# -- a file goes up


def _send_file(work: Work, client: Client) -> None:
    """The pass's rows as a file in the vendor's hands; a pass for which nobody has a row is over at once."""
    ids: list[int] = []
    with bulk_files.fresh() as path:
        prepare(work.job, client)
        moved = transfer.write_lines(path, _lines(work, ids), most=work.bulk.file_bytes)
        if not moved.lines:
            return _next_pass(work)
        identifier = _identifier(work, moved.sha256)
        staged = work.bulk.stage(client, f"{identifier}.jsonl")
        transfer.upload(
            client,
            staged.url,
            staged.parameters,
            path,
            hosts=work.bulk.hosts,
            content_type=work.bulk.content_type,
        )
    with work.tx():
        _number(work, ids[: moved.lines])
        if work.is_first:  # what did not fit is gathered another time
            work.give_back(lambda item: item.line is None and not item.parked, singly=False)
        work.end(
            state=BulkRunState.STAGED,
            identifier=identifier,
            staged_key=staged.key,
            file_digest=moved.sha256,
            rows=moved.lines,
        )
    return None


def _identifier(work: Work, digest: str) -> str:
    """The same for the same file of the same pass, so that an earlier start of it is found; else a new one."""
    if work.run.identifier and work.run.file_digest == digest:
        return work.run.identifier
    return f"suture_{secrets.token_hex(8)}_{work.run.pk}_{work.run.pass_number}"


def _lines(work: Work, ids: list[int]) -> Iterator[str]:
    """The rows of this pass; ``ids`` are told whose, in the same order."""
    for items in work.pages():
        batch = work.open([item for item in items if not item.parked])
        rows = [(item.pk, line) for item in list(batch.items) if (line := _line(work, batch, item))]
        if batch.results:
            batch.settle(within=work.own)
        for pk, line in rows:
            ids.append(pk)
            yield line


def _line(work: Work, batch: Batch, item: Item) -> str:
    """The item's row, "" if it has none in this pass. One that cannot be sent is held; one that was linked since goes
    the ordinary way."""
    is_linked_since = work.is_first and bool(item.target_key)
    if item.draft is None or is_linked_since:
        batch.finish(item, settlement.again(item, "", app_now(), tried=False))
        return ""
    try:
        row = work.pass_.row(writing.step_of(batch, item), work.job.kind.marker)
    except errors.RecordError as error:
        batch.finish(item, settlement.held(item, error.code))
        return ""
    return bulk_files.as_line(row) if row is not None else ""


def _number(work: Work, ids: Sequence[int]) -> None:
    """Which delivery stands in which line. Two statements, because no line may be given twice at any moment."""
    Delivery.objects.filter(bulk_run_id=work.run.pk, bulk_line__isnull=False).update(bulk_line=None)
    with database.cursor() as cursor:
        cursor.execute(_NUMBER, {"bulk_run": work.run.pk, "ids": list(ids), "lines": list(range(len(ids)))})


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
    sent = work.run.sent_at or app_now()
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
    """Whether it has ended. One that is not wanted any more is asked to stop, and tells then what it did."""
    run, sent = work.run, work.run.sent_at or work.run.started_at
    if work.job.mode != Mode.LIVE:
        work.bulk.cancel(client, run.vendor_key)
    told = work.bulk.look(client, run.vendor_key)
    is_new = app_now() < sent + timedelta(seconds=settings.SUTURE_SETTLE_S)
    is_running = is_new if told is None else told.state is BulkState.RUNNING
    with work.tx():
        if is_running and app_now() < sent + LONGEST_RUN:
            pause = min(LONGEST_LOOK_S, FIRST_LOOK_S * 1.5 ** min(run.polls, 20))
            work.end(polls=F("polls") + 1, not_before=later(pause))
        else:
            work.end(state=BulkRunState.READING)


# -- results come down


def _read_results(work: Work, client: Client) -> None:
    """Takes the results in, as far as this step's time goes. Which lines were taken is known by the deliveries."""
    told = work.bulk.look(client, work.run.vendor_key)
    with bulk_files.fresh() as path:
        lines: Callable[[], Iterable[bytes]] = partial(iter, ())
        if told is not None and told.url:
            transfer.download(client, told.url, path, hosts=work.bulk.hosts, expected=told.size)
            lines = partial(transfer.read_lines, path)
        results = work.bulk.results(lines, work.run.rows)
        while some := list(islice(results, PAGE)):
            _take(work, {result.number: result for result in some})
            if time.monotonic() >= work.ends:
                with work.tx():
                    work.end()
                return
    _next_pass(work)


def _take(work: Work, results: dict[int, BulkResult]) -> None:
    """One page of results: who is as wished is settled, who still differs is kept for the next pass."""
    items = work.at_lines(sorted(results))
    if not items:
        return
    lines = {item.pk: results[item.line] for item in items if item.line is not None}
    batch = work.open(items)
    more = [item for item in list(batch.items) if _took(work, batch, item, lines[item.pk])]
    if more:
        with work.tx():
            writing.hold_taken(batch, more, settlement.make_links(work.job, more))
    kept = [item for item in more if item in batch.items]

    def keep() -> None:
        work.own(crashes=0)
        work.keep(kept)

    batch.settle(within=keep)


def _took(work: Work, batch: Batch, item: Item, result: BulkResult) -> bool:
    """True while something is left for later passes."""
    if item.draft is None:
        return writing.took(batch, item, None)
    told = work.pass_.outcome(writing.step_of(batch, item), result, batch.fields, work.job.kind.marker)
    if isinstance(told.error, errors.AccountError):  # the account's trouble, and no record's
        with batch.tx():
            connections.record_failure(work.job.target.pk, told.error)
        due = later(settings.SUTURE_PAUSED_RETRY_S)
        batch.finish(item, settlement.again(item, told.error.code, due, tried=False))
        return False
    return writing.took(batch, item, told, in_passes=True)


def _next_pass(work: Work) -> None:
    """The next pass, or the end: what is left then goes on one by one."""
    number = work.run.pass_number + 1
    with work.tx():
        if work.is_first:
            work.give_back(lambda item: item.parked)
        is_over = number > len(work.bulk.passes) or not Delivery.objects.filter(bulk_run_id=work.run.pk).exists()
        if is_over:
            work.give_back()
            work.end(state=BulkRunState.DONE, finished_at=app_now())
            return
        work.end(
            state=BulkRunState.GATHERING,
            pass_number=number,
            pass_name=work.bulk.passes[number - 1].name,
            identifier="",
            staged_key="",
            vendor_key="",
            file_digest="",
            rows=0,
            tries=0,
            polls=0,
            sent_at=None,
        )
