"""The one way to change how a connection or a flow is configured: by forms, provisioning and nothing else.

Everything here runs inside the clinic's transaction. What would be wrong is refused as a whole, one sentence per field;
what changes is audited by name, never by value, and frozen as a revision.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from django.db.models import Q

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Account, OpenFields
from integrations.core.rules import Choice, Rule
from integrations.core.values import Code, Email, Kind, Phone, Text
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config, FlowKind, effective_rules, rule_problem
from integrations.models import (
    Connection,
    ConnectionState,
    Flow,
    FlowRevision,
    Link,
    LinkState,
    MappingRule,
    Mode,
    ValueMap,
)
from integrations.services import schedule
from integrations.services.connections import BadAccount, credentials_of, save_credentials
from tenants.models import AGENCY_ROLES, Role
from tenants.services import record_audit
from tenants.walls import app_now, insert_rows

ANYTHING_ELSE = "*"
WRITING = (Mode.PILOT, Mode.LIVE)
LONGEST_SETTING = 255
_TEXTS = {kind.name for kind in (Text, Email, Phone, Code)}
_OPEN_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class By:
    """Who changes something: the account's name, its role, and its id where a person did it; ``acted_by`` is who acted
    as them."""

    actor: str
    role: str
    user_id: int | None = None
    acted_by: str = ""

    @property
    def is_owner(self) -> bool:
        return self.role in {Role.AGENCY_OWNER, OPERATOR_ROLE}

    @property
    def is_agency(self) -> bool:
        return self.role in {*AGENCY_ROLES, OPERATOR_ROLE}


OPERATOR_ROLE = "operator"
OPERATOR = By("provisioning", OPERATOR_ROLE)
"""Whoever may run commands on the machine: as much as the agency's owner."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: ``where`` is ``rules.TARGET``, ``settings.NAME``, ``values.MAP.LINE`` or a field's name."""

    where: str
    code: str
    sentence: str


class Refused(ValueError):
    """A configuration that cannot be, or may not be made by this person. Nothing was changed."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(" ".join(fault.sentence for fault in faults))
        self.faults = tuple(faults)


def refused(where: str, code: str, sentence: str) -> Refused:
    return Refused([Fault(where, code, sentence)])


# Connections


def set_credentials(connection: Connection, given: Mapping[str, str], *, account: str | None, by: By) -> bool:
    """Keeps a connection's account and keys; boxes left empty keep what was there. False if nothing is new.

    Raises Refused. A connection that already has links keeps its account: they would mean other records.
    """
    connector, kept = CONNECTORS[connection.vendor], credentials_of(connection)
    told = {name: value.strip() for name, value in given.items() if value.strip()}
    changed = sorted(name for name, value in told.items() if kept.get(name) != value)
    wanted = {**kept, **told}
    missing = [box.label for box in connector.credentials if box.required and not wanted.get(box.name)]
    if missing:
        raise refused("credentials", "connection.incomplete", f"Missing: {', '.join(missing)}.")
    before = connection.account
    try:
        connection.account = connector.normalise_account(account or before, wanted)
        if before and connection.account != before and _is_linked(connection):
            raise BadAccount(
                f"This connection holds links to records of {before}. Make a new connection for {connection.account}."
            )
    except ValueError as refusal:
        connection.account = before
        where = "account" if connector.account_label else "credentials"
        raise refused(where, "connection.account", str(refusal)) from None
    if not changed and connection.account == before and connection.sealed_credentials:
        return False
    try:
        connector.headers(Account(connection.account, wanted))
        save_credentials(connection, told)
    except ValueError as refusal:
        connection.account = before
        raise refused("credentials", "connection.credentials", str(refusal)) from None
    if connection.account != before:
        connection.vendor_account = ""
        connection.save(update_fields=["vendor_account"])
    names = [*(["account"] if connection.account != before else []), *changed]
    _audit("connection.credentials", connection, by, diff={"fields": names})
    return True


def pause_connection(connection: Connection, *, reason: str, by: By) -> None:
    """No work is sent there until somebody resumes it; what is due waits."""
    _set_state(connection, ConnectionState.PAUSED, "connection.paused")
    _audit("connection.paused", connection, by, reason=reason)


