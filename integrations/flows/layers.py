"""Configurations laid upon one another, place by place.

A place is named as faults name it: ``rules.TARGET``, ``settings.NAME``, ``values.MAP.LINE``. What lies at a place is a
rule, None where a rule is taken away, or a text; nothing lies where the layer below decides.
"""

from collections.abc import Collection, Mapping

from integrations.core.rules import Rule
from integrations.flows.kind import Config

Places = Mapping[str, Rule | str | None]


def flat(config: Config) -> dict[str, Rule | str | None]:
    """Every departure by its place."""
    places: dict[str, Rule | str | None] = {f"rules.{rule.target}": rule for rule in config.rules}
    places |= {f"rules.{target}": None for target in config.removed}
    places |= {f"settings.{name}": value for name, value in config.settings.items()}
    places |= {
        f"values.{name}.{line}": value for name, lines in config.value_maps.items() for line, value in lines.items()
    }
    return places


def whole(places: Places) -> Config:
    """What ``flat`` made, as a configuration again."""
    rules: list[Rule] = []
    removed: set[str] = set()
    settings: dict[str, str] = {}
    value_maps: dict[str, dict[str, str]] = {}
    for place, value in places.items():
        part, _, name = place.partition(".")
        if isinstance(value, Rule):
            rules.append(value)
        elif value is None:
            removed.add(name)
        elif part == "settings":
            settings[name] = value
        else:
            map_name, _, line = name.partition(".")
            value_maps.setdefault(map_name, {})[line] = value
    return Config(tuple(rules), frozenset(removed), settings, value_maps)


def differing(one: Config, other: Config) -> frozenset[str]:
    """The places at which two configurations do not say the same, or only one of them says anything."""
    left, right = flat(one), flat(other)
    return frozenset(
        place
        for place in left.keys() | right.keys()
        if place not in left or place not in right or left[place] != right[place]
    )


def laid(below: Config, above: Config, places: Collection[str]) -> Config:
    """``below``, with these places as ``above`` has them: what it says nothing of is left to what lies deeper."""
    made, upper = flat(below), flat(above)
    for place in places:
        made.pop(place, None)
        if place in upper:
            made[place] = upper[place]
    return whole(made)


def rebased(base: Config, ours: Config, theirs: Config) -> Config:
    """``theirs``, with every rule, setting and line that ``ours`` changed of ``base``."""
    return laid(theirs, ours, differing(base, ours))
