"""Statements per page and per claim, against a committed baseline: they are the same however many rows there are.

Counted are those in the clinic's scope; the quota's depend on how fast the machine is. A change that needs more says so
by editing ``baseline.json``.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection
from django.test import override_settings

from integrations.bench import campaign
from integrations.bench.clinic import Clinic, lift_limits
from integrations.models import Run
from integrations.services import delivery, intake
from tenants.walls import TenantScope, app_now, current_scope, tenant_tx

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

BASELINE = json.loads(Path(__file__).with_name("baseline.json").read_text())


@pytest.fixture(autouse=True)
def page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page is kept by itself, however fast it came."""
    monkeypatch.setattr(intake, "HAUL_ROWS", 1)


@contextmanager
def a_clinic(patients: int) -> Iterator[Clinic]:
    with campaign.stage(patients, speed=600) as on:
        on.practice.vendor.limit.amount = 10**9
        on.shop.vendor.configure(campaign.SUBJECT, capacity=1e9, restore_rate=1e9)
        lift_limits(campaign.SUBJECT)
        urls = {"cliniko": on.practice.url, "shopify": f"{on.shop.url}/{{account}}"}
        with override_settings(SUTURE_SANDBOX=True, SUTURE_VENDOR_URLS=urls):
            yield campaign.clinics(1, prefix=f"statements-{patients}")[0]


def statements(work: Callable[[], object]) -> int:
    seen = 0

    def count(execute, sql, params, many, context):
        nonlocal seen
        seen += isinstance(current_scope(), TenantScope)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(count):
        work()
    return seen


def read_all(clinic: Clinic) -> int:
    clinic.ask_everything()
    with tenant_tx(clinic.tenant_id):
        run = intake.start_run(clinic.flow_id, trigger="test", now=app_now())
        assert run is not None
    taken = statements(lambda: intake.run_slice(clinic.tenant_id, run.pk, seconds=3600))
    with tenant_tx(clinic.tenant_id):
        assert Run.objects.get(pk=run.pk).state == "done"
    return taken


def per_extra(measure: Callable[[Clinic], int], sizes: tuple[int, int, int], each: int) -> list[float]:
    """What one page or claim more costs, at two places of a growing table."""
    counts = []
    for size in sizes:
        with a_clinic(size) as clinic:
            counts.append(measure(clinic))
    return [
        (after - before) / ((larger - smaller) / each)
        for (before, smaller), (after, larger) in zip(
            zip(counts, sizes, strict=True), list(zip(counts, sizes, strict=True))[1:], strict=False
        )
    ]


def as_agreed(name: str, found: list[float]) -> None:
    assert len(set(found)) == 1, f"{name}: {found} statements as rows grow"
    assert found[0] <= BASELINE[name], f"{name}: {found[0]:g} statements, {BASELINE[name]} agreed"


def test_a_page_of_new_records_takes_as_many_statements_as_agreed() -> None:
    as_agreed("page of new records", per_extra(read_all, (100, 200, 500), 100))


def test_a_page_of_unchanged_records_takes_as_many_statements_as_agreed() -> None:
    def again(clinic: Clinic) -> int:
        read_all(clinic)
        clinic.settle_waiting()
        return read_all(clinic)

    as_agreed("page of unchanged records", per_extra(again, (100, 200, 500), 100))


def test_a_claim_takes_as_many_statements_as_agreed() -> None:
    def write(clinic: Clinic) -> int:
        read_all(clinic)
        return statements(lambda: delivery.drain(clinic.tenant_id, clinic.target_id, seconds=3600))

    with override_settings(SUTURE_CLAIM_BATCH=50):
        as_agreed("claim of fifty new customers", per_extra(write, (50, 100, 200), 50))
