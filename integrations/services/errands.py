"""Work that rooms above this one do in the clinics' name: the pulse asks whether it is due, and rings for it.

An import only ever points down, so whoever has such work names its module here, when its app is ready. The module is
imported when the errands are asked for: a command that runs none does not wait for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module

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


_MODULES: list[str] = []


def enter(module: str) -> None:
    """Adds what the module lists as ``ERRANDS``."""
    if module not in _MODULES:
        _MODULES.append(module)


def errands() -> Sequence[Errand]:
    return tuple(errand for module in _MODULES for errand in import_module(module).ERRANDS)


def task_of(name: str) -> Callable[[int, int], str]:
    """Raises KeyError for an errand nobody entered."""
    return {errand.name: errand.task for errand in errands()}[name]
