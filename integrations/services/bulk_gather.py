"""Pass 0 of a bulk run: who takes part. Whoever is at the target already, by marker or natural key, stays out."""

import hmac
import time
from collections.abc import Callable, Iterable, Iterator

from django.conf import settings

from integrations.connectors.base import Ask
from integrations.core.errors import VendorChanged
from integrations.core.records import Record
from integrations.core.values import Value
from integrations.models import BulkRunState
from integrations.services import settlement
from integrations.services.batch import Batch
from integrations.services.bulk_work import Work
from integrations.services.claims import Item
from integrations.services.jobs import Job
from integrations.services.writing import step_of
from integrations.toolkit.http import Client
from tenants.walls import app_now

DIGEST_BYTES = 16
READ_FOR_ONE = 20  # reading more target records than so many times our own costs more than writing one by one


class Keys:
    """Markers and natural keys of those who take part, as digests: who came first with each.

    Who repeats one that an earlier wish has is parked: it goes when the earlier one has gone.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._names = names_of(job)
        self._first: dict[bytes, int] = {}
        self._taking_part: set[int] = set()

    def __len__(self) -> int:
        return len(self._taking_part)

    def add(self, item: Item) -> bool:
        """Whether it takes part; else it is to be parked."""
        firsts = [self._first.setdefault(key, item.pk) for key in self._digests(item.wanted.get)]
        if item.parked or any(first != item.pk for first in firsts):
            return False
        self._taking_part.add(item.pk)
        return True

    def meet(self, records: Iterable[Record]) -> set[int]:
        """Those whose marker or natural key one of these has: they take part no more."""
        met = {self._first[key] for one in records for key in self._digests(one.values.get) if key in self._first}
        met &= self._taking_part
        self._taking_part -= met
        return met

    def forget(self) -> None:
        """Nobody takes part."""
        self._taking_part.clear()

    def _digests(self, value_of: Callable[[str], Value]) -> Iterator[bytes]:
        for name in self._names:
            text = self._job.kind_of(name).canon(value_of(name))
            if text:
                told = f"{name}\x1f{text}".encode()
                yield hmac.digest(self._job.vault.digest_key, told, "sha256")[:DIGEST_BYTES]


def names_of(job: Job) -> tuple[str, ...]:
    """The fields by which a record of the target may be known: the marker, then natural keys."""
    natural = (key.field for key in job.kind.matching.natural)
    return tuple(name for name in (job.kind.marker, *natural) if name in job.kinds)


def gather(work: Work, client: Client) -> None:
    """Reads the target on from where it was read to, as far as this step's time goes: who takes part is found out anew in
    each step, and that does not count. At its end the first pass begins, if enough take part."""
    keys, began = Keys(work.job), time.monotonic()
    for items in work.pages():
        _admit(work, keys, items)
    work.ends += time.monotonic() - began
    if len(keys) and not _read_target(work, client, keys):
        return
    enough = len(keys) > settings.SUTURE_BULK_FROM
    with work.tx():
        if enough:
            work.end(pass_number=1, pass_name=work.bulk.passes[0].name, place=None)
        else:
            work.give_back()
            work.end(state=BulkRunState.DONE, finished_at=app_now())


def _admit(work: Work, keys: Keys, items: list[Item]) -> None:
    """One page of deliveries: those that cannot go in bulk leave, those that repeat a key are parked."""
    batch = work.open(items)
    for item in list(batch.items):
        if not _may_go(work, batch, item):
            batch.finish(item, settlement.again(item, "", app_now(), tried=False))
    parked = [item.pk for item in batch.items if not keys.add(item)]
    _settle(work, batch, parked)


def _may_go(work: Work, batch: Batch, item: Item) -> bool:
    if item.draft is None or item.draft.gone or item.target_key or item.dropped or item.drops:
        return False
    return work.bulk.takes(step_of(batch, item), work.job.kind.marker)


def _settle(work: Work, batch: Batch, parked: list[int]) -> None:
    leaving = [result.item.pk for result in batch.results]
    if not leaving and not parked:
        return

    def mark() -> None:
        work.own()
        work.singly([*leaving, *parked])

    batch.settle(within=mark)


def _read_target(work: Work, client: Client, keys: Keys) -> bool:
    """True at the end of the target's list, or where going on is not worth it: then nobody takes part any more."""
    read_page = work.job.target_stream.read_page
    if read_page is None:
        raise VendorChanged("flow.target_unwritable", stream=work.job.target_stream.name)
    ask = Ask(None, frozenset(names_of(work.job)))
    place, looked = work.run.place, work.run.looked
    most = READ_FOR_ONE * len(keys)
    while True:
        page = read_page(client, ask, place)
        place, looked = page.next, looked + len(page.records)
        if place is not None and looked > most:
            keys.forget()
            return True
        _send_away(work, keys.meet(page.records))
        with work.tx():
            if place is None:
                return True
            if time.monotonic() >= work.ends:
                work.end(place=place, looked=looked)
                return False
            work.own(place=place, looked=looked, crashes=0, tries=0)


def _send_away(work: Work, ids: set[int]) -> None:
    if not ids:
        return
    batch = work.open_links(work.by_ids(sorted(ids)))
    for item in list(batch.items):
        batch.finish(item, settlement.again(item, "", app_now(), tried=False))
    _settle(work, batch, [])
