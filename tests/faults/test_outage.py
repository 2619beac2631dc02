"""Six hours without the shop (C24, ask 8): the practice goes on, the passes go on, and when the shop is back nothing is
lost, nothing is doubled, the newest state of each record wins, and people heard of it once.

`make test` runs a sixth of the changes, `make proof` all of them.
"""

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core import mail
from django.test import override_settings

from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.connectors.shopify.sandbox_orders import told
from integrations.models import ConnectionState
from integrations.services import alerts, incidents
from tenants.walls import app_now
from tests.conftest import House
from tests.faults.invariants import assert_invariants
from tests.faults.theatre import Theatre, theatre

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

INVOICE_MARK = "suture.cliniko_invoice_id"
PASS_S, PASSES = 900.0, 24
MANY = 10**6
DOWN = (Fault(FaultKind.STATUS, times=MANY, status=503), Fault(FaultKind.DROP_BEFORE, times=MANY))
WRITTEN = re.compile(r"Given(\d+) v(\d+)")


@pytest.fixture
def shown(house: House) -> Iterator[Theatre]:
    with theatre(house.harbour) as built, override_settings(SUTURE_PARENT_WAIT_S=1):
        built.join("invoices-to-orders")
        yield built


@dataclass(slots=True)
class Practice:
    """What the clinic's people do. Each change of a patient counts up in the first name."""

    shown: Theatre
    draw: random.Random
    patients: list[str] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    sent: list[str] = field(default_factory=list)  # invoices that are orders when the shop goes down
    fresh: list[str] = field(default_factory=list)

    def open(self, patients: int, invoices: int) -> None:
        for number in range(patients):
            named = {"first_name": f"Given{number} v0", "last_name": f"Family{number}"}
            self.patients.append(str(self.shown.world.add_patient(**named, email=f"p{number}@example.com")))
        self.sent = [self.bill() for _ in range(invoices)]

    def bill(self) -> str:
        treated = {"price": str(self.draw.randint(40, 180)), "rate": 0, "billable_item_id": "9"}
        patient = self.draw.choice(self.patients)
        return str(bills.add_invoice(self.shown.world, [treated], status=10, patient_id=patient))

    def change(self) -> None:
        """One change: most of them to a patient, else to an invoice, which may be a new one."""
        self.draw.choice((self.rename, self.rename, self.rename, self.pay, self.reprice))()

    def rename(self) -> None:
        number = self.draw.randrange(len(self.patients))
        key = self.patients[number]
        self.versions[key] += 1
        self.shown.world.edit_patient(key, first_name=f"Given{number} v{self.versions[key]}")

    def pay(self) -> None:
        bills.edit_invoice(self.shown.world, self.draw.choice(self.sent + self.fresh), status=20)

    def reprice(self) -> None:
        """Of an invoice that the shop has not heard of; the price of an order is fixed."""
        key = self.draw.choice(self.fresh)
        (item,) = bills.items_of(self.shown.world, key)
        bills.edit_item(self.shown.world, item, price=str(self.draw.randint(40, 180)))


