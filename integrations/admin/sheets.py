"""Value maps and mapping rules as CSV: names and values that people know, no ids, and line by line what a file would do.

A file is read against one flow kind and one configuration, so that it can name nothing of another clinic. What is read
is a configuration like any other: it is published by ``services/configuration``, never row by row as an importer of
models would save it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from integrations.admin.rules import MOST_STEPS, WRITES, Words
from integrations.admin.setup import humble
from integrations.connectors.base import OpenFields, Stream
from integrations.core.cells import SheetRow, is_formula, plain_cell, read_sheet, write_sheet
from integrations.core.records import OnConflict, Write
from integrations.core.rules import Rule
from integrations.flows.kind import ALL_TRANSFORMS, Config, FlowKind, ValueMapSpec, effective_rules
from integrations.flows.layers import laid
from integrations.services.changes import Fault
from integrations.services.config_faults import rule_fault
from integrations.services.configured import ANYTHING_ELSE, tidy

FIELDS, VALUES = "fields", "values"
MOST_BYTES, MOST_LINES = 2**20, 5000
LONGEST_VALUE, LONGEST_FIELD = 255, 160

MAP, VALUE, MEANING, BECOMES = "Value map", "Value", "Meaning", "Becomes"
FIELD, COMES_FROM, STEPS, WRITTEN, DECIDES = "Field", "Comes from", "Steps", "Written", "Who decides"
NEEDED: Mapping[str, tuple[str, ...]] = {VALUES: (MAP, VALUE, BECOMES), FIELDS: (FIELD, COMES_FROM)}

REST = "Anything else"
NOT_SYNCED = "Not synced"
THEN = ", then "
A_PERSON = "Ask a person"

NEW, CHANGED, REMOVED, REFUSED, SAME = "new", "changed", "removed", "refused", "same"


class Names:
    """Names and what people call them. Words that two names share, or that are a third one's name, stand for none."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._words = dict(pairs)
        often = Counter(words.casefold() for words in self._words.values())
        self._names = {
            words.casefold(): name
            for name, words in self._words.items()
            if often[words.casefold()] == 1 and (words not in self._words or words == name)
        }

    def words(self, name: str) -> str:
        """What is written for a name; read again, it is that name."""
        words = self._words.get(name, name)
        return words if self._names.get(words.casefold()) == name else name

    def name(self, said: str) -> str | None:
        return said if said in self._words else self._names.get(said.casefold())


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a file, or with number 0 one that the file leaves out. ``place`` is where ``Fault.where`` points."""

    number: int
    place: str
    what: str
    verdict: str = SAME
    now: str = ""
    then: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file would do. ``config`` is the configuration with the good lines, and them alone."""

    lines: tuple[Line, ...]
    config: Config
    encoding: str = "UTF-8"

    def count(self, verdict: str) -> int:
        return sum(line.verdict == verdict for line in self.lines)


