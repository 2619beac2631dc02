"""What a configuration says at a place, and how two of them differ, in words."""

from collections.abc import Iterator
from dataclasses import dataclass

from integrations.admin.flow_shown import in_words
from integrations.admin.rules import Words
from integrations.admin.setup import humble
from integrations.core.rules import Choice
from integrations.flows.kind import Config, effective_rules
from integrations.flows.layers import differing
from integrations.services.configured import ANYTHING_ELSE, config_changes

ANYTHING = "Anything else"


def label_of(words: Words, place: str) -> str:
    """What a place is called: a field, a setting, or a line of a value map."""
    part, _, name = place.partition(".")
    if part != "values":
        return in_words(place, words)
    map_name, _, value = name.partition(".")
    spec = next((one for one in words.kind.value_maps if one.name == map_name), None)
    if spec is None:
        return name
    said = f"{spec.known[value]} ({value})" if value in spec.known else value
    return f"{spec.label}: {ANYTHING if value == ANYTHING_ELSE else said}"


def said_at(words: Words, config: Config, place: str) -> str:
    """What holds there, be it said by the configuration or as shipped."""
    part, _, name = place.partition(".")
    if part == "rules":
        return words.sentence({rule.target: rule for rule in effective_rules(words.kind, config)}.get(name))
    if part == "settings":
        setting = next((one for one in words.kind.settings if one.name == name), None)
        value = config.settings.get(name, setting.default if setting else "")
        return humble(setting.options, value) if isinstance(setting, Choice) else value or "nothing"
    map_name, _, value = name.partition(".")
    spec = next((one for one in words.kind.value_maps if one.name == map_name), None)
    if spec is None:
        return ""
    becomes = {**spec.defaults, **config.value_maps.get(map_name, {})}.get(value, "")
    return humble(spec.actions, becomes) or f"like “{ANYTHING.lower()}”"


@dataclass(frozen=True, slots=True)
class Difference:
    """One rule, setting or line of a value map, as it is and as it would be."""

    label: str
    now: str
    then: str


def differences(words: Words, now: Config, then: Config) -> Iterator[Difference]:
    """Every place at which something else would hold."""
    changed = sorted(differing(now, then))
    for name in config_changes(words.kind, now, then):
        is_map = name.startswith("values.")
        for place in (one for one in changed if one.startswith(f"{name}.")) if is_map else (name,):
            before, after = (said_at(words, side, place) for side in (now, then))
            if before != after:
                yield Difference(label_of(words, place), before, after)
