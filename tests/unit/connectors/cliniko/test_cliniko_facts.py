"""Cliniko's account form: what becomes of a key, and what is said about a bad one."""

import base64

import pytest

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Account
from integrations.connectors.cliniko.decoding import custom_field_slug

CLINIKO = CONNECTORS["cliniko"]
CONTACT = "ops@agency.example"


def _account(api_key: str, **facts: str) -> Account:
    credentials = {"api_key": api_key, "contact_email": CONTACT}
    return Account(CLINIKO.normalise_account("", credentials), credentials, facts)


@pytest.mark.parametrize(
    ("api_key", "host"),
    [
        ("MS0xLWFiYw-au2", "api.au2.cliniko.com"),
        ("MS0xLWFiYw-AU5", "api.au5.cliniko.com"),
        ("MS0xLWFiYw-uk12", "api.uk12.cliniko.com"),
        ("MS0xLWFiYw", "api.au1.cliniko.com"),
        ("  MS0xLWFiYw-au4 ", "api.au4.cliniko.com"),
        ("MS0xLW-FiYw-abc", "api.au1.cliniko.com"),
    ],
)
def test_the_shard_is_read_from_the_key(api_key: str, host: str) -> None:
    assert CLINIKO.origin(_account(api_key)) == f"https://{host}"


@pytest.mark.parametrize(
    "api_key", ["", "KEY-x@127.0.0.1/", "KEY-au١", "KEY:x-au1", "KEY-au1\nX: y", "KEY au1", "é-au1"]
)
def test_what_is_no_key_is_refused_with_a_sentence_that_does_not_repeat_it(api_key: str) -> None:
    with pytest.raises(ValueError, match="does not look like a Cliniko API key") as refused:
        _account(api_key)
    assert not api_key or api_key not in str(refused.value)


@pytest.mark.parametrize("contact", ["", "nobody", "a@b", "a@b.example\r\nX: y", "a b@c.example", "a@b.example)"])
def test_a_contact_that_is_no_address_is_refused(contact: str) -> None:
    with pytest.raises(ValueError, match="contact e-mail"):
        CLINIKO.normalise_account("", {"api_key": "KEY-au1", "contact_email": contact})


def test_headers_carry_the_key_and_the_contact() -> None:
    headers = CLINIKO.headers(_account(" KEY-au1 "))
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"KEY-au1:"
    assert headers["User-Agent"] == "Suture (ops@agency.example)"
    assert headers["Accept"] == "application/json"


def test_the_quota_belongs_to_the_keys_owner_once_known() -> None:
    assert CLINIKO.subject(_account("KEY-au1", user_id="17")) == "user:17"
    before = CLINIKO.subject(_account("KEY-au1"))
    assert before == CLINIKO.subject(_account("KEY-au1 ")) != CLINIKO.subject(_account("KEY-au2"))
    assert "KEY" not in before.removeprefix("key:")


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Employer", "employer"),
        ("How did you hear?", "how_did_you_hear"),
        (" Referred by (GP) ", "referred_by_gp"),
        ("★", ""),
    ],
)
def test_custom_fields_have_plain_slugs(name: str, slug: str) -> None:
    assert custom_field_slug(name) == slug


def test_a_patients_page_is_linked_once_the_account_is_known() -> None:
    admin_url = CLINIKO.stream("patients").admin_url
    assert admin_url
    known = {"subdomain": "harbour-physio", "shard": "au2"}
    assert admin_url(known, "17") == "https://harbour-physio.au2.cliniko.com/patients/17"
    assert admin_url(known, "17/../x") == admin_url({}, "17") == admin_url(known | {"shard": "x.evil"}, "17") == ""
