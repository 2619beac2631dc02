"""Taking back what a repair wrote: a delivery whose wish is the target as it is, with the old values in their places.

It goes through the outbox like any other: claimed, fenced, announced before it is written, and judged by the same diff.
What somebody changed since the repair stays theirs and is named. It makes nothing, waits on no desk, and leaves the
link's wish as it was, so that the flow does not send the record anew until its source changes.
"""

from collections.abc import Sequence

from integrations.core.records import Note
from integrations.core.values import Value
from integrations.services import settlement
from integrations.services.batch import Batch
from integrations.services.claims import Item
from integrations.services.jobs import Job

CHANGED_SINCE = "repair.changed_since"


def narrow(batch: Batch, items: Sequence[Item]) -> None:
    """The wish of each that takes back: old values where the repair's still stand, everything else as it is."""
    for item in items:
        if item.undo is None or item.draft is None or item.current is None:
            continue
        there, old = item.current.values, item.draft.fields
        changed = [name for name in old if _is_changed(batch.job, item, name)]
        item.notes.extend(Note(CHANGED_SINCE, name) for name in changed)
        own = {name: value for name, value in old.items() if name not in changed}
        item.wanted = {name: there[name] for name in batch.job.kinds if name in there} | own
        if not own:
            batch.finish(item, settlement.skipped(item, CHANGED_SINCE))


def _is_changed(job: Job, item: Item, name: str) -> bool:
    """Whether the field holds neither what the repair left there nor what was there before."""
    if item.current is None or item.draft is None or item.undo is None or name not in item.current.values:
        return True
    digest = job.digest(name, item.current.values[name])
    return digest not in (item.undo["left"].get(name), job.digest(name, item.draft.fields[name]))


def remember(item: Item) -> None:
    """The memory of the fields that are as they were before goes back to what it was, too."""
    if item.undo is None or item.draft is None:
        return
    for name, value in item.draft.fields.items():
        if item.wanted.get(name, _NONE) == value and name not in item.patch:
            if last := item.undo["digests"].get(name):
                item.digests[name] = last
            else:
                item.digests.pop(name, None)


_NONE: Value = "\0no value at all"
