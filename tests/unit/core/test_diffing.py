"""Three-way comparison, field by field (C03, C27, V19)."""

from integrations.core.diffing import FieldPolicy, Patch, diff, new
from integrations.core.records import OnConflict, Write
from integrations.core.values import Email, Kind, Phone, Text, Value, YesNoUnknown

KINDS = {"email": Email, "phone": Phone, "consent": YesNoUnknown}


def kind_of(name: str) -> Kind:
    return KINDS.get(name, Text)


def digest(name: str, value: Value) -> str:
    return kind_of(name).canon(value)


def compare(
    wanted: Value, current: Value, *, name="name", last=None, write=Write.ALWAYS, conflict=OnConflict.SOURCE_WINS
) -> Patch:
    return diff(
        {name: wanted},
        {name: current},
        kind_of=kind_of,
        digest=digest,
        written={} if last is None else {name: last},
        policies={name: FieldPolicy(write, conflict)},
    )


def test_equal_values_are_nothing_whatever_their_spelling():
    assert not compare("Mia@Example.com ", "mia@example.com", name="email")
    assert not compare("+61400000000", "+61 400 000 000", name="phone")


def test_an_untouched_target_is_written():
    assert compare("Chen", "Chan", last="Chan").fields == {"name": "Chen"}


def test_the_source_wins_over_a_touched_target_by_default():
    assert compare("Chen", "Edited", last="Chan").fields == {"name": "Chen"}


def test_a_touched_field_that_the_target_owns_is_kept_with_a_note():
    patch = compare("Chen", "Edited", last="Chan", conflict=OnConflict.TARGET_WINS)
    assert not patch.fields
    assert [(note.code, note.field) for note in patch.notes] == [("field.target_kept", "name")]


def test_a_touched_field_may_ask_a_person():
    patch = compare("Chen", "Edited", last="Chan", conflict=OnConflict.HOLD)
    assert patch.conflicts == ("name",)
    assert not patch.fields


def test_a_wish_for_nothing_clears_only_what_we_wrote():
    assert not compare(None, "typed in the shop", last=None)
    assert compare(None, "written by us", last="written by us").fields == {"name": None}


def test_a_field_the_target_withholds_is_left_alone():
    """A plan may hide e-mails: null or absent there never means "cleared" (V6, A09)."""
    patch = diff({"email": "a@b.co"}, {}, kind_of=kind_of, digest=digest, written={}, policies={})
    assert not patch.fields


def test_write_modes():
    assert not compare("Chen", "Chan", write=Write.IF_NEW)
    assert not compare("Chen", "Chan", write=Write.IF_EMPTY)
    assert compare("Chen", None, write=Write.IF_EMPTY).fields == {"name": "Chen"}


def test_absent_consent_is_never_consent_and_no_is_satisfied_by_never_asked():
    """B4, A46: null never subscribes; a target that never asked is as good as one told no."""
    assert not compare(None, None, name="consent")
    assert not compare(False, None, name="consent")
    assert compare(False, True, name="consent").fields == {"consent": False}
    assert compare(True, None, name="consent", conflict=OnConflict.TARGET_WINS).fields == {"consent": True}


def test_a_person_who_unsubscribed_at_the_target_stays_unsubscribed():
    assert not compare(True, False, name="consent", last="yes", conflict=OnConflict.TARGET_WINS).fields
    assert not compare(True, False, name="consent", conflict=OnConflict.TARGET_WINS).fields


def test_our_own_no_may_become_yes_again():
    assert compare(True, False, name="consent", last="no", conflict=OnConflict.TARGET_WINS).fields == {"consent": True}


def test_a_new_record_is_created_with_every_field_that_holds_something():
    assert new({"name": "Chen", "email": None, "phone": ""}, kind_of).fields == {"name": "Chen"}


def fixed(wanted: Value, current: Value, *, last: str | None) -> Patch:
    return diff(
        {"number": wanted},
        {"number": current},
        kind_of=kind_of,
        digest=digest,
        written={} if last is None else {"number": last},
        policies={},
        fixed={"number"},
    )


def test_a_fixed_field_that_should_change_is_told_and_never_written():
    made = fixed("2", "1", last="1")
    assert (made.fixed, dict(made.fields)) == (("number",), {})


def test_a_fixed_field_that_was_fulfilled_once_is_not_held_against_what_became_of_it():
    assert fixed("1", "somebody else's", last="1") == Patch({})


def test_a_fixed_field_that_never_came_out_is_told():
    assert fixed("1", "2", last=None).fixed == ("number",)
