"""Accounts, tokens, documents and "Test connection"."""

import pytest
from graphql import NoDeprecatedCustomRule, build_schema, parse, specified_rules, validate

from integrations.connectors.base import Account, Wanted
from integrations.connectors.shopify import facts, operations
from integrations.connectors.shopify.customers import CUSTOMERS, admin_url, prepare
from integrations.connectors.shopify.facts import SHOPIFY, normalise_account
from integrations.connectors.shopify.inventory_documents import every_inventory_document
from integrations.connectors.shopify.probe import verify
from integrations.connectors.shopify.product_documents import every_product_document
from integrations.connectors.shopify.sales_documents import every_sales_document
from integrations.connectors.shopify.sandbox import forget_definitions
from integrations.connectors.shopify.writing import countries
from integrations.core.errors import AccountError
from tests.contract.desk import folder_of
from tests.unit.connectors.shopify.bench import FIELDS, MARKER, SHOP, Direct, look, made, ready
from tests.unit.connectors.shopify.product_bench import FIELDS as PRODUCT_FIELDS


@pytest.mark.parametrize(
    "typed",
    [
        "ef760-ef",
        " EF760-ef ",
        "ef760-ef.myshopify.com",
        "https://ef760-ef.myshopify.com",
        "https://ef760-ef.myshopify.com/",
        "https://ef760-ef.myshopify.com/admin/settings",
        "admin.shopify.com/store/ef760-ef",
        "https://admin.shopify.com/store/ef760-ef",
        "https://admin.shopify.com/store/ef760-ef/orders?status=open",
    ],
)
def test_a14_a_shop_is_known_by_handle_admin_url_or_domain(typed: str) -> None:
    assert normalise_account(typed, {}) == "ef760-ef.myshopify.com"


@pytest.mark.parametrize(
    "typed",
    [
        "", ".", "-", "evil.com/.myshopify.com", "evil.com#.myshopify.com", "a.myshopify.com\n", "a\n.myshopify.com",
        "a.myshopify.com.evil.com", "a.myshopify.com.", "a.b.myshopify.com", "user@a.myshopify.com", "a:80",
        "a.myshopify.com:8080", "аpple", "a.myshopify.com/../b", "http://a.myshopify.com", "ftp://a.myshopify.com",
        "xn--a-x", "a_b", "a b", "a%2eb", "127.0.0.1", "[::1]", "https://admin.shopify.com/store/", "a" * 64,
        "https://admin.shopify.com/store/a.evil", "https://admin.shopify.com.evil.com/store/a", "\x00a", "a\u200b",
    ],
)  # fmt: skip
def test_a_hostile_shop_is_refused_with_a_sentence(typed: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        normalise_account(typed, {})
    with pytest.raises(ValueError, match=r"\.$"):
        facts.origin(Account(typed, {}))


def test_the_origin_is_the_shop_and_the_token_a_header() -> None:
    account = Account("ef760-ef.myshopify.com", {"access_token": " shpat_0123456789 "})
    assert facts.origin(account) == "https://ef760-ef.myshopify.com"
    assert facts.headers(account) == {"X-Shopify-Access-Token": "shpat_0123456789"}
    with pytest.raises(ValueError, match="token") as caught:
        facts.headers(Account("a.myshopify.com", {"access_token": "shpat_\r\nHost: evil"}))
    assert "evil" not in str(caught.value)


def test_every_document_fits_the_schema_and_uses_nothing_deprecated() -> None:
    schema = build_schema((folder_of("shopify") / "schema.graphql").read_text("utf-8"))
    rules = [*specified_rules, NoDeprecatedCustomRule]
    for fields in (
        FIELDS,
        frozenset({"email"}),
        frozenset[str](),
        frozenset({"metafields.clinic-7.a_b"}),
        PRODUCT_FIELDS,
    ):
        for text in (
            *operations.every_document(fields),
            *every_product_document(fields),
            *every_inventory_document(),
            *every_sales_document(),
        ):
            assert validate(schema, parse(text), rules) == [], text


@pytest.mark.parametrize(
    "name", ["metafields.x", "metafields.a b.c", 'metafields.abc.d"', "metafields.abc.d) { x", "email"]
)
def test_a_metafields_name_cannot_break_out_of_a_document(name: str) -> None:
    with pytest.raises(KeyError):
        operations.metafield_name(name)


def test_countries_come_from_the_schema() -> None:
    assert {"AU", "NZ", "GB"} <= countries() and "XX" not in countries()


def test_the_admin_link_needs_a_probed_handle() -> None:
    assert admin_url({"handle": SHOP}, "7") == f"https://admin.shopify.com/store/{SHOP}/customers/7"
    assert admin_url({}, "7") == admin_url({"handle": "x/../y"}, "7") == ""


# -- "Test connection"


def test_the_probe_tells_shop_plan_zone_currency_and_scopes() -> None:
    client = ready()
    made(client)
    probe = verify(client)
    assert probe.works and probe.zone == "Australia/Sydney" and probe.account_name == "Harbour Physio"
    assert {"read_customers", "write_customers"} <= set(probe.facts["scopes"].split(",")) and probe.facts[
        "protected_data"
    ] == "open"
    assert probe.facts["handle"] == SHOP and probe.facts["currency"] == "AUD" and probe.facts["plan"] == "Grow"
    assert {word for word, _ in probe.findings} == {"ok"}
    assert probe.subject == SHOPIFY.subject(Account("x", {}, probe.facts))


def test_a_missing_scope_is_a_problem_that_names_it() -> None:
    client = Direct()
    client.sandbox.configure(SHOP, scopes=["read_customers"])
    probe = verify(client)
    assert not probe.works and any("write_customers" in sentence for _, sentence in probe.findings)


def test_a09_withheld_personal_data_is_told_from_an_empty_shop() -> None:
    client = Direct()
    assert verify(client).facts["protected_data"] == "unknown"
    made(ready())
    client = ready()
    made(client)
    client.sandbox.configure(SHOP, protected_data=False, plan="Basic")
    probe = verify(client)
    assert probe.facts["protected_data"] == "closed" and not probe.works
    assert any("Basic" in sentence and "Settings, Plan" in sentence for _, sentence in probe.findings)


def test_another_shops_token_and_another_version_are_told() -> None:
    client = ready()
    made(client)
    client.account = "ridge-podiatry.myshopify.com"
    client.sandbox.configure(SHOP, served_version="2027-01")
    words = [word for word, _ in verify(client).findings]
    assert words.count("problem") == 1 and words.count("warning") == 2


# -- the marker's definition and look-ups


def test_preparing_twice_is_fine_and_another_type_is_told() -> None:
    client = ready()
    prepare(client, MARKER)
    assert client.shop.definitions[0]["type"] == "id" and len(client.shop.definitions) == 1
    client.shop.definitions[0]["type"] = "single_line_text_field"
    with pytest.raises(AccountError) as caught:
        prepare(client, MARKER)
    assert caught.value.code == "shopify.marker_other_type"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("UNSTRUCTURED_ALREADY_EXISTS", "shopify.marker_unstructured"),
        ("RESERVED_NAMESPACE_KEY", "shopify.marker_refused"),
    ],
)
def test_a_definition_that_cannot_be_made_says_why(code: str, expected: str) -> None:
    client = Direct()
    errors = [{"code": code, "field": ["definition"], "message": "no"}]
    client.script = [{"data": {"metafieldDefinitionCreate": {"createdDefinition": None, "userErrors": errors}}}]
    with pytest.raises(Exception, match=expected):
        prepare(client, MARKER)


