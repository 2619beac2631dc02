"""A blueprint over three clinics, from the agency's lines to the orders in each shop and back (B2)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
from django.test import override_settings

from integrations.connectors.cliniko import sandbox_invoices as bills
from integrations.connectors.shopify.sandbox_money import status_of
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config
from integrations.models import Flow, Rehearsal, RehearsalState, RolloutStep
from integrations.services import blueprints, configuration, rehearsal
from integrations.services.changes import OPERATOR
from tenants.services import add_tenant
from tenants.walls import tenant_tx
from tests.blueprint_rows import INVOICES, OWNER, as_agency, carry_out_due
from tests.conftest import House, MovedClock
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

OPEN = 10
PAID_AT_ONCE = Config(value_maps={"status": {"10": "mark_paid"}})
LEFT_OUT = Config(value_maps={"status": {"10": "ignore"}})


class Clinic:
    """A clinic with vendors of its own, and one open invoice."""

    def __init__(self, built: Stage, own: Config) -> None:
        self.built, self.tenant = built, built.tenant
        self.flow_id = built.join(INVOICES)
        open_wide(built)
        with tenant_tx(self.tenant.pk):
            configuration.configure(Flow.objects.get(pk=self.flow_id), config=own, by=OPERATOR)
        self.bill()

    def bill(self) -> None:
        bills.add_invoice(self.built.world, [{"price": "50", "rate": 0}], status=OPEN)

    @contextmanager
    def vendors(self) -> Iterator[None]:
        """One pair of vendors is called at a time."""
        urls = {"cliniko": self.built.cliniko.url, "shopify": f"{self.built.shopify.url}/{{account}}"}
        with override_settings(SUTURE_VENDOR_URLS=urls):
            yield

    def orders(self) -> list[str]:
        """How the orders of the shop stand after a pass, oldest first."""
        with self.vendors():
            self.built.sync_all(flow_name=INVOICES)
        return [status_of(row) for _, row in sorted(self.built.shop.orders.items())]


@pytest.fixture
def clinics(house: House) -> Iterator[list[Clinic]]:
    """The second has its own word for open invoices."""
    tenants = [house.harbour, house.ridge, add_tenant(agency=house.agency, slug="third-street", name="Third Street")]
    with ExitStack() as doors, override_settings(SUTURE_OVERLAP_S=1):
        yield [
            Clinic(doors.enter_context(stage(tenant)), own)
            for tenant, own in zip(tenants, (Config(), LEFT_OUT, Config()), strict=True)
        ]


def test_b2_a_blueprint_goes_to_one_clinic_first_then_to_all_and_is_taken_back(
    house: House, clinics: list[Clinic], clock: MovedClock
) -> None:
    first, own, third = clinics
    tenants = [clinic.tenant for clinic in clinics]
    assert [clinic.orders() for clinic in clinics] == [["PENDING"], [], ["PENDING"]]

    with as_agency(*tenants):
        blueprint = blueprints.add_blueprint(house.agency.pk, FLOW_KINDS[INVOICES], "Tills", PAID_AT_ONCE, by=OWNER)
        assert blueprints.follow(blueprint, [clinic.flow_id for clinic in clinics], by=OWNER) == 3
        rollout = blueprints.prepare(blueprint, by=OWNER, first=[first.flow_id])
        blueprints.ask_rehearsal(rollout, [first.flow_id])
    assert rehearsed(first) == (1, 1, 0)

    with as_agency(*tenants):
        blueprints.begin(rollout, by=OWNER)
    carry_out_due()
    assert [clinic.orders() for clinic in clinics] == [["PAID"], [], ["PENDING"]]

    clock.forward(timedelta(hours=25))
    with as_agency(*tenants):
        assert not blueprints.watch(rollout).has_trouble
        blueprints.go_on(rollout, by=OWNER)
    carry_out_due()
    assert [clinic.orders() for clinic in clinics] == [["PAID"], [], ["PAID"]], "the second clinic's own line wins"

    with as_agency(*tenants):
        blueprints.undo(rollout, by=OWNER)
    assert carry_out_due() == 3
    for clinic in clinics:
        clinic.bill()
    assert [clinic.orders()[-1:] for clinic in clinics] == [["PENDING"], [], ["PENDING"]]
    with as_agency(*tenants):
        assert set(RolloutStep.objects.values_list("state", flat=True)) == {"undone"}
    # what the shop took for paid is not unpaid by itself: it asks a person
    told = [set(clinic.built.held().values()) for clinic in (first, own, third)]
    assert told == [{"shopify.order_already_paid"}, set(), {"shopify.order_already_paid"}]


def rehearsed(clinic: Clinic) -> tuple[int, int, int]:
    """Carries the clinic's rehearsal through: how many records it read, how many would end otherwise, and be held."""
    carry_out_due()
    with tenant_tx(clinic.tenant.pk):
        begun = Rehearsal.objects.get()
    with clinic.vendors():
        done = rehearsal.carry_through(clinic.tenant.pk, begun.pk, max_wait_s=30)
    assert done.state == RehearsalState.DONE
    return done.read, done.changed, done.newly_held
