"""Clinics whose flows follow a blueprint, and the pulse's part of publishing it, without a worker."""

from collections.abc import Iterator
from contextlib import contextmanager

from integrations.errands import carry_out_step, due_steps
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config
from integrations.models import Blueprint, Connection, Flow, Following
from integrations.services import blueprints, configuration, configured
from integrations.services.changes import OPERATOR, By
from tenants.models import Agency, Tenant
from tenants.walls import agency_tx, system_tx, tenant_tx

INVOICES = "invoices-to-orders"
OWNER = By("ana@example.test", "agency_owner")


def add_flow(tenant: Tenant, kind: str = INVOICES, config: Config = Config()) -> int:  # noqa: B008 - frozen
    """A flow of this clinic's between two accounts that nobody calls."""
    with tenant_tx(tenant.pk):
        sides = [
            Connection.objects.get_or_create(
                name=vendor, defaults={"vendor": vendor, "account": f"{tenant.slug}.{vendor}.test"}
            )[0]
            for vendor in ("cliniko", "shopify")
        ]
        flow = configuration.add_flow(kind=FLOW_KINDS[kind], source=sides[0], target=sides[1], name=kind, by=OPERATOR)
        configuration.configure(flow, config=config, by=OPERATOR)
        return flow.pk


@contextmanager
def as_agency(*tenants: Tenant) -> Iterator[None]:
    with agency_tx([tenant.pk for tenant in tenants], actor="ana@example.test", reason="test"):
        yield


def add_blueprint(agency: Agency, config: Config, *tenants: Tenant, name: str = "House rules") -> Blueprint:
    """A blueprint for invoices; the flows of these clinics follow it."""
    with as_agency(*tenants):
        made = blueprints.add_blueprint(agency.pk, FLOW_KINDS[INVOICES], name, config, by=OWNER)
        blueprints.follow(made, [flow.pk for flow in blueprints.may_follow(made)], by=OWNER)
        return made


def carry_out_due() -> int:
    """What the pulse would ring for, until nothing is due; how many steps."""
    done = 0
    while True:
        with system_tx("test"):
            rings = due_steps()
        if not rings:
            return done
        for ring in rings:
            carry_out_step(ring.tenant_id, ring.id)
        done += len(rings)


def config_of(tenant: Tenant, flow_id: int) -> Config:
    with tenant_tx(tenant.pk):
        return configured.config_of(Flow.objects.get(pk=flow_id))


def following_of(tenant: Tenant, flow_id: int) -> Following:
    with tenant_tx(tenant.pk):
        row: Following = Following.objects.get(flow_id=flow_id)
        return row
