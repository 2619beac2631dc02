"""Matching of persons: marker, then confirmed natural keys, never names (asks 12-16, C17, K13, K14, K37)."""

import pytest

from integrations.core.matching import Found, Judge, Matching, NaturalKey, Shared
from integrations.core.records import Record
from integrations.core.values import Email, Kind, Phone, Text

MARKER = "metafields.suture.patient"
MATCHING = Matching(
    MARKER,
    (
        NaturalKey("email", "lastName", "shared_email", "match.shared_email"),
        NaturalKey("phone", "lastName", "shared_phone", "match.shared_phone"),
    ),
    first="match_first",
)
MIA = {"firstName": "Mia", "lastName": "Chen", "email": "mia@example.com", "phone": "+61400000001", MARKER: "p1"}


def kind_of(name: str) -> Kind:
    return {"email": Email, "phone": Phone}.get(name, Text)


def customer(key: str, **values: str) -> Record:
    marker = {MARKER: values.pop("marker")} if "marker" in values else {}
    return Record(key=key, version="1", values={**values, **marker})


def choose(*, marked=(), email=(), phone=(), wanted=MIA, taken=(), linked=None, policies=None):
    judge = Judge(
        MATCHING, policies or {"shared_email": "hold", "shared_phone": "drop"}, set(taken).__contains__, kind_of
    )
    return judge.choose(wanted, Found(tuple(marked), {"email": tuple(email), "phone": tuple(phone)}), linked)


def test_nobody_there_means_create():
    assert choose().target is None
    assert choose().code == ""


def test_the_marker_decides_before_any_natural_key():
    mine = customer("c1", lastName="Changed", email="other@example.com", marker="p1")
    assert choose(marked=[mine]).target is mine


def test_two_carriers_of_one_marker_are_held():
    decision = choose(marked=[customer("c1", marker="p1"), customer("c2", marker="p1")])
    assert (decision.code, decision.candidates) == ("match.marker_twice", ("c1", "c2"))


def test_an_email_with_the_same_family_name_matches():
    theirs = customer("c1", lastName="CHEN ", email="Mia@Example.com")
    assert choose(email=[theirs]).target is theirs


@pytest.mark.parametrize(
    "theirs",
    [
        customer("c1", lastName="Chen", email="mia@example.com", marker="p9"),
        customer("c1", lastName="Nguyen", email="mia@example.com"),
    ],
    ids=["another patient's marker", "another family name"],
)
def test_a_shared_email_is_held_with_its_candidates(theirs):
    decision = choose(email=[theirs])
    assert (decision.code, decision.candidates) == ("match.shared_email", ("c1",))


def test_a_shared_email_may_be_left_out_by_setting():
    policies = {"shared_email": Shared.CREATE_WITHOUT, "shared_phone": "drop"}
    decision = choose(email=[customer("c1", lastName="Chen", email="mia@example.com", marker="p9")], policies=policies)
    assert decision.target is None
    assert decision.drop == ("email",)
    assert decision.notes[0].code == "match.shared_email"


def test_a_target_linked_to_someone_else_is_never_taken():
    decision = choose(email=[customer("c1", lastName="Chen", email="mia@example.com")], taken=["c1"])
    assert decision.code == "match.shared_email"


def test_two_different_matches_are_held():
    decision = choose(
        email=[customer("c1", lastName="Chen", email="mia@example.com")],
        phone=[customer("c2", lastName="Chen", phone="+61400000001")],
    )
    assert (decision.code, decision.candidates) == ("match.several", ("c1", "c2"))


@pytest.mark.parametrize(
    ("first", "target", "drop", "code"),
    [("email", "c1", ("phone",), ""), ("phone", "c2", (), "match.shared_email"), ("ask", None, (), "match.several")],
)
def test_the_clinic_says_which_key_decides_where_two_differ(first, target, drop, code):
    """C17: the other key's record stays another person's, as its own setting has it."""
    decision = choose(
        email=[customer("c1", lastName="Chen", email="mia@example.com")],
        phone=[customer("c2", lastName="Chen", phone="+61400000001")],
        policies={"match_first": first, "shared_email": Shared.HOLD, "shared_phone": "drop"},
    )
    assert (decision.target and decision.target.key, decision.drop, decision.code) == (target, drop, code)


def test_the_key_that_decides_must_find_one_record():
    decision = choose(
        email=[
            customer("c1", lastName="Chen", email="mia@example.com"),
            customer("c3", lastName="Chen", email="mia@example.com"),
        ],
        phone=[customer("c2", lastName="Chen", phone="+61400000001")],
        policies={"match_first": "email"},
    )
    assert (decision.code, decision.candidates) == ("match.several", ("c1", "c3"))


def test_a_shared_phone_is_dropped_with_a_note_and_the_person_still_made():
    decision = choose(phone=[customer("c2", lastName="Lee", phone="+61400000001")])
    assert decision.target is None
    assert decision.drop == ("phone",)


def test_a_name_alone_never_matches():
    """Two patients with one name became one contact elsewhere (ask 16)."""
    assert choose(email=[customer("c1", firstName="Mia", lastName="Chen", email="someone@else.example")]).target is None


def test_empty_keys_never_match():
    """A blank key matched an unrelated record elsewhere (ask 13)."""
    wanted = {**MIA, "email": None, "phone": ""}
    blank = customer("c1", lastName="Chen", email="", phone="")
    assert choose(wanted=wanted, email=[blank], phone=[blank]).target is None


def test_fuzzy_search_results_are_compared_exactly():
    """A search for part of an address finds others' (ask 12)."""
    near = customer("c1", lastName="Chen", email="mia@example.com.au")
    assert choose(email=[near]).target is None
    assert choose(email=[near]).code == ""


def test_a_candidate_with_our_own_marker_is_ours_though_the_marker_search_lags():
    mine = customer("c1", lastName="Renamed", email="mia@example.com", marker="p1")
    assert choose(email=[mine]).target is mine


def test_a_linked_record_does_not_take_somebody_elses_email():
    mine = customer("c1", lastName="Chen", email="old@example.com", marker="p1")
    theirs = customer("c2", lastName="Chen", email="mia@example.com", marker="p2")
    decision = choose(linked=mine, email=[theirs])
    assert (decision.target, decision.code) == (mine, "match.shared_email")


def test_a_marked_target_that_another_record_is_linked_to_is_held():
    """A merged patient's old marker may still stand on the survivor's customer."""
    mine = customer("c1", lastName="Chen", email="mia@example.com", marker="p1")
    decision = choose(marked=[mine], taken=["c1"])
    assert (decision.target, decision.code, decision.candidates) == (None, "match.target_linked", ("c1",))
