"""What the next pass would do with one record, told beforehand.

There is no second judgement here: the source is read as a delivery reads it, intake's gate decides whether anything is to
be delivered, and delivery's own steps go through it in a batch that only looks. Nothing is written, here or at a vendor,
and what was read is kept nowhere.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from integrations.core import errors
from integrations.core.diffing import Fate
from integrations.core.records import Note, Record, State
from integrations.core.values import Value
from integrations.flows.kind import Wish
from integrations.models import IN_FLIGHT, OPEN, Delivery, DeliveryState, Flow, Link, LinkState, Mode
from integrations.services import claims, connections, gate, intake, merges, parents, settlement, targets, wishes
from integrations.services.batch import Batch, Clients, Drained
from integrations.services.claims import Item
from integrations.services.gate import Known
from integrations.services.jobs import Job, load_job
from integrations.services.merges import links_of
from integrations.services.reading import read_each
from integrations.services.settlement import Result
from integrations.toolkit.http import Client
from tenants.walls import app_now, tenant_tx

PATIENCE_S = 10.0
MERGES_MAX = 10
STILL_OUT = ("mode.off", "mode.preview")  # delivery ends an item with these after it has decided what to write


@dataclass(frozen=True, slots=True)
class Next:
    """What would become of the record, and when.

    ``action``: create, update, archive, nothing, hold, wait (for a parent), skip, gone (no longer at the source), flying
    (on its way), looking (whether its last write arrived), unasked (a vendor did not answer, so nobody knows).
    ``when``: *pass* (the next pass reads it), *due* (its delivery is in the outbox), *desk* (it waits for a person, and
    the action is what trying again would do), *later* (no pass reads it before it changes or everything is read again).
    ``writes`` are target fields, ``waits_for`` the parents that have no link. ``is_preview``: shown, not written.
    ``blocked`` is the code of what stops the flow or a connection: until that is mended, nothing of this happens.
    """

    action: str
    when: str = "pass"
    code: str = ""
    detail: str = ""
    writes: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    is_preview: bool = False
    blocked: str = ""


@dataclass(slots=True)
class Foreseen:
    """Both records as they are now and what would become of them.

    ``key`` is the record's; ``merged`` are the keys that were merged into it and ``link_fate`` what that does to their
    link. ``wish`` is what intake makes of the record, ``wanted`` what delivery holds against the target, ``fates`` its
    judgement on each field, ``dropped`` what it leaves out. ``source_code`` and ``target_code`` say why a side could not
    be read. ``stands`` is the open delivery, ``flying`` the one on its way.
    """

    job: Job
    flow: Flow
    key: str
    merged: tuple[str, ...] = ()
    link_fate: str = ""
    record: Record | None = None
    source_code: str = ""
    wish: Wish | None = None
    link: Link | None = None
    state: LinkState | None = None
    stands: Delivery | None = None
    flying: Delivery | None = None
    current: Record | None = None
    is_target_gone: bool = False
    target_code: str = ""
    wanted: Mapping[str, Value] = field(default_factory=dict)
    fates: Mapping[str, Fate] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    notes: tuple[Note, ...] = ()
    next: Next = field(default_factory=lambda: Next("unasked"))

    @property
    def is_as_delivered(self) -> bool:
        """Whether the record as it is now makes the very wish that was delivered last: its digest is the one we kept."""
        if self.wish is None or self.wish.draft is None or self.state is None:
            return False
        return bytes(self.state.wish) == gate.print_of(self.job, self.wish)


@dataclass(slots=True)
class _Reading:
    """The record at the end of its merges, and the records that led there."""

    key: str
    record: Record | None = None
    merged: tuple[Record, ...] = ()
    broken: Wish | None = None
    code: str = ""


@dataclass(slots=True)
class _Ground:
    """What the tables know that decides about the record."""

    known: Known
    pilot: frozenset[str] | None
    starts_at: datetime | None
    since: datetime | None
    state_key: str  # under which the link's state stands before the merge is followed


def foresee(
    tenant_id: int, flow_id: int, key: str, *, opener: Callable[..., Client] = connections.open_client
) -> Foreseen:
    """Foresees the record of this key in this flow; outside of any transaction. Raises Flow.DoesNotExist."""
    with tenant_tx(tenant_id, reason="foresee"):
        job = load_job(flow_id)
    clients = Clients(tenant_id, partial(opener, interactive=True, patience_s=PATIENCE_S))
    reading = _read(job, key, clients)
    with tenant_tx(tenant_id, reason="foresee"):
        told, ground = _from_tables(job, reading)
    told.next = _next(told, ground, reading, clients)
    if told.current is None:
        _read_target(told, clients)
    return told


def _read(job: Job, key: str, clients: Clients) -> _Reading:
    reading = _Reading(key)
    try:
        client = clients.to(job.source)
        while len(reading.merged) < MERGES_MAX:
            records, unread = read_each(job.source_stream, client, [reading.key], job.plan.source_fields)
            if error := unread.get(reading.key):
                nameless = Record(key=reading.key, version="", values={})
                reading.broken = Wish(nameless, problems=((error.code, str(error.facts.get("path", ""))),))
            record = records.get(reading.key)
            if record is None or record.state is not State.MERGED or not record.merged_into:
                reading.record = record
                break
            reading.merged = (*reading.merged, record)
            reading.key = record.merged_into
    except errors.SyncError as error:
        reading.code = error.code
    return reading


def _from_tables(job: Job, reading: _Reading) -> tuple[Foreseen, _Ground]:
    flow = Flow.objects.select_related("tenant", "source", "target").get(pk=job.flow_id)
    merged = tuple(record.key for record in reading.merged)
    links = {one.source_key: one for one in Link.objects.filter(links_of(job), source_key__in=[reading.key, *merged])}
    if not links:
        links = {
            one.source_key: one for one in Link.objects.filter(links_of(job), source_aliases__contains=[reading.key])
        }
        if reading.record is None:  # known by another number since a merge
            reading.key = next(iter(links), reading.key)
    key, known = reading.key, gate.know(job.flow_id, sorted({reading.key, *merged}))
    moved = next((gone for gone in merged if merges.fate_of(links, gone, key) == "moved"), "")
    if moved:  # the pass follows the merge first, and then sends the record whatever the gate remembers
        known.linked.add(key)
        known.wishes[key], known.readings[key] = b"", ""
    rows = {
        row.state: row
        for row in Delivery.objects.filter(flow_id=flow.pk, source_key=key, state__in=(*OPEN, *IN_FLIGHT))
    }
    told = Foreseen(
        job=job,
        flow=flow,
        key=key,
        merged=merged,
        link_fate=merges.fate_of(links, merged[0], key) if merged else "",
        record=reading.record,
        source_code=reading.code,
        link=links.get(key) or links.get(moved) or next(iter(links.values()), None),
        state=LinkState.objects.filter(flow_id=flow.pk, source_key=moved or key).first(),
        stands=next((rows[state] for state in OPEN if state in rows), None),
        flying=next((rows[state] for state in IN_FLIGHT if state in rows), None),
    )
    now = app_now()
    return told, _Ground(
        known, gate.pilot_of(flow), gate.start_instant(flow), intake.next_since(flow, now), moved or key
    )


# -- what intake would do


def _next(told: Foreseen, ground: _Ground, reading: _Reading, clients: Clients) -> Next:
    """Intake's part, then delivery's. Whatever comes of it, both sides are looked at as far as they can be."""
    blocked = _blocked(told.flow)
    if reading.record is None and reading.broken is None:
        absent = Next("unasked", code=reading.code) if reading.code else Next("gone", code="record.gone")
        return replace(_standing(told, ground, clients) or absent, blocked=blocked)
    wish = told.wish = reading.broken or told.job.plan.wish(_record_of(reading))
    left_out = _left_out(ground, reading)
    refused = gate.refusal(wish, ground.known)
    _, newest = ground.known.newest(told.key)
    is_known = newest == gate.print_of(told.job, wish)
    is_known &= wish.draft is None or not ground.known.is_judged_anew(told.key, told.job.revision_number)
    is_read = any(_is_read(record, ground.since) for record in (*reading.merged, wish.record))
    stays = told.stands is not None and (not is_read or bool(left_out) or (is_known and not refused))
    if stays or told.flying is not None:
        standing = _standing(told, ground, clients)
        if standing is not None:
            return replace(standing, blocked=blocked)
    fresh = (
        _delivered(told, ground, clients, new_item(told.job, told.key), told.job) if wish.draft is not None else None
    )
    if left_out or refused:
        return Next("skip", code=left_out or refused, blocked=blocked)
    if is_known:
        return Next("nothing", blocked=blocked)
    is_due = told.stands is not None and told.stands.state == DeliveryState.WAITING
    when = "due" if is_due else "pass" if is_read else "later"
    if wish.problems:
        code, detail = wish.problems[0]
        return Next("hold", when, code, detail, blocked=blocked)
    return replace(fresh or Next("unasked", code=told.target_code), when=when, blocked=blocked)


def _record_of(reading: _Reading) -> Record:
    if reading.record is None:
        raise ValueError("there is no record")
    return reading.record


def _left_out(ground: _Ground, reading: _Reading) -> str:
    """Why the pass passes it by, before anything is made of it."""
    if reading.record is None:
        return ""
    if reading.record.state is State.MERGED:
        return "record.merged"
    return gate.left_out(reading.record, ground.known, pilot=ground.pilot, starts_at=ground.starts_at)


def _is_read(record: Record, since: datetime | None) -> bool:
    return since is None or record.changed_at is None or record.changed_at >= since


def _blocked(flow: Flow) -> str:
    """Why nothing of this flow moves at present: the code of what stops it, or ``""``."""
    if flow.mode == Mode.OFF:
        return "mode.off"
    stopped = (end.state_code or "connection.paused" for end in (flow.source, flow.target) if not end.may_call)
    return flow.stopped_code or next(stopped, "")


# -- what delivery would do


def _flying(delivery: Delivery) -> Next:
    action = "looking" if delivery.state == DeliveryState.UNCERTAIN else "flying"
    return Next(action, "due", delivery.code)


def _standing(told: Foreseen, ground: _Ground, clients: Clients) -> Next | None:
    """What becomes of the delivery that waits already, by the revision it was made with; None where none does."""
    if told.flying is not None:
        return _flying(told.flying)
    if told.stands is None:
        return None
    with tenant_tx(told.job.tenant_id, reason="foresee"):
        job = load_job(told.job.flow_id, revision_number=told.stands.revision_number)
        item = claims.look(told.stands.pk)
    if item is None:
        return None
    is_held = told.stands.state == DeliveryState.HELD
    decided = _delivered(told, ground, clients, item, job) or Next("unasked", code=told.target_code)
    return replace(decided, when="desk" if is_held else "due")


def new_item(job: Job, key: str) -> Item:
    """A delivery as intake would put it into the outbox, its wish still to be made."""
    return Item(
        pk=0,
        flow_id=job.flow_id,
        run_id=0,
        source_key=key,
        source_version="",
        revision_number=job.revision_number,
        wish=b"",
        sealed_draft=None,
        state=DeliveryState.CLAIMED,
        fence=0,
        tries=0,
        crashes=0,
        looks=0,
        creates=0,
        sent_at=None,
        lease_until=None,
        decision={},
    )


def rehearse(batch: Batch, item: Item, record: Record | None, *, state_key: str = "", unreadable: str = "") -> Next:
    """Takes an item through the steps of a delivery up to its write, in a batch that only looks.

    A wish that is still to be made is made of ``record``; ``unreadable`` is the code of one that is there and cannot be
    read. ``state_key`` is the key under which its link is known, where a merge was not followed yet. Raises SyncError
    where the target cannot be asked.
    """
    client = batch.clients.to(batch.job.target)
    if item.pk and batch.job.mode != Mode.OFF:
        wishes.refuse_poison_and_mode(batch)
    wishes.open_drafts(batch)
    if item.draft is None and unreadable:
        batch.finish(item, settlement.held(item, unreadable))
    elif item.draft is None and item in batch.items:
        wishes.refill_one(batch, item, record)
    if item in batch.items:
        look_through(batch, client, {item.source_key: state_key} if state_key else {})
    with batch.tx():
        lost = parents.lost(batch.job, item.draft.fields) if item.draft else ()
    return told_by(batch.job, batch.results[-1] if batch.results else None, item, lost)


def look_through(batch: Batch, client: Client, state_keys: Mapping[str, str]) -> None:
    """The steps of a delivery from its wish up to its write, in a batch that only looks; ``state_keys`` are the keys
    under which links are known, where a merge was not followed yet."""
    keys = {item: item.source_key for item in batch.items}
    for item, key in keys.items():
        item.source_key = state_keys.get(key, key)
    wishes.load_links(batch)
    for item, key in keys.items():
        item.source_key = key
    parents.resolve(batch)
    left = targets.read_linked(batch, client, list(batch.items))
    targets.decide(batch, client, targets.match(batch, client, left))


def _delivered(told: Foreseen, ground: _Ground, clients: Clients, item: Item, job: Job) -> Next | None:
    """Delivery's decision about the item, None where the target could not be asked. What was seen is kept in ``told``."""
    if item.sealed_draft is None and told.source_code:  # its wish would be made anew, of what the source says
        return Next("unasked", code=told.source_code)
    batch = Batch(job, [item], clients, Drained(), looks_only=True)
    unreadable = told.wish.problems[0][0] if told.wish and told.record is None else ""
    try:
        decided = rehearse(batch, item, told.record, state_key=ground.state_key, unreadable=unreadable)
    except errors.SyncError as error:
        told.target_code = error.code
        return None
    told.current, told.wanted = item.current, item.wanted
    told.dropped, told.notes = frozenset(item.dropped), tuple(item.notes)
    told.is_target_gone = decided.code == "link.target_gone"
    if item.draft is not None and item.current is not None:
        told.fates = targets.fates_of(batch, item, item.current)
    return decided


