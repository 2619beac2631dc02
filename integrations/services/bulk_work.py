"""One step of a bulk run, claimed: its lease and fence, and its deliveries page by page."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import connection as database
from django.db.models import Exists, OuterRef

from integrations.connectors.base import Bulk, BulkPass
from integrations.core.diffing import new
from integrations.core.errors import VendorChanged
from integrations.models import BULK_LIVE, BulkRun, BulkRunState, Delivery
from integrations.services import bulk_seen, leases, parents, settlement, targets, wishes
from integrations.services.batch import Batch, Clients, Drained
from integrations.services.claims import COLUMNS, Item, item_of
from integrations.services.jobs import Job
from integrations.services.settlement import Result
from integrations.vault import Unsealable
from tenants.walls import app_now, tenant_tx

PAGE = 250
LONGEST_RUN = timedelta(days=2)  # a pass that has not told its end by then has none

_IDS = "SELECT id FROM integrations_delivery WHERE bulk_run_id = %(bulk_run)s ORDER BY id"
# One by one (OFFSET 0): without statistics a run of 50,000 looks small, and would be read through for each page.
_THESE = f"""
SELECT {COLUMNS}, d.bulk_line, d.singly, d.sealed_target FROM unnest(%(these)s::bigint[]) AS asked(one)
CROSS JOIN LATERAL (
    SELECT * FROM integrations_delivery
    WHERE tenant_id = %(tenant)s AND bulk_run_id = %(bulk_run)s AND {{column}} = one AND {{column}} IS NOT NULL OFFSET 0
) AS d ORDER BY d.id
"""  # noqa: S608 - constants only
_KEEP = """
UPDATE integrations_delivery d SET sealed_target = kept.sealed, target_key = kept.key, bulk_line = NULL
FROM (
    SELECT told.sealed, told.key, row.ctid FROM unnest(%(ids)s::bigint[], %(sealed)s::bytea[], %(keys)s::text[])
        AS told(id, sealed, key)
    CROSS JOIN LATERAL (
        SELECT ctid FROM integrations_delivery WHERE id = told.id AND bulk_run_id = %(bulk_run)s OFFSET 0
    ) AS row
) AS kept WHERE d.ctid = kept.ctid
"""


class LeaseLost(Exception):
    """Somebody else took this bulk run over: stop, save nothing."""


@dataclass(slots=True)
class Work:
    """What a step works with. ``ends`` is when it should, by ``time.monotonic``."""

    run: BulkRun
    job: Job
    clients: Clients
    ends: float
    drained: Drained = field(default_factory=Drained)
    is_outside: bool = False  # at a place of the vendor's for files

    @property
    def bulk(self) -> Bulk:
        """Raises VendorChanged where the stream takes no files any more."""
        bulk = self.job.target_stream.bulk
        if bulk is None:
            raise VendorChanged("flow.target_unwritable", stream=self.job.target_stream.name)
        return bulk

    @contextmanager
    def outside(self) -> Iterator[None]:
        self.is_outside = True
        yield
        self.is_outside = False

    @property
    def pass_(self) -> BulkPass:
        return self.bulk.passes[self.run.pass_number - 1]

    @property
    def is_first(self) -> bool:
        return self.run.pass_number == 1

    @property
    def sent_at(self) -> datetime:
        """When the present pass was started, as far as is known."""
        sent: datetime = self.run.sent_at or self.run.started_at
        return sent

    @property
    def is_overdue(self) -> bool:
        return app_now() >= self.sent_at + LONGEST_RUN

    def own(self, **changes: object) -> None:
        """Holds the bulk run until the end of the transaction, and renews its lease. Raises LeaseLost."""
        self._update(**{"lease_until": leases.lease_end(app_now()), **changes})

    def end(self, **changes: object) -> None:
        """The step is done: the run is let go as ``changes`` say. Raises LeaseLost."""
        self._update(**{"lease_until": None, "not_before": None, "crashes": 0, "code": "", **changes})

    def _update(self, **changes: object) -> None:
        mine = BulkRun.objects.filter(pk=self.run.pk, fence=self.run.fence, state__in=BULK_LIVE)
        if not mine.update(**changes):
            raise LeaseLost

    @contextmanager
    def tx(self) -> Iterator[None]:
        """The clinic's transaction, while the bulk run is ours."""
        with tenant_tx(self.job.tenant_id, reason="bulk"):
            self.own()
            yield

    # -- its deliveries

    def pages(self) -> Iterator[list[Item]]:
        """All of them in the order in which they were wished."""
        with self.tx(), database.cursor() as cursor:
            cursor.execute(_IDS, {"bulk_run": self.run.pk})
            ids = [pk for (pk,) in cursor.fetchall()]
        for start in range(0, len(ids), PAGE):
            if items := self.by_ids(ids[start : start + PAGE]):
                yield items

    def at_lines(self, lines: Sequence[int]) -> list[Item]:
        return self._load("bulk_line", list(lines))

    def by_ids(self, ids: Sequence[int]) -> list[Item]:
        return self._load("id", list(ids))

    def _load(self, column: str, these: list[int]) -> list[Item]:
        with self.tx(), database.cursor() as cursor:
            cursor.execute(
                _THESE.format(column=column), {"tenant": self.job.tenant_id, "bulk_run": self.run.pk, "these": these}
            )
            rows = cursor.fetchall()
        return [self._item(row) for row in rows]

    def _item(self, row: Sequence[object]) -> Item:
        *columns, line, parked, sealed = row
        item = item_of(columns)
        item.line = line if isinstance(line, int) else None
        item.parked = bool(parked)
        if isinstance(sealed, bytes | memoryview):
            with suppress(Unsealable):  # a key left the ring: it goes on as an ordinary linked delivery
                bulk_seen.unseal(self.job, item, bytes(sealed))
        return item

    def open(self, items: Sequence[Item]) -> Batch:
        """A batch of them, with what each wish has beyond what its target showed."""
        batch = Batch(self.job, list(items), self.clients, self.drained)
        wishes.open_drafts(batch)
        wishes.load_links(batch)
        parents.resolve(batch)
        for item in batch.items:
            item.is_new = True
            if item.current is None:
                item.patch = dict(new(item.wanted, self.job.kind_of).fields)
            else:
                item.patch = dict(targets.left_to_write(batch, item, item.current).fields)
        return batch

    def keep(self, items: Sequence[Item]) -> None:
        """What their targets answered, sealed, for the next pass; they have no line any more."""
        with database.cursor() as cursor:
            cursor.execute(
                _KEEP,
                {
                    "bulk_run": self.run.pk,
                    "ids": [item.pk for item in items],
                    "sealed": [bulk_seen.seal(self.job, item) for item in items],
                    "keys": [item.target_key for item in items],
                },
            )

    # -- going back

    def singly(self, ids: Sequence[int]) -> None:
        """These are not gathered again: they go one by one. Call inside the clinic's transaction."""
        Delivery.objects.filter(pk__in=ids, bulk_run_id=self.run.pk).update(singly=True)

    def give_back(self, which: Callable[[Item], bool] = lambda item: True, *, singly: bool = True) -> None:
        """Ends the ownership of these, or of all: what has a target goes on as an ordinary linked delivery, what may have
        been sent is looked up first, the rest goes one by one, or waits for another bulk run. Call inside ``tx``."""
        for page in self.pages():
            items = [item for item in page if which(item)]
            batch = self.open_links(items)
            for item in list(batch.items):
                batch.finish(item, self._back(item))
            if singly:
                self.singly([result.item.pk for result in batch.results if not result.item.target_key])
            batch.settle()

    def open_links(self, items: Sequence[Item]) -> Batch:
        """A batch of which only the links are known, for what is not written."""
        batch = Batch(self.job, list(items), self.clients, self.drained)
        wishes.load_links(batch)
        return batch

    @staticmethod
    def _back(item: Item) -> Result:
        if item.creates and not item.target_key:
            return settlement.uncertain(item, "delivery.no_outcome", app_now(), looked=False)
        return settlement.again(item, "", app_now(), tried=False)


