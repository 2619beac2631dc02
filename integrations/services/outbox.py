"""The outbox: rows of deliveries made from wishes, each replacing one that still waits."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db import connection as database

from integrations.flows.kind import Wish
from integrations.models import OPEN, DeliveryState
from integrations.services import synclog
from integrations.services.counts import Moves, bucket_of
from integrations.services.gate import Known, print_of, refusal
from integrations.services.jobs import Job
from tenants.walls import current_tenant_id

_SUPERSEDE = f"""
DELETE FROM integrations_delivery
WHERE tenant_id = %(tenant)s AND id = %(id)s AND state IN ({", ".join(f"'{state.value}'" for state in OPEN)})
RETURNING state, answers_for
"""  # noqa: S608 - constants only; the state as it is now, which a person may have changed since it was read
_JUDGE_ANEW = """
UPDATE integrations_delivery
SET state = 'waiting', revision_number = %(revision)s, not_before = %(now)s, tries = 0, crashes = 0, code = '',
    codes = '[]', candidates = '{}', held_at = NULL
WHERE tenant_id = %(tenant)s AND id = %(id)s AND state = 'held' RETURNING run_id
"""
NONE: list[object] = []  # one and the same for all rows: it is sent once


class Outbox:
    """Makes rows of the outbox from wishes: one gate, and one statement per row that is superseded."""

    COLUMNS = (
        "source_key",
        "flow_id",
        "run_id",
        "target_id",
        "source_version",
        "revision_number",
        "wish",
        "sealed_draft",
        "state",
        "code",
        "codes",
        "notes",
        "guarded",
        "backfill",
        "not_before",
        "changed_at",
        "created_at",
        "held_at",
    )

    def __init__(
        self,
        job: Job,
        run_id: int,
        known: Known,
        *,
        moves: Moves,
        log: synclog.Log,
        now: datetime,
        backfill: bool = False,
    ) -> None:
        self.job, self.run_id, self.known, self.backfill = job, run_id, known, backfill
        self.moves, self.log, self.now = moves, log, now
        self.inherited: dict[str, str] = {}
        """Merged keys that rows which gave way were to answer for, with the record's own key."""

    def withdraw(self, keys: Iterable[str]) -> None:
        """Nothing is wished for these any more: what still waits is not delivered."""
        for key in keys:
            self._supersede(key)

    def rows(self, wishes: Sequence[Wish]) -> list[tuple[object, ...]]:
        """What is to be inserted for these; what they supersede goes at once."""
        return [row for wish in wishes if (row := self._row(wish)) is not None]

    def _row(self, wish: Wish) -> tuple[object, ...] | None:
        key = wish.record.key
        if refused := refusal(wish, self.known):
            self.withdraw([key])
            self.moves.read(self.run_id, "skipped")
            self.log.add(key, "skip", "skipped", code=refused)
            return None
        print_of_wish = print_of(self.job, wish)
        if self._is_known(key, print_of_wish):
            if wish.draft is not None and self.known.is_judged_anew(key, self.job.revision_number):
                self._judge_anew(key)
            return None
        self._supersede(key)
        bucket = "held" if wish.problems else "waiting"
        self.moves.read(self.run_id, bucket)
        if wish.problems:
            self.log.add(
                key,
                "map",
                "held",
                code=wish.problems[0][0],
                fields=[name for _, name in wish.problems if name in self.job.kinds],
            )
        return self._values(wish, print_of_wish)

    def _is_known(self, key: str, print_of_wish: bytes) -> bool:
        """Equal to the newest wish there is."""
        state, newest = self.known.newest(key)
        if newest != print_of_wish:
            return False
        self.moves.read(self.run_id, "held" if state == DeliveryState.HELD else "unchanged")
        return True

    def _judge_anew(self, key: str) -> None:
        """A held delivery of the same wish goes on as the flow is configured now: which target it means is asked again."""
        with database.cursor() as cursor:
            cursor.execute(
                _JUDGE_ANEW,
                {
                    "tenant": current_tenant_id(),
                    "id": self.known.open[key][0],
                    "now": self.now,
                    "revision": self.job.revision_number,
                },
            )
            if row := cursor.fetchone():
                self.moves.move(row[0], "held", "waiting")

    def _supersede(self, key: str) -> None:
        """A newer wish replaces an open one: the old row goes, its run counts it as superseded."""
        if key not in self.known.open:
            return
        pk, run_id, _, _ = self.known.open[key]
        with database.cursor() as cursor:
            cursor.execute(_SUPERSEDE, {"tenant": current_tenant_id(), "id": pk})
            if row := cursor.fetchone():
                self.moves.move(run_id, bucket_of(row[0]), "superseded")
                self.inherited |= dict.fromkeys(row[1], key)

    def _values(self, wish: Wish, print_of_wish: bytes) -> tuple[object, ...]:
        record, draft = wish.record, wish.draft
        codes = [{"code": code, "field": name} for code, name in wish.problems]
        return (
            record.key,
            self.job.flow_id,
            self.run_id,
            self.job.target.pk,
            self.job.reading(record),
            self.job.revision_number,
            print_of_wish,
            self.job.seal(draft, record.key) if draft else None,
            DeliveryState.WAITING.value if draft else DeliveryState.HELD.value,
            codes[0]["code"] if codes else "",
            codes or NONE,
            [{"code": note.code, "field": note.field} for note in wish.notes] or NONE,
            bool(draft and draft.gone),
            self.backfill,
            self.now,
            record.changed_at,
            self.now,
            None if draft else self.now,
        )
