"""The first steps of a batch: wishes opened or made anew, and what their links remember."""

from contextlib import suppress

from django.conf import settings

from integrations.core import errors
from integrations.core.records import Record, State
from integrations.models import Call, Link, LinkState
from integrations.services import connections, settlement
from integrations.services.batch import Batch
from integrations.services.claims import Item
from integrations.services.reading import read_each
from integrations.vault import Unsealable
from tenants.walls import app_now

# Key by key (OFFSET 0), so that no plan made without statistics reads all of a clinic's links for a page of them.
_LINKS = """
SELECT l.* FROM unnest(%(keys)s::text[]) AS asked(key) CROSS JOIN LATERAL (
    SELECT * FROM integrations_link
    WHERE tenant_id = %(tenant)s AND source_key = key AND source_id = %(source)s AND target_id = %(target)s
      AND source_stream = %(source_stream)s AND target_stream = %(target_stream)s OFFSET 0) AS l"""
_STATES = """
SELECT s.* FROM unnest(%(keys)s::text[]) AS asked(key) CROSS JOIN LATERAL (
    SELECT * FROM integrations_linkstate
    WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND source_key = key OFFSET 0) AS s"""


def refuse_poison_and_mode(batch: Batch) -> None:
    """A delivery that killed its worker again and again is held. Nothing is delivered for a flow that is off, nor for
    records outside its pilot, whatever the mode was when they were wished; what may have been sent is still looked up.
    """
    for item in list(batch.items):
        if item.crashes >= settings.SUTURE_CRASH_TRIES:
            batch.finish(item, settlement.held(item, "internal.poison"))
        elif not item.was_uncertain and (refusal := batch.refused_by_mode(item)):
            batch.finish(item, refusal)


def open_drafts(batch: Batch) -> None:
    """Opens sealed wishes. One that does not open any more (a key left the ring) is made anew like a missing one."""
    for item in batch.items:
        if item.sealed_draft is not None:
            with suppress(Unsealable):
                item.draft = batch.job.unseal(item.sealed_draft, item.source_key)


def refill(batch: Batch) -> None:
    """Wishes that could not be made are made anew from the source record."""
    empty = [item for item in batch.items if item.draft is None]
    if not empty:
        return
    with batch.tx():
        batch.job = batch.job.ready_to_read()
    try:
        records, unread = read_each(
            batch.job.source_stream,
            batch.clients.to(batch.job.source),
            [item.source_key for item in empty],
            batch.job.plan.source_fields,
        )
    except errors.SyncError as error:
        with batch.tx():
            retry_at = connections.record_failure(batch.job.source.pk, error, call=Call.READ)
        due = retry_at or batch.later(settings.SUTURE_PAUSED_RETRY_S)
        for item in empty:
            batch.finish(item, settlement.again(item, error.code, due, tried=False))
        return
    for item in empty:
        if item.source_key in unread:
            batch.finish(item, settlement.held(item, unread[item.source_key].code))
        else:
            refill_one(batch, item, records.get(item.source_key))


def refill_one(batch: Batch, item: Item, record: Record | None) -> None:
    """The item's wish, made of this reading of its record; None says that the record is gone."""
    if record is None or record.state is State.MERGED:
        batch.finish(item, settlement.skipped(item, "record.gone"))
        return
    wish = batch.job.wish(record)
    item.notes, item.source_version = list(wish.notes), batch.job.reading(record)
    if wish.skip:
        batch.finish(item, settlement.skipped(item, wish.skip))
    elif wish.draft is None:
        batch.finish(item, settlement.held(item, wish.problems[0][0], detail=wish.problems[0][1]))
    else:
        item.draft, item.wish = wish.draft, batch.job.fingerprint(wish.draft)


def load_links(batch: Batch) -> None:
    job = batch.job
    given = {
        "keys": [item.source_key for item in batch.items],
        "tenant": job.tenant_id,
        "flow": job.flow_id,
        "source": job.source.pk,
        "target": job.target.pk,
        "source_stream": job.source_stream.name,
        "target_stream": job.target_stream.name,
    }
    with batch.tx():
        links = {link.source_key: (link.pk, link.target_key) for link in Link.objects.raw(_LINKS, given)}
        states = {state.source_key: state for state in LinkState.objects.raw(_STATES, given)}
    for item in list(batch.items):
        item.wanted = dict(item.draft.fields) if item.draft and item.undo is None else {}
        item.link_id, item.target_key = links.get(item.source_key, (None, ""))
        if item.undo is not None and item.link_id is None:
            batch.finish(item, settlement.skipped(item, "repair.unlinked"))
        if item.chosen and item.link_id is None:
            item.target_key = item.chosen
        if state := states.get(item.source_key):
            item.digests, item.dropped = dict(state.digests), dict(state.dropped)
            item.previous_wish = bytes(state.wish)
            item.wish_before = bytes(state.wish_before) if state.wish_before is not None else None
            item.flips, item.flips_since = state.flips, state.flips_since
            item.was_gone = state.gone
            if _is_flapping(item):
                batch.finish(item, settlement.held(item, "guard.flapping"))
        if item.undo is None:
            _leave_out(batch, item)


def _is_flapping(item: Item) -> bool:
    """Whether this wish would once more undo the last one, too often within the hour; a person's word lets it pass."""
    lately = item.flips_since is not None and app_now() - item.flips_since < settlement.FLIP_WINDOW
    returns = item.wish_before == item.wish and item.flips >= settings.SUTURE_FLIPS_PER_HOUR
    return lately and returns and not item.decision


def _leave_out(batch: Batch, item: Item) -> None:
    """Fields left out before, or now by a person's decision, stay out until the source's value changes."""
    for name in item.drops:
        if name in item.wanted:
            item.dropped[name] = batch.job.digest(name, item.wanted[name])
    for name, digest in list(item.dropped.items()):
        if name in item.wanted and batch.job.digest(name, item.wanted[name]) == digest:
            del item.wanted[name]
        else:
            del item.dropped[name]
    if item.dropped:
        item.wanted = batch.job.kind.finish(item.wanted, batch.job.plan.context)
