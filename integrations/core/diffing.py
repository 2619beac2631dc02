"""Three-way, per field: what we want, what we last wrote, what is there now."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from integrations.core.records import Note, OnConflict, Write
from integrations.core.values import Kind, Value


@dataclass(frozen=True, slots=True)
class FieldPolicy:
    write: Write = Write.ALWAYS
    conflict: OnConflict = OnConflict.SOURCE_WINS


@dataclass(frozen=True, slots=True)
class Patch:
    """The fields that must be written; ``conflicts`` are fields whose policy is to ask a person, ``fixed`` those that
    differ and can no longer be written."""

    fields: Mapping[str, Value]
    conflicts: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.fields)


DEFAULT = FieldPolicy()


class Fate(StrEnum):
    """What becomes of one wished field, and why."""

    SAME = "same"  # as wished already
    WRITE = "write"
    UNSEEN = "unseen"  # the target does not show it, so it cannot be compared
    MODE = "mode"  # its write mode leaves alone what is there
    THEIRS = "theirs"  # nothing is wished, and what is there was never ours
    ONCE = "once"  # can be set once only, was set as wished, and something became of it since
    KEPT = "kept"  # changed at the target since our last write, and there the target's word counts
    ASK = "ask"  # changed at the target since our last write, and there a person decides
    FIXED = "fixed"  # differs, and the target lets nobody change it any more


def new(wanted: Mapping[str, Value], kind_of: Callable[[str], Kind]) -> Patch:
    """What a record that does not exist yet must be created with: every wished field that holds something."""
    return Patch({name: value for name, value in wanted.items() if kind_of(name).canon(value)})


def diff(
    wanted: Mapping[str, Value],
    current: Mapping[str, Value],
    *,
    kind_of: Callable[[str], Kind],
    digest: Callable[[str, Value], str],
    written: Mapping[str, str],
    policies: Mapping[str, FieldPolicy],
    fixed: Collection[str] = (),
) -> Patch:
    """The patch that makes ``current`` as ``wanted``.

    ``written`` holds, per field, the digest of what the target answered to our last write; ``digest(name, value)``
    computes the same for a value. A wish for nothing clears a field only if we wrote what is there: what somebody
    else put into a field we never filled is not ours to blank. A field absent from ``current`` cannot be compared
    and is left alone (a shop may withhold it). A wish for a ``fixed`` field that was fulfilled once is not held against
    what became of it at the target since.
    """
    terms = _Terms(kind_of, digest, written, policies, fixed)
    fields: dict[str, Value] = {}
    conflicts: list[str] = []
    stuck: list[str] = []
    notes: list[Note] = []
    for name, value in wanted.items():
        if name not in current or value == current[name]:
            continue
        fate = _fate(name, value, current[name], terms)
        if fate is Fate.WRITE:
            fields[name] = value
        elif fate is Fate.KEPT:
            notes.append(Note("field.target_kept", name))
        elif fate is Fate.ASK:
            conflicts.append(name)
        elif fate is Fate.FIXED:
            stuck.append(name)
    return Patch(fields, tuple(conflicts), tuple(stuck), tuple(notes))


def fates(
    wanted: Mapping[str, Value],
    current: Mapping[str, Value],
    *,
    kind_of: Callable[[str], Kind],
    digest: Callable[[str, Value], str],
    written: Mapping[str, str],
    policies: Mapping[str, FieldPolicy],
    fixed: Collection[str] = (),
) -> dict[str, Fate]:
    """What ``diff`` decides about each wished field, told one by one."""
    terms, told = _Terms(kind_of, digest, written, policies, fixed), {}
    for name, value in wanted.items():
        if name not in current:
            told[name] = Fate.UNSEEN
        elif value == current[name]:
            told[name] = Fate.SAME
        else:
            told[name] = _fate(name, value, current[name], terms)
    return told


class _Terms(NamedTuple):  # made for every comparison: the cheapest of its kind
    """What the judgement on a field depends on besides its two values."""

    kind_of: Callable[[str], Kind]
    digest: Callable[[str, Value], str]
    written: Mapping[str, str]
    policies: Mapping[str, FieldPolicy]
    fixed: Collection[str]


def _fate(name: str, value: Value, there: Value, terms: _Terms) -> Fate:
    """The judgement on a field that is not simply equal."""
    kind, policy, last = terms.kind_of(name), terms.policies.get(name, DEFAULT), terms.written.get(name)
    want_text, there_text = kind.canon(value), kind.canon(there)
    if kind.satisfied(want_text, there_text):
        return Fate.SAME
    if _mode_says_no(policy.write, want_text, there_text):
        return Fate.MODE
    if name in terms.fixed:
        return Fate.ONCE if terms.digest(name, value) == last else Fate.FIXED
    if not want_text and not last:
        return Fate.THEIRS
    if policy.conflict is not OnConflict.SOURCE_WINS and _is_touched(last, terms.digest(name, there), there_text):
        return Fate.KEPT if policy.conflict is OnConflict.TARGET_WINS else Fate.ASK
    return Fate.WRITE


def ours(
    wanted: Mapping[str, Value],
    answered: Mapping[str, Value],
    *,
    wrote: Collection[str],
    kind_of: Callable[[str], Kind],
) -> list[str]:
    """The fields whose value at the target is ours: written by us, or found to be just as wished.

    Only these are remembered as written. A value that was left to somebody else stays theirs, so that a later wish
    for nothing does not blank it.
    """
    names = []
    for name, value in wanted.items():
        if name not in answered:
            continue
        kind = kind_of(name)
        if name in wrote or value == answered[name] or kind.satisfied(kind.canon(value), kind.canon(answered[name])):
            names.append(name)
    return names


def _mode_says_no(write: Write, wanted: str, there: str) -> bool:
    if write is Write.IF_NEW:
        return True
    if write is Write.IF_EMPTY:
        return bool(there)
    if write is Write.APPEND:
        return set(wanted.split("\n")) <= set(there.split("\n"))
    return False


def _is_touched(last: str | None, now: str, there: str) -> bool:
    """Whether somebody else wrote this field since we did. Where we never wrote it, a filled field counts as touched.

    Asked only for fields that are not simply the source's: there a wish may overwrite what a match found.
    """
    return bool(there) if last is None else now != last
