"""Stock adjustments are sent once, found again by their reference, and refused before sending where they cannot be."""

from decimal import Decimal

import pytest

from integrations.connectors.base import Wanted, WriteItem, Written
from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko.adjustments import DOWNWARDS, UPWARDS
from integrations.connectors.cliniko.sandbox import ClinikoVendor
from integrations.connectors.cliniko.sandbox_shelves import archive, row_of, rows_of, set_raw
from integrations.connectors.cliniko.sandbox_world import ClinikoWorld
from integrations.connectors.sandbox_kit import Fault, FaultKind, Server
from integrations.core.errors import AccountError, Rejected, SyncError, Throttled, Unavailable, Uncertain
from integrations.core.records import Record
from integrations.core.values import Value
from integrations.toolkit.http import HttpClient
from tests.unit.connectors.cliniko.bench import CLINIKO, one

ADJUSTMENTS = CLINIKO.stream("stock_adjustments")
MARKER = "reference"
PATH = "/v1/stock_adjustments"


@pytest.fixture
def product(world: ClinikoWorld) -> str:
    return goods.add_product(world, stock_level="10.0")


def _item(product: str, told: str = "12345/1", quantity: object = -2, kind: str = "Other") -> WriteItem:
    fields: dict[str, Value] = {
        "product": product, "quantity": Decimal(str(quantity)), "adjustment_type": kind, MARKER: told,
    }  # fmt: skip
    return WriteItem(told, fields, fields, None)


def _write(client: HttpClient, *items: WriteItem) -> list[Written]:
    assert ADJUSTMENTS.write_many
    return list(ADJUSTMENTS.write_many(client, items, frozenset(), MARKER))


def _error(written: Written) -> SyncError:
    assert written.error is not None and written.record is None
    return written.error


def _find(client: HttpClient, product: str | None, told: str = "12345/1") -> tuple[Record, ...]:
    assert ADJUSTMENTS.find
    wanted = Wanted("a", told, {}, {} if product is None else {"product": product})
    return ADJUSTMENTS.find(client, [wanted], frozenset(), MARKER)["a"].by_marker


# -- sending


def test_a_written_adjustment_moves_the_level_and_reads_back_as_it_was_wished(
    client: HttpClient, world: ClinikoWorld, product: str
) -> None:
    item = _item(product, quantity="-2.5")
    [written] = _write(client, item)
    assert written.error is None and written.record is not None
    assert written.record.values == item.fields
    assert one(client, ADJUSTMENTS, written.record.key) == written.record
    assert row_of(world, "products", product)["stock_level"] == "7.5"
    [row] = rows_of(world, "stock_adjustments").values()
    assert (row["quantity"], row["notes"]) == ("-2.5", "Suture 12345/1")


def test_what_is_sent_is_exact(server: Server[ClinikoVendor], client: HttpClient, product: str) -> None:
    server.journal.keep_bodies = True
    _write(client, _item(product, " a\nb ", quantity="20E-1", kind="Returned"))
    [entry] = server.journal.entries(path=PATH, method="POST")
    assert entry.body == (
        f'{{"product_id":"{product}","quantity":"2.0","adjustment_type":"Returned","notes":"Suture a b"}}'
    )


@pytest.mark.parametrize("quantity", [1, -1])
@pytest.mark.parametrize("kind", sorted(UPWARDS | DOWNWARDS))
def test_our_sign_rule_is_the_vendors(
    server: Server[ClinikoVendor], client: HttpClient, product: str, kind: str, quantity: int
) -> None:
    """Cliniko is asked for the truth; what it would refuse is never sent."""
    truth = _asked_directly(client, product, kind, quantity)
    server.journal.clear()
    [written] = _write(client, _item(product, quantity=quantity, kind=kind))
    assert (written.error is None) is truth
    assert len(server.journal.entries(path=PATH)) == (1 if truth else 0)
    if not truth:
        assert _error(written).code == "cliniko.adjustment.sign"


def _asked_directly(client: HttpClient, product: str, kind: str, quantity: int) -> bool:
    body = {"product_id": product, "quantity": str(quantity), "adjustment_type": kind}
    try:
        client.post(PATH, body, writes=True)
    except Rejected:
        return False
    return True


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"quantity": Decimal(0)}, "cliniko.adjustment.sign"),
        ({"quantity": None}, "cliniko.adjustment.sign"),
        ({"adjustment_type": "Sold"}, "cliniko.adjustment.type"),
        ({"product": "FR-45"}, "cliniko.values.rejected"),
        ({"product": None}, "cliniko.values.rejected"),
    ],
)
def test_what_cliniko_could_not_take_is_not_sent(
    server: Server[ClinikoVendor], client: HttpClient, product: str, changed: dict[str, Value], code: str
) -> None:
    item = _item(product)
    fields = {**item.fields, **changed}
    error = _error(_write(client, WriteItem("a", fields, fields, None))[0])
    assert isinstance(error, Rejected) and error.code == code
    assert server.journal.entries(path=PATH) == []


def test_an_adjustment_is_never_changed(server: Server[ClinikoVendor], client: HttpClient, product: str) -> None:
    [written] = _write(client, _item(product))
    server.journal.clear()
    same, other = _write(
        client,
        WriteItem("a", {}, {}, written.record),
        WriteItem("b", {"quantity": Decimal(-3)}, {}, written.record),
    )
    assert same.record == written.record and _error(other).code == "cliniko.adjustment.final"
    assert server.journal.entries() == []


