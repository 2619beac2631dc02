"""How passes over invoices behave while staff change them, and that nothing about treatment comes out."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from integrations.connectors.base import Ask
from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as invoices
from integrations.connectors.cliniko import sandbox_staff as staff
from integrations.connectors.cliniko import sandbox_trade
from integrations.connectors.cliniko.sandbox import ClinikoVendor, serve
from integrations.connectors.cliniko.sandbox_shelves import change, put, rows_of, set_raw
from integrations.connectors.cliniko.sandbox_world import ClinikoWorld
from integrations.connectors.sandbox_kit import Fault, FaultKind, Server
from integrations.core.errors import AccountError
from integrations.core.lines import Line, to_cents, total_of
from integrations.core.records import Record, State
from integrations.core.values import as_lines
from integrations.toolkit.http import HttpClient
from tests.unit.connectors.cliniko.bench import CLINIKO, client_on, one, pages_of, records_of

INVOICES = CLINIKO.stream("invoices")
LONG_AGO = "2025-01-01T00:00:00Z"


def _since(world: ClinikoWorld) -> datetime:
    return datetime.fromtimestamp(world.clock.now(), UTC) - timedelta(minutes=5)


def _lines(record: Record) -> tuple[Line, ...]:
    return as_lines(record.values["lines"])


# -- items


def test_a_page_of_invoices_asks_for_its_items_in_one_list(
    server: Server[ClinikoVendor], client: HttpClient, world: ClinikoWorld
) -> None:
    keys = [invoices.add_invoice(world, [{"price": 10}, {"price": 5}]) for _ in range(40)]
    found = records_of(client, INVOICES)
    assert [total_of(_lines(found[key])) for key in keys] == [15] * 40
    assert len(server.journal.entries(path="/v1/invoice_items")) == 2  # and one for the newest of them


def test_items_on_several_pages_all_arrive(client: HttpClient, world: ClinikoWorld) -> None:
    keys = [invoices.add_invoice(world, [{"price": 1}] * 7) for _ in range(60)]
    found = records_of(client, INVOICES)
    assert {len(_lines(found[key])) for key in keys} == {7}


@pytest.mark.parametrize("form", ["refused", "first"])
def test_where_a_list_of_invoices_is_not_taken_each_is_asked_for_alone(
    server: Server[ClinikoVendor], client: HttpClient, world: ClinikoWorld, form: str
) -> None:
    keys = [invoices.add_invoice(world, [{"price": number}]) for number in range(1, 6)]
    world.set_quirks(lists_of_foreign_ids=form)
    found = records_of(client, INVOICES)
    assert [total_of(_lines(found[key])) for key in keys] == [1, 2, 3, 4, 5]
    server.journal.clear()
    records_of(client, INVOICES)  # the same client remembers
    asked = [entry.query for entry in server.journal.entries(path="/v1/invoice_items")]
    assert sum("invoice_id" in query for query in asked) == 5 and not any("%2C" in query for query in asked)


def test_an_invoice_without_items_is_asked_for_once_more_and_believed(client: HttpClient, world: ClinikoWorld) -> None:
    plain = invoices.add_invoice(world, [{"price": 10}])
    bare = put(world, "invoices", number=7, status=20, total_amount="30.0")
    found = records_of(client, INVOICES)
    assert _lines(found[bare]) == () and len(_lines(found[plain])) == 1


def test_what_an_item_costs_is_what_it_says(client: HttpClient, world: ClinikoWorld) -> None:
    product = goods.add_product(world)
    key = invoices.add_invoice(
        world,
        [
            {"product_id": product, "price": 110, "quantity": 2, "off": 20},
            {"billable_item_id": "5", "price": 90, "rate": 0},
            {"product_id": product, "price": "33.33", "quantity": "1.5", "percent": 10},
        ],
    )
    off, free, share = _lines(one(client, INVOICES, key))
    assert (off.total, to_cents(off.tax), off.quantity, off.product, off.discount) == (
        200,
        Decimal("18.18"),
        2,
        product,
        20,
    )
    assert (free.total, free.tax, free.rate, free.product, free.title) == (90, 0, 0, "", "")
    assert (share.total, to_cents(share.discount)) == (Decimal("45.0"), 5)


def test_older_answers_read_alike(client: HttpClient, world: ClinikoWorld) -> None:
    key = invoices.add_invoice(world, [{"price": 110}])
    now = one(client, INVOICES, key)
    world.set_quirks(ids_as_numbers=True, empty_as_text=True, totals_as_text=True)
    set_raw(world, "invoice_items", next(iter(invoices.items_of(world, key))), tax_rate=None, tax_amount="10.0")
    older = one(client, INVOICES, key)
    assert older.values == now.values and older.state is State.LIVE


# -- changes


@pytest.mark.parametrize("touches", [False, True])
def test_a_changed_item_is_noticed_whether_it_touches_its_invoice_or_not(
    client: HttpClient, world: ClinikoWorld, touches: bool
) -> None:
    world.set_quirks(items_touch_their_invoice=touches)
    key = invoices.add_invoice(world, [{"price": 10}], created_at=LONG_AGO)
    invoices.add_invoice(world, [{"price": 10}], created_at=LONG_AGO)
    before, since = one(client, INVOICES, key), _since(world)
    assert records_of(client, INVOICES, since) == {}
    invoices.edit_item(world, next(iter(invoices.items_of(world, key))), price=12)
    found = records_of(client, INVOICES, since)
    assert list(found) == [key] and total_of(_lines(found[key])) == 12
    assert found[key].version != before.version
    assert found[key].changed_at is not None and found[key].changed_at >= since


def test_a_removed_item_is_noticed(client: HttpClient, world: ClinikoWorld) -> None:
    world.set_quirks(archiving_touches_updated_at=True)
    key = invoices.add_invoice(world, [{"price": 10}, {"price": 5}], created_at=LONG_AGO)
    before, since = one(client, INVOICES, key), _since(world)
    invoices.archive_item(world, list(invoices.items_of(world, key))[1])
    after = records_of(client, INVOICES, since)[key]
    assert total_of(_lines(after)) == 10 and after.version != before.version


def test_a_new_invoice_is_read_once_though_its_items_are_new_too(client: HttpClient, world: ClinikoWorld) -> None:
    since = _since(world)
    key = invoices.add_invoice(world, [{"price": 10}])
    assert [record.key for page in pages_of(client, INVOICES, since) for record in page.records] == [key]


def test_status_may_go_back(client: HttpClient, world: ClinikoWorld) -> None:
    key = invoices.add_invoice(world, [{"price": 10}], created_at=LONG_AGO)
    since = _since(world)
    invoices.edit_invoice(world, key, status=10, closed_at=None)
    values = records_of(client, INVOICES, since)[key].values
    assert (values["status"], values["closed_at"]) == ("10", None)


def test_an_archived_invoice_is_noticed_though_updated_at_stands_still(client: HttpClient, world: ClinikoWorld) -> None:
    key = invoices.add_invoice(world, [{"price": 10}], created_at=LONG_AGO)
    since = _since(world)
    invoices.archive_invoice(world, key)
    assert records_of(client, INVOICES, since)[key].state is State.ARCHIVED


def test_credit_notes_name_what_they_reverse(client: HttpClient, world: ClinikoWorld) -> None:
    product = goods.add_product(world)
    sold = invoices.add_invoice(world, [{"product_id": product, "price": 30, "quantity": 3}, {"price": 50}])
    first = next(iter(invoices.items_of(world, sold)))
    whole, part = invoices.credit(world, sold), invoices.credit(world, sold, {first: 1}, status=40)
    found = records_of(client, INVOICES)
    assert {found[key].values["original_invoice"] for key in (whole, part)} == {sold}
    assert (found[whole].values["total"], total_of(_lines(found[whole]))) == (-140, -140)
    [line] = _lines(found[part])
    assert (line.total, line.quantity, line.product, found[part].values["status"]) == (-30, -1, product, "40")


def test_one_unreadable_item_breaks_its_invoice_only(client: HttpClient, world: ClinikoWorld) -> None:
    bad, good = (invoices.add_invoice(world, [{"price": 10}]) for _ in range(2))
    set_raw(world, "invoice_items", next(iter(invoices.items_of(world, bad))), total_including_tax="ten")
    [page] = pages_of(client, INVOICES)
    assert [record.key for record in page.records] == [good]
    assert [(key, error.code) for key, error in page.broken] == [(bad, "record.unreadable")]


# -- places and people


def test_the_zone_is_its_businesss(server: Server[ClinikoVendor], client: HttpClient, world: ClinikoWorld) -> None:
    labelled = staff.add_business(world, time_zone="Perth")
    closed = staff.add_business(world, time_zone_identifier="Australia/Hobart")
    change(world, "businesses", closed, archived_at=world.stamp())
    implied = str(int(world.first.id) + 1)
    zones = {
        invoices.add_invoice(world, [{"price": 1}], **({"business_id": place} if place else {})): zone
        for place, zone in (
            (labelled, "Australia/Perth"), (closed, "Australia/Hobart"), (implied, "Australia/Sydney"),
            ("5", None), (None, None),
        )
    }  # fmt: skip
    for _ in range(2):
        found = records_of(client, INVOICES)
    assert {key: found[key].values["zone"] for key in zones} == zones
    assert len(server.journal.entries(path="/v1/businesses")) == 1


def test_a_role_that_may_not_read_businesses_leaves_the_zone_out(
    server: Server[ClinikoVendor], client: HttpClient, world: ClinikoWorld
) -> None:
    key = invoices.add_invoice(world, [{"price": 1}], business_id=str(int(world.first.id) + 1))
    server.faults.add(Fault(FaultKind.STATUS, status=403, path="/v1/businesses"))
    assert one(client, INVOICES, key).values["zone"] is None
    server.faults.add(Fault(FaultKind.STATUS, status=401, path="/v1/businesses"))
    with pytest.raises(AccountError):
        one(client, INVOICES, key)


def test_who_treats_is_asked_for_only_where_a_rule_does(
    server: Server[ClinikoVendor], client: HttpClient, world: ClinikoWorld
) -> None:
    users = [staff.add_user(world, email=f"{name}@example.com") for name in ("sam", "ida")]
    here = staff.add_practitioner(world, user_id=users[0])
    left = staff.add_practitioner(world, user_id=users[1], active=False)
    nobody = staff.add_practitioner(world)
    owners = {here: "sam@example.com", left: "ida@example.com", nobody: None, "5": None, None: None}
    keys = {invoices.add_invoice(world, [{"price": 1}], practitioner_id=owner): owner for owner in owners}
    assert not any("owner.email" in record.values for record in records_of(client, INVOICES).values())
    assert server.journal.entries(path="/v1/practitioners") == server.journal.entries(path="/v1/users") == []
    for _ in range(2):
        found = records_of(client, INVOICES, None, "owner.email")
    assert {key: found[key].values["owner.email"] for key in keys} == {key: owners[keys[key]] for key in keys}
    assert len(server.journal.entries(path="/v1/users")) == 1


# -- canaries


def test_nothing_planted_in_the_practice_comes_out() -> None:
    """Every text of invoices, items, products, taxes and places is a marker, but for those that a stream names."""
    with serve() as server:
        world = server.vendor.world
        _plant(world)
        server.vendor.limit.amount = 100_000
        with client_on(server) as client:
            told = ""
            for name in ("products", "stock", "invoices"):
                told += repr(pages_of(client, CLINIKO.stream(name), None, "owner.email"))
            adjustments = CLINIKO.stream("stock_adjustments")
            assert adjustments.read_many
            told += repr(adjustments.read_many(client, list(rows_of(world, "stock_adjustments"))[:50], frozenset()))
        assert "PLANTED" not in told and "CANARY" not in told
        assert "tama.reid@example.com" in told and "Australia/Hobart" in told  # so much of it was read


SHELVES = (
    goods.PRODUCTS, goods.TAXES, goods.ADJUSTMENTS, invoices.INVOICES, invoices.ITEMS, staff.USERS, staff.PRACTITIONERS,
    staff.BUSINESSES,
)  # fmt: skip
NAMED = {
    "products": {"name", "item_code", "serial_number", "price_including_tax", "price_ex_tax", "cost_price", "stock_level"},
    "taxes": {"name", "rate", "amount"},
    "invoices": {"number", "issue_date", "status", "closed_at", "total_amount", "tax_amount", "net_amount"},
    "invoice_items": {
        "quantity", "unit_price", "net_price", "tax_rate", "tax_amount", "total_including_tax", "discount_percentage",
        "discounted_amount", "is_monetary_discount",
    },
    "users": {"email"},
    "practitioners": {"active"},
    "stock_adjustments": {"quantity", "adjustment_type"},
    "businesses": {"time_zone", "time_zone_identifier"},
}  # fmt: skip


def _plant(world: ClinikoWorld) -> None:
    """Texts of ours in every other member, and in some that Cliniko may add tomorrow."""
    place = staff.add_business(world, time_zone_identifier="Australia/Hobart")
    invoices.edit_invoice(world, next(iter(rows_of(world, "invoices"))), business_id=place)
    for shelf in SHELVES:
        names = [name for name in (*shelf.members, "brand_new") if name not in NAMED[shelf.collection]]
        assert names
        assert rows_of(world, shelf.collection)
        for key in rows_of(world, shelf.collection):
            set_raw(world, shelf.collection, key, **{name: f"PLANTED-{name}" for name in names})


def test_the_planted_texts_are_shown_by_the_vendor() -> None:
    """Else the test above would prove nothing."""
    with serve() as server, client_on(server) as client:
        _plant(server.vendor.world)
        for shelf in SHELVES:
            assert "PLANTED" in json.dumps(client.get(f"/v1/{shelf.collection}").data, default=str)


# -- the clinic that is shipped


def test_the_trade_that_is_shipped_adds_up_to_the_cent(client: HttpClient, world: ClinikoWorld) -> None:
    world.add_patient(first_name="Mia", last_name="Chen")
    sandbox_trade.seed_trade(world)
    pages = pages_of(client, INVOICES)
    records = [record for page in pages for record in page.records]
    assert len(records) == 120 and not [page.broken for page in pages if page.broken]
    live = [record for record in records if record.state is State.LIVE]
    assert all(total_of(_lines(record)) == record.values["total"] for record in live)
    assert {record.values["status"] for record in records} == {"10", "20", "30", "40"}
    assert any(record.values["patient"] is None for record in records)


def test_a_pass_goes_on_where_another_client_stopped_in_the_items(client: HttpClient, world: ClinikoWorld) -> None:
    keys = [invoices.add_invoice(world, [{"price": 10}], created_at=LONG_AGO) for _ in range(130)]
    since = _since(world)
    for key in keys:
        invoices.edit_item(world, next(iter(invoices.items_of(world, key))), price=12)
    assert INVOICES.read_page
    place: str | None = None
    seen: list[str] = []
    while True:
        page = INVOICES.read_page(client, Ask(since, frozenset()), place)
        seen += [record.key for record in page.records]
        place, client.memo = page.next, {}
        if place is None:
            break
    assert sorted(seen) == sorted(keys)
