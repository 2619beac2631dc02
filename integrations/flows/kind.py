"""A flow kind is a value; a plan is a flow kind with one clinic's configuration, ready to judge records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from integrations.connectors.base import OpenFields, Stream
from integrations.core.diffing import FieldPolicy
from integrations.core.mapping import Mapper, Problem, compile_rules
from integrations.core.matching import Matching
from integrations.core.records import Draft, Note, OnConflict, Record, State, Write
from integrations.core.rules import Choice, Context, FreeText, Rule, Transform
from integrations.core.transforms import TRANSFORMS
from integrations.core.values import Kind, Text, Value
from integrations.toolkit.places import TOOLKIT_TRANSFORMS

ALL_TRANSFORMS: Mapping[str, Transform] = {**TRANSFORMS, **TOOLKIT_TRANSFORMS}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a record does not pass: ``word`` is "skip" or "hold". ``told`` says more to a person, never a personal value:
    a field's name, a status that has no line in its value map, an amount."""

    word: str
    code: str
    told: str = ""


@dataclass(frozen=True, slots=True)
class Parent:
    """A target field that names other records: it holds keys of the source until the delivery, which puts the keys of
    their targets in place, by the links of that pair of streams.

    ``setting`` names the setting that decides about a parent that has no link and will get none: ``hold`` (also where
    there is no setting), ``drop``, which leaves the reference out, or ``skip``, which leaves the record out.
    ``is_reversed``: the link runs from the flow's
    target to its source, as a shop's sale knows the product that came from the practice system; ``source_stream`` and
    ``target_stream`` are the link's.
    """

    field: str
    source_stream: str
    target_stream: str
    setting: str = ""
    is_reversed: bool = False


@dataclass(frozen=True, slots=True)
class Derived:
    """A source field computed from others before the rules see the record; later ones may use earlier ones."""

    name: str
    label: str
    compute: Callable[[Mapping[str, Value], Context], Value]
    kind: Kind = Text


