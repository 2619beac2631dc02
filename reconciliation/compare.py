"""What a mismatch is, and what caused it where that can be told. Pure: the standard library and the core only.

*Left* is a flow's source, *right* its target. Both sides are compared twice: first as digests (``layout.py``), which only
finds who must be looked at again, then as they are then, by the very ``diff`` by which deliveries are made.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Standing(StrEnum):
    """What a side's record is to the comparison."""

    LIVE = "live"
    GONE = "gone"  # archived, with a wish for its counterpart
    HELD = "held"  # cannot be compared: unreadable, or the rules make nothing of it
    LEFT_OUT = "left_out"  # the flow does not bring it: no consent, older than the start, outside the pilot
    MERGED = "merged"  # went into another record
    ABSENT = "absent"


class Mismatch(StrEnum):
    MISSING_RIGHT = "missing_right"
    MISSING_LEFT = "missing_left"
    DIFFERENT = "different"
    DUPLICATE = "duplicate"  # carries the marker of a record that has its counterpart
    LINKED_TWICE = "linked_twice"  # belongs to one record by its link and to another by its marker, or by a merge
    LINKED_TO_NOTHING = "linked_to_nothing"  # a link, and neither side of it


class Cause(StrEnum):
    HAND = "hand"  # the target differs from what it answered to our last write, the source does not
    NOT_DELIVERED = "not_delivered"
    HELD = "held"
    MAP_GAP = "map_gap"
    ARCHIVED = "archived"  # or merged
    DELETED = "deleted"
    MISSED = "missed"  # changed at the source since it was last read
    UNKNOWN = ""


MAP_GAPS = frozenset(
    (
        "unmapped_value",
        "rule.not_text",
        "rule.source_unknown",
        "rule.source_not_released",
        "rule.target_unknown",
        "rule.transform_unknown",
        "rule.kind_mismatch",
    )
)
"""Codes that say that the configuration has no answer; what is wrong with the record itself is another matter."""

AGREE, LEFT_OUT, OTHERS = "agree", "left_out", "others"
LEFT_PARTS = (AGREE, Mismatch.DIFFERENT, Mismatch.MISSING_RIGHT, Mismatch.LINKED_TWICE, LEFT_OUT)
"""The records of the left side, each in exactly one of these."""
RIGHT_PARTS = (
    AGREE,
    Mismatch.DIFFERENT,
    Mismatch.MISSING_LEFT,
    Mismatch.LINKED_TWICE,
    Mismatch.DUPLICATE,
    OTHERS,
)
"""The records of the right side. ``others`` are those that the flow says nothing of: the target's own, and counterparts
of what the flow leaves out."""
PARTS = tuple(dict.fromkeys(str(part) for part in (*LEFT_PARTS, *RIGHT_PARTS, Mismatch.LINKED_TO_NOTHING)))


@dataclass(frozen=True, slots=True)
class Unequal:
    """A field that differs. ``is_wish_old``: we wished for the same when we last wrote; ``is_touched``: the target holds
    something else than it answered then."""

    name: str
    is_wish_old: bool = False
    is_touched: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """Two records that belong together, or one that lacks its counterpart, as they are now.

    ``marker`` is the record whose counterpart the target says it is, and ``own_keys`` those that the left record goes by.
    ``delivery`` is "held", "open" (waiting or under way) or "", ``code`` says why it is held, or why the record cannot be
    compared. ``is_surplus``: the left record has another counterpart.
    """

    left: Standing
    right: Standing
    is_linked: bool = False
    marker: str = ""
    own_keys: frozenset[str] = frozenset()
    is_surplus: bool = False
    is_archived: bool = False
    unequal: tuple[Unequal, ...] = ()
    marker_is_touched: bool = False
    delivery: str = ""
    code: str = ""
    rules_are_newer: bool = False
    is_preview: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """One mismatch."""

    kind: Mismatch
    cause: Cause = Cause.UNKNOWN
    field: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Where the records of a pair count, and what is wrong with them."""

    counts: Mapping[str, int]
    found: tuple[Found, ...] = ()


def judge(pair: Pair) -> Judgement:
    """What a pair is: each of its records counts in one part of its side."""
    if pair.left is Standing.ABSENT:
        return _without_left(pair)
    if pair.is_surplus:
        return _one(Mismatch.DUPLICATE)
    is_there = pair.right is not Standing.ABSENT
    if pair.left in (Standing.MERGED, Standing.LEFT_OUT):
        return _left_out(pair, is_there=is_there)
    if not is_there:
        return _one(Mismatch.MISSING_RIGHT, _why_missing(pair), code=_told(pair))
    return _both(pair)


def _left_out(pair: Pair, *, is_there: bool) -> Judgement:
    if pair.left is Standing.MERGED and is_there and pair.is_linked:
        return _one(Mismatch.LINKED_TWICE, Cause.ARCHIVED)
    return Judgement(Counter([LEFT_OUT, OTHERS] if is_there else [LEFT_OUT]))


def _both(pair: Pair) -> Judgement:
    if pair.is_linked and pair.marker and pair.marker not in pair.own_keys:
        return _one(Mismatch.LINKED_TWICE, Cause.HAND if pair.marker_is_touched else Cause.UNKNOWN)
    if Standing.HELD in (pair.left, pair.right):
        cause = Cause.ARCHIVED if pair.is_archived else _held(pair.code)
        return _one(Mismatch.DIFFERENT, cause, code=pair.code)
    if not pair.unequal:
        return Judgement(Counter([AGREE]))
    found = tuple(Found(Mismatch.DIFFERENT, _why(pair, one), one.name, _told(pair)) for one in pair.unequal)
    return Judgement(Counter([str(Mismatch.DIFFERENT)]), found)


def _without_left(pair: Pair) -> Judgement:
    if pair.right is Standing.ABSENT:
        return _one(Mismatch.LINKED_TO_NOTHING, Cause.DELETED) if pair.is_linked else Judgement({})
    if pair.is_linked or pair.marker:
        return _one(Mismatch.MISSING_LEFT, Cause.DELETED)
    return Judgement(Counter([OTHERS]))


def _one(kind: Mismatch, cause: Cause = Cause.UNKNOWN, *, code: str = "") -> Judgement:
    return Judgement(Counter([str(kind)]), (Found(kind, cause, code=code),))


def _told(pair: Pair) -> str:
    if pair.delivery == "held" or pair.left is Standing.HELD:
        return pair.code
    return "mode.preview" if pair.is_preview and not pair.delivery else ""


def _why_missing(pair: Pair) -> Cause:
    if pair.delivery == "held" or (pair.left is Standing.HELD and not pair.delivery):
        return _held(pair.code)
    if pair.delivery or pair.is_preview:
        return Cause.NOT_DELIVERED
    return Cause.DELETED if pair.is_linked else Cause.MISSED


def _why(pair: Pair, unequal: Unequal) -> Cause:
    if pair.delivery:
        return _held(pair.code) if pair.delivery == "held" else Cause.NOT_DELIVERED
    if unequal.is_touched and unequal.is_wish_old:
        return Cause.HAND
    if pair.rules_are_newer:
        return Cause.NOT_DELIVERED
    if unequal.is_wish_old:
        return Cause.UNKNOWN
    return Cause.ARCHIVED if pair.is_archived else Cause.MISSED


def _held(code: str) -> Cause:
    return Cause.MAP_GAP if code in MAP_GAPS else Cause.HELD


def side_total(counts: Mapping[str, int], parts: Iterable[str]) -> int:
    """How many records a side has: the sum of its parts."""
    return sum(counts.get(str(part), 0) for part in parts)
