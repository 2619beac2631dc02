"""Customers become contacts of companies (B2B): one company for a name, found before it is made, nobody taken out."""

from typing import Any

import pytest

from integrations.connectors.base import WriteItem
from integrations.connectors.shopify.company_names import CompanyName, slug
from integrations.connectors.shopify.customers import read_many
from integrations.connectors.shopify.probe import verify
from integrations.connectors.shopify.sandbox_call import Refusal
from integrations.connectors.shopify.sandbox_companies import add_company
from integrations.core.errors import AccountError, Rejected, Uncertain
from integrations.core.records import Record
from tests.unit.connectors.shopify.bench import FIELDS, MARKER, MIA, Direct, bring, made, new, patch, read, ready, write

ACME = "Acme Pty Ltd"
LEO = {"email": "leo@example.com", "phone": "+61400000002", MARKER: "18"}


def wish(record: Record, company: str = ACME) -> WriteItem:
    """The item that makes this customer a contact, and nothing else."""
    item = patch(record, {"company": company})
    assert item is not None
    return item


def companies(client: Direct) -> list[tuple[Any, int]]:
    return [(row["name"], len(row["contacts"])) for row in client.shop.companies.values()]


# -- names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (" ACME  Pty. Ltd. ", "acme-pty-ltd"),
        ("Müller & Söhne", "muller-sohne"),
        ("O'Brien's (Geelong)", "o-brien-s-geelong"),
        ("", ""),
    ],
)
def test_a_slug_holds_letters_digits_and_hyphens(name: str, expected: str) -> None:
    assert slug(name) == expected


@pytest.mark.parametrize("name", ["日本物産", "Acme 日本", "&&&", "x" * 300, "ab " * 100, "Łódź"])
def test_a_slug_of_what_letters_cannot_hold_is_short_and_stays(name: str) -> None:
    made_of = slug(name)
    assert made_of and len(made_of) <= 60 and slug(made_of) == made_of
    assert made_of != slug(f"{name}商")


def test_a_wish_is_fulfilled_by_one_of_several_and_a_wish_for_none_always() -> None:
    both = CompanyName.canon((ACME, "Wattle"))
    assert CompanyName.satisfied(CompanyName.canon("acme pty ltd"), both)
    assert not CompanyName.satisfied(CompanyName.canon("Acme"), both)
    assert CompanyName.satisfied(CompanyName.canon(None), both)


# -- writing


def test_c11_the_company_comes_after_the_create_and_before_the_address() -> None:
    client = ready()
    record, steps = bring(client, new(company=ACME))
    assert steps == ["customerCreate", "companyAssignCustomerAsContact", "customerAddressCreate"]
    assert patch(record, {**MIA, "company": ACME}) is None
    again = read(client, record.key)
    assert again is not None and again.values["company"] == record.values["company"] == ACME
    assert next(iter(client.shop.companies.values()))["externalId"] == "suture-acme-pty-ltd"


def test_two_customers_of_one_batch_share_the_company_made_for_them() -> None:
    client = ready()
    mia, leo = made(client), bring(client, new("18", **LEO))[0]
    told = write(client, wish(mia), WriteItem("18", {"company": "ACME PTY LTD"}, {}, leo))
    assert [one.error for one in told] == [None, None]
    assert companies(client) == [(ACME, 2)]


def test_a_company_that_is_there_is_found_by_its_external_id_alone() -> None:
    client = ready()
    add_company(client.shop, ACME)
    add_company(client.shop, "Acme Group", "suture-acme-pty-ltd")
    record = bring(client, wish(made(client)))[0]
    assert companies(client) == [(ACME, 0), ("Acme Group", 1)]
    again = read(client, record.key)
    assert again is not None and patch(again, {"company": ACME}) is None  # though the merchant gave it another name


@pytest.mark.parametrize("lag_s", [0, 600])
def test_a_company_the_search_does_not_show_yet_is_found_among_the_newest(lag_s: float) -> None:
    client = ready(search_lag_s=lag_s)
    mia, leo = made(client), bring(client, new("18", **LEO))[0]
    bring(client, wish(mia))
    bring(client, wish(leo))
    assert companies(client) == [(ACME, 2)]


