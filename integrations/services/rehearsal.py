"""Rehearsal: what a proposal would do with the records of the last days, beside what the flow does with them now.

The source is read as a pass reads it, page by page, and each record goes through mapping, matching and diffing under
both configurations in batches that only look. Each page commits with the rehearsal's place, so that a worker that dies
costs a page. Nothing is written at any vendor.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Count

from integrations.connectors.base import Ask, Page
from integrations.core import errors
from integrations.core.values import Value, in_words
from integrations.flows.kind import Config
from integrations.models import (
    Call,
    Connection,
    Flow,
    Prediction,
    Proposal,
    ProposalState,
    Rehearsal,
    RehearsalState,
)
from integrations.services import connections, leases, proposals
from integrations.services.batch import Clients
from integrations.services.changes import By, refused
from integrations.services.jobs import Job, load_job
from integrations.services.predicting import Foretold, Ground, Taken, foretell, survey
from integrations.toolkit.http import Client
from tenants.services import record_audit
from tenants.walls import app_now, current_scope, insert_rows, tenant_tx

SAMPLES = 10  # of each kind of change
LONGEST_NAP_S = 5.0
COUNTED = {
    "create": "created",
    "update": "updated",
    "archive": "archived",
    "nothing": "unchanged",
    "skip": "skipped",
    "hold": "held",
}
"""Where a record counts, by what becomes of it; anything else is unclear."""
COLUMNS = (
    "rehearsal_id",
    "source_key",
    "action",
    "code",
    "fields",
    "was_action",
    "was_code",
    "is_changed",
    "claims",
    "sealed_sample",
)
NOW, THEN = "now/", "then/"
"""Before a claim: under which configuration it would be made."""


class LeaseLost(Exception):
    """Somebody else took this rehearsal over, or stopped it: stop, save nothing."""


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice came to. ``more``: it goes on; ``retry_at``: not before then."""

    more: bool
    retry_at: datetime | None = None
    code: str = ""


# -- begun, stopped, carried on


def rehearse_config(flow: Flow, config: Config, *, by: By, note: str = "", now: datetime) -> Rehearsal:
    """Proposes a configuration for this flow and begins to rehearse it. Call inside the clinic's transaction. Raises
    Refused."""
    return begin(proposals.propose(flow, config, by=by, note=note), now=now)


def begin(proposal: Proposal, *, now: datetime, days: int | None = None, most: int | None = None) -> Rehearsal:
    """A new rehearsal of this proposal, or the one that is under way. Call inside the clinic's transaction.

    ``days`` and ``most`` (records) default to the settings. Raises Refused for a proposal that is closed, and while
    another one of the same flow is rehearsed.
    """
    flow = Flow.objects.select_for_update(of=("self",), no_key=True).get(pk=proposal.flow_id)
    if proposal.state != ProposalState.OPEN:
        raise refused("", "proposal.closed", "This proposal is closed, and is not rehearsed any more.")
    running: Rehearsal | None = Rehearsal.objects.filter(flow=flow, state=RehearsalState.RUNNING).first()
    if running is not None:
        if (running.proposal_id, running.config) == (proposal.pk, proposal.config):
            return running
        raise refused(
            "", "rehearsal.busy", "Another rehearsal of this flow is under way. Let it end, or stop it first."
        )
    rehearsal: Rehearsal = Rehearsal.objects.create(
        tenant_id=flow.tenant_id,
        flow=flow,
        proposal=proposal,
        config=proposal.config,
        revision_number=flow.revision_number,
        actor=getattr(current_scope(), "actor", ""),
        since=now - timedelta(days=settings.SUTURE_REHEARSAL_DAYS if days is None else days),
        most=settings.SUTURE_REHEARSAL_RECORDS if most is None else most,
        started_at=now,
    )
    record_audit(
        "flow.rehearsed",
        target=f"flow {flow.pk}",
        diff={"proposal": proposal.pk, "rehearsal": rehearsal.pk, "revision": rehearsal.revision_number},
        tenant_id=flow.tenant_id,
    )
    return rehearsal