@dataclass(frozen=True, slots=True)
class ValueMapSpec:
    """A value map a kind uses, with its defaults and the actions or values a line may name (empty = free text).

    ``source`` is the source field whose values it maps; ``known`` are those that the vendor documents, with its words.
    """

    name: str
    label: str
    source: str
    defaults: Mapping[str, str] = field(default_factory=dict)
    actions: tuple[tuple[str, str], ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FlowKind:
    """Facts of a flow as shipped. Functions are plain and pure.

    ``refuse`` judge the record before mapping, ``check`` the made fields after it, ``finish`` gives fields their last
    shape, ``gone`` makes the wish for an archived record that is linked (or a verdict). ``extra_rules`` come from
    settings (the company's custom field); ``applies`` says of a rule whether it is for a target like this clinic's.
    ``tells`` notes what a person should know of the made fields. ``parents`` are the target fields that refer to other records;
    ``excludes`` the kinds that may not run between the same two connections, because both would master one thing.
    ``asks`` names, for a code that holds a record for want of a value, the source field that a person may fill in for it.
    ``start`` is the default of the flow's start, ``urgent`` whether it asks as often as the quota allows.
    ``minutes_by_hand`` is how long a person takes to copy one record, unless the clinic says otherwise.
    """

    name: str
    label: str
    source_vendor: str
    source: Stream
    target_vendor: str
    target: Stream
    rules: tuple[Rule, ...]
    matching: Matching
    settings: tuple[Choice | FreeText, ...] = ()
    value_maps: tuple[ValueMapSpec, ...] = ()
    derived: tuple[Derived, ...] = ()
    refuse: tuple[Callable[[Record, Context], Verdict | None], ...] = ()
    check: tuple[Callable[[Mapping[str, Value], Context], Verdict | None], ...] = ()
    finish: Callable[[dict[str, Value], Context], dict[str, Value]] = lambda fields, _: fields
    gone: Callable[[Context], Mapping[str, Value] | Verdict] = lambda _: Verdict("skip", "record.archived")
    extra_rules: Callable[[Mapping[str, str]], Sequence[Rule]] = lambda _: ()
    applies: Callable[[Rule, Context], bool] = lambda _rule, _context: True
    tells: Callable[[Mapping[str, Value], Context], Sequence[Note]] = lambda _fields, _context: ()
    parents: tuple[Parent, ...] = ()
    asks: Mapping[str, str] = field(default_factory=dict)
    excludes: tuple[str, ...] = ()
    start: str = "all"
    urgent: bool = False
    minutes_by_hand: float = 2.0

    @property
    def marker(self) -> str:
        return self.matching.marker

    def derived_field(self, name: str) -> Derived | None:
        return next((derived for derived in self.derived if derived.name == name), None)

    def default_settings(self) -> dict[str, str]:
        return {setting.name: setting.default for setting in self.settings}


@dataclass(frozen=True, slots=True)
class Config:
    """What a clinic configured, as a revision froze it. ``rules`` are departures, ``removed`` target fields."""

    rules: tuple[Rule, ...] = ()
    removed: frozenset[str] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)
    value_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return {
            "rules": [
                {
                    "target": rule.target,
                    "source": rule.source,
                    "transforms": list(rule.transforms),
                    "write": rule.write.value,
                    "conflict": rule.conflict.value,
                }
                for rule in self.rules
            ],
            "removed": sorted(self.removed),
            "settings": dict(self.settings),
            "value_maps": {name: dict(lines) for name, lines in self.value_maps.items()},
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, object]) -> "Config":
        """Reads what ``as_json`` wrote; the shape is ours, so a misfit is a bug and raises."""
        rules, removed = stored.get("rules", []), stored.get("removed", [])
        settings, value_maps = stored.get("settings", {}), stored.get("value_maps", {})
        if not (isinstance(rules, list) and isinstance(removed, list)):
            raise TypeError("rules and removed are lists")
        if not (isinstance(settings, dict) and isinstance(value_maps, dict)):
            raise TypeError("settings and value maps are objects")
        return cls(
            rules=tuple(
                Rule(
                    target=rule["target"],
                    source=rule["source"],
                    transforms=tuple(rule["transforms"]),
                    write=Write(rule["write"]),
                    conflict=OnConflict(rule["conflict"]),
                )
                for rule in rules
            ),
            removed=frozenset(removed),
            settings=settings,
            value_maps=value_maps,
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """What a plan makes of a record: a draft; or a skip code; or problems that hold it."""

    record: Record
    draft: Draft | None = None
    notes: tuple[Note, ...] = ()
    problems: tuple[Problem, ...] = ()
    skip: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A flow kind as one clinic runs it."""

    kind: FlowKind
    context: Context
    rules: tuple[Rule, ...]
    mapper: Mapper
    source_fields: frozenset[str]
    target_fields: frozenset[str]
    policies: Mapping[str, FieldPolicy]
    fixed: frozenset[str] = frozenset()
    gone_fields: frozenset[str] = frozenset()

    def policies_for(self, *, is_new: bool, is_gone: bool, was_gone: bool) -> Mapping[str, FieldPolicy]:
        """The policies of a write. What is made anew, or leaves, is written whatever a field's write mode; so is what
        the leave-taking of a record that comes back had changed."""
        if is_new or is_gone:
            return {name: FieldPolicy(Write.ALWAYS, policy.conflict) for name, policy in self.policies.items()}
        if was_gone:
            return {**self.policies, **dict.fromkeys(self.gone_fields, FieldPolicy())}
        return self.policies

    def wish(self, record: Record, given: Mapping[str, Value] | None = None) -> Wish:
        """The draft for a live record, or why there is none. Merged records are the shell's business.

        ``given`` are values that stand in for the source's own.
        """
        if given:
            return replace(self._wish(replace(record, values={**record.values, **given}), given), record=record)
        return self._wish(record, {})

    def _wish(self, record: Record, given: Mapping[str, Value]) -> Wish:
        for refuse in self.kind.refuse:
            if verdict := refuse(record, self.context):
                return _judged(record, verdict, ())
        if record.state is State.ARCHIVED:
            return self._gone(record)
        mapped = self.mapper({**self.source_values(record), **given} if given else self.source_values(record))
        if mapped.problems:
            return Wish(record, notes=mapped.notes, problems=mapped.problems)
        fields = self.kind.finish(dict(mapped.fields), self.context)
        if self.kind.marker:
            fields[self.kind.marker] = record.key
        notes = (*mapped.notes, *self.kind.tells(fields, self.context))
        for check in self.kind.check:
            if verdict := check(fields, self.context):
                return _judged(record, verdict, notes)
        return Wish(record, Draft(fields), notes)

    def source_values(self, record: Record) -> Mapping[str, Value]:
        """What the rules see: the record's values and those computed from them."""
        if not self.kind.derived:
            return record.values
        values = dict(record.values)
        for derived in self.kind.derived:
            values[derived.name] = derived.compute(values, self.context)
        return values

    def _gone(self, record: Record) -> Wish:
        made = self.kind.gone(self.context)
        if isinstance(made, Verdict):
            return _judged(record, made, ())
        return Wish(record, Draft(made, gone=True))


def _judged(record: Record, verdict: Verdict, notes: tuple[Note, ...]) -> Wish:
    if verdict.word == "skip":
        return Wish(record, notes=notes, skip=verdict.code)
    return Wish(record, notes=notes, problems=((verdict.code, verdict.told),))


def effective_rules(kind: FlowKind, config: Config) -> tuple[Rule, ...]:
    """The kind's rules, the settings' rules, and the clinic's departures from both, one per target field."""
    rules = {
        rule.target: rule for rule in (*kind.rules, *kind.extra_rules({**kind.default_settings(), **config.settings}))
    }
    for departure in config.rules:
        shipped = rules.get(departure.target)
        rules[departure.target] = replace(departure, unusable=shipped.unusable) if shipped else departure
    return tuple(rule for target, rule in rules.items() if target not in config.removed)


def rule_problem(kind: FlowKind, rule: Rule, released: Sequence[str]) -> str:
    """Why a rule may not be used, as an error code, or ``""``. The one gate for forms, provisioning and plans.

    Clinical fields cannot be mapped; custom fields only once released by name; targets only what the kind's target
    stream allows to be written, never the marker.
    """
    if problem := _source_problem(kind, rule.source, released):
        return problem
    target = kind.target.find_field(rule.target)
    may_write = isinstance(target, OpenFields) or (target is not None and target.writable and not target.clinical)
    if not may_write or rule.target == kind.marker:
        return "rule.target_unknown"
    return "rule.transform_unknown" if set(rule.transforms) - ALL_TRANSFORMS.keys() else ""


def _source_problem(kind: FlowKind, source: str, released: Sequence[str]) -> str:
    known = kind.source.find_field(source)
    if isinstance(known, OpenFields):
        return "rule.source_not_released" if known.released and source not in released else ""
    if known is None:
        return "" if kind.derived_field(source) else "rule.source_unknown"
    return "rule.source_clinical" if known.clinical else ""


def make_plan(kind: FlowKind, config: Config, context: Context, released: Sequence[str]) -> Plan:
    """A plan. Rules that may not be used (a release taken back, say) are left out: fail closed.

    ``context.settings`` and value maps are completed with the kind's defaults.
    """
    context = replace(
        context,
        settings={**kind.default_settings(), **config.settings},
        value_maps={spec.name: {**spec.defaults, **config.value_maps.get(spec.name, {})} for spec in kind.value_maps},
    )
    allowed = (rule for rule in effective_rules(kind, config) if not rule_problem(kind, rule, released))
    rules = tuple(rule for rule in allowed if kind.applies(rule, context))
    gone = kind.gone(context)
    gone_fields = frozenset() if isinstance(gone, Verdict) else frozenset(gone)
    finished = frozenset(kind.finish({}, context))
    target_fields = frozenset(rule.target for rule in rules) | gone_fields | finished | ({kind.marker} - {""})
    return Plan(
        kind=kind,
        context=context,
        rules=rules,
        mapper=compile_rules(rules, ALL_TRANSFORMS, context),
        source_fields=frozenset(rule.source for rule in rules),
        target_fields=target_fields,
        policies={rule.target: FieldPolicy(rule.write, rule.conflict) for rule in rules},
        gone_fields=gone_fields,
        fixed=frozenset(one.name for one in kind.target.fields if one.fixed) & target_fields,
    )