def six_hours(shown: Theatre, practice: Practice, changes: int) -> None:
    """Ordinary passes and whatever else is due, while changes come evenly and the shop fails in turn in two ways."""
    done = 0
    for number in range(PASSES):
        shown.shopify.faults.clear()
        shown.shopify.faults.add(DOWN[number // 4 % 2])
        ends = shown.moved + timedelta(seconds=PASS_S)
        while done < changes * (number + 1) // PASSES:
            practice.change()
            done += 1
            beat(shown, until=shown.moved + timedelta(seconds=PASS_S * PASSES / changes / 2))
        shown.start_all()
        beat(shown, until=ends)


def beat(shown: Theatre, *, until: timedelta) -> None:
    """What the pulse does until then."""
    while True:
        shown.work()
        incidents.tell()
        alerts.tell(shown.tenant.pk)
        due = shown.next_due()
        wait = timedelta(days=1) if due is None else max(due - app_now(), timedelta(seconds=0.1))
        shown.forward(max(0.0, min(wait, until - shown.moved).total_seconds()))
        if shown.moved >= until:
            return


def recover(shown: Theatre) -> timedelta:
    shown.calm()
    took = shown.settle()
    for _ in range(2):
        shown.start_all()
        shown.settle()
    incidents.tell()
    alerts.tell(shown.tenant.pk)
    return took


def orders(shown: Theatre) -> dict[str, list[dict]]:
    """Orders by the invoice they carry."""
    found = defaultdict(list)
    for order in shown.shop.orders.values():
        found[str(order["metafields"][INVOICE_MARK]["value"])].append(told(order))
    return found


def versions_written(shown: Theatre) -> dict[str, list[int]]:
    """For each customer the versions of its first name that the shop took, in the order of arrival."""
    written = defaultdict(list)
    for entry in shown.shopify.journal.entries():
        if entry.status != 200 or entry.fault or not entry.body:
            continue
        for number, version in WRITTEN.findall(json.dumps(json.loads(entry.body).get("variables"))):
            written[number].append(int(version))
    return written


def play(shown: Theatre, *, patients: int, invoices: int, changes: int) -> None:
    practice = Practice(shown, random.Random(11))
    practice.open(patients, invoices // 2)
    shown.start_all()
    shown.settle()
    assert len(shown.links()) == patients + invoices // 2
    shown.forward(600)
    shown.shopify.journal.keep_bodies = True
    mail.outbox.clear()
    practice.fresh = [practice.bill() for _ in range(invoices - invoices // 2)]
    asked = len(shown.shopify.journal.entries())

    six_hours(shown, practice, changes)
    knocked = len(shown.shopify.journal.entries()) - asked
    print(f"{changes} changes in six hours, {knocked} calls to the dead shop")
    assert knocked <= 100, "the breaker lets few calls through"
    assert shown.connection("shop").state == ConnectionState.FAILING
    assert not shown.held()
    assert len(mail.outbox) == 1 and "has stopped" in mail.outbox[0].subject

    assert recover(shown) <= timedelta(hours=1)
    assert shown.connection("shop").state == ConnectionState.OK
    assert [" ".join(one.subject.split()[-2:]) for one in mail.outbox] == ["has stopped", "works again"]
    _nothing_is_lost_or_doubled(shown, practice)
    _nothing_went_back(shown, practice)


def _nothing_is_lost_or_doubled(shown: Theatre, practice: Practice) -> None:
    assert_invariants(shown)
    assert not shown.held()
    marked = shown.marked()
    assert sorted(marked) == sorted(practice.patients)
    for number, key in enumerate(practice.patients):
        assert [row["firstName"] for row in marked[key]] == [f"Given{number} v{practice.versions[key]}"]
    made = orders(shown)
    assert sorted(made) == sorted(practice.sent + practice.fresh)
    for key, found in made.items():
        bill = bills.rows_of(shown.world, "invoices")[key]
        status = "PAID" if bill["status"] == 20 else "PENDING"
        assert [(one["status"], Decimal(one["total"])) for one in found] == [(status, Decimal(bill["total_amount"]))]


def _nothing_went_back(shown: Theatre, practice: Practice) -> None:
    written = versions_written(shown)
    changed = [number for number, key in enumerate(practice.patients) if practice.versions[key]]
    assert sorted(written, key=int) == [str(number) for number in changed]
    assert all(versions == sorted(set(versions)) for versions in written.values()), "each version once, none goes back"


def test_six_hours_without_the_shop(shown: Theatre) -> None:
    play(shown, patients=20, invoices=12, changes=84)


@pytest.mark.proof
def test_six_hours_without_the_shop_and_five_hundred_changes(shown: Theatre) -> None:
    play(shown, patients=60, invoices=40, changes=500)


def test_the_outage_that_begins_between_a_write_and_its_answer(shown: Theatre) -> None:
    """The last thing that the shop did before it went away is not done again."""
    practice = Practice(shown, random.Random(3))
    practice.open(8, 4)
    shown.shopify.faults.add(Fault(FaultKind.DROP_AFTER, contains="customerCreate("))
    shown.start_all()
    shown.work()
    shown.shopify.faults.add(DOWN[0])
    beat(shown, until=shown.moved + timedelta(hours=6))
    made = len(shown.customers())
    assert made > 0 and not shown.links()
    recover(shown)
    assert made == len(shown.customers()) == 8
    _nothing_is_lost_or_doubled(shown, practice)