def resume_connection(connection: Connection, *, by: By) -> None:
    """Work goes on. Whether the account still answers shows with the first call."""
    _set_state(connection, ConnectionState.OK if connection.tested_at else ConnectionState.UNVERIFIED, "")
    _audit("connection.resumed", connection, by)


def _set_state(connection: Connection, state: ConnectionState, code: str) -> None:
    connection.state, connection.state_code, connection.state_since = state, code, app_now()
    connection.failures, connection.open_until = 0, None
    connection.save(update_fields=["state", "state_code", "state_since", "failures", "open_until"])


def _is_linked(connection: Connection) -> bool:
    return Link.objects.filter(source=connection).exists() or Link.objects.filter(target=connection).exists()


def open_family(connection: Connection, name: str = "") -> OpenFields | None:
    """The fields of this account that are clinical until released by name, or None; of several families the one that
    ``name`` belongs to, else the first."""
    streams = CONNECTORS[connection.vendor].streams
    families = [family for stream in streams for family in stream.open_fields if family.released]
    return next((family for family in families if family.holds(name)), families[0] if families else None)


def release_field(connection: Connection, name: str, *, reason: str, by: By) -> str:
    """Lets rules read one custom field, named as the vendor shows it or as rules do. Returns its name in rules.

    Raises Refused for anybody but the agency's owner: whether a field is clinical is the agency's to answer for.
    """
    if not by.is_owner:
        raise refused("name", "field.release_denied", "Only the agency's owner may release a custom field.")
    full = _full_name(connection, name)
    if not reason.strip():
        raise refused("reason", "field.reason_missing", "Say why this field is not clinical; the audit keeps it.")
    if full not in connection.released_fields:
        _set_released(connection, full, sorted({*connection.released_fields, full}))
        _audit("connection.field_released", connection, by, reason=reason, diff={"field": full})
    return full


def take_back_field(connection: Connection, name: str, *, reason: str, by: By) -> None:
    """Closes a custom field again. Rules that read it are left out from now on; what was written stays."""
    if not by.is_owner:
        raise refused("name", "field.release_denied", "Only the agency's owner may take a custom field back.")
    if name in connection.released_fields:
        _set_released(connection, name, [kept for kept in connection.released_fields if kept != name])
        _audit("connection.field_taken_back", connection, by, reason=reason, diff={"field": name})


def _full_name(connection: Connection, name: str) -> str:
    family = open_family(connection, name.strip())
    if family is None:
        raise refused("name", "field.none_to_release", "This vendor has no custom fields that need releasing.")
    if family.holds(name.strip()):
        return name.strip()
    slug = _NOT_SLUG.sub("_", name.strip().removeprefix(family.prefix).lower()).strip("_")
    if not slug:
        raise refused("name", "field.name_missing", "Name the custom field as the practice system shows it.")
    return f"{family.prefix}{slug}"


def _set_released(connection: Connection, name: str, released: list[str]) -> None:
    connection.released_fields = released
    connection.save(update_fields=["released_fields"])
    for flow in Flow.objects.filter(source=connection):
        if any(rule.source == name for rule in effective_rules(FLOW_KINDS[flow.kind], config_of(flow))):
            Flow.objects.filter(pk=flow.pk).update(wants_full_pass=True)


# Flows


def config_of(flow: Flow) -> Config:
    """What the clinic configured, read from its rows: departures from the kind only."""
    rows = list(flow.rules.all())
    maps: dict[str, dict[str, str]] = {}
    for line in flow.value_maps.all():
        maps.setdefault(line.name, {})[line.source_value] = line.target_value
    return Config(
        rules=tuple(_rule_of(row) for row in rows if not row.removed),
        removed=frozenset(row.target for row in rows if row.removed),
        settings=dict(flow.settings),
        value_maps=maps,
    )


def _rule_of(row: MappingRule) -> Rule:
    made = Rule(row.target, row.source, tuple(row.transforms))
    return replace(made, write=type(made.write)(row.write), conflict=type(made.conflict)(row.conflict))


