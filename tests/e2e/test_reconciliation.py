"""Both sides compared: every planted divergence is found, none invented, and its cause told (C02, C10, C12, K35, B7)."""

import csv
import json
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import override_settings

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.connectors.cliniko.sandbox_shelves import rows_of
from integrations.connectors.shopify.sandbox_call import gid
from integrations.connectors.shopify.sandbox_orders import MUTATIONS
from integrations.models import Delivery, Link
from integrations.services import intake
from integrations.services.sync import begin_run
from reconciliation import mailing
from reconciliation.models import MailEvery, Mailing, Mismatch, Report
from tenants.walls import app_now, tenant_tx
from tests.conftest import House, MovedClock
from tests.reports import Seen, compared, copy_customer, customer, edit, mark, patients, rows, seen
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

PATIENTS, PRODUCTS = "patients-to-customers", "products-to-products"
INVOICES, STOCK, SALES = "invoices-to-orders", "stock-to-inventory", "shop-sales-to-stock-adjustments"
NAMES = ("ada", "ben", "cal", "dee", "eve", "fay", "gus", "hal", "ida", "jon", "kim", "lea", "max", "nia")


@pytest.fixture
def clinic(house: House) -> Iterator[Stage]:
    with stage(house.harbour) as built:
        open_wide(built)
        yield built


def test_a_freshly_synced_clinic_agrees(clinic: Stage) -> None:
    patients(clinic, NAMES)
    clinic.shop.create({"firstName": "Walk", "lastName": "In", "email": "walk.in@example.com"})
    clinic.sync()
    report = compared(clinic)
    assert (report.left, report.right, report.agree, report.others) == (14, 15, 14, 1)
    assert report.agreement == 100 and rows(clinic) == []


def test_a_comparison_that_finds_something_new_is_mailed_next_morning(clinic: Stage) -> None:
    """Where the clinic wants it; what was found before is no news."""
    keys = patients(clinic, NAMES[:2])
    clinic.sync()
    with tenant_tx(clinic.tenant.pk):
        mailing.choose(clinic.tenant, MailEvery.FINDINGS, app_now())
    compared(clinic)
    assert _mail_due(clinic) is None
    edit(clinic, keys["ada"], lastName="Smith")
    compared(clinic)
    assert _mail_due(clinic) is not None
    with tenant_tx(clinic.tenant.pk):
        Mailing.objects.update(next_due_at=None)
    compared(clinic)
    assert _mail_due(clinic) is None


def _mail_due(clinic: Stage) -> datetime | None:
    with tenant_tx(clinic.tenant.pk):
        due: datetime | None = Mailing.objects.get().next_due_at
        return due


def test_every_planted_divergence_is_found_and_none_invented(clinic: Stage) -> None:
    """C12, B7, ask 17, A37: and each with its cause."""
    keys = patients(clinic, NAMES)
    clinic.sync()
    links = clinic.links()
    to = {name: links[key] for name, key in keys.items()}
    planted = {
        _edited_by_hand(clinic, keys["ada"]),
        _deleted_in_the_shop(clinic, keys["ben"]),
        _gone_from_the_practice(clinic, keys["cal"]),
        _edited_in_the_practice(clinic, keys["dee"]),
        _copied_in_the_shop(clinic, keys["eve"]),
        Seen("missing_right", clinic.world.add_patient(first_name="New", email="new@example.com"), cause="missed"),
        _archived(clinic, keys["fay"]),
    }
    clinic.world.remove(keys["gus"])
    clinic.shop.remove(int(to["gus"]))
    planted.add(Seen("linked_to_nothing", keys["gus"], to["gus"], cause="deleted"))
    edit(clinic, keys["hal"], metafields=mark(clinic, customer(clinic, keys["hal"]), keys["ida"]))
    planted.add(Seen("linked_twice", keys["hal"], to["hal"], cause="hand"))
    clinic.world.merge(keys["jon"], keys["kim"])
    planted.add(Seen("linked_twice", keys["jon"], to["jon"], cause="archived"))
    report = compared(clinic)
    assert seen(clinic) == planted
    assert report.counts == {
        "agree": 6, "different": 3, "missing_right": 2, "missing_left": 1, "duplicate": 1, "linked_twice": 2,
        "linked_to_nothing": 1, "left_out": 0, "others": 0,
    }  # fmt: skip
    assert (report.left, report.right, report.found) == (13, 13, len(planted))


