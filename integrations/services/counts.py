"""Moves of deliveries between the buckets of their runs, collected and written once per transaction."""

from collections import defaultdict

from django.db.models import F

from integrations.models import DeliveryState, Run


def bucket_of(state: str, outcome: str = "") -> str:
    """The bucket in which a delivery of this state counts."""
    match state:
        case DeliveryState.HELD:
            return "held"
        case DeliveryState.UNCERTAIN:
            return "uncertain"
        case DeliveryState.DONE:
            return outcome
        case _:
            return "waiting"


class Moves:
    """Counts to add per run and bucket; ``save`` writes them, one statement per run, in the order of run ids."""

    def __init__(self) -> None:
        self._deltas: defaultdict[int, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))

    def read(self, run_id: int, bucket: str, count: int = 1) -> None:
        """``count`` records more were read by the run and ended in ``bucket``."""
        self._deltas[run_id]["read"] += count
        self._deltas[run_id][bucket] += count

    def move(self, run_id: int, old: str, new: str) -> None:
        if old != new:
            self._deltas[run_id][old] -= 1
            self._deltas[run_id][new] += 1

    def of(self, run_id: int) -> dict[str, int]:
        return dict(self._deltas.get(run_id, {}))

    def per_run(self) -> dict[int, dict[str, int]]:
        return {run_id: dict(deltas) for run_id, deltas in self._deltas.items()}

    def save(self, *, besides: int | None = None) -> None:
        """Adds the counts; run ``besides`` is left to the caller, who updates more of its row in one statement."""
        for run_id in sorted(self._deltas):
            changes = {name: F(name) + delta for name, delta in self._deltas[run_id].items() if delta}
            if changes and run_id != besides:
                Run.objects.filter(pk=run_id).update(**changes)
