"""Lines for the sync log, collected and written in one insert per transaction."""

from collections.abc import Sequence
from datetime import datetime

from integrations.models import SyncLogEntry
from tenants.walls import current_scope, insert_rows

ACTOR_MAX = SyncLogEntry._meta.get_field("actor").max_length
COLUMNS = (
    "at",
    "flow_id",
    "run_number",
    "source_key",
    "target_key",
    "action",
    "outcome",
    "code",
    "fields",
    "duration_ms",
    "request_id",
    "actor",
)


class Log:
    """What happened to which key; field names, never values. Skips of ``quiet`` keys were told before."""

    def __init__(self, flow_id: int, run_id: int | None, now: datetime, *, quiet: frozenset[str] = frozenset()) -> None:
        self._flow_id, self._run_id, self._now, self._quiet = flow_id, run_id, now, quiet
        self._rows: list[tuple[object, ...]] = []

    def add(
        self,
        source_key: str,
        action: str,
        outcome: str,
        *,
        target_key: str = "",
        code: str = "",
        fields: Sequence[str] = (),
        duration_ms: int | None = None,
        request_id: str = "",
        run_id: int | None = None,
    ) -> None:
        if action == "skip" and source_key in self._quiet:
            return
        scope = current_scope()
        self._rows.append(
            (
                self._now,
                self._flow_id,
                run_id or self._run_id,
                source_key,
                target_key,
                action,
                outcome,
                code,
                list(fields),
                duration_ms,
                request_id[:120],
                getattr(scope, "actor", "")[:ACTOR_MAX],
            )
        )

    def save(self) -> None:
        insert_rows(SyncLogEntry, COLUMNS, self._rows)
        self._rows = []
