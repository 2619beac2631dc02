"""Settling: receipts become links, states, log lines and finished deliveries, one transaction per batch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection as database

from integrations.models import OPEN, Delivery, DeliveryState, Link, LinkState
from integrations.services import witness
from integrations.services.children import in_turn, linked_since, waits_for, wake
from integrations.services.claims import Item
from integrations.services.counts import Moves, bucket_of
from integrations.services.jobs import Job
from integrations.services.merges import links_of, remember
from integrations.services.synclog import Log
from tenants.walls import app_now, insert_rows

FLIP_WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one item. ``action`` and ``told`` are the log's; ``state`` and ``outcome`` the delivery's.
    ``detail`` says more to a person about ``code``: a field's name, an amount."""

    item: Item
    state: DeliveryState
    outcome: str
    action: str
    told: str
    code: str = ""
    candidates: tuple[str, ...] = ()
    not_before: datetime | None = None
    tries: int = 0
    looks: int = 0
    detail: str = ""

    @property
    def is_to_look_again(self) -> bool:
        """Whether another item of its batch goes first, and nothing else stands in its way."""
        return self.state is DeliveryState.WAITING and not (self.code or self.looks)


def done(item: Item, outcome: str) -> Result:
    action = {"created": "create", "archived": "archive"}.get(outcome, "update")
    return Result(item, DeliveryState.DONE, outcome, action, "same" if outcome == "unchanged" else "ok")


def previewed(item: Item, action: str) -> Result:
    return Result(item, DeliveryState.DONE, "skipped", action, "preview", code="mode.preview")


def skipped(item: Item, code: str) -> Result:
    return Result(item, DeliveryState.DONE, "skipped", "skip", "skipped", code=code)


def held(item: Item, code: str, candidates: tuple[str, ...] = (), detail: str = "") -> Result:
    return Result(item, DeliveryState.HELD, "", _action(item), "held", code=code, candidates=candidates, detail=detail)


def postponed(item: Item, not_before: datetime) -> Result:
    """Waits for another record that is on its way: nobody's fault and not worth a line in the log."""
    return Result(
        item,
        DeliveryState.WAITING,
        "",
        _action(item),
        "",
        not_before=not_before,
        tries=item.tries,
        looks=item.looks + 1,
    )


def again(item: Item, code: str, not_before: datetime, *, tried: bool) -> Result:
    return Result(
        item,
        DeliveryState.WAITING,
        "",
        _action(item),
        "retry" if code else "",
        code=code,
        not_before=not_before,
        tries=item.tries + int(tried),
    )


def uncertain(item: Item, code: str, not_before: datetime, *, looked: bool) -> Result:
    return Result(
        item,
        DeliveryState.UNCERTAIN,
        "",
        "look" if looked else _action(item),
        "uncertain",
        code=code,
        not_before=not_before,
        tries=item.tries,
        looks=item.looks + int(looked),
    )


def _action(item: Item) -> str:
    return "update" if item.target_key else "create"


def settle(job: Job, results: Sequence[Result], *, duration_ms: int | None = None) -> dict[str, int]:
    """Writes what became of a batch, for the items this worker still owns. Returns counts per bucket.

    Call inside the clinic's transaction. Links first: a target that turns out to be linked to another source record
    makes a held delivery, never a second link.
    """
    now = app_now()
    owned = _owned([result.item for result in results])
    mine = [result for result in results if result.item.pk in owned]
    taken = make_links(job, [result.item for result in mine if _makes_link(result)])
    mine = [held(result.item, "match.target_linked") if result.item.pk in taken else result for result in mine]
    mine = _superseded(job, mine)
    made = [result for result in mine if _makes_link(result)]
    _save_states(job, [result for result in made if result.item.undo is None], now)
    _restore_states(job, [result for result in made if result.item.undo is not None])
    remember(job, _save_deliveries(mine, now))
    moves, log, counts = Moves(), Log(job.flow_id, None, now), dict[str, int]()
    for result in mine:
        bucket = bucket_of(result.state, result.outcome)
        moves.move(result.item.run_id, _bucket_before(result.item), bucket)
        counts[bucket] = counts.get(bucket, 0) + 1
        if result.told:
            log.add(
                result.item.source_key,
                result.action,
                result.told,
                target_key=result.item.target_key,
                code=result.code,
                fields=result.item.wrote or sorted(result.item.patch),
                duration_ms=duration_ms,
                request_id=result.item.request_id,
                run_id=result.item.run_id,
            )
    moves.save()
    log.save()
    witness.settled(job, mine)
    _send_on(job, mine)
    return counts


