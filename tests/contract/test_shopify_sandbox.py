"""The sandboxed Shopify answers as its contract says. Asked over HTTP, without our own client."""

import http.client
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integrations.connectors.sandbox_kit import Clock, Fault, FaultKind, Server
from integrations.connectors.shopify.sandbox import ShopifyVendor, serve, throttle_storm
from integrations.connectors.shopify.sandbox_call import Refusal

TOKEN = "shpat_0123456789"
SHOP = "harbour-physio"
PATH = f"/{SHOP}/admin/api/2026-10/graphql.json"
CREATE = "mutation ($i: CustomerInput!) { customerCreate(input: $i) { customer { id } userErrors { field message } } }"
BY_EMAIL = 'query { customerByIdentifier(identifier: {emailAddress: "%s"}) { id firstName } }'


@dataclass(frozen=True, slots=True)
class Told:
    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def data(self) -> Any:
        return self.body["data"]

    @property
    def code(self) -> str:
        return str(self.body["errors"][0]["extensions"]["code"])


def ask(server: Server[ShopifyVendor], query: str, path: str = PATH, token: str = TOKEN, **variables: object) -> Told:
    return send(server, "POST", path, {"query": query, "variables": variables}, token)


def send(server: Server[ShopifyVendor], method: str, path: str, body: object = None, token: str = TOKEN) -> Told:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(method, path, json.dumps(body), {"X-Shopify-Access-Token": token})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Told(answer.status, headers, json.loads(answer.read() or b"null"))
    finally:
        connection.close()


def create(server: Server[ShopifyVendor], **given: object) -> Any:
    return ask(server, CREATE, i=given).data["customerCreate"]


def define(server: Server[ShopifyVendor]) -> Told:
    document = (
        "mutation ($d: MetafieldDefinitionInput!) { metafieldDefinitionCreate(definition: $d)"
        " { createdDefinition { id } userErrors { code message } } }"
    )
    wish = {"name": "Patient", "namespace": "suture", "key": "patient", "type": "id", "ownerType": "CUSTOMER"}
    return ask(server, document, d=wish)


def mark(value: str) -> list[dict[str, str]]:
    return [{"namespace": "suture", "key": "patient", "value": value}]


@pytest.fixture
def server() -> Iterator[Server[ShopifyVendor]]:
    with serve() as running:
        yield running


# -- access


def test_a_bad_token_is_a_401_whose_errors_is_text(server: Server[ShopifyVendor]) -> None:
    told = ask(server, "{ shop { name } }", token="shpat_revoked_1")
    assert told.status == 401 and isinstance(told.body["errors"], str)
    server.vendor.configure(SHOP, token="shpat_other")
    assert ask(server, "{ shop { name } }").status == 401


@pytest.mark.parametrize(("state", "status"), [("frozen", 402), ("absent", 404), ("locked", 423), ("suspicious", 430)])
def test_a_shop_that_is_closed_answers_with_a_status(server: Server[ShopifyVendor], state: str, status: int) -> None:
    server.vendor.configure(SHOP, state=state)
    assert ask(server, "{ shop { name } }").status == status


def test_answers_carry_request_id_version_and_date(server: Server[ShopifyVendor]) -> None:
    told = ask(server, "{ shop { name myshopifyDomain } }")
    assert told.data["shop"] == {"name": "Harbour Physio", "myshopifyDomain": "harbour-physio.myshopify.com"}
    assert told.headers["x-request-id"] and told.headers["x-shopify-api-version"] == "2026-10" and told.headers["date"]
    server.vendor.configure(SHOP, served_version="2027-01")
    assert ask(server, "{ shop { name } }").headers["x-shopify-api-version"] == "2027-01"


def test_several_shops_live_in_one_server_and_one_needs_no_prefix(server: Server[ShopifyVendor]) -> None:
    create(server, firstName="Mia", email="mia@example.com")
    bare = ask(server, BY_EMAIL % "mia@example.com", path="/admin/api/2026-10/graphql.json")
    assert bare.data["customerByIdentifier"]["firstName"] == "Mia"
    other = ask(server, BY_EMAIL % "mia@example.com", path="/ridge-podiatry/admin/api/2026-10/graphql.json")
    assert other.data["customerByIdentifier"] is None


