"""Work that rooms above this one do in the clinics' name: the pulse asks whether it is due, and rings for it.

An import only ever points down, so whoever has such work enters it here, when its app is ready.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from integrations.services.pulse import Ring


@dataclass(frozen=True, slots=True)
class Errand:
    """``due`` is asked as app_system, in the pulse's transaction; ``task`` takes a clinic and an id, as tasks do.

    ``name`` is that of its leases, and ``sweep`` what housekeeping calls for each clinic.
    """

    name: str
    due: Callable[[], Sequence[Ring]]
    task: Callable[[int, int], str]
    sweep: Callable[[int], int] = lambda _: 0


_ERRANDS: dict[str, Errand] = {}


def enter(errand: Errand) -> None:
    """Adds an errand; entered again, it takes its own place."""
    _ERRANDS[errand.name] = errand


def errands() -> Sequence[Errand]:
    return tuple(_ERRANDS.values())


def task_of(name: str) -> Callable[[int, int], str]:
    """Raises KeyError for an errand nobody entered."""
    return _ERRANDS[name].task