@dataclass(slots=True)
class Sheets:
    """The sheets of one flow kind. ``released`` are the custom fields that rules may read."""

    words: Words
    released: Sequence[str] = ()
    sources: Names = field(init=False)
    targets: Names = field(init=False)
    steps: Names = field(init=False)
    maps: Names = field(init=False)
    deciders: Names = field(init=False)

    def __post_init__(self) -> None:
        kind = self.kind
        derived = [(one.name, one.label) for one in kind.derived]
        self.sources = Names([("", NOT_SYNCED), *_labels(kind.source), *derived])
        self.targets = Names(_labels(kind.target))
        self.steps = Names((name, step.label) for name, step in ALL_TRANSFORMS.items())
        self.maps = Names((spec.name, spec.label) for spec in kind.value_maps)
        deciders = {
            OnConflict.SOURCE_WINS: self.words.source_name,
            OnConflict.TARGET_WINS: self.words.target_name,
            OnConflict.HOLD: A_PERSON,
        }
        self.deciders = Names((one.value, words) for one, words in deciders.items())

    @property
    def kind(self) -> FlowKind:
        return self.words.kind

    # -- written

    def written(self, what: str, config: Config) -> str:
        """The file: every line that is in force, shipped ones too."""
        if what == VALUES:
            return write_sheet((MAP, VALUE, MEANING, BECOMES), list(self._value_rows(config)))
        return write_sheet((FIELD, COMES_FROM, STEPS, WRITTEN, DECIDES), list(self._rule_rows(config)))

    def _value_rows(self, config: Config) -> Iterator[tuple[str, ...]]:
        for spec in self.kind.value_maps:
            lines, actions = _effective(spec, config), Names(spec.actions)
            for value in sorted({*lines, *spec.known, ANYTHING_ELSE}, key=lambda one: (one == ANYTHING_ELSE, one)):
                meaning = REST if value == ANYTHING_ELSE else spec.known.get(value, "")
                yield self.maps.words(spec.name), value, meaning, actions.words(lines.get(value, ""))

    def _rule_rows(self, config: Config) -> Iterator[tuple[str, ...]]:
        rules = _rules(self.kind, config)
        for target in dict.fromkeys([*_rules(self.kind, Config(settings=config.settings)), *rules]):
            rule = rules.get(target)
            if rule is None:
                yield self.targets.words(target), NOT_SYNCED, "", "", ""
                continue
            steps = THEN.join(self.steps.words(step) for step in rule.transforms)
            written, decides = humble(WRITES, rule.write.value), self.deciders.words(rule.conflict.value)
            yield self.targets.words(target), self.sources.words(rule.source), steps, written, decides

    # -- read

    def read(
        self, what: str, data: bytes, config: Config, *, takes_away: bool = False, below: Config | None = None
    ) -> Reading:
        """What the file would make of ``config``. ``takes_away``: lines that it leaves out go back to those ``below``, the
        blueprint's. Raises Unreadable."""
        sheet = read_sheet(data, NEEDED[what], most=MOST_LINES)
        reader = _ValueReader(self, config) if what == VALUES else _RuleReader(self, config)
        for row in sheet.rows:
            reader.take(row)
        wanted = reader.wanted(kept=(below or Config()) if takes_away else config)
        return Reading(tuple(reader.judged(wanted)), wanted, sheet.encoding)

    def without(self, reading: Reading, faults: Sequence[Fault], config: Config) -> Reading:
        """The reading with lines refused that the flow as a whole does not bear; ``config`` is the one before."""
        told = {fault.where: fault.sentence for fault in faults}
        lines = tuple(
            replace(line, verdict=REFUSED, then="", why=told[line.place]) if line.place in told else line
            for line in reading.lines
        )
        return replace(reading, lines=lines, config=laid(reading.config, config, told))


class _Misread(ValueError):
    """Why one line is refused, to a person."""


class _Reader:
    """Lines as they are understood. Subclasses know one kind of file."""

    def __init__(self, sheets: Sheets, config: Config) -> None:
        self.sheets, self.config = sheets, config
        self.lines: list[Line] = []
        self.seen: dict[str, int] = {}

    def take(self, row: SheetRow) -> None:
        """One row of the file."""
        cells = {heading: plain_cell(cell) for heading, cell in row.cells.items()}
        place, what = self.named(cells)
        try:
            _refuse_broken(row.cells)
            if place in self.seen:
                raise _Misread(f"Line {self.seen[place]} says it already.")
            self.keep(place, cells)
        except _Misread as refusal:
            self.lines.append(Line(row.number, place, what, REFUSED, why=str(refusal)))
        else:
            self.seen[place] = row.number
            self.lines.append(Line(row.number, place, what))

    def named(self, cells: Mapping[str, str]) -> tuple[str, str]:
        """The place that a line speaks of, and what it is called; as it stands there where it names nothing known."""
        raise NotImplementedError

    def keep(self, place: str, cells: Mapping[str, str]) -> None:
        """Understands what the line says. Raises _Misread."""
        raise NotImplementedError

    def wanted(self, *, kept: Config) -> Config:
        """The configuration, with ``kept`` wherever the file says nothing."""
        raise NotImplementedError

    def told(self, config: Config) -> Mapping[str, tuple[str, str]]:
        """Everything in force by place: what it is called, and what it says."""
        raise NotImplementedError

    def judged(self, wanted: Config) -> Iterator[Line]:
        before, after = self.told(self.config), self.told(wanted)
        for line in self.lines:
            if line.verdict == REFUSED:
                yield replace(line, now=before.get(line.place, ("", ""))[1])
            else:
                yield _verdict(line, before, after)
        for place in before.keys() - self.seen.keys():
            line = _verdict(Line(0, place, before[place][0]), before, after)
            if line.verdict != SAME:
                yield line


