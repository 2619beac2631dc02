"""Refunds: what goes back, from which items and payments, and never twice."""

from decimal import Decimal
from typing import Any

import pytest

from integrations.connectors.shopify.refunds import note_of, read_note
from integrations.connectors.shopify.sandbox_call import Refusal
from integrations.core.errors import Rejected, SyncError, Unavailable, Uncertain
from integrations.core.lines import Line
from integrations.core.records import Record
from integrations.core.values import Value
from tests.unit.connectors.shopify.bench import SHOP, Direct
from tests.unit.connectors.shopify.orders_bench import (
    FREE,
    MARKER,
    VISIT,
    bring,
    credit,
    invoice,
    item,
    look,
    made,
    order_row,
    patch,
    product,
    read,
    ready,
    write,
)


def paid(client: Direct, *lines: Line, **changes: Value) -> Record:
    return made(client, invoice(*lines, **{"payment": "paid", **changes}))


def sent(client: Direct) -> Any:
    """The input of the last ``refundCreate``."""
    return [one["variables"]["i0"] for one in client.sent if "refundCreate" in one["query"]][-1]


def keys(client: Direct) -> list[str]:
    return [one["variables"]["k0"] for one in client.sent if "refundCreate" in one["query"]]


def refused(client: Direct, wish: dict[str, Value]) -> SyncError:
    [written] = write(client, item(wish))
    assert written.error is not None and written.record is None
    return written.error


def test_a_refund_gives_units_and_money_back_and_reads_back_as_it_was_wished() -> None:
    client = ready()
    goods = Line(Decimal("100.00"), Decimal("9.09"), Decimal(10), Decimal(3), product(client))
    order = paid(client, goods, VISIT)
    wish = credit(order.key, goods, VISIT)
    record, steps = bring(client, wish)
    assert steps == ["refundCreate"] and record.key.startswith("refund-")
    there = read(client, record.key)
    assert there is not None and not patch(there, wish) and dict(there.values) == dict(record.values)
    after = read(client, order.key)
    assert after is not None and after.values["payment"] == "refunded"
    assert not patch(after, invoice(goods, VISIT, payment="paid"))


def test_what_is_sent_is_exactly_this() -> None:
    client = ready()
    order = paid(client)
    write(client, item(credit(order.key)))
    row = order_row(client, order.key)
    assert sent(client) == {
        "orderId": f"gid://shopify/Order/{order.key}", "note": "Credit note 950 (suture 950)", "notify": False,
        "processedAt": "2026-10-20T03:15:00Z",
        "refundLineItems": [{
            "lineItemId": f"gid://shopify/LineItem/{row['lines'][0]['id']}", "quantity": 1, "restockType": "NO_RESTOCK",
        }],
        "transactions": [{
            "orderId": f"gid://shopify/Order/{order.key}", "kind": "REFUND", "gateway": "manual", "amount": "110.00",
            "parentId": f"gid://shopify/OrderTransaction/{row['transactions'][0]['id']}",
        }],
    }  # fmt: skip


def test_no_money_moves_unless_the_wish_says_so() -> None:
    client = ready()
    order = paid(client)
    record = made(client, credit(order.key, **{"refund.moves_money": False}))
    assert "transactions" not in sent(client) and record.values["refund.moves_money"] is False
    assert "refund.amount" not in record.values
    assert [one["kind"] for one in order_row(client, order.key)["transactions"]] == ["SALE"]


def test_nothing_received_is_nothing_to_move() -> None:
    client = ready()
    order = made(client, invoice())
    wish = credit(order.key)
    record = made(client, wish)
    assert "transactions" not in sent(client) and not patch(record, wish)


def test_an_amount_that_fits_no_units_goes_back_as_such() -> None:
    client = ready()
    order = paid(client)
    wish = credit(order.key, Line(Decimal("50.00"), Decimal("4.55"), Decimal(10), title="Services"))
    record = made(client, wish)
    assert "refundLineItems" not in sent(client) and sent(client)["transactions"][0]["amount"] == "50.00"
    assert record.values["refund.amount"] == Decimal("50.00") and "refund.lines" not in record.values
    assert not patch(record, wish)


def test_an_amount_without_money_has_nothing_to_write() -> None:
    client = ready()
    order = made(client, invoice())
    half = Line(Decimal("50.00"), Decimal("4.55"), Decimal(10), title="Services")
    assert refused(client, credit(order.key, half)).code == "shopify.refund_unmatched"


def test_units_given_back_before_are_not_given_back_again() -> None:
    client = ready()
    order = paid(client, VISIT, FREE)
    made(client, credit(order.key, VISIT, ref="1"))
    made(client, credit(order.key, Line(Decimal("80.00"), title="Part of it"), ref="2"))
    assert "refundLineItems" not in sent(client)
    error = refused(client, credit(order.key, Line(Decimal("10.01"), title="Rest"), ref="3"))
    assert isinstance(error, Rejected) and error.code == "shopify.refund_exceeds"


def test_money_goes_back_to_the_payments_it_came_from() -> None:
    client = ready()
    order = paid(client, VISIT)
    row = order_row(client, order.key)
    first = {**row["transactions"][0], "amount": "60.00"}
    second = {**first, "id": first["id"] + 900, "amount": "50.00", "gateway": "card", "kind": "CAPTURE"}
    held = {**first, "id": first["id"] + 901, "kind": "AUTHORIZATION", "amount": "500.00"}
    row["transactions"] = [held, first, second]
    made(client, credit(order.key, VISIT))
    assert [(one["gateway"], one["amount"]) for one in sent(client)["transactions"]] == [
        ("manual", "60.00"),
        ("card", "50.00"),
    ]