def claim(bulk_run_id: int) -> BulkRun | None:
    """Takes the lease by one conditional update; None where another holds it, an elder run of its flow is under way, or
    nothing is due. Call inside the clinic's transaction."""
    elder = BulkRun.objects.filter(flow_id=OuterRef("flow_id"), state__in=BULK_LIVE, pk__lt=OuterRef("pk"))
    mine = BulkRun.objects.filter(~Exists(elder), pk=bulk_run_id, state__in=BULK_LIVE)
    if not leases.claim(mine, app_now()):
        return None
    run: BulkRun = BulkRun.objects.get(pk=bulk_run_id)
    return run


def next_pass(work: Work) -> None:
    """The next pass, or the end: what is left then goes on one by one."""
    number = work.run.pass_number + 1
    with work.tx():
        if work.is_first:
            work.give_back(lambda item: item.parked)
        is_over = number > len(work.bulk.passes) or not Delivery.objects.filter(bulk_run_id=work.run.pk).exists()
        if is_over:
            work.give_back()
            work.end(state=BulkRunState.DONE, finished_at=app_now())
            return
        work.end(
            state=BulkRunState.GATHERING,
            pass_number=number,
            pass_name=work.bulk.passes[number - 1].name,
            identifier="",
            staged_key="",
            vendor_key="",
            file_digest="",
            rows=0,
            tries=0,
            polls=0,
            sent_at=None,
        )


def later(seconds: float) -> datetime:
    return app_now() + timedelta(seconds=seconds)
