"""A clinic at month end: patients, products and invoices of every kind through all flows at once (C07, C18-C20, K43, D).

`make test` runs a tenth of it, `make proof` 2,000 patients, 6,000 invoices and 300 products.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal

import pytest
from django.db import connection
from django.test import override_settings

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.connectors.cliniko.sandbox_world import CANARY
from integrations.connectors.shopify.sandbox_money import money_of
from tenants.checks import walled_models
from tenants.walls import TenantModel, tenant_tx
from tests.conftest import House
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
INVOICES, PRODUCTS, STOCK = "invoices-to-orders", "products-to-products", "stock-to-inventory"
SCALE = 1 if os.environ.get("SUTURE_PROOF") else 10
CENT = Decimal("0.01")
TRAPS = (  # (gross prices with parts of a cent, stated total, stated tax): each rounds otherwise by line and by sum
    (("33.334", "33.334", "33.334"), "100.00", "9.09"),
    (("0.335", "0.335", "0.335", "0.335"), "1.34", "0.12"),
    (("81.8182", "8.1818"), "90.00", "8.18"),
    (("16.665", "16.665", "16.67"), "50.00", "4.55"),
    (("9.995", "19.995", "29.995"), "59.99", "5.45"),
)


@pytest.fixture
def till(house: House) -> Iterator[Stage]:
    with stage(house.harbour) as built, override_settings(SUTURE_PARENT_WAIT_S=0.5):
        built.join(PRODUCTS)
        built.join(STOCK, location=str(next(iter(built.shop.locations))))
        built.join(INVOICES)
        open_wide(built)
        yield built


class Month:
    """What a clinic wrote in a month, and which of it must not become an order without a person."""

    def __init__(self, till: Stage, *, patients: int, products: int, invoices: int) -> None:
        self.world, self.draw = till.world, random.Random(7)
        self.expected: dict[str, tuple[Decimal, Decimal]] = {}
        self.refunds: dict[str, str] = {}
        self.odd: set[str] = set()
        self.taxes = {rate: goods.add_tax(self.world, name=f"Tax {rate}", rate=str(rate)) for rate in (0, 10)}
        self.patients = [self._patient(number) for number in range(patients)]
        self.products = [self._product(number) for number in range(products)]
        for number in range(invoices):
            self._invoice(number)

    def _patient(self, number: int) -> str:
        notes = {name: f"{CANARY}-{name}-{number}" for name in ("notes", "appointment_notes", "medicare", "occupation")}
        named = {"first_name": f"Given{number}", "last_name": f"Family{number}", "email": f"p{number}@example.com"}
        return str(self.world.add_patient(**named, **notes, date_of_birth="1899-12-31"))

    def _product(self, number: int) -> tuple[str, int, Decimal]:
        rate, price = (10, 0)[number % 3 == 0], Decimal(500 + 37 * number) / 100
        key = goods.add_product(
            self.world, name=f"Product {number}", item_code=f"P-{number}", price=str(price), tax_id=self.taxes[rate],
            stock_level="500.0" if number % 4 else None, notes=f"{CANARY}-product",
        )  # fmt: skip
        return str(key), rate, price

    def _invoice(self, number: int) -> None:
        kinds = (self._goods, self._service, self._mixed, self._discounted, self._deposit, self._trap, self._credited)
        kinds[number % len(kinds)](number)

    def _add(self, items: list[dict], *, status: int = 20, **given: object) -> str:
        secret = {name: f"{CANARY}-{name}" for name in ("invoice_to", "notes", "patient_extra_information")}
        patient = {"patient_id": self.draw.choice(self.patients)} if self.draw.random() < 0.9 else {}
        key = str(bills.add_invoice(self.world, items, **({"status": status} | patient | secret | given)))
        row = bills.rows_of(self.world, "invoices")[key]
        self.expected[key] = (_cents(row["total_amount"]), _cents(row["tax_amount"]))
        return key

    def _sold(self) -> dict:
        key, rate, price = self.draw.choice(self.products)
        named = {"name": f"{CANARY}-product-name", "code": f"{CANARY}-code"}
        return named | {"product_id": key, "rate": rate, "price": str(price), "quantity": self.draw.randint(1, 4)}

    def _treated(self, **given: object) -> dict:
        named = {"name": f"{CANARY}-service", "code": f"{CANARY}-service-code", "billable_item_id": "9"}
        return named | {"price": str(self.draw.randint(40, 180)), "rate": 0} | given

    def _goods(self, number: int) -> None:
        self._add([self._sold() for _ in range(self.draw.randint(1, 4))], status=(10, 20, 20, 30)[number % 4])

    def _service(self, number: int) -> None:
        self._add([self._treated(quantity=(1, 2, "1.5")[number % 3])], status=(20, 20, 10)[number % 3])

    def _mixed(self, number: int) -> None:
        self._add([self._treated(), self._sold(), self._treated(rate=10)])

    def _discounted(self, number: int) -> None:
        self._add([self._sold() | {"percent": 15}, self._sold() | {"off": "2.5"}, self._treated(percent=33)])

    def _deposit(self, number: int) -> None:
        self._add([self._treated(price="150"), self._treated(price="-50")])

    def _trap(self, number: int) -> None:
        prices, total, tax = TRAPS[number // 7 % len(TRAPS)]
        items = [self._treated(price=price, rate=10, total_including_tax=price) for price in prices]
        self._add(items, total_amount=total, tax_amount=tax)
        if number // 7 % 10 == 9:  # a total that no rounding explains
            self.odd.add(self._add([self._treated(price="100")], total_amount="103.00"))

    def _credited(self, number: int) -> None:
        """A whole or a part is reversed, or somebody reverses nothing at all."""
        original = self._add([self._sold(), self._treated()])
        part = {next(iter(bills.items_of(self.world, original))): 1} if number % 2 else None
        status = 40 if number % 3 == 0 else 20
        self.refunds[str(bills.credit(self.world, original, part, status=status, notes=f"{CANARY}-why"))] = original
        if number // 7 % 20 == 19:
            self.odd.add(self._add([self._treated(price="-30")], status=40))


def _cents(amount: object) -> Decimal:
    return Decimal(str(amount)).quantize(CENT, ROUND_HALF_UP)


def test_month_end(till: Stage) -> None:
    till.shopify.journal.keep_bodies = True
    month = Month(till, patients=2000 // SCALE, products=300 // SCALE, invoices=6000 // SCALE)
    counts = till.sync_all(max_wait_s=60)
    print({flow: {name: count for name, count in told.items() if count} for flow, told in counts.items()})

    links, held = till.links(), till.held()
    assert set(held) == month.odd, Counter(code for key, code in held.items() if key not in month.odd)
    assert set(held.values()) == {"invoice.total_differs", "invoice.negative_alone"}
    for key, (total, tax) in month.expected.items():
        if key in month.odd:
            continue
        order = till.shop.orders[int(links[key])]
        money = money_of(order)
        assert (money.total, money.tax) == (total, tax), key
        refunded = [note for note, original in month.refunds.items() if original == key]
        assert len(order["refunds"]) == len(refunded), key
    assert len(till.shop.orders) == len(month.expected) - len(month.odd)  # none twice, none else

    before = till.writes
    again = till.sync_all(max_wait_s=60)
    assert till.writes == before
    assert all(told["created"] == told["updated"] == 0 for told in again.values())

    leaked = [entry for entry in till.shopify.journal.entries() if CANARY in (entry.body or "") + entry.path]
    assert leaked == []
    assert canaries_in_tables(till) == []


def canaries_in_tables(till: Stage) -> list[str]:
    """Tables of the clinic in whose rows, spelt out as text, a canary stands (B4)."""
    found = []
    with tenant_tx(till.tenant.pk), connection.cursor() as cursor:
        for table in sorted(model._meta.db_table for model in walled_models() if issubclass(model, TenantModel)):
            cursor.execute(f'SELECT count(*) FROM "{table}" WHERE "{table}"::text LIKE %s', [f"%{CANARY}%"])  # noqa: S608 - our tables
            found += [table] if cursor.fetchone()[0] else []
    return found