def _edited_by_hand(clinic: Stage, key: str) -> Seen:
    return Seen("different", key, edit(clinic, key, lastName="Smith"), "lastName", "hand")


def _deleted_in_the_shop(clinic: Stage, key: str) -> Seen:
    target = clinic.links()[key]
    clinic.shop.remove(int(target))
    return Seen("missing_right", key, target, cause="deleted")


def _gone_from_the_practice(clinic: Stage, key: str) -> Seen:
    clinic.world.remove(key)
    return Seen("missing_left", key, clinic.links()[key], cause="deleted")


def _edited_in_the_practice(clinic: Stage, key: str) -> Seen:
    clinic.world.edit_patient(key, email="dee.new@example.com")
    return Seen("different", key, clinic.links()[key], "email", "missed")


def _copied_in_the_shop(clinic: Stage, key: str) -> Seen:
    return Seen("duplicate", key, copy_customer(clinic, key))


def _archived(clinic: Stage, key: str) -> Seen:
    clinic.world.archive(key)
    return Seen("different", key, clinic.links()[key], "tag.inactive", "archived")


def test_what_is_held_or_on_its_way_says_so(clinic: Stage) -> None:
    """K36: the error desk's code is told."""
    keys = patients(clinic, NAMES[:2])
    clinic.sync()
    held = clinic.world.add_patient(first_name="Ann", last_name="Nomail")
    clinic.sync()
    clinic.world.edit_patient(keys["ada"], last_name="Under-Way")
    _read_only(clinic)
    compared(clinic)
    assert seen(clinic) == {
        Seen("missing_right", held, cause="held", code="record.email_missing"),
        Seen("different", keys["ada"], clinic.links()[keys["ada"]], "lastName", "not_delivered"),
    }


def _read_only(clinic: Stage) -> None:
    """The source is read, and nothing is delivered yet."""
    run_id = begin_run(clinic.tenant.pk, clinic.flow_id)
    assert run_id is not None
    intake.run_slice(clinic.tenant.pk, run_id, seconds=30)


def test_a_mismatch_keeps_its_first_sight_and_closes_itself(clinic: Stage, clock: MovedClock) -> None:
    """C08, C12: age, and what recovers."""
    keys = patients(clinic, NAMES[:3])
    clinic.sync()
    edit(clinic, keys["ada"], lastName="Smith")
    first = compared(clinic)
    clock.forward(timedelta(days=2))
    again = compared(clinic)
    (row,) = rows(clinic)
    assert (row.first_seen, row.last_seen, row.report_id) == (first.started_at, again.started_at, again.pk)
    assert (again.found, again.closed) == (0, 0)
    edit(clinic, keys["ada"], lastName="Chen-Ada")
    last = compared(clinic)
    assert rows(clinic) == [] and (last.found, last.closed, last.agree) == (0, 1, 3)
    with tenant_tx(clinic.tenant.pk):
        closed = Mismatch.objects.get()
        assert closed.closed_at is not None and closed.sealed_values is None
        assert Report.objects.count() == 3


def test_what_sync_repairs_is_gone_in_the_next_report(clinic: Stage) -> None:
    keys = patients(clinic, NAMES[:3])
    clinic.sync()
    clinic.world.edit_patient(keys["ada"], last_name="Renamed")
    clinic.world.add_patient(first_name="New", last_name="Patient", email="new@example.com")
    assert compared(clinic).agree == 2
    clinic.sync()
    report = compared(clinic)
    assert (report.agree, report.closed) == (4, 2) and rows(clinic) == []


def test_nothing_is_written_at_either_vendor(clinic: Stage) -> None:
    keys = patients(clinic, NAMES)
    clinic.sync()
    edit(clinic, keys["ada"], lastName="Smith")
    writes, asked = clinic.writes, len(clinic.cliniko.journal.entries())
    compared(clinic)
    assert clinic.writes == writes
    assert {entry.method for entry in clinic.cliniko.journal.entries()[asked:]} == {"GET"}


def test_consent_that_was_withdrawn_in_the_shop_is_no_mismatch(clinic: Stage) -> None:
    """A46, C03: the flow leaves it to the shop, and so does the report."""
    keys = patients(clinic, NAMES[:2])
    clinic.sync()
    edit(clinic, keys["ada"], emailState="UNSUBSCRIBED")
    compared(clinic)
    assert rows(clinic) == []


