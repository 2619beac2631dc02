"""Delivery: take due wishes, look at the target, write what differs, settle.

Touches only the target, except that a wish which could not be mapped is read again from its source. The vendor is
called with no transaction open; between calls, short transactions say what is about to happen and what did.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from django.conf import settings
from django.db import IntegrityError, OperationalError

from integrations.connectors.base import Answer, Wanted, WriteItem, Written
from integrations.core import errors
from integrations.core.diffing import FieldPolicy, Patch, diff, new, ours
from integrations.core.matching import Decision, Found, Judge
from integrations.core.records import Record, State, Write
from integrations.core.values import Value
from integrations.models import Connection, DeliveryState, Link, LinkState, Mode
from integrations.services import connections, settlement
from integrations.services.claims import Item, claim, mark_sending, put_off_blocked
from integrations.services.jobs import Job, load_job
from integrations.services.merges import links_of
from integrations.services.reading import read_each
from integrations.services.settlement import Result
from integrations.toolkit.http import Client
from tenants.walls import app_now, tenant_tx

STEPS_MAX = 6
SETTLE_TRIES = 3
CREATES_MAX = 2


@dataclass(slots=True)
class Drained:
    """What a drain came to: counts per bucket, whether more is due, and when the connection may be called again."""

    counts: dict[str, int] = field(default_factory=dict)
    more: bool = False
    retry_at: datetime | None = None
    code: str = ""

    def add(self, counts: dict[str, int]) -> None:
        for bucket, count in counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count


def drain(
    tenant_id: int,
    connection_id: int,
    *,
    seconds: float,
    opener: Callable[..., Client] = connections.open_client,
) -> Drained:
    """Delivers what is due to one connection for about ``seconds``. Outages end it early and count against no record."""
    drained = Drained()
    ends = time.monotonic() + seconds
    clients = _Clients(tenant_id, opener)
    while True:
        with tenant_tx(tenant_id, reason="claim"):
            target = Connection.objects.get(pk=connection_id)
            if not target.may_call or (target.open_until and target.open_until > app_now()):
                drained.retry_at, drained.code = target.open_until, target.state_code
                return drained
            limit = 1 if target.failures else settings.SUTURE_CLAIM_BATCH
            items = claim(connection_id, limit=limit)
            if not items:
                put_off_blocked(connection_id)
        if not items:
            return drained
        for job, batch in _by_flow(tenant_id, items):
            failure = Batch(job, batch, clients, drained).deliver()
            if failure is not None:
                drained.code = failure.code
        if drained.code:
            return drained
        if time.monotonic() >= ends:
            drained.more = True
            return drained


class _Clients:
    """Opens each connection's client once per drain."""

    def __init__(self, tenant_id: int, opener: Callable[..., Client]) -> None:
        self._tenant_id, self._opener = tenant_id, opener
        self._open: dict[int, Client] = {}

    def to(self, connection: Connection) -> Client:
        if connection.pk not in self._open:
            self._open[connection.pk] = self._opener(self._tenant_id, connection)
        return self._open[connection.pk]


def _by_flow(tenant_id: int, items: Sequence[Item]) -> Iterable[tuple[Job, list[Item]]]:
    """The items by flow and revision, each with the job that made them."""
    ordered = sorted(items, key=lambda item: (item.flow_id, item.revision_number))
    for (flow_id, revision), group in groupby(ordered, key=lambda item: (item.flow_id, item.revision_number)):
        with tenant_tx(tenant_id, reason="deliver"):
            job = load_job(flow_id, revision_number=revision)
        yield job, list(group)


