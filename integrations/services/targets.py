"""Which target each wish of a batch means, and what differs there."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TypedDict

from django.conf import settings

from integrations.connectors.base import Answer, Wanted
from integrations.core.diffing import Fate, FieldPolicy, Patch, diff, fates, new, ours
from integrations.core.matching import Decision, Found, Judge
from integrations.core.records import Record
from integrations.core.values import Kind, Value
from integrations.models import Link, Mode
from integrations.services import settlement
from integrations.services.batch import Ahead, Batch
from integrations.services.claims import Item
from integrations.services.merges import links_of
from integrations.services.reading import read_each
from integrations.toolkit.http import Client
from tenants.walls import app_now

CREATES_MAX = 2
MADE_FOR = "for "
"""Before the source key: a target that is only foretold."""


def read_linked(batch: Batch, client: Client, items: list[Item]) -> list[Item]:
    """Linked and chosen targets as they are now. One that is gone, or belongs elsewhere by now, is looked up, else held."""
    linked = [item for item in items if item.target_key]
    if not linked:
        return items
    records, unread = read_each(batch.stream, client, [item.target_key for item in linked], batch.fields)
    lost = []
    for item in linked:
        item.current = records.get(item.target_key)
        if item.target_key in unread:
            batch.finish(item, settlement.held(item, unread[item.target_key].code))
        elif item.current is None or _is_elsewhere(batch, item, item.current):
            lost.append(item)
    items = batch.left(items)
    if not lost:
        return items
    answers = _find(batch, client, lost)
    for item in lost:
        marked = answers[item.source_key].by_marker
        if len(marked) != 1 or item.link_id is None:
            batch.finish(item, settlement.held(item, "link.target_gone"))
        elif not _follow_target(batch, item, marked[0]):
            batch.finish(item, settlement.held(item, "match.target_linked", (marked[0].key,)))
    return batch.left(items)


def _is_elsewhere(batch: Batch, item: Item, current: Record) -> bool:
    """Whether a target that is found by where it belongs, and not by a marker, is not where it is wished now: the clinic
    chose another location, say."""
    if batch.job.kind.marker or item.link_id is None:
        return False
    places = batch.job.plan.fixed & item.wanted.keys() & current.values.keys()
    canon = {name: batch.job.kind_of(name).canon for name in places}
    return any(canon[name](item.wanted[name]) != canon[name](current.values[name]) for name in places)


def _follow_target(batch: Batch, item: Item, record: Record) -> bool:
    """The target was merged into another record that carries our marker, or stands elsewhere: the link follows, unless
    that one is somebody else's."""
    with batch.tx():
        link = Link.objects.get(pk=item.link_id)
        if Link.objects.filter(links_of(batch.job), target_key=record.key).exists():
            return False
        link.target_aliases = [*link.target_aliases, link.target_key]
        link.target_key = record.key
        if not batch.looks_only:
            link.save(update_fields=["target_key", "target_aliases"])
    item.target_key, item.current = record.key, record
    return True


def match(batch: Batch, client: Client, items: list[Item]) -> list[Item]:
    """Unlinked items find their target: marker, then confirmed natural keys. Uncertain ones are resolved here."""
    unlinked = [item for item in items if item.current is None and not (item.draft and item.draft.gone)]
    for item in items:
        if item.current is None and item.draft and item.draft.gone:
            batch.finish(item, settlement.skipped(item, "record.archived_unlinked"))
    if unlinked:
        answers = _find(batch, client, unlinked)
        judge = _judge(batch, answers.values())
        for item in unlinked:
            _take(batch, item, judge.choose(item.wanted, _found(answers[item.source_key])))
    items = batch.left(items)
    for item in items:
        if item.was_uncertain and item.current is None:
            _unproven(batch, item)
    return _one_each(batch, batch.left(items))


def _find(batch: Batch, client: Client, items: Sequence[Item]) -> dict[str, Answer]:
    if batch.stream.find is None:
        return {item.source_key: Answer() for item in items}
    marked = batch.stream.prepare is None or batch.job.kind.marker in batch.job.target.prepared
    wanted = [  # nobody can carry a marker that was never prepared
        Wanted(item.source_key, item.source_key if marked else "", _natural_keys(batch, item), item.wanted)
        for item in items
    ]
    answers = batch.stream.find(client, wanted, batch.fields, batch.job.kind.marker)
    found = {item.source_key: answers.get(item.source_key, Answer()) for item in items}
    return _with_those_ahead(batch, items, found, batch.ahead) if batch.ahead else found


