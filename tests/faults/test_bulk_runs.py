"""First loads in bulk: the same end as one by one, whoever dies on the way, and nobody doubled."""

from collections.abc import Iterator

import pytest
from django.test import override_settings

from integrations.models import BulkRun, BulkRunState
from tenants.walls import tenant_tx
from tests.conftest import House
from tests.faults.invariants import assert_invariants
from tests.faults.theatre import Theatre, theatre
from tests.stage import SHOP

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.fixture
def shown(house: House) -> Iterator[Theatre]:
    with override_settings(SUTURE_BULK_FROM=5), theatre(house.harbour) as built:
        built.shopify.vendor.configure(SHOP, bulk_rows_per_s=1e6)
        yield built


def clinic(shown: Theatre, count: int = 30) -> list[str]:
    """People with everything that a customer can have."""
    return [
        shown.world.add_patient(
            first_name=f"Given{number}",
            last_name=f"Family{number}",
            email=f"p{number}@example.com",
            address_1=f"{number} Sea Rd" if number % 2 else None,
            city="Geelong" if number % 2 else None,
            accepted_email_marketing=True if number % 3 else None,
        )
        for number in range(count)
    ]


def bulk_runs(shown: Theatre) -> list[BulkRun]:
    with tenant_tx(shown.tenant.pk):
        return list(BulkRun.objects.order_by("pk"))


def test_thirty_patients_go_in_bulk(shown: Theatre) -> None:
    keys = clinic(shown)
    took = shown.pass_over()
    (run,) = bulk_runs(shown)
    assert (run.state, run.code) == (BulkRunState.DONE, "")
    assert set(shown.links()) == set(keys)
    print(took, [(r.created, r.read) for r in shown.runs()], shown.shopify.vendor.shop(SHOP).bulks.__len__())
    print(shown.customers()[1])
    assert_invariants(shown)
