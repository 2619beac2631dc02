"""The rules of a flow as a form: one row a target field, the kind's rule beside the clinic's departure, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from integrations.connectors import CONNECTORS
from integrations.connectors.base import OpenFields, Stream
from integrations.core.records import OnConflict, Write
from integrations.core.rules import Rule
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import ALL_TRANSFORMS, Config, FlowKind, effective_rules
from integrations.models import Flow

STEPS, MOST_STEPS = 3, 8
"""How many boxes for steps the form shows, and how many it reads where a file gave a rule more."""
PLAIN_STEPS = {"single_line", "trim"}
NOT_SYNCED = ""
SHIPPED, CHANGED, ADDED, REMOVED = "shipped", "changed", "added", "removed"

WRITES = (
    (Write.ALWAYS.value, "Always"),
    (Write.IF_EMPTY.value, "Only while it is empty there"),
    (Write.IF_NEW.value, "Only when the record is new there"),
    (Write.APPEND.value, "Add to what is there"),
)

Options = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Words:
    """What fields, steps and answers are called on this flow's pages."""

    kind: FlowKind
    source_name: str
    target_name: str

    @classmethod
    def of(cls, flow: Flow) -> "Words":
        return cls.of_kind(FLOW_KINDS[flow.kind])

    @classmethod
    def of_kind(cls, kind: FlowKind) -> "Words":
        return cls(kind, CONNECTORS[kind.source_vendor].label, CONNECTORS[kind.target_vendor].label)

    def source(self, name: str) -> str:
        derived = next((one.label for one in self.kind.derived if one.name == name), "")
        return derived or _label(self.kind.source, name)

    def target(self, name: str) -> str:
        return _label(self.kind.target, name)

    def steps(self, rule: Rule) -> str:
        return ", then ".join(
            ALL_TRANSFORMS[name].label if name in ALL_TRANSFORMS else name for name in rule.transforms
        )

    def wins(self) -> Options:
        return (
            (OnConflict.SOURCE_WINS.value, f"{self.source_name}: a change made in {self.target_name} is put back"),
            (OnConflict.TARGET_WINS.value, f"{self.target_name}: what is changed there is kept"),
            (OnConflict.HOLD.value, "Ask a person when both changed"),
        )

    def owner(self, rule: Rule) -> str:
        """Who decides what the field holds, in a word or two (C03)."""
        if rule.write in {Write.IF_NEW, Write.IF_EMPTY}:
            return f"{self.target_name}, once filled"
        return {
            OnConflict.SOURCE_WINS: self.source_name,
            OnConflict.TARGET_WINS: f"{self.target_name}, once changed there",
            OnConflict.HOLD: "A person, when both changed",
        }[rule.conflict]

    def brief(self, rule: Rule) -> str:
        """The steps worth a person's glance: that text stays one line goes without saying."""
        return self.steps(replace(rule, transforms=tuple(name for name in rule.transforms if name not in PLAIN_STEPS)))

    def sentence(self, rule: Rule | None) -> str:
        """A rule in words: what is shown beside a departure from it."""
        if rule is None:
            return "not synced"
        steps = self.brief(rule)
        parts = [self.source(rule.source) + (f" ({steps.lower()})" if steps else "")]
        if rule.write is not Write.ALWAYS:
            parts.append(dict(WRITES)[rule.write.value].lower())
        return f"{', '.join(parts)}; decides: {self.owner(rule)}"


def _label(stream: Stream, name: str) -> str:
    known = stream.find_field(name)
    if isinstance(known, OpenFields):
        return f"{known.label.removesuffix('s')}: {name.removeprefix(known.prefix)}"
    return (known.label or name) if known else name


@dataclass(frozen=True, slots=True)
class Row:
    """One target field. ``rule`` None means that it is not synced; ``shipped`` is the kind's own rule, or None."""

    number: int
    target: str
    label: str
    rule: Rule | None
    shipped: Rule | None
    state: str
    source: str = ""
    steps: tuple[str, ...] = ()
    steps_brief: str = ""
    owner: str = ""
    write: str = Write.ALWAYS.value
    conflict: str = OnConflict.SOURCE_WINS.value
    shipped_words: str = ""
    faults: tuple[str, ...] = ()
    origin: str = ""
    is_open: bool = False
    lost_source: bool = False

    @property
    def text_number(self) -> str:
        return str(self.number)

    @property
    def write_words(self) -> str:
        return dict(WRITES)[self.write]

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the steps, with empty places up to the number of the form's boxes."""
        return (*self.steps, *([""] * (STEPS - len(self.steps))))


@dataclass(frozen=True, slots=True)
class Added:
    """The row in which a new field is typed, as it came back."""

    target: str = ""
    name: str = ""
    source: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Editor:
    """Everything the page needs to draw the form."""

    rows: tuple[Row, ...]
    sources: tuple[tuple[str, Options], ...]
    steps: Options
    writes: Options
    wins: Options
    targets: tuple[tuple[str, Options], ...]
    added: Added = field(default_factory=Added)

    @property
    def departures(self) -> int:
        return sum(row.state != SHIPPED for row in self.rows)


