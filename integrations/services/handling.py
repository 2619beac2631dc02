"""What people do with a record on the error desk besides sending it on: give it what it lacks, take it on, write to one
another. Inside the scope of who does it; no vendor is asked here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from django.db.models import Q, QuerySet

from integrations.core.values import Kind, Value
from integrations.flows.kind import FlowKind, ValueMapSpec, effective_rules
from integrations.models import Assignment, Comment, Delivery, DeliveryState, Flow, Override
from integrations.services import changes, desk, overrides
from integrations.services.candidates import label_of
from integrations.services.changes import By
from integrations.services.configuration import configure
from integrations.services.configured import ANYTHING_ELSE, config_of
from integrations.services.desk import Refused, kind_of
from integrations.vault import open_vault
from tenants.models import AGENCY_ROLES, Membership, Role
from tenants.services import record_audit
from tenants.walls import app_now, narrow_to

UNMAPPED = "unmapped_value"
TEXT_MAX = 500
PEOPLE_MAX = 200


# A value map without a line


@dataclass(frozen=True, slots=True)
class Gap:
    """A value that a flow's map has no answer for, and how many records wait because of it."""

    spec: ValueMapSpec
    value: str
    waiting: int

    @property
    def words(self) -> str:
        """``Paid (20)``, or the value alone where the vendor has no word for it."""
        label = self.spec.known.get(self.value, "")
        return f"{label} ({self.value})" if label else self.value

    @property
    def actions(self) -> tuple[tuple[str, str], ...]:
        """What the value may become; asking a person is what happens already. Empty: a text."""
        return tuple(one for one in self.spec.actions if one[0] != "hold")


def gap_of(delivery: Delivery) -> Gap | None:
    """The gap that holds this record, None where it is held for something else."""
    if delivery.code != UNMAPPED or not delivery.codes:
        return None
    spec, value = _spec_and_value(kind_of(delivery), delivery.codes[0])
    return Gap(spec, value, _alike(delivery).count()) if spec is not None and value else None


def place_of(kind: FlowKind, problem: Mapping[str, str]) -> str:
    """What a problem is about, in words: a target field, or a value without a line, as in ``Invoice status 25``; ``""``
    for the record as a whole."""
    spec, value = _spec_and_value(kind, problem) if problem.get("code") == UNMAPPED else (None, "")
    if spec is not None:
        return f"{spec.label} {Gap(spec, value, 0).words or '(none)'}"
    return label_of(kind.target, problem["field"]) if problem.get("field") else ""


def _spec_and_value(kind: FlowKind, problem: Mapping[str, str]) -> tuple[ValueMapSpec | None, str]:
    name, _, value = str(problem.get("field", "")).partition(" ")
    return next((spec for spec in kind.value_maps if spec.source == name), None), value


def _alike(delivery: Delivery) -> QuerySet[Delivery]:
    """The records of its flow that wait for the same line."""
    alike: QuerySet[Delivery] = Delivery.objects.filter(
        flow_id=delivery.flow_id,
        state=DeliveryState.HELD,
        code=UNMAPPED,
        codes__0__field=delivery.codes[0]["field"],
    )
    return alike


def fill_gap(delivery: Delivery, *, becomes: str, by: By) -> int:
    """Publishes the line that is missing, and sends on all that wait for it; returns how many. Raises Refused."""
    gap = gap_of(delivery)
    if gap is None:
        raise Refused("Nothing waits here any more: somebody was faster, or the record changed.")
    wanted = becomes.strip()
    if not wanted or wanted == "hold" or gap.value == ANYTHING_ELSE:
        raise Refused(f"Choose what {gap.words} becomes.")
    with narrow_to(delivery.tenant_id):
        flow = Flow.objects.get(pk=delivery.flow_id)
        before = config_of(flow)
        lines = {**before.value_maps.get(gap.spec.name, {}), gap.value: wanted}
        config = replace(before, value_maps={**before.value_maps, gap.spec.name: lines})
        try:
            configure(flow, by=by, config=config, note=f"{gap.spec.label} {gap.words}, from the error desk")
        except changes.Refused as refusal:
            raise Refused(str(refusal)) from None
        return desk.retry(_alike(delivery), anew=True)


# A value that is missing or cannot be used


@dataclass(frozen=True, slots=True)
class Lack:
    """The source field that holds a record back, and for which a person may type a value."""

    name: str
    label: str
    kind: Kind


def lack_of(delivery: Delivery) -> Lack | None:
    """The field, None where no single typed value would help."""
    kind = kind_of(delivery)
    name = kind.asks.get(delivery.code, "") or _source_of(delivery, kind)
    if not name:
        return None
    try:
        value_kind = overrides.source_kind(kind, name)
    except KeyError:
        return None
    return Lack(name, _label(kind, name), value_kind) if value_kind in overrides.TYPED else None


