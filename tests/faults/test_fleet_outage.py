"""One outage of a vendor in every clinic (B3): the agency hears of it once and once of its end, every clinic recovers, and
nothing is written twice.

`make test` runs it with twenty clinics, `make proof` with two hundred.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.core import mail
from django.db import connections as databases
from django.test import override_settings

from integrations.connectors.cliniko import sandbox as cliniko_sandbox
from integrations.connectors.cliniko.sandbox import ClinikoVendor
from integrations.connectors.cliniko.sandbox_world import Account
from integrations.connectors.sandbox_kit import Fault, FaultKind, Server, SlidingWindow
from integrations.connectors.shopify import sandbox as shopify_sandbox
from integrations.connectors.shopify.sandbox import ShopifyVendor
from integrations.models import (
    Connection,
    ConnectionState,
    Delivery,
    DeliveryState,
    Flow,
    FlowRevision,
    Link,
    Mode,
    QuotaBudget,
)
from integrations.services import alerts, delivery, incidents, intake, pulse
from integrations.services.connections import open_client, save_credentials
from integrations.services.sync import begin_run
from integrations.toolkit.http import Client
from tenants.models import Agency, Tenant
from tenants.services import add_tenant
from tenants.walls import app_now, system_tx, tenant_tx
from tests.conftest import House
from tests.faults.theatre import set_clock
from tests.stage import KIND

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

MANY = 10**7
EACH = 2
DOWN = (Fault(FaultKind.STATUS, times=MANY, status=503), Fault(FaultKind.DROP_BEFORE, times=MANY))
CREATED = re.compile(r"customerCreate\(")


@dataclass(slots=True)
class Clinic:
    tenant: Tenant
    account: Account
    flow_id: int
    patients: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Fleet:
    """Clinics with a practice and a shop each, at one pair of vendors, and the pulse's work done by hand."""

    cliniko: Server[ClinikoVendor]
    shopify: Server[ShopifyVendor]
    clinics: list[Clinic] = field(default_factory=list)
    moved: timedelta = timedelta()
    opened: dict[int, Client] = field(default_factory=dict)

    def open(self, agency: Agency, number: int) -> None:
        slug = f"fleet-{number}"
        tenant = add_tenant(agency=agency, slug=slug, name=f"Fleet {number}")
        account = self.cliniko.vendor.world.add_account(f"{slug}-au1", tenant.name)
        self.shopify.vendor.configure(slug, capacity=10.0**7, restore_rate=10.0**6)
        with tenant_tx(tenant.pk):
            practice = Connection.objects.create(name="practice", vendor="cliniko")
            save_credentials(practice, {"api_key": f"{slug}-au1", "contact_email": "ops@agency.example"})
            shop = Connection.objects.create(name="shop", vendor="shopify", account=f"{slug}.myshopify.com")
            save_credentials(shop, {"access_token": f"shpat_{slug}"})
            sides = {"source": practice, "target": shop}
            flow = Flow.objects.create(name=KIND, kind=KIND, mode=Mode.LIVE, start="all", revision_number=1, **sides)
            FlowRevision.objects.create(flow=flow, number=1, config={"settings": {}})
        self.clinics.append(Clinic(tenant, account, flow.pk))

    def arrive(self, clinic: Clinic) -> None:
        number = len(clinic.patients)
        named = {
            "first_name": f"Given{number}",
            "last_name": "Fleet",
            "email": f"p{number}@{clinic.tenant.slug}.example",
        }
        patient = self.cliniko.vendor.world.add_patient(clinic.account, **named)
        clinic.patients.append(str(patient))

    def pass_over(self) -> None:
        """A pass of every clinic's flow begins."""
        for clinic in self.clinics:
            begin_run(clinic.tenant.pk, clinic.flow_id, trigger="test")

    def work(self) -> None:
        while True:
            runs, drains = pulse.due_runs(), pulse.due_drains()
            if not runs and not drains:
                return
            self.widen()
            for ring in runs:
                with tenant_tx(ring.tenant_id):
                    source = Connection.objects.get(name="practice")
                intake.run_slice(ring.tenant_id, ring.id, seconds=30, client=self._open(ring.tenant_id, source))
            for ring in drains:
                delivery.drain(ring.tenant_id, ring.id, seconds=30, opener=self._open)

    def tell(self) -> None:
        incidents.tell()
        for tenant_id in pulse.due_tellings()[0]:
            alerts.tell(tenant_id)

    def beat(self, span: timedelta) -> None:
        """What the pulse does for so long: the clock moves to what is due next, by a minute at most."""
        ends = self.moved + span
        while self.moved < ends:
            self.work()
            self.tell()
            due = pulse.next_due_at()
            wait = timedelta(minutes=1) if due is None else min(timedelta(minutes=1), due - app_now())
            self.forward(max(wait, timedelta(seconds=1)))

    def forward(self, by: timedelta) -> None:
        self.moved += by
        set_clock(self.moved)
        self.cliniko.clock.advance(by.total_seconds())
        self.shopify.clock.advance(by.total_seconds())

    def widen(self) -> None:
        """No quota makes anybody wait: other tests are about them."""
        with system_tx("test"):
            QuotaBudget.objects.filter(capacity__lt=10.0**7).update(amount=10.0**6, per_s=1, capacity=10.0**7)
            QuotaBudget.objects.update(amount=10.0**6)

    def _open(self, tenant_id: int, connection: Connection, **how: object) -> Client:
        if connection.pk not in self.opened:
            client = open_client(tenant_id, connection, patience_s=0.3)
            client._sleep = lambda seconds: None  # type: ignore[attr-defined]  # between tries of a read
            self.opened[connection.pk] = client
        return self.opened[connection.pk]


