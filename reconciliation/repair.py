"""Repairs: mismatches are chosen, looked at, approved, sent anew by ordinary deliveries, read again, and taken back where
somebody wants. There is no second way to write."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet

from integrations.models import IN_FLIGHT, Delivery, DeliveryState, Flow, LinkState, Mode
from integrations.services.desk import Refused
from integrations.services.resending import COLUMNS, counted_run, send_anew
from reconciliation.compare import Cause
from reconciliation.compare import Mismatch as Kind
from reconciliation.models import Mismatch, Repair, RepairState, RepairStep, StepState, UndoState
from tenants.services import record_audit
from tenants.walls import insert_rows, narrow_to

MOST = 5_000
"""Records at a time."""
MENDED = (Kind.DIFFERENT, Kind.MISSING_RIGHT)
"""What a delivery can mend. The others ask a person to decide which record is right, at the vendor or at the link."""
UNDER_WAY = (RepairState.PREVIEWING, RepairState.PROPOSED, RepairState.SENDING)
AS = " as "
"""Between the names of who acts as somebody else and of that person, as the audit joins them."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What could be sent anew of the chosen mismatches, and what could not: ``left`` counts these by kind."""

    keys: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """Of each flow, the source keys with the target keys that belong to them, ``""`` where none is known."""
    by_kind: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, int] = field(default_factory=dict)
    is_full: bool = False

    @property
    def records(self) -> int:
        return sum(len(keys) for keys in self.keys.values())


def choose(mismatches: QuerySet[Mismatch]) -> Choice:
    """What a repair of these would be about; nothing is done yet. Left out is what is on its way already, by a delivery
    or in another repair. A record that was deleted at the target stays so until somebody unlinks it."""
    standing = mismatches.filter(closed_at=None).order_by()
    asked = standing.filter(_MENDED).exclude(Exists(_on_its_way())).exclude(Exists(_in_a_repair()))
    rows = asked.order_by("pk").values_list("flow_id", "source_key", "target_key", "kind")
    keys: defaultdict[int, dict[str, str]] = defaultdict(dict)
    kinds: Counter[str] = Counter()
    records, is_full = 0, False
    for flow_id, source_key, target_key, kind in rows.iterator():
        is_new = source_key not in keys[flow_id]
        if is_new and records == MOST:
            is_full = True
            break
        records += int(is_new)
        keys[flow_id].setdefault(source_key, target_key)
        kinds[kind] += 1
    left = standing.exclude(_MENDED).values("kind").annotate(count=Count("pk")).values_list("kind", "count")
    return Choice({flow: own for flow, own in keys.items() if own}, dict(kinds), dict(left), is_full)


_MENDED = Q(kind__in=MENDED) & ~Q(source_key="") & ~Q(kind=Kind.MISSING_RIGHT, cause=Cause.DELETED)


def _on_its_way() -> QuerySet[Delivery]:
    moving: QuerySet[Delivery] = Delivery.objects.filter(
        flow_id=OuterRef("flow_id"), source_key=OuterRef("source_key"), state__in=(DeliveryState.WAITING, *IN_FLIGHT)
    )
    return moving


def _in_a_repair() -> QuerySet[RepairStep]:
    steps: QuerySet[RepairStep] = RepairStep.objects.filter(
        repair__flow_id=OuterRef("flow_id"), repair__state__in=UNDER_WAY, source_key=OuterRef("source_key")
    )
    return steps


def propose(choice: Choice, *, by: str, now: datetime) -> list[Repair]:
    """One repair a flow, to be looked at next. Raises Refused where a flow writes nothing: then none is made."""
    flows = list(Flow.objects.filter(pk__in=choice.keys).order_by("pk"))
    for flow in flows:
        _refuse_unless_it_writes(flow)
    return [_propose(flow, choice.keys[flow.pk], by, now) for flow in flows]


def _refuse_unless_it_writes(flow: Flow) -> None:
    if flow.mode not in (Mode.LIVE, Mode.PILOT):
        raise Refused(f"{flow} is not live, so nothing would be written. Set it live first.")


def _propose(flow: Flow, keys: Mapping[str, str], by: str, now: datetime) -> Repair:
    with narrow_to(flow.tenant_id):
        repair: Repair = Repair.objects.create(
            flow=flow,
            proposed_by=by,
            proposed_at=now,
            records=len(keys),
            needs_second=len(keys) > settings.SUTURE_REPAIR_ALONE_MAX,
        )
        rows = [(source_key, repair.pk, target_key) for source_key, target_key in sorted(keys.items())]
        insert_rows(RepairStep, ("source_key", "repair_id", "target_key"), rows)
        _audit(repair, "repair.proposed", by)
    return repair


def may_approve(repair: Repair, person: str) -> bool:
    """Whether this person's word is enough: a large repair takes another one than who proposed it, whoever they act as."""
    return not (repair.needs_second and set(person.split(AS)) & set(repair.proposed_by.split(AS)))


def approve(repair: Repair, *, by: str, now: datetime) -> int:
    """Sends what the preview said would be written; how many records. Raises Refused."""
    if not may_approve(repair, by):
        raise Refused("Somebody else must approve this one: it is large, and you proposed it.")
    flow = Flow.objects.get(pk=repair.flow_id)
    _refuse_unless_it_writes(flow)
    _move(repair, RepairState.PROPOSED, RepairState.SENDING, approved_by=by, approved_at=now, crashes=0)
    ready = RepairStep.objects.filter(repair=repair, state=StepState.READY)
    keys = list(ready.values_list("source_key", flat=True))
    if keys:
        send_anew(flow, keys, trigger="repair", decision={"repair": repair.pk})
    ready.update(state=StepState.SENT)
    _audit(repair, "repair.approved", by, sent=len(keys))
    return len(keys)


