"""The error desk: what a person decides about deliveries that wait for one.

Every verb works on deliveries of the scope it is called in, moves only rows that are still held, moves their runs'
counts in the same transaction, and writes an audit entry per clinic. No vendor is asked here.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection as database
from django.db.models import F, OuterRef, Q, QuerySet, Subquery

from integrations.flows import FLOW_KINDS
from integrations.flows.kind import FlowKind
from integrations.models import Alert, Delivery, DeliveryState, Flow, Link
from integrations.services.alerts import end_flow_alerts
from integrations.services.counts import Moves
from tenants.services import record_audit
from tenants.walls import app_now

BULK_MAX = 10_000
COUNT_MAX = 50_000
MASS_CHANGE = "guard.mass_change"
KEY = re.compile(r"[A-Za-z0-9_:/.-]{1,255}")


class Refused(ValueError):
    """What was asked cannot be done; the message is a sentence for the person."""


# -- what is on the desk ---------------------------------------------------------------------------------------------


def on_desk(now: datetime) -> QuerySet[Delivery]:
    """Deliveries that wait for a person and are not ignored for now."""
    waiting: QuerySet[Delivery] = Delivery.objects.filter(is_on_desk(now))
    return waiting


def is_on_desk(now: datetime) -> Q:
    return Q(state=DeliveryState.HELD) & (Q(ignored_until__isnull=True) | Q(ignored_until__lte=now))


def kinds_of_trouble(deliveries: QuerySet[Delivery], *, most: int = 0) -> Counter[str]:
    """How many deliveries have which code: of all of them up to ``most`` (COUNT_MAX), beyond that of the newest."""
    newest = deliveries.order_by("-held_at").values("code")[: most or COUNT_MAX]
    try:
        asked, given = newest.query.sql_with_params()
    except EmptyResultSet:
        return Counter()
    with database.cursor() as cursor:
        cursor.execute(f"SELECT code, count(*) FROM ({asked}) AS newest GROUP BY code", given)  # noqa: S608 - Django's own
        return Counter(dict(cursor.fetchall()))


# -- verbs -----------------------------------------------------------------------------------------------------------


def retry(deliveries: QuerySet[Delivery], *, reason: str = "", anew: bool = False) -> int:
    """Puts held deliveries back into the outbox, due at once; returns how many, at most BULK_MAX in one call.

    One that holds no draft, or was made by an older revision of its flow, is read again from its source when its turn
    comes, and made by the present one.
    """
    return _send_again(deliveries, "delivery.retried", reason=reason, anew=anew)


def approve_mass_change(flow: Flow, *, reason: str = "") -> int:
    """Lets through what the mass-change guard held of this flow, and the flow go on."""
    held = Delivery.objects.filter(flow=flow, code=MASS_CHANGE)
    approved = 0
    while moved := _send_again(held, "flow.mass_change_approved", reason=reason):
        approved += moved
    Flow.objects.filter(pk=flow.pk, stopped_code=MASS_CHANGE).update(stopped_code="")
    told = Alert.objects.filter(flow=flow, code=MASS_CHANGE, ended_at=None)
    end_flow_alerts(told.values_list("pk", flat=True), app_now())
    return approved


def choose_candidate(delivery: Delivery, *, target_key: str) -> None:
    """This record is that target record: delivered to it next, and linked. Raises Refused."""
    if not KEY.fullmatch(target_key):
        raise Refused("That does not look like a record's number.")
    kind = kind_of(delivery)
    own = _links(delivery, kind).filter(source_key=delivery.source_key).first()
    if own is not None and own.target_key != target_key:
        raise Refused(f"This record is already linked to {own.target_key}. Change the link first.")
    if taken := taken_by(delivery, [target_key]).get(target_key):
        raise Refused(f"{target_key} is already linked to {taken}, another record. Unlink that one first.")
    _decide(delivery, {"chosen": target_key}, "delivery.chosen", {"chosen": target_key})


def create_without(delivery: Delivery, *, fields: Sequence[str]) -> None:
    """Delivers this record without these target fields. Raises Refused."""
    unknown = [name for name in fields if kind_of(delivery).target.find_field(name) is None]
    if unknown or not fields:
        raise Refused("There is no such field to leave out.")
    _decide(delivery, {"drop": sorted(fields)}, "delivery.sent_without", {"left_out": sorted(fields)})


def ignore(deliveries: QuerySet[Delivery], *, reason: str, until: datetime) -> int:
    """Takes held deliveries off the desk until then, or until their source record changes. Raises Refused."""
    if not reason.strip():
        raise Refused("Say why, so that the next person knows.")
    if until <= app_now():
        raise Refused("Choose a day that is still to come.")
    rows = _held(deliveries)
    Delivery.objects.filter(pk__in=[row.pk for row in rows], state=DeliveryState.HELD).update(
        ignored_until=until, ignored_reason=reason.strip()[:255]
    )
    _audit(rows, "delivery.ignored", reason=reason, diff={"until": until.isoformat()})
    return len(rows)


def stop_ignoring(deliveries: QuerySet[Delivery]) -> int:
    """Puts ignored deliveries back on the desk."""
    rows = _held(deliveries.filter(ignored_until__isnull=False))
    Delivery.objects.filter(pk__in=[row.pk for row in rows], state=DeliveryState.HELD).update(
        ignored_until=None, ignored_reason=""
    )
    _audit(rows, "delivery.back_on_desk")
    return len(rows)


# -- how the verbs work ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """A held delivery, locked until the end of the transaction."""

    pk: int
    tenant_id: int
    run_id: int
    flow_id: int
    source_key: str
    code: str


def _held(deliveries: QuerySet[Delivery]) -> list[_Row]:
    """Those of the deliveries that are still held, oldest first, at most BULK_MAX, locked in one order."""
    asked = deliveries.order_by().values("pk")
    rows = (
        Delivery.objects.filter(pk__in=asked, state=DeliveryState.HELD)
        .order_by("pk")
        .select_for_update(of=("self",))
        .values_list("pk", "tenant_id", "run_id", "flow_id", "source_key", "code")
    )
    return [_Row(*row) for row in rows[:BULK_MAX]]


def _send_again(
    deliveries: QuerySet[Delivery],
    action: str,
    *,
    reason: str = "",
    decision: Mapping[str, object] | None = None,
    diff: Mapping[str, object] | None = None,
    anew: bool = False,
) -> int:
    """``anew``: made of its source once more, whatever was made of it before."""
    rows = _held(deliveries)
    changes: dict[str, Any] = {} if decision is None else {"decision": dict(decision)}
    held = Delivery.objects.filter(pk__in=[row.pk for row in rows], state=DeliveryState.HELD)
    present = Flow.objects.filter(pk=OuterRef("flow_id")).values("revision_number")[:1]
    aged = held.annotate(present=Subquery(present)).exclude(revision_number=F("present"))
    (held if anew else aged).update(sealed_draft=None, revision_number=Subquery(present))
    held.update(
        state=DeliveryState.WAITING,
        not_before=app_now(),
        tries=0,
        crashes=0,
        code="",
        codes=[],
        candidates=[],
        held_at=None,
        ignored_until=None,
        ignored_reason="",
        **changes,
    )
    moves = Moves()
    for row in rows:
        moves.move(row.run_id, "held", "waiting")
    moves.save()
    _audit(rows, action, reason=reason, diff=diff)
    return len(rows)


def _decide(delivery: Delivery, decision: Mapping[str, object], action: str, diff: Mapping[str, object]) -> None:
    """Keeps a person's decision, beside the repair it belongs to, and sends the delivery on. Raises Refused if it no
    longer waits for one."""
    own = {name: number for name, number in delivery.decision.items() if name == "repair"}
    alone = Delivery.objects.filter(pk=delivery.pk, source_version=delivery.source_version)
    if not _send_again(alone, action, decision={**own, **decision}, diff=diff):
        raise Refused("Nothing waits here any more: somebody was faster, or the record changed.")


def _audit(rows: Sequence[_Row], action: str, *, reason: str = "", diff: Mapping[str, object] | None = None) -> None:
    """One entry per clinic: which record, or how many of which kind."""
    by_clinic: defaultdict[int, list[_Row]] = defaultdict(list)
    for row in rows:
        by_clinic[row.tenant_id].append(row)
    for tenant_id, own in by_clinic.items():
        codes = dict(Counter(row.code for row in own))
        told = {"record": own[0].source_key} if len(own) == 1 else {"records": len(own)}
        record_audit(
            action,
            target=f"delivery {own[0].pk}" if len(own) == 1 else f"{len(own)} deliveries",
            reason=reason,
            diff={**told, "codes": codes, **(diff or {})},
            tenant_id=tenant_id,
        )


def kind_of(delivery: Delivery) -> FlowKind:
    return FLOW_KINDS[delivery.flow.kind]


def _links(delivery: Delivery, kind: FlowKind) -> QuerySet[Link]:
    links: QuerySet[Link] = Link.objects.filter(
        source_id=delivery.flow.source_id,
        target_id=delivery.flow.target_id,
        source_stream=kind.source.name,
        target_stream=kind.target.name,
    )
    return links


def taken_by(delivery: Delivery, target_keys: Sequence[str]) -> dict[str, str]:
    """Which of these targets are linked to another source record, and to which."""
    links = Link.objects.filter(
        target_id=delivery.flow.target_id, target_stream=kind_of(delivery).target.name, target_key__in=target_keys
    ).exclude(source_id=delivery.flow.source_id, source_key=delivery.source_key)
    return dict(links.values_list("target_key", "source_key"))


def may_leave_out(delivery: Delivery) -> tuple[str, ...]:
    """The target field that made trouble because somebody else holds its value; what a person may leave out."""
    natural = kind_of(delivery).matching.natural
    return tuple(key.field for key in natural if key.shared_code == delivery.code)
