"""Writing a batch, step by step, until each target is as wished."""

from collections.abc import Callable, Sequence

from django.conf import settings

from integrations.connectors.base import WriteItem, Written
from integrations.core import errors
from integrations.models import DeliveryState
from integrations.services import connections, settlement, targets, witness
from integrations.services.batch import Batch
from integrations.services.claims import Item, mark_sending
from integrations.services.settlement import Result
from integrations.toolkit.http import Client

STEPS_MAX = 6


def write(batch: Batch, client: Client, items: list[Item]) -> None:
    """Writes step by step until each target is as wished. Every step is preceded by a committed intent."""
    write_many = batch.stream.write_many
    if write_many is None:
        raise errors.VendorChanged("flow.target_unwritable", stream=batch.stream.name)
    for _ in range(STEPS_MAX):
        with batch.tx():
            items = mark_sending(items)
            witness.about_to_write(batch.job, items)
        if not items:
            return
        steps = [step_of(batch, item) for item in items]
        written = {outcome.ref: outcome for outcome in _send(batch, write_many, client, steps)}
        more = []
        for item in items:
            if took(batch, item, written.get(item.source_key)):
                more.append(item)
        if more:
            with batch.tx():
                hold_taken(batch, more, settlement.make_links(batch.job, more))
        items = [item for item in more if item in batch.items]
        if not items:
            return
    for item in items:
        batch.finish(item, settlement.done(item, _outcome(batch, item)))


def step_of(batch: Batch, item: Item) -> WriteItem:
    """What is to be written of an item next."""
    return WriteItem(item.source_key, item.patch, item.wanted, item.current, f"{batch.job.tenant_id}:{item.pk}")


def _send(
    batch: Batch, write_many: Callable[..., Sequence[Written]], client: Client, steps: list[WriteItem]
) -> Sequence[Written]:
    """One call. An error that says nothing ran stops the batch; a lost answer is every item's own uncertainty.

    Outages are the connection's trouble, never the records': they open its breaker and count as nobody's try.
    """
    try:
        written = write_many(client, steps, batch.fields, batch.job.kind.marker)
        refused = _shared_error(written, errors.Unavailable)
        if refused is not None:
            raise refused
    except errors.Uncertain as error:
        written = [Written(step.ref, error=error) for step in steps]
    except (errors.Throttled, errors.Unavailable, errors.AccountError):
        _unsend(batch)
        raise
    lost = _shared_error(written, errors.Uncertain)
    if lost is not None:
        batch.lost = True
        batch.drained.code = lost.code
        with batch.tx():
            batch.drained.retry_at = connections.record_failure(batch.job.target.pk, lost)
    return written


def _unsend(batch: Batch) -> None:
    """A call that ran nothing: creates that were announced for it are taken back."""
    for item in batch.items:
        if item.state == DeliveryState.SENDING and item.current is None:
            item.creates -= 1
            item.unsent = True


def hold_taken(batch: Batch, items: Sequence[Item], taken: set[int]) -> None:
    for item in items:
        if item.pk in taken:
            batch.finish(item, settlement.held(item, "match.target_linked"))


def took(batch: Batch, item: Item, written: Written | None, *, in_passes: bool = False) -> bool:
    """Takes one outcome in. True while the target still differs and another step is due.

    A step that changed nothing of what differs is the last one, unless ``in_passes`` others write the rest.
    """
    if written is None:
        batch.finish(item, _lost(batch, item, errors.Uncertain("delivery.no_outcome")))
        return False
    item.request_id = written.request_id or item.request_id
    if written.error is not None:
        batch.finish(item, _failed(batch, item, written.error))
        return False
    if written.record is None:
        batch.finish(item, _lost(batch, item, errors.Uncertain("delivery.no_record")))
        return False
    batch.wrote = True
    created = item.current is None
    stuck = set() if created or in_passes else set(item.patch)
    item.wrote.extend(name for name in item.patch if name not in item.wrote)
    item.current, item.target_key = written.record, written.record.key
    left = targets.left_to_write(batch, item, written.record)
    item.patch = dict(left.fields)
    targets.remember(batch, item)
    if left.fixed:  # made, but not as wished: the link is kept, and a person looks
        with batch.tx():
            settlement.make_links(batch.job, [item])
        targets.hold_stuck(batch, item, left)
        return False
    if item.patch and set(item.patch) != stuck:
        return True
    batch.finish(item, settlement.done(item, _outcome(batch, item)))
    return False


def _outcome(batch: Batch, item: Item) -> str:
    if item.is_new:
        return "created"
    return "archived" if item.draft and item.draft.gone else "updated"


def _failed(batch: Batch, item: Item, error: errors.SyncError) -> Result:
    """What one item's error means for it. Only its own troubles count as its tries."""
    if isinstance(error, errors.Uncertain):
        return _lost(batch, item, error)
    if isinstance(error, errors.Throttled):
        if item.current is None:
            item.creates -= 1
        return settlement.again(item, error.code, error.retry_at, tried=False)
    if isinstance(error, errors.Unavailable) or error.facts.get("look_again"):
        if item.tries + 1 >= settings.SUTURE_MAX_TRIES:
            return settlement.held(item, error.code)
        wait = connections.backoff_s(item.tries + 1) if isinstance(error, errors.Unavailable) else 1 + item.tries
        return settlement.again(item, error.code, batch.later(wait), tried=True)
    candidates = error.candidates if isinstance(error, errors.Ambiguous) else ()
    return settlement.held(item, error.code, candidates, detail=_named(error))


def _named(error: errors.SyncError) -> str:
    """The names of the fields that a refusal speaks of, for whoever is to correct them."""
    return str(error.facts.get("fields") or error.facts.get("field") or "")


def _lost(batch: Batch, item: Item, error: errors.SyncError) -> Result:
    """A lost answer: a create must be looked up, an update is simply made again from what is there."""
    if item.is_new and not item.target_key:
        return settlement.uncertain(item, error.code, batch.later(settings.SUTURE_LOOK_AFTER_S), looked=False)
    if item.tries + 1 >= settings.SUTURE_MAX_TRIES:
        return settlement.held(item, error.code)
    return settlement.again(item, error.code, batch.later(connections.backoff_s(1)), tried=True)


def _shared_error(written: Sequence[Written], kind: type[errors.SyncError]) -> errors.SyncError | None:
    """The error of a call that ended so for every item."""
    told = [outcome.error for outcome in written]
    return told[0] if told and all(isinstance(error, kind) for error in told) else None
