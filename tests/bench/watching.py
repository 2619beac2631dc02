"""What a freshness measurement changes at the practice, and how long the shop took to have it."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.connectors.cliniko.sandbox_world import Account, ClinikoWorld
from integrations.connectors.shopify.sandbox_orders import told
from integrations.connectors.shopify.sandbox_shop import Shop

PATIENTS, PRODUCTS, STOCK, INVOICES = (
    "patients-to-customers",
    "products-to-products",
    "stock-to-inventory",
    "invoices-to-orders",
)
LIMIT, WINDOW_S = 200, 60.0


@dataclass(slots=True)
class Change:
    """One change: when it was made, and how to tell that the shop has it."""

    flow: str
    at: float
    is_there: Callable[[], bool]


@dataclass(slots=True)
class Watch:
    """What was changed and cannot be seen in the shop yet, and how long the others took, by the clock ``now``."""

    now: Callable[[], float]
    pending: list[Change] = field(default_factory=list)
    waits: dict[str, list[float]] = field(default_factory=dict)

    def look(self) -> None:
        for change in [change for change in self.pending if change.is_there()]:
            self.pending.remove(change)
            self.waits.setdefault(change.flow, []).append(self.now() - change.at)

    def p(self, share: float, flow: str = "") -> float:
        waits = sorted(wait for name, found in self.waits.items() if flow in ("", name) for wait in found)
        return waits[math.ceil(share * len(waits)) - 1]

    def tell(self) -> None:
        for flow in (PATIENTS, PRODUCTS, STOCK, INVOICES, ""):
            print(f"{flow or 'all':>24}  p50 {self.p(0.5, flow):5.1f} s  p95 {self.p(0.95, flow):5.1f} s")


class Practice:
    """A clinic in which each record changes once: what is seen in the shop is then that very change."""

    def __init__(self, world: ClinikoWorld, shop: Shop, each: int, account: Account | None = None) -> None:
        self.world, self.shop, self.draw = world, shop, random.Random(5)
        tax = goods.add_tax(world, account, name="GST", rate="10.0")
        self.patients = [
            str(
                world.add_patient(
                    account, first_name="Mia", last_name=f"Family{number}", email=f"p{number}@example.com"
                )
            )
            for number in range(each)
        ]
        self.named, self.counted = (
            [
                str(goods.add_product(world, account, name=f"{what} {number}", item_code=f"{what}-{number}", price="90", tax_id=tax, stock_level="40.0"))
                for number in range(each)
            ]
            for what in ("Roller", "Band")
        )  # fmt: skip
        self.bills = [
            str(bills.add_invoice(world, [{"price": "100", "rate": 0}], account, status=10, patient_id=patient))
            for patient in self.patients
        ]

    def keys(self) -> set[str]:
        return {*self.patients, *self.named, *self.counted, *self.bills}

    def verbs(self) -> list[tuple[str, Callable[[], Callable[[], bool]]]]:
        """So many changes of each kind, in an order of chance."""
        made = [
            (flow, lambda verb=verb, key=key: verb(key))
            for flow, verb, keys in (
                (PATIENTS, self.rename, self.patients),
                (PRODUCTS, self.retitle, self.named),
                (STOCK, self.count, self.counted),
                (INVOICES, self.pay, self.bills),
            )
            for key in keys
        ]
        self.draw.shuffle(made)
        return made

    def rename(self, key: str) -> Callable[[], bool]:
        self.world.edit_patient(key, first_name="Mila")
        mark = ("suture", "cliniko_patient_id", key)
        return lambda: (self.shop.by_mark(*mark) or {}).get("firstName") == "Mila"

    def retitle(self, key: str) -> Callable[[], bool]:
        goods.edit_product(self.world, key, name=f"Ring {key}")
        return lambda: (self._product(key) or {}).get("title") == f"Ring {key}"

    def count(self, key: str) -> Callable[[], bool]:
        goods.adjust(self.world, key, -7)
        return lambda: self._level(key) == 33

    def pay(self, key: str) -> Callable[[], bool]:
        bills.edit_invoice(self.world, key, status=20)
        mark = ("suture", "cliniko_invoice_id", key, "Order")
        return lambda: told(self.shop.by_mark(*mark) or {})["status"] == "PAID"

    def _product(self, key: str) -> dict | None:
        return self.shop.by_mark("suture", "cliniko_product_id", key, "Product")

    def _level(self, key: str) -> int | None:
        (variant,) = self._product(key)["variants"]
        item = f"{variant['item']['id']}@"
        return next((int(row["available"]) for name, row in self.shop.levels.items() if name.startswith(item)), None)
