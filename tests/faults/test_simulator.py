"""A seeded simulator: a busy practice, two unreliable vendors, processes that die; then peace, and what must hold.

A seed that fails is named in the test's id: run it again with SUTURE_SEEDS=that seed.
"""

import os
import random
from collections.abc import Callable, Iterator

import pytest
from django.test import override_settings

from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.connectors.shopify.sandbox import throttle_storm
from integrations.connectors.shopify.sandbox_call import Refusal
from integrations.models import Delivery, DeliveryState
from integrations.services import desk
from tenants.models import Agency
from tenants.walls import tenant_tx
from tests.conftest import House
from tests.faults.invariants import assert_invariants
from tests.faults.killing import Counter, Killed, boundaries
from tests.faults.theatre import Theatre, lease_s, new_clinic, theatre
from tests.stage import SHOP

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

SEEDS = 10
PROOF_SEEDS = 300
STEPS = 14
GIVEN = ("Mia", "Leo", "Ida", "Ned", "Ivy", "Sam", "Zoe", "Max")
FAMILY = ("Chen", "Park", "Moss", "Reed", "Okafor", "Silva")


class Simulation:
    """One seed. Every choice comes from ``dice``."""

    def __init__(self, shown: Theatre, seed: int) -> None:
        self.shown, self.dice = shown, random.Random(seed)
        self.made = 0
        self.deaths = 0
        self.told: list[str] = []

    # -- the practice

    def living(self) -> list[str]:
        return [key for key, row in self.shown.world.patients.items() if not row.get("merged_with")]

    def pick(self) -> str | None:
        living = self.living()
        return self.dice.choice(living) if living else None

    def new_patient(self) -> None:
        self.made += 1
        shared = self.dice.random() < 0.1
        email = "family@example.com" if shared else f"s{self.made}@example.com"
        self.shown.world.add_patient(
            first_name=self.dice.choice(GIVEN),
            last_name=self.dice.choice(FAMILY),
            email=None if self.dice.random() < 0.08 else email,
            phone=self.dice.choice([None, f"0400 000 {self.made:03}", "12"]),
            address_1=self.dice.choice([None, f"{self.made} Sea Road"]),
            city=self.dice.choice([None, "Geelong"]),
            accepted_email_marketing=self.dice.choice([None, True, False]),
            accepted_privacy_policy=self.dice.choice([None, True, True, False]),
        )

    def edit(self) -> None:
        key = self.pick()
        if key is None:
            return
        self.made += 1
        change = self.dice.choice(
            [
                {"email": f"e{self.made}@example.com"},
                {"last_name": self.dice.choice(FAMILY)},
                {"city": f"Town {self.made}", "address_1": f"{self.made} Hill Street"},
                {"phone": f"0411 000 {self.made:03}"},
            ]
        )
        self.shown.world.edit_patient(key, **change)

    def archive(self) -> None:
        if key := self.pick():
            self.shown.world.archive(key)

    def unarchive(self) -> None:
        archived = [key for key in self.living() if self.shown.world.row(key).get("archived_at")]
        if archived:
            key = self.dice.choice(archived)
            self.shown.world.unarchive(key)

    def merge(self) -> None:
        living = [key for key in self.living() if not self.shown.world.row(key).get("archived_at")]
        if len(living) > 3:
            gone, into = self.dice.sample(living, 2)
            self.shown.world.merge(gone, into)

    # -- the vendors

    def fault(self) -> None:
        vendor = self.dice.choice([self.shown.cliniko, self.shown.shopify])
        times, skip = self.dice.randint(1, 4), self.dice.randint(0, 3)
        kind = self.dice.choice(
            [FaultKind.DROP_BEFORE, FaultKind.DROP_AFTER, FaultKind.TRUNCATE, FaultKind.HTML, FaultKind.STATUS_AFTER]
        )
        vendor.faults.add(Fault(kind, times=times, skip=skip, status=502 if kind is FaultKind.STATUS_AFTER else 0))

    def refusal(self) -> None:
        field = self.dice.choice(["customerCreate", "customerUpdate", "tagsAdd", "customerAddressCreate"])
        refusal = Refusal(field, times=self.dice.randint(1, 2), applies=self.dice.random() < 0.5)
        self.shown.shopify.vendor.refuse_next(SHOP, refusal)

    def outage(self) -> None:
        vendor = self.dice.choice([self.shown.cliniko, self.shown.shopify])
        vendor.faults.add(Fault(FaultKind.STATUS, times=self.dice.randint(3, 12), status=503))

    def storm(self) -> None:
        self.shown.shopify.faults.add(throttle_storm(self.dice.randint(1, 5)))

    # -- ourselves

    def sync(self) -> None:
        self.shown.start()
        self.shown.work()

    def doomed(self) -> None:
        """A process that dies at some boundary, and the one that takes over later."""

        def die() -> None:
            raise Killed

        counter = Counter(self.dice.randint(1, 60), die)
        try:
            with boundaries(counter):
                self.sync()
        except Killed:
            self.deaths += 1
            self.told.append(f"died {counter.passed[-1]}")
        finally:
            self.shown.hang_up()

    def wait(self) -> None:
        self.shown.forward(self.dice.choice([1, 5, 40, lease_s() + 1, 900, 7200]))

    # -- the play

    def run(self) -> None:
        acts: list[tuple[int, Callable[[], None]]] = [
            (6, self.new_patient), (5, self.edit), (1, self.archive), (1, self.unarchive), (1, self.merge),
            (2, self.fault), (1, self.refusal), (1, self.outage), (1, self.storm),
        ]  # fmt: skip
        weights, deeds = zip(*acts, strict=True)
        for _ in range(5):
            self.new_patient()
        for _ in range(STEPS):
            for deed in self.dice.choices(deeds, weights, k=self.dice.randint(1, 6)):
                self.told.append(deed.__name__)
                deed()
            for deed in self.dice.choices([self.sync, self.doomed, self.wait], [2, 3, 2], k=2):
                self.told.append(deed.__name__)
                deed()
        self.peace()

    def peace(self) -> None:
        """Nothing is broken any more: what is due is done, a person sends on whom too many deaths had held, a later pass
        finds the rest."""
        self.shown.calm()
        self.shown.forward(lease_s() + 1)
        for _ in range(2):
            self.shown.settle()
            with tenant_tx(self.shown.tenant.pk):
                desk.retry(Delivery.objects.filter(state=DeliveryState.HELD, code="internal.poison"))
            self.shown.settle()
            self.shown.forward(600)
            self.shown.pass_over()


@pytest.fixture
def shown(house: House) -> Iterator[Theatre]:
    with (
        override_settings(SUTURE_CLAIM_BATCH=7, SUTURE_MASS_CHANGE_COUNT=1000),
        theatre(house.harbour, page=5) as built,
    ):
        yield built


def simulate(shown: Theatre, seeds: Iterator[int]) -> None:
    agency = Agency.objects.get()
    for seed in seeds:
        new_clinic(shown, agency, seed)
        simulation = Simulation(shown, seed)
        try:
            simulation.run()
            assert_invariants(shown)
        except BaseException as error:
            error.add_note(f"seed {seed}: {', '.join(simulation.told)}")
            raise


def test_sim_faults_of_every_kind_lose_nothing_and_double_nothing(shown: Theatre) -> None:
    chosen = os.environ.get("SUTURE_SEEDS", "")
    simulate(shown, iter([int(seed) for seed in chosen.split(",")] if chosen else range(SEEDS)))


@pytest.mark.proof
@pytest.mark.parametrize("part", range(10))
def test_sim_hundreds_of_seeds(shown: Theatre, part: int) -> None:
    simulate(shown, iter(range(1000 + part, 1000 + PROOF_SEEDS, 10)))
