"""A pass's rows become a file, and the file goes up."""

import secrets
from collections.abc import Iterator, Sequence

from django.db import connection as database

from integrations.core import errors
from integrations.models import BulkRunState, Delivery
from integrations.services import bulk_files, settlement, writing
from integrations.services.batch import Batch
from integrations.services.bulk_work import Work, next_pass
from integrations.services.claims import Item
from integrations.services.delivery import prepare
from integrations.toolkit import transfer
from integrations.toolkit.http import Client
from tenants.walls import app_now

_NUMBER = """
UPDATE integrations_delivery d SET bulk_line = sent.line
FROM unnest(%(ids)s::bigint[], %(lines)s::int[]) AS sent(id, line) WHERE d.id = sent.id AND d.bulk_run_id = %(bulk_run)s
"""


def send_file(work: Work, client: Client) -> None:
    """The pass's rows as a file in the vendor's hands; a pass for which nobody has a row is over at once."""
    ids: list[int] = []
    with bulk_files.fresh() as path:
        prepare(work.job, client)
        moved = transfer.write_lines(path, _lines(work, ids), most=work.bulk.file_bytes)
        if not moved.lines:
            return next_pass(work)
        identifier = _identifier(work, moved.sha256)
        staged = work.bulk.stage(client, f"{identifier}.jsonl")
        with work.outside():
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