def add_flow(
    *,
    kind: FlowKind,
    source: Connection,
    target: Connection,
    name: str,
    by: By,
    start: str | None = None,
    every: str = "15m",
) -> Flow:
    """A new flow, off, with revision 1: the kind as shipped. Raises Refused."""
    faults = [*_direction_faults(kind, source, target), *_schedule_faults(every, start or kind.start)]
    if Flow.objects.filter(name=name, tenant_id=source.tenant_id).exists():
        faults.append(Fault("name", "flow.name_taken", f"This clinic already has a flow named {name}."))
    if faults:
        raise Refused(faults)
    flow: Flow = Flow.objects.create(
        tenant_id=source.tenant_id,
        name=name,
        kind=kind.name,
        source=source,
        target=target,
        every=every,
        start=start or kind.start,
        urgent=kind.urgent,
        revision_number=1,
    )
    _freeze(flow, Config(), "As shipped", by)
    _audit("flow.added", flow, by)
    return flow


def configure(
    flow: Flow,
    *,
    by: By,
    config: Config | None = None,
    every: str | None = None,
    start: str | None = None,
    urgent: bool | None = None,
    pilot_keys: Iterable[str] | None = None,
    pilot_tag: str | None = None,
    note: str = "",
    revision_seen: int | None = None,
) -> tuple[str, ...]:
    """Brings a flow to what is given; what is left out stays. Returns the names of what changed.

    A changed ``config`` becomes the next revision and asks for a full pass. ``revision_seen`` is the revision the
    author started from. Raises Refused, with a fault per field.
    """
    row: Flow = (
        Flow.objects.select_for_update(of=("self",), no_key=True).select_related("source", "target").get(pk=flow.pk)
    )
    if revision_seen is not None and row.revision_number != revision_seen:
        sentence = (
            f"Somebody published revision {row.revision_number} meanwhile. Look at it, then make your change again."
        )
        raise refused("", "flow.revision_moved", sentence)
    before = config_of(row)
    wanted = before if config is None else tidy(FLOW_KINDS[row.kind], config)
    columns = _columns(every=every, start=start, urgent=urgent, pilot_keys=pilot_keys, pilot_tag=pilot_tag)
    faults = [
        *_schedule_faults(str(columns.get("every", row.every)), str(columns.get("start", row.start))),
        *(config_faults(row, wanted) if wanted != before else ()),
    ]
    if faults:
        raise Refused(faults)
    changed = [name for name, value in columns.items() if getattr(row, name) != value]
    names = config_changes(FLOW_KINDS[row.kind], before, wanted)
    if not (changed or names):
        return ()
    for name in changed:
        setattr(row, name, columns[name])
    if {"pilot_keys", "start"} & set(changed) or names:
        row.wants_full_pass = True
    if {"every", "urgent"} & set(changed):
        row.next_due_at = None
    if names:
        _save_config(row, wanted)
        row.revision_number += 1
        _freeze(row, wanted, note, by)
    row.save(update_fields=[*changed, "wants_full_pass", "next_due_at", "settings", "revision_number"])
    _audit(
        "flow.configured", row, by, reason=note, diff={"fields": [*names, *changed], "revision": row.revision_number}
    )
    flow.refresh_from_db()
    return (*names, *changed)