def test_one_request_looks_up_markers_emails_and_phones_of_a_batch() -> None:
    client = ready(search_lag_s=600)
    record = made(client)
    keys = {"email": "mia@example.com", "phone": "+61400000001"}
    found = look(client, Wanted("17", "17", keys), Wanted("18", "18", keys), Wanted("19", "19", {"phone": "0400 1"}))
    assert len(client.roots) == 5 and set(client.roots) == {"customerByIdentifier"}  # equal questions are asked once
    assert [one.key for one in found["17"].by_marker] == [record.key] and found["18"].by_marker == ()
    assert {name: one[0].key for name, one in found["18"].by_key.items()} == {"email": record.key, "phone": record.key}
    assert found["19"].by_key == {}


def test_a_definition_somebody_deleted_is_made_again() -> None:
    client = ready()
    record = made(client)
    forget_definitions(client.shop)
    found = look(client, Wanted("17", "17", {"email": "mia@example.com"}))["17"]
    assert found.by_marker == () and found.by_key["email"][0].key == record.key
    assert client.shop.definition("suture", "cliniko_patient_id")


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("metafields.clinic.referrer", True),
        ("metafields.app--12--suture.referrer_2", True),
        ("metafields.x", False),
        ("metafields.", False),
        ("metafields.ab.key", False),
        ("metafields.clinic.k", False),
        ("metafields.clinic.a.b", False),
        ('metafields.clinic.a"b', False),
        ("tag.inactive", True),
        ("tag.", False),
    ],
)
def test_a_field_that_cannot_be_a_metafield_is_no_field(name: str, known: bool) -> None:
    """Contract, section 9: namespace 3-255 characters, key 2-64. What is no field is refused when it is mapped."""
    assert (CUSTOMERS.find_field(name) is not None) is known
