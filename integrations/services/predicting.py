"""What a pass under some configuration would do with a page of records, in the order in which it would come to them.

The gate and delivery's own steps judge, as foresight has them judge one record. Of what comes of a record nothing is
written, so a page also keeps what its records would take at the target: who comes later meets it, here as there.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from integrations.connectors.base import Page
from integrations.core.errors import RecordError
from integrations.core.records import State
from integrations.core.values import Value
from integrations.flows.kind import Wish
from integrations.models import Delivery, DeliveryState, Flow, Link
from integrations.services import gate, merges, targets
from integrations.services.batch import Batch, Clients, Drained
from integrations.services.claims import Item
from integrations.services.foresight import Next, look_through, new_item, told_by
from integrations.services.gate import Known
from integrations.services.jobs import Job
from integrations.services.writing import step_of
from integrations.toolkit.http import Client
from integrations.toolkit.looking import OnlyLooking

TARGET = "target:"
WRITES = ("create", "update", "archive")


@dataclass(frozen=True, slots=True)
class Ground:
    """What the tables know of a page's records. ``held`` has codes and decisions of open deliveries, ``moved`` the keys
    under which links are known that a merge in this page moves."""

    known: Known
    pilot: frozenset[str] | None
    starts_at: datetime | None
    held: Mapping[str, tuple[str, str, dict[str, object]]]
    moved: Mapping[str, str]


def survey(job: Job, page: Page) -> Ground:
    """Call inside the clinic's transaction."""
    keys = sorted({record.key for record in page.records} | {key for key, _ in page.broken})
    known = gate.know(job.flow_id, keys)
    into = {one.key: one.merged_into for one in page.records if one.state is State.MERGED and one.merged_into}
    links = set(
        Link.objects.filter(merges.links_of(job), source_key__in=[*into, *into.values()]).values_list(
            "source_key", flat=True
        )
    )
    moved = {survivor: gone for gone, survivor in into.items() if merges.fate_of(links, gone, survivor) == "moved"}
    for survivor in moved:
        known.linked.add(survivor)
        known.wishes[survivor], known.readings[survivor] = b"", ""
    rows = Delivery.objects.filter(pk__in=[pk for pk, *_ in known.open.values()])
    held = {row.source_key: (row.code, _detail(row), row.decision) for row in rows}
    flow = Flow.objects.select_related("tenant").get(pk=job.flow_id)
    return Ground(known, gate.pilot_of(flow), gate.start_instant(flow), held, moved)


def _detail(row: Delivery) -> str:
    return str(row.codes[0].get("field", "")) if row.codes else ""


@dataclass(frozen=True, slots=True)
class Foretold:
    """What becomes of one record, what it would take at the target, and the values before and after of what would be
    written. Holds personal values: for the slice that asked."""

    next: Next
    claims: tuple[str, ...] = ()
    before: Mapping[str, Value] = field(default_factory=dict)
    after: Mapping[str, Value] = field(default_factory=dict)


class Taken:
    """What the records before would have taken. ``earlier`` tells of pages that are kept already: of so many claims,
    those that are somebody's, with the source key."""

    def __init__(self, earlier: Callable[[Collection[str]], Mapping[str, str]]) -> None:
        self._earlier = earlier
        self._here: dict[str, str] = {}

    def add(self, source_key: str, claims: Iterable[str]) -> None:
        for claim in claims:
            self._here.setdefault(claim, source_key)

    def taken(self, target_keys: Collection[str]) -> set[str]:
        return {claim.removeprefix(TARGET) for claim in self.holders([f"{TARGET}{key}" for key in target_keys])}

    def holders(self, digests: Collection[str]) -> Mapping[str, str]:
        here = {one: self._here[one] for one in digests if one in self._here}
        return {**self._earlier(digests), **here} if digests else {}


def foretell(
    job: Job, page: Page, ground: Ground, clients: Clients, taken: Taken, *, batch: int
) -> dict[str, Foretold]:
    """What a pass would do with each record of the page, were the flow configured as ``job`` is; outside of any
    transaction, ``batch`` records at a time. Raises SyncError where the target cannot be asked."""
    told: dict[str, Foretold] = {}
    fresh: list[Item] = []
    for key, error in page.broken:
        told[key] = Foretold(Next("hold", code=error.code))
    for record in {record.key: record for record in page.records}.values():
        if record.state is State.MERGED:
            told[record.key] = Foretold(Next("skip", code="record.merged"))
            continue
        wish = job.plan.wish(record)
        decided = _before_delivery(job, ground, wish)
        if decided is not None:
            told[record.key] = Foretold(decided)
        else:
            fresh.append(_item(job, ground, wish))
    size = min(batch, job.target_stream.batch)
    for start in range(0, len(fresh), size):
        told |= _deliver(job, ground, fresh[start : start + size], clients, taken)
    return told