def test_a_search_that_answers_with_others_chooses_none_of_them() -> None:
    client = ready()
    record = made(client)
    client.script = [{"data": {"m0": {"nodes": [{"id": "gid://shopify/Company/1", "externalId": "suture-acme"}]}}}]
    client.script += [{"data": {"m0": {"company": {"id": "gid://shopify/Company/2"}, "userErrors": []}}}]
    client.script += [{"data": {"m0": {"companyContact": {"id": "gid://shopify/CompanyContact/3"}, "userErrors": []}}}]
    write(client, wish(record))
    assert client.sent[-1]["variables"]["o0"] == "gid://shopify/Company/2"


def test_a_changed_company_is_one_more_and_the_old_contact_stays() -> None:
    client = ready()
    record = bring(client, wish(made(client)))[0]
    bring(client, wish(record, "Wattle"))
    assert companies(client) == [(ACME, 1), ("Wattle", 1)]
    again = read(client, record.key)
    assert again is not None and again.values["company"] == (ACME, "Wattle")
    assert (
        patch(again, {"company": "Wattle"})
        is patch(again, {"company": ACME})
        is patch(again, {"company": None})
        is None
    )


def test_a_lost_answer_makes_no_second_company() -> None:
    client = ready()
    record = made(client)
    client.sandbox.refuse_next("harbour-physio", Refusal("companyCreate", applies=True))
    (told,) = write(client, wish(record))
    assert isinstance(told.error, Uncertain)
    bring(client, wish(record))
    assert companies(client) == [(ACME, 1)]


@pytest.mark.parametrize(
    ("code", "expected", "again"),
    [
        ("TAKEN", "shopify.company_taken", True),
        ("LIMIT_REACHED", "shopify.company_limit", None),
        ("TOO_LONG", "shopify.company_invalid", None),
        ("A_NEW_CODE", "shopify.company_refused", None),
    ],
)
def test_a_company_that_is_refused_concerns_its_customer_alone(code: str, expected: str, again: object) -> None:
    client = ready()
    mia, leo = made(client), bring(client, new("18", **LEO))[0]
    said = {"field": ["input", "company"], "message": "No.", "code": code}
    client.sandbox.refuse_next("harbour-physio", Refusal("companyCreate", user_error=said))
    refused, done = write(client, wish(mia), WriteItem("18", {"firstName": "Leo"}, {}, leo))
    assert isinstance(refused.error, Rejected) and refused.error.code == expected
    assert refused.error.facts["look_again"] == again
    assert done.error is None and done.record is not None and done.record.values["firstName"] == "Leo"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("TAKEN", "shopify.company_contact_taken"),
        ("RESOURCE_NOT_FOUND", "shopify.company_gone"),
        ("LIMIT_REACHED", "shopify.company_limit"),
        ("INVALID_INPUT", "shopify.company_refused"),
    ],
)
def test_a_contact_that_is_refused_says_why(code: str, expected: str) -> None:
    client = ready()
    record = made(client)
    said = {"field": ["customerId"], "message": "No.", "code": code}
    client.sandbox.refuse_next("harbour-physio", Refusal("companyAssignCustomerAsContact", user_error=said))
    (told,) = write(client, wish(record))
    assert isinstance(told.error, Rejected) and told.error.code == expected


def test_a_shop_that_keeps_companies_no_longer_is_one_condition_of_the_connection() -> None:
    client = ready()
    mia, leo = made(client), bring(client, new("18", **LEO))[0]
    items = (wish(mia), wish(leo))
    client.sandbox.configure("harbour-physio", b2b=False)
    with pytest.raises(AccountError, match=r"shopify\.b2b_unavailable"):
        write(client, *items)


# -- reading, and "Test connection"


def test_without_companies_the_field_is_absent_and_never_empty() -> None:
    client = ready()
    key = made(client).key
    client.sandbox.configure("harbour-physio", b2b=False)
    record = read(client, key)
    assert record is not None and "company" not in record.values and record.values["firstName"] == "Mia"


def test_companies_are_asked_for_only_where_a_rule_uses_them() -> None:
    client = ready()
    record = made(client)
    read_many(client, [record.key], FIELDS - {"company"})
    assert "companyContactProfiles" not in client.sent[-1]["query"]


@pytest.mark.parametrize(("keeps", "fact"), [(True, "yes"), (False, "no")])
def test_the_probe_tells_whether_the_shop_keeps_companies(keeps: bool, fact: str) -> None:
    probe = verify(ready(b2b=keeps))
    assert probe.facts["b2b"] == fact and probe.works
