"""Phones, countries and states; and masks."""

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.core.rules import Context, Unusable
from integrations.toolkit import auth, redact
from integrations.toolkit.phones import _by_library, e164
from integrations.toolkit.places import TOOLKIT_TRANSFORMS, au_state, country_code

AU, NZ = Context(country="AU"), Context(country="NZ")

typed = st.builds(
    lambda start, digits, breaks: "".join(f"{char}{breaks.get(place, '')}" for place, char in enumerate(start + digits)),
    st.sampled_from(["0", "04", "02", "07", "(0", "(02) ", "+61", "+61 4", "+61 0", "+61 (0)", "+64", "+44 7", "61", "0011 61", "00", "", "1", "13", "1800 ", "+1"]),
    st.text("0123456789", min_size=4, max_size=12),
    st.dictionaries(st.integers(0, 14), st.sampled_from([" ", "-", "(", ")", ".", "  ", "/", "x", ",", ";", "٣", "–"]), max_size=4),
)  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(typed, st.sampled_from(["AU", "NZ", "GB", "US", "IE"]))
def test_the_fast_way_and_the_library_always_agree(text: str, country: str) -> None:
    assert e164(text, country) == _by_library(text, country)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30), st.sampled_from(["AU", "NZ", "XX", ""]))
def test_any_text_is_judged_without_error(text: str, country: str) -> None:
    number = e164(text, country)
    assert number == _by_library(text, country)
    assert number is None or phonenumbers.is_valid_number(phonenumbers.parse(number))


@pytest.mark.parametrize(
    "text",
    [
        "0412 345 678",
        "(04) 1234 5678",
        "+61 412 345 678",
        "+61412345678",
        "04-1234-5678",
        "+61 (0)412 345 678",
        "61412345678",
    ],
)
def test_common_spellings_of_one_mobile_are_one_number(text: str) -> None:
    assert TOOLKIT_TRANSFORMS["e164"].apply(text, AU) == "+61412345678"


def test_the_clinics_country_reads_the_number() -> None:
    assert e164("021 123 4567", "NZ") == "+64211234567"
    assert e164("(03) 9123 4567", "AU") == "+61391234567"


@pytest.mark.parametrize("text", ["n/a", "0400", "12345", "0400 000 000 / 0400 000 001", "+999 123"])
def test_what_nobody_could_call_is_unusable_and_not_repeated(text: str) -> None:
    with pytest.raises(Unusable) as caught:
        TOOLKIT_TRANSFORMS["e164"].apply(text, AU)
    assert (caught.value.code, str(caught.value)) == ("rule.phone_unusable", "rule.phone_unusable")
    assert TOOLKIT_TRANSFORMS["e164"].apply("  ", AU) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [("au", "AU"), (" Australia ", "AU"), ("AUS", "AU"), ("new zealand", "NZ"), ("U.K.", "GB"), ("England", "GB"), ("USA", "US"), ("Côte d'Ivoire", "CI"), ("Viet Nam", "VN"), ("trinidad & tobago", "TT"), ("XX", None), ("Austria", "AT"), ("Vic", None)],
)  # fmt: skip
def test_countries(text: str, code: str | None) -> None:
    assert country_code(text) == code


def test_every_region_the_phone_library_knows_is_a_country_here() -> None:
    assert {region for region in phonenumbers.SUPPORTED_REGIONS if country_code(region) is None} <= {"AC", "TA", "XK"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("vic", "VIC"),
        ("Victoria", "VIC"),
        ("N.S.W.", "NSW"),
        ("new south  wales", "NSW"),
        ("AU-QLD", "QLD"),
        ("A.C.T.", "ACT"),
        ("Otago", None),
    ],
)
def test_states(text: str, code: str | None) -> None:
    assert au_state(text) == code


def test_state_and_country_as_transforms() -> None:
    state, country = TOOLKIT_TRANSFORMS["au_state"], TOOLKIT_TRANSFORMS["country_code"]
    assert state.apply(" Victoria ", AU) == "VIC"
    assert state.apply(" Otago ", AU) == "Otago"
    assert state.apply(" Victoria ", NZ) == "Victoria"
    assert country.apply("", AU) is None
    with pytest.raises(Unusable, match=r"rule\.country_unknown"):
        country.apply("Middle Earth", AU)
    for transform in TOOLKIT_TRANSFORMS.values():
        with pytest.raises(Unusable, match=r"rule\.not_text"):
            transform.apply(True, AU)


def test_masks() -> None:
    assert redact.email("jane.doe@example.com") == "j***@e***.com"
    assert redact.email("nonsense") == "n***"
    assert redact.phone("+61 412 345 678") == "+***78"
    assert redact.phone("12") == "***"
    assert redact.word("Nguyen") == "N***"
    assert redact.word("  ") == ""
    assert redact.token("shpat_0123456789abcdef") == "…cdef"
    assert redact.token("short") == "…"
    assert [redact.mask(text) for text in ("j@e.com", "0412 345 678", "Mia")] == ["j***@e***.com", "***78", "M***"]


@given(st.text(min_size=4, max_size=40))
def test_no_mask_gives_the_value_away(text: str) -> None:
    if len(text.strip()) > 3:
        assert text.strip() not in redact.mask(text)


def test_paths_for_logs_have_no_host_no_query_and_no_odd_part() -> None:
    assert redact.safe_path("https://k@api.x.com/v1/patients/123?q[]=email:=a@b.c#d") == "/v1/patients/123"
    assert redact.safe_path("/admin/api/2026-10/graphql.json") == "/admin/api/2026-10/graphql.json"
    assert redact.safe_path("/contacts/mia@example.com/notes") == "/contacts/*/notes"


def test_credentials_become_headers_or_are_refused_unseen() -> None:
    assert auth.basic("key-au1") == {"Authorization": "Basic a2V5LWF1MTo="}
    assert auth.bearer("abc") == {"Authorization": "Bearer abc"}
    for secret in ("", "a\r\nb", "a b", "é"):
        with pytest.raises(ValueError) as caught:
            auth.header("X-Token", secret)
        assert secret == "" or secret not in str(caught.value)