def _verdict(line: Line, before: Mapping[str, tuple[str, str]], after: Mapping[str, tuple[str, str]]) -> Line:
    now, then = (side.get(line.place, ("", ""))[1] for side in (before, after))
    if now == then:
        return replace(line, now=now, then=then)
    return replace(line, verdict=CHANGED if now and then else NEW if then else REMOVED, now=now, then=then)


class _ValueReader(_Reader):
    def __init__(self, sheets: Sheets, config: Config) -> None:
        super().__init__(sheets, config)
        self.specs = {spec.name: spec for spec in sheets.kind.value_maps}
        self.given: dict[str, dict[str, str]] = {}

    def named(self, cells: Mapping[str, str]) -> tuple[str, str]:
        said, value = cells.get(MAP, "").strip(), cells.get(VALUE, "")
        name = self.sheets.maps.name(said)
        if name is None:
            return f"values.{said}.{value}", f"{said}: {value}"
        spec = self.specs[name]
        value = _as_known(value, {*spec.known, *_effective(spec, self.config)})
        return f"values.{name}.{value}", f"{spec.label}: {_value_words(spec, value)}"

    def keep(self, place: str, cells: Mapping[str, str]) -> None:
        _, name, value = place.split(".", 2)
        if name not in self.specs:
            raise _Misread(f"There is no value map “{cells.get(MAP, '').strip()}” in this flow.")
        if not value:
            raise _Misread("It names no value.")
        spec, said = self.specs[name], cells.get(BECOMES, "").strip()
        _refuse_long(LONGEST_VALUE, value, said)
        becomes = Names(spec.actions).name(said) if spec.actions and said else said
        if becomes is None:
            raise _Misread(f"“{said}” is none of: {', '.join(words for _, words in spec.actions)}.")
        self.given.setdefault(name, {})[value] = becomes

    def wanted(self, *, kept: Config) -> Config:
        maps = {name: dict(lines) for name, lines in self.config.value_maps.items()}
        for name, given in self.given.items():
            lines = {**kept.value_maps.get(name, {}), **given}
            maps[name] = {line: made for line, made in lines.items() if made}
        return tidy(self.sheets.kind, replace(self.config, value_maps=maps))

    def told(self, config: Config) -> Mapping[str, tuple[str, str]]:
        return {
            f"values.{spec.name}.{value}": (
                f"{spec.label}: {_value_words(spec, value)}",
                humble(spec.actions, becomes),
            )
            for spec in self.specs.values()
            for value, becomes in _effective(spec, config).items()
        }


