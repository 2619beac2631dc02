"""The sandboxed Shopify takes and shows orders as its contract says. Asked over HTTP, without our own client."""

import http.client
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from integrations.connectors.sandbox_kit import Fault, FaultKind, Server
from integrations.connectors.shopify.sandbox import ShopifyVendor, serve
from tests.contract.test_shopify_sandbox import SHOP, Told, ask, create, send

CREATE = """mutation ($o: OrderCreateOrderInput!) { orderCreate(order: $o) {
  order { id name displayFinancialStatus processedAt totalPriceSet { shopMoney { amount } }
          totalTaxSet { shopMoney { amount } } totalOutstandingSet { shopMoney { amount } } }
  userErrors { code field message } } }"""
REFUND = """mutation ($i: RefundInput!, $k: String!) { refundCreate(input: $i) @idempotent(key: $k) {
  refund { id note totalRefundedSet { shopMoney { amount } } } userErrors { field message } } }"""
ORDER = """query ($i: ID!) { order(id: $i) { displayFinancialStatus closedAt cancelledAt
  lineItems(first: 5) { nodes { id refundableQuantity } } transactions { id kind } refunds { id note }
  paymentTerms { id paymentSchedules(first: 1) { nodes { dueAt } } } } }"""


def money(amount: str) -> dict[str, Any]:
    return {"shopMoney": {"amount": amount, "currencyCode": "AUD"}}


def line(**changes: object) -> dict[str, Any]:
    tax = {"title": "GST", "rate": "0.1", "priceSet": money("10.00")}
    return {"title": "Services", "quantity": 1, "priceSet": money("110.00"), "taxLines": [tax], **changes}


def sale(amount: str = "110.00") -> dict[str, Any]:
    return {"kind": "SALE", "status": "SUCCESS", "gateway": "manual", "amountSet": money(amount)}


def make(server: Server[ShopifyVendor], **changes: object) -> Any:
    return ask(server, CREATE, o={"taxesIncluded": True, "lineItems": [line()], **changes}).data["orderCreate"]


def define(server: Server[ShopifyVendor]) -> Told:
    document = (
        "mutation ($d: MetafieldDefinitionInput!) { metafieldDefinitionCreate(definition: $d)"
        " { userErrors { code message } } }"
    )
    wish = {"name": "Invoice", "namespace": "suture", "key": "invoice", "type": "id", "ownerType": "ORDER"}
    return ask(server, document, d=wish)


def show(server: Server[ShopifyVendor], gid: str) -> Any:
    return ask(server, ORDER, i=gid).data["order"]


def change(server: Server[ShopifyVendor], name: str, kind: str, **given: object) -> Any:
    member = "orderCancelUserErrors" if name == "orderCancel" else "userErrors"
    document = f"mutation ($i: {kind}!) {{ {name}(input: $i) {{ {member} {{ field message }} }} }}"
    return ask(server, document, i=given).data[name][member]


@pytest.fixture
def server() -> Iterator[Server[ShopifyVendor]]:
    with serve() as running:
        yield running


