"""A client that asks the sandboxed Shopify in this process, without a socket, and builders for what is written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from integrations.connectors.base import Wanted, WriteItem, Written
from integrations.connectors.sandbox_kit import Clock, Request
from integrations.connectors.shopify.customers import CUSTOMERS, find, prepare, read_many
from integrations.connectors.shopify.sandbox import ShopifyVendor
from integrations.connectors.shopify.writing import write_many
from integrations.core import diffing
from integrations.core.errors import SyncError
from integrations.core.records import Record
from integrations.core.values import Value
from integrations.toolkit import payload
from integrations.toolkit.http import Reply

SHOP = "harbour-physio"
MARKER = "metafields.suture.cliniko_patient_id"
REFERRER = "metafields.clinic.referrer"
FIELDS = frozenset({known.name for known in CUSTOMERS.fields} | {MARKER, REFERRER, "tag.patient", "tag.archived"})
MIA: Mapping[str, Value] = {
    "firstName": "Mia",
    "lastName": "Chen",
    "email": "mia@example.com",
    "phone": "+61400000001",
    "emailMarketing": True,
    "smsMarketing": False,
    "tag.patient": True,
    "address.firstName": "Mia",
    "address.address1": "12 Wattle Street",
    "address.city": "Geelong",
    "address.provinceCode": "VIC",
    "address.zip": "3220",
    "address.countryCode": "AU",
    REFERRER: "Dr Reid",
    MARKER: "17",
}


@dataclass
class Budget:
    """A gate that remembers what was asked of it and what it was told."""

    asked: list[int] = field(default_factory=list)
    told: list[Mapping[str, object]] = field(default_factory=list)
    blocked: bool = False

    def acquire(self, cost: int) -> None:
        self.asked.append(cost)

    def settle(self, cost: int, **told: object) -> None:
        self.told.append(told)

    def block_until(self, epoch_s: float) -> None:
        self.blocked = True


class Direct:
    """The client. ``lose`` raises this error instead of giving the next answer; ``script`` answers in its place."""

    vendor = "shopify"
    account = f"{SHOP}.myshopify.com"
    facts: Mapping[str, str] = {}

    def __init__(self, vendor: ShopifyVendor | None = None) -> None:
        self.sandbox = vendor or ShopifyVendor(clock=Clock())
        self.sandbox.configure(SHOP, capacity=1e8, restore_rate=1e8)
        self.gate = Budget()
        self.memo: dict[str, object] = {}
        self.sent: list[dict[str, Any]] = []
        self.lose: SyncError | None = None
        self.script: list[dict[str, Any]] = []

    @property
    def shop(self) -> Any:
        return self.sandbox.shop(SHOP)

    @property
    def roots(self) -> list[str]:
        """The mutations and queries of the last document."""
        return list(self.sandbox.operations[-1].roots)

    def get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Reply:
        raise AssertionError("Shopify is never asked by GET")

    def get_link(self, url: str) -> Reply:
        raise AssertionError("Shopify gives no links")

    def post(self, path: str, body: object, *, writes: bool, cost: int = 1) -> Reply:
        self.gate.acquire(cost)
        text = json.dumps(body)
        self.sent.append(json.loads(text))
        harmless = "stagedUploadsCreate" in text or "bulkOperationCancel" in text
        assert harmless or writes is ("mutation" in self.sent[-1]["query"].split("(")[0])
        if self.script:
            return Reply(200, {}, self.script.pop(0), "r-1")
        headers = {"x-shopify-access-token": "shpat_0123456789"}
        answer = self.sandbox.answer(Request("POST", f"/{SHOP}{path}", headers=headers, body=text.encode()))
        if self.lose is not None:
            lost, self.lose = self.lose, None
            raise lost
        assert answer.status == 200
        return Reply(200, {name.lower(): text for name, text in answer.headers}, payload.decode(answer.body), "r-1")


def ready(**settings: object) -> Direct:
    """A client of a shop whose marker is defined."""
    client = Direct()
    client.sandbox.configure(SHOP, **settings)
    prepare(client, MARKER)
    return client


def new(ref: str = "17", /, **changes: Value) -> WriteItem:
    wish = {**MIA, MARKER: ref, **changes}
    return WriteItem(ref, diffing.new(wish, CUSTOMERS.kind_of).fields, wish, None)


def write(client: Direct, *items: WriteItem) -> list[Written]:
    return list(write_many(client, items, FIELDS, MARKER))


def patch(record: Record, wish: Mapping[str, Value], ref: str = "17") -> WriteItem | None:
    """The item that brings a record to a wish, None when it is already there. Everything there counts as ours."""
    found = diffing.diff(
        wish, record.values, kind_of=CUSTOMERS.kind_of, digest=lambda name, value: repr(value),
        written={name: repr(value) for name, value in record.values.items()}, policies={},
    )  # fmt: skip
    return WriteItem(ref, found.fields, wish, record) if found else None


def bring(client: Direct, item: WriteItem, *, most: int = 8) -> tuple[Record, list[str]]:
    """Writes step by step as the shell does; the record at the end, and the mutations it took."""
    steps: list[str] = []
    left: WriteItem | None = item
    record = item.current
    while left is not None:
        assert len(steps) < most, f"did not converge: {steps}"
        [written] = write(client, left)
        assert written.error is None and written.record is not None, written.error
        steps += client.roots
        record = written.record
        left = patch(record, item.wanted, item.ref)
    assert record is not None
    return record, steps


def made(client: Direct, **changes: Value) -> Record:
    """Mia as a customer."""
    return bring(client, new("17", **changes))[0]


def read(client: Direct, key: str) -> Record | None:
    return read_many(client, [key], FIELDS).get(key)


def look(client: Direct, *wanted: Wanted) -> dict[str, Any]:
    return dict(find(client, wanted, FIELDS, MARKER))
