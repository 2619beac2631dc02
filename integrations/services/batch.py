"""A batch: the items of one flow on their way to its target, what became of each, and how it ends."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from django.conf import settings
from django.db import IntegrityError, OperationalError

from integrations.core import errors
from integrations.models import Call, Connection, DeliveryState, Mode
from integrations.services import connections, settlement
from integrations.services.claims import Item
from integrations.services.jobs import Job
from integrations.services.settlement import Result
from integrations.toolkit.http import Client
from tenants.walls import app_now, tenant_tx

SETTLE_TRIES = 3
OFF_AGAIN_S = 3600


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


class Clients:
    """Opens each connection's client once per drain."""

    def __init__(self, tenant_id: int, opener: Callable[..., Client]) -> None:
        self._tenant_id, self._opener = tenant_id, opener
        self._open: dict[int, Client] = {}

    def to(self, connection: Connection) -> Client:
        if connection.pk not in self._open:
            self._open[connection.pk] = self._opener(self._tenant_id, connection)
        return self._open[connection.pk]


class Ahead(Protocol):
    """What wishes that were judged earlier would have taken at the target by now, where nothing is written."""

    def taken(self, target_keys: Collection[str]) -> set[str]:
        """Those of the targets that would be linked."""

    def holders(self, digests: Collection[str]) -> Mapping[str, str]:
        """Of natural keys, as digests, those that a target would hold, and for which source record."""


class Batch:
    """The items of one flow. Steps take what they can finish out of ``items`` into ``results`` and leave the rest.

    One that ``looks_only`` decides like any other and changes nothing, neither here nor at a vendor: it is never
    written, and what its steps would keep they leave. ``ahead`` is what it finds at the target besides what is there.
    """

    def __init__(
        self,
        job: Job,
        items: list[Item],
        clients: Clients,
        drained: Drained,
        *,
        looks_only: bool = False,
        ahead: Ahead | None = None,
    ) -> None:
        self.job, self.items, self.clients, self.drained = job, items, clients, drained
        self.looks_only, self.ahead = looks_only, ahead
        self.results: list[Result] = []
        self.stream = job.target_stream
        self.fields = job.plan.target_fields
        self.started = time.monotonic()
        self.wrote = False  # whether the target took any write
        self.lost = False  # whether the answer to a whole call was lost

    def finish(self, item: Item, result: Result) -> None:
        """This item's part in the batch is over."""
        if item in self.items:
            self.items.remove(item)
        self.results.append(result)

    def settle(self, *, within: Callable[[], None] | None = None) -> None:
        """Saves the results; a clash with another transaction is tried again, then left to the lease's end.

        ``within`` comes first in the same transaction.
        """
        if self.looks_only:
            raise RuntimeError("a batch that only looks has nothing to settle")
        results, self.results = self.results, []
        if not results and within is None:
            return
        spent = int((time.monotonic() - self.started) * 1000 / max(1, len(results)))
        links = [result.item.link_id for result in results]
        for attempt in range(SETTLE_TRIES):
            try:
                with self.tx():
                    if within is not None:
                        within()
                    self.drained.add(settlement.settle(self.job, results, duration_ms=spent))
                return
            except (IntegrityError, OperationalError):
                if attempt == SETTLE_TRIES - 1:
                    raise
                for result, link_id in zip(results, links, strict=True):  # links made in vain were rolled back
                    result.item.link_id = link_id

    def stop(self, error: errors.SyncError) -> errors.SyncError:
        """The call failed for all: what is settled stays settled, the rest goes back without a try counted."""
        with self.tx():
            retry_at = connections.record_failure(self.job.target.pk, error, call=self._failed_call())
        self.drained.retry_at = retry_at
        paused = isinstance(error, errors.AccountError)  # nothing is claimed until a person mended the connection
        due = retry_at or self.later(0 if paused else settings.SUTURE_PAUSED_RETRY_S)
        for item in list(self.items):
            self.finish(item, self._released(item, error, due))
        self.settle()
        return error

    def _failed_call(self) -> Call:
        """Whoever is about to write has said so; before that, the target is only looked at."""
        writes = any(item.state == DeliveryState.SENDING for item in self.items)
        return Call.WRITE if writes else Call.READ

    def refused_by_mode(self, item: Item) -> Result | None:
        """What becomes of an item that its flow's mode does not let out; None if it may be written or previewed."""
        if self.job.mode == Mode.OFF:
            return settlement.again(item, "mode.off", self.later(OFF_AGAIN_S), tried=False)
        if self.job.mode == Mode.PILOT and item.source_key not in self.job.pilot_keys:
            return settlement.skipped(item, "mode.pilot")
        return None

    def left(self, items: Iterable[Item]) -> list[Item]:
        """Those of ``items`` that are not finished yet."""
        return [item for item in items if item in self.items]

    def _released(self, item: Item, error: errors.SyncError, due: datetime) -> Result:
        may_have_run = item.state == DeliveryState.SENDING and item.is_new and not item.target_key and not item.unsent
        if item.was_uncertain or may_have_run:
            return settlement.uncertain(item, error.code, due, looked=False)
        return settlement.again(item, error.code, due, tried=False)

    def tx(self) -> AbstractContextManager[object]:
        """The clinic's transaction."""
        return tenant_tx(self.job.tenant_id, reason="deliver")

    @staticmethod
    def later(seconds: float) -> datetime:
        return app_now() + timedelta(seconds=seconds)