def stop(rehearsal_id: int, now: datetime) -> bool:
    """Ends it where it stands; what it found until then stays. False if it had ended. Call inside the transaction."""
    running = Rehearsal.objects.filter(pk=rehearsal_id, state=RehearsalState.RUNNING)
    return bool(running.update(state=RehearsalState.STOPPED, finished_at=now, lease_until=None))


def newest_of(proposal: Proposal) -> Rehearsal | None:
    """Call inside the clinic's scope."""
    newest: Rehearsal | None = Rehearsal.objects.filter(proposal=proposal).first()
    return newest


def is_of_today(rehearsal: Rehearsal, proposal: Proposal) -> bool:
    """Whether it rehearsed the proposal as it is, against the flow as it runs."""
    return bool(rehearsal.config == proposal.config and rehearsal.revision_number == proposal.flow.revision_number)


def run_slice(
    tenant_id: int,
    rehearsal_id: int,
    *,
    seconds: float,
    opener: Callable[..., Client] = connections.open_client,
) -> Slice:
    """Carries a rehearsal on for about ``seconds``. Vendor errors end the slice with a code and leave its place; so does
    whoever took it over, or stopped it, meanwhile."""
    with tenant_tx(tenant_id, reason="rehearse"):
        rehearsal = _claim(rehearsal_id)
        if rehearsal is None:
            return Slice(more=False)
        job = load_job(rehearsal.flow_id, revision_number=rehearsal.revision_number)
        until = app_now() + timedelta(seconds=seconds)
    then = replace(job.with_config(Config.from_json(rehearsal.config)), revision_number=job.revision_number + 1)
    work = Work(job, then, rehearsal, Clients(tenant_id, opener))
    try:
        try:
            return work.carry_on(until)
        except errors.SyncError as error:
            return _interrupted(work, error)
    except LeaseLost:
        return Slice(more=False)


def _claim(rehearsal_id: int) -> Rehearsal | None:
    """Takes the rehearsal's lease by one conditional update. One that crashed too often fails instead."""
    now = app_now()
    if not leases.claim(Rehearsal.objects.filter(pk=rehearsal_id, state=RehearsalState.RUNNING), now):
        return None
    rehearsal: Rehearsal = Rehearsal.objects.get(pk=rehearsal_id)
    if rehearsal.crashes > settings.SUTURE_CRASH_TRIES:
        Rehearsal.objects.filter(pk=rehearsal_id, fence=rehearsal.fence).update(
            state=RehearsalState.FAILED, code="internal.run_crashes", finished_at=now, lease_until=None
        )
        return None
    return rehearsal


def _interrupted(work: "Work", error: errors.SyncError) -> Slice:
    """Lets the rehearsal go, its place kept, and tells the connection that was asked what happened."""
    with tenant_tx(work.now.tenant_id, reason="rehearse"):
        retry_at = connections.record_failure(work.asked.pk, error, call=Call.READ)
        if isinstance(error, errors.AccountError | errors.VendorChanged | errors.RecordError):
            work.save(state=RehearsalState.FAILED, code=error.code, finished_at=app_now(), lease_until=None)
            return Slice(more=False, code=error.code)
        work.save(lease_until=None, crashes=0, code=error.code, not_before=retry_at)
    return Slice(more=True, retry_at=retry_at, code=error.code)


class Both(NamedTuple):
    """What becomes of a record now, and as proposed."""

    now: Foretold
    then: Foretold

    @property
    def is_changed(self) -> bool:
        """Whether the record would end otherwise: another action, another reason, or other values."""
        now, then = self
        return (now.next.action, now.next.code, now.after) != (then.next.action, then.next.code, then.after)

    @property
    def lines(self) -> list[tuple[str, Value, Value]]:
        """Fields that would hold something else: the name, what they hold or get now, and what they would get."""
        now, then = self
        made = [(name, now.after.get(name, then.before[name]), value) for name, value in then.after.items()]
        return [line for line in made if line[1] != line[2]]

    @property
    def is_newly_held(self) -> bool:
        return self.then.next.action == "hold" and self.now.next.action != "hold"


def bound_to(rehearsal_id: int, source_key: str) -> str:
    """What a sample is sealed for."""
    return f"rehearsal:{rehearsal_id}:{source_key}"