def test_a_refused_one_stops_no_other(client: HttpClient, world: ClinikoWorld, product: str) -> None:
    untracked = goods.add_product(world, stock_level=None)
    refused, unknown, taken = _write(client, _item(untracked, "1"), _item("999", "2"), _item(product, "3"))
    for written in (refused, unknown):
        error = _error(written)
        assert isinstance(error, Rejected) and error.code == "cliniko.values.rejected"
        assert error.facts["fields"] == "product"
    assert taken.record is not None


def test_a_lost_answer_is_uncertain_for_that_one_alone_and_is_found_again(
    server: Server[ClinikoVendor], client: HttpClient, world: ClinikoWorld, product: str
) -> None:
    server.faults.add(Fault(FaultKind.DROP_AFTER, method="POST"))
    lost, taken = _write(client, _item(product, "1"), _item(product, "2"))
    assert isinstance(_error(lost), Uncertain) and taken.record is not None
    assert len(rows_of(world, "stock_adjustments")) == 2
    [found] = _find(client, product, "1")
    assert found.values["quantity"] == -2


def test_a_success_that_says_nothing_is_uncertain(
    server: Server[ClinikoVendor], client: HttpClient, product: str
) -> None:
    server.faults.add(Fault(FaultKind.REPLACE, method="POST", status=201, body='{"thanks": true}'))
    error = _error(_write(client, _item(product))[0])
    assert isinstance(error, Uncertain) and error.code == "cliniko.adjustment.unclear"


@pytest.mark.parametrize(("status", "kind"), [(429, Throttled), (401, AccountError)])
def test_what_concerns_the_connection_is_raised_if_nothing_was_written(
    server: Server[ClinikoVendor], client: HttpClient, product: str, status: int, kind: type[SyncError]
) -> None:
    server.faults.add(Fault(FaultKind.STATUS, method="POST", status=status))
    with pytest.raises(kind):
        _write(client, _item(product, "1"), _item(product, "2"))
    assert len(server.journal.entries(path=PATH)) == 1  # nothing more was tried
    server.faults.add(Fault(FaultKind.STATUS, method="POST", status=status, skip=1))
    taken, *others = _write(client, *(_item(product, told) for told in "345"))
    assert taken.record is not None and all(isinstance(_error(other), kind) for other in others)


def test_where_nobody_answers_the_rest_is_not_tried(
    server: Server[ClinikoVendor], client: HttpClient, product: str
) -> None:
    server.stop()
    outcomes = _write(client, _item(product, "1"), _item(product, "2"))
    assert [type(_error(written)) for written in outcomes] == [Unavailable, Unavailable]
    assert client.calls == 1


# -- finding


def test_only_the_same_reference_of_the_same_product_is_found(
    client: HttpClient, world: ClinikoWorld, product: str
) -> None:
    other = goods.add_product(world, stock_level="10.0")
    _write(client, _item(product), _item(product, "12345/10"), _item(product, "2345/1"), _item(other))
    goods.adjust(world, product, -1, notes="for 12345/1")
    assert [record.values[MARKER] for record in _find(client, product)] == ["12345/1"]
    assert len(_find(client, None)) == 2
    assert _find(client, product, "") == ()


def test_it_is_found_among_hundreds_and_between_other_lines(
    client: HttpClient, world: ClinikoWorld, product: str
) -> None:
    for number in range(220):
        goods.adjust(world, product, 1, notes=f"Suture {number}/1")
    key = goods.adjust(world, product, -1, notes="checked by Ana\r\nSuture 12345/1\r\n")
    assert [record.key for record in _find(client, product)] == [key]


def test_it_looks_seven_days_back(client: HttpClient, world: ClinikoWorld, product: str) -> None:
    world.clock.advance(-6.9 * 86_400)
    recent = goods.adjust(world, product, -1, notes="Suture 12345/1")
    world.clock.advance(-1 * 86_400)
    goods.adjust(world, product, -1, notes="Suture 12345/1")
    assert [record.key for record in _find(client, product)] == [recent]


def test_an_archived_one_was_sent_all_the_same(client: HttpClient, world: ClinikoWorld, product: str) -> None:
    key = goods.adjust(world, product, -1, notes="Suture 12345/1")
    archive(world, "stock_adjustments", key)
    assert [record.key for record in _find(client, product)] == [key]


def test_what_is_said_of_another_product_is_not_believed(client: HttpClient, world: ClinikoWorld, product: str) -> None:
    key = goods.adjust(world, product, -1, notes="Suture 12345/1")
    set_raw(world, "stock_adjustments", key, product={"links": {"self": "https://api.au2.cliniko.com/v1/products/17"}})
    assert _find(client, product) == ()


def test_a_product_is_listed_once_however_many_are_wanted(
    server: Server[ClinikoVendor], client: HttpClient, product: str
) -> None:
    _write(client, *(_item(product, told) for told in "123"))
    server.journal.clear()
    assert ADJUSTMENTS.find
    wanted = [Wanted(told, told, {}, {"product": product}) for told in "1239"]
    answers = ADJUSTMENTS.find(client, wanted, frozenset(), MARKER)
    assert {ref: len(answer.by_marker) for ref, answer in answers.items()} == {"1": 1, "2": 1, "3": 1, "9": 0}
    assert len(server.journal.entries()) == 1


def test_notes_that_are_not_ours_stay_there(client: HttpClient, world: ClinikoWorld, product: str) -> None:
    key = goods.adjust(world, product, -1, notes="CANARY-for Mia Chen", comment="CANARY-knee")
    assert "CANARY" not in repr(one(client, ADJUSTMENTS, key))
    set_raw(world, "stock_adjustments", key, notes=None, comment="Suture 12345/1")
    assert one(client, ADJUSTMENTS, key).values[MARKER] == "12345/1"
