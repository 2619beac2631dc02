"""What a bulk run is for: twenty thousand patients in a fraction of the time, and in no more memory than a few."""

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings

from integrations.models import QuotaBudget
from tenants.models import Agency
from tenants.walls import system_tx
from tests.conftest import House
from tests.faults.theatre import Theatre, in_child, new_clinic, theatre
from tests.stage import SHOP

pytestmark = [pytest.mark.proof, pytest.mark.django_db(transaction=True, databases=["default", "owner"])]

PATIENTS = 20_000
SAMPLE = 200
POINTS_PER_S = 100.0
ROWS_PER_S = 500.0
MEGABYTES = 150


@pytest.fixture
def shown(house: House) -> Iterator[Theatre]:
    with theatre(house.harbour) as built:
        yield built


def people(shown: Theatre, count: int) -> None:
    """With an address and both consents, so that every pass has a row for each."""
    for number in range(count):
        shown.world.add_patient(
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


def points(shown: Theatre) -> int:
    return sum(entry.actual or 0 for entry in shown.shopify.vendor.operations)


def limit(shown: Theatre) -> None:
    """The limits of a Standard shop, there and in our budget."""
    shown.shopify.vendor.configure(SHOP, capacity=2000.0, restore_rate=POINTS_PER_S, bulk_rows_per_s=ROWS_PER_S)
    with system_tx("test"):
        QuotaBudget.objects.filter(vendor="shopify").update(amount=POINTS_PER_S, per_s=1, capacity=2000)


def in_memory(name: str) -> float:
    """``VmRSS`` or ``VmHWM`` of this process, in megabytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def measured(shown: Theatre) -> tuple[dict[str, int], float, float]:
    """A sync to idle in a process of its own: its counts, its seconds, and by how many megabytes it grew at most."""
    reading, writing = os.pipe()

    def work() -> None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        before, began = in_memory("VmRSS"), time.monotonic()
        counts = shown.sync(max_wait_s=600)
        told = (counts, time.monotonic() - began, in_memory("VmHWM") - before)
        os.write(writing, json.dumps(told).encode())

    status = in_child(work, seconds=3000)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert status == 0
        counts, seconds, grew = json.loads(told.read())
    return counts, seconds, grew


def test_twenty_thousand_take_a_tenth_of_the_time_and_little_memory(shown: Theatre) -> None:
    people(shown, SAMPLE)
    shown.pass_over()
    single_s = points(shown) / SAMPLE * PATIENTS / POINTS_PER_S
    new_clinic(shown, Agency.objects.get(), 1)
    people(shown, PATIENTS)
    limit(shown)
    shown.shopify.vendor.operations.clear()
    shown.hang_up()
    counts, bulk_s, grew = measured(shown)
    rows = sum(int(str(one["rows"])) for one in shown.shop.bulks)
    print(
        f"\n{PATIENTS} patients one by one: {single_s:.0f} s at {POINTS_PER_S:.0f} points a second"
        f" ({single_s * POINTS_PER_S / PATIENTS:.1f} points each)"
        f"\nin bulk: {bulk_s:.0f} s ({len(shown.shop.bulks)} bulk runs, {rows} rows at {ROWS_PER_S:.0f} a second,"
        f" {points(shown)} points); {single_s / bulk_s:.1f} times as fast; memory grew by {grew:.0f} MB at most"
    )
    assert counts["created"] == PATIENTS
    assert bulk_s < single_s / 10
    assert grew < MEGABYTES


@pytest.mark.parametrize("count", [1_200, 6_000])
def test_memory_hardly_depends_on_how_many(shown: Theatre, count: int) -> None:
    people(shown, count)
    shown.shopify.vendor.configure(SHOP, bulk_rows_per_s=1e6)
    shown.hang_up()
    with override_settings(SUTURE_BULK_FROM=1000):
        _, seconds, grew = measured(shown)
    print(f"\n{count} patients: {seconds:.0f} s, memory grew by {grew:.0f} MB at most")
    assert grew < MEGABYTES