@dataclass(slots=True)
class Work:
    """One claimed slice: the flow as it runs (``now``) and as proposed (``then``). ``asked`` is the connection that was
    asked last."""

    now: Job
    then: Job
    rehearsal: Rehearsal
    clients: Clients
    asked: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.asked = self.now.source

    def carry_on(self, until: datetime) -> Slice:
        while True:
            self._page()
            if self.rehearsal.state != RehearsalState.RUNNING:
                return Slice(more=False)
            with tenant_tx(self.now.tenant_id, reason="rehearse"):
                if app_now() >= until:
                    self.save(lease_until=None)
                    return Slice(more=True)

    def save(self, **changes: Any) -> None:
        """Raises LeaseLost if the rehearsal is somebody else's by now. Call inside the clinic's transaction."""
        row = self.rehearsal
        owned = Rehearsal.objects.filter(pk=row.pk, fence=row.fence, state=RehearsalState.RUNNING)
        if not owned.update(**changes):
            raise LeaseLost
        for name, value in changes.items():
            setattr(row, name, value)

    def _page(self) -> None:
        """One page of the source, judged both ways, kept with the place behind it."""
        whole = self._read()
        with tenant_tx(self.now.tenant_id, reason="rehearse"):
            page = self._unseen(whole)
            ground = survey(self.now, page)
        told = self._judge(page, ground)
        with tenant_tx(self.now.tenant_id, reason="rehearse"):
            now = app_now()
            for end in (self.now.source, self.now.target):
                connections.record_success(end.pk, now, call=Call.READ)
            self._keep(told)
            self._advance(whole, now)

    def _read(self) -> Page:
        stream, self.asked = self.now.source_stream, self.now.source
        if stream.read_page is None:
            raise errors.VendorChanged("flow.source_unreadable", stream=stream.name)
        fields = self.now.plan.source_fields | self.then.plan.source_fields
        return stream.read_page(
            self.clients.to(self.now.source), Ask(self.rehearsal.since, fields), self.rehearsal.place
        )

    def _unseen(self, page: Page) -> Page:
        """The page without what an earlier one told of, and without what is too much."""
        keys = {*(record.key for record in page.records), *(key for key, _ in page.broken)}
        seen = set(
            Prediction.objects.filter(rehearsal=self.rehearsal, source_key__in=keys).values_list(
                "source_key", flat=True
            )
        )
        room = self.rehearsal.most - self.rehearsal.read
        records = [one for one in page.records if one.key not in seen]
        broken = [one for one in page.broken if one[0] not in seen]
        if len(records) + len(broken) > room:
            self.rehearsal.is_cut = True
        return Page(records[:room], page.next, page.vendor_now, page.total, broken[: max(0, room - len(records))])

    def _judge(self, page: Page, ground: Ground) -> dict[str, Both]:
        self.asked = self.now.target
        size = settings.SUTURE_CLAIM_BATCH
        then = foretell(self.then, page, ground, self.clients, Taken(self._earlier(THEN)), batch=size)
        now = foretell(self.now, page, ground, self.clients, Taken(self._earlier(NOW)), batch=size)
        keys = [*(key for key, _ in page.broken), *(record.key for record in page.records)]
        return {key: Both(now[key], then[key]) for key in keys}

    def _earlier(self, side: str) -> Callable[[Collection[str]], Mapping[str, str]]:
        """Who of the pages before took what, under one of the configurations."""

        def holders(claims: Collection[str]) -> Mapping[str, str]:
            asked = [f"{side}{claim}" for claim in claims]
            with tenant_tx(self.now.tenant_id, reason="rehearse"):
                rows = list(
                    Prediction.objects.filter(rehearsal=self.rehearsal, claims__overlap=asked)
                    .order_by("-pk")
                    .values_list("source_key", "claims")
                )
            found = {claim: key for key, taken in rows for claim in taken}
            return {claim: found[f"{side}{claim}"] for claim in claims if f"{side}{claim}" in found}

        return holders

    # -- kept

    def _keep(self, told: Mapping[str, Both]) -> None:
        """The page's predictions and counts."""
        row, counts = self.rehearsal, Counter[str]()
        fields, codes, sampled = Counter(row.fields), Counter(row.codes), self._sampled()
        rows = []
        for key, both in told.items():
            next_ = both.then.next
            counts["read"] += 1
            counts[COUNTED.get(next_.action, "unclear")] += 1
            if both.is_changed:
                counts["changed"] += 1
                fields.update(name for name, _, _ in both.lines)
                if next_.action in {"hold", "skip"}:
                    codes[next_.code] += 1
            counts["newly_held"] += both.is_newly_held
            rows.append(self._row(key, both, self._sample(key, both, sampled)))
        insert_rows(Prediction, COLUMNS, rows)
        for name, count in counts.items():
            setattr(row, name, getattr(row, name) + count)
        row.fields, row.codes = dict(fields), dict(codes)
        self.save(fields=row.fields, codes=row.codes, **{name: getattr(row, name) for name in counts})

    def _row(self, key: str, both: Both, sample: bytes | None) -> tuple[object, ...]:
        now, then = both
        claims = [*(f"{NOW}{one}" for one in now.claims), *(f"{THEN}{one}" for one in then.claims)]
        return (
            self.rehearsal.pk,
            key[:64],
            then.next.action,
            then.next.code,
            list(then.next.writes),
            now.next.action,
            now.next.code,
            both.is_changed,
            claims,
            sample,
        )

    def _sampled(self) -> Counter[tuple[str, str]]:
        """How many samples there are, by action and code."""
        rows = Prediction.objects.filter(rehearsal=self.rehearsal, sealed_sample__isnull=False).order_by()
        return Counter(
            {(action, code): n for action, code, n in rows.values_list("action", "code").annotate(n=Count("pk"))}
        )

    def _sample(self, key: str, both: Both, sampled: Counter[tuple[str, str]]) -> bytes | None:
        """The values before and after, of the first records of each kind of change, sealed for this very place."""
        kind = (both.then.next.action, both.then.next.code)
        if not both.is_changed or sampled[kind] >= SAMPLES:
            return None
        sampled[kind] += 1
        told = {name: [in_words(before), in_words(after)] for name, before, after in both.lines}
        return self.then.vault.seal(json.dumps(told).encode(), bound_to=bound_to(self.rehearsal.pk, key))

    def _advance(self, page: Page, now: datetime) -> None:
        ends = page.next is None or self.rehearsal.is_cut
        changes: dict[str, Any] = {"place": page.next, "crashes": 0, "code": "", "lease_until": leases.lease_end(now)}
        if self.rehearsal.expected is None:
            changes["expected"] = page.total
        if ends:
            changes |= {"state": RehearsalState.DONE, "finished_at": now, "lease_until": None, "place": None}
        self.save(is_cut=self.rehearsal.is_cut, **changes)


