"""Many mutations in one document, one outcome each: what every writer of this folder shares.

Step number n of a document is alias ``m<n>``, and its input the variable ``$i<n>``, so that Shopify's complaint about
a variable names the item.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from integrations.connectors.base import WriteItem, Written
from integrations.connectors.shopify.call import MOST_POINTS, call
from integrations.core.errors import AccountError, Rejected, SyncError, Throttled, VendorChanged
from integrations.toolkit.graphql import Outcome
from integrations.toolkit.http import Client


class Job(Protocol):
    """One item with the step it needs next. ``variables`` are by letter: ``i`` the input, others ids."""

    @property
    def item(self) -> WriteItem: ...

    @property
    def variables(self) -> Mapping[str, object]: ...


J = TypeVar("J", bound=Job)


def send(
    client: Client,
    jobs: Sequence[J],
    *,
    points: Callable[[J], int],
    document: Callable[[Sequence[J]], str],
    read: Callable[[J, str, Outcome], Written],
) -> dict[str, Written]:
    """The outcome of every job, by the item's ref. ``read`` is given a job, its alias and the answer.

    Raises what concerns the connection (AccountError, Throttled, VendorChanged) only when nothing at all was written;
    otherwise, and for a lost answer, the error is the outcome of each item it hit.
    """
    sent: dict[str, Written] = {}
    for batch in _batches(jobs, points):
        sent |= _send(client, batch, points, document, read)
        _raise_if_nothing_ran(sent.values())
    return sent


def _raise_if_nothing_ran(sent: Collection[Written]) -> None:
    """Raises the connection's own error if it is the outcome of every item so far."""
    for word in (AccountError, Throttled, VendorChanged):
        if all(isinstance(written.error, word) for written in sent):
            raise next(written.error for written in sent if written.error is not None)


def _batches(jobs: Sequence[J], points: Callable[[J], int]) -> Iterator[Sequence[J]]:
    """As many as one document may ask for."""
    batch: list[J] = []
    total = 0
    for job in jobs:
        more = points(job)
        if batch and total + more > MOST_POINTS * 0.8:
            yield batch
            batch, total = [], 0
        batch.append(job)
        total += more
    if batch:
        yield batch


def _send(
    client: Client,
    jobs: Sequence[J],
    points: Callable[[J], int],
    document: Callable[[Sequence[J]], str],
    read: Callable[[J, str, Outcome], Written],
) -> dict[str, Written]:
    """One request. Where Shopify ran nothing because of one item's values, that is refused and the rest sent again."""
    variables = {f"{letter}{n}": value for n, job in enumerate(jobs) for letter, value in job.variables.items()}
    try:
        outcome = call(client, document(jobs), variables, writes=True, cost=sum(map(points, jobs)))
    except SyncError as error:
        number = error.facts.get("item") if isinstance(error, Rejected) else None
        if isinstance(number, int) and number < len(jobs):
            refused = jobs[number].item.ref
            rest = [job for job in jobs if job.item.ref != refused]
            others = _send(client, rest, points, document, read) if rest else {}
            return {refused: Written(refused, error=error), **others}
        return {job.item.ref: Written(job.item.ref, error=error) for job in jobs}
    return {job.item.ref: read(job, f"m{number}", outcome) for number, job in enumerate(jobs)}