def _before_delivery(job: Job, ground: Ground, wish: Wish) -> Next | None:
    """What intake makes of the record, None where it is delivery's to decide."""
    record, known = wish.record, ground.known
    left_out = gate.left_out(record, known, pilot=ground.pilot, starts_at=ground.starts_at)
    if left_out or (refused := gate.refusal(wish, known)):
        return Next("skip", code=left_out or refused)
    if record.key in known.flying:
        return Next("flying", "due")
    if known.newest(record.key)[1] == gate.print_of(job, wish):
        return _as_wished_before(job, ground, wish)
    if wish.problems:
        code, detail = wish.problems[0]
        return Next("hold", code=code, detail=detail)
    return None


def _as_wished_before(job: Job, ground: Ground, wish: Wish) -> Next | None:
    """What becomes of a record whose newest wish is this very one."""
    key, known = wish.record.key, ground.known
    state, _ = known.newest(key)
    if state == DeliveryState.WAITING or (wish.draft and known.is_judged_anew(key, job.revision_number)):
        return None
    if state == DeliveryState.HELD:
        code, detail, _ = ground.held.get(key, ("", "", {}))
        return Next("hold", "desk", code, detail)
    return Next("nothing")


def _item(job: Job, ground: Ground, wish: Wish) -> Item:
    """The delivery that the pass would make, or let go on as a person decided."""
    key = wish.record.key
    item = new_item(job, key)
    item.draft, item.notes = wish.draft, list(wish.notes)
    item.wish = gate.print_of(job, wish)
    _, newest = ground.known.newest(key)
    if key in ground.held and newest == item.wish:
        item.decision = ground.held[key][2]
    return item


def _deliver(job: Job, ground: Ground, items: Sequence[Item], clients: Clients, taken: Taken) -> dict[str, Foretold]:
    """One batch up to its writes; those that it sends to look again once the others are written look again."""
    told: dict[str, Foretold] = {}
    left = list(items)
    while left:
        batch = Batch(job, list(left), clients, Drained(), looks_only=True, ahead=taken)
        look_through(batch, clients.to(job.target), ground.moved)
        results = {result.item: result for result in batch.results}
        again = [item for item in left if item in results and results[item].is_to_look_again]
        nexts = {item: told_by(job, results.get(item), item) for item in left if item not in again}
        nexts |= _refused(batch, clients.to(job.target), [item for item in nexts if nexts[item].action in WRITES])
        for item, next_ in nexts.items():
            claims = _claims(batch, item, next_)
            taken.add(item.source_key, claims)
            told[item.source_key] = _foretold(job, next_, item, claims)
        left = [_anew(job, item) for item in again]
    return told


def _refused(batch: Batch, client: Client, items: Sequence[Item]) -> dict[Item, Next]:
    """What the connector would not send: the first step of each write is planned, and ends before it is sent."""
    write_many = batch.stream.write_many
    if write_many is None or not items:
        return {}
    steps = [step_of(batch, item) for item in items]
    written = {
        one.ref: one.error for one in write_many(OnlyLooking(client), steps, batch.fields, batch.job.kind.marker)
    }
    errors = {item: written.get(item.source_key) for item in items}
    return {item: Next("hold", code=error.code) for item, error in errors.items() if isinstance(error, RecordError)}


def _anew(job: Job, item: Item) -> Item:
    fresh = new_item(job, item.source_key)
    fresh.draft, fresh.wish, fresh.decision = item.draft, item.wish, item.decision
    return fresh


def _claims(batch: Batch, item: Item, next_: Next) -> tuple[str, ...]:
    """The target it would be linked to, and the natural keys it would bring there."""
    if next_.action not in {"create", "update", "nothing"}:
        return ()
    digests = targets.natural_digests(batch, item)
    if item.current is None:
        return tuple(digests.values())
    own = () if item.link_id is not None else (f"{TARGET}{item.current.key}",)
    return (*own, *(digest for name, digest in digests.items() if name in item.patch))


def _foretold(job: Job, next_: Next, item: Item, claims: tuple[str, ...]) -> Foretold:
    marker = job.kind.marker
    there = item.current.values if item.current is not None else {}
    after = {name: item.patch.get(name) for name in next_.writes if name != marker}
    return Foretold(next_, claims, {name: there.get(name) for name in after}, after)