def editor(
    kind: FlowKind,
    released: Sequence[str],
    config: Config,
    faults: Mapping[str, Sequence[str]] | None = None,
    added: Added | None = None,
    *,
    origins: Mapping[str, str] | None = None,
) -> Editor:
    """``released`` are the custom fields that may be read; ``origins`` says in words whose a line is, by its place."""
    words = Words.of_kind(kind)
    told, whose = faults or {}, origins or {}
    shipped = {rule.target: rule for rule in effective_rules(kind, Config(settings=config.settings))}
    current = {rule.target: rule for rule in effective_rules(kind, config)}
    names = [*shipped, *(name for name in current if name not in shipped)]
    sources = source_options(words, released)
    readable = {name for _, options in sources for name, _ in options}
    rows = tuple(
        _row(number, name, (current.get(name), shipped.get(name)), words, tuple(told.get(f"rules.{name}", ())))
        for number, name in enumerate(names)
    )
    return Editor(
        rows=tuple(
            replace(
                row,
                lost_source=bool(row.source) and row.source not in readable,
                origin=whose.get(f"rules.{row.target}", ""),
            )
            for row in rows
        ),
        sources=sources,
        steps=tuple((name, transform.label) for name, transform in ALL_TRANSFORMS.items()),
        writes=WRITES,
        wins=words.wins(),
        targets=_target_options(kind, names, words),
        added=added or Added(),
    )


def _row(number: int, name: str, rules: tuple[Rule | None, Rule | None], words: Words, faults: tuple[str, ...]) -> Row:
    rule, shipped = rules
    state = _state(rule, shipped)
    blank = Row(number, name, words.target(name), rule, shipped, state, faults=faults, is_open=bool(faults))
    shown = replace(blank, shipped_words=words.sentence(shipped) if state not in {SHIPPED, ADDED} else "")
    if rule is None:
        return shown
    return replace(
        shown,
        source=rule.source,
        steps=rule.transforms,
        steps_brief=words.brief(rule),
        owner=words.owner(rule),
        write=rule.write.value,
        conflict=rule.conflict.value,
    )


def _state(rule: Rule | None, shipped: Rule | None) -> str:
    if rule is None:
        return REMOVED
    if shipped is None:
        return ADDED
    return SHIPPED if replace(rule, unusable=shipped.unusable) == shipped else CHANGED


def source_options(words: Words, released: Sequence[str]) -> tuple[tuple[str, Options], ...]:
    """What a rule may read: never a clinical field, custom ones only where released."""
    kind = words.kind
    plain = tuple((one.name, one.label or one.name) for one in kind.source.fields if not one.clinical)
    derived = tuple((one.name, one.label) for one in kind.derived)
    by_name = tuple((name, words.source(name)) for name in released)
    groups = ((f"From {words.source_name}", plain), ("Computed", derived), ("Released custom fields", by_name))
    return tuple((title, options) for title, options in groups if options)


def _target_options(kind: FlowKind, taken: Sequence[str], words: Words) -> tuple[tuple[str, Options], ...]:
    plain = tuple(
        (one.name, one.label or one.name)
        for one in kind.target.fields
        if one.writable and not one.clinical and one.name not in {*taken, kind.marker}
    )
    families = tuple((family.prefix, f"{family.label}: name it beside") for family in kind.target.open_fields)
    groups = ((f"Fields of {words.target_name}", plain), ("By name", families))
    return tuple((title, options) for title, options in groups if options)


def read_form(kind: FlowKind, config: Config, given: Mapping[str, str]) -> tuple[Config, Added]:
    """The configuration as the form's boxes say it; settings and value maps are those of ``config``."""
    shipped = {rule.target: rule for rule in effective_rules(kind, Config(settings=config.settings))}
    rules: dict[str, Rule] = {}
    removed: set[str] = set()
    for number in range(200):
        name = given.get(f"rule-{number}-target")
        if name is None:
            break
        if given.get(f"rule-{number}-revert"):
            continue
        rule = _read_rule(name, f"rule-{number}", given)
        if rule is not None:
            rules[name] = rule
        elif name in shipped:
            removed.add(name)
    added = _read_added(given)
    if added.target and added.source:
        name = _whole_name(kind, added)
        rules[name] = _read_rule(name, "add", given) or Rule(name, added.source)
        added = Added()
    return Config(tuple(rules.values()), frozenset(removed), config.settings, config.value_maps), added


def _read_rule(name: str, prefix: str, given: Mapping[str, str]) -> Rule | None:
    source = given.get(f"{prefix}-source", NOT_SYNCED)
    if source == NOT_SYNCED:
        return None
    steps = tuple(step for place in range(MOST_STEPS) if (step := given.get(f"{prefix}-step-{place}", "")))
    write, wins = given.get(f"{prefix}-write", ""), given.get(f"{prefix}-wins", "")
    return Rule(
        name,
        source,
        steps,
        Write(write) if write in dict(WRITES) else Write.ALWAYS,
        OnConflict(wins) if wins in set(OnConflict) else OnConflict.SOURCE_WINS,
    )


def _read_added(given: Mapping[str, str]) -> Added:
    target, name, source = (given.get(f"add-{box}", "").strip() for box in ("target", "name", "source"))
    faults = []
    if target and not source:
        faults.append("Choose where the value comes from.")
    if source and not target:
        faults.append("Choose which field it goes to.")
    return Added(target, name, source, tuple(faults))


def _whole_name(kind: FlowKind, added: Added) -> str:
    families = {family.prefix for family in kind.target.open_fields}
    return f"{added.target}{added.name.removeprefix(added.target)}" if added.target in families else added.target