def _in_order(job: Job, names: Iterable[str]) -> tuple[str, ...]:
    """Fields in the order of the rules, which is how people read them."""
    order = {rule.target: place for place, rule in enumerate(job.plan.rules)}
    return tuple(sorted(names, key=lambda name: (order.get(name, len(order)), name)))


def told_by(job: Job, result: Result | None, item: Item, lost: Sequence[str] = ()) -> Next:
    """What a batch that looked at the item came to; ``lost`` are the parents it has no links of."""
    if result is None or result.code in STILL_OUT:
        is_gone = bool(item.draft and item.draft.gone)
        action = "create" if item.current is None else "archive" if is_gone else "update"
        is_preview = result is not None and result.code == "mode.preview"
        return Next(action, writes=_in_order(job, item.patch), is_preview=is_preview)
    if result.state is DeliveryState.HELD:
        waits_for = tuple(lost) if item.waits_for else ()
        return Next("hold", code=result.code, detail=result.detail, candidates=result.candidates, waits_for=waits_for)
    if result.state is DeliveryState.WAITING:
        return Next("wait", code=result.code, waits_for=tuple(lost))
    if result.state is DeliveryState.UNCERTAIN:
        return Next("looking", code=result.code)
    return Next("skip", code=result.code) if result.outcome == "skipped" else Next("nothing")


def _read_target(told: Foreseen, clients: Clients) -> None:
    """The linked record as it is now, where no decision has looked at it."""
    if told.link is None or told.target_code or told.is_target_gone:
        return
    key = told.link.target_key
    try:
        client = clients.to(told.job.target)
        records, unread = read_each(told.job.target_stream, client, [key], told.job.plan.target_fields)
    except errors.SyncError as error:
        told.target_code = error.code
        return
    told.current = records.get(key)
    told.target_code = unread[key].code if key in unread else ""
    told.is_target_gone = told.current is None and not told.target_code
