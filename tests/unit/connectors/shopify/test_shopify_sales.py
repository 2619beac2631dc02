"""Sales and returns: every unit that moved, once, with its sign, whatever the order looks like."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integrations.connectors.base import Ask
from integrations.connectors.shopify import sales, sandbox_refunds
from integrations.connectors.shopify.sales import SALES, admin_url, read_many, read_page
from integrations.connectors.shopify.sales_decoding import Returned, decode_movements, moves_stock
from integrations.connectors.shopify.sales_documents import every_sales_document
from integrations.connectors.shopify.sandbox_call import gid
from integrations.connectors.shopify.sandbox_orders import MUTATIONS, edit
from integrations.connectors.shopify.sandbox_products import add_product, remove_product, variants
from integrations.core.records import Record
from tests.unit.connectors.shopify.bench import Direct

EVERYTHING = Ask(None, frozenset({"product", "quantity"}))


def order_row(lines: Sequence[dict[str, Any]] = (), **changes: Any) -> dict[str, Any]:
    """An order as Shopify answers it."""
    row = {
        "id": "gid://shopify/Order/1", "name": "#1001", "createdAt": "2026-10-20T03:20:00Z",
        "updatedAt": "2026-11-03T21:14:09Z", "test": False, "sourceIdentifier": None, "f0": None,
        "lineItems": {"nodes": list(lines)},
    }  # fmt: skip
    return row | changes


def line_row(number: int, quantity: int) -> dict[str, Any]:
    product = {"id": f"gid://shopify/Product/{number + 100}"}
    return {"id": f"gid://shopify/LineItem/{number}", "quantity": quantity, "product": product}


def returned_row(line: dict[str, Any], quantity: int, restock: str, *, number: int, named: bool = True) -> Returned:
    refund = {"id": "gid://shopify/Refund/7", "createdAt": None, "processedAt": "2026-11-01T00:00:00Z"}
    own = f"gid://shopify/RefundLineItem/{number}" if named else None
    return Returned(refund, {"id": own, "quantity": quantity, "restockType": restock, "lineItem": line})


def sell(client: Direct, *quantities: int, **given: Any) -> Any:
    """An order of so many pieces of one product a line; 0 is a service."""
    (variant,) = variants(add_product(client.shop, title="Tape"))
    price = {"shopMoney": {"amount": "9.00", "currencyCode": "AUD"}}
    goods = {"variantId": gid("ProductVariant", variant["id"]), "requiresShipping": True, "taxable": True}
    service = {"title": "Visit", "quantity": 1, "priceSet": price, "requiresShipping": False, "taxable": True}
    lines = [{**goods, "quantity": quantity} if quantity else service for quantity in quantities]
    told = MUTATIONS["orderCreate"](client.shop, {"order": {"lineItems": lines, **given}})
    assert not told["userErrors"]
    return told["order"]


def take_back(client: Direct, order: Any, *quantities: int) -> Any:
    """A refund of so many of each line, back on the shelf."""
    told = zip(order["lines"], quantities, strict=True)
    lines = [
        {"lineItemId": gid("LineItem", line["id"]), "quantity": quantity, "restockType": "RETURN"}
        for line, quantity in told
        if quantity
    ]
    wish = {"input": {"orderId": gid("Order", order["id"]), "refundLineItems": lines}}
    made = sandbox_refunds.create(client.shop, wish)
    assert not made["userErrors"]
    return made["refund"]


def everything(client: Direct) -> list[Record]:
    records: list[Record] = []
    place: str | None = None
    while True:
        page = read_page(client, EVERYTHING, place)
        assert not page.broken
        records += page.records
        place = page.next
        if place is None:
            return records


def total(records: Sequence[Record]) -> Decimal:
    quantities = [record.values["quantity"] for record in records]
    return sum((number for number in quantities if isinstance(number, Decimal)), Decimal(0))


# -- what an order moves

_RESTOCK = st.sampled_from(["RETURN", "CANCEL", "NO_RESTOCK", "LEGACY_RESTOCK", "A_NEW_TYPE"])
_BACK = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), _RESTOCK, st.booleans()), max_size=12)


@given(sold=st.lists(st.integers(0, 50), min_size=4, max_size=4), back=_BACK)
def test_a_lines_movements_come_to_what_was_sold_less_what_was_restocked(
    sold: list[int], back: list[tuple[int, int, str, bool]]
) -> None:
    lines = [line_row(number, quantity) for number, quantity in enumerate(sold)]
    rows = [
        returned_row(lines[line], quantity, restock, number=number, named=named)
        for number, (line, quantity, restock, named) in enumerate(back)
    ]
    moved = decode_movements(order_row(lines), rows).records
    for number, quantity in enumerate(sold):
        own = [record for record in moved.values() if record.values["product"] == str(number + 100)]
        restocked = sum(units for line, units, word, _ in back if line == number and word in ("RETURN", "CANCEL"))
        assert total(own) == restocked - quantity
    assert all(key == record.key and record.values["quantity"] for key, record in moved.items())
    assert decode_movements(order_row(lines), reversed(rows)).records.keys() == moved.keys()


def test_a_movement_says_what_when_and_of_which_order() -> None:
    line = line_row(5, 2)
    moved = decode_movements(order_row([line]), [returned_row(line, 1, "CANCEL", number=9)]).records
    sold, back = moved["1-5"], moved["1-r-9"]
    assert sold.values == {"product": "105", "quantity": Decimal(-2), "movement": "Item Sold", "order": "#1001"}
    assert back.values == {"product": "105", "quantity": Decimal(1), "movement": "Returned", "order": "#1001"}
    assert (sold.created_at, back.created_at) == (
        datetime(2026, 10, 20, 3, 20, tzinfo=UTC),
        datetime(2026, 11, 1, tzinfo=UTC),
    )
    assert sold.version == back.version == "2026-11-03T21:14:09+00:00"
    assert sold.changed_at == back.changed_at == datetime(2026, 11, 3, 21, 14, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"test": True}, False),
        ({"f0": {"value": "1482019375550301201"}}, False),
        ({"f0": {"value": ""}}, True),
        ({"sourceIdentifier": "1482019375550301201"}, False),
        ({"sourceIdentifier": "1234-12-1000"}, True),
        ({"sourceIdentifier": "111-98567-54"}, True),
        ({"sourceIdentifier": ""}, True),
    ],
)
def test_only_what_the_shop_sold_itself_moves_stock(changes: dict[str, Any], expected: bool) -> None:
    assert moves_stock(order_row(**changes)) is expected


# -- reading


def test_an_order_of_many_lines_and_a_refund_of_many_rows_are_read_whole() -> None:
    client = Direct()
    order = sell(client, *[2] * 70)
    take_back(client, order, *[1] * 70)
    records = everything(client)
    assert (len(records), total(records)) == (140, Decimal(-70))


def test_many_refunds_of_an_order_are_all_read() -> None:
    client = Direct()
    order = sell(client, 30)
    for _ in range(23):
        take_back(client, order, 1)
    assert total(everything(client)) == Decimal(-7)


def test_a_page_of_services_is_not_the_end() -> None:
    client = Direct()
    for _ in range(sales.PAGE_SIZE):
        sell(client, 0)
    sell(client, 1)
    first = read_page(client, EVERYTHING, None)
    assert (list(first.records), first.next is None) == ([], False)
    assert len(everything(client)) == 1


def test_a_page_costs_one_request_and_one_more_for_an_order_with_refunds() -> None:
    client = Direct()
    orders = [sell(client, 2) for _ in range(3)]
    everything(client)
    assert len(client.sent) == 1
    take_back(client, orders[0], 1)
    client.sent.clear()
    everything(client)
    assert len(client.sent) == 2


def test_a_changed_order_gives_all_its_movements_again() -> None:
    client = Direct()
    order = sell(client, 1, 2)
    sell(client, 1)
    client.sandbox.clock.advance(60)
    started = datetime.fromtimestamp(client.sandbox.clock.now(), UTC)
    edit(client.shop, order["id"], {"note": "changed"})
    page = read_page(client, Ask(started, frozenset()), None)
    assert [record.key for record in page.records] == [f"{order['id']}-{line['id']}" for line in order["lines"]]


def test_movements_are_read_by_key_and_what_is_none_is_absent() -> None:
    client = Direct()
    order, ours = sell(client, 1, 0, 3), sell(client, 1, sourceIdentifier="900")
    refund = take_back(client, order, 1, 0, 0)
    first, service, third = (f"{order['id']}-{line['id']}" for line in order["lines"])
    back = f"{order['id']}-r-{refund['lines'][0]['id']}"
    imported = f"{ours['id']}-{ours['lines'][0]['id']}"
    nonsense = ("", "x", "1-x", str(order["id"]), "999-1", f"{order['id']}-r-1", "1" * 40)
    found = read_many(client, [third, back, service, imported, *nonsense], frozenset())
    assert {key: record.values["quantity"] for key, record in found.items()} == {third: Decimal(-3), back: Decimal(1)}
    assert read_many(client, [first], frozenset())[first] == next(one for one in everything(client) if one.key == first)


def test_a_product_deleted_since_is_nobodys_stock() -> None:
    client = Direct()
    order = sell(client, 1)
    remove_product(client.shop, order["lines"][0]["product"])
    assert everything(client) == []


# -- what it is


def test_it_asks_for_nothing_about_a_person() -> None:
    asked = " ".join(every_sales_document()).lower()
    assert not [word for word in ("customer", "email", "phone", "address", "note", "firstname") if word in asked]


def test_it_is_a_source_and_no_target() -> None:
    assert SALES.read_page and SALES.write_many is None and SALES.find is None


def test_a_movements_page_is_its_orders() -> None:
    page = "https://admin.shopify.com/store/harbour-physio/orders/61"
    assert admin_url({"handle": "harbour-physio"}, "61-1") == page
    assert admin_url({"handle": "harbour-physio"}, "61-r-81") == page
    assert admin_url({}, "61-1") == ""