# -- here, without a queue


def carry_through(
    tenant_id: int,
    rehearsal_id: int,
    *,
    max_wait_s: float = 600,
    tell: Callable[[Rehearsal], None] = lambda _: None,
    opener: Callable[..., Client] = connections.open_client,
) -> Rehearsal:
    """A rehearsal to its end in this process, or until it would have to wait for longer than ``max_wait_s``. One that
    somebody else works on is watched. ``tell`` hears how far it is."""
    while True:
        run_slice(tenant_id, rehearsal_id, seconds=settings.SUTURE_SLICE_S, opener=opener)
        with tenant_tx(tenant_id, reason="rehearse"):
            row: Rehearsal = Rehearsal.objects.get(pk=rehearsal_id)
            now = app_now()
        tell(row)
        due = max(moment for moment in (now, row.not_before, row.lease_until) if moment)
        if row.state != RehearsalState.RUNNING or due - now > timedelta(seconds=max_wait_s):
            return row
        if due > now:
            time.sleep(min(LONGEST_NAP_S, max(0.05, (due - now).total_seconds())))


# -- kept for a time


def remove_aged(tenant_id: int) -> int:
    """Rehearsals of closed proposals, and any that are old, with what they foretold."""
    with tenant_tx(tenant_id, reason="retention"):
        edge = app_now() - timedelta(days=settings.SUTURE_KEEP_DONE_DAYS)
        aged = Rehearsal.objects.exclude(state=RehearsalState.RUNNING).filter(started_at__lt=edge)
        Prediction.objects.filter(rehearsal__in=aged.values("pk"))._raw_delete(Prediction.objects.db)
        return int(aged.delete()[0])