def _with_those_ahead(
    batch: Batch, items: Sequence[Item], found: Mapping[str, Answer], ahead: Ahead
) -> dict[str, Answer]:
    """The answers, with the records that wishes before these would have made: other people's, by their marker."""
    asked = {item.source_key: natural_digests(batch, item) for item in items}
    holders = ahead.holders({digest for digests in asked.values() for digest in digests.values()})
    joined = dict(found)
    for item in items:
        more: dict[str, tuple[Record, ...]] = {}
        for name, digest in asked[item.source_key].items():
            holder = holders.get(digest, item.source_key)
            if holder != item.source_key:
                values = {name: item.wanted[name], batch.job.kind.marker: holder}
                more[name] = (Record(key=f"{MADE_FOR}{holder}", version="", values=values),)
        answer = found[item.source_key]
        by_key = {name: (*answer.by_key.get(name, ()), *more.get(name, ())) for name in {*answer.by_key, *more}}
        joined[item.source_key] = Answer(answer.by_marker, by_key)
    return joined


def natural_digests(batch: Batch, item: Item) -> dict[str, str]:
    """The natural keys that the item's wish has, as digests that are equal for equal keys."""
    return {name: f"{name}:{batch.job.digest(name, item.wanted[name])}" for name in _natural_keys(batch, item)}


def _natural_keys(batch: Batch, item: Item) -> dict[str, str]:
    kind_of = batch.job.kind_of
    keys = {key.field: kind_of(key.field).canon(item.wanted.get(key.field)) for key in batch.job.kind.matching.natural}
    return {name: text for name, text in keys.items() if text}


def _judge(batch: Batch, answers: Iterable[Answer]) -> Judge:
    """The judge, knowing which of the candidates are already somebody's."""
    found = (records for answer in answers for records in (answer.by_marker, *answer.by_key.values()))
    keys = {record.key for records in found for record in records}
    linked = _linked(batch, keys) if keys else set()
    return Judge(
        batch.job.kind.matching, batch.job.plan.context.settings, linked.__contains__, batch.job.target_stream.kind_of
    )


def _linked(batch: Batch, keys: Collection[str]) -> set[str]:
    with batch.tx():
        rows = Link.objects.filter(target_id=batch.job.target.pk, target_stream=batch.stream.name, target_key__in=keys)
        linked = set(rows.values_list("target_key", flat=True))
    return linked | batch.ahead.taken(keys) if batch.ahead else linked


def _take(batch: Batch, item: Item, decision: Decision) -> None:
    """Applies a decision: a hold, or a target and the fields left out."""
    if decision.code:
        batch.finish(item, settlement.held(item, decision.code, decision.candidates))
        return
    for name in decision.drop:
        item.dropped[name] = batch.job.digest(name, item.wanted.pop(name))
    item.notes.extend(decision.notes)
    if decision.target is not None and item.current is None:
        item.current, item.target_key = decision.target, decision.target.key
    if decision.drop:
        item.wanted = batch.job.kind.finish(item.wanted, batch.job.plan.context)


def _unproven(batch: Batch, item: Item) -> None:
    """An uncertain create that no look-up shows: wait and look again, then send once more, then ask a person."""
    sent = item.sent_at or app_now()
    settled = sent + timedelta(seconds=settings.SUTURE_SETTLE_S)
    if item.looks + 1 < settings.SUTURE_SETTLE_LOOKS or app_now() < settled:
        batch.finish(item, settlement.uncertain(item, "delivery.uncertain", max(settled, batch.later(1)), looked=True))
    elif item.creates >= CREATES_MAX:
        batch.finish(item, settlement.held(item, "delivery.unproven"))


def _one_each(batch: Batch, items: list[Item]) -> list[Item]:
    """Of several in one batch that would take the same target, or be created with the same natural key, the first
    goes; the rest look again after it."""
    seen: set[tuple[str, str]] = set()
    keep = []
    for item in items:
        takes = _takes(batch, item)
        if takes & seen:
            batch.finish(item, settlement.again(item, "", app_now(), tried=False))
        else:
            seen |= takes
            keep.append(item)
    return keep


