"""The laws of the sync core: whatever the input, these hold (design section 5)."""

from hypothesis import given
from hypothesis import strategies as st

from integrations.core import fingerprint
from integrations.core.diffing import Fate, FieldPolicy, diff, fates, ours
from integrations.core.mapping import compile_rules
from integrations.core.records import Draft, OnConflict, Write
from integrations.core.rules import Context, Rule
from integrations.core.transforms import TRANSFORMS
from integrations.core.values import Email, Kind, Phone, Text, YesNoUnknown

KEY = b"k" * 32
KINDS: dict[str, Kind] = {"name": Text, "email": Email, "phone": Phone, "consent": YesNoUnknown}
texts = st.none() | st.text(max_size=20)
values = st.fixed_dictionaries({"name": texts, "email": texts, "phone": texts, "consent": st.none() | st.booleans()})
policies = st.dictionaries(
    st.sampled_from(sorted(KINDS)), st.builds(FieldPolicy, st.sampled_from(Write), st.sampled_from(OnConflict))
)


def kind_of(name: str) -> Kind:
    return KINDS[name]


def digest(name, value):
    return fingerprint.of_field(KEY, name, value, kind_of)


def patch(wanted, current, written, chosen):
    return diff(wanted, current, kind_of=kind_of, digest=digest, written=written, policies=chosen)


@given(values)
def test_mapping_is_a_function(record_values):
    rules = [Rule(name, name, ("trim", "lower")) for name in ("name", "email", "phone")]
    mapper = compile_rules(rules, TRANSFORMS, Context())
    assert mapper(record_values) == mapper(record_values)


@given(values, values, policies)
def test_after_a_delivery_nothing_is_left_to_do(wanted, current, chosen):
    """Delivering twice changes nothing, for every policy and write mode."""
    written: dict[str, str] = {}
    made = patch(wanted, current, written, chosen)
    after = {**current, **made.fields}
    mine = ours(wanted, after, wrote=made.fields, kind_of=kind_of)
    written = {name: digest(name, after[name]) for name in mine}
    assert not patch(wanted, after, written, chosen).fields


@given(values, values, policies)
def test_a_patch_holds_only_wished_fields_that_differ(wanted, current, chosen):
    for name in patch(wanted, current, {}, chosen).fields:
        assert kind_of(name).canon(wanted[name]) != kind_of(name).canon(current[name])


names = st.sets(st.sampled_from(sorted(KINDS)))


@given(values, values, policies, st.tuples(names, names, values))
def test_the_fates_of_the_fields_are_the_patch_told_field_by_field(wanted, current, chosen, around):
    """B1: what an explanation says of a field is what the delivery does with it."""
    fixed, hidden, before = around
    current = {name: value for name, value in current.items() if name not in hidden}
    written = {name: digest(name, value) for name, value in before.items()}
    terms = {"kind_of": kind_of, "digest": digest, "written": written, "policies": chosen, "fixed": fixed}
    made, told = diff(wanted, current, **terms), fates(wanted, current, **terms)
    assert {name for name, fate in told.items() if fate is Fate.WRITE} == set(made.fields)
    assert {name for name, fate in told.items() if fate is Fate.ASK} == set(made.conflicts)
    assert {name for name, fate in told.items() if fate is Fate.FIXED} == set(made.fixed)
    assert {name for name, fate in told.items() if fate is Fate.KEPT} == {note.field for note in made.notes}
    assert {name for name, fate in told.items() if fate is Fate.UNSEEN} == hidden
    assert set(told) == set(wanted)


@given(values, values)
def test_equal_wishes_have_equal_fingerprints_and_others_differ(one, other):
    same = all(kind_of(name).canon(one[name]) == kind_of(name).canon(other[name]) for name in one)
    prints = [fingerprint.wish(KEY, Draft(fields), kind_of) for fields in (one, dict(reversed(other.items())))]
    assert (prints[0] == prints[1]) == same


@given(values)
def test_two_clinics_never_share_a_fingerprint(fields):
    """One person in two clinics cannot be told from the digests (faults 11)."""
    one, other = (fingerprint.wish(key, Draft(fields), kind_of) for key in (KEY, b"l" * 32))
    assert one != other


@given(st.text(max_size=40))
def test_canonical_text_is_stable(text):
    for kind in (Text, Email, Phone):
        assert kind.canon(kind.canon(text)) == kind.canon(text)
