"""Claims: taking due deliveries under a lease with a fence, and what is known of each before it is delivered."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypedDict, cast

from django.db import connection as database

from integrations.core.records import Draft, Note, Record
from integrations.core.values import Value
from integrations.models import DeliveryState
from integrations.services import leases
from integrations.services.counts import Moves
from tenants.walls import app_now, current_tenant_id

BLOCKED_S = 2

COLUMNS = """
d.id, d.flow_id, d.run_id, d.source_key, d.source_version, d.revision_number, d.wish, d.sealed_draft, d.state, d.fence,
d.tries, d.crashes, d.looks, d.creates, d.sent_at, d.lease_until, d.decision, d.notes
"""
_RETURNING = f"RETURNING {COLUMNS}, due.state AS old_state"

_LOST = """
WITH due AS (
    SELECT id, state FROM integrations_delivery
    WHERE target_id = %(target)s AND crashes {crashes} 0 AND bulk_run_id IS NULL
      AND (state IN ('claimed', 'sending') AND lease_until < %(now)s
           OR state = 'uncertain' AND not_before <= %(now)s AND (lease_until IS NULL OR lease_until < %(now)s))
    ORDER BY not_before, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE integrations_delivery d
SET state = CASE WHEN due.state = 'uncertain' OR due.state = 'sending' AND d.creates > 0 THEN 'uncertain' ELSE 'claimed' END,
    crashes = d.crashes + CASE WHEN due.state = 'uncertain' AND d.lease_until IS NULL THEN 0 ELSE 1 END,
    lease_until = %(lease)s, fence = d.fence + 1
FROM due WHERE d.id = due.id {returning}
"""
_CLAIM_LOST = _LOST.format(crashes="=", returning=_RETURNING)
_CLAIM_SUSPECT = _LOST.format(crashes=">", returning=_RETURNING)

_LOOK = f"SELECT {COLUMNS} FROM integrations_delivery d WHERE d.tenant_id = %(tenant)s AND d.id = %(pk)s"  # noqa: S608 - constants only

_CLAIM_WAITING = f"""
WITH due AS (
    SELECT w.id, w.state FROM integrations_delivery w
    WHERE w.target_id = %(target)s AND w.state = 'waiting' AND w.not_before <= %(now)s AND NOT w.guarded
      AND NOT EXISTS (
          SELECT FROM integrations_delivery f
          WHERE f.flow_id = w.flow_id AND f.source_key = w.source_key
            AND f.state IN ('claimed', 'sending', 'uncertain'))
    ORDER BY w.backfill, w.not_before, w.id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE integrations_delivery d
SET state = 'claimed', lease_until = %(lease)s, fence = d.fence + 1
FROM due WHERE d.id = due.id {_RETURNING}
"""  # noqa: S608 - constants only


class Undo(TypedDict):
    """What a delivery that takes a repair back carries in its decision: per field, the digest of what the repair left
    there and of what had been written before it (``""``: nothing), and whether the record counted as gone."""

    left: Mapping[str, str]
    digests: Mapping[str, str]
    was_gone: bool


@dataclass(slots=True, eq=False)
class Item:
    """A claimed delivery on its way, and what was found out about it."""

    pk: int
    flow_id: int
    run_id: int
    source_key: str
    source_version: str
    revision_number: int
    wish: bytes
    sealed_draft: bytes | None
    state: str
    fence: int
    tries: int
    crashes: int
    looks: int
    creates: int
    sent_at: datetime | None
    lease_until: datetime | None
    decision: dict[str, object]
    notes: list[Note] = field(default_factory=list)
    draft: Draft | None = None
    wanted: dict[str, Value] = field(default_factory=dict)
    link_id: int | None = None
    target_key: str = ""
    current: Record | None = None
    is_new: bool = False
    wish_before: bytes | None = None
    previous_wish: bytes | None = None
    was_gone: bool = False
    flips: int = 0
    flips_since: datetime | None = None
    digests: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    patch: dict[str, Value] = field(default_factory=dict)
    wrote: list[str] = field(default_factory=list)
    remembered: dict[str, Value] = field(default_factory=dict)  # what ``digests`` were made of in this delivery
    request_id: str = ""
    unsent: bool = False
    waits_for: list[str] = field(default_factory=list)
    line: int | None = None  # in the file of its bulk run
    parked: bool = False  # until the bulk run's first pass is over

    @property
    def was_uncertain(self) -> bool:
        return self.state == DeliveryState.UNCERTAIN

    @property
    def drops(self) -> tuple[str, ...]:
        """Fields a person decided to leave out."""
        chosen = self.decision.get("drop")
        return tuple(str(name) for name in chosen) if isinstance(chosen, list) else ()

    @property
    def chosen(self) -> str:
        """The target key a person chose, or ``""``."""
        return str(self.decision.get("chosen", ""))

    @property
    def repair(self) -> int:
        """The number of the repair it belongs to, 0 for none."""
        number = self.decision.get("repair")
        return number if isinstance(number, int) else 0

    @property
    def undo(self) -> Undo | None:
        """What it takes back, None for a delivery like most."""
        told = self.decision.get("undo")
        return cast(Undo, told) if isinstance(told, dict) else None


def claim(target_id: int, *, limit: int) -> list[Item]:
    """Takes up to ``limit`` due deliveries to one connection: first those a dead worker left or that are uncertain,
    then waiting ones, live work before backfill. One that was there when a worker died twice is taken alone, so that
    it cannot take others down with it. Call inside the clinic's transaction."""
    now = app_now()
    lease = leases.lease_end(now)
    given: dict[str, Any] = {"target": target_id, "now": now, "lease": lease}
    moves = Moves()
    items: list[Item] = []
    with database.cursor() as cursor:
        for statement, most in ((_CLAIM_SUSPECT, 1), (_CLAIM_LOST, limit), (_CLAIM_WAITING, limit)):
            cursor.execute(statement, given | {"limit": most - len(items)})
            for row in cursor.fetchall():
                *columns, old_state = row
                item = item_of(columns)
                if item.was_uncertain and old_state == DeliveryState.SENDING:
                    moves.move(item.run_id, "waiting", "uncertain")
                items.append(item)
            if len(items) >= limit or (items and statement is _CLAIM_SUSPECT):
                break
    moves.save()
    return items


def look(pk: int) -> Item | None:
    """A delivery as a claim would take it, left where it is; None where it is gone. Call inside the clinic's transaction."""
    with database.cursor() as cursor:
        cursor.execute(_LOOK, {"tenant": current_tenant_id(), "pk": pk})
        row = cursor.fetchone()
    return item_of(row) if row is not None else None


def put_off_blocked(target_id: int) -> None:
    """Due wishes whose predecessor is still on its way are asked for again a little later, not at once: they cannot be
    claimed, and the pulse does not see why. Call inside the clinic's transaction."""
    now = app_now()
    with database.cursor() as cursor:
        cursor.execute(
            """
            UPDATE integrations_delivery w SET not_before = %(later)s
            WHERE w.target_id = %(target)s AND w.state = 'waiting' AND w.not_before <= %(now)s AND NOT w.guarded
              AND EXISTS (
                  SELECT FROM integrations_delivery f
                  WHERE f.flow_id = w.flow_id AND f.source_key = w.source_key
                    AND f.state IN ('claimed', 'sending', 'uncertain'))
            """,
            {"target": target_id, "now": now, "later": now + timedelta(seconds=BLOCKED_S)},
        )


def item_of(row: Sequence[Any]) -> Item:
    """An item of the values of ``COLUMNS``."""
    (pk, flow_id, run_id, key, version, revision, wish, sealed, state, fence, *rest) = row
    tries, crashes, looks, creates, sent_at, lease_until, decision, notes = rest
    decoded = json.loads(decision) if isinstance(decision, str) else decision
    told = json.loads(notes) if isinstance(notes, str) else notes
    return Item(
        pk=pk,
        flow_id=flow_id,
        run_id=run_id,
        source_key=key,
        source_version=version,
        revision_number=revision,
        wish=bytes(wish or b""),
        sealed_draft=bytes(sealed) if sealed is not None else None,
        state=state,
        fence=fence,
        tries=tries,
        crashes=crashes,
        looks=looks,
        creates=creates,
        sent_at=sent_at,
        lease_until=lease_until,
        decision=decoded,
        notes=[Note(note["code"], note["field"]) for note in told],
    )


def mark_sending(items: list[Item]) -> list[Item]:
    """Commits, before anything is sent, that these deliveries are about to write. Those whose fence was passed by
    another worker are left out: that worker owns them now. Call inside the clinic's transaction."""
    now = app_now()
    lease = leases.lease_end(now)
    with database.cursor() as cursor:
        cursor.execute(
            """
            UPDATE integrations_delivery d
            SET state = 'sending', sent_at = %s, lease_until = %s, creates = d.creates + mine.creates
            FROM unnest(%s::bigint[], %s::bigint[], %s::int[]) AS mine(id, fence, creates)
            WHERE d.id = mine.id AND d.fence = mine.fence AND d.state IN ('claimed', 'sending', 'uncertain')
            RETURNING d.id, d.creates
            """,
            [
                now,
                lease,
                [item.pk for item in items],
                [item.fence for item in items],
                [int(item.current is None) for item in items],
            ],
        )
        creates = dict(cursor.fetchall())
    moves = Moves()
    owned = [item for item in items if item.pk in creates]
    for item in owned:
        if item.was_uncertain:
            moves.move(item.run_id, "uncertain", "waiting")
        item.state, item.sent_at, item.lease_until = DeliveryState.SENDING, now, lease
        item.creates = creates[item.pk]
    moves.save()
    return owned