def _send_on(job: Job, results: Sequence[Result]) -> None:
    """What is held for a parent whose link was made since it was looked for, by this very batch perhaps, waits again."""
    names = {name for result in results if result.state is DeliveryState.HELD for name in result.item.waits_for}
    if names:
        in_turn()
        wake(linked_since(job, names))


def _superseded(job: Job, results: list[Result]) -> list[Result]:
    """A delivery that would go back to waiting or to the desk gives way to a newer wish that is already there."""
    back = {result.item.source_key for result in results if result.state in OPEN}
    if not back:
        return results
    newer = set(
        Delivery.objects.filter(flow_id=job.flow_id, source_key__in=back, state__in=OPEN).values_list(
            "source_key", flat=True
        )
    )
    return [
        Result(result.item, DeliveryState.DONE, "superseded", result.action, "")
        if result.state in OPEN and result.item.source_key in newer
        else result
        for result in results
    ]


def _makes_link(result: Result) -> bool:
    return (
        result.state is DeliveryState.DONE
        and result.outcome not in {"skipped", "superseded"}
        and bool(result.item.target_key)
    )


def _bucket_before(item: Item) -> str:
    return bucket_of(item.state)


def _owned(items: Sequence[Item]) -> set[int]:
    """The deliveries whose fence is still ours, locked until the end of the transaction, in one order."""
    with database.cursor() as cursor:
        cursor.execute(
            """
            SELECT d.id FROM integrations_delivery d
            JOIN unnest(%s::bigint[], %s::bigint[]) AS mine(id, fence) ON d.id = mine.id AND d.fence = mine.fence
            WHERE d.state || '' IN ('claimed', 'sending', 'uncertain')
            ORDER BY d.id FOR UPDATE OF d
            """,  # by their numbers (|| ''): no list of all that are in flight is read for it
            [[item.pk for item in items], [item.fence for item in items]],
        )
        return {row[0] for row in cursor.fetchall()}


def make_links(job: Job, items: Sequence[Item]) -> set[int]:
    """Links for items that have a target and no link yet. Returns the items whose target belongs to another record."""
    new = [item for item in items if item.link_id is None and item.target_key]
    if not new:
        return set()
    in_turn()
    pair = (job.source.pk, job.target.pk, job.source_stream.name, job.target_stream.name)
    now = app_now()
    made = insert_rows(
        Link,
        (
            "source_id",
            "target_id",
            "source_stream",
            "target_stream",
            "source_key",
            "target_key",
            "made_by",
            "created_at",
        ),
        [(*pair, item.source_key, item.target_key, "created" if item.is_new else "matched", now) for item in new],
        on_conflict="DO NOTHING",
        returning=("id", "source_key"),
    )
    ids = {key: pk for pk, key in made}
    wake(
        name
        for item in new
        if item.source_key in ids
        for name in (
            waits_for(job.source_stream.name, item.source_key),
            waits_for(job.target_stream.name, item.target_key, is_target=True),
        )
    )
    missing = [item for item in new if item.source_key not in ids]
    there = {
        key: (pk, target)
        for pk, key, target in Link.objects.filter(
            links_of(job), source_key__in=[item.source_key for item in missing]
        ).values_list("pk", "source_key", "target_key")
    }
    taken = set()
    for item in new:
        if item.source_key in ids:
            item.link_id = ids[item.source_key]
        elif there.get(item.source_key, (0, ""))[1] == item.target_key:
            item.link_id = there[item.source_key][0]
        else:
            taken.add(item.pk)
    return taken


def _save_states(job: Job, results: Sequence[Result], now: datetime) -> None:
    rows = []
    for result in results:
        item = result.item
        flips, since = _flips(item, now)
        rows.append(
            (
                job.flow_id,
                item.link_id,
                item.source_key,
                item.wish,
                item.previous_wish,
                flips,
                since,
                item.digests,
                item.dropped,
                bool(item.draft and item.draft.gone),
                item.source_version,
                item.revision_number,
                now,
            )
        )
    insert_rows(
        LinkState,
        (
            "flow_id",
            "link_id",
            "source_key",
            "wish",
            "wish_before",
            "flips",
            "flips_since",
            "digests",
            "dropped",
            "gone",
            "source_version",
            "revision_number",
            "written_at",
        ),
        rows,
        on_conflict=(
            "(tenant_id, flow_id, source_key) DO UPDATE SET link_id = excluded.link_id, wish = excluded.wish,"
            " wish_before = excluded.wish_before, flips = excluded.flips, flips_since = excluded.flips_since,"
            " digests = excluded.digests, dropped = excluded.dropped, gone = excluded.gone,"
            " source_version = excluded.source_version, revision_number = excluded.revision_number,"
            " written_at = excluded.written_at"
        ),
    )


