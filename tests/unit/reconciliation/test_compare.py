"""What a mismatch is, without database or network (C12, B7, K35)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciliation.compare import (
    LEFT_PARTS,
    RIGHT_PARTS,
    Cause,
    Found,
    Mismatch,
    Pair,
    Standing,
    Unequal,
    judge,
)

LIVE, GONE, HELD, ABSENT_SIDE = Standing.LIVE, Standing.GONE, Standing.HELD, Standing.ABSENT


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
        unequal=st.lists(st.builds(Unequal, st.sampled_from(["email", "name", "place"])), max_size=2, unique=True).map(
            tuple
        ),
        delivery=st.sampled_from(["", "held", "open"]),
    )
)
def test_each_record_of_a_pair_counts_exactly_once_on_its_side(pair: Pair):
    """Totals add up by construction: a record that is there is in one part of its side, one that is not in none."""
    counts = judge(pair).counts
    assert sum(counts.get(str(part), 0) for part in LEFT_PARTS) == (pair.left is not ABSENT_SIDE)
    assert sum(counts.get(str(part), 0) for part in RIGHT_PARTS) == (pair.right is not ABSENT_SIDE)