def decline(repair: Repair, *, by: str, now: datetime) -> None:
    """Nothing of it is sent, and what it showed is forgotten. Raises Refused."""
    asked = (RepairState.PREVIEWING, RepairState.PROPOSED)
    if not Repair.objects.filter(pk=repair.pk, state__in=asked).update(
        state=RepairState.DECLINED, ended_at=now, fence=F("fence") + 1, lease_until=None
    ):
        raise Refused("Somebody was faster: it no longer waits for approval.")
    RepairStep.objects.filter(repair=repair).update(sealed_preview=None)
    _audit(repair, "repair.declined", by)


def undoable() -> Q:
    """Steps whose record may get its old values back: it was there before, and what was there is still known."""
    return Q(undo_state=UndoState.NONE, sealed_before__isnull=False)


def undo(repair: Repair, *, by: str, reason: str, now: datetime) -> int:
    """Sends the old values back, where they can be; how many records. What cannot is named on its step. Raises Refused."""
    if not reason.strip():
        raise Refused("Say why, so that the next person knows.")
    flow = Flow.objects.get(pk=repair.flow_id)
    _refuse_unless_it_writes(flow)
    if repair.undo_until is None or repair.undo_until <= now:
        raise Refused("What was there before is no longer kept.")
    words = {"undone_by": by, "undo_reason": reason.strip()[:255]}
    _move(repair, RepairState.DONE, RepairState.UNDOING, not_before=None, crashes=0, **words)
    steps = list(RepairStep.objects.filter(undoable(), repair=repair).order_by("source_key"))
    sent = _send_back(flow, repair, steps, now)
    RepairStep.objects.filter(repair=repair, source_key__in=sent).update(undo_state=UndoState.SENT)
    rest = RepairStep.objects.filter(repair=repair, undo_state=UndoState.NONE)
    for which, code in _KEPT:
        rest.filter(which).update(undo_state=UndoState.KEPT, undo_code=code)
    _audit(repair, "repair.undone", by, reason=reason, sent=len(sent))
    return len(sent)


_KEPT: Sequence[tuple[Q, str]] = (
    (Q(outcome="created"), "repair.created"),
    (Q(sealed_before__isnull=False), "repair.on_its_way"),
    (Q(outcome__in=("updated", "archived")), "repair.not_kept"),
    (Q(state=StepState.IN_LINE, outcome__in=("", "superseded")), "repair.overtaken"),
)
"""What cannot be taken back, and why; the first that fits. A record that nothing was written to is named nowhere."""


def _send_back(flow: Flow, repair: Repair, steps: Sequence[RepairStep], now: datetime) -> list[str]:
    """The records whose old values are on their way now; not those that something else is on its way for."""
    keys = [step.source_key for step in steps]
    wishes = dict(LinkState.objects.filter(flow=flow, source_key__in=keys).values_list("source_key", "wish"))
    own = [step for step in steps if step.source_key in wishes]
    if not own:
        return []
    run = counted_run(flow, len(own), "undo")
    rows = [
        (
            flow.pk, run.pk, flow.target_id, step.source_key, flow.revision_number, bytes(wishes[step.source_key]),
            {"repair": repair.pk, "undo": {"left": step.left, "digests": step.digests, "was_gone": step.was_gone}},
            True, now, now, bytes(step.sealed_before or b""),
        )
        for step in own
    ]  # fmt: skip
    made = insert_rows(Delivery, (*COLUMNS, "sealed_draft"), rows, on_conflict="DO NOTHING", returning=("source_key",))
    if made.written < len(own):
        type(run).objects.filter(pk=run.pk).update(read=made.written, waiting=made.written)
    return [key for (key,) in made]


def _move(repair: Repair, before: RepairState, after: RepairState, **changes: object) -> None:
    """By one conditional update. Raises Refused where it is in another state by now."""
    if not Repair.objects.filter(pk=repair.pk, state=before).update(state=after, **changes):
        raise Refused("Somebody was faster: look at where it stands now.")


def _audit(repair: Repair, action: str, by: str, *, reason: str = "", **counts: int) -> None:
    record_audit(
        action,
        target=f"repair {repair.pk}",
        reason=reason,
        diff={"records": repair.records, **counts},
        tenant_id=repair.tenant_id,
        actor=by,
    )


# -- what time does


def lapse(now: datetime) -> int:
    """Ends repairs that nobody approved in time, and forgets what was there before where its time is over. Call inside
    the clinic's transaction."""
    edge = now - timedelta(days=settings.SUTURE_REPAIR_WAIT_DAYS)
    old = Repair.objects.filter(state=RepairState.PROPOSED, proposed_at__lt=edge)
    lapsed = int(old.update(state=RepairState.LAPSED, ended_at=now))
    over = Repair.objects.filter(Q(undo_until__lt=now) | Q(state=RepairState.LAPSED))
    sealed = ~Q(sealed_before=None) | ~Q(sealed_preview=None)
    forgotten = RepairStep.objects.filter(sealed, repair__in=over.values("pk")).exclude(
        repair__state=RepairState.UNDOING
    )
    return lapsed + int(forgotten.update(sealed_before=None, sealed_preview=None, digests={}, left={}))
