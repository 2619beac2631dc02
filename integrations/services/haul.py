"""Hauls: pages that are kept together, and the next ones read while the last are kept."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

from django.db import connections as connection_handler

from integrations.connectors.base import Page
from integrations.core import errors
from integrations.core.records import Record
from integrations.flows.kind import Wish

_Haul = TypeVar("_Haul")


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


class ReadingAhead(Generic[_Haul]):
    """Hauls one after another; ``start`` has the next one read while the database is busy with the last. Its thread has
    a database connection of its own, for the quota."""

    def __init__(self, haul: Callable[[], _Haul]) -> None:
        self._haul = haul
        self._coming: Future[_Haul] | None = None
        self._has_read = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reading-ahead")

    def start(self) -> None:
        """Does nothing when the next haul is being read already."""
        self._has_read = True
        self._coming = self._coming or self._thread.submit(self._haul)

    def next(self) -> _Haul:
        coming, self._coming = self._coming, None
        return coming.result() if coming else self._haul()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for what is being read: the client is about to be closed."""
        if self._has_read:
            self._thread.submit(connection_handler.close_all)
        self._thread.shutdown()
