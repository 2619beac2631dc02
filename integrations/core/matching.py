"""Which target record a draft means. Names alone never decide; empty keys never match."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from integrations.core.records import Note, Record
from integrations.core.values import Kind, Value, clean_text


class Shared(StrEnum):
    """What to do when a natural key (e-mail, phone) belongs to another person's record: ask, or leave the key out."""

    HOLD = "hold"
    CREATE_WITHOUT = "create"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class NaturalKey:
    """A field that may find a record.

    ``field`` is the target field; ``confirm`` a second field that must agree (the family name), ``""`` where the key
    itself is proof (a SKU); ``setting`` names the flow setting that decides when the key turns out to be shared;
    ``shared_code`` says so on the error desk.
    """

    field: str
    confirm: str
    setting: str
    shared_code: str


@dataclass(frozen=True, slots=True)
class Matching:
    """How a flow kind finds targets: the marker field, then natural keys in this order.

    Without a marker (``""``) the target is found by where it belongs, and none is ever created. ``first`` names the
    setting that says which key decides where two of them find different records; a value that is no key's field asks a
    person.
    """

    marker: str
    natural: tuple[NaturalKey, ...] = ()
    first: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates for one draft: those carrying its marker, and per natural key field those that answered to it."""

    by_marker: tuple[Record, ...] = ()
    by_key: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """``target`` is the record to update, or None for a create; ``drop`` are fields left out of the wish;
    a ``code`` holds the delivery and offers ``candidates`` (target keys) to a person."""

    target: Record | None = None
    drop: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    code: str = ""
    candidates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judge:
    """Matching for one flow: its rules, the policies its settings chose, and what it knows of the targets.

    ``policies``: setting name -> Shared value. ``taken(key)`` is true of a target linked to another source record.
    """

    matching: Matching
    policies: Mapping[str, str]
    taken: Callable[[str], bool]
    kind_of: Callable[[str], Kind]

    def choose(self, wanted: Mapping[str, Value], found: Found, linked: Record | None = None) -> Decision:
        """The target a draft means: its link, its marker, or one confirmed natural key."""
        if linked is None and len(found.by_marker) > 1:
            return Decision(code="match.marker_twice", candidates=_keys(found.by_marker))
        answers = {key: self._answers(key, wanted, found) for key in self.matching.natural}
        own = linked or next(iter(found.by_marker), None) or self._marked_ours(wanted, answers)
        if linked is None and own is not None and self.taken(own.key):
            return Decision(code="match.target_linked", candidates=(own.key,))
        if own is None:
            fitting = {
                key.field: {record.key: record for record in answers[key] if self._fits(key, wanted, record)}
                for key in answers
            }
            matches = {name: record for records in fitting.values() for name, record in records.items()}
            if len(matches) > 1:
                matches = fitting.get(self.policies.get(self.matching.first, "")) or matches
            if len(matches) > 1:
                return Decision(code="match.several", candidates=tuple(sorted(matches)))
            own = next(iter(matches.values()), None)
        return self._without_shared(own, answers)

    def _marked_ours(
        self, wanted: Mapping[str, Value], answers: Mapping[NaturalKey, Sequence[Record]]
    ) -> Record | None:
        """A candidate that carries our own marker, though a look-up by marker did not show it yet."""
        marker = self.matching.marker
        ours = wanted.get(marker)
        return next(
            (record for key in answers for record in answers[key] if ours and record.values.get(marker) == ours), None
        )

    def _answers(self, key: NaturalKey, wanted: Mapping[str, Value], found: Found) -> tuple[Record, ...]:
        """Candidates whose key is exactly ours (searches are fuzzy), none for an empty key."""
        canon = self.kind_of(key.field).canon
        ours = canon(wanted.get(key.field))
        if not ours:
            return ()
        return tuple(
            record for record in found.by_key.get(key.field, ()) if canon(record.values.get(key.field)) == ours
        )

    def _fits(self, key: NaturalKey, wanted: Mapping[str, Value], record: Record) -> bool:
        """Same family name where one must agree, nobody else's marker, not linked to somebody else."""
        if record.values.get(self.matching.marker) or self.taken(record.key):
            return False
        if not key.confirm:
            return True
        ours, theirs = (clean_text(side.get(key.confirm)).casefold() for side in (wanted, record.values))
        return bool(ours) and ours == theirs

    def _without_shared(self, own: Record | None, answers: Mapping[NaturalKey, Sequence[Record]]) -> Decision:
        """The decision for ``own``, once keys that belong to somebody else are held or dropped."""
        drop: list[str] = []
        for key, records in answers.items():
            others = tuple(record for record in records if own is None or record.key != own.key)
            if not others:
                continue
            if self.policies.get(key.setting, Shared.HOLD) == Shared.HOLD:
                return Decision(target=own, code=key.shared_code, candidates=_keys(others))
            drop.append(key.field)
        notes = tuple(Note(key.shared_code, key.field) for key in answers if key.field in drop)
        return Decision(target=own, drop=tuple(drop), notes=notes)


def _keys(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(sorted({record.key for record in records}))
