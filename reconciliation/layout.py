"""Records as digests: what is kept of both sides until they are compared. Pure: the standard library and the core only."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from integrations.core import fingerprint
from integrations.core.diffing import DEFAULT, FieldPolicy
from integrations.core.fingerprint import FIELD_BYTES
from integrations.core.records import OnConflict, Write
from integrations.core.values import Kind, Value

ABSENT = bytes(FIELD_BYTES)
"""In place of a digest: this side says nothing of the field."""
EMPTY = bytes(FIELD_BYTES - 1) + b"\1"
"""In place of a digest: the field holds nothing."""
MOST_KNOWN = 2_000  # values a field
_NOT_TOLD = object()

_Step = tuple[str, Callable[[object], bytes | None], Callable[[Value], bytes]]


@dataclass(frozen=True, slots=True)
class Prints:
    """``digests`` are so many bytes a field, joined, ABSENT for one that is not among the values. ``fingerprint`` is equal
    on both sides only where no field differs, whatever its policy; None where nothing is to be compared."""

    fingerprint: bytes | None
    digests: bytes


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of a record's last delivery: digests, by field, of what the target answered, and of values left
    out; whether its wish was for an archived record."""

    written: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    gone: bool = False


class Column:
    """A field's digests, equal to those of ``fingerprint.of_field``. ``as_nothing`` are those of wishes that a target which
    holds nothing satisfies, but for ABSENT and EMPTY: only kinds of few values have them."""

    def __init__(self, key: bytes, name: str, kind: Kind) -> None:
        self.name, self.kind = name, kind
        self._begun = fingerprint.begun(key, name)
        self.known: dict[object, bytes] = {_NOT_TOLD: ABSENT}
        self._texts = {EMPTY: ""} | {self.digest(value): kind.canon(value) for value in kind.texts}
        self.as_nothing = {digest for digest, text in self._texts.items() if text and kind.satisfied(text, "")}

    def digest(self, value: Value) -> bytes:
        """Names of cities, states and consents come again and again: they are ``known``, and reckoned once."""
        text = self.kind.canon(value)
        made = EMPTY
        if text:
            digest = self._begun.copy()
            digest.update(text.encode())
            made = digest.digest()[:FIELD_BYTES]
        if len(self.known) < MOST_KNOWN:
            self.known[value] = made
        return made

    def is_satisfied(self, want: bytes, now: bytes) -> bool:
        """Of digests: known where the kind has few values; any other two are satisfied by being equal."""
        if want in self._texts and now in self._texts:
            return self.kind.satisfied(self._texts[want], self._texts[now])
        return want == now


@dataclass(frozen=True, slots=True)
class Layout:
    """In which order a record's fields stand as digests."""

    columns: tuple[Column, ...]
    fixed: frozenset[str]
    _steps: tuple[_Step, ...] = field(repr=False)
    _few: tuple[tuple[int, Collection[bytes]], ...] = field(repr=False)

    @classmethod
    def of(
        cls, names: Iterable[str], kind_of: Callable[[str], Kind], key: bytes, fixed: frozenset[str] = frozenset()
    ) -> "Layout":
        columns = tuple(Column(key, name, kind_of(name)) for name in sorted(names))
        steps = tuple((column.name, column.known.get, column.digest) for column in columns)
        few = tuple((place, column.as_nothing) for place, column in enumerate(columns) if column.as_nothing)
        return cls(columns, fixed, steps, few)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def wished(self, fields: Mapping[str, Value]) -> Prints:
        """Of a wish."""
        parts = self._parts(fields)
        settled = parts.copy()
        for place, as_nothing in self._few:
            if settled[place] in as_nothing:
                settled[place] = EMPTY
        return _prints(parts, settled)

    def there(self, values: Mapping[str, Value]) -> Prints:
        """Of what a target holds."""
        parts = self._parts(values)
        return _prints(parts, parts)

    def _parts(self, values: Mapping[str, Value]) -> list[bytes]:
        told: Mapping[str, Any] = values
        return [known(value := told.get(name, _NOT_TOLD)) or digest(value) for name, known, digest in self._steps]

    def unlike(self, wanted: bytes, there: bytes) -> list[tuple[str, bytes, bytes]]:
        """The fields that both sides tell and that are not as wished, with their digests."""
        pairs = zip(self.columns, _split(wanted), _split(there), strict=True)
        return [
            (column.name, want, now)
            for column, want, now in pairs
            if want != now and ABSENT not in (want, now) and not column.is_satisfied(want, now)
        ]

    def suspects(
        self, unlike: Iterable[tuple[str, bytes, bytes]], memory: Memory, policies: Mapping[str, FieldPolicy]
    ) -> list[str]:
        """The fields that ``diff`` may find to differ: it names all that it does find, and few others."""
        return [name for name, want, now in unlike if self._may_differ(name, want, now, memory, policies)]

    def _may_differ(
        self, name: str, want: bytes, now: bytes, memory: Memory, policies: Mapping[str, FieldPolicy]
    ) -> bool:
        policy, last = policies.get(name, DEFAULT), memory.written.get(name)
        if policy.write is Write.IF_NEW or (policy.write is Write.IF_EMPTY and now != EMPTY):
            return False
        if memory.dropped.get(name) == _hex(want):
            return False
        if name in self.fixed:
            return _hex(want) != last
        if want == EMPTY and not last:
            return False
        is_touched = now != EMPTY if last is None else _hex(now) != last
        return not (policy.conflict is OnConflict.TARGET_WINS and is_touched)


def _prints(parts: Sequence[bytes], settled: Sequence[bytes]) -> Prints:
    if ABSENT in settled:
        settled = [EMPTY if part == ABSENT else part for part in settled]
    told = hashlib.blake2b(b"".join(settled), digest_size=fingerprint.WISH_BYTES).digest()
    return Prints(told, b"".join(parts))


def _split(digests: bytes) -> Iterator[bytes]:
    return (digests[start : start + FIELD_BYTES] for start in range(0, len(digests), FIELD_BYTES))


def _hex(digest: bytes) -> str:
    return "" if digest == EMPTY else digest.hex()