def test_documents_are_held_against_the_schema(server: Server[ShopifyVendor]) -> None:
    assert "data" not in ask(server, "{ shop { nome } }").body
    wrong = ask(server, CREATE, i={"firstName": "Mia", "shoeSize": 9})
    assert "data" not in wrong.body and wrong.code == "INVALID_VARIABLE" and "$i" in wrong.body["errors"][0]["message"]
    deprecated = ask(server, "{ customers(first: 1) { nodes { email } } }")
    assert "deprecated" in deprecated.headers["x-shopify-api-deprecated-reason"]


def test_scopes_and_protected_data_are_refused_field_by_field(server: Server[ShopifyVendor]) -> None:
    create(server, firstName="Mia", email="mia@example.com", tags=["vip"])
    server.vendor.configure(SHOP, protected_data=False)
    row = "{ customers(first: 1) { nodes { tags firstName defaultEmailAddress { emailAddress } } } }"
    told = ask(server, row)
    assert told.data["customers"]["nodes"] == [{"tags": ["vip"], "firstName": None, "defaultEmailAddress": None}]
    assert told.code == "ACCESS_DENIED" and "not approved to use the" in told.body["errors"][0]["message"]
    server.vendor.configure(SHOP, scopes=["read_customers"])
    told = ask(server, CREATE, i={"firstName": "Mia"})
    assert told.data == {"customerCreate": None} and "write_customers" in told.body["errors"][0]["message"]


# -- customers


def test_email_and_phone_are_unique_in_a_shop(server: Server[ShopifyVendor]) -> None:
    create(server, firstName="Mia", email="Mia@Example.com", phone="+61400000001")
    again = create(server, firstName="Leo", email="mia@example.com", phone="+61 400 000 001")
    assert again["customer"] is None
    assert [(error["field"], error["message"]) for error in again["userErrors"]] == [
        (["email"], "Email has already been taken"),
        (["phone"], "Phone has already been taken"),
    ]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, None),
        ({"email": "no address"}, ["email"]),
        ({"firstName": "Mia", "phone": "0400 000 000"}, ["phone"]),
        ({"firstName": "x" * 256}, ["firstName"]),
        ({"firstName": "Mia", "metafields": mark("7")}, ["metafields", "0", "type"]),
        ({"firstName": "Mia", "emailMarketingConsent": {"marketingState": "SUBSCRIBED"}}, ["emailMarketingConsent"]),
    ],
)
def test_bad_values_are_user_errors(server: Server[ShopifyVendor], given: dict[str, object], field: object) -> None:
    told = create(server, **given)
    assert told["customer"] is None and told["userErrors"][0]["field"] == field
    assert server.vendor.shop(SHOP).customers == {}


def test_a_custom_id_finds_its_customer_at_once_and_is_taken_once(server: Server[ShopifyVendor]) -> None:
    server.vendor.configure(SHOP, search_lag_s=60)
    look = 'query { customerByIdentifier(identifier: {customId: {namespace: "suture", key: "patient", value: "7"}}) { id } }'
    assert "metafield definition" in ask(server, look).body["errors"][0]["message"].lower()
    assert define(server).data["metafieldDefinitionCreate"]["userErrors"] == []
    assert define(server).data["metafieldDefinitionCreate"]["userErrors"][0]["code"] == "TAKEN"
    assert ask(server, look).data == {"customerByIdentifier": None}
    made = create(server, firstName="Mia", metafields=mark("7"))
    assert ask(server, look).data["customerByIdentifier"] == {"id": made["customer"]["id"]}
    again = create(server, firstName="Mia", metafields=mark("7"))
    assert again["customer"] is None and "taken" in again["userErrors"][0]["message"]


def test_the_search_lags_and_ignores_unknown_fields_with_a_warning(server: Server[ShopifyVendor]) -> None:
    server.vendor.configure(SHOP, search_lag_s=60)
    create(server, firstName="Mia", email="mia@example.com")
    look = "query ($q: String) { customers(first: 9, query: $q) { nodes { id } } }"
    exact = 'email:"mia@example.com"'
    assert ask(server, look, q=exact).data["customers"]["nodes"] == []
    server.clock.advance(61)
    assert len(ask(server, look, q=exact).data["customers"]["nodes"]) == 1
    assert ask(server, look, q="email:leo").data["customers"]["nodes"] == []
    ignored = ask(server, look, q="emial:leo")
    assert len(ignored.data["customers"]["nodes"]) == 1
    assert ignored.body["extensions"]["search"][0]["warnings"]