def _restore_states(job: Job, results: Sequence[Result]) -> None:
    """Of what takes back only the memory of its fields is kept: the wish is as it was."""
    if not results:
        return
    items = [(result.item, result.item.undo) for result in results]
    with database.cursor() as cursor:
        cursor.execute(
            """
            UPDATE integrations_linkstate s SET digests = mine.digests, gone = mine.gone
            FROM unnest(%s::text[], %s::jsonb[], %s::boolean[]) AS mine(key, digests, gone)
            WHERE s.tenant_id = %s AND s.flow_id = %s AND s.source_key = mine.key
            """,
            [
                [item.source_key for item, _ in items],
                [json.dumps(item.digests) for item, _ in items],
                [bool(undo and undo["was_gone"]) for _, undo in items],
                job.tenant_id,
                job.flow_id,
            ],
        )


def _flips(item: Item, now: datetime) -> tuple[int, datetime | None]:
    """Counts wishes that return to the one before the last within an hour: two systems pushing to and fro."""
    if item.wish_before != item.wish or item.previous_wish == item.wish:
        return 0, None
    if item.flips_since and now - item.flips_since < FLIP_WINDOW:
        return item.flips + 1, item.flips_since
    return 1, now


def _save_deliveries(results: Sequence[Result], now: datetime) -> dict[str, str]:
    """One statement for the whole batch. A finished delivery loses its draft. Returns the merged records that finished
    ones were to answer for, with the records they were merged into."""
    with database.cursor() as cursor:
        cursor.execute(
            """
            UPDATE integrations_delivery d
            SET state = new.state, outcome = new.outcome, code = new.code, codes = new.codes, notes = new.notes,
                plan = new.plan, candidates = ARRAY(SELECT jsonb_array_elements_text(new.candidates)),
                waits_for = ARRAY(SELECT jsonb_array_elements_text(new.waits_for)),
                target_key = new.target_key, tries = new.tries, looks = new.looks, creates = new.creates,
                not_before = coalesce(new.not_before, d.not_before),
                crashes = CASE WHEN new.state = 'held' THEN 0 ELSE d.crashes END,
                sealed_draft = CASE WHEN new.state = 'done' THEN NULL ELSE d.sealed_draft END,
                lease_until = NULL, bulk_run_id = NULL, bulk_line = NULL, sealed_target = NULL,
                held_at = CASE WHEN new.state = 'held' THEN %(now)s ELSE NULL END,
                done_at = CASE WHEN new.state = 'done' THEN %(now)s ELSE NULL END
            FROM unnest(%(ids)s::bigint[], %(states)s::text[], %(outcomes)s::text[], %(codes)s::text[],
                        %(all_codes)s::jsonb[], %(notes)s::jsonb[], %(plans)s::jsonb[], %(candidates)s::jsonb[],
                        %(waits_for)s::jsonb[], %(keys)s::text[], %(tries)s::int[], %(looks)s::int[], %(creates)s::int[], %(not_before)s::timestamptz[])
                 AS new(id, state, outcome, code, codes, notes, plan, candidates, waits_for, target_key, tries, looks, creates, not_before)
            WHERE d.id = new.id
            RETURNING d.state, d.source_key, d.answers_for
            """,
            {
                "now": now,
                "ids": [result.item.pk for result in results],
                "states": [result.state.value for result in results],
                "outcomes": [result.outcome for result in results],
                "codes": [result.code for result in results],
                "all_codes": [
                    json.dumps([{"code": result.code, "field": result.detail}] if result.code else [])
                    for result in results
                ],
                "notes": [
                    json.dumps([{"code": note.code, "field": note.field} for note in result.item.notes])
                    for result in results
                ],
                "plans": [json.dumps(_plan(result)) for result in results],
                "candidates": [json.dumps(list(result.candidates)) for result in results],
                "waits_for": [
                    json.dumps(result.item.waits_for if result.state is DeliveryState.HELD else [])
                    for result in results
                ],
                "keys": [result.item.target_key for result in results],
                "tries": [result.tries for result in results],
                "looks": [result.looks for result in results],
                "creates": [result.item.creates for result in results],
                "not_before": [result.not_before for result in results],
            },
        )
        told = cursor.fetchall()
    return {gone: key for state, key, answers_for in told if state == DeliveryState.DONE for gone in answers_for}


def _plan(result: Result) -> dict[str, object]:
    """What was or would be done: an action and field names."""
    item = result.item
    if not (item.patch or item.wrote):
        return {}
    return {"action": result.action, "fields": item.wrote or sorted(item.patch)}