def change_mode(flow: Flow, mode: str, *, by: By, waived: Sequence[str] = ()) -> bool:
    """Off, preview, pilot or live. A change asks for one full pass at once. False if it already was so.

    The first step to pilot or live is the flow's activation. Raises Refused: only the agency lets a flow write, and a
    target field has one owner among the flows that are on.
    """
    row: Flow = (
        Flow.objects.select_for_update(of=("self",), no_key=True).select_related("source", "target").get(pk=flow.pk)
    )
    if mode not in Mode.values:
        raise refused("mode", "mode.unknown", f"A mode is one of {', '.join(Mode.values)}.")
    if row.mode == mode:
        return False
    if mode in WRITING and not by.is_agency:
        raise refused("mode", "mode.denied", "Only the agency may let a flow write to the other system.")
    faults = [] if mode == Mode.OFF else ownership_faults(row, config_of(row))
    if mode == Mode.PILOT and not row.pilot_keys:
        faults.append(Fault("mode", "mode.pilot_empty", "A pilot needs at least one record on its list."))
    if faults:
        raise Refused(faults)
    if mode in WRITING and row.mode not in WRITING and not LinkState.objects.filter(flow=row).exists():
        row.activated_at = app_now()
    before, row.mode, row.wants_full_pass, row.next_due_at = row.mode, mode, True, None
    row.save(update_fields=["mode", "activated_at", "wants_full_pass", "next_due_at"])
    _audit("flow.mode", row, by, diff={"from": before, "to": mode, "waived": list(waived)})
    flow.refresh_from_db()
    return True


def restore_revision(flow: Flow, number: int, *, by: By, revision_seen: int | None = None) -> tuple[str, ...]:
    """Publishes an older revision's configuration as a new one. Raises Refused if it may not be used any more."""
    stored = FlowRevision.objects.get(flow=flow, number=number)
    note = f"Back to revision {number}"
    return configure(flow, config=Config.from_json(stored.config), note=note, by=by, revision_seen=revision_seen)


# What is right


def tidy(kind: FlowKind, config: Config) -> Config:
    """The same configuration without what only repeats the kind: departures, and nothing else, are kept."""
    defaults = kind.default_settings()
    given = {name: value.strip() for name, value in config.settings.items()}
    settings = {name: value for name, value in given.items() if value and value != defaults.get(name)}
    shipped = {rule.target: rule for rule in effective_rules(kind, Config(settings=settings))}
    rules = tuple(
        sorted(
            (rule for rule in config.rules if rule.target not in config.removed and not _is_shipped(shipped, rule)),
            key=lambda rule: rule.target,
        )
    )
    maps = {
        spec.name: {
            line: value for line, value in config.value_maps[spec.name].items() if spec.defaults.get(line) != value
        }
        for spec in kind.value_maps
        if spec.name in config.value_maps
    }
    unknown = {name: lines for name, lines in config.value_maps.items() if name not in maps}
    return Config(rules, config.removed & shipped.keys(), settings, {**{k: v for k, v in maps.items() if v}, **unknown})


def _is_shipped(shipped: Mapping[str, Rule], rule: Rule) -> bool:
    own = shipped.get(rule.target)
    return own is not None and replace(rule, unusable=own.unusable) == own


def config_changes(kind: FlowKind, before: Config, after: Config) -> list[str]:
    """The names of what differs between two configurations: ``rules.email``, ``settings.archived``, ``values.status``."""
    old_rules = {rule.target: rule for rule in effective_rules(kind, before)}
    new_rules = {rule.target: rule for rule in effective_rules(kind, after)}
    names = [f"rules.{name}" for name in sorted({*old_rules, *new_rules}) if old_rules.get(name) != new_rules.get(name)]
    names += [
        f"settings.{name}"
        for name in sorted({*before.settings, *after.settings})
        if before.settings.get(name) != after.settings.get(name)
    ]
    return names + [
        f"values.{name}"
        for name in sorted({*before.value_maps, *after.value_maps})
        if before.value_maps.get(name) != after.value_maps.get(name)
    ]


def config_faults(flow: Flow, config: Config) -> list[Fault]:
    """Everything that is wrong with a configuration for this flow."""
    faults = kind_faults(FLOW_KINDS[flow.kind], config, flow.source.released_fields)
    if flow.mode != Mode.OFF and not faults:
        faults += ownership_faults(flow, config)
    return faults


def kind_faults(kind: FlowKind, config: Config, released: Sequence[str]) -> list[Fault]:
    """Everything that is wrong with a configuration wherever these custom fields are released."""
    faults = [fault for rule in config.rules if (fault := rule_fault(kind, rule, released))]
    faults += _setting_faults(kind, config, released)
    faults += _value_map_faults(kind, config)
    return faults


