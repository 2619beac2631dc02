"""Rules applied to a record give a draft. A function: the same input gives the same draft, always."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from integrations.core.records import Note
from integrations.core.rules import Context, Rule, Transform, Unusable
from integrations.core.values import Value

Problem = tuple[str, str]  # code, target field


@dataclass(frozen=True, slots=True)
class Mapped:
    """What the rules made of a record: target fields, notes, and problems that hold it."""

    fields: Mapping[str, Value]
    notes: tuple[Note, ...] = ()
    problems: tuple[Problem, ...] = ()


Mapper = Callable[[Mapping[str, Value]], Mapped]
_Apply = Callable[[Value, Context], Value]
_Step = tuple[
    str, tuple[_Apply, ...], bool, tuple[str, ...]
]  # source, transforms, whether unusable is dropped, targets


def compile_rules(rules: Sequence[Rule], transforms: Mapping[str, Transform], context: Context) -> Mapper:
    """A function that maps records' values by these rules; compiled once for a run, because it is called per record.

    Raises KeyError if a rule names a transform that does not exist: that is a bug or an unchecked edit.
    """
    steps = _steps(rules, transforms, context)

    def map_values(values: Mapping[str, Value]) -> Mapped:
        fields: dict[str, Value] = {}
        notes: list[Note] = []
        problems: list[Problem] = []
        for source, applied, drops, targets in steps:
            if source not in values:
                continue
            value = values[source]
            try:
                for apply in applied:
                    if value is None:
                        break
                    value = apply(value, context)
            except Unusable as unusable:
                if not drops:
                    problems.extend((unusable.code, target) for target in targets)
                    continue
                notes.extend(Note(unusable.code, target) for target in targets)
                value = None
            for target in targets:
                fields[target] = value
        return Mapped(fields, tuple(notes), tuple(problems))

    return map_values


def _steps(rules: Sequence[Rule], transforms: Mapping[str, Transform], context: Context) -> Sequence[_Step]:
    """What is computed alike is computed once: a name goes to the person and to the address."""
    targets: dict[tuple[str, tuple[_Apply, ...], bool], list[str]] = {}
    for rule in rules:
        alike = (rule.source, _applied(rule, transforms), _drops(rule, context))
        targets.setdefault(alike, []).append(rule.target)
    return [(*alike, tuple(names)) for alike, names in targets.items()]


def _drops(rule: Rule, context: Context) -> bool:
    return bool(rule.unusable) and context.settings.get(rule.unusable, "hold") == "drop"


def _applied(rule: Rule, transforms: Mapping[str, Transform]) -> tuple[_Apply, ...]:
    return tuple(transforms[name].apply for name in rule.transforms)