def _takes(batch: Batch, item: Item) -> set[tuple[str, str]]:
    """What only one of a batch may have: the target that is not linked yet, else the natural keys of a create."""
    if item.current is None:
        return set(_natural_keys(batch, item).items())
    return set() if item.link_id is not None else {("", item.current.key)}


def decide(batch: Batch, client: Client, items: list[Item]) -> list[Item]:
    """What must be written, per item; preview, a mode that lets nothing out, and equal targets end here."""
    for item in items:
        item.is_new = item.current is None or _is_own_create(batch, item)
        item.patch = _patch_of(batch, item)
    _check_new_keys(batch, client, batch.left(items))
    for item in items:
        if item not in batch.items:
            continue
        if not item.patch and item.current is not None:
            remember(batch, item)
            batch.finish(item, settlement.done(item, "created" if item.is_new else "unchanged"))
        elif batch.job.mode == Mode.PREVIEW:
            batch.finish(item, settlement.previewed(item, "create" if item.is_new else "update"))
        elif refusal := batch.refused_by_mode(item):
            batch.finish(item, refusal)
    return batch.left(items)


def _is_own_create(batch: Batch, item: Item) -> bool:
    """A create whose answer was lost, or one that was cut short after it: still ours to finish, and to count."""
    made = item.current.values.get(batch.job.kind.marker) if item.current else None
    return item.creates > 0 and made == item.source_key


def _check_new_keys(batch: Batch, client: Client, items: list[Item]) -> None:
    """A natural key about to be written on a linked record must not be somebody else's."""
    natural = {key.field for key in batch.job.kind.matching.natural}
    changed = [item for item in items if item.current is not None and natural & item.patch.keys()]
    if not changed:
        return
    answers = _find(batch, client, changed)
    judge = _judge(batch, answers.values())
    for item in changed:
        _take(batch, item, judge.choose(item.wanted, _found(answers[item.source_key]), linked=item.current))
        if item in batch.items:
            item.patch = _patch_of(batch, item)


def _patch_of(batch: Batch, item: Item) -> dict[str, Value]:
    if item.current is None:
        return dict(new(item.wanted, batch.job.kind_of).fields)
    patch = left_to_write(batch, item, item.current)
    item.notes.extend(note for note in patch.notes if note not in item.notes)
    if stuck := patch.conflicts or patch.fixed:  # what the person is told about
        hold_stuck(batch, item, patch)
        return dict.fromkeys(stuck)
    return dict(patch.fields)


def hold_stuck(batch: Batch, item: Item, patch: Patch) -> None:
    """Fields that both sides changed, or that the target does not let anybody change any more."""
    code = "field.conflict" if patch.conflicts else "field.fixed"
    batch.finish(item, settlement.held(item, code, detail=", ".join(patch.conflicts or patch.fixed)))


def left_to_write(batch: Batch, item: Item, current: Record) -> Patch:
    return diff(item.wanted, current.values, **_terms(batch, item))


def fates_of(batch: Batch, item: Item, current: Record) -> dict[str, Fate]:
    """What becomes of each wished field, as ``left_to_write`` decides it."""
    return fates(item.wanted, current.values, **_terms(batch, item))


class _Terms(TypedDict):
    kind_of: Callable[[str], Kind]
    digest: Callable[[str, Value], str]
    written: Mapping[str, str]
    policies: Mapping[str, FieldPolicy]
    fixed: Collection[str]


def _terms(batch: Batch, item: Item) -> _Terms:
    is_gone = bool(item.draft and item.draft.gone)
    return {
        "kind_of": batch.job.kinds.__getitem__,
        "digest": batch.job.digest,
        "written": item.digests,
        "policies": batch.job.plan.policies_for(is_new=item.is_new, is_gone=is_gone, was_gone=item.was_gone),
        "fixed": batch.job.plan.fixed,
    }


def remember(batch: Batch, item: Item) -> None:
    """Digests of what the target answered, for the fields that are ours: written, or already as wished."""
    if item.current is None:
        return
    there = item.current.values
    for name in ours(item.wanted, there, wrote=item.wrote, kind_of=batch.job.kinds.__getitem__):
        if name not in item.remembered or item.remembered[name] != there[name]:
            item.remembered[name] = there[name]
            item.digests[name] = batch.job.digest(name, there[name])


def _found(answer: Answer) -> Found:
    return Found(answer.by_marker, answer.by_key)
