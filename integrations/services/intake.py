"""Intake: read the source page by page, map, gate, and put wishes into the outbox.

Touches only the source. Pages that come within a second are kept together, deliveries, counts and place in one
transaction, so that a crash re-reads at most these.
"""

import time as clock
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Self
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import IntegrityError, OperationalError
from django.db import connection as database
from django.db import connections as connection_handler
from django.db.models import F

from integrations.connectors.base import Ask, Page, ReadPage
from integrations.core import errors, fingerprint
from integrations.core.records import Draft, Record, State
from integrations.core.values import Text
from integrations.flows.kind import Wish
from integrations.models import (
    BUCKETS,
    IN_FLIGHT,
    OPEN,
    Call,
    Delivery,
    DeliveryState,
    Flow,
    LinkState,
    Mode,
    Run,
    RunState,
)
from integrations.services import connections, merges, seen, synclog
from integrations.services.counts import Moves, bucket_of
from integrations.services.jobs import Job, load_job
from integrations.services.reading import read_each
from integrations.toolkit.http import Client
from tenants.walls import app_now, current_tenant_id, insert_rows, tenant_tx, text_array

COMMIT_TRIES = 3
HAUL_ROWS, HAUL_S = 1000, 1.0
WORTH_READING_AHEAD = 300
NONE: list[object] = []  # one and the same for all rows: it is sent once


class LeaseLost(Exception):
    """Somebody else took this run over: stop, save nothing."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice of a pass came to. ``more``: the pass goes on; ``retry_at``: not before then."""

    more: bool
    retry_at: datetime | None = None
    code: str = ""


def start_run(flow_id: int, *, trigger: str, now: datetime) -> Run | None:
    """A new run of a flow, or None when one is already live. Call inside the clinic's transaction.

    Decides what the pass asks: everything on a flow's first pass, when a change of rules or mode wants it, and when the
    last pass was to read everything and failed; else what changed since the watermark less the overlap, and once a day
    less two days (late rows).
    """
    flow = Flow.objects.select_for_update(no_key=True).get(pk=flow_id)
    live = Run.objects.filter(flow=flow, state=RunState.RUNNING, is_backfill=False).exists()
    if live or flow.mode == Mode.OFF or flow.stopped_code:
        return None
    cut_off = _cut_off(flow)
    full = flow.wants_full_pass or flow.watermark is None or cut_off is not None
    since = None
    if not full:
        late = flow.swept_at is None or now - flow.swept_at >= timedelta(seconds=settings.SUTURE_SWEEP_EVERY_S)
        since = flow.watermark - timedelta(seconds=settings.SUTURE_SWEEP_BACK_S if late else settings.SUTURE_OVERLAP_S)
        if late:
            flow.swept_at = now
    else:
        flow.swept_at = now
    if cut_off and (flow.wants_full_pass or not cut_off.place or cut_off.revision_number != flow.revision_number):
        cut_off = None  # from the start: what was read before the change is to be read again
    flow.wants_full_pass = False
    if flow.activated_at is None:
        flow.activated_at = now
    flow.save(update_fields=["swept_at", "wants_full_pass", "activated_at"])
    run: Run = Run.objects.create(
        tenant_id=flow.tenant_id,
        flow=flow,
        trigger=trigger,
        revision_number=flow.revision_number,
        since=since,
        place=cut_off and cut_off.place,
        vendor_now=cut_off and cut_off.vendor_now,
        newest_seen=cut_off and cut_off.newest_seen,
        started_at=now,
    )
    return run


def _cut_off(flow: Flow) -> Run | None:
    """The flow's last run, if it was to read everything and failed: a new run goes on where it stood."""
    last: Run | None = Run.objects.filter(flow=flow, is_backfill=False).order_by("-pk").first()
    return last if last and last.state == RunState.FAILED and last.since is None else None


def run_slice(
    tenant_id: int,
    run_id: int,
    *,
    seconds: float,
    client: Client | None = None,
    opener: Callable[..., Client] = connections.open_client,
) -> Slice:
    """Carries a pass on for about ``seconds``. Vendor errors end the slice with a code and leave the place as it is.

    Raises LeaseLost when another worker holds the run.
    """
    with tenant_tx(tenant_id, reason="intake"):
        run = _claim(run_id)
        if run is None:
            return Slice(more=False)
        job = load_job(run.flow_id, revision_number=run.revision_number)
        flow = Flow.objects.get(pk=run.flow_id)
        started = app_now()
        if flow.mode == Mode.OFF:
            _end(run, RunState.STOPPED, "mode.off", started)
            return Slice(more=False, code="mode.off")
    try:
        client = client or opener(tenant_id, job.source)
        return PageReader(job, run, flow, client).read_until(started + timedelta(seconds=seconds))
    except errors.SyncError as error:
        return _interrupted(tenant_id, job, run, error)