def test_a_lost_link_is_found_by_its_marker(clinic: Stage) -> None:
    keys = patients(clinic, NAMES[:2])
    clinic.sync()
    with tenant_tx(clinic.tenant.pk):
        Link.objects.get(source_key=keys["ada"]).delete()
    assert compared(clinic).agree == 2 and rows(clinic) == []


def test_patients_without_consent_are_left_out(clinic: Stage) -> None:
    keys = patients(clinic, NAMES[:3])
    clinic.world.edit_patient(keys["ada"], accepted_privacy_policy=False)
    clinic.sync()
    report = compared(clinic)
    assert (report.left, report.agree, report.left_out, report.right) == (3, 2, 1, 2) and rows(clinic) == []


def test_records_before_the_start_are_left_out(clinic: Stage) -> None:
    """K42."""
    old = clinic.world.add_patient(first_name="Old", email="old@example.com", created_at="2020-01-01T00:00:00Z")
    clinic.set_flow(start="activation")
    clinic.sync()
    patients(clinic, NAMES[:1])
    clinic.sync()
    report = compared(clinic)
    assert old not in clinic.links() and (report.agree, report.left_out) == (1, 1) and rows(clinic) == []


def test_the_command_prints_the_counts_and_writes_the_file(clinic: Stage, tmp_path: Path) -> None:
    """Section 9 of the interfaces: names that stay."""
    keys = patients(clinic, NAMES[:4])
    clinic.sync()
    edit(clinic, keys["ada"], lastName="Smith")
    clinic.shop.remove(int(clinic.links()[keys["ben"]]))
    clinic.world.remove(keys["cal"])
    file, told = tmp_path / "mismatches.csv", StringIO()
    call_command("reconcile", tenant=clinic.tenant.slug, flow=PATIENTS, csv=str(file), json=True, stdout=told)
    answer = json.loads(told.getvalue())
    (flow,) = answer["flows"]
    assert answer["ok"] is True
    counted = {name: flow[name] for name in ("left", "right", "agree", "missing_left", "missing_right", "different")}
    assert counted == {"left": 3, "right": 3, "agree": 1, "missing_left": 1, "missing_right": 1, "different": 1}
    assert flow["duplicate"] == 0 and flow["seconds"] > 0 and flow["flow"] == PATIENTS
    lines = list(csv.DictReader(StringIO(file.read_text(encoding="utf-8-sig"))))
    assert len(lines) == 3
    (named,) = (line for line in lines if line["Field"])
    assert (named["Field"], named["Value at the source"], named["Value at the target"]) == ("Last name", "C***", "S***")
    assert named["Probable cause"] == "Edited by hand in Shopify"
    words = StringIO()
    call_command("reconcile", tenant=clinic.tenant.slug, stdout=words)
    assert "3 and 3 records" in words.getvalue() and "1 agree, 1 different" in words.getvalue()


def test_a_vendor_that_is_down_makes_the_command_say_so(clinic: Stage) -> None:
    patients(clinic, NAMES[:1])
    clinic.sync()
    with override_settings(
        SUTURE_VENDOR_URLS={"cliniko": "http://127.0.0.1:9", "shopify": "http://127.0.0.1:9/{account}"}
    ):
        told = StringIO()
        with pytest.raises(SystemExit) as end:
            call_command("reconcile", tenant=clinic.tenant.slug, max_wait=0, json=True, stdout=told)
        assert end.value.code == 1 and json.loads(told.getvalue())["ok"] is False
        words, trouble, began = StringIO(), StringIO(), time.monotonic()
        with pytest.raises(SystemExit):
            call_command("reconcile", tenant=clinic.tenant.slug, max_wait=4, stdout=words, stderr=trouble)
    assert time.monotonic() - began < 30  # gives up although each single wait was shorter than that
    assert trouble.getvalue().count("Trying again") == 1 and "not finished" in words.getvalue()
    assert rows(clinic) == []


# -- every flow kind


