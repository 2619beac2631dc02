"""What a flow is configured to do: read from its rows, without what only repeats its kind, and compared."""

from collections.abc import Mapping
from dataclasses import replace

from integrations.core.rules import Rule
from integrations.flows.kind import Config, FlowKind, effective_rules
from integrations.models import Flow, MappingRule

ANYTHING_ELSE = "*"


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