def test_the_shop_sums_the_lines_itself(server: Server[ShopifyVendor]) -> None:
    made = make(server, lineItems=[line(), line(quantity=2)], financialStatus="PENDING")["order"]
    assert (
        made["totalPriceSet"]["shopMoney"]["amount"] == made["totalOutstandingSet"]["shopMoney"]["amount"] == "330.00"
    )
    assert made["totalTaxSet"]["shopMoney"]["amount"] == "20.00" and made["displayFinancialStatus"] == "PENDING"
    net = make(server, taxesIncluded=False)["order"]
    assert Decimal(net["totalPriceSet"]["shopMoney"]["amount"]) == Decimal(120)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, "PENDING"),
        ({"transactions": [sale()]}, "PAID"),
        ({"transactions": [sale("60.00")]}, "PARTIALLY_PAID"),
        ({"transactions": [{**sale(), "kind": "AUTHORIZATION"}]}, "AUTHORIZED"),
        ({"transactions": [{**sale(), "status": "FAILURE"}]}, "PENDING"),
        ({"financialStatus": "VOIDED"}, "VOIDED"),
    ],
)
def test_the_status_is_what_was_said_or_what_the_transactions_make_it(
    server: Server[ShopifyVendor], changes: dict[str, object], status: str
) -> None:
    assert make(server, **changes)["order"]["displayFinancialStatus"] == status


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"lineItems": []}, ["order", "lineItems"], "INVALID"),
        ({"lineItems": [line(title=" ")]}, ["order", "lineItems", "0", "title"], "INVALID"),
        ({"lineItems": [line(quantity=0)]}, ["order", "lineItems", "0", "quantity"], "INVALID"),
        ({"lineItems": [line(priceSet=money("-1.00"))]}, ["order", "lineItems", "0", "priceSet"], "INVALID"),
        ({"lineItems": [line(variantId="gid://shopify/ProductVariant/7")]}, ["order", "lineItems", "0", "variantId"], "INVALID"),
        ({"taxLines": [{"title": "GST", "rate": "0.1"}]}, ["order", "taxLines"], "INVALID"),
        ({"lineItems": [line(taxLines=[{"title": "GST", "rate": ""}])]}, ["order", "lineItems", "0", "taxLines"], "TAX_LINE_RATE_MISSING"),
        ({"customer": {"toAssociate": {"id": "gid://shopify/Customer/7"}}}, ["order", "customer", "toAssociate", "id"], "INVALID"),
        ({"note": "x" * 5001}, ["order", "note"], "INVALID"),
    ],
)  # fmt: skip
def test_orders_that_cannot_be_are_user_errors(
    server: Server[ShopifyVendor], changes: dict[str, object], field: list[str], code: str
) -> None:
    told = make(server, **changes)
    assert told["order"] is None
    assert [(error["field"], error["code"]) for error in told["userErrors"]] == [(field, code)]
    assert not server.vendor.shop(SHOP).orders and not server.vendor.writes(SHOP)


def test_a_sale_in_the_future_is_a_sale_now(server: Server[ShopifyVendor]) -> None:
    assert make(server, processedAt="2099-01-01T00:00:00Z")["order"]["processedAt"] < "2099"
    assert make(server, processedAt="2020-01-01T10:00:00+10:00")["order"]["processedAt"] == "2020-01-01T00:00:00Z"


def test_a_marker_finds_its_order_at_once_and_is_taken_once(server: Server[ShopifyVendor]) -> None:
    server.vendor.configure(SHOP, search_lag_s=60)
    define(server)
    mark = [{"namespace": "suture", "key": "invoice", "value": "7"}]
    made = make(server, metafields=mark)["order"]
    custom = 'customId: {namespace: "suture", key: "invoice", value: "7"}'
    found = ask(server, f"{{ orderByIdentifier(identifier: {{{custom}}}) {{ id }} }}").data
    assert found["orderByIdentifier"] == {"id": made["id"]}
    again = make(server, metafields=mark)
    assert again["order"] is None and "taken" in again["userErrors"][0]["message"]
    assert ask(server, '{ orders(first: 5, query: "status:open") { nodes { id } } }').data["orders"]["nodes"] == []
    server.clock.advance(61)
    assert len(ask(server, '{ orders(first: 5, query: "status:open") { nodes { id } } }').data["orders"]["nodes"]) == 1


def test_an_order_is_paid_once_closed_and_opened(server: Server[ShopifyVendor]) -> None:
    gid = make(server)["order"]["id"]
    assert change(server, "orderMarkAsPaid", "OrderMarkAsPaidInput", id=gid) == []
    assert show(server, gid)["displayFinancialStatus"] == "PAID"
    assert change(server, "orderMarkAsPaid", "OrderMarkAsPaidInput", id=gid) != []
    change(server, "orderClose", "OrderCloseInput", id=gid)
    assert show(server, gid)["closedAt"]
    change(server, "orderOpen", "OrderOpenInput", id=gid)
    assert show(server, gid)["closedAt"] is None
    assert change(server, "orderClose", "OrderCloseInput", id="gid://shopify/Order/7") != []


def test_an_order_takes_another_customer(server: Server[ShopifyVendor]) -> None:
    gid, leo = make(server)["order"]["id"], create(server, firstName="Leo")["customer"]["id"]
    document = "mutation ($o: ID!, $c: ID!) { orderCustomerSet(orderId: $o, customerId: $c) { order { customer { id } } userErrors { code } } }"
    assert ask(server, document, o=gid, c=leo).data["orderCustomerSet"]["order"] == {"customer": {"id": leo}}
    gone = ask(server, document, o=gid, c="gid://shopify/Customer/7").data["orderCustomerSet"]
    assert gone == {"order": None, "userErrors": [{"code": "NOT_FOUND"}]}