def test_searches_select_by_time_id_tag_and_words(server: Server[ShopifyVendor]) -> None:
    for number, name in enumerate(("Ada", "Mia", "Zoe")):
        create(server, firstName=name, email=f"{name}.chen@example.com", tags=[f"t{number}"])
        server.clock.advance(3600)
    rows = list(server.vendor.shop(SHOP).customers.values())
    look = "query ($q: String) { customers(first: 9, query: $q, sortKey: UPDATED_AT) { nodes { firstName } } }"

    def found(query: str) -> str:
        return "".join(row["firstName"][0] for row in ask(server, look, q=query).data["customers"]["nodes"])

    assert found(f"updated_at:>='{rows[1]['updatedAt']}'") == "MZ"
    assert found(f"updated_at:>='{rows[0]['updatedAt']}' updated_at:<'{rows[2]['updatedAt']}'") == "AM"
    assert found(f"id:>{rows[0]['id']}") == "MZ"
    assert found("tag:t0 OR tag:T2") == "AZ"
    assert found("-tag:t0") == "MZ"
    assert found("NOT (tag:t0 OR tag:t1)") == "Z"
    assert found("email:chen") == "AMZ"  # cut into words: not an address
    assert found('email:"mia.chen@example.com"') == "M"


def test_addresses_consents_and_tags_change_one_by_one(server: Server[ShopifyVendor]) -> None:
    gid = create(server, firstName="Mia", email="mia@example.com", tags=["Vip"])["customer"]["id"]
    document = """mutation ($c: ID!, $a: MailingAddressInput!, $e: CustomerEmailMarketingConsentUpdateInput!) {
      a: customerAddressCreate(customerId: $c, address: $a, setAsDefault: true) { address { id } userErrors { message } }
      e: customerEmailMarketingConsentUpdate(input: $e) { customer { defaultEmailAddress { marketingState } } userErrors { message } }
      t: tagsAdd(id: $c, tags: ["vip", "new"]) { node { ... on Customer { tags } } userErrors { message } }
      r: tagsRemove(id: $c, tags: ["VIP"]) { node { ... on Customer { tags defaultAddress { id city provinceCode } } } userErrors { message } } }"""
    consent = {"customerId": gid, "emailMarketingConsent": {"marketingState": "SUBSCRIBED"}}
    told = ask(
        server, document, c=gid, a={"city": "Geelong", "provinceCode": "VIC", "countryCode": "AU"}, e=consent
    ).data
    assert told["e"]["customer"]["defaultEmailAddress"]["marketingState"] == "SUBSCRIBED"
    assert told["t"]["node"]["tags"] == ["Vip", "new"] and told["r"]["node"]["tags"] == ["new"]
    assert told["r"]["node"]["defaultAddress"] == {
        "id": told["a"]["address"]["id"],
        "city": "Geelong",
        "provinceCode": "VIC",
    }
    bad = ask(server, document, c=gid, a={"provinceCode": "Victoria", "countryCode": "AU"}, e=consent).data
    assert bad["a"]["address"] is None and bad["a"]["userErrors"]


def test_a_merged_customer_is_gone_and_its_marker_moves(server: Server[ShopifyVendor]) -> None:
    define(server)
    keep = create(server, firstName="Mia", email="mia@example.com")["customer"]["id"]
    gone = create(server, firstName="Mia", metafields=mark("7"))["customer"]["id"]
    wish = {"keep": keep.rpartition("/")[2], "gone": gone.rpartition("/")[2]}
    assert send(server, "POST", f"/_sandbox/shops/{SHOP}/merge", wish).status == 200
    told = ask(server, "query ($i: [ID!]!) { nodes(ids: $i) { id } }", i=[keep, gone])
    assert told.data["nodes"] == [{"id": keep}, None]
    assert server.vendor.shop(SHOP).by_mark("suture", "patient", "7")


# -- cost


