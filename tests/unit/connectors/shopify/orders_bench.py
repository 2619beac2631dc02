"""Orders and refunds on the bench: wishes whose defaults are boring, and the steps of the shell."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from integrations.connectors.base import Wanted, WriteItem, Written
from integrations.connectors.shopify.orders import ORDERS, find, prepare, read_many
from integrations.connectors.shopify.orders_writing import write_many
from integrations.connectors.shopify.sandbox import ShopifyVendor
from integrations.connectors.shopify.sandbox_products import add_product
from integrations.core import diffing
from integrations.core.lines import Line, tax_of, total_of
from integrations.core.records import Record
from integrations.core.values import Value
from tests.unit.connectors.shopify.bench import Direct

MARKER = "metafields.suture.cliniko_invoice_id"
OPEN = frozenset({MARKER, "metafields.clinic.practitioner", "tag.invoice", "tag.late"})
FIELDS = frozenset({known.name for known in ORDERS.fields}) | OPEN
AT = datetime(2026, 10, 20, 3, 15, tzinfo=UTC)
VISIT = Line(Decimal("110.00"), Decimal("10.00"), Decimal(10), title="Services")
FREE = Line(Decimal("90.00"), title="Services without tax")


def ready(vendor: ShopifyVendor | None = None, **settings: object) -> Direct:
    """A client of a shop that has a customer, and whose marker is defined."""
    client = Direct(vendor)
    client.sandbox.configure("harbour-physio", **settings)
    prepare(client, MARKER)
    return client


def customer(client: Direct, name: str = "Mia") -> str:
    row, _ = client.shop.create({"firstName": name})
    return str(row["id"])


def product(client: Direct, variants: int = 1) -> str:
    return str(add_product(client.shop, title="Orthotics", variants=[{}] * variants)["id"])


def invoice(*lines: Line, ref: str = "900", **changes: Value) -> dict[str, Value]:
    """The wish for an order of these lines."""
    held = lines or (VISIT,)
    wish: dict[str, Value] = {
        "number": f"INV-{ref}", "processedAt": AT, "currency": "AUD", "lines": held, "total": total_of(held),
        "tax": tax_of(held), "payment": "unpaid", MARKER: ref,
    }  # fmt: skip
    return {**wish, **changes}


def credit(order: str, *lines: Line, ref: str = "950", **changes: Value) -> dict[str, Value]:
    """The wish for a refund of these lines."""
    held = lines or (VISIT,)
    wish: dict[str, Value] = {
        "refund.order": order, "refund.lines": held, "refund.amount": total_of(held), "refund.moves_money": True,
        "refund.processedAt": AT, "refund.note": f"Credit note {ref}", MARKER: ref,
    }  # fmt: skip
    return {**wish, **changes}


def item(wish: Mapping[str, Value], current: Record | None = None, **patched: Value) -> WriteItem:
    fields = patched if current else diffing.new(wish, ORDERS.kind_of).fields
    return WriteItem(str(wish[MARKER]), fields, wish, current, seed=f"seed-{wish[MARKER]}")


def write(client: Direct, *items: WriteItem) -> list[Written]:
    return list(write_many(client, items, FIELDS, MARKER))


def patch(record: Record, wish: Mapping[str, Value]) -> Mapping[str, Value]:
    """What of a wish is not so yet. Everything there counts as ours."""
    return diffing.diff(
        wish, record.values, kind_of=ORDERS.kind_of, digest=lambda name, value: repr(value),
        written={name: repr(value) for name, value in record.values.items()}, policies={},
    ).fields  # fmt: skip


def bring(client: Direct, wish: Mapping[str, Value], current: Record | None = None) -> tuple[Record, list[str]]:
    """Writes step by step as the shell does; the record at the end, and the mutations it took."""
    steps: list[str] = []
    left: Mapping[str, Value] = {} if current is None else patch(current, wish)
    record = current
    while record is None or left:
        assert len(steps) < 8, f"did not converge: {steps}"
        before = len(client.sandbox.operations)
        [written] = write(client, item(wish, record, **left))
        assert written.error is None and written.record is not None, written.error
        ran = [root for operation in client.sandbox.operations[before:] if operation.writes for root in operation.roots]
        record, stuck = written.record, left
        left = patch(record, wish)
        steps += ran
        if not ran and left == stuck:
            break
    return record, steps


def made(client: Direct, wish: Mapping[str, Value]) -> Record:
    return bring(client, wish)[0]


def read(client: Direct, key: str) -> Record | None:
    return read_many(client, [key], FIELDS).get(key)


def look(client: Direct, *wishes: Mapping[str, Value]) -> dict[str, Any]:
    wanted = [Wanted(str(wish[MARKER]), str(wish[MARKER]), {}, wish) for wish in wishes]
    return dict(find(client, wanted, FIELDS, MARKER))


def order_row(client: Direct, key: str) -> Any:
    return client.shop.orders[int(key)]


def sent_order(client: Direct) -> Any:
    """The input of the last ``orderCreate``."""
    found = [sent["variables"]["i0"] for sent in client.sent if "orderCreate" in sent["query"]]
    return found[-1]


DUE = date(2026, 12, 31)
