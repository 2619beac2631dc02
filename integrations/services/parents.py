"""Parents first, by waiting: what a wish refers to is put in place by its link, and a wish whose parent has none waits.

A parent that is on its way (its own delivery is under way, or its flow is being read) makes its children wait a little.
One that is not makes them wait for a person, and is asked for; the link that it gets in the end sends them on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from django.conf import settings

from integrations.core.lines import Line
from integrations.core.values import Value, as_lines
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Parent
from integrations.models import IN_FLIGHT, Delivery, DeliveryState, Flow, Mode, Run, RunState
from integrations.services import settlement
from integrations.services.batch import Batch
from integrations.services.children import MISSING, name_of, targets_of
from integrations.services.claims import Item
from integrations.services.jobs import Job
from tenants.walls import app_now

WAITS_MAX = 8
LONGEST_WAIT_S = 300


def resolve(batch: Batch) -> None:
    """Target keys in the place of source keys; what cannot be resolved leaves the batch."""
    for parent in batch.job.kind.parents:
        asked = {item: keys for item in batch.items if (keys := _keys(item.wanted.get(parent.field)))}
        if not asked:
            continue
        with batch.tx():
            known = targets_of(batch.job, parent, {key for keys in asked.values() for key in keys})
        missing = {key for keys in asked.values() for key in keys} - known.keys()
        drops = _drops(batch.job, parent)
        coming, due = _coming(batch, parent, missing) if missing else (set(), set())
        for item, keys in asked.items():
            lost = sorted(keys - known.keys())
            if lost and _may_wait(item, lost, coming, due if drops else set()):
                wait = min(LONGEST_WAIT_S, settings.SUTURE_PARENT_WAIT_S * 2**item.looks)
                batch.finish(item, settlement.postponed(item, batch.later(wait)))
            elif lost and not drops:
                batch.finish(item, _put_off(batch, item, parent, lost))
            else:
                item.wanted[parent.field] = _placed(item.wanted[parent.field], known, batch.job)
    for item in batch.items:
        item.looks = item.looks if item.was_uncertain else 0  # they were waits; an unclear create counts its own


def lost(job: Job, wanted: Mapping[str, Value]) -> tuple[str, ...]:
    """The parents (stream/key) that a wish refers to and that have no link. Call inside the clinic's transaction."""
    names: list[str] = []
    for parent in job.kind.parents:
        keys = _keys(wanted.get(parent.field))
        known = targets_of(job, parent, keys) if keys else {}
        names += [name_of(parent, key) for key in sorted(keys - known.keys())]
    return tuple(names)


def placed_all(
    job: Job, wishes: Mapping[str, Mapping[str, Value]]
) -> dict[str, tuple[dict[str, Value], tuple[str, ...]]]:
    """The same for many wishes, with one query a parent."""
    made = {ref: dict(wanted) for ref, wanted in wishes.items()}
    missing: dict[str, tuple[str, ...]] = dict.fromkeys(made, ())
    for parent in job.kind.parents:
        asked = {ref: keys for ref, wanted in made.items() if (keys := _keys(wanted.get(parent.field)))}
        known = targets_of(job, parent, {key for keys in asked.values() for key in keys}) if asked else {}
        for ref, keys in asked.items():
            if keys - known.keys() and not _drops(job, parent):
                missing[ref] += (parent.field,)
            else:
                made[ref][parent.field] = _placed(made[ref][parent.field], known, job)
    return {ref: (wanted, missing[ref]) for ref, wanted in made.items()}


def is_left_out(job: Job, missing: Sequence[str]) -> bool:
    """Whether a record that lacks these parents is to be left out, and not to wait for a person."""
    return any(parent.field in missing and _choice(job, parent) == "skip" for parent in job.kind.parents)


def _drops(job: Job, parent: Parent) -> bool:
    return _choice(job, parent) == "drop"


def _choice(job: Job, parent: Parent) -> str:
    return job.plan.context.settings[parent.setting] if parent.setting else "hold"


def _keys(value: Value) -> set[str]:
    """The keys that a field refers to: its text, or the products of its lines."""
    if isinstance(value, str):
        return {value} - {""}
    return {line.product for line in as_lines(value)} - {""}


def _coming(batch: Batch, parent: Parent, keys: set[str]) -> tuple[set[str], set[str]]:
    """Those of the keys that are on their way without anybody's help, and those whose flows are due now to bring them."""
    job = batch.job
    with batch.tx():
        ends = (job.target.pk, job.source.pk) if parent.is_reversed else (job.source.pk, job.target.pk)
        flows = [
            flow
            for flow in Flow.objects.filter(source_id=ends[0], target_id=ends[1]).exclude(mode=Mode.OFF)
            if (kind := FLOW_KINDS[flow.kind]).source.name == parent.source_stream
            and kind.target.name == parent.target_stream
        ]
        if not flows:
            return set(), set()
        if Run.objects.filter(flow__in=flows, state=RunState.RUNNING).exists():
            return keys, set()
        under_way = Delivery.objects.filter(flow__in=flows, state__in=(DeliveryState.WAITING, *IN_FLIGHT))
        column = "target_key" if parent.is_reversed else "source_key"
        coming = set(under_way.filter(**{f"{column}__in": sorted(keys)}).values_list(column, flat=True))
        if keys - coming and not batch.looks_only:
            Flow.objects.filter(pk__in=[flow.pk for flow in flows], next_due_at__gt=app_now()).update(
                next_due_at=app_now()
            )
    return coming, keys - coming


def _may_wait(item: Item, lost: Sequence[str], coming: set[str], due: set[str]) -> bool:
    """Whether to wait a little for what is coming, and once for what is ``due``: what is left out of a record is missing
    for ever. What may have been sent is not put off: it is looked up first."""
    if item.was_uncertain or item.looks >= WAITS_MAX:
        return False
    return (coming | due if not item.looks else coming).issuperset(lost)


def _put_off(batch: Batch, item: Item, parent: Parent, lost: Sequence[str]) -> settlement.Result:
    if _choice(batch.job, parent) == "skip":
        return settlement.skipped(item, MISSING)
    item.waits_for = [name_of(parent, key) for key in lost]
    return settlement.held(item, MISSING, detail=parent.field)


def _placed(value: Value, known: Mapping[str, str], job: Job) -> Value:
    """The value with target keys; a line whose product is to be left out is sold under the neutral name."""
    if isinstance(value, str):
        return known.get(value)
    neutral = job.plan.context.settings.get("service_title", "")
    return tuple(_line(line, known, neutral) for line in as_lines(value))


def _line(line: Line, known: Mapping[str, str], neutral: str) -> Line:
    if not line.product:
        return line
    target = known.get(line.product, "")
    return replace(line, product=target, title=line.title if target else neutral)
