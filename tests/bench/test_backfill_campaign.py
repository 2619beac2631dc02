"""A backfill at the vendors' own limits: killed three times, carried on, as long as predicted, and no larger for it.

Clocks run faster, ratios stay true: the shop's points come back ``speed`` times as fast, and so does the practice's
window. `make test` shows that nothing is lost; what it costs in time and memory is shown by the whole campaign.
"""

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, connections

from integrations.connectors import CONNECTORS
from integrations.connectors.cliniko import sandbox_trade as trade
from integrations.connectors.sandbox_kit import SlidingWindow
from integrations.connectors.shopify.customers import CUSTOMERS
from integrations.models import Connection, QuotaBudget, Run
from integrations.services import backfill
from integrations.services.connections import test_connection as probe
from integrations.services.quota import ensure_budget
from tenants.walls import system_tx, tenant_tx
from tests.conftest import House
from tests.faults.theatre import set_clock
from tests.stage import SHOP, Stage, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
INVOICES, PATIENTS = "invoices-to-orders", "patients-to-customers"
ROWS_PER_S = 500.0
MOST_OFF = 0.15
MOST_MB = 150


@pytest.fixture
def till(house: House) -> Iterator[Stage]:
    with stage(house.harbour, mode="off") as built:
        built.join(INVOICES, start="activation")
        yield built
    set_clock(timedelta())
    connections["owner"].close()


@pytest.fixture
def reception(house: House) -> Iterator[Stage]:
    with stage(house.harbour) as built:
        yield built
    connections["owner"].close()


def hasten(till: Stage, speed: float) -> None:
    """Both vendors and our budgets of them, so many times as fast."""
    till.cliniko.vendor.limit = SlidingWindow(200, 60 / speed)
    till.shopify.vendor.configure(SHOP, restore_rate=100.0 * speed, capacity=2000.0)
    for name in ("practice", "shop"):
        probe(till.tenant.pk, till.connection_id(name))
    with tenant_tx(till.tenant.pk):
        subjects = dict(Connection.objects.values_list("vendor", "quota_subject"))
    with system_tx("test"):
        for vendor, subject in subjects.items():
            ensure_budget(vendor, subject, CONNECTORS[vendor].limit)
        QuotaBudget.objects.filter(vendor="cliniko").update(per_s=60 / speed)
        QuotaBudget.objects.filter(vendor="shopify").update(amount=100.0 * speed, capacity=2000.0)


def environment(till: Stage) -> Mapping[str, str]:
    """Ours, with the database of this test and a short lease, so that a killed worker is soon missed."""
    url, name = os.environ["DATABASE_URL"], str(connection.settings_dict["NAME"])
    head, _, query = url.partition("?")
    ours = os.environ | {
        "DATABASE_URL": f"{head.rpartition('/')[0]}/{name}?{query}",
        "SUTURE_SANDBOX": "1",
        "SUTURE_VENDOR_URLS": f"cliniko={till.cliniko.url},shopify={till.shopify.url}/{{account}}",
        "SUTURE_LEASE_S": "3",
        "SUTURE_SETTLE_S": "1",
        "SUTURE_LOOK_AFTER_S": "0.2",
        "LOG_LEVEL": "WARNING",
    }
    ours.pop("DATABASE_OWNER_URL", None)
    return ours


def command(till: Stage, flow: str = INVOICES) -> "subprocess.Popen[bytes]":
    told = [sys.executable, "manage.py", "backfill", flow, "--tenant", till.tenant.slug, "--json"]
    return subprocess.Popen(
        told, cwd=settings.BASE_DIR, env=environment(till), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )


def settled(till: Stage) -> int:
    with tenant_tx(till.tenant.pk):
        run = Run.objects.filter(is_backfill=True).first()
    return 0 if run is None else run.read - run.waiting - run.uncertain


def killed_and_carried_on(till: Stage, count: int, *, seconds: float) -> tuple[Mapping[str, object], float]:
    """The command, killed at a quarter, a half and three quarters, then to its end. What it printed, and the most
    megabytes it took."""
    peak, told = 0.0, b""
    for part in (0.25, 0.5, 0.75, math.inf):
        with command(till) as child:
            ends = time.monotonic() + seconds
            while child.poll() is None and (part == math.inf or settled(till) < count * part):
                assert time.monotonic() < ends, "too slow"
                peak = max(peak, most_memory(child.pid))
                time.sleep(0.05 if part < 1 else 0.5)
            child.kill()
            told, _ = child.communicate()
    assert child.returncode == 0, told
    (flow,) = json.loads(told)["flows"]
    return flow, peak


