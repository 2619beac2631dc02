"""Intake: read the source page by page, map, gate, and put wishes into the outbox.

Touches only the source. Pages that come within a second are kept together, deliveries, counts and place in one
transaction, so that a crash re-reads at most these.
"""

import time as clock
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from django.conf import settings
from django.db import IntegrityError, OperationalError
from django.db import connection as database
from django.db.models import F

from integrations.connectors.base import Ask, Page, ReadPage
from integrations.core import errors
from integrations.core.records import Record, State
from integrations.flows.kind import Wish
from integrations.models import BUCKETS, Call, Delivery, DeliveryState, Flow, LinkState, Mode, Run, RunState
from integrations.services import alerts, connections, gate, leases, merges, overrides, seen, synclog
from integrations.services.counts import Moves
from integrations.services.gate import Known
from integrations.services.haul import Haul, ReadingAhead
from integrations.services.jobs import Job, load_job
from integrations.services.outbox import Outbox
from integrations.services.reading import read_each
from integrations.toolkit.http import Client
from tenants.walls import app_now, current_tenant_id, insert_rows, tenant_tx

COMMIT_TRIES = 3
HAUL_ROWS, HAUL_S = 1000, 1.0
WORTH_READING_AHEAD = 300


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
    full = _reads_all(flow, cut_off)
    since = None if full else _since(flow, now)
    if full or _is_late(flow, now):
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


def next_since(flow: Flow, now: datetime) -> datetime | None:
    """From when on the next pass reads changes; None where it reads everything. Call inside the clinic's transaction."""
    return None if _reads_all(flow, _cut_off(flow)) else _since(flow, now)


def _reads_all(flow: Flow, cut_off: Run | None) -> bool:
    return flow.wants_full_pass or flow.watermark is None or cut_off is not None


def _since(flow: Flow, now: datetime) -> datetime | None:
    back = settings.SUTURE_SWEEP_BACK_S if _is_late(flow, now) else settings.SUTURE_OVERLAP_S
    return flow.watermark and flow.watermark - timedelta(seconds=back)


def _is_late(flow: Flow, now: datetime) -> bool:
    return flow.swept_at is None or now - flow.swept_at >= timedelta(seconds=settings.SUTURE_SWEEP_EVERY_S)


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


def _claim(run_id: int) -> Run | None:
    """Takes the run's lease by one conditional update. A run that crashed too often fails instead."""
    now = app_now()
    if not leases.claim(Run.objects.filter(pk=run_id, state=RunState.RUNNING), now):
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


class PageReader:
    """One claimed slice of a pass."""

    def __init__(self, job: Job, run: Run, flow: Flow, client: Client) -> None:
        self.job, self.run, self.fence, self.client = job, run, run.fence, client
        self.starts_at = run.made_from if run.is_backfill else gate.start_instant(flow)
        self.watermark = flow.watermark
        self.pilot = gate.pilot_of(flow)
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
        known = gate.know(self.job.flow_id, sorted({record.key for record in haul.records}))
        wishes = self._wishes(haul, known, moves, log)
        overrides.end(self.job.flow_id, self.job.ended_overrides(wish.record for wish in wishes))
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
            elif skip := gate.left_out(record, known, pilot=self.pilot, starts_at=self.starts_at):
                moves.read(self.run.pk, "skipped")
                log.add(record.key, "skip", "skipped", code=skip)
            elif older is None and known.made_of(record.key, self.job.reading, record):
                moves.read(self.run.pk, "unchanged")
            else:
                wishes[record.key] = self.job.wish(record)
        return list(wishes.values())

    def _read_before(self, haul: Haul) -> frozenset[str]:
        """Keys that an earlier pass read as they are: the overlap, and passes over everything."""
        edge = self.watermark
        if edge is None:
            return frozenset()
        return frozenset(record.key for record in haul.records if record.changed_at and record.changed_at <= edge)

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
                    "lease": leases.lease_end(now),
                },
            )
            if not cursor.rowcount:
                raise LeaseLost

    def _let_go(self) -> None:
        Run.objects.filter(pk=self.run.pk, fence=self.fence).update(lease_until=None)


def _merged(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.state is State.MERGED]


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
    alerts.open_flow_alert(flow_id, code, now, records=held)
