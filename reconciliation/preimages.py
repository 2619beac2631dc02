"""What a repair's writes replace: kept, sealed, in the transaction that announces each write, and the receipt beside it."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from integrations.core.records import Draft
from integrations.core.values import Value
from integrations.models import DeliveryState
from integrations.services.claims import Item
from integrations.services.jobs import Job
from integrations.services.settlement import Result
from integrations.vault import Unsealable
from reconciliation.models import RepairStep, UndoState


class Preimages:
    """A witness of deliveries that belong to a repair."""

    def about_to_write(self, job: Job, items: Sequence[Item]) -> None:
        """Of a record that is there already, the fields that are about to be written, as they are now.

        A write that is tried again keeps what is there then: what it would write over still, the earlier try did not.
        """
        writers = [item for item in items if item.undo is None and item.current is not None]
        steps = _steps_of(writers)
        for item in writers:
            if step := steps.get((item.repair, item.source_key)):
                _keep(job, item, step)
        RepairStep.objects.bulk_update(steps.values(), ["sealed_before", "fields", "digests", "was_gone"])

    def settled(self, job: Job, results: Sequence[Result]) -> None:
        """What became of each, there or on its way back."""
        steps = _steps_of([result.item for result in results])
        for result in results:
            step = steps.get((result.item.repair, result.item.source_key))
            if step is not None and result.state in (DeliveryState.DONE, DeliveryState.HELD):
                _note_undo(step, result) if result.item.undo is not None else _note(step, result)
        names = ["target_key", "outcome", "code", "left", "undo_state", "undo_code", "kept_fields", "sealed_before"]
        RepairStep.objects.bulk_update(steps.values(), names)


PREIMAGES = Preimages()


def _steps_of(items: Iterable[Item]) -> dict[tuple[int, str], RepairStep]:
    items = list(items)
    found = RepairStep.objects.filter(
        repair_id__in={item.repair for item in items}, source_key__in=[item.source_key for item in items]
    )
    locked = found.order_by("pk").select_for_update(of=("self",))
    return {(step.repair_id, step.source_key): step for step in locked}


def _keep(job: Job, item: Item, step: RepairStep) -> None:
    there = item.current.values if item.current else {}
    names = [name for name in item.patch if name in there and name not in item.wrote]
    before: dict[str, Value] = {}
    if step.sealed_before is None:
        step.was_gone = item.was_gone
    else:
        with suppress(Unsealable):
            before = dict(job.unseal(step.sealed_before, item.source_key).fields)
    before |= {name: there[name] for name in names}
    step.digests = {**step.digests, **{name: item.digests.get(name, "") for name in names}}
    step.sealed_before, step.fields = job.seal(Draft(before), item.source_key), sorted(before)


def _note(step: RepairStep, result: Result) -> None:
    item = result.item
    step.target_key = item.target_key or step.target_key
    step.outcome = result.outcome
    step.code = "repair.overtaken" if result.outcome == "superseded" else result.code
    step.left = {name: item.digests[name] for name in step.fields if name in item.digests}


def _note_undo(step: RepairStep, result: Result) -> None:
    """All of it, some of it, or nothing, and why."""
    step.kept_fields = sorted({note.field for note in result.item.notes if note.field in step.fields})
    if result.outcome in ("updated", "archived", "unchanged"):
        step.undo_state = UndoState.PARTLY if step.kept_fields else UndoState.UNDONE
        step.undo_code = "repair.changed_since" if step.kept_fields else ""
        step.sealed_before = None
    else:
        step.undo_state = UndoState.KEPT
        step.undo_code = result.code or "repair.overtaken"
