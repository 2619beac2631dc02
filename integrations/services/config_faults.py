"""Everything that may be wrong with a flow's configuration, one sentence for each field of its form."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from django.db.models import Q

from integrations.connectors import CONNECTORS
from integrations.connectors.base import OpenFields
from integrations.core.rules import Choice, Rule
from integrations.core.values import Code, Email, Kind, Phone, Text
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config, FlowKind, effective_rules, rule_problem
from integrations.models import Connection, Flow, Mode
from integrations.services import schedule
from integrations.services.changes import Fault
from integrations.services.configured import config_of

LONGEST_SETTING = 255
_TEXTS = {kind.name for kind in (Text, Email, Phone, Code)}
_OPEN_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


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


def direction_faults(kind: FlowKind, source: Connection, target: Connection) -> list[Fault]:
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


def schedule_faults(every: str, start: str) -> list[Fault]:
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