@pytest.fixture
def month(house: House) -> Iterator[Stage]:
    """A clinic with something in each flow, all of it delivered."""
    with stage(house.harbour) as built, override_settings(SUTURE_PARENT_WAIT_S=0.2):
        built.join(PRODUCTS)
        built.join(STOCK, location=str(next(iter(built.shop.locations))))
        built.join(INVOICES)
        open_wide(built)
        keys = patients(built, NAMES)
        tax = goods.add_tax(built.world, name="GST", rate="10.0")
        shelf = [
            goods.add_product(
                built.world,
                name=f"Roller {n}",
                item_code=f"FR-{n}",
                price="90",
                cost_price=f"{n}.125",
                tax_id=tax,
                stock_level=f"{n}.0",
            )
            for n in range(1, 6)
        ]
        for number, patient in enumerate(keys.values()):
            service = {"name": "Visit", "code": "V", "price": "100", "rate": 0, "billable_item_id": "5"}
            bill = bills.add_invoice(
                built.world,
                [service, {"product_id": shelf[number % 5], "price": "90", "quantity": 2}],
                status=(10, 20)[number % 2],
                patient_id=patient,
            )
            if number == 1:
                bills.credit(built.world, bill)
        built.sync_all()
        built.sync_all()
        yield built


def flow_of(on_stage: Stage, kind: str) -> int:
    with tenant_tx(on_stage.tenant.pk):
        from integrations.models import Flow

        return int(Flow.objects.get(kind=kind).pk)


@pytest.mark.parametrize(("kind", "count"), [(PATIENTS, 14), (PRODUCTS, 5), (STOCK, 5), (INVOICES, 15)])
def test_every_flow_kind_agrees_after_its_sync(month: Stage, kind: str, count: int) -> None:
    """C10, C07, K12."""
    report = compared(month, flow_of(month, kind))
    assert month.held() == {}
    assert (report.left, report.agree, report.left_out) == (count, count, 0)
    assert rows(month, flow_of(month, kind)) == []


def test_stock_and_prices_edited_in_the_shop_are_found(month: Stage) -> None:
    """K33, K35: the drift that stock edits in the store make."""
    shop = month.shop
    name, level = next((name, level) for name, level in shop.levels.items() if level["isActive"])
    level["available"] = int(level["available"]) + 7
    stock = flow_of(month, STOCK)
    compared(month, stock)
    (drift,) = rows(month, stock)
    assert (drift.kind, drift.target_key, drift.field, drift.cause) == ("different", name, "available", "hand")
    product = next(iter(shop.products.values()))
    product["variants"][0]["price"] = "1.00"
    shop.store(product)
    products = flow_of(month, PRODUCTS)
    compared(month, products)
    (cheap,) = rows(month, products)
    assert (cheap.target_key, cheap.field, cheap.cause) == (str(product["id"]), "price", "hand")


@pytest.fixture
def till(house: House) -> Iterator[Stage]:
    with stage(house.harbour, mode="off") as built, override_settings(SUTURE_PARENT_WAIT_S=0.1):
        built.join(PRODUCTS)
        built.join(SALES, start="activation")
        open_wide(built)
        goods.add_product(built.world, name="Roller", item_code="FR-1", price="90", stock_level="10.0")
        built.sync_all()
        (product,) = built.shop.products.values()
        (variant,) = product["variants"]
        line = {
            "variantId": gid("ProductVariant", variant["id"]),
            "quantity": 2,
            "taxable": True,
            "requiresShipping": True,
        }
        assert not MUTATIONS["orderCreate"](built.shop, {"order": {"lineItems": [line]}})["userErrors"]
        built.sync_all()
        yield built


def test_sales_agree_with_the_stock_adjustments_made_for_them(till: Stage) -> None:
    report = compared(till)
    assert (report.left, report.agree, report.right) == (1, 1, 1) and rows(till) == []


def test_a_sale_that_was_booked_twice_is_found(till: Stage) -> None:
    """V9: the doubled adjustment carries the same reference."""
    ((key, adjustment),) = rows_of(till.world, "stock_adjustments").items()
    again = goods.adjust(
        till.world, adjustment["product_id"], adjustment["quantity"], "Item Sold", notes=adjustment["notes"]
    )
    report = compared(till)
    (row,) = rows(till)
    assert (row.kind, row.target_key, report.duplicate, report.agree) == ("duplicate", again, 1, 1)
    assert key != again


# -- preview


def test_a_preview_says_that_nothing_was_delivered(house: House) -> None:
    with stage(house.harbour, mode="preview") as built:
        open_wide(built)
        keys = patients(built, NAMES[:1])
        built.sync()
        compared(built)
        assert seen(built) == {Seen("missing_right", keys["ada"], cause="not_delivered", code="mode.preview")}
        with tenant_tx(built.tenant.pk):
            assert not Delivery.objects.exclude(state="done").exists()