def killed_in_bulk(reception: Stage, predicted_s: float) -> tuple[Mapping[str, object], float]:
    """The same, killed at a quarter, a half and three quarters of its predicted time."""
    peak, began = 0.0, time.monotonic()
    for part in (0.25, 0.5, 0.75, math.inf):
        with command(reception, PATIENTS) as child:
            while child.poll() is None and time.monotonic() - began < predicted_s * min(part, 5):
                peak = max(peak, most_memory(child.pid))
                time.sleep(0.2)
            child.kill()
            told, _ = child.communicate()
    assert child.returncode == 0, told
    (flow,) = json.loads(told)["flows"]
    return flow, peak


def most_memory(pid: int) -> float:
    """The peak of a process, in megabytes; 0 when it has ended. What the kernel adds up for children will not do: it
    counts what a child shared with its parent before it became itself."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def campaign(till: Stage, count: int, *, speed: float, seconds: float) -> tuple[float, float, float]:
    """Predicted and true seconds, and the most memory that a command took, in MB."""
    hasten(till, speed)
    trade.fill_invoices(till.world, count)
    predicted = backfill.estimate(till.tenant.pk, till.flow_id)
    assert predicted.records == count
    began = time.monotonic()
    told, peak = killed_and_carried_on(till, count, seconds=seconds)
    true = time.monotonic() - began
    assert told["read"] == count
    assert len(till.shop.orders) == count
    assert len({order["sourceIdentifier"] for order in till.shop.orders.values()}) == count
    assert till.cliniko.journal.count(429) == 0
    print(f"{count:,} invoices: predicted {predicted.seconds * speed / 60:,.1f} min at the vendors' limits,", end=" ")
    print(f"true {true * speed / 60:,.1f} min with three kills, peak {peak:.0f} MB")
    return predicted.seconds, true, peak


def test_a_backfill_killed_three_times_brings_everything_in_once(till: Stage) -> None:
    campaign(till, 240, speed=30, seconds=120)


@pytest.mark.proof
def test_a_hundred_thousand_invoices_take_as_long_as_predicted(till: Stage) -> None:
    count = int(os.environ.get("SUTURE_PROOF_INVOICES", "100000"))
    predicted, true, peak = campaign(till, count, speed=6, seconds=3600)
    assert abs(true - predicted) / predicted < MOST_OFF
    assert peak <= MOST_MB


@pytest.mark.proof
def test_a_hundred_thousand_patients_go_in_bulk_in_a_tenth_of_the_time(reception: Stage) -> None:
    """At the limits of a Standard shop and a file's pace of 500 rows a second, with a row in every pass for each."""
    count = int(os.environ.get("SUTURE_PROOF_PATIENTS", "100000"))
    hasten(reception, 1)
    reception.shopify.vendor.configure(SHOP, bulk_rows_per_s=ROWS_PER_S)
    for number in range(count):
        reception.world.add_patient(
            first_name=f"Given{number}",
            last_name=f"Family{number}",
            email=f"p{number}@example.com",
            phone=f"0400{number:06}",
            address_1=f"{number} Sea Rd",
            city="Geelong",
            state="VIC",
            post_code="3220",
            accepted_email_marketing=True,
            accepted_sms_marketing=True,
        )
    predicted = backfill.estimate(reception.tenant.pk, reception.flow_id)
    singly_s = count * CUSTOMERS.write_cost / 100
    began = time.monotonic()
    told, peak = killed_in_bulk(reception, predicted.seconds)
    true = time.monotonic() - began
    print(
        f"{count:,} patients in {len(reception.shop.bulks)} bulk runs: predicted {predicted.seconds:,.0f} s,", end=" "
    )
    print(f"true {true:,.0f} s with three kills, singly {singly_s:,.0f} s, peak {peak:.0f} MB")
    assert told["read"] == told["created"] == count
    assert len(reception.shop.customers) == count
    assert reception.cliniko.journal.count(429) == 0
    assert true < singly_s / 10
    assert abs(true - predicted.seconds) / predicted.seconds < MOST_OFF
    assert peak <= MOST_MB
