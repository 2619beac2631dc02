"""Steps that happen once: the key each carries, and another one where Shopify says that a key is spent."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from integrations.connectors.base import Written
from integrations.connectors.shopify.once import once_key
from integrations.connectors.shopify.steps import Job
from integrations.core.errors import SyncError


def keyed(job: Job, turn: int = 0) -> Job:
    """The job with its key ``k``: the same for the same wish and input, and another for each ``turn``."""
    sent = {name: value for name, value in job.variables.items() if name != "k"}
    return replace(job, variables={**sent, "k": once_key(job.item.seed, [job.step, sent], turn)})


def send_once(
    jobs: Sequence[Job],
    send: Callable[[Sequence[Job]], dict[str, Written]],
    *,
    is_spent: Callable[[SyncError], bool],
    turns: int,
) -> dict[str, Written]:
    """The outcome of each job, by its item's ref. One whose key ``is_spent`` is sent with the next, in so many turns.

    Raises what ``send`` raises, in later turns only while nothing was done.
    """
    sent = send(jobs)
    for turn in range(1, turns):
        spent = [job for job in jobs if (error := sent[job.item.ref].error) is not None and is_spent(error)]
        if not spent:
            break
        try:
            sent |= send([keyed(job, turn) for job in spent])
        except SyncError:
            if all(told.error is not None for told in sent.values()):
                raise
            break  # what was done stays told; the others are looked at again
    return sent
