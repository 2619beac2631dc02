"""Orders are created in one call and brought over in converging steps, each with its own outcome."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from graphql import NoDeprecatedCustomRule, build_schema, parse, specified_rules, validate

from integrations.connectors.shopify import orders_documents
from integrations.connectors.shopify.orders import ORDERS, admin_url
from integrations.connectors.shopify.orders_decoding import Payment
from integrations.connectors.shopify.sandbox import forget_definitions
from integrations.connectors.shopify.sandbox_call import Refusal
from integrations.core.errors import AccountError, Rejected, Throttled, Uncertain
from integrations.core.lines import Line
from integrations.core.values import Value
from tests.contract.desk import folder_of
from tests.unit.connectors.shopify.bench import SHOP
from tests.unit.connectors.shopify.orders_bench import (
    AT,
    DUE,
    FIELDS,
    FREE,
    VISIT,
    bring,
    customer,
    invoice,
    item,
    look,
    made,
    order_row,
    patch,
    product,
    read,
    ready,
    sent_order,
    write,
)


def test_every_document_of_orders_fits_the_schema_and_uses_nothing_deprecated() -> None:
    schema = build_schema((folder_of("shopify") / "schema.graphql").read_text("utf-8"))
    rules = [*specified_rules, NoDeprecatedCustomRule]
    for fields in (FIELDS, frozenset({"total"}), frozenset[str](), frozenset({"metafields.clinic-7.a_b"})):
        for text in orders_documents.every_document(fields):
            assert validate(schema, parse(text), rules) == [], text


# -- creating


def test_the_create_says_everything_and_nothing_more() -> None:
    client = ready()
    who = customer(client)
    wish = invoice(customer=who, note="Thank you", payment="paid", closed=True, **{"tag.invoice": True})
    write(client, item(wish))
    money = {"shopMoney": {"amount": "110.00", "currencyCode": "AUD"}}
    assert sent_order(client) == {
        "currency": "AUD", "taxesIncluded": True, "customer": {"toAssociate": {"id": f"gid://shopify/Customer/{who}"}},
        "processedAt": "2026-10-20T03:15:00Z", "poNumber": "INV-900", "sourceIdentifier": "900", "note": "Thank you",
        "tags": ["invoice"], "metafields": [{"namespace": "suture", "key": "cliniko_invoice_id", "value": "900"}],
        "lineItems": [{
            "quantity": 1, "title": "Services", "requiresShipping": False, "priceSet": money, "taxable": True,
            "taxLines": [{
                "title": "GST", "rate": "0.1", "priceSet": {"shopMoney": {"amount": "10.00", "currencyCode": "AUD"}},
            }],
        }],
        "financialStatus": "PAID", "closedAt": "2026-10-20T03:15:00Z",
        "transactions": [{
            "kind": "SALE", "status": "SUCCESS", "gateway": "manual", "amountSet": money,
            "processedAt": "2026-10-20T03:15:00Z",
        }],
    }  # fmt: skip
    assert "inventoryBehaviour: BYPASS, sendReceipt: false, sendFulfillmentReceipt: false" in client.sent[-1]["query"]


def test_a_new_order_reads_back_as_it_was_wished() -> None:
    client = ready()
    goods = Line(Decimal("100.00"), Decimal("9.09"), Decimal(10), Decimal(3), product(client))
    wish = invoice(VISIT, goods, FREE, customer=customer(client), dueOn=DUE, **{"metafields.clinic.practitioner": "P1"})
    record, steps = bring(client, wish)
    assert steps == ["orderCreate", "paymentTermsCreate"]
    again = read(client, record.key)
    assert again is not None and not patch(again, wish) and dict(again.values) == dict(record.values)
    assert again.handles == record.handles and again.created_at and again.changed_at


def test_a_paid_order_without_anything_to_pay_has_no_payment() -> None:
    client = ready()
    record = made(client, invoice(Line(Decimal(0), title="Review"), payment="paid"))
    assert "transactions" not in sent_order(client) and record.values["payment"] == "paid"
    assert read(client, record.key) is not None


def test_variants_of_a_batch_are_read_at_once() -> None:
    client = ready()
    own, other = product(client), product(client)
    before = len(client.sent)
    written = write(
        client,
        item(invoice(Line(Decimal(20), product=own), ref="1")),
        item(invoice(Line(Decimal(30), product=other), Line(Decimal(5), product=own), ref="2")),
    )
    assert all(one.record for one in written) and len(client.sent) - before == 2


@pytest.mark.parametrize(
    ("variants", "gone", "code"), [(2, False, "shopify.product_variants"), (1, True, "shopify.product_gone")]
)
def test_a_product_that_cannot_be_sold_holds_only_its_own_order(variants: int, gone: bool, code: str) -> None:
    client = ready()
    key = product(client, variants)
    if gone:
        del client.shop.products[int(key)]
    bad, good = write(client, item(invoice(Line(Decimal(20), product=key), ref="1")), item(invoice(ref="2")))
    assert isinstance(bad.error, Rejected) and bad.error.code == code
    assert good.record is not None and len(client.shop.orders) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"total": Decimal("110.01")}, "shopify.order_total_mismatch"),
        ({"currency": ""}, "shopify.currency_missing"),
        ({"lines": (Line(Decimal("110.00"), Decimal("111.00"), Decimal(10), title="x"),)}, "shopify.line_invalid"),
        ({"customer": "Mia"}, "shopify.values_refused"),
    ],
)
def test_what_cannot_be_an_order_is_never_sent(changes: dict[str, Value], code: str) -> None:
    client = ready()
    wish = invoice(**{"tax": None, **changes})
    [written] = write(client, item(wish))
    assert isinstance(written.error, Rejected) and written.error.code == code
    assert not any("orderCreate" in sent["query"] for sent in client.sent)


def test_the_shops_own_currency_stands_in() -> None:
    client = ready()
    client.facts = {"currency": "NZD"}
    write(client, item(invoice(currency=None)))
    assert sent_order(client)["currency"] == "NZD"


def test_a_currency_shopify_does_not_know_is_that_orders_trouble_alone() -> None:
    client = ready()
    bad, good = write(client, item(invoice(ref="1", currency="XXQ")), item(invoice(ref="2")))
    assert isinstance(bad.error, Rejected) and bad.error.code == "shopify.values_refused" and good.record


def test_a_customer_that_is_gone_is_looked_up_again() -> None:
    client = ready()
    [written] = write(client, item(invoice(customer="7")))
    assert isinstance(written.error, Rejected) and written.error.code == "shopify.customer_gone"
    assert written.error.facts["look_again"]


# -- not twice


def test_a_create_whose_answer_is_lost_is_found_by_its_marker_at_once() -> None:
    client = ready(search_lag_s=600)
    client.lose = Uncertain("http.lost")
    [lost] = write(client, item(invoice()))
    assert isinstance(lost.error, Uncertain)
    [record] = look(client, invoice())["900"].by_marker
    assert record.key in map(str, client.shop.orders) and not patch(record, invoice())


def test_a_second_order_of_one_invoice_is_refused_by_the_marker() -> None:
    client = ready()
    made(client, invoice())
    [again] = write(client, item(invoice()))
    assert isinstance(again.error, Rejected) and again.error.code == "shopify.marker_taken"
    assert again.error.facts["look_again"] and len(client.shop.orders) == 1


def test_markers_of_a_batch_are_looked_up_in_one_request() -> None:
    client = ready()
    record = made(client, invoice(ref="1"))
    before = len(client.sent)
    found = look(client, invoice(ref="1"), invoice(ref="2"))
    assert [one.key for one in found["1"].by_marker] == [record.key] and found["2"].by_marker == ()
    assert len(client.sent) - before == 1


def test_a_definition_of_orders_is_made_again_and_customers_have_their_own() -> None:
    client = ready()
    made(client, invoice())
    forget_definitions(client.shop)
    assert look(client, invoice())["900"].by_marker == ()
    assert client.shop.definition("suture", "cliniko_invoice_id", "Order")
    assert client.shop.definition("suture", "cliniko_invoice_id") is None


# -- changes


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"note": "Call first", "number": "INV-901"}, ["orderUpdate"]),
        ({"metafields.clinic.practitioner": "P2"}, ["orderUpdate"]),
        ({"note": None}, ["orderUpdate"]),
        ({"metafields.clinic.practitioner": None}, ["metafieldsDelete"]),
        ({"tag.late": True, "tag.invoice": False}, ["tagsAdd", "tagsRemove"]),
        ({"payment": "paid"}, ["orderMarkAsPaid"]),
        ({"dueOn": date(2027, 1, 31)}, ["paymentTermsUpdate"]),
        ({"dueOn": None}, ["paymentTermsDelete"]),
        ({"closed": True}, ["orderClose"]),
        ({"cancelled": True}, ["orderCancel"]),
        ({"payment": "paid", "closed": True, "note": "Paid"}, ["orderUpdate", "orderMarkAsPaid", "orderClose"]),
    ],
)
def test_each_change_takes_its_own_step_and_no_other(changes: dict[str, Value], steps: list[str]) -> None:
    client = ready()
    wish = invoice(note="Thanks", dueOn=DUE, **{"tag.invoice": True, "metafields.clinic.practitioner": "P1"})
    record = made(client, wish)
    end, taken = bring(client, {**wish, **changes}, record)
    assert taken == steps
    there = read(client, record.key)
    assert there is not None and not patch(there, {**wish, **changes}) and dict(there.values) == dict(end.values)


def test_another_customer_is_set_by_itself_and_no_address_is_ever_sent() -> None:
    client = ready()
    record = made(client, invoice(customer=customer(client)))
    leo = customer(client, "Leo")
    end, steps = bring(client, invoice(customer=leo), record)
    assert steps == ["orderCustomerSet"] and end.values["customer"] == leo
    assert "shippingAddress" not in str(client.sent) and "billingAddress" not in str(client.sent)


def test_an_order_that_is_opened_again_is_opened() -> None:
    client = ready()
    record = made(client, invoice(closed=True))
    assert record.values["closed"] is True
    assert bring(client, invoice(closed=False), record)[1] == ["orderOpen"]


def test_an_order_that_we_closed_is_opened_when_nothing_is_said_of_it_any_more() -> None:
    client = ready()
    record = made(client, invoice(closed=True))
    end, steps = bring(client, invoice(closed=None), record)
    assert steps == ["orderOpen"]
    assert bring(client, invoice(closed=None), end)[1] == []


def test_the_merchants_tags_stay() -> None:
    client = ready()
    record = made(client, invoice(**{"tag.invoice": True}))
    order_row(client, record.key)["tags"] = ["VIP", "invoice"]
    bring(client, invoice(**{"tag.invoice": False, "tag.late": True}), read(client, record.key))
    assert order_row(client, record.key)["tags"] == ["VIP", "late"]


def test_the_due_day_is_noon_in_utc_under_a_fixed_template_that_is_read_once() -> None:
    client = ready()
    for ref in ("1", "2"):
        made(client, invoice(ref=ref, dueOn=DUE))
    asked = [sent for sent in client.sent if "paymentTermsTemplates" in sent["query"]]
    assert len(asked) == 1
    assert client.sent[-1]["variables"]["i0"] == {
        "paymentTermsTemplateId": "gid://shopify/PaymentTermsTemplate/7",
        "paymentSchedules": [{"dueAt": "2026-12-31T12:00:00Z"}],
    }


def test_a_day_to_pay_by_means_nothing_on_a_paid_order() -> None:
    client = ready()
    record, steps = bring(client, invoice(payment="paid", dueOn=DUE))
    assert steps == ["orderCreate"] and "dueOn" not in record.values


def test_a_payment_is_never_taken_back() -> None:
    client = ready()
    record = made(client, invoice(payment="paid"))
    [written] = write(client, item(invoice(), record, payment="unpaid"))
    assert isinstance(written.error, Rejected) and written.error.code == "shopify.order_already_paid"


def test_an_order_without_a_price_is_never_called_paid_in_error() -> None:
    client = ready()
    wish = invoice(Line(Decimal(0), title="Review"))
    record = made(client, wish)
    order_row(client, record.key)["status"] = None  # Shopify calls it paid from its first change on
    there = read(client, record.key)
    assert there is not None and there.values["payment"] == "paid"
    [written] = write(client, item(wish, there, payment="unpaid"))
    assert written.error is None and written.record == there


@pytest.mark.parametrize(
    ("wanted", "current", "settled"),
    [
        ("paid", "paid", True), ("paid", "refunded", True), ("unpaid", "refunded", True), ("unpaid", "paid", False),
        ("paid", "unpaid", False), ("paid", "", False),
    ],
)  # fmt: skip
def test_an_order_refunded_since_was_paid(wanted: str, current: str, settled: bool) -> None:
    assert Payment.satisfied(wanted, current) is settled


# -- dates ahead


def test_a_date_ahead_of_the_shops_clock_is_fulfilled_by_the_moment_it_takes_instead() -> None:
    """Shopify clamps it; without this the order would differ from its invoice for ever, and take no payment."""
    client = ready()
    wish = invoice(processedAt=AT + timedelta(days=3650))
    record = made(client, wish)
    [answer] = look(client, wish).values()
    for seen in (record, *answer.by_marker):
        assert seen.values["processedAt"] == wish["processedAt"]


def test_a_date_that_somebody_moved_is_told_as_it_is() -> None:
    client = ready()
    record = made(client, invoice())
    order_row(client, record.key)["processedAt"] = "2026-01-01T00:00:00Z"
    [answer] = look(client, invoice()).values()
    [found] = answer.by_marker
    assert found.values["processedAt"] == datetime(2026, 1, 1, tzinfo=UTC)


# -- cancelling


def test_cancelling_moves_no_money_and_tells_nobody() -> None:
    client = ready()
    record = made(client, invoice(payment="paid"))
    bring(client, invoice(payment="paid", cancelled=True), record)
    [document] = [sent["query"] for sent in client.sent if "orderCancel(" in sent["query"]]
    assert "restock: false, notifyCustomer: false, refundMethod: {originalPaymentMethodsRefund: false}" in document
    assert [one["kind"] for one in order_row(client, record.key)["transactions"]] == ["SALE"]


def test_a_cancelling_that_takes_its_time_is_looked_at_again() -> None:
    client = ready(cancel_takes_s=30)
    record = made(client, invoice())
    for _ in range(2):  # the second is refused: it is under way
        [written] = write(client, item(invoice(cancelled=True), record, cancelled=True))
        assert isinstance(written.error, Rejected) and written.error.facts["look_again"]
    client.sandbox.clock.advance(31)
    there = read(client, record.key)
    assert there is not None and there.values["cancelled"] is True and there.values["closed"] is True


def test_a_cancelling_confirmed_while_it_was_refused_is_done() -> None:
    client = ready()
    record = made(client, invoice())
    wish = invoice(cancelled=True)
    bring(client, wish, record)
    [written] = write(client, item(wish, record, cancelled=True))  # from a reading that is out of date
    assert written.error is None and written.record is not None and written.record.values["cancelled"] is True


@pytest.mark.parametrize("changes", [{"cancelled": False}, {"cancelled": None}, {"payment": "paid"}])
def test_a_cancelled_order_stays_so(changes: Mapping[str, Any]) -> None:
    client = ready()
    record, _ = bring(client, invoice(cancelled=True), made(client, invoice()))
    [written] = write(client, item(invoice(**changes), record, **changes))
    assert isinstance(written.error, Rejected) and written.error.code == "shopify.order_cancelled_already"


# -- what goes wrong


def test_one_item_of_a_batch_fails_alone() -> None:
    client = ready()
    client.sandbox.refuse_next(SHOP, Refusal("orderCreate", skip=1))
    first, second, third = write(client, *(item(invoice(ref=ref)) for ref in "123"))
    assert first.record and isinstance(second.error, Uncertain) and third.record


@pytest.mark.parametrize(
    ("step", "errors", "code"),
    [
        ("orderCreate", {"field": ["order", "lineItems", "0"], "message": "no", "code": "INVALID"}, "shopify.order_refused"),
        ("orderCreate", {"field": None, "message": "Value has already been taken"}, "shopify.marker_taken"),
        ("orderCreate", {"field": ["order", "tags"], "message": "is too long"}, "shopify.tags_invalid"),
        ("orderUpdate", {"field": ["id"], "message": "Order does not exist"}, "shopify.order_gone"),
        ("orderMarkAsPaid", {"field": ["id"], "message": "cannot be marked as paid"}, "shopify.payment_refused"),
    ],
)  # fmt: skip
def test_user_errors_are_told_apart(step: str, errors: dict[str, Any], code: str) -> None:
    client = ready()
    record = None if step == "orderCreate" else made(client, invoice())
    client.sandbox.refuse_next(SHOP, Refusal(step, user_error=errors))
    changes = {"orderUpdate": {"note": "x"}, "orderMarkAsPaid": {"payment": "paid"}}.get(step, {})
    [written] = write(client, item(invoice(**changes), record, **changes))
    assert isinstance(written.error, Rejected) and written.error.code == code


def test_a_token_that_may_not_write_orders_stops_the_connection() -> None:
    client = ready()
    client.sandbox.configure(SHOP, scopes=["write_customers", "read_orders"])
    with pytest.raises(AccountError, match=r"shopify\.scope_missing"):
        write(client, item(invoice()))


def test_money_stays_exact_on_its_way_back() -> None:
    client = ready()
    record = made(client, invoice(Line(Decimal("0.10"), Decimal("0.01"), Decimal("12.5"), title="Tape")))
    there = read(client, record.key)
    assert there is not None
    [line] = there.values["lines"]  # type: ignore[misc,union-attr]  # lines, as the kind says
    assert (line.total, line.tax, line.rate) == (Decimal("0.10"), Decimal("0.01"), Decimal("12.5"))  # type: ignore[union-attr]


def test_lines_beyond_the_first_page_are_read_too() -> None:
    client = ready()
    lines = tuple(Line(Decimal(number), title=f"Item {number}") for number in range(1, 121))
    record = made(client, invoice(*lines))
    assert "lines" not in record.values  # the answer to a write brings the first page only
    there = read(client, record.key)
    assert there is not None and not patch(there, invoice(*lines))


def test_an_order_older_than_sixty_days_hides_without_its_scope() -> None:
    client = ready()
    record = made(client, invoice())
    client.sandbox.clock.advance(61 * 86_400)
    assert read(client, record.key) is not None
    client.sandbox.configure(SHOP, scopes=["write_orders", "write_customers", "read_payment_terms", "read_products"])
    assert read(client, record.key) is None


def test_the_admin_link_is_of_the_order() -> None:
    assert admin_url({"handle": SHOP}, "7") == f"https://admin.shopify.com/store/{SHOP}/orders/7"
    assert admin_url({"handle": SHOP}, "refund-7") == admin_url({}, "7") == ""


def test_what_is_set_once_is_named_so() -> None:
    fixed = {known.name for known in ORDERS.fields if known.fixed}
    assert {"lines", "total", "tax", "currency", "processedAt", "refund.order", "refund.amount"} <= fixed


@pytest.mark.parametrize(
    "words", ["Exceeded the limit of 5 orders per minute", "Too many orders. Try again later.", "Rate limit reached"]
)
def test_a_trial_shop_that_takes_five_orders_a_minute_gets_the_others_later(words: str) -> None:
    client = ready()
    client.sandbox.refuse_next(SHOP, Refusal("orderCreate", skip=1, user_error={"field": ["order"], "message": words}))
    first, second = write(client, *(item(invoice(ref=ref)) for ref in "12"))
    assert first.record is not None
    assert isinstance(second.error, Throttled) and second.error.code == "shopify.throttled"
