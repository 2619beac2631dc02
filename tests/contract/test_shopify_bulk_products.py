"""Products in bulk, from our rows through the sandboxed shop and back, over HTTP."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from integrations.connectors.base import BulkRun, BulkState, WriteItem, Written
from integrations.connectors.sandbox_kit import Server
from integrations.connectors.shopify import bulk
from integrations.connectors.shopify.bulk_products import BULK
from integrations.connectors.shopify.products import prepare, read_many
from integrations.connectors.shopify.sandbox import ShopifyVendor, serve
from integrations.core.errors import Uncertain
from integrations.core.values import Value
from integrations.toolkit import transfer
from integrations.toolkit.http import HttpClient
from tests.contract.test_shopify_bulk import client_of, ended
from tests.contract.test_shopify_sandbox import SHOP
from tests.unit.connectors.shopify.product_bench import FIELDS, MARKER, new, patch

[SET] = BULK.passes


@pytest.fixture
def server() -> Iterator[Server[ShopifyVendor]]:
    with serve() as running:
        running.vendor.configure(SHOP, bulk_rows_per_s=1e6)
        yield running


@pytest.fixture
def client(server: Server[ShopifyVendor]) -> Iterator[HttpClient]:
    with client_of(server) as made:
        prepare(made, MARKER)
        yield made


def goods(count: int, **changes: Value) -> list[WriteItem]:
    return [new(str(number), title=f"Tape {number}", sku=f"T-{number}", **changes) for number in range(1, count + 1)]


def run(client: HttpClient, items: Sequence[WriteItem], folder: Path, name: str) -> tuple[BulkRun, dict[str, Written]]:
    """From rows to outcomes."""
    rows, results = folder / f"{name}.jsonl", folder / f"{name}.result"
    transfer.write_lines(rows, (bulk.as_line(row) for item in items if (row := SET.row(item, MARKER))))
    staged = BULK.stage(client, rows.name)
    transfer.upload(client, staged.url, staged.parameters, rows, hosts=BULK.hosts, content_type=BULK.content_type)
    over = ended(client, BULK.start(client, SET.document(FIELDS, MARKER), staged.key, name))
    transfer.download(client, over.url, results, hosts=BULK.hosts, expected=over.size)
    told = BULK.results(partial(transfer.read_lines, results), len(items))
    outcomes = [SET.outcome(items[one.number], one, FIELDS, MARKER) for one in told]
    return over, {one.ref: one for one in outcomes}


def test_products_are_as_wished_after_one_run(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path
) -> None:
    items = goods(21)
    _, told = run(client, items, tmp_path, "run_1")
    now = read_many(client, [one.record.key for one in told.values() if one.record], FIELDS)
    assert len(now) == 21 == len(server.vendor.shop(SHOP).products)
    for item in items:
        record = told[item.ref].record
        assert record is not None and patch(record, item.wanted, item.ref) is None
        assert patch(now[record.key], item.wanted, item.ref) is None


def test_a_run_that_dies_midway_may_be_sent_again(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path
) -> None:
    server.vendor.configure(SHOP, bulk_fail_after=11)
    items = goods(20)
    over, told = run(client, items, tmp_path, "run_1")
    assert over.state is BulkState.FAILED
    lost = [one.error for one in told.values() if one.error]
    assert len(lost) == 9 and all(isinstance(error, Uncertain) for error in lost)
    first = {ref: one.record.key for ref, one in told.items() if one.record}
    _, again = run(client, items, tmp_path, "run_2")
    assert all(one.error is None for one in again.values()) and len(server.vendor.shop(SHOP).products) == 20
    assert {ref: again[ref].record.key for ref in first} == first  # type: ignore[union-attr]  # no error, so a record


def test_a_refused_row_leaves_the_others_alone(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path
) -> None:
    items = goods(5)
    items[2] = new("3", price=Decimal("-1"))
    _, told = run(client, items, tmp_path, "run_1")
    assert {ref: one.error.code for ref, one in told.items() if one.error} == {"3": "shopify.price_invalid"}
    assert len(server.vendor.shop(SHOP).products) == 4