def test_money_that_went_back_does_not_go_back_again() -> None:
    client = ready()
    order = paid(client, VISIT)
    made(client, credit(order.key, Line(Decimal("110.00"), title="All of it"), ref="1"))
    assert refused(client, credit(order.key, VISIT, ref="2")).code == "shopify.refund_exceeds"


def test_two_refunds_of_one_order_in_a_batch_see_each_other() -> None:
    client = ready()
    order = paid(client, VISIT)
    one, two = write(client, item(credit(order.key, ref="1")), item(credit(order.key, ref="2")))
    assert one.record is not None and two.error is not None
    assert len(order_row(client, order.key)["refunds"]) == 1


def test_orders_and_refunds_share_a_batch() -> None:
    client = ready()
    order = paid(client, ref="1")
    new, back = write(client, item(invoice(ref="2")), item(credit(order.key, ref="3")))
    assert new.record and back.record and (new.ref, back.ref) == ("2", "3")


def test_a_refund_of_an_order_that_is_gone_is_looked_at_again() -> None:
    client = ready()
    for key in ("7", "no number"):
        error = refused(client, credit(key))
        assert error.code == "shopify.order_gone" and error.facts["look_again"]
        assert look(client, credit(key))["950"].by_marker == ()


# -- not twice


def test_a_refund_whose_answer_is_lost_is_found_by_its_note() -> None:
    client = ready(search_lag_s=600)
    order = paid(client)
    wish = credit(order.key)
    lose_the_answer_of_the_refund(client)
    assert isinstance(refused(client, wish), Uncertain)
    [record] = look(client, wish)["950"].by_marker
    assert not patch(record, wish) and look(client, credit(order.key, ref="95"))["95"].by_marker == ()


def test_a_refund_that_is_there_is_not_made_again_by_a_hasty_retry() -> None:
    client = ready()
    order = paid(client, VISIT, FREE)
    lose_the_answer_of_the_refund(client)
    refused(client, credit(order.key))
    [again] = write(client, item(credit(order.key)))
    assert again.record is not None and len(order_row(client, order.key)["refunds"]) == 1


def lose_the_answer_of_the_refund(client: Direct) -> None:
    client.sandbox.refuse_next(SHOP, Refusal("refundCreate", applies=True))


def test_the_key_is_the_same_for_the_same_wish_and_input_only() -> None:
    client = ready()
    order = paid(client, VISIT, FREE)
    for _ in range(2):  # nothing ran: the same again
        client.sandbox.refuse_next(SHOP, Refusal("refundCreate"))
        refused(client, credit(order.key))
    client.sandbox.refuse_next(SHOP, Refusal("refundCreate"))
    refused(client, credit(order.key, **{"refund.note": "Another"}))
    first, second, other = keys(client)
    assert first == second != other


def test_a_key_that_failed_is_followed_by_the_next() -> None:
    client = ready()
    order = paid(client)
    client.sandbox.refuse_next(SHOP, Refusal("refundCreate", code="IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED", times=2))
    record = made(client, credit(order.key))
    assert record.key and len(set(keys(client))) == 3


@pytest.mark.parametrize(
    ("code", "kind", "expected"),
    [
        ("IDEMPOTENCY_CONCURRENT_REQUEST", Unavailable, "shopify.request_running"),
        ("IDEMPOTENCY_KEY_PARAMETER_MISMATCH", Rejected, "shopify.request_key_spent"),
    ],
)
@pytest.mark.parametrize("is_user_error", [True, False])
def test_what_shopify_says_of_a_key(code: str, kind: type[SyncError], expected: str, is_user_error: bool) -> None:
    client = ready()
    order = paid(client)
    said = {"field": None, "message": code} if is_user_error else None
    client.sandbox.refuse_next(SHOP, Refusal("refundCreate", code=code, user_error=said))
    error = refused(client, credit(order.key))
    assert isinstance(error, kind) and error.code == expected


def test_a_refund_never_changes() -> None:
    client = ready()
    order = paid(client)
    record = made(client, credit(order.key))
    before = len(client.sent)
    [written] = write(client, item(credit(order.key), record, **{"refund.note": "Another"}))
    assert written.record == record and len(client.sent) == before


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("Credit note 10460 (suture 148)", ("Credit note 10460", "148")),
        ("(suture 148)", ("", "148")),
        ("Credit note (10460) (suture 148)", ("Credit note (10460)", "148")),
        ("Credit note 10460 (suture 148) as agreed", ("Credit note 10460 (suture 148) as agreed", "")),
        ("(suture 1 48)", ("(suture 1 48)", "")),
        ("", ("", "")),
    ],
)
def test_the_marker_stands_at_the_end_of_the_note_in_one_spelling(note: str, expected: tuple[str, str]) -> None:
    assert read_note(note) == expected


def test_a_note_reads_back() -> None:
    assert read_note(note_of("Credit note 10460", "148")) == ("Credit note 10460", "148")
    assert read_note(note_of(None, "148")) == ("", "148")
    assert credit("1")[MARKER] == "950"
