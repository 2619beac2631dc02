"""The gate: what is known of a record before it goes into the outbox, and whether it goes there at all.

Intake asks it for a pass, foresight for one record, reconciliation for a whole side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

from django.db import connection as database

from integrations.core import fingerprint
from integrations.core.records import Draft, Record, State
from integrations.core.values import Text
from integrations.flows.kind import Wish
from integrations.models import IN_FLIGHT, OPEN, Flow, Mode
from integrations.services.jobs import Job
from tenants.walls import current_tenant_id, text_array

_UNFINISHED = ", ".join(f"'{state.value}'" for state in (*OPEN, *IN_FLIGHT))
# What the target's side decided about a held delivery, and another configuration may decide otherwise.
_JUDGED = """CASE WHEN state = 'held' AND ignored_until IS NULL AND split_part(code, '.', 1) IN ('match', 'field', 'parent')
    THEN revision_number END"""
# Key by key, so that no plan made without statistics reads all of a flow's rows for a few hundred.
_KNOW = f"""
WITH asked AS MATERIALIZED (SELECT unnest(%(keys)s::text[]) AS key)
SELECT key, wish, gone, NULL, NULL, source_version, NULL FROM asked CROSS JOIN LATERAL (
    SELECT wish, gone, source_version FROM integrations_linkstate
    WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND source_key = key OFFSET 0) AS linked
UNION ALL
SELECT key, wish, NULL, id, run_id, state, judged FROM asked CROSS JOIN LATERAL (
    SELECT wish, id, run_id, state, {_JUDGED} AS judged FROM integrations_delivery
    WHERE tenant_id = %(tenant)s AND flow_id = %(flow)s AND source_key = key AND state IN ({_UNFINISHED}) OFFSET 0) AS open
"""  # noqa: S608 - constants only


@dataclass(slots=True)
class Known:
    """What the outbox and the links know of some keys, read in one query."""

    wishes: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    linked: set[str] = field(default_factory=set)
    open: dict[str, tuple[int, int, str, bytes | None]] = field(default_factory=dict)
    flying: dict[str, bytes | None] = field(default_factory=dict)
    readings: dict[str, str] = field(default_factory=dict)
    judged: dict[str, int] = field(default_factory=dict)
    """Of held deliveries that another configuration may judge otherwise, the revision that judged them."""

    def has(self, key: str) -> bool:
        """Whether anything was ever wished for this record."""
        return key in self.linked or key in self.open or key in self.flying

    def newest(self, key: str) -> tuple[str, bytes | None]:
        """The newest wish for this record: the open delivery's, else the flying one's, else the delivered one; and the
        state of an open delivery, else ``""``."""
        if key in self.open:
            _, _, state, wish = self.open[key]
            return state, wish
        return "", self.flying[key] if key in self.flying else self.wishes.get(key)

    def is_judged_anew(self, key: str, revision_number: int) -> bool:
        """Whether a held delivery's target is to be looked for again, because the flow was configured otherwise since."""
        return key in self.judged and self.judged[key] < revision_number

    def made_of(self, key: str, reading: Callable[[Record], str], record: Record) -> bool:
        """Whether the last delivered wish was made of this very reading and nothing came after it: then there is no need
        to make it again."""
        last = self.readings.get(key)
        return bool(last) and key not in self.open and key not in self.flying and last == reading(record)


def know(flow_id: int, keys: Sequence[str]) -> Known:
    """What is known of these keys, in one query: the last delivered wish, the open and the flying delivery."""
    known = Known()
    if not keys:
        return known
    with database.cursor() as cursor:
        cursor.execute(_KNOW, {"tenant": current_tenant_id(), "flow": flow_id, "keys": text_array(keys)})
        for key, wish, gone, pk, run_id, state, judged in cursor.fetchall():
            print_of_wish = bytes(wish) if wish is not None else None
            if pk is None:
                known.linked.add(key)
                known.wishes[key] = print_of_wish or b""
                known.readings[key] = state if wish else ""
                if gone:
                    known.gone.add(key)
            elif state in OPEN:
                known.open[key] = (pk, run_id, state, print_of_wish)
                if judged is not None:
                    known.judged[key] = judged
            else:
                known.flying[key] = print_of_wish
    return known


def start_instant(flow: Flow) -> datetime | None:
    """Records made before this are left out: the flow's activation, a date in the clinic's zone, or None for all.

    Vendors stamp in whole seconds, so that what was made in the activation's second counts as made after it.
    """
    if flow.start == "all":
        return None
    if flow.start == "activation":
        return flow.activated_at and flow.activated_at.replace(microsecond=0)
    zone = ZoneInfo(flow.tenant.time_zone)
    return datetime.combine(date.fromisoformat(flow.start), time(), tzinfo=zone).astimezone(UTC)


def pilot_of(flow: Flow) -> frozenset[str] | None:
    """The only records that the flow's mode lets through, None for all."""
    return frozenset(flow.pilot_keys) if flow.mode == Mode.PILOT else None


def left_out(record: Record, known: Known, *, pilot: frozenset[str] | None, starts_at: datetime | None) -> str:
    """Why a pass leaves this record out, or ``""``. One older than the flow's start is left out, unless a backfill
    brought it in: then it is kept up."""
    if pilot is not None and record.key not in pilot:
        return "mode.pilot"
    return "mode.before_start" if is_older(record, starts_at) and not known.has(record.key) else ""


def is_older(record: Record, starts_at: datetime | None) -> bool:
    """Whether it was made before the flow's start."""
    return bool(starts_at and record.created_at and record.created_at < starts_at)


def refusal(wish: Wish, known: Known) -> str:
    """Why nothing is to be delivered for this wish, or ``""``. An archived record nobody ever delivered makes nothing at
    the target, and no work for a person."""
    key = wish.record.key
    was_delivered = key in known.linked or key in known.flying
    is_idle = wish.record.state is State.ARCHIVED and not was_delivered
    return wish.skip or ("record.archived_unlinked" if is_idle else "")


def print_of(job: Job, wish: Wish) -> bytes:
    """What the gate compares: the draft's fingerprint, or one of the problems and the reading that has them."""
    if wish.draft is not None:
        return job.fingerprint(wish.draft)
    told = "\x1e".join(f"{code}\x1f{name}" for code, name in wish.problems)
    draft = Draft({"problems": f"{told}\x1d{wish.record.version}"})
    return fingerprint.wish(job.vault.digest_key, draft, lambda _: Text)