def start_instant(flow: Flow) -> datetime | None:
    """Records made before this are left out: the flow's activation, a date in the clinic's zone, or None for all.

    Vendors stamp in whole seconds, so that what was made in the activation's second counts as made after it.
    """
    if flow.start == "all":
        return None
    if flow.start == "activation":
        return flow.activated_at and flow.activated_at.replace(microsecond=0)
    zone = ZoneInfo(flow.tenant.time_zone)
    return datetime.combine(date.fromisoformat(flow.start), time(), tzinfo=zone).astimezone(UTC)


def _claim(run_id: int) -> Run | None:
    """Takes the run's lease by one conditional update. A run that crashed too often fails instead."""
    now = app_now()
    lease = now + timedelta(seconds=settings.SUTURE_LEASE_S)
    free = (
        Run.objects.filter(pk=run_id, state=RunState.RUNNING).exclude(lease_until__gt=now).exclude(not_before__gt=now)
    )
    if not free.update(lease_until=lease, fence=F("fence") + 1, crashes=F("crashes") + 1):
        return None
    run: Run = Run.objects.get(pk=run_id)
    if run.crashes > settings.SUTURE_CRASH_TRIES:
        _end(run, RunState.FAILED, "internal.run_crashes", now)
        return None
    return run


def _end(run: Run, state: RunState, code: str, now: datetime) -> None:
    """Ends a pass before its end; what it read until then is delivered."""
    Run.objects.filter(pk=run.pk, fence=run.fence).update(state=state, code=code, finished_at=now, lease_until=None)
    guard_mass_change(run.flow_id, run.pk, now)


def _interrupted(tenant_id: int, job: Job, run: Run, error: errors.SyncError) -> Slice:
    """Lets the run go, its place kept; tells the connection what happened."""
    with tenant_tx(tenant_id, reason="intake"):
        retry_at = connections.record_failure(job.source.pk, error, call=Call.READ)
        fatal = isinstance(error, errors.AccountError | errors.VendorChanged | errors.RecordError)
        changes: dict[str, object] = {"lease_until": None, "crashes": 0, "code": error.code, "not_before": retry_at}
        if fatal:
            changes |= {"state": RunState.FAILED, "finished_at": app_now()}
        if isinstance(error, errors.VendorChanged):
            changes["place"] = None  # the place itself may be what leads astray: the next pass starts over
        if not Run.objects.filter(pk=run.pk, fence=run.fence, state=RunState.RUNNING).update(**changes):
            raise LeaseLost
        if fatal:
            guard_mass_change(job.flow_id, run.pk, app_now())
    return Slice(more=not fatal, retry_at=retry_at, code=error.code)


_COUNTED = ("read", *BUCKETS)
# The commit does not wait for the disk: what a crash of the server forgets, place included, is read again, and no write
# at the target can come before it is kept, because that is preceded by a commit which does wait.
_ADVANCE = f"""
UPDATE integrations_run
SET place = %(place)s, vendor_now = %(vendor_now)s, newest_seen = %(newest_seen)s, expected = %(expected)s,
    pages = pages + %(pages)s, crashes = 0, code = '', lease_until = %(lease)s, {", ".join(f"{n} = {n} + %({n})s" for n in _COUNTED)}
FROM (SELECT set_config('synchronous_commit', 'off', true)) AS quick
WHERE tenant_id = %(tenant)s AND id = %(run)s AND fence = %(fence)s AND state = '{RunState.RUNNING.value}'
"""  # noqa: S608 - constants only


@dataclass(slots=True)
class Known:
    """What the outbox and the links know of some keys, read in one query."""

    wishes: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    linked: set[str] = field(default_factory=set)
    open: dict[str, tuple[int, int, str, bytes | None]] = field(default_factory=dict)
    flying: dict[str, bytes | None] = field(default_factory=dict)
    readings: dict[str, str] = field(default_factory=dict)

    def has(self, key: str) -> bool:
        """Whether anything was ever wished for this record."""
        return key in self.linked or key in self.open or key in self.flying

    def made_of(self, key: str, reading: Callable[[Record], str], record: Record) -> bool:
        """Whether the last delivered wish was made of this very reading and nothing came after it: then there is no need
        to make it again."""
        last = self.readings.get(key)
        return bool(last) and key not in self.open and key not in self.flying and last == reading(record)