def test_cancelling_runs_on_after_its_answer_and_happens_once(server: Server[ShopifyVendor]) -> None:
    server.vendor.configure(SHOP, cancel_takes_s=30)
    gid = make(server, transactions=[sale()])["order"]["id"]
    document = """mutation ($o: ID!) { orderCancel(orderId: $o, reason: OTHER, restock: false,
      refundMethod: {originalPaymentMethodsRefund: false}) { job { id } orderCancelUserErrors { code } } }"""
    assert ask(server, document, o=gid).data["orderCancel"]["orderCancelUserErrors"] == []
    assert show(server, gid)["cancelledAt"] is None
    assert ask(server, document, o=gid).data["orderCancel"]["orderCancelUserErrors"] == [{"code": "INVALID"}]
    server.clock.advance(31)
    there = show(server, gid)
    assert there["cancelledAt"] and there["closedAt"] and [one["kind"] for one in there["transactions"]] == ["SALE"]


def test_payment_terms_need_a_day_and_something_to_pay(server: Server[ShopifyVendor]) -> None:
    templates = ask(server, "{ paymentTermsTemplates(paymentTermsType: FIXED) { id } }").data["paymentTermsTemplates"]
    document = """mutation ($o: ID!, $t: PaymentTermsCreateInput!) { paymentTermsCreate(referenceId: $o,
      paymentTermsAttributes: $t) { paymentTerms { id } userErrors { code message } } }"""
    wish = {"paymentTermsTemplateId": templates[0]["id"], "paymentSchedules": [{"dueAt": "2026-12-31T12:00:00Z"}]}
    owing, paid = make(server)["order"]["id"], make(server, transactions=[sale()])["order"]["id"]
    assert ask(server, document, o=owing, t={**wish, "paymentSchedules": []}).data["paymentTermsCreate"]["userErrors"]
    assert ask(server, document, o=owing, t=wish).data["paymentTermsCreate"]["userErrors"] == []
    schedules = show(server, owing)["paymentTerms"]["paymentSchedules"]["nodes"]
    assert schedules == [{"dueAt": "2026-12-31T12:00:00Z"}]
    assert ask(server, document, o=paid, t=wish).data["paymentTermsCreate"]["paymentTerms"] is None


# -- refunds


def refund(server: Server[ShopifyVendor], gid: str, key: str = "k1", **given: object) -> Told:
    return ask(server, REFUND, i={"orderId": gid, **given}, k=key)


def units(server: Server[ShopifyVendor], gid: str, quantity: int = 1) -> list[dict[str, Any]]:
    [item] = show(server, gid)["lineItems"]["nodes"]
    return [{"lineItemId": item["id"], "quantity": quantity, "restockType": "NO_RESTOCK"}]


def back(server: Server[ShopifyVendor], gid: str, amount: str = "110.00") -> list[dict[str, Any]]:
    parent = show(server, gid)["transactions"][0]["id"]
    return [{"orderId": gid, "kind": "REFUND", "gateway": "manual", "amount": amount, "parentId": parent}]


def test_a_refund_without_a_key_does_not_run(server: Server[ShopifyVendor]) -> None:
    gid = make(server, transactions=[sale()])["order"]["id"]
    bare = REFUND.replace(" @idempotent(key: $k)", "").replace(", $k: String!", "")
    told = ask(server, bare, i={"orderId": gid, "refundLineItems": units(server, gid)})
    assert told.data["refundCreate"] is None and "idempotent" in told.body["errors"][0]["message"]
    assert refund(server, gid, " ", refundLineItems=units(server, gid)).data["refundCreate"] is None


def test_a_key_gives_its_first_answer_again_for_a_day(server: Server[ShopifyVendor]) -> None:
    gid = make(server, transactions=[sale()])["order"]["id"]
    wish = {"note": "one", "transactions": back(server, gid, "50.00")}
    first = refund(server, gid, **wish).data["refundCreate"]["refund"]
    assert refund(server, gid, **wish).data["refundCreate"]["refund"] == first
    assert len(show(server, gid)["refunds"]) == 1
    assert refund(server, gid, **{**wish, "note": "two"}).code == "IDEMPOTENCY_KEY_PARAMETER_MISMATCH"
    turned = dict(reversed(wish.items()))
    assert refund(server, gid, **turned).code == "IDEMPOTENCY_KEY_PARAMETER_MISMATCH"
    server.clock.advance(24 * 3600 + 1)
    assert refund(server, gid, **wish).data["refundCreate"]["refund"]["id"] != first["id"]


