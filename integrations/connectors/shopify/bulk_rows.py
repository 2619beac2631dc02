"""What the streams share in bulk: how a document answers its record, and what becomes of an item's row."""

from collections.abc import Callable

from integrations.connectors.base import BulkResult, Written
from integrations.connectors.shopify import bulk
from integrations.connectors.shopify.operations import Selection
from integrations.connectors.shopify.steps import Job, Writer, written
from integrations.core.errors import SyncError, Uncertain
from integrations.toolkit.payload import Json


def braced(selected: Selection) -> str:
    """The members in braces: a document holds one mutation and nothing else, so no fragment."""
    members = selected.text.partition("{")[2].rpartition("}")[0].strip()
    return f"{{ {members} }}"


def outcome(
    job: Job,
    result: BulkResult,
    *,
    writer: Writer,
    selected: Selection,
    marker: str,
    is_about: Callable[[Written, Json], bool],
) -> Written:
    """What became of an item: its record as it is now, or the error. ``is_about`` tells whether a result speaks of it:
    the number of a line alone decides nothing that cannot be undone."""
    ref = job.item.ref
    if result.answer is None:
        return Written(ref, error=Uncertain("shopify.row_lost"))
    try:
        judged = bulk.judged(result.answer)
    except SyncError as error:
        return Written(ref, error=error)
    told = written(job, str(job.step), outcome=judged, writer=writer, selected=selected, marker=marker)
    if told.error is None and not is_about(told, judged.data):
        return Written(ref, error=Uncertain("shopify.row_mismatch"))
    return told