@dataclass(slots=True)
class Haul:
    """Pages that are kept in one transaction: few commits where the source is fast, and none that waits long for its own.

    ``readings`` are what they hold, in the order it was read; of what could not be decoded the wish that holds it.
    ``error`` ended the reading.
    """

    pages: list[Page] = field(default_factory=list)
    readings: list[Record | Wish] = field(default_factory=list)
    error: errors.SyncError | None = None

    def add(self, page: Page, survivors: Mapping[str, Record]) -> None:
        self.pages.append(page)
        self.readings += page.records
        self.readings += survivors.values()
        for key, error in page.broken:
            problem = (error.code, str(error.facts.get("path", "")))
            self.readings.append(Wish(Record(key=key, version="", values={}), problems=(problem,)))

    @property
    def place(self) -> str | None:
        """Where the pass goes on."""
        return self.pages[-1].next

    @property
    def records(self) -> Iterator[Record]:
        return (reading.record if isinstance(reading, Wish) else reading for reading in self.readings)


class ReadingAhead:
    """Hauls one after another; ``start`` has the next one read while the database is busy with the last. Its thread has
    a database connection of its own, for the quota."""

    def __init__(self, haul: Callable[[], Haul]) -> None:
        self._haul = haul
        self._coming: Future[Haul] | None = None
        self._has_read = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reading-ahead")

    def start(self) -> None:
        """Does nothing when the next haul is being read already."""
        self._has_read = True
        self._coming = self._coming or self._thread.submit(self._haul)

    def next(self) -> Haul:
        coming, self._coming = self._coming, None
        return coming.result() if coming else self._haul()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for what is being read: the client is about to be closed."""
        if self._has_read:
            self._thread.submit(connection_handler.close_all)
        self._thread.shutdown()


class PageReader:
    """One claimed slice of a pass."""

    def __init__(self, job: Job, run: Run, flow: Flow, client: Client) -> None:
        self.job, self.run, self.fence, self.client = job, run, run.fence, client
        self.starts_at = run.made_from if run.is_backfill else start_instant(flow)
        self.watermark = flow.watermark
        self.pilot = frozenset(flow.pilot_keys) if flow.mode == Mode.PILOT else None
        self.place = run.place
        self.ask = Ask(since=run.since, fields=job.plan.source_fields)

    def read_until(self, deadline: datetime) -> Slice:
        read_page = self.job.source_stream.read_page
        if read_page is None:
            raise errors.VendorChanged("flow.source_unreadable", stream=self.job.source_stream.name)
        with ReadingAhead(partial(self._haul, read_page)) as self.ahead:
            while True:
                haul = self.ahead.next()
                ended = self._keep(haul, deadline) if haul.pages else None
                if haul.error is not None:
                    raise haul.error
                if ended is not None:
                    return ended

    def _haul(self, read_page: ReadPage) -> Haul:
        """The next pages, as many as come in a moment. What was read before an error is kept."""
        haul, until = Haul(), clock.monotonic() + HAUL_S
        while haul.error is None:
            try:
                page = read_page(self.client, self.ask, self.place)
                haul.add(page, self._survivors(page))
            except errors.SyncError as error:
                haul.error = error
            else:
                self.place = page.next
                if page.next is None or len(haul.readings) >= HAUL_ROWS or clock.monotonic() >= until:
                    break
        return haul

    def _keep(self, haul: Haul, deadline: datetime) -> Slice | None:
        """The pages into the outbox; after a clash with a batch that settles they are judged anew."""
        for _ in range(COMMIT_TRIES - 1):
            with suppress(IntegrityError, OperationalError):
                return self._commit(haul, deadline)
        return self._commit(haul, deadline)

    def _commit(self, haul: Haul, deadline: datetime) -> Slice | None:
        """Some pages, in one transaction; what the slice came to if these were its last."""
        with tenant_tx(self.job.tenant_id, reason="intake"):
            now = app_now()
            self.accept(haul, now, goes_on=haul.place is not None and haul.error is None and now < deadline)
            if haul.place is None:
                finish_pass(self.job, self.run.pk, self.fence, now)
            elif now >= deadline:
                self._let_go()
            else:
                return None
            connections.record_success(self.job.source.pk, now, call=Call.READ)
            return Slice(more=haul.place is not None)

    def _survivors(self, page: Page) -> Mapping[str, Record]:
        """The records that merged ones in this page were merged into, read now so that nobody waits for them; of a
        chain of merges every one to its end."""
        in_page = {record.key for record in page.records}
        found: dict[str, Record] = {}
        merged = _merged(page.records)
        while missing := sorted({record.merged_into for record in merged} - in_page - found.keys() - {""}):
            read, _ = read_each(self.job.source_stream, self.client, missing, self.job.plan.source_fields)
            found |= read
            merged = _merged(read.values())
        return found

    def accept(self, haul: Haul, now: datetime, *, goes_on: bool) -> None:
        """Some pages into the outbox, with their counts and the run's new place. One transaction, the caller's."""
        moves, log = Moves(), synclog.Log(self.job.flow_id, self.run.pk, now, quiet=self._read_before(haul))
        merged = _merged(haul.records)
        unlinked = merges.follow(self.job, merged, log)
        moves.read(self.run.pk, "skipped", len(merged))
        gone = [record.key for record in merged]
        known = know(self.job.flow_id, sorted({record.key for record in haul.records}))
        wishes = self._wishes(haul, known, moves, log)
        backfill = self.run.since is None
        outbox = Outbox(self.job, self.run.pk, known, moves=moves, log=log, now=now, backfill=backfill)
        outbox.withdraw(gone)
        rows = outbox.rows(wishes)
        if goes_on and len(rows) >= WORTH_READING_AHEAD:
            self.ahead.start()
        insert_rows(Delivery, outbox.COLUMNS, rows)
        merges.remember(self.job, outbox.inherited | unlinked)
        seen.count(self.job, [wish.record for wish in wishes], now)
        self._advance(haul, moves, now)
        log.save()

    def _wishes(self, haul: Haul, known: Known, moves: Moves, log: synclog.Log) -> list[Wish]:
        """What was read, mapped, newest reading of a key last; those that mode or start leave out are counted, and so
        are those that were delivered just as they are."""
        wishes: dict[str, Wish] = {}
        for reading in haul.readings:
            record = reading.record if isinstance(reading, Wish) else reading
            older = wishes.pop(record.key, None)
            if older is not None:
                moves.read(self.run.pk, "superseded")
            if isinstance(reading, Wish):
                wishes[record.key] = reading
            elif record.state is State.MERGED:
                continue
            elif skip := self._left_out(record, known):
                moves.read(self.run.pk, "skipped")
                log.add(record.key, "skip", "skipped", code=skip)
            elif older is None and known.made_of(record.key, self.job.reading, record):
                moves.read(self.run.pk, "unchanged")
            else:
                wishes[record.key] = self.job.plan.wish(record)
        return list(wishes.values())

    def _read_before(self, haul: Haul) -> frozenset[str]:
        """Keys that an earlier pass read as they are: the overlap, and passes over everything."""
        edge = self.watermark
        if edge is None:
            return frozenset()
        return frozenset(record.key for record in haul.records if record.changed_at and record.changed_at <= edge)

    def _left_out(self, record: Record, known: Known) -> str:
        """A record older than the flow's start is left out, unless a backfill brought it in: then it is kept up."""
        if self.pilot is not None and record.key not in self.pilot:
            return "mode.pilot"
        is_older = self.starts_at and record.created_at and record.created_at < self.starts_at
        return "mode.before_start" if is_older and not known.has(record.key) else ""

    def _advance(self, haul: Haul, moves: Moves, now: datetime) -> None:
        newest = max((record.changed_at for record in haul.records if record.changed_at), default=None)
        seen = max((moment for moment in (newest, self.run.newest_seen) if moment), default=None)
        self.run.newest_seen = seen
        if self.run.vendor_now is None:
            self.run.vendor_now = haul.pages[0].vendor_now
        if self.run.expected is None:
            self.run.expected = haul.pages[0].total
        moves.save(besides=self.run.pk)  # earlier runs first: whoever changes several takes them in this order
        moved = moves.of(self.run.pk)
        with database.cursor() as cursor:
            cursor.execute(
                _ADVANCE,
                {
                    **{name: moved.get(name, 0) for name in _COUNTED},
                    "tenant": current_tenant_id(),
                    "run": self.run.pk,
                    "fence": self.fence,
                    "place": haul.place,
                    "pages": len(haul.pages),
                    "vendor_now": self.run.vendor_now,
                    "newest_seen": seen,
                    "expected": self.run.expected,
                    "lease": now + timedelta(seconds=settings.SUTURE_LEASE_S),
                },
            )
            if not cursor.rowcount:
                raise LeaseLost

    def _let_go(self) -> None:
        Run.objects.filter(pk=self.run.pk, fence=self.fence).update(lease_until=None)


