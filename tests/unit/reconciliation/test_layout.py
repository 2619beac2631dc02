"""Records as digests, without database or network (C12, B7)."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from integrations.core import fingerprint
from integrations.core.diffing import FieldPolicy, diff
from integrations.core.records import OnConflict, Write
from integrations.core.values import Email, Kind, Tags, Text, Value, YesNoUnknown
from reconciliation.layout import ABSENT, EMPTY, Layout, Memory

KEY = b"k" * 32
KINDS: Mapping[str, Kind] = {"consent": YesNoUnknown, "email": Email, "name": Text, "place": Text, "tags": Tags}
NAMES = tuple(sorted(KINDS))


def digest(name: str, value: Value) -> str:
    return fingerprint.of_field(KEY, name, value, KINDS.__getitem__)


def layout(*fixed: str) -> Layout:
    return Layout.of(NAMES, KINDS.__getitem__, KEY, frozenset(fixed))


def suspects(
    wanted: Mapping[str, Value], there: Mapping[str, Value], memory: Memory | None = None, **policy: object
) -> list:
    made = layout()
    policies = dict.fromkeys(NAMES, FieldPolicy(**policy)) if policy else {}
    unlike = made.unlike(made.wished(wanted).digests, made.there(there).digests)
    return made.suspects(unlike, memory or Memory(), policies)


def test_a_digest_tells_absent_from_empty_from_filled():
    made = layout()
    parts = made.wished({"name": "Mia", "email": None}).digests
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
    left_side, right_side = made.wished(wanted), made.there(there)
    found = made.suspects(made.unlike(left_side.digests, right_side.digests), memory, policies)
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
    written = {*patch.fields, *patch.conflicts, *patch.fixed}
    assert written <= set(found)
    assert not (written and left_side.fingerprint == right_side.fingerprint)


def test_fingerprints_are_equal_where_a_target_is_as_good_as_wished():
    """What most records of a flow come to is told by one comparison."""
    made = layout()
    asked, never_asked = made.wished({"consent": False, "name": "Mia"}), made.there({"consent": None, "name": "Mia"})
    assert asked.fingerprint == never_asked.fingerprint and asked.digests != never_asked.digests
    withheld = made.there({"name": "Mia"})
    assert made.wished({"consent": None, "name": "Mia"}).fingerprint == withheld.fingerprint
    for other in ({"consent": True, "name": "Mia"}, {"consent": False, "name": "Mya"}):
        assert made.wished(other).fingerprint != never_asked.fingerprint
