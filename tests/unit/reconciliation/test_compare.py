"""What a mismatch is, without database or network (C12, B7, K35)."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.core import fingerprint
from integrations.core.diffing import FieldPolicy, diff
from integrations.core.records import OnConflict, Write
from integrations.core.values import Email, Kind, Tags, Text, Value, YesNoUnknown
from reconciliation.compare import (
    ABSENT,
    EMPTY,
    LEFT_PARTS,
    RIGHT_PARTS,
    Cause,
    Found,
    Layout,
    Memory,
    Mismatch,
    Pair,
    Standing,
    Unequal,
    judge,
)

KEY = b"k" * 32
KINDS: Mapping[str, Kind] = {"consent": YesNoUnknown, "email": Email, "name": Text, "place": Text, "tags": Tags}
NAMES = tuple(sorted(KINDS))
LIVE, GONE, HELD, ABSENT_SIDE = Standing.LIVE, Standing.GONE, Standing.HELD, Standing.ABSENT


def digest(name: str, value: Value) -> str:
    return fingerprint.of_field(KEY, name, value, KINDS.__getitem__)


def layout(*fixed: str) -> Layout:
    return Layout(NAMES, KINDS.__getitem__, digest, frozenset(fixed))


def suspects(
    wanted: Mapping[str, Value], there: Mapping[str, Value], memory: Memory | None = None, **policy: object
) -> list:
    made = layout()
    policies = dict.fromkeys(NAMES, FieldPolicy(**policy)) if policy else {}
    return made.suspects(made.digests(wanted), made.digests(there), memory or Memory(), policies)


# -- digests


def test_a_digest_tells_absent_from_empty_from_filled():
    made = layout()
    parts = made.digests({"name": "Mia", "email": None})
    assert len(parts) == 8 * len(NAMES)
    by_name = {name: parts[at * 8 : at * 8 + 8] for at, name in enumerate(NAMES)}
    assert (by_name["consent"], by_name["email"]) == (ABSENT, EMPTY)
    assert by_name["name"].hex() == digest("name", "Mia")


def test_spelling_is_no_difference():
    assert (
        suspects({"email": "Mia@Example.com", "name": " Mia  Chen "}, {"email": "mia@example.com", "name": "Mia Chen"})
        == []
    )


def test_a_target_that_never_asked_is_as_good_as_one_that_was_told_no():
    assert suspects({"consent": False}, {"consent": None}) == []
    assert suspects({"consent": True}, {"consent": None}) == ["consent"]


def test_what_a_side_does_not_tell_is_not_compared():
    assert suspects({"name": "Mia"}, {}) == suspects({}, {"name": "Mia"}) == []


def test_a_field_filled_once_is_the_targets():
    assert suspects({"name": "Mia"}, {"name": "Mya"}, write=Write.IF_EMPTY) == []
    assert suspects({"name": "Mia"}, {"name": None}, write=Write.IF_EMPTY) == ["name"]
    assert suspects({"name": "Mia"}, {"name": "Mya"}, write=Write.IF_NEW) == []


def test_what_was_left_out_stays_out_until_its_value_changes():
    memory = Memory(dropped={"email": digest("email", "shared@example.com")})
    assert suspects({"email": "shared@example.com"}, {"email": None}, memory) == []
    assert suspects({"email": "own@example.com"}, {"email": None}, memory) == ["email"]


values = st.fixed_dictionaries(
    {},
    optional={
        "consent": st.sampled_from([True, False, None]),
        "email": st.sampled_from(["a@x.au", "A@x.au", "b@x.au", None, ""]),
        "name": st.sampled_from(["Mia", " Mia", "Ben", None]),
        "place": st.sampled_from(["Sydney", "Perth", None]),
        "tags": st.sampled_from([("a",), ("a", "b"), (), None]),
    },
)
policies = st.dictionaries(
    st.sampled_from(NAMES), st.builds(FieldPolicy, st.sampled_from(Write), st.sampled_from(OnConflict)), max_size=5
)


@given(
    wanted=values, there=values, last=values, dropped=values, policies=policies, fixed=st.sets(st.sampled_from(NAMES))
)
def test_digests_miss_nothing_that_a_delivery_would_write(wanted, there, last, dropped, policies, fixed):  # noqa: PLR0917 - drawn by name
    """The law on which a report stands: whoever is not a suspect has nothing to write, nor to ask a person."""
    memory = Memory(
        written={name: digest(name, value) for name, value in last.items()},
        dropped={name: digest(name, value) for name, value in dropped.items()},
    )
    made = layout(*fixed)
    found = made.suspects(made.digests(wanted), made.digests(there), memory, policies)
    left = {name: value for name, value in wanted.items() if memory.dropped.get(name) != digest(name, value)}
    patch = diff(
        left,
        there,
        kind_of=KINDS.__getitem__,
        digest=digest,
        written=memory.written,
        policies=policies,
        fixed=frozenset(fixed),
    )
    assert {*patch.fields, *patch.conflicts, *patch.fixed} <= set(found)


# -- judgements


def only(pair: Pair) -> Found:
    (found,) = judge(pair).found
    return found


def test_a_pair_without_a_difference_agrees():
    told = judge(Pair(LIVE, LIVE, is_linked=True))
    assert (dict(told.counts), told.found) == ({"agree": 1}, ())


@pytest.mark.parametrize(
    ("pair", "kind", "cause"),
    [
        (Pair(LIVE, ABSENT_SIDE), "missing_right", Cause.MISSED),
        (Pair(LIVE, ABSENT_SIDE, is_linked=True), "missing_right", Cause.DELETED),
        (Pair(LIVE, ABSENT_SIDE, delivery="open"), "missing_right", Cause.NOT_DELIVERED),
        (Pair(LIVE, ABSENT_SIDE, delivery="held", code="match.several"), "missing_right", Cause.HELD),
        (Pair(LIVE, ABSENT_SIDE, delivery="held", code="unmapped_value"), "missing_right", Cause.MAP_GAP),
        (Pair(HELD, ABSENT_SIDE, code="record.email_missing"), "missing_right", Cause.HELD),
        (Pair(HELD, ABSENT_SIDE, code="rule.phone_unusable"), "missing_right", Cause.HELD),
        (Pair(ABSENT_SIDE, LIVE, is_linked=True), "missing_left", Cause.DELETED),
        (Pair(ABSENT_SIDE, LIVE, marker="7"), "missing_left", Cause.DELETED),
        (Pair(ABSENT_SIDE, ABSENT_SIDE, is_linked=True), "linked_to_nothing", Cause.DELETED),
        (Pair(LIVE, LIVE, is_surplus=True, marker="7"), "duplicate", Cause.UNKNOWN),
        (Pair(Standing.MERGED, LIVE, is_linked=True), "linked_twice", Cause.ARCHIVED),
        (Pair(LIVE, LIVE, is_linked=True, marker="8", own_keys=frozenset("7")), "linked_twice", Cause.UNKNOWN),
        (Pair(HELD, LIVE, is_linked=True, code="rule.source_unknown"), "different", Cause.MAP_GAP),
    ],
)
def test_what_is_wrong_has_a_kind_and_a_cause(pair: Pair, kind: str, cause: Cause):
    found = only(pair)
    assert (found.kind, found.cause) == (kind, cause)
    assert judge(pair).counts == {kind: 1}


@pytest.mark.parametrize(
    ("unequal", "given", "cause"),
    [
        (Unequal("name", is_wish_old=True, is_touched=True), {}, Cause.HAND),
        (Unequal("name", is_wish_old=True), {}, Cause.UNKNOWN),
        (Unequal("name"), {}, Cause.MISSED),
        (Unequal("name", is_touched=True), {}, Cause.MISSED),
        (Unequal("name"), {"is_archived": True}, Cause.ARCHIVED),
        (Unequal("name"), {"rules_are_newer": True}, Cause.NOT_DELIVERED),
        (Unequal("name", is_wish_old=True, is_touched=True), {"delivery": "open"}, Cause.NOT_DELIVERED),
        (Unequal("name"), {"delivery": "held", "code": "field.conflict"}, Cause.HELD),
    ],
)
def test_each_field_that_differs_has_its_cause(unequal: Unequal, given: dict, cause: Cause):
    found = only(Pair(LIVE, LIVE, is_linked=True, unequal=(unequal,), **given))
    assert (found.kind, found.field, found.cause) == (Mismatch.DIFFERENT, "name", cause)


def test_a_record_that_differs_in_three_fields_counts_once():
    told = judge(Pair(LIVE, LIVE, unequal=tuple(map(Unequal, ("email", "name", "place")))))
    assert told.counts == {"different": 1} and len(told.found) == 3


def test_what_the_flow_leaves_out_is_nobodys_mismatch():
    assert judge(Pair(Standing.LEFT_OUT, ABSENT_SIDE)).counts == {"left_out": 1}
    assert judge(Pair(Standing.LEFT_OUT, LIVE, is_linked=True)).counts == {"left_out": 1, "others": 1}
    assert judge(Pair(ABSENT_SIDE, LIVE)).counts == {"others": 1}
    assert judge(Pair(ABSENT_SIDE, ABSENT_SIDE)).counts == {}


@given(
    st.builds(
        Pair,
        left=st.sampled_from(Standing),
        right=st.sampled_from([LIVE, HELD, ABSENT_SIDE]),
        is_linked=st.booleans(),
        marker=st.sampled_from(["", "7", "8"]),
        own_keys=st.just(frozenset("7")),
        unequal=st.lists(st.builds(Unequal, st.sampled_from(NAMES)), max_size=2, unique=True).map(tuple),
        delivery=st.sampled_from(["", "held", "open"]),
    )
)
def test_each_record_of_a_pair_counts_exactly_once_on_its_side(pair: Pair):
    """Totals add up by construction: a record that is there is in one part of its side, one that is not in none."""
    counts = judge(pair).counts
    assert sum(counts.get(str(part), 0) for part in LEFT_PARTS) == (pair.left is not ABSENT_SIDE)
    assert sum(counts.get(str(part), 0) for part in RIGHT_PARTS) == (pair.right is not ABSENT_SIDE)