class Batch:
    """The items of one flow on their way to its target.

    ``deliver`` reads like the recipe; each step takes the items it can finish out of ``self.items`` into
    ``self.results`` and leaves the rest to the next.
    """

    def __init__(self, job: Job, items: list[Item], clients: _Clients, drained: Drained) -> None:
        self.job, self.items, self.clients, self.drained = job, items, clients, drained
        self.results: list[Result] = []
        self.stream = job.target_stream
        self.fields = job.plan.target_fields
        self.started = time.monotonic()

    def deliver(self) -> errors.SyncError | None:
        """Delivers; returns the error that stopped the whole batch, if one did."""
        try:
            client = self.clients.to(self.job.target)
            self._refuse_poison_and_off()
            self._refill()
            self._open_drafts()
            self._load_links()
            self._prepare(client)
            for chunk in _chunks(self.items, self.stream.batch):
                self._deliver_chunk(client, chunk)
            self._settle()
        except errors.SyncError as error:
            return self._stop(error)
        with self._tx():
            connections.record_success(self.job.target.pk, app_now())
        return None

    def _deliver_chunk(self, client: Client, chunk: list[Item]) -> None:
        items = self._read_linked(client, chunk)
        items = self._match(client, items)
        items = self._decide(client, items)
        if items:
            self._write(client, items)

    # -- before the target is asked ------------------------------------------------------------------------------

    def _refuse_poison_and_off(self) -> None:
        """A delivery that killed its worker again and again is held; nothing is delivered for a flow that is off."""
        keep = []
        for item in self.items:
            if item.crashes >= settings.SUTURE_CRASH_TRIES:
                self.results.append(settlement.held(item, "internal.poison"))
            elif self.job.mode == Mode.OFF:
                self.results.append(settlement.again(item, "mode.off", self._later(3600), tried=False))
            else:
                keep.append(item)
        self.items = keep

    def _refill(self) -> None:
        """Wishes that could not be made are made anew from the source record."""
        empty = [item for item in self.items if item.sealed_draft is None]
        if not empty:
            return
        try:
            records, unread = read_each(
                self.job.source_stream,
                self.clients.to(self.job.source),
                [item.source_key for item in empty],
                self.job.plan.source_fields,
            )
        except errors.SyncError as error:
            with self._tx():
                due = connections.record_failure(self.job.source.pk, error) or self._later(
                    settings.SUTURE_PAUSED_RETRY_S
                )
            for item in empty:
                self._finish(item, settlement.again(item, error.code, due, tried=False))
            return
        for item in empty:
            if item.source_key in unread:
                self._finish(item, settlement.held(item, unread[item.source_key].code))
            else:
                self._refill_one(item, records.get(item.source_key))

    def _refill_one(self, item: Item, record: Record | None) -> None:
        if record is None or record.state is State.MERGED:
            self._finish(item, settlement.skipped(item, "record.gone"))
            return
        wish = self.job.plan.wish(record)
        item.notes, item.source_version = list(wish.notes), record.version
        if wish.skip:
            self._finish(item, settlement.skipped(item, wish.skip))
        elif wish.draft is None:
            self._finish(item, settlement.held(item, wish.problems[0][0]))
        else:
            item.draft, item.wish = wish.draft, self.job.fingerprint(wish.draft)

    def _open_drafts(self) -> None:
        for item in self.items:
            if item.draft is None:
                item.draft = self.job.unseal(item.sealed_draft or b"", item.source_key)
            item.wanted = {name: value for name, value in item.draft.fields.items() if name not in item.drops}

    def _load_links(self) -> None:
        keys = [item.source_key for item in self.items]
        with self._tx():
            links = {
                key: (pk, target)
                for pk, key, target in Link.objects.filter(links_of(self.job), source_key__in=keys).values_list(
                    "pk", "source_key", "target_key"
                )
            }
            states = {
                state.source_key: state
                for state in LinkState.objects.filter(flow_id=self.job.flow_id, source_key__in=keys)
            }
        for item in list(self.items):
            item.link_id, item.target_key = links.get(item.source_key, (None, ""))
            if item.chosen and item.link_id is None:
                item.target_key = item.chosen
            if state := states.get(item.source_key):
                item.digests, item.dropped = dict(state.digests), dict(state.dropped)
                item.previous_wish = bytes(state.wish)
                item.wish_before = bytes(state.wish_before) if state.wish_before is not None else None
                item.flips, item.flips_since = state.flips, state.flips_since
                self._leave_out_dropped(item)
                if item.flips >= settings.SUTURE_FLIPS_PER_HOUR and item.wish_before == item.wish and not item.decision:
                    self._finish(item, settlement.held(item, "guard.flapping"))

    def _leave_out_dropped(self, item: Item) -> None:
        """Fields left out before stay out until the source's value changes."""
        for name, digest in list(item.dropped.items()):
            if name in item.wanted and self.job.digest(name, item.wanted[name]) == digest:
                del item.wanted[name]
            else:
                del item.dropped[name]

    def _prepare(self, client: Client) -> None:
        """The marker's definition exists at the target before the first write; a preview writes not even that."""
        marker = self.job.kind.marker
        is_done = marker in self.job.target.prepared or self.job.mode == Mode.PREVIEW
        if not self.items or self.stream.prepare is None or is_done:
            return
        self.stream.prepare(client, marker)
        with self._tx():
            target = Connection.objects.select_for_update().get(pk=self.job.target.pk)
            target.prepared = sorted({*target.prepared, marker})
            target.save(update_fields=["prepared"])
        self.job.target.prepared = target.prepared

    # -- which target, and what differs --------------------------------------------------------------------------

    def _read_linked(self, client: Client, items: list[Item]) -> list[Item]:
        """Linked and chosen targets as they are now. One that is gone is looked up by marker, else held."""
        linked = [item for item in items if item.target_key]
        if not linked:
            return items
        records, unread = read_each(self.stream, client, [item.target_key for item in linked], self.fields)
        lost = []
        for item in linked:
            item.current = records.get(item.target_key)
            if item.target_key in unread:
                self._finish(item, settlement.held(item, unread[item.target_key].code))
            elif item.current is None:
                lost.append(item)
        items = [item for item in items if item in self.items]
        if not lost:
            return items
        answers = self._find(client, lost)
        for item in lost:
            marked = answers[item.source_key].by_marker
            if len(marked) == 1 and item.link_id is not None:
                self._follow_target(item, marked[0])
            else:
                self._finish(item, settlement.held(item, "link.target_gone"))
        return [item for item in items if item in self.items]

    def _follow_target(self, item: Item, record: Record) -> None:
        """The target was merged into another record that carries our marker: the link follows."""
        with self._tx():
            link = Link.objects.get(pk=item.link_id)
            link.target_aliases = [*link.target_aliases, link.target_key]
            link.target_key = record.key
            link.save(update_fields=["target_key", "target_aliases"])
        item.target_key, item.current = record.key, record

    def _match(self, client: Client, items: list[Item]) -> list[Item]:
        """Unlinked items find their target: marker, then confirmed natural keys. Uncertain ones are resolved here."""
        unlinked = [item for item in items if item.current is None and not (item.draft and item.draft.gone)]
        for item in items:
            if item.current is None and item.draft and item.draft.gone:
                self._finish(item, settlement.skipped(item, "record.archived_unlinked"))
        if unlinked:
            answers = self._find(client, unlinked)
            judge = self._judge(answers.values())
            for item in unlinked:
                self._take(item, judge.choose(item.wanted, _found(answers[item.source_key])))
        items = [item for item in items if item in self.items]
        for item in items:
            if item.was_uncertain and item.current is None:
                self._unproven(item)
        items = [item for item in items if item in self.items]
        return self._one_per_key(items)

    def _find(self, client: Client, items: Sequence[Item]) -> dict[str, Answer]:
        if self.stream.find is None:
            return {item.source_key: Answer() for item in items}
        marked = self.job.kind.marker in self.job.target.prepared  # else nobody can carry it yet
        wanted = [
            Wanted(item.source_key, item.source_key if marked else "", self._natural_keys(item)) for item in items
        ]
        answers = self.stream.find(client, wanted, self.fields, self.job.kind.marker)
        return {item.source_key: answers.get(item.source_key, Answer()) for item in items}

    def _natural_keys(self, item: Item) -> dict[str, str]:
        kind_of = self.job.kind_of
        keys = {
            key.field: kind_of(key.field).canon(item.wanted.get(key.field)) for key in self.job.kind.matching.natural
        }
        return {name: text for name, text in keys.items() if text}

    def _judge(self, answers: Iterable[Answer]) -> Judge:
        """The judge, knowing which of the candidates are already somebody's."""
        keys = {record.key for answer in answers for records in answer.by_key.values() for record in records}
        with self._tx():
            linked = set(
                Link.objects.filter(
                    target_id=self.job.target.pk, target_stream=self.stream.name, target_key__in=keys
                ).values_list("target_key", flat=True)
            )
        return Judge(
            self.job.kind.matching, self.job.plan.context.settings, linked.__contains__, self.job.target_stream.kind_of
        )

    def _take(self, item: Item, decision: Decision) -> None:
        """Applies a decision: a hold, or a target and the fields left out."""
        if decision.code:
            self._finish(item, settlement.held(item, decision.code, decision.candidates))
            return
        for name in decision.drop:
            item.dropped[name] = self.job.digest(name, item.wanted.pop(name))
        item.notes.extend(decision.notes)
        if decision.target is not None and item.current is None:
            item.current, item.target_key = decision.target, decision.target.key
        if decision.drop:
            item.wanted = self.job.kind.finish(item.wanted, self.job.plan.context)

    def _unproven(self, item: Item) -> None:
        """An uncertain create that no look-up shows: wait and look again, then send once more, then ask a person."""
        sent = item.sent_at or app_now()
        settled = sent + self.stream.settle
        if item.looks + 1 < settings.SUTURE_SETTLE_LOOKS or app_now() < settled:
            self._finish(
                item, settlement.uncertain(item, "delivery.uncertain", max(settled, self._later(1)), looked=True)
            )
        elif item.creates >= CREATES_MAX:
            self._finish(item, settlement.held(item, "delivery.unproven"))

    def _one_per_key(self, items: list[Item]) -> list[Item]:
        """Of several creates that share a natural key in one batch, the first goes; the rest look again after it."""
        seen: set[tuple[str, str]] = set()
        keep = []
        for item in items:
            keys = set() if item.current else set(self._natural_keys(item).items())
            if keys & seen:
                self._finish(item, settlement.again(item, "", app_now(), tried=False))
            else:
                seen |= keys
                keep.append(item)
        return keep

    def _decide(self, client: Client, items: list[Item]) -> list[Item]:
        """What must be written, per item; preview and equal targets end here."""
        for item in items:
            item.is_new = item.current is None
            item.patch = self._patch_of(item)
        self._check_new_keys(client, [item for item in items if item in self.items])
        for item in items:
            if item not in self.items:
                continue
            if not item.patch and not item.is_new:
                self._remember(item)
                self._finish(item, settlement.done(item, "unchanged"))
            elif self.job.mode == Mode.PREVIEW:
                self._finish(item, settlement.previewed(item, "create" if item.is_new else "update"))
        return [item for item in items if item in self.items]

    def _check_new_keys(self, client: Client, items: list[Item]) -> None:
        """A natural key about to be written on a linked record must not be somebody else's."""
        natural = {key.field for key in self.job.kind.matching.natural}
        changed = [item for item in items if item.current is not None and natural & item.patch.keys()]
        if not changed:
            return
        answers = self._find(client, changed)
        judge = self._judge(answers.values())
        for item in changed:
            self._take(item, judge.choose(item.wanted, _found(answers[item.source_key]), linked=item.current))
            if item in self.items:
                item.patch = self._patch_of(item)

    def _patch_of(self, item: Item) -> dict[str, Value]:
        if item.current is None:
            return dict(new(item.wanted, self.job.kind_of).fields)
        patch = self._diff(item, item.current)
        item.notes.extend(note for note in patch.notes if note not in item.notes)
        if patch.conflicts:
            item.patch = dict.fromkeys(patch.conflicts)
            self._finish(item, settlement.held(item, "field.conflict"))
        return dict(patch.fields)

    def _diff(self, item: Item, current: Record) -> Patch:
        policies = self.job.plan.policies
        if item.is_new:
            policies = {name: FieldPolicy(Write.ALWAYS, policy.conflict) for name, policy in policies.items()}
        return diff(
            item.wanted,
            current.values,
            kind_of=self.job.kind_of,
            digest=self.job.digest,
            written=item.digests,
            policies=policies,
        )

    # -- writing -------------------------------------------------------------------------------------------------

    def _write(self, client: Client, items: list[Item]) -> None:
        """Writes step by step until each target is as wished. Every step is preceded by a committed intent."""
        write_many = self.stream.write_many
        if write_many is None:
            raise errors.VendorChanged("flow.target_unwritable", stream=self.stream.name)
        for _ in range(STEPS_MAX):
            with self._tx():
                items = mark_sending(items)
            if not items:
                return
            steps = [WriteItem(item.source_key, item.patch, item.wanted, item.current) for item in items]
            written = {outcome.ref: outcome for outcome in self._send(write_many, client, steps)}
            more = []
            for item in items:
                if self._took(item, written.get(item.source_key)):
                    more.append(item)
            if more:
                with self._tx():
                    self._hold_taken(more, settlement.make_links(self.job, more))
            items = [item for item in more if item in self.items]
            if not items:
                return
        for item in items:
            self._finish(item, settlement.done(item, self._outcome(item)))

    def _send(
        self, write_many: Callable[..., Sequence[Written]], client: Client, steps: list[WriteItem]
    ) -> Sequence[Written]:
        """One call. An error that says nothing ran stops the batch; a lost answer is every item's own uncertainty.

        Outages are the connection's trouble, never the records': they open its breaker and count as nobody's try.
        """
        try:
            written = write_many(client, steps, self.fields, self.job.kind.marker)
            refused = _shared_error(written, errors.Unavailable)
            if refused is not None:
                raise refused
        except errors.Uncertain as error:
            written = [Written(step.ref, error=error) for step in steps]
        except (errors.Throttled, errors.Unavailable, errors.AccountError):
            self._unsend()
            raise
        lost = _shared_error(written, errors.Uncertain)
        if lost is not None:
            self.drained.code = lost.code
            with self._tx():
                self.drained.retry_at = connections.record_failure(self.job.target.pk, lost)
        return written

    def _unsend(self) -> None:
        """A call that ran nothing: creates that were announced for it are taken back."""
        for item in self.items:
            if item.state == DeliveryState.SENDING and item.current is None:
                item.creates -= 1
                item.unsent = True

    def _hold_taken(self, items: Sequence[Item], taken: set[int]) -> None:
        for item in items:
            if item.pk in taken:
                self._finish(item, settlement.held(item, "match.target_linked"))

    def _took(self, item: Item, written: Written | None) -> bool:
        """Takes one outcome in. True while the target still differs and another step is due."""
        if written is None:
            self._finish(item, self._lost(item, errors.Uncertain("delivery.no_outcome")))
            return False
        item.request_id = written.request_id or item.request_id
        if written.error is not None:
            self._finish(item, self._failed(item, written.error))
            return False
        if written.record is None:
            self._finish(item, self._lost(item, errors.Uncertain("delivery.no_record")))
            return False
        created = item.current is None
        stuck = set() if created else set(item.patch)
        item.wrote.extend(name for name in item.patch if name not in item.wrote)
        item.current, item.target_key = written.record, written.record.key
        item.patch = dict(self._diff(item, written.record).fields)
        self._remember(item)
        if item.patch and set(item.patch) != stuck:
            return True
        self._finish(item, settlement.done(item, self._outcome(item)))
        return False

    def _outcome(self, item: Item) -> str:
        if item.is_new:
            return "created"
        return "archived" if item.draft and item.draft.gone else "updated"

    def _remember(self, item: Item) -> None:
        """Digests of what the target answered, for the fields that are ours: written, or already as wished."""
        if item.current is None:
            return
        there = item.current.values
        for name in ours(item.wanted, there, wrote=item.wrote, kind_of=self.job.kind_of):
            item.digests[name] = self.job.digest(name, there[name])

    def _failed(self, item: Item, error: errors.SyncError) -> Result:
        """What one item's error means for it. Only its own troubles count as its tries."""
        if isinstance(error, errors.Uncertain):
            return self._lost(item, error)
        if isinstance(error, errors.Throttled):
            if item.current is None:
                item.creates -= 1
            return settlement.again(item, error.code, error.retry_at, tried=False)
        if isinstance(error, errors.Unavailable) or error.facts.get("look_again"):
            if item.tries + 1 >= settings.SUTURE_MAX_TRIES:
                return settlement.held(item, error.code)
            wait = connections.backoff_s(item.tries + 1) if isinstance(error, errors.Unavailable) else 1 + item.tries
            return settlement.again(item, error.code, self._later(wait), tried=True)
        candidates = error.candidates if isinstance(error, errors.Ambiguous) else ()
        return settlement.held(item, error.code, candidates)

    def _lost(self, item: Item, error: errors.SyncError) -> Result:
        """A lost answer: a create must be looked up, an update is simply made again from what is there."""
        if item.is_new and not item.target_key:
            return settlement.uncertain(item, error.code, self._later(settings.SUTURE_LOOK_AFTER_S), looked=False)
        if item.tries + 1 >= settings.SUTURE_MAX_TRIES:
            return settlement.held(item, error.code)
        return settlement.again(item, error.code, self._later(connections.backoff_s(1)), tried=True)

    # -- ending --------------------------------------------------------------------------------------------------

    def _finish(self, item: Item, result: Result) -> None:
        if item in self.items:
            self.items.remove(item)
        self.results.append(result)

    def _settle(self) -> None:
        """Saves the results; a clash with another transaction is tried again, then left to the lease's end."""
        results, self.results = self.results, []
        if not results:
            return
        spent = int((time.monotonic() - self.started) * 1000 / max(1, len(results)))
        for attempt in range(SETTLE_TRIES):
            try:
                with self._tx():
                    self.drained.add(settlement.settle(self.job, results, duration_ms=spent))
                return
            except (IntegrityError, OperationalError):
                if attempt == SETTLE_TRIES - 1:
                    raise

    def _stop(self, error: errors.SyncError) -> errors.SyncError:
        """The call failed for all: what is settled stays settled, the rest goes back without a try counted."""
        with self._tx():
            retry_at = connections.record_failure(self.job.target.pk, error)
        self.drained.retry_at = retry_at
        paused = isinstance(error, errors.AccountError)  # nothing is claimed until a person mended the connection
        due = retry_at or self._later(0 if paused else settings.SUTURE_PAUSED_RETRY_S)
        for item in list(self.items):
            self._finish(item, self._released(item, error, due))
        self._settle()
        return error

    def _released(self, item: Item, error: errors.SyncError, due: datetime) -> Result:
        may_have_run = item.state == DeliveryState.SENDING and item.is_new and not item.target_key and not item.unsent
        if item.was_uncertain or may_have_run:
            return settlement.uncertain(item, error.code, due, looked=False)
        return settlement.again(item, error.code, due, tried=False)

    def _tx(self) -> AbstractContextManager[object]:
        return tenant_tx(self.job.tenant_id, reason="deliver")

    @staticmethod
    def _later(seconds: float) -> datetime:
        return app_now() + timedelta(seconds=seconds)


def _chunks(items: Sequence[Item], size: int) -> list[list[Item]]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def _shared_error(written: Sequence[Written], kind: type[errors.SyncError]) -> errors.SyncError | None:
    """The error of a call that ended so for every item."""
    told = [outcome.error for outcome in written]
    return told[0] if told and all(isinstance(error, kind) for error in told) else None


def _found(answer: Answer) -> Found:
    return Found(answer.by_marker, answer.by_key)