def test_a_key_that_failed_stays_failed(server: Server[ShopifyVendor]) -> None:
    gid = make(server, transactions=[sale()])["order"]["id"]
    wish = {"transactions": back(server, gid, "110.01")}
    assert refund(server, gid, **wish).data["refundCreate"]["userErrors"]
    assert refund(server, gid, **wish).code == "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED"


def test_no_more_units_or_money_than_there_are(server: Server[ShopifyVendor]) -> None:
    gid = make(server, transactions=[sale()])["order"]["id"]
    assert refund(server, gid, "1", refundLineItems=units(server, gid, 2)).data["refundCreate"]["userErrors"]
    done = refund(server, gid, "2", refundLineItems=units(server, gid), transactions=back(server, gid))
    assert done.data["refundCreate"]["refund"]["totalRefundedSet"]["shopMoney"]["amount"] == "110.00"
    there = show(server, gid)
    assert there["displayFinancialStatus"] == "REFUNDED" and there["lineItems"]["nodes"][0]["refundableQuantity"] == 0
    assert refund(server, gid, "3", transactions=back(server, gid, "0.01")).data["refundCreate"]["userErrors"]
    assert refund(server, gid, "4").data["refundCreate"]["userErrors"]


def test_a_refund_without_transactions_moves_no_money(server: Server[ShopifyVendor]) -> None:
    gid = make(server, transactions=[sale()])["order"]["id"]
    told = refund(server, gid, refundLineItems=units(server, gid)).data["refundCreate"]["refund"]
    assert told["totalRefundedSet"]["shopMoney"]["amount"] == "0.00"
    assert [one["kind"] for one in show(server, gid)["transactions"]] == ["SALE"]


# -- faults, edits, storing


def test_a_dropped_answer_leaves_the_order_made(server: Server[ShopifyVendor]) -> None:
    server.faults.add(Fault(FaultKind.DROP_AFTER, contains="orderCreate"))
    with pytest.raises((http.client.HTTPException, OSError)):
        make(server)
    assert len(server.vendor.shop(SHOP).orders) == 1


def test_orders_outlive_the_server_with_their_keys(tmp_path: Path) -> None:
    with serve(state_dir=tmp_path) as server:
        define(server)
        gid = make(server, metafields=[{"namespace": "suture", "key": "invoice", "value": "7"}])["order"]["id"]
        first = refund(server, gid, refundLineItems=units(server, gid)).data["refundCreate"]["refund"]["id"]
    with serve(state_dir=tmp_path) as server:
        row = server.vendor.shop(SHOP).by_mark("suture", "invoice", "7", "Order")
        assert row is not None and gid.endswith(str(row["id"]))
        assert refund(server, gid, refundLineItems=units(server, gid)).data["refundCreate"]["refund"]["id"] == first


def test_the_merchant_edits_orders_and_products(server: Server[ShopifyVendor]) -> None:
    key = make(server)["order"]["id"].rpartition("/")[2]
    send(server, "PATCH", f"/_sandbox/shops/{SHOP}/orders/{key}", {"note": "by hand"})
    told = send(server, "GET", f"/_sandbox/shops/{SHOP}/orders").body["orders"]
    assert [(row["note"], row["total"], row["status"]) for row in told] == [("by hand", "110.00", "PENDING")]
    made = send(server, "POST", f"/_sandbox/shops/{SHOP}/products", {"title": "Tape", "variants": 2}).body["product"]
    document = "query ($i: [ID!]!) { nodes(ids: $i) { ... on Product { variants(first: 9) { nodes { id } } } } }"
    told = ask(server, document, i=[f"gid://shopify/Product/{made['id']}"]).data["nodes"]
    assert len(told[0]["variants"]["nodes"]) == 2
    send(server, "DELETE", f"/_sandbox/shops/{SHOP}/products/{made['id']}")
    assert ask(server, document, i=[f"gid://shopify/Product/{made['id']}"]).data["nodes"] == [None]


@pytest.mark.parametrize(("missing", "document"), [
    ("read_orders", "{ orders(first: 1) { nodes { id } } }"),
    ("write_orders", 'mutation { orderClose(input: {id: "gid://shopify/Order/1"}) { order { id } } }'),
    ("write_payment_terms", 'mutation { paymentTermsDelete(input: {paymentTermsId: "x"}) { deletedId } }'),
])  # fmt: skip
def test_orders_have_scopes_of_their_own(server: Server[ShopifyVendor], missing: str, document: str) -> None:
    server.vendor.configure(SHOP, scopes=["write_customers"])
    assert missing in ask(server, document).body["errors"][0]["message"]
