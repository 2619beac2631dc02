"""Writing in steps: one mutation per item and call, as many as fit in one document, one outcome each.

The shell diffs after every step and calls again, so each step only has to be the next one that is missing. What the
streams differ in is a ``Writer``; which mutations there are, and what each selects, are facts in their documents.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from integrations.connectors.base import WriteItem, Written
from integrations.connectors.shopify.call import MOST_POINTS, call, is_too_dear
from integrations.connectors.shopify.operations import Selection, Shape, shape_points, write_document
from integrations.core.errors import AccountError, RecordError, Rejected, SyncError, Throttled, Uncertain, VendorChanged
from integrations.core.records import Record
from integrations.core.values import Value
from integrations.toolkit import graphql, payload
from integrations.toolkit.graphql import Outcome, UserError
from integrations.toolkit.http import Client

Withheld = Collection[tuple[str, ...]]  # the paths inside the answered record that Shopify denied


@dataclass(frozen=True, slots=True)
class Job:
    """One item with the step it needs next. ``variables`` are by letter, as the step's shape declares them."""

    item: WriteItem
    step: str
    variables: Mapping[str, object]


Plan = Callable[[WriteItem, str], Job | None]


@dataclass(frozen=True, slots=True)
class Writer:
    """How one stream's steps are sent and understood.

    ``answer`` is the record after the step. ``refuse`` explains a mutation's ``userErrors``; the flag says that the
    marker was among what was sent. ``errors`` names those of steps that do not call them ``userErrors``.
    """

    title: str
    shapes: Mapping[str, Shape]
    answer: Callable[[Job, payload.Json, Withheld, Selection], Record]
    refuse: Callable[[Sequence[UserError], Job, bool], SyncError]
    errors: Mapping[str, str] = field(default_factory=dict)


def write_steps(items: Sequence[WriteItem], *, plan: Plan, run: "Run") -> Sequence[Written]:
    """The next step of every item.

    Raises what concerns the connection (AccountError, Throttled, VendorChanged) only when nothing at all was written;
    otherwise, and for a lost answer, the error is the outcome of each item it hit.
    """
    jobs, outcomes = planned(items, plan, run.marker)
    outcomes |= run.all(jobs)
    return [outcomes[item.ref] for item in items]


def planned(items: Sequence[WriteItem], plan: Plan, marker: str) -> tuple[list[Job], dict[str, Written]]:
    """What is to be sent, and what is known without: an item that needs no step answers its record as it was.

    ``plan`` gives an item's next step, None if nothing is left to do, and raises RecordError for values that cannot be
    sent.
    """
    outcomes: dict[str, Written] = {}
    jobs: list[Job] = []
    for item in items:
        try:
            job = plan(item, marker)
        except RecordError as error:
            outcomes[item.ref] = Written(item.ref, error=error)
        else:
            if job is None:
                outcomes[item.ref] = Written(item.ref, item.current)
            else:
                jobs.append(job)
    return jobs, outcomes


def raise_if_nothing_ran(sent: Collection[Written]) -> None:
    """Raises the connection's own error if it is the outcome of every item so far."""
    for word in (AccountError, Throttled, VendorChanged):
        if all(isinstance(told.error, word) for told in sent):
            raise next(told.error for told in sent if told.error is not None)


def over(current: Record | None, values: Mapping[str, Value], handles: Mapping[str, str] | None = None) -> Record:
    """What a step did, laid over what was there: for mutations that do not answer the record."""
    if current is None:
        raise payload.wrong("record", "a record to change", None)
    return replace(current, values={**current.values, **values}, handles={**current.handles, **(handles or {})})


@dataclass(frozen=True, slots=True)
class Run:
    """The requests of one call."""

    client: Client
    writer: Writer
    selected: Selection
    marker: str

    def all(self, jobs: Sequence[Job]) -> dict[str, Written]:
        """The outcome of each job, by its item's ref. Raises what ``write_steps`` raises."""
        sent: dict[str, Written] = {}
        for batch in self._batches(jobs):
            sent |= self._send(batch)
            raise_if_nothing_ran(sent.values())
        return sent

    def _batches(self, jobs: Sequence[Job]) -> Iterator[Sequence[Job]]:
        """As many as one document may ask for."""
        batch: list[Job] = []
        points = 0
        for job in jobs:
            more = self._points(job)
            if batch and points + more > MOST_POINTS * 0.8:
                yield batch
                batch, points = [], 0
            batch.append(job)
            points += more
        if batch:
            yield batch

    def _points(self, job: Job) -> int:
        return shape_points(self.writer.shapes[job.step], self.selected)

    def _send(self, jobs: Sequence[Job]) -> dict[str, Written]:
        """One request. Where Shopify ran nothing because of one item's values, that is refused and the rest sent
        again."""
        steps = tuple((job.step, self.writer.shapes[job.step]) for job in jobs)
        document = write_document(self.writer.title, steps, self.selected)
        variables = {f"{letter}{n}": value for n, job in enumerate(jobs) for letter, value in job.variables.items()}
        cost = sum(self._points(job) for job in jobs)
        try:
            outcome = call(self.client, document, variables, writes=True, cost=cost)
        except SyncError as error:
            number = error.facts.get("item") if isinstance(error, Rejected) else None
            if isinstance(number, int) and number < len(jobs):
                refused = jobs[number].item.ref
                rest = [job for job in jobs if job.item.ref != refused]
                return {refused: Written(refused, error=error), **(self._send(rest) if rest else {})}
            if is_too_dear(error) and len(jobs) > 1:  # our reckoning is a guess: nothing ran
                half = len(jobs) // 2
                return self._send(jobs[:half]) | self._send(jobs[half:])
            return {job.item.ref: Written(job.item.ref, error=error) for job in jobs}
        told = partial(written, outcome=outcome, writer=self.writer, selected=self.selected, marker=self.marker)
        return {job.item.ref: told(job, f"m{number}") for number, job in enumerate(jobs)}


def written(job: Job, alias: str, *, outcome: Outcome, writer: Writer, selected: Selection, marker: str) -> Written:
    """One alias: null means that the mutation did not run and ``errors`` says why."""
    told = partial(Written, job.item.ref, request_id=outcome.reply.request_id)
    unclear = Uncertain("shopify.shape", request_id=outcome.reply.request_id or None)
    result = outcome.data.get(alias)
    if not isinstance(result, dict):
        return told(error=outcome.error_for(alias) or unclear)
    try:
        errors = graphql.user_errors(result, writer.errors.get(job.step, "userErrors"))
        if errors:
            return told(error=writer.refuse(errors, job, marker in job.item.fields))
        return told(record=writer.answer(job, result, withheld(outcome, alias), selected))
    except VendorChanged:
        return told(error=unclear)


def withheld(outcome: Outcome, alias: str) -> list[tuple[str, ...]]:
    """The paths inside the answered record that Shopify denied: ``m0.customer.firstName`` -> ``("firstName",)``."""
    paths = (problem.path.split(".") for problem in outcome.problems if problem.alias == alias)
    return [tuple(path[2:]) for path in paths if len(path) > 2]