def _merged(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.state is State.MERGED]


_UNFINISHED = ", ".join(f"'{state.value}'" for state in (*OPEN, *IN_FLIGHT))
# Key by key, so that no plan made without statistics reads all of a flow's rows for a few hundred.
_KNOW = f"""
WITH asked AS MATERIALIZED (SELECT unnest(%(keys)s::text[]) AS key)
SELECT key, wish, gone, NULL, NULL, source_version FROM asked CROSS JOIN LATERAL (
    SELECT wish, gone, source_version FROM integrations_linkstate
    WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND source_key = key OFFSET 0) AS linked
UNION ALL
SELECT key, wish, NULL, id, run_id, state FROM asked CROSS JOIN LATERAL (
    SELECT wish, id, run_id, state FROM integrations_delivery
    WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND source_key = key AND state IN ({_UNFINISHED}) OFFSET 0) AS open
"""  # noqa: S608 - constants only
_SUPERSEDE = f"""
DELETE FROM integrations_delivery
WHERE tenant_id = %(tenant)s AND id = %(id)s AND state IN ({", ".join(f"'{state.value}'" for state in OPEN)})
RETURNING state, answers_for
"""  # noqa: S608 - constants only; the state as it is now, which a person may have changed since it was read


def know(flow_id: int, keys: Sequence[str]) -> Known:
    """What is known of these keys, in one query: the last delivered wish, the open and the flying delivery."""
    known = Known()
    if not keys:
        return known
    with database.cursor() as cursor:
        cursor.execute(_KNOW, {"tenant": current_tenant_id(), "flow": flow_id, "keys": text_array(keys)})
        for key, wish, gone, pk, run_id, state in cursor.fetchall():
            print_of_wish = bytes(wish) if wish is not None else None
            if pk is None:
                known.linked.add(key)
                known.wishes[key] = print_of_wish or b""
                known.readings[key] = state if wish else ""
                if gone:
                    known.gone.add(key)
            elif state in OPEN:
                known.open[key] = (pk, run_id, state, print_of_wish)
            else:
                known.flying[key] = print_of_wish
    return known


