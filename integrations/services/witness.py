"""Who keeps what a repair's write replaces, and hears what became of it: a room above enters itself here, when its app is
ready, for an import only ever points down.

Both are called within the transaction of what they are told, so that no write goes out unkept, and no receipt is lost.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from integrations.services.claims import Item
from integrations.services.jobs import Job

if TYPE_CHECKING:  # which calls this module
    from integrations.services.settlement import Result


class Witness(Protocol):
    """Is told of items that belong to a repair (``Item.repair``), and of no others."""

    def about_to_write(self, job: Job, items: Sequence[Item]) -> None:
        """These are sent next; ``current`` is the target as it is, ``patch`` what is written."""

    def settled(self, job: Job, results: "Sequence[Result]") -> None:
        """This became of them."""


_WITNESSES: list[Witness] = []


def enter(witness: Witness) -> None:
    """Adds a witness; entered again, it stays one."""
    if witness not in _WITNESSES:
        _WITNESSES.append(witness)


def about_to_write(job: Job, items: Sequence[Item]) -> None:
    repaired = [item for item in items if item.repair]
    for witness in _WITNESSES if repaired else ():
        witness.about_to_write(job, repaired)


def settled(job: Job, results: "Sequence[Result]") -> None:
    repaired = [result for result in results if result.item.repair]
    for witness in _WITNESSES if repaired else ():
        witness.settled(job, repaired)