_RULE_SENTENCES = {
    "rule.source_unknown": "“{source}” is not a field of {stream}.",
    "rule.source_not_released": "“{source}” is a custom field that the agency's owner has not released for this clinic.",
    "rule.source_clinical": "“{source}” is clinical: it never leaves the practice system.",
    "rule.target_unknown": "“{target}” cannot be written.",
    "rule.transform_unknown": "One of the steps for “{target}” does not exist.",
    "rule.kind_mismatch": "“{source}” holds another kind of value than “{target}”.",
}


def rule_fault(kind: FlowKind, rule: Rule, released: Sequence[str]) -> Fault | None:
    """Why this rule may not be used, or None."""
    code = rule_problem(kind, rule, released) or _shape_problem(kind, rule)
    if not code:
        return None
    names = {"source": rule.source, "target": rule.target, "stream": kind.source.label.lower()}
    return Fault(f"rules.{rule.target}", code, _RULE_SENTENCES[code].format(**names))


def _shape_problem(kind: FlowKind, rule: Rule) -> str:
    target = kind.target.find_field(rule.target)
    if isinstance(target, OpenFields) and not _OPEN_NAME.fullmatch(rule.target.removeprefix(target.prefix)):
        return "rule.target_unknown"
    source = kind.source.find_field(rule.source) or kind.derived_field(rule.source)
    if target is not None and not _fits(source.kind if source else Text, target.kind):
        return "rule.kind_mismatch"
    return ""


def _fits(source: Kind, target: Kind) -> bool:
    """Texts of all kinds are made of one another; a yes, a number or a date only of its own kind."""
    return source.name == target.name or {source.name, target.name} <= _TEXTS


def _setting_faults(kind: FlowKind, config: Config, released: Sequence[str]) -> list[Fault]:
    known = {setting.name: setting for setting in kind.settings}
    faults = []
    for name, value in config.settings.items():
        setting, where = known.get(name), f"settings.{name}"
        if setting is None:
            faults.append(Fault(where, "setting.unknown", f"{kind.label} has no setting “{name}”."))
        elif isinstance(setting, Choice):
            options = [option for option, _ in setting.options]
            if value not in options:
                faults.append(Fault(where, "setting.choice", f"{setting.label}: choose one of {', '.join(options)}."))
        elif len(value) > LONGEST_SETTING:
            faults.append(Fault(where, "setting.long", f"{setting.label}: at most {LONGEST_SETTING} characters."))
    if faults:
        return faults
    return [
        replace(fault, where=f"settings.{name}")
        for name, value in config.settings.items()
        for rule in kind.extra_rules({**kind.default_settings(), name: value})
        if (fault := rule_fault(kind, rule, released))
    ]


def _value_map_faults(kind: FlowKind, config: Config) -> list[Fault]:
    specs = {spec.name: spec for spec in kind.value_maps}
    faults = []
    for name, lines in config.value_maps.items():
        spec = specs.get(name)
        if spec is None:
            faults.append(Fault(f"values.{name}", "value_map.unknown", f"{kind.label} has no value map “{name}”."))
            continue
        actions = [action for action, _ in spec.actions]
        faults += [
            Fault(f"values.{name}.{line}", "value_map.action", f"{spec.label}: choose one of {', '.join(actions)}.")
            for line, value in lines.items()
            if actions and value not in actions
        ]
    return faults


def ownership_faults(flow: Flow, config: Config) -> list[Fault]:
    """Each field of a target has one owner among the flows that are on, and each thing that both systems keep one
    master."""
    kind = FLOW_KINDS[flow.kind]
    mine, pair = _owned_fields(kind, config), {flow.source_id, flow.target_id}
    others = Flow.objects.filter(Q(target_id__in=pair) | Q(source_id__in=pair)).exclude(pk=flow.pk)
    faults = []
    for other in others.exclude(mode=Mode.OFF).prefetch_related("rules", "value_maps"):
        theirs = FLOW_KINDS[other.kind]
        if {other.source_id, other.target_id} == pair and (
            theirs.name in kind.excludes or kind.name in theirs.excludes
        ):
            sentence = f"The flow {other.name} is on, and only one of the two may be: stock has one master."
            faults.append(Fault("mode", "flow.two_masters", sentence))
        if other.target_id == flow.target_id and theirs.target.name == kind.target.name:
            faults += [
                Fault(f"rules.{name}", "rule.target_owned", f"“{name}” is already written by the flow {other.name}.")
                for name in sorted(mine & _owned_fields(theirs, config_of(other)))
            ]
    return faults