class Outbox:
    """Makes rows of the outbox from wishes: one gate, and one statement per row that is superseded."""

    COLUMNS = (
        "source_key",
        "flow_id",
        "run_id",
        "target_id",
        "source_version",
        "revision_number",
        "wish",
        "sealed_draft",
        "state",
        "code",
        "codes",
        "notes",
        "guarded",
        "backfill",
        "not_before",
        "changed_at",
        "created_at",
        "held_at",
    )

    def __init__(
        self,
        job: Job,
        run_id: int,
        known: Known,
        *,
        moves: Moves,
        log: synclog.Log,
        now: datetime,
        backfill: bool = False,
    ) -> None:
        self.job, self.run_id, self.known, self.backfill = job, run_id, known, backfill
        self.moves, self.log, self.now = moves, log, now
        self.inherited: dict[str, str] = {}
        """Merged keys that rows which gave way were to answer for, with the record's own key."""

    def withdraw(self, keys: Iterable[str]) -> None:
        """Nothing is wished for these any more: what still waits is not delivered."""
        for key in keys:
            self._supersede(key)

    def rows(self, wishes: Sequence[Wish]) -> list[tuple[object, ...]]:
        """What is to be inserted for these; what they supersede goes at once."""
        return [row for wish in wishes if (row := self._row(wish)) is not None]

    def _row(self, wish: Wish) -> tuple[object, ...] | None:
        key = wish.record.key
        if wish.skip or (wish.record.state is State.ARCHIVED and not self._was_delivered(key)):
            self.withdraw([key])
            self.moves.read(self.run_id, "skipped")
            self.log.add(key, "skip", "skipped", code=wish.skip or "record.archived_unlinked")
            return None
        print_of_wish = self._fingerprint(wish)
        if self._is_known(key, print_of_wish):
            return None
        self._supersede(key)
        bucket = "held" if wish.problems else "waiting"
        self.moves.read(self.run_id, bucket)
        if wish.problems:
            self.log.add(
                key,
                "map",
                "held",
                code=wish.problems[0][0],
                fields=[name for _, name in wish.problems if name in self.job.kinds],
            )
        return self._values(wish, print_of_wish)

    def _was_delivered(self, key: str) -> bool:
        """An archived record nobody ever delivered makes nothing at the target, and no work for a person."""
        return key in self.known.linked or key in self.known.flying

    def _fingerprint(self, wish: Wish) -> bytes:
        if wish.draft is not None:
            return self.job.fingerprint(wish.draft)
        told = "\x1e".join(f"{code}\x1f{name}" for code, name in wish.problems)
        draft = Draft({"problems": f"{told}\x1d{wish.record.version}"})
        return fingerprint.wish(self.job.vault.digest_key, draft, lambda _: Text)

    def _is_known(self, key: str, print_of_wish: bytes) -> bool:
        """Equal to the newest wish: the open delivery's, else the flying one's, else the delivered one."""
        if key in self.known.open:
            _, _, state, newest = self.known.open[key]
            same = newest == print_of_wish
            bucket = "held" if state == DeliveryState.HELD else "unchanged"
        else:
            newest = self.known.flying[key] if key in self.known.flying else self.known.wishes.get(key)
            same = newest == print_of_wish
            bucket = "unchanged"
        if same:
            self.moves.read(self.run_id, bucket)
        return same

    def _supersede(self, key: str) -> None:
        """A newer wish replaces an open one: the old row goes, its run counts it as superseded."""
        if key not in self.known.open:
            return
        pk, run_id, _, _ = self.known.open[key]
        with database.cursor() as cursor:
            cursor.execute(_SUPERSEDE, {"tenant": current_tenant_id(), "id": pk})
            if row := cursor.fetchone():
                self.moves.move(run_id, bucket_of(row[0]), "superseded")
                self.inherited |= dict.fromkeys(row[1], key)

    def _values(self, wish: Wish, print_of_wish: bytes) -> tuple[object, ...]:
        record, draft = wish.record, wish.draft
        codes = [{"code": code, "field": name} for code, name in wish.problems]
        return (
            record.key,
            self.job.flow_id,
            self.run_id,
            self.job.target.pk,
            self.job.reading(record),
            self.job.revision_number,
            print_of_wish,
            self.job.seal(draft, record.key) if draft else None,
            DeliveryState.WAITING.value if draft else DeliveryState.HELD.value,
            codes[0]["code"] if codes else "",
            codes or NONE,
            [{"code": note.code, "field": note.field} for note in wish.notes] or NONE,
            bool(draft and draft.gone),
            self.backfill,
            self.now,
            record.changed_at,
            self.now,
            None if draft else self.now,
        )


