"""Children that wait for a parent are sent on by its link, whatever happens in between: none waits for ever."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError
from django.db import connection as database
from django.db import connections as databases
from django.test import override_settings

from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.models import Delivery, Flow, Run
from integrations.services import children, delivery, intake
from integrations.services.parents import WAITS_MAX
from tenants.walls import app_now, tenant_tx
from tests.conftest import House
from tests.stage import Stage, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
MIA = {"first_name": "Mia", "last_name": "Chen", "email": "mia@example.com"}


@pytest.fixture
def till(house: House) -> Iterator[Stage]:
    with stage(house.harbour) as built, override_settings(SUTURE_PARENT_WAIT_S=0.2):
        built.join("invoices-to-orders")
        yield built


def read_only(till: Stage, flow_id: int = 0) -> None:
    with tenant_tx(till.tenant.pk):
        run = intake.start_run(flow_id or till.flow_id, trigger="person", now=app_now())
    assert isinstance(run, Run)
    intake.run_slice(till.tenant.pk, run.pk, seconds=60)


def drain(till: Stage) -> None:
    delivery.drain(till.tenant.pk, till.connection_id("shop"), seconds=60)


def test_a_credit_note_whose_patience_ends_beside_its_invoice_follows_it(till: Stage):
    key = str(bills.add_invoice(till.world, [{"price": "50", "rate": 0}], status=20))
    note = str(bills.credit(till.world, key, status=20))
    read_only(till)
    with tenant_tx(till.tenant.pk):
        Delivery.objects.filter(source_key=note).update(looks=WAITS_MAX)
    drain(till)
    assert till.held() == {}
    till.sync_all()
    (order,) = till.shop.orders.values()
    assert len(order["refunds"]) == 1


def test_a_link_and_a_child_that_is_held_for_it_go_one_after_the_other(house: House):
    """The second waits for the first to commit, so that it sees what the first did."""

    def held_meanwhile() -> bool:
        try:
            with tenant_tx(house.harbour.pk), database.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '300ms'")
                children.in_turn()
        except OperationalError:
            return True
        finally:
            databases.close_all()
        return False

    with tenant_tx(house.harbour.pk), ThreadPoolExecutor(1) as other:
        children.in_turn()
        assert other.submit(held_meanwhile).result(timeout=20)


def test_an_invoice_of_a_patient_who_was_merged_away_goes_to_the_survivor(till: Stage):
    survivor = str(till.world.add_patient(**MIA))
    double = str(till.world.add_patient(first_name="M", last_name="Chen", email=None))
    key = str(bills.add_invoice(till.world, [{"price": "50", "rate": 0}], status=20, patient_id=double))
    till.sync_all()
    assert till.held() == {double: "record.email_missing", key: "parent.missing"}
    till.world.merge(double, survivor)
    till.sync_all()
    assert till.held() == {}
    (order,) = till.shop.orders.values()
    assert str(order["customer"]) == till.links()[survivor]


@pytest.mark.parametrize("is_read_again", [False, True])
def test_an_invoice_of_a_patient_who_was_merged_before_anything_was_synced_goes_to_the_survivor(
    till: Stage, is_read_again: bool
):
    """The survivor has no link yet when the merge is read, and the patients are not read again before the invoice."""
    survivor = str(till.world.add_patient(**MIA))
    double = str(till.world.add_patient(first_name="M", last_name="Chen", email=None))
    bills.add_invoice(till.world, [{"price": "50", "rate": 0}], status=20, patient_id=double)
    till.world.merge(double, survivor)
    with tenant_tx(till.tenant.pk):
        patients = Flow.objects.exclude(pk=till.flow_id).get().pk
    read_only(till, patients)
    if is_read_again:  # a newer wish takes the place of the one that was to answer for the merged record
        till.world.edit_patient(survivor, first_name="Maya")
        read_only(till, patients)
    drain(till)
    till.sync()
    assert till.held() == {}
    (order,) = till.shop.orders.values()
    assert str(order["customer"]) == till.links()[survivor]


def test_an_invoice_of_a_survivor_follows_the_link_that_the_merge_gives_it(till: Stage):
    linked = str(till.world.add_patient(**MIA))
    survivor = str(till.world.add_patient(first_name="M", last_name="Chen", email=None))
    key = str(bills.add_invoice(till.world, [{"price": "50", "rate": 0}], status=20, patient_id=survivor))
    till.sync_all()
    assert till.held()[key] == "parent.missing"
    till.world.merge(linked, survivor)
    till.sync_all()
    assert key not in till.held()
    assert len(till.shop.orders) == 1


def test_an_order_is_made_without_a_customer_only_where_none_will_come(house: House):
    """The patient is new and not read yet: what is left out now would be missing for ever."""
    with stage(house.harbour) as till, override_settings(SUTURE_PARENT_WAIT_S=0.2):
        till.join("invoices-to-orders", missing_customer="drop")
        patient = str(till.world.add_patient(**MIA))
        nobody = str(till.world.add_patient(first_name="No", last_name="Mail", email=None))
        for one in (patient, nobody):
            bills.add_invoice(till.world, [{"price": "50", "rate": 0}], status=20, patient_id=one)
        read_only(till)
        drain(till)
        assert not till.shop.orders
        till.sync_all()
        assert sorted(str(order["customer"]) for order in till.shop.orders.values()) == sorted(
            [till.links()[patient], "None"]
        )