@contextmanager
def fleet(agency: Agency, clinics: int) -> Iterator[Fleet]:
    with cliniko_sandbox.serve(seed=lambda _: None) as cliniko, shopify_sandbox.serve() as shopify:
        cliniko.vendor.limit = SlidingWindow(MANY, 60)
        urls = {"cliniko": cliniko.url, "shopify": f"{shopify.url}/{{account}}"}
        shown = Fleet(cliniko, shopify)
        with override_settings(SUTURE_SANDBOX=True, SUTURE_VENDOR_URLS=urls):
            try:
                for number in range(clinics):
                    shown.open(agency, number)
                yield shown
            finally:
                for client in shown.opened.values():
                    client.close()  # type: ignore[attr-defined]
                set_clock(timedelta())
                databases["owner"].close()


def play(agency: Agency, clinics: int) -> None:
    with fleet(agency, clinics) as shown:
        for clinic in shown.clinics:
            for _ in range(EACH):
                shown.arrive(clinic)
        shown.pass_over()
        shown.beat(timedelta(minutes=5))
        assert_all_there(shown)
        assert mail.outbox == []

        shown.shopify.journal.keep_bodies = True
        for number, fault in enumerate(DOWN):
            shown.shopify.faults.clear()
            shown.shopify.faults.add(fault)
            for clinic in shown.clinics:
                shown.arrive(clinic)
            shown.pass_over()
            shown.beat(timedelta(minutes=30))
            assert len(mail.outbox) == 1, f"{number}: {[one.subject for one in mail.outbox]}"
        states = [state_of(clinic) for clinic in shown.clinics]
        assert states == [ConnectionState.FAILING] * clinics
        print(f"{clinics} clinics: {mail.outbox[0].subject!r}")
        assert re.fullmatch(r"Shopify has stopped for \d+ clinics", mail.outbox[0].subject)
        assert len(mail.outbox[0].to) == 1

        shown.shopify.faults.clear()
        shown.beat(timedelta(minutes=90))
        print(f"{clinics} clinics: {mail.outbox[-1].subject!r}, {len(mail.outbox)} mails in all")
        assert [one.subject for one in mail.outbox[1:]] == ["Shopify works again everywhere"]
        assert [state_of(clinic) for clinic in shown.clinics] == [ConnectionState.OK] * clinics
        assert_all_there(shown)
        assert_written_once(shown)


def state_of(clinic: Clinic) -> str:
    with tenant_tx(clinic.tenant.pk):
        return str(Connection.objects.get(name="shop").state)


def assert_all_there(shown: Fleet) -> None:
    for clinic in shown.clinics:
        with tenant_tx(clinic.tenant.pk):
            linked = set(Link.objects.values_list("source_key", flat=True))
            open_rows = Delivery.objects.exclude(state=DeliveryState.DONE).count()
        assert linked == set(clinic.patients) and open_rows == 0, clinic.tenant.slug
        customers = shown.shopify.vendor.shop(clinic.tenant.slug).customers.values()
        assert sorted(row["email"] for row in customers) == sorted(
            f"p{number}@{clinic.tenant.slug}.example" for number in range(len(clinic.patients))
        )


def assert_written_once(shown: Fleet) -> None:
    """By the vendor's journal: of each person one create that it took."""
    taken: Counter[str] = Counter()
    for entry in shown.shopify.journal.entries():
        if entry.status == 200 and not entry.fault and entry.body and CREATED.search(entry.body):
            taken.update(set(re.findall(r"p\d+@fleet-\d+\.example", json.dumps(json.loads(entry.body)))))
    assert set(taken.values()) == {1}
    assert len(taken) == len(DOWN) * len(shown.clinics)


def test_b3_one_outage_in_twenty_clinics_is_one_mail(house: House) -> None:
    play(house.agency, 20)


@pytest.mark.proof
def test_b3_one_outage_in_two_hundred_clinics_is_one_mail(house: House) -> None:
    play(house.agency, 200)