def _owned_fields(kind: FlowKind, config: Config) -> frozenset[str]:
    return (frozenset(rule.target for rule in effective_rules(kind, config)) | {kind.marker}) - {""}


def _direction_faults(kind: FlowKind, source: Connection, target: Connection) -> list[Fault]:
    """Direction is a capability: a stream that cannot be read is no source, one that cannot be written no target."""
    faults = []
    if source.vendor != kind.source_vendor:
        wanted = CONNECTORS[kind.source_vendor].label
        faults.append(
            Fault("source", "flow.source_vendor", f"{kind.label} reads from {wanted}; {source} is another system.")
        )
    if target.vendor != kind.target_vendor:
        wanted = CONNECTORS[kind.target_vendor].label
        faults.append(
            Fault("target", "flow.target_vendor", f"{kind.label} writes to {wanted}; {target} is another system.")
        )
    if kind.source.read_page is None:
        faults.append(Fault("source", "flow.source_unreadable", f"{kind.source.label} cannot be read."))
    if kind.target.write_many is None:
        faults.append(Fault("target", "flow.target_unwritable", f"{kind.target.label} cannot be written."))
    return faults


def _schedule_faults(every: str, start: str) -> list[Fault]:
    faults = []
    try:
        schedule.check(every)
    except schedule.BadSchedule as refusal:
        faults.append(Fault("every", "flow.schedule", str(refusal)))
    if start not in {"all", "activation"}:
        try:
            date.fromisoformat(start)
        except ValueError:
            faults.append(
                Fault("start", "flow.start", "A flow starts from all, activation, or a date such as 2026-07-01.")
            )
    return faults


# Rows


def _columns(*, pilot_keys: Iterable[str] | None, **given: object) -> dict[str, object]:
    columns = {name: value.strip() if isinstance(value, str) else value for name, value in given.items()}
    if pilot_keys is not None:
        columns["pilot_keys"] = list(dict.fromkeys(key.strip() for key in pilot_keys if key.strip()))
    return {name: value for name, value in columns.items() if value is not None}


def _save_config(flow: Flow, config: Config) -> None:
    flow.settings = dict(config.settings)
    flow.rules.all().delete()
    flow.value_maps.all().delete()
    insert_rows(
        MappingRule,
        ("flow_id", "target", "source", "transforms", "write", "conflict", "removed"),
        [
            (flow.pk, rule.target, rule.source, list(rule.transforms), rule.write.value, rule.conflict.value, False)
            for rule in config.rules
        ]
        + [(flow.pk, target, "", [], "always", "source", True) for target in sorted(config.removed)],
    )
    insert_rows(
        ValueMap,
        ("flow_id", "name", "source_value", "target_value"),
        [(flow.pk, name, line, value) for name, lines in config.value_maps.items() for line, value in lines.items()],
    )


def _freeze(flow: Flow, config: Config, note: str, by: By) -> None:
    FlowRevision.objects.create(
        tenant_id=flow.tenant_id,
        flow=flow,
        number=flow.revision_number,
        config=config.as_json(),
        author_id=by.user_id,
        note=" ".join(filter(None, (note.strip(), by.acted_by and f"(by {by.acted_by} in their name)")))[:255],
    )


def _audit(
    action: str, row: Connection | Flow, by: By, *, reason: str = "", diff: Mapping[str, object] | None = None
) -> None:
    record_audit(
        action,
        target=f"{row._meta.model_name} {row.pk}",
        reason=reason.strip()[:500],
        diff=diff,
        tenant_id=row.tenant_id,
        actor=by.actor,
        actor_role=by.role,
    )
