"""The sandboxed Cliniko's goods and invoices answer as their contract says. Asked over HTTP, without our own client."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as invoices
from integrations.connectors.cliniko import sandbox_staff as staff
from integrations.connectors.cliniko.sandbox import ClinikoVendor, nobody, serve
from integrations.connectors.cliniko.sandbox_shelves import archive, change, row_of, rows_of, set_raw
from integrations.connectors.cliniko.sandbox_trade import seed_trade
from integrations.connectors.cliniko.sandbox_world import ClinikoWorld
from integrations.connectors.sandbox_kit import Fault, FaultKind, Server
from tests.contract.test_cliniko_sandbox import KEY, Told, ask

LONG_AGO = "2025-01-01T00:00:00Z"


@pytest.fixture
def server() -> Iterator[Server[ClinikoVendor]]:
    world = ClinikoWorld()
    world.add_account(KEY)
    with serve(world=world, seed=nobody) as running:
        yield running


@pytest.fixture
def world(server: Server[ClinikoVendor]) -> ClinikoWorld:
    return server.vendor.world


def listed(server: Server[ClinikoVendor], collection: str, *filters: str, **more: str) -> Told:
    return ask(server, f"/v1/{collection}", *[("q[]", given) for given in filters], *more.items())


def keys(server: Server[ClinikoVendor], collection: str, *filters: str, **more: str) -> list[str]:
    return [row["id"] for row in listed(server, collection, *filters, **more).data[collection]]


# -- lists


def test_archived_ones_are_hidden_until_the_field_is_named(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    made = {
        "products": goods.add_product(world, stock_level="1.0"),
        "invoices": invoices.add_invoice(world, [{"price": 1}]),
    }
    made["invoice_items"] = next(iter(invoices.items_of(world, made["invoices"])))
    made["stock_adjustments"] = goods.adjust(world, made["products"], 1)
    for collection, key in made.items():
        stamp = row_of(world, collection, key)["updated_at"]
        archive(world, collection, key)
        assert keys(server, collection) == []
        assert keys(server, collection, "archived_at:*") == keys(server, collection, "archived_at:?") == [key]
        assert ask(server, f"/v1/{collection}/{key}").status == 404
        row = ask(server, f"/v1/{collection}/{key}", ("q[]", "archived_at:*")).data
        assert row["archived_at"] and row["updated_at"] == stamp


@pytest.mark.parametrize(
    ("collection", "given"),
    [
        ("products", "item_code:=FR-45"), ("products", "stock_level:>0"), ("products", "tax_id:=GST"),
        ("taxes", "name:=GST"), ("taxes", "archived_at:*"),
        ("stock_adjustments", "quantity:<0"), ("stock_adjustments", "created_at:>=2025-06-30"),
        ("invoices", "status:=Paid"), ("invoices", "total_amount:>0"), ("invoices", "issue_date:>=yesterday"),
        ("invoices", "closed_at:=2025-06-30T00:00:00Z"), ("invoice_items", "product_id:=1"),
        ("invoice_items", "invoice_id:=one"), ("users", "email:=a@example.com"), ("users", "archived_at:*"),
        ("practitioners", "active:=yes"), ("practitioners", "email:?"), ("businesses", "business_name:~H"),
    ],
)  # fmt: skip
def test_an_unknown_filter_or_a_wrong_type_is_an_error(
    server: Server[ClinikoVendor], collection: str, given: str
) -> None:
    told = listed(server, collection, given)
    assert told.status == 400 and set(told.data) == {"message"}


def test_filters_on_references_select(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    gst = goods.add_tax(world, name="GST", rate="10.0")
    taxed, other = goods.add_product(world, tax_id=gst, stock_level="1.0"), goods.add_product(world, stock_level="1.0")
    moved = [goods.adjust(world, product, 1) for product in (taxed, other, taxed)]
    sold = [invoices.add_invoice(world, [{"price": 1}], issue_date=f"2025-06-{day}") for day in (10, 20, 30)]
    assert keys(server, "products", f"tax_id:={gst}") == [taxed]
    assert keys(server, "stock_adjustments", f"product_id:={taxed}") == [moved[0], moved[2]]
    assert keys(server, "invoices", "issue_date:>=2025-06-20", "issue_date:<2025-06-30") == [sold[1]]
    assert keys(server, "invoices", "status:=20,30", sort="issue_date:desc") == sold[::-1]
    assert keys(server, "invoices", "original_invoice_id:?") == []
    items = listed(server, "invoice_items", f"invoice_id:={sold[0]},{sold[2]}").data["invoice_items"]
    assert [row["invoice"]["links"]["self"].rpartition("/")[2] for row in items] == [sold[0], sold[2]]


@pytest.mark.parametrize(("form", "status", "count"), [("taken", 200, 2), ("refused", 400, 0), ("first", 200, 1)])
def test_a_list_of_foreign_ids_may_not_be_taken(
    server: Server[ClinikoVendor], world: ClinikoWorld, form: str, status: int, count: int
) -> None:
    world.set_quirks(lists_of_foreign_ids=form)
    sold = [invoices.add_invoice(world, [{"price": 1}]) for _ in range(2)]
    told = listed(server, "invoice_items", "invoice_id:=" + ",".join(sold))
    assert told.status == status and len(told.data.get("invoice_items", ())) == count
    assert len(keys(server, "invoices", "id:=" + ",".join(sold))) == 2
    assert len(keys(server, "invoice_items", f"invoice_id:={sold[1]}")) == 1


def test_pages_end(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    made = [goods.add_product(world) for _ in range(120)]
    first, second = (listed(server, "products", per_page="100", page=page).data for page in "12")
    assert [row["id"] for row in first["products"] + second["products"]] == made
    assert "page=2" in first["links"]["next"] and "next" not in second["links"]
    world.set_quirks(loop_at_page=1, wrong_total=True)
    looped = listed(server, "products", per_page="100").data
    assert "page=1" in looped["links"]["next"] and looped["total_entries"] == 0


# -- values


def test_an_invoice_has_every_documented_key_and_no_items(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    key = invoices.add_invoice(world, [{"price": 90}], patient_id="5")
    row = ask(server, f"/v1/invoices/{key}").data
    assert {"number", "issue_date", "status", "closed_at", "invoice_to", "notes", "calculation_method"} <= set(row)
    assert (row["total_amount"], row["net_amount"], row["tax_amount"]) == ("90.0", "81.8182", "8.1818")
    assert row["patient"]["links"]["self"].endswith("/patients/5")
    assert not {"practitioner", "appointment", "attendee", "original_invoice"} & set(row)
    assert set(row["invoice_items"]) == {"links"}


def test_an_item_holds_a_number_decimals_as_text_and_the_rate_as_tax_amount(
    server: Server[ClinikoVendor], world: ClinikoWorld
) -> None:
    product = goods.add_product(world)
    key = invoices.add_invoice(world, [{"price": 110, "off": 20, "product_id": product}, {"billable_item_id": "9"}])
    item, service = listed(server, "invoice_items", f"invoice_id:={key}").data["invoice_items"]
    assert (item["total_including_tax"], item["net_price"], item["tax_amount"]) == (90.0, "81.8182", "10.0")
    assert (item["discounted_amount"], item["is_monetary_discount"]) == ("20.0", True)
    assert "billable_item" not in item and "product" not in service
    world.set_quirks(totals_as_text=True, ids_as_numbers=True, empty_as_text=True)
    item = listed(server, "invoice_items", f"invoice_id:={key}").data["invoice_items"][0]
    assert item["total_including_tax"] == "90.0" and isinstance(item["id"], int) and item["archived_at"] == ""


def test_a_row_can_show_anything(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    key = goods.add_product(world)
    set_raw(world, "products", key, name=17, surprise="yes")
    row = ask(server, f"/v1/products/{key}").data
    assert (row["name"], row["surprise"]) == (17, "yes")


# -- what staff do


def test_a_sale_of_a_tracked_product_leaves_its_stock_by_itself(
    server: Server[ClinikoVendor], world: ClinikoWorld
) -> None:
    tracked = goods.add_product(world, stock_level="5.0", created_at=LONG_AGO)
    untracked = goods.add_product(world, stock_level=None)
    sold = [{"product_id": tracked, "quantity": 2}, {"product_id": untracked}, {"billable_item_id": "9"}]
    invoices.add_invoice(world, sold)
    [row] = listed(server, "stock_adjustments").data["stock_adjustments"]
    assert (row["adjustment_type"], row["quantity"]) == ("Item Sold", "-2.0")
    product = ask(server, f"/v1/products/{tracked}").data
    assert (product["stock_level"], product["updated_at"]) == ("3.0", LONG_AGO)


def test_a_credit_note_is_an_invoice_with_minus_signs(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    key = invoices.add_invoice(world, [{"price": 30, "quantity": 3}, {"price": 50}], patient_id="5")
    part = invoices.credit(world, key, {next(iter(invoices.items_of(world, key))): 1}, status=40)
    row = ask(server, f"/v1/invoices/{part}").data
    assert (row["total_amount"], row["status_description"]) == ("-30.0", "Open credit")
    assert row["original_invoice"]["links"]["self"].endswith(f"/invoices/{key}")
    assert row["number"] == ask(server, f"/v1/invoices/{key}").data["number"] + 1
    [item] = listed(server, "invoice_items", f"invoice_id:={part}").data["invoice_items"]
    assert (item["quantity"], item["total_including_tax"]) == ("-1.0", -30.0)
    assert keys(server, "invoices", f"original_invoice_id:={key}") == [part]


def test_a_changed_item_changes_the_sums_and_not_the_stamp(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    key = invoices.add_invoice(world, [{"price": 30}, {"price": 50}], created_at=LONG_AGO)
    first, second = invoices.items_of(world, key)
    invoices.edit_item(world, first, price=35)
    invoices.archive_item(world, second)
    row = ask(server, f"/v1/invoices/{key}").data
    assert (row["total_amount"], row["updated_at"]) == ("35.0", LONG_AGO)
    assert keys(server, "invoice_items", "updated_at:>2025-02-01T00:00:00Z") == [first]


def test_practitioners_are_active_ones_unless_asked_otherwise(
    server: Server[ClinikoVendor], world: ClinikoWorld
) -> None:
    user = staff.add_user(world, email="sam@example.com")
    here, left = staff.add_practitioner(world, user_id=user), staff.add_practitioner(world, active=False)
    assert keys(server, "practitioners") == [here]
    assert keys(server, "practitioners", "active:=false") == [left]
    told = ask(server, "/v1/practitioners/inactive").data["practitioners"]
    assert [row["id"] for row in told] == [left] and "user" not in told[0] and "email" not in told[0]
    assert keys(server, "practitioners", f"user_id:={user}") == [here]
    assert {row["email"] for row in listed(server, "users").data["users"]} >= {"sam@example.com"}


def test_places_may_be_closed(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    place = staff.add_business(world, time_zone="Perth")
    change(world, "businesses", place, archived_at=world.stamp())
    assert len(keys(server, "businesses")) == 1 and place in keys(server, "businesses", "archived_at:*")


def test_keys_open_their_own_account_only(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    ridge = world.add_account("ridge-au1", "Ridge Podiatry")
    mine, theirs = goods.add_product(world), goods.add_product(world, ridge)
    assert keys(server, "products") == [mine]
    assert ask(server, f"/v1/products/{theirs}").status == 404


# -- the one write


def _post(server: Server[ClinikoVendor], **body: object) -> Told:
    return ask(server, "/v1/stock_adjustments", method="POST", body=body)


def test_an_adjustment_moves_the_level(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    product = goods.add_product(world, stock_level="5.0")
    told = _post(server, product_id=product, quantity="-7.5", adjustment_type="Other", notes="Suture 1")
    assert told.status == 201 and told.headers["location"].endswith(f"/stock_adjustments/{told.data['id']}")
    assert (told.data["quantity"], told.data["notes"]) == ("-7.5", "Suture 1")
    assert told.data["product"]["links"]["self"].endswith(f"/products/{product}")
    assert ask(server, f"/v1/products/{product}").data["stock_level"] == "-2.5"
    assert ask(server, f"/v1/stock_adjustments/{told.data['id']}").data == told.data


def test_bad_adjustments_are_named_and_move_nothing(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    product = goods.add_product(world, stock_level="5.0")
    untracked = goods.add_product(world, stock_level=None)
    good = {"product_id": product, "quantity": "-1.0", "adjustment_type": "Item Sold"}
    for changed, field in (
        ({"quantity": "1.0"}, "quantity"), ({"quantity": "0"}, "quantity"), ({"quantity": "two"}, "quantity"),
        ({"adjustment_type": "Returned"}, "quantity"), ({"adjustment_type": "Sold"}, "adjustment_type"),
        ({"product_id": "17"}, "product"), ({"product_id": untracked}, "product"), ({"product_id": None}, "product"),
    ):  # fmt: skip
        told = _post(server, **(good | changed))
        assert told.status == 422 and set(told.data["errors"]) == {field}, changed
    assert row_of(world, "products", product)["stock_level"] == "5.0" and not rows_of(world, "stock_adjustments")


def test_nothing_else_can_be_written(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    key = invoices.add_invoice(world, [{"price": 1}])
    for method, path in (("POST", "invoices"), ("PATCH", f"invoices/{key}"), ("POST", "invoice_items")):
        assert ask(server, f"/v1/{path}", method=method, body={"status": 10}).status == 404


def test_faults_and_journal_cover_it(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    product = goods.add_product(world, stock_level="5.0")
    server.faults.add(Fault(FaultKind.STATUS, method="POST", status=503))
    good = {"product_id": product, "quantity": "1", "adjustment_type": "Other"}
    assert [_post(server, **good).status for _ in range(2)] == [503, 201]
    assert [entry.status for entry in server.journal.writes] == [503, 201]


# -- state and edits


def test_state_survives_a_restart(tmp_path: Path) -> None:
    with serve(state_dir=tmp_path) as first:
        key = goods.add_product(first.vendor.world, name="Tape", stock_level="5.0")
        whole = first.vendor.dump()
    with serve(state_dir=tmp_path) as second:
        assert json.dumps(second.vendor.dump()) == json.dumps(whole)
        goods.adjust(second.vendor.world, key, 2)
        assert row_of(second.vendor.world, "products", key)["stock_level"] == "7.0"


def test_a_state_from_before_goods_still_opens() -> None:
    world = ClinikoWorld()
    world.add_account(KEY)
    state = json.loads(json.dumps(world.dump()))
    del state["accounts"][0]["shelves"]
    world.restore(state)
    assert rows_of(world, "products") == {}


def test_a_change_may_stay_invisible_for_a_while(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    key = goods.add_product(world, name="Old")
    world.set_quirks(lag_s=60)
    goods.edit_product(world, key, name="New")
    assert ask(server, f"/v1/products/{key}").data["name"] == "Old"
    world.clock.advance(61)
    assert ask(server, f"/v1/products/{key}").data["name"] == "New"


def test_edits_over_http(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    def edit(path: str, body: object, method: str = "POST") -> Told:
        return ask(server, f"/_sandbox/{path}", method=method, body=body)

    tax = edit("taxes", {"name": "GST", "rate": "10.0"}).data["id"]
    product = edit("products", {"name": "Tape", "price": "11", "tax_id": tax, "stock_level": "5.0"}).data["id"]
    edit(f"products/{product}/adjust", {"quantity": 2, "adjustment_type": "Returned"})
    sold = edit("invoices", {"items": [{"product_id": product, "price": 11}], "status": 10}).data["id"]
    [item] = edit("invoice_items", None, "GET").data["invoice_items"]
    assert edit(f"invoice_items/{item['id']}", {"quantity": 2}, "PATCH").status == 200
    assert edit(f"invoices/{sold}", {"status": 20}, "PATCH").status == 200
    note = edit(f"invoices/{sold}/credit", {"quantities": {item["id"]: 1}}).data["id"]
    assert edit(f"products/{product}/raw", {"name": None}).status == 200
    assert edit(f"products/{product}/archive", None).status == 200
    assert ask(server, f"/v1/products/{product}", ("q[]", "archived_at:*")).data["stock_level"] == "6.0"
    assert [row["total_amount"] for row in listed(server, "invoices").data["invoices"]] == ["22.0", "-11.0"]
    assert row_of(world, "invoices", note)["original_invoice_id"] == sold
    assert edit("products/17/archive", None).status == 400
    assert edit("products/17/dance", None).status == 404 and edit("invoices", {"items": "none"}).status == 400


# -- the trade that is shipped


def test_the_trade_that_is_shipped_is_plausible_and_the_same_each_time() -> None:
    def trade() -> ClinikoWorld:
        world = ClinikoWorld()
        world.add_account(KEY)
        for name in ("Mia", "Leo", "Ada"):
            world.add_patient(first_name=name, last_name="Chen")
        seed_trade(world)
        return world

    world = trade()
    products, sold = rows_of(world, "products").values(), rows_of(world, "invoices").values()
    items = rows_of(world, "invoice_items").values()
    assert (len(products), len(sold)) == (60, 120)
    assert {row["status"] for row in sold} == {10, 20, 30, 40}
    assert len({row["number"] for row in sold}) == 120
    credits = [row for row in sold if row.get("original_invoice_id")]
    assert len(credits) == 10 and all(Decimal(str(row["total_amount"])) < 0 for row in credits)
    wholes = [row_of(world, "invoices", str(row["original_invoice_id"])) for row in credits]
    reversed_all = [
        row for row, whole in zip(credits, wholes, strict=True)
        if Decimal(str(row["total_amount"])) == -Decimal(str(whole["total_amount"]))
    ]  # fmt: skip
    assert 0 < len(reversed_all) < len(credits)
    assert {item["tax_rate"] for item in items} == {"10.0", None}
    assert {item["is_monetary_discount"] for item in items} == {True, False}
    assert any(item["discount_percentage"] and not item["is_monetary_discount"] for item in items)
    assert any(not row.get("patient_id") for row in sold) and any(row.get("archived_at") for row in sold)
    assert any(row["stock_level"] is None for row in products)
    assert any(Decimal(str(row["stock_level"] or 0)) < 0 for row in products)
    assert sum(bool(row.get("archived_at")) for row in products) == 3
    codes = [row["item_code"] for row in products]
    assert None in codes and len(codes) > len(set(codes))
    said = [[row["total_amount"] for row in rows_of(one, "invoices").values()] for one in (world, trade())]
    assert said[0] == said[1]