def _source_of(delivery: Delivery, kind: FlowKind) -> str:
    """The source field behind the target field that the refusal names."""
    named = [
        name.strip() for problem in delivery.codes for name in str(problem.get("field", "")).split(",") if name.strip()
    ]
    if not named or not delivery.code.startswith(("rule.", "shopify.", "cliniko.", "http.rejected")):
        return ""
    sources = {rule.target: rule.source for rule in effective_rules(kind, config_of(delivery.flow))}
    return next((sources[name] for name in named if name in sources), "")


def _label(kind: FlowKind, name: str) -> str:
    derived = kind.derived_field(name)
    known = kind.source.find_field(name)
    label = derived.label if derived is not None else str(getattr(known, "label", "") or name)
    label = label.partition(",")[0]
    return label if label != name else name.replace("_", " ").capitalize()


def give_value(delivery: Delivery, *, typed: str, source: Mapping[str, Value], by: By) -> None:
    """Keeps a value for this record until its source says something else than now, and sends it on. Raises Refused.

    ``source`` is what the rules see of the record as its source has it.
    """
    lack = lack_of(delivery)
    if lack is None or lack.name not in source:
        raise Refused("Nothing waits here any more: somebody was faster, or the record changed.")
    try:
        value = overrides.parsed(lack.kind, typed)
    except overrides.BadValue as refusal:
        raise Refused(str(refusal)) from None
    with narrow_to(delivery.tenant_id):
        kind = kind_of(delivery)
        overrides.give(
            delivery.flow,
            kind,
            open_vault(delivery.tenant_id),
            source_key=delivery.source_key,
            name=lack.name,
            value=value,
            seen=source[lack.name],
            author=by.actor,
        )
        _audit(delivery, "delivery.value_given", {"field": lack.name})
        if not desk.retry(Delivery.objects.filter(pk=delivery.pk), anew=True):
            raise Refused("Nothing waits here any more: somebody was faster, or the record changed.")


def given_fields(delivery: Delivery) -> list[tuple[str, str]]:
    """(label, author) of the values that people gave for this record."""
    rows = Override.objects.filter(flow_id=delivery.flow_id, source_key=delivery.source_key).order_by("field")
    return [(_label(kind_of(delivery), row.field), row.author) for row in rows.only("field", "author")]


def take_back(delivery: Delivery) -> int:
    """Ends the values given for this record; from now on the source's own count."""
    removed: int = Override.objects.filter(flow_id=delivery.flow_id, source_key=delivery.source_key).delete()[0]
    if removed:
        Flow.objects.filter(pk=delivery.flow_id).update(wants_full_pass=True)
        _audit(delivery, "delivery.value_taken_back", {"fields": removed})
    return removed


# People


def comment(delivery: Delivery, *, text: str, by: By) -> None:
    """Raises Refused for an empty or an endless one."""
    said = " ".join(text.split())
    if not said or len(said) > TEXT_MAX:
        raise Refused(f"Write something, in {TEXT_MAX} characters at most.")
    Comment.objects.create(
        tenant_id=delivery.tenant_id,
        flow_id=delivery.flow_id,
        source_key=delivery.source_key,
        author=by.actor,
        text=said,
        at=app_now(),
    )


def comments_of(delivery: Delivery) -> list[Comment]:
    return list(Comment.objects.filter(flow_id=delivery.flow_id, source_key=delivery.source_key))


def people_for(delivery: Delivery) -> list[tuple[str, str]]:
    """(account, name) of those who may decide about this clinic's records and whom this scope may see."""
    here = Q(tenant_id=delivery.tenant_id, role__in=[*AGENCY_ROLES, Role.CLINIC_MANAGER])
    members = Membership.objects.filter(here | Q(tenant=None, role__in=AGENCY_ROLES), user__is_active=True)
    rows = members.values_list("user__username", "user__first_name", "user__last_name").distinct()
    people = {name: " ".join(filter(None, (first, last))) or name for name, first, last in rows[:PEOPLE_MAX]}
    return sorted(people.items(), key=lambda one: one[1].casefold())


def assignee_of(delivery: Delivery) -> str:
    """The account's name, ``""`` for nobody."""
    found = Assignment.objects.filter(flow_id=delivery.flow_id, source_key=delivery.source_key)
    return str(found.values_list("assignee", flat=True).first() or "")


def assign(delivery: Delivery, *, to: str) -> None:
    """Says whose turn it is; ``""`` for nobody's. Raises Refused for who may not decide here."""
    record = Assignment.objects.filter(flow_id=delivery.flow_id, source_key=delivery.source_key)
    if not to:
        record.delete()
    elif to not in dict(people_for(delivery)):
        raise Refused("Choose somebody who may decide about this clinic's records.")
    else:
        Assignment.objects.update_or_create(
            tenant_id=delivery.tenant_id,
            flow_id=delivery.flow_id,
            source_key=delivery.source_key,
            defaults={"assignee": to, "at": app_now()},
        )
    _audit(delivery, "delivery.assigned", {"to": to})


def _audit(delivery: Delivery, action: str, diff: Mapping[str, object]) -> None:
    record_audit(
        action,
        target=f"delivery {delivery.pk}",
        diff={"record": delivery.source_key, **diff},
        tenant_id=delivery.tenant_id,
    )