def test_mutations_cost_ten_and_what_they_select(server: Server[ShopifyVendor]) -> None:
    cost = ask(server, CREATE, i={"firstName": "Mia"}).body["extensions"]["cost"]
    assert cost["requestedQueryCost"] == 12  # the mutation, the customer, its errors
    assert cost["actualQueryCost"] == 11
    assert cost["throttleStatus"] == {"maximumAvailable": 2000.0, "currentlyAvailable": 1989, "restoreRate": 100.0}
    wide = "{ customers(first: 250) { nodes { defaultAddress { id } defaultEmailAddress { emailAddress } } } }"
    assert 20 < ask(server, wide).body["extensions"]["cost"]["requestedQueryCost"] < 60
    many = " ".join(f'm{n}: customerCreate(input: {{firstName: "x"}}) {{ customer {{ id }} }}' for n in range(95))
    assert ask(server, f"mutation {{{many}}}").code == "MAX_COST_EXCEEDED"


def test_an_empty_bucket_refuses_without_running_and_refills(server: Server[ShopifyVendor]) -> None:
    server.vendor.configure(SHOP, capacity=100.0, restore_rate=10.0)
    server.clock.set_speed(0.000001)
    told = [ask(server, CREATE, i={"firstName": "Mia"}) for _ in range(10)]
    refused = [answer for answer in told if "errors" in answer.body]
    assert len(refused) == 1 and refused[0].code == "THROTTLED"
    assert refused[0].body["extensions"]["cost"]["actualQueryCost"] is None and "data" not in refused[0].body
    assert len(server.vendor.shop(SHOP).customers) == 9 == server.vendor.writes(SHOP)
    assert min(operation.after for operation in server.vendor.operations) >= 0
    server.clock.advance(2)
    assert "errors" not in ask(server, CREATE, i={"firstName": "Mia"}).body


# -- faults, edits, storing


def test_a_dropped_answer_leaves_the_customer_made(server: Server[ShopifyVendor]) -> None:
    server.faults.add(Fault(FaultKind.DROP_AFTER, contains="customerCreate"))
    with pytest.raises((http.client.HTTPException, OSError)):
        create(server, firstName="Mia", email="mia@example.com")
    assert ask(server, BY_EMAIL % "mia@example.com").data["customerByIdentifier"]["firstName"] == "Mia"


def test_one_mutation_of_a_document_can_fail_and_storms_can_be_ordered(server: Server[ShopifyVendor]) -> None:
    server.vendor.refuse_next(SHOP, Refusal("customerCreate", skip=1))
    pair = 'mutation { a: customerCreate(input: {firstName: "A"}) { customer { id } } b: customerCreate(input: {firstName: "B"}) { customer { id } } }'
    told = ask(server, pair)
    assert told.data["a"]["customer"] and told.data["b"] is None
    assert told.body["errors"][0]["path"] == ["b"] and told.code == "INTERNAL_SERVER_ERROR"
    server.faults.add(throttle_storm(2))
    assert [ask(server, "{ shop { name } }").body.get("errors") is None for _ in range(3)] == [False, False, True]


def test_companies_have_a_unique_external_id_and_contacts_and_may_be_missing(server: Server[ShopifyVendor]) -> None:
    gid = create(server, firstName="Mia", email="mia@example.com")["customer"]["id"]
    make = (
        "mutation ($i: CompanyCreateInput!) { companyCreate(input: $i) { company { id } userErrors { code field } } }"
    )
    wish = {"company": {"name": "Acme", "externalId": "suture-acme"}}
    company = ask(server, make, i=wish).data["companyCreate"]["company"]["id"]
    assert ask(server, make, i=wish).data["companyCreate"]["userErrors"][0]["code"] == "TAKEN"
    assert (
        ask(server, make, i={"company": {"externalId": "x"}}).data["companyCreate"]["userErrors"][0]["code"] == "BLANK"
    )
    join = (
        "mutation ($o: ID!, $c: ID!) { companyAssignCustomerAsContact(companyId: $o, customerId: $c)"
        " { companyContact { customer { id } company { name } } userErrors { code } } }"
    )
    told = ask(server, join, o=company, c=gid).data["companyAssignCustomerAsContact"]
    assert told["companyContact"] == {"customer": {"id": gid}, "company": {"name": "Acme"}}
    assert ask(server, join, o=company, c=gid).data["companyAssignCustomerAsContact"]["userErrors"] == [
        {"code": "TAKEN"}
    ]
    look = "query ($q: String) { companies(first: 9, query: $q) { nodes { id } } }"
    assert ask(server, look, q="external_id:'suture-acme'").data["companies"]["nodes"] == [{"id": company}]
    assert ask(server, look, q="external_id:'suture'").data["companies"]["nodes"] == []
    server.vendor.configure(SHOP, b2b=False)
    assert ask(server, look, q="external_id:'suture-acme'").code == "ACCESS_DENIED"


