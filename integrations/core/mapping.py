"""Rules applied to a record give a draft. A function: the same input gives the same draft, always."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from integrations.core.records import Note, Record
from integrations.core.rules import Context, Rule, Transform, Unusable
from integrations.core.values import Value

Problem = tuple[str, str]  # code, target field


@dataclass(frozen=True, slots=True)
class Mapped:
    """What the rules made of a record: target fields, notes, and problems that hold it."""

    fields: Mapping[str, Value]
    notes: tuple[Note, ...] = ()
    problems: tuple[Problem, ...] = ()


Mapper = Callable[[Record], Mapped]
_Step = Callable[[Mapping[str, Value]], Value]


def compile_rules(rules: Sequence[Rule], transforms: Mapping[str, Transform], context: Context) -> Mapper:
    """A function that maps records by these rules; compiled once for a run, because it is called per record.

    Raises KeyError if a rule names a transform that does not exist: that is a bug or an unchecked edit.
    """
    steps = tuple((rule, _step(rule, transforms, context), _drops(rule, context)) for rule in rules)

    def map_record(record: Record) -> Mapped:
        values = record.values
        fields: dict[str, Value] = {}
        notes: list[Note] = []
        problems: list[Problem] = []
        for rule, step, drops in steps:
            if rule.source not in values:
                continue
            try:
                fields[rule.target] = step(values)
            except Unusable as unusable:
                if drops:
                    fields[rule.target] = None
                    notes.append(Note(unusable.code, rule.target))
                else:
                    problems.append((unusable.code, rule.target))
        return Mapped(fields, tuple(notes), tuple(problems))

    return map_record


def _drops(rule: Rule, context: Context) -> bool:
    return bool(rule.unusable) and context.settings.get(rule.unusable, "hold") == "drop"


def _step(rule: Rule, transforms: Mapping[str, Transform], context: Context) -> _Step:
    applied = tuple(transforms[name].apply for name in rule.transforms)
    source = rule.source

    def step(values: Mapping[str, Value]) -> Value:
        value = values[source]
        for apply in applied:
            if value is None:
                return None
            value = apply(value, context)
        return value

    return step
