"""C1: a process killed at any boundary of intake and delivery loses nothing and doubles nothing."""

import os
import random
from collections.abc import Iterator

import pytest
from django.test import override_settings

from integrations.connectors.cliniko.sandbox_world import ClinikoWorld
from tests.conftest import House
from tests.faults.invariants import assert_invariants
from tests.faults.killing import count_boundaries, killed_at
from tests.faults.theatre import Theatre, lease_s, new_clinic, theatre

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

SAMPLE = 7


@pytest.fixture(params=[False, True], ids=["page_by_page", "reading_ahead"])
def shown(house: House, request: pytest.FixtureRequest) -> Iterator[Theatre]:
    """Pages and batches so small that a small world has every kind of boundary."""
    page = 1 if request.param else 2
    with override_settings(SUTURE_CLAIM_BATCH=2), theatre(house.harbour, page=page, ahead=request.param) as built:
        yield built


def first_load(shown: Theatre) -> None:
    """New customers with and without an address, one the merchant made already, one without e-mail, a shared one."""
    world: ClinikoWorld = shown.world
    world.add_patient(first_name="Mia", last_name="Chen", email="mia@example.com", address_1="1 Sea Rd", city="Geelong")
    world.add_patient(first_name="Leo", last_name="Park", email="leo@example.com", accepted_email_marketing=True)
    world.add_patient(first_name="Ida", last_name="Moss", email="ida@example.com", phone="0400 000 003")
    world.add_patient(first_name="Ned", last_name="Moss")
    world.add_patient(first_name="Ivy", last_name="Reed", email="leo@example.com")
    shown.shop.create({"firstName": "Ida", "lastName": "Moss", "email": "ida@example.com"})


def changes(shown: Theatre) -> None:
    """An edited e-mail, an edited address, an archived patient, a merged one, a new one."""
    first_load(shown)
    shown.pass_over()
    shown.forward(600)
    mia, leo, ida, *_ = shown.world.patients
    shown.world.edit_patient(mia, email="mia.chen@example.com", city="Torquay")
    shown.world.archive(leo)
    twin = shown.world.add_patient(first_name="Ida", last_name="Moss", email="ida.moss@example.com")
    shown.world.merge(ida, twin)
    shown.forward(300)


SCENES = {"first_load": first_load, "changes": changes}


def run_through(shown: Theatre) -> None:
    shown.start()
    shown.work()


def kill_and_recover(shown: Theatre, scene: str, number: int, boundary: int) -> bool:
    from tenants.models import Agency

    new_clinic(shown, Agency.objects.get(), number)
    SCENES[scene](shown)
    shown.hang_up()
    died = killed_at(boundary, lambda: run_through(shown))
    shown.forward(lease_s() + 1)
    shown.settle()
    shown.forward(600)
    shown.pass_over()
    assert_invariants(shown)
    return died


def boundaries_of(shown: Theatre, scene: str) -> list[str]:
    from tenants.models import Agency

    new_clinic(shown, Agency.objects.get(), 0)
    SCENES[scene](shown)
    shown.hang_up()
    return count_boundaries(lambda: run_through(shown))


@pytest.mark.parametrize("scene", SCENES)
def test_c01_killed_at_some_boundaries(shown: Theatre, scene: str) -> None:
    names = boundaries_of(shown, scene)
    assert {"commit.before", "commit.after", "send.before", "send.after", "answer.after"} <= set(names)
    chosen = random.Random(f"{scene}{os.environ.get('SUTURE_SEED', '')}").sample(range(1, len(names) + 1), SAMPLE)
    for number, boundary in enumerate(chosen, start=1):
        assert kill_and_recover(shown, scene, number, boundary)


@pytest.mark.proof
@pytest.mark.parametrize("scene", SCENES)
def test_c01_killed_at_every_boundary(shown: Theatre, scene: str) -> None:
    names = boundaries_of(shown, scene)
    print(f"{scene}: {len(names)} boundaries")
    for boundary in range(1, len(names) + 1):
        assert kill_and_recover(shown, scene, boundary, boundary), names[boundary - 1]
