"""Mapping rules, settings and transforms as values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from integrations.core.records import OnConflict, Write
from integrations.core.values import Value


@dataclass(frozen=True, slots=True)
class Rule:
    """One target field: where its value comes from and how it is made.

    ``transforms`` are names from the registry, applied left to right. ``unusable`` names the flow setting that
    decides what happens when a transform cannot use the value: that setting's value is ``drop`` or ``hold``;
    without it, hold.
    """

    target: str
    source: str
    transforms: tuple[str, ...] = ()
    write: Write = Write.ALWAYS
    conflict: OnConflict = OnConflict.SOURCE_WINS
    unusable: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A setting of a flow kind: ``options`` are (value, words for people); the first is the default."""

    name: str
    label: str
    options: tuple[tuple[str, str], ...]
    help: str = ""

    @property
    def default(self) -> str:
        return self.options[0][0]


@dataclass(frozen=True, slots=True)
class FreeText:
    """A setting that is typed in, for example the name of the custom field that holds the company."""

    name: str
    label: str
    help: str = ""
    default: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may know besides the record: the clinic's country, zone and currency, settings, value maps.

    ``value_maps``: map name -> {source value: target value or action, "*" for unknown ones}. ``target`` is what the
    target's account was found to be like: whether its prices include tax, its only location,
    whether it keeps companies.
    """

    country: str = "AU"
    zone: str = "Australia/Sydney"
    currency: str = "AUD"
    settings: Mapping[str, str] = field(default_factory=dict)
    value_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    target: Mapping[str, str] = field(default_factory=dict)


class Unusable(Exception):
    """A transform cannot make anything of the value. Carries a code, never the value."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Transform:
    """A named, documented step. ``apply`` takes a value that is not None; raises Unusable."""

    name: str
    label: str
    apply: Callable[[Value, Context], Value]
