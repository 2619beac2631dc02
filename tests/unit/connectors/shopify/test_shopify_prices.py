"""How Shopify prices lists is not published: what it finds too dear is asked for in smaller parts."""

from decimal import Decimal

import pytest

from integrations.connectors.base import Ask, Wanted
from integrations.connectors.shopify.call import affordable
from integrations.connectors.shopify.inventory import find as find_levels
from integrations.connectors.shopify.orders import read_page
from integrations.core.errors import Rejected, VendorChanged
from integrations.core.records import Record
from integrations.toolkit.graphql import Costs
from tests.unit.connectors.shopify.bench import SHOP, Direct
from tests.unit.connectors.shopify.orders_bench import (
    FIELDS,
    MARKER,
    credit,
    invoice,
    item,
    look,
    product,
    ready,
    write,
)
from tests.unit.connectors.shopify.orders_bench import read as read_order

REFS = [str(number) for number in range(8)]


def dearer(client: Direct, most: int = 100) -> Direct:
    """The same shop, which finds documents dear that were cheap before."""
    client.sandbox.configure(SHOP, most_points=most)
    return client


def test_a_batch_that_is_too_dear_is_written_in_smaller_ones_each_once() -> None:
    client = dearer(ready())
    told = write(client, *(item(invoice(ref=ref)) for ref in REFS))
    assert [one.error for one in told] == [None] * len(REFS)
    assert len(client.shop.orders) == len(REFS)


def test_look_ups_that_are_too_dear_find_everybody() -> None:
    client = ready()
    write(client, *(item(invoice(ref=ref)) for ref in REFS))
    dearer(client)
    answers = look(client, *(invoice(ref=ref) for ref in REFS))
    keys = [answers[ref].by_marker[0].key for ref in REFS]
    assert len(set(keys)) == len(REFS)
    assert read_order(client, keys[0]) is not None


def test_a_page_that_is_too_dear_is_read_in_smaller_ones_to_its_end() -> None:
    client = ready()
    write(client, *(item(invoice(ref=ref)) for ref in REFS))
    dearer(client, most=12)
    found: list[Record] = []
    place, pages = None, 0
    while pages == 0 or place:
        page = read_page(client, Ask(None, FIELDS - {name for name in FIELDS if name.startswith("refund.")}), place)
        found += page.records
        place, pages = page.next, pages + 1
    assert sorted(str(record.values[MARKER]) for record in found) == REFS
    assert pages > 1


def test_refunds_and_stock_levels_are_looked_at_in_smaller_parts() -> None:
    client = ready()
    orders = [
        told.record.key
        for told in write(client, *(item(invoice(ref=ref, payment="paid")) for ref in REFS))
        if told.record
    ]
    dearer(client, most=110)
    told = write(client, *(item(credit(order, ref=f"9{order}")) for order in orders))
    assert [one.error for one in told] == [None] * len(REFS)
    products = [product(client) for _ in REFS]
    place = str(next(iter(client.shop.locations)))
    wanted = [Wanted(key, "", {}, {"product": key, "location": place, "available": Decimal(1)}) for key in products]
    answers = find_levels(client, wanted, frozenset(), "")
    assert all(answers[key].by_marker for key in products)


def test_one_thing_that_is_too_dear_by_itself_is_told() -> None:
    def ask(things: object) -> dict[str, int]:
        raise VendorChanged("shopify.refused", vendor_code="MAX_COST_EXCEEDED")

    with pytest.raises(VendorChanged):
        affordable(["a", "b"], ask)


def test_other_refusals_are_not_asked_again() -> None:
    asked = []

    def ask(things: object) -> dict[str, int]:
        asked.append(things)
        raise Rejected("record.unreadable")

    with pytest.raises(Rejected):
        affordable(["a", "b"], ask)
    assert len(asked) == 1


def test_a_refused_price_is_no_reason_to_wait_for_more_than_a_document_may_ask_for() -> None:
    costs = Costs(most=1000)
    costs.learn("page", 2500)
    assert costs.expect("page", 30) == 1000