class _RuleReader(_Reader):
    def __init__(self, sheets: Sheets, config: Config) -> None:
        super().__init__(sheets, config)
        self.given: dict[str, Rule | None] = {}
        self.shipped = _rules(sheets.kind, Config(settings=config.settings))

    def named(self, cells: Mapping[str, str]) -> tuple[str, str]:
        said = cells.get(FIELD, "").strip()
        name = _field(said, self.sheets.targets, self.sheets.kind.target)
        return f"rules.{said if name is None else name}", said if name is None else self.sheets.words.target(name)

    def keep(self, place: str, cells: Mapping[str, str]) -> None:
        target, kind = place.removeprefix("rules."), self.sheets.kind
        if not target:
            raise _Misread("It names no field.")
        if kind.target.find_field(target) is None:
            raise _Misread(f"“{target}” is not a field of {self.sheets.words.target_name}.")
        made = self._rule(target, cells)
        if made is not None and (fault := rule_fault(kind, made, self.sheets.released)):
            raise _Misread(fault.sentence)
        self.given[target] = made

    def _rule(self, target: str, cells: Mapping[str, str]) -> Rule | None:
        """The rule, None where the field is not synced. Raises _Misread."""
        said = cells.get(COMES_FROM, "").strip()
        source = _field(said, self.sheets.sources, self.sheets.kind.source)
        if source is None:
            raise _Misread(f"“{said}” is not a field of {self.sheets.words.source_name}.")
        _refuse_long(LONGEST_FIELD, target, source)
        return Rule(target, source, self._steps(cells), *self._modes(cells)) if source else None

    def _steps(self, cells: Mapping[str, str]) -> tuple[str, ...]:
        said = [step.strip() for step in cells.get(STEPS, "").split(THEN) if step.strip()]
        if len(said) > MOST_STEPS:
            raise _Misread(f"It has too many steps: {MOST_STEPS} at most.")
        made = []
        for step in said:
            name = self.sheets.steps.name(step)
            if name is None:
                raise _Misread(f"“{step}” is no step that Suture knows.")
            made.append(name)
        return tuple(made)

    def _modes(self, cells: Mapping[str, str]) -> tuple[Write, OnConflict]:
        written, decides = cells.get(WRITTEN, "").strip(), cells.get(DECIDES, "").strip()
        write = Names(WRITES).name(written) if written else Write.ALWAYS.value
        wins = self.sheets.deciders.name(decides) if decides else OnConflict.SOURCE_WINS.value
        if write is None:
            raise _Misread(f"“{written}” is none of: {', '.join(words for _, words in WRITES)}.")
        if wins is None:
            raise _Misread(f"“{decides}” cannot decide: name one of the two systems, or “{A_PERSON}”.")
        return Write(write), OnConflict(wins)

    def wanted(self, *, kept: Config) -> Config:
        rules, removed = {rule.target: rule for rule in kept.rules}, set(kept.removed)
        for target, rule in self.given.items():
            rules.pop(target, None)
            removed.discard(target)
            if rule is not None:
                rules[target] = rule
            elif target in self.shipped:
                removed.add(target)
        return tidy(self.sheets.kind, replace(self.config, rules=tuple(rules.values()), removed=frozenset(removed)))

    def told(self, config: Config) -> Mapping[str, tuple[str, str]]:
        words = self.sheets.words
        return {
            f"rules.{name}": (words.target(name), words.sentence(rule))
            for name, rule in _rules(self.sheets.kind, config).items()
        }


def _refuse_broken(cells: Mapping[str, str]) -> None:
    for heading, cell in cells.items():
        if heading != MEANING and is_formula(cell):
            raise _Misread(f"“{heading}” begins as a formula does. If it is text, write ' before it.")


def _refuse_long(most: int, *texts: str) -> None:
    if max(map(len, texts)) > most:
        raise _Misread(f"It is too long: {most} characters at most.")


def _as_known(value: str, known: set[str]) -> str:
    """As it stands where that is a value one knows; else without the blanks that a spreadsheet leaves around it."""
    return value if value in known else value.strip()


def _value_words(spec: ValueMapSpec, value: str) -> str:
    if value == ANYTHING_ELSE:
        return REST
    return f"{spec.known[value]} ({value})" if value in spec.known else value


def _effective(spec: ValueMapSpec, config: Config) -> dict[str, str]:
    return {**spec.defaults, **config.value_maps.get(spec.name, {})}


def _rules(kind: FlowKind, config: Config) -> dict[str, Rule]:
    return {rule.target: rule for rule in effective_rules(kind, config)}


def _labels(stream: Stream) -> list[tuple[str, str]]:
    return [(one.name, one.label or one.name) for one in stream.fields]


def _field(said: str, names: Names, stream: Stream) -> str | None:
    """The field's name, also of a family of fields that are known by name only."""
    known = names.name(said)
    return said if known is None and isinstance(stream.find_field(said), OpenFields) else known