def test_state_outlives_the_server(tmp_path: Path) -> None:
    with serve(state_dir=tmp_path) as server:
        define(server)
        gid = create(server, firstName="Mia", email="mia@example.com", metafields=mark("7"))["customer"]["id"]
    with serve(state_dir=tmp_path) as server:
        shop = server.vendor.shop(SHOP)
        assert shop.by_mark("suture", "patient", "7") == shop.by_email("mia@example.com") == shop.by_gid(gid) != None  # noqa: E711
        second = create(server, firstName="Leo")["customer"]["id"]
        assert second != gid


def test_the_merchant_edits_through_the_admin_paths(server: Server[ShopifyVendor]) -> None:
    made = send(server, "POST", f"/_sandbox/shops/{SHOP}/customers", {"firstName": "Mia", "email": "mia@example.com"})
    key = made.body["customer"]["id"]
    send(server, "PATCH", f"/_sandbox/shops/{SHOP}/customers/{key}", {"firstName": "Mila"})
    assert ask(server, BY_EMAIL % "mia@example.com").data["customerByIdentifier"]["firstName"] == "Mila"
    send(server, "PATCH", f"/_sandbox/shops/{SHOP}", {"plan": "Basic", "protected_data": False})
    assert server.vendor.shop(SHOP).settings.plan == "Basic"
    assert send(server, "PATCH", f"/_sandbox/shops/{SHOP}", {"plam": "Basic"}).status == 400
    send(server, "DELETE", f"/_sandbox/shops/{SHOP}/customers/{key}")
    told = send(server, "GET", "/_sandbox/shops").body["shops"]
    assert [(shop["handle"], shop["customers"]) for shop in told] == [(SHOP, 0)]
    assert [entry["roots"] for entry in send(server, "GET", "/_sandbox/operations").body["operations"]] == [
        ["customerByIdentifier"]
    ]


def test_it_takes_a_hundred_writes_a_second() -> None:
    vendor = ShopifyVendor(clock=Clock())
    vendor.configure(SHOP, capacity=1e9, restore_rate=1e9)
    from integrations.connectors.sandbox_kit import Request

    started = time.perf_counter()
    for number in range(200):
        body = json.dumps(
            {"query": CREATE, "variables": {"i": {"firstName": "Mia", "email": f"m{number}@example.com"}}}
        )
        vendor.answer(Request("POST", PATH, headers={"x-shopify-access-token": TOKEN}, body=body.encode()))
    assert len(vendor.shop(SHOP).customers) == 200
    assert time.perf_counter() - started < 4  # far above what it takes; a shared machine may be slow


def test_a_list_goes_on_from_a_row_that_moved_and_ends_at_its_limit(
    server: Server[ShopifyVendor], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        create(server, firstName=f"P{number}")
        server.clock.advance(1)
    page = (
        "query ($a: String) { customers(first: 2, after: $a, sortKey: UPDATED_AT)"
        " { nodes { id firstName } pageInfo { hasNextPage endCursor } } }"
    )
    first = ask(server, page).data["customers"]
    server.vendor.shop(SHOP).update(first["nodes"][0]["id"], {"note": "moved to the end"})
    second = ask(server, page, a=first["pageInfo"]["endCursor"]).data["customers"]
    assert [row["firstName"] for row in second["nodes"]] == ["P2", "P3"]
    monkeypatch.setattr("integrations.connectors.shopify.sandbox_reads.LIST_END", 3)
    limited = ask(server, page, a=first["pageInfo"]["endCursor"]).data["customers"]
    assert [row["firstName"] for row in limited["nodes"]] == ["P2"] and not limited["pageInfo"]["hasNextPage"]
