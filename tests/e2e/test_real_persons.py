"""The first flow on thousands of persons that nobody here wrote.

`SUTURE_PERSONS` names a folder with FEBRL's `dataset4a.csv` and `dataset2.csv` (made-up Australian persons; they carry no
e-mail or phone, so those are derived: 6 % share a family e-mail, 5 % have none, 3 % of the phones are broken). Without
the folder the same steps run on persons made here, fewer of them, with duplicates planted the same way.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from integrations.connectors.cliniko import sandbox_people
from integrations.models import QuotaBudget
from tenants.models import Tenant
from tenants.walls import system_tx
from tests.stage import SHOP, Stage, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

MARKER = "suture.cliniko_patient_id"
FOLDER = os.environ.get("SUTURE_PERSONS", "")
SAMPLE = 300


@pytest.fixture
def on_stage(harbour: Tenant) -> Iterator[Stage]:
    """The vendors' limits lifted: what is shown here is what comes out, not how fast."""
    with stage(harbour, settings={}) as built:
        built.cliniko.vendor.limit.amount = 10**9
        built.shopify.vendor.configure(SHOP, capacity=1e6, restore_rate=1e6)
        yield built


def lift_budgets() -> None:
    with system_tx("test"):
        QuotaBudget.objects.update(amount=1e9)


def load(on_stage: Stage, name: str, *, duplicates: int = 0) -> list[str]:
    if FOLDER:
        return sandbox_people.load_csv(on_stage.world, Path(FOLDER) / name)
    rows = [_person(number) for number in range(SAMPLE)]
    rows += [
        _person(number) | {"rec_id": f"rec-{number}-dup-0", "given_name": f"gven{number}"}
        for number in range(duplicates)
    ]
    return sandbox_people.load_persons(on_stage.world, rows)


def _person(number: int) -> dict[str, str]:
    return {
        "rec_id": f"rec-{number}-org",
        "given_name": f"given{number}",
        "surname": f"surname{number}",
        "street_number": str(number),
        "address_1": "forbes street",
        "address_2": "",
        "suburb": "kellerberrin",
        "postcode": "6410",
        "state": "wa",
    }


def markers(on_stage: Stage) -> Counter[str]:
    return Counter(customer["metafields"][MARKER]["value"] for customer in on_stage.customers())


def test_persons_become_customers_once_and_only_once(on_stage: Stage) -> None:
    """Counts add up (checked by `Stage.sync` and by the database), every customer carries its marker, 0 duplicates,
    a second sync writes 0, one edited e-mail writes one field of one customer."""
    keys = load(on_stage, "dataset4a.csv")
    lift_budgets()
    counts = on_stage.sync()
    lift_budgets()
    told = markers(on_stage)
    assert counts["read"] == len(keys)
    assert counts["created"] == len(on_stage.customers()) == len(told)
    assert set(told) <= set(keys)
    assert set(told.values()) == {1}
    assert counts["held"] == len(keys) - len(told)
    writes = on_stage.writes
    assert on_stage.sync()["created"] == 0
    assert on_stage.writes == writes
    on_stage.world.edit_patient(next(iter(told)), email="changed@example.com")
    on_stage.sync()
    assert on_stage.writes == writes + 1
    assert [delivery.plan["fields"] for delivery in on_stage.deliveries(outcome="updated")] == [["email"]]


def test_duplicated_persons_wait_on_the_desk_with_their_candidates(on_stage: Stage) -> None:
    """Asks 15-17, K37: nobody is merged by name; each ambiguous case names its candidates."""
    keys = load(on_stage, "dataset2.csv", duplicates=60)
    lift_budgets()
    counts = on_stage.sync()
    assert counts["read"] == len(keys)
    assert counts["updated"] == 0
    assert set(markers(on_stage).values()) == {1}
    shared = on_stage.deliveries(state="held", code="match.shared_email")
    assert shared
    linked = set(on_stage.links().values())
    assert all(delivery.candidates and set(delivery.candidates) <= linked for delivery in shared)