def finish_pass(job: Job, run_id: int, fence: int, now: datetime) -> None:
    """Ends the pass: the watermark moves, and the mass-change guard judges what the pass wants gone."""
    run = Run.objects.get(pk=run_id)
    seen = [moment for moment in (run.vendor_now, run.newest_seen) if moment]
    watermark = min(seen) if run.newest_seen else None
    if not Run.objects.filter(pk=run_id, fence=fence, state=RunState.RUNNING).update(
        state=RunState.DONE, finished_at=now, lease_until=None, place=None
    ):
        raise LeaseLost
    flow = Flow.objects.select_for_update(no_key=True).get(pk=job.flow_id)  # others insert rows that refer to it
    if watermark and not run.is_backfill and (flow.watermark is None or watermark > flow.watermark):
        flow.watermark = watermark
    flow.last_success_at = now
    flow.save(update_fields=["watermark", "last_success_at"])
    guard_mass_change(job.flow_id, run_id, now)


def guard_mass_change(flow_id: int, run_id: int, now: datetime) -> None:
    """More than 5 % and more than 10 of a flow's links gone in one pass: hold them all and ask a person."""
    gone = Delivery.objects.filter(run_id=run_id, guarded=True, state=DeliveryState.WAITING)
    count = gone.count()
    share = settings.SUTURE_MASS_CHANGE_PERCENT / 100
    links = LinkState.objects.filter(flow_id=flow_id).count()
    if count <= settings.SUTURE_MASS_CHANGE_COUNT or count <= share * links:
        gone.update(guarded=False)
        return
    code = "guard.mass_change"
    held = gone.update(
        state=DeliveryState.HELD, code=code, codes=[{"code": code, "field": ""}], held_at=now, guarded=False
    )
    Run.objects.filter(pk=run_id).update(waiting=F("waiting") - held, held=F("held") + held)
