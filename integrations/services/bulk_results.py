"""The results of a pass come down: who is as wished is settled, who still differs goes into the next pass."""

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice

from django.conf import settings

from integrations.connectors.base import BulkResult, BulkState
from integrations.core import errors
from integrations.services import bulk_files, connections, settlement, writing
from integrations.services.batch import Batch
from integrations.services.bulk_work import PAGE, Work, later, next_pass
from integrations.services.claims import Item
from integrations.toolkit import transfer
from integrations.toolkit.http import Client

logger = logging.getLogger(__name__)


def read_results(work: Work, client: Client) -> None:
    """Takes the results in, as far as this step's time goes. Which lines were taken is known by the deliveries."""
    told = work.bulk.look(client, work.run.vendor_key)
    if told is None or told.state is not BulkState.COMPLETED:
        end = f"{told.state} {told.error_code}" if told else "unknown"
        logger.warning("bulk run %d of tenant %d ended early: %s", work.run.pk, work.job.tenant_id, end)
    with bulk_files.fresh() as path:
        lines: Callable[[], Iterable[bytes]] = partial(iter, ())
        if told is not None and told.url and not work.is_overdue:
            with work.outside():
                transfer.download(client, told.url, path, hosts=work.bulk.hosts, expected=told.size)
            lines = partial(transfer.read_lines, path)
        results = work.bulk.results(lines, work.run.rows)
        while some := list(islice(results, PAGE)):
            _take(work, {result.number: result for result in some})
            if time.monotonic() >= work.ends:
                with work.tx():
                    work.end()
                return
    next_pass(work)


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
