"""A clinic between two sandboxed vendors, over real loopback HTTP: what flow tests stand on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from django.test import override_settings

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Account
from integrations.connectors.cliniko import sandbox as cliniko_sandbox
from integrations.connectors.cliniko.sandbox import ClinikoVendor
from integrations.connectors.cliniko.sandbox_world import ClinikoWorld
from integrations.connectors.sandbox_kit import Server, SlidingWindow
from integrations.connectors.shopify import sandbox as shopify_sandbox
from integrations.connectors.shopify.sandbox import ShopifyVendor
from integrations.connectors.shopify.sandbox_rows import Row
from integrations.connectors.shopify.sandbox_shop import Shop
from integrations.flows import FLOW_KINDS
from integrations.models import BUCKETS, Connection, Delivery, Flow, FlowRevision, Link, Mode, QuotaBudget, Run
from integrations.services.connections import save_credentials
from integrations.services.quota import ensure_budget
from integrations.services.sync import Report, sync
from tenants.models import Tenant
from tenants.walls import system_tx, tenant_tx

KEY = "stage-key-of-harbour-au1"
TOKEN = "shpat_stage"
SHOP = "harbour-physio"
KIND = "patients-to-customers"


@dataclass(slots=True)
class Stage:
    """Both vendors running, and one flow between them. Vendor state is edited through ``world`` and ``shop``."""

    tenant: Tenant
    cliniko: Server[ClinikoVendor]
    shopify: Server[ShopifyVendor]
    flow_id: int = 0

    @property
    def world(self) -> ClinikoWorld:
        return self.cliniko.vendor.world

    @property
    def shop(self) -> Shop:
        return self.shopify.vendor.shop(SHOP)

    @property
    def writes(self) -> int:
        """Mutations applied in the shop so far."""
        return self.shopify.vendor.writes(SHOP)

    def customers(self) -> list[Row]:
        return list(self.shop.customers.values())

    def sync(self, **how: object) -> dict[str, int]:
        """One sync to idle; the counts of the flow's run, which must add up."""
        (counts,) = self.sync_all(**{"flow_name": self._name_of(self.flow_id), **how}).values()
        return counts

    def sync_all(self, **how: object) -> dict[str, dict[str, int]]:
        """One sync of every flow to idle; the counts of each flow's run, by its name, which must add up."""
        told = {}
        for flow in self.report(**how).flows:
            counts = {name: int(value) for name, value in flow.counts.items()}
            assert counts["read"] == sum(counts[bucket] for bucket in BUCKETS)
            told[flow.flow] = counts
        return told

    def join(self, kind: str, *, mode: str = Mode.LIVE, start: str = "all", **settings: str) -> int:
        """One more flow between the two; it becomes the one that ``sync`` and ``set_flow`` are about."""
        with tenant_tx(self.tenant.pk):
            sides = {one.name: one for one in Connection.objects.all()}
        self.flow_id = _add(self.tenant, kind, sides, settings, mode=mode, start=start)
        return self.flow_id

    def connection_id(self, name: str) -> int:
        with tenant_tx(self.tenant.pk):
            return Connection.objects.get(name=name).pk

    def _name_of(self, flow_id: int) -> str:
        with tenant_tx(self.tenant.pk):
            return Flow.objects.get(pk=flow_id).name

    def report(self, **how: object) -> Report:
        return sync(tenant_slug=self.tenant.slug, until_idle=True, **{"max_wait_s": 30, **how})

    def links(self) -> dict[str, str]:
        with tenant_tx(self.tenant.pk):
            return dict(Link.objects.values_list("source_key", "target_key"))

    def deliveries(self, **which: object) -> list[Delivery]:
        with tenant_tx(self.tenant.pk):
            return list(Delivery.objects.filter(**which).order_by("pk"))

    def held(self) -> dict[str, str]:
        return {delivery.source_key: delivery.code for delivery in self.deliveries(state="held")}

    def set_flow(self, **changes: object) -> None:
        """Changes the flow's row, and its settings as a new revision."""
        with tenant_tx(self.tenant.pk):
            flow = Flow.objects.get(pk=self.flow_id)
            settings = changes.pop("settings", None)
            for name, value in changes.items():
                setattr(flow, name, value)
            if settings is not None:
                flow.settings = settings
                flow.revision_number += 1
                FlowRevision.objects.create(flow=flow, number=flow.revision_number, config={"settings": settings})
            flow.wants_full_pass = True
            flow.save()

    def runs(self) -> list[Run]:
        with tenant_tx(self.tenant.pk):
            return list(Run.objects.order_by("pk"))


@contextmanager
def stage(tenant: Tenant, *, settings: Mapping[str, str] | None = None, mode: str = Mode.LIVE) -> Iterator[Stage]:
    """An empty practice and an empty shop, joined by the flow. Quotas are the vendors' own, sped up a hundredfold."""
    with cliniko_sandbox.serve(seed=_practice) as cliniko, shopify_sandbox.serve() as shopify:
        urls = {"cliniko": cliniko.url, "shopify": f"{shopify.url}/{{account}}"}
        with override_settings(SUTURE_SANDBOX=True, SUTURE_VENDOR_URLS=urls):
            on_stage = Stage(tenant, cliniko, shopify)
            on_stage.flow_id = _join(tenant, dict(settings or {}), mode)
            yield on_stage


def _practice(world: ClinikoWorld) -> None:
    world.add_account(KEY, "Harbour Physio")


def _join(tenant: Tenant, settings: dict[str, str], mode: str) -> int:
    with tenant_tx(tenant.pk):
        practice = Connection.objects.create(tenant=tenant, name="practice", vendor="cliniko")
        save_credentials(practice, {"api_key": KEY, "contact_email": "ops@agency.example"})
        shop = Connection.objects.create(tenant=tenant, name="shop", vendor="shopify", account=f"{SHOP}.myshopify.com")
        save_credentials(shop, {"access_token": TOKEN})
    return _add(tenant, KIND, {"practice": practice, "shop": shop}, settings, mode=mode, start="all")


def _add(
    tenant: Tenant, kind: str, sides: Mapping[str, Connection], settings: dict[str, str], *, mode: str, start: str
) -> int:
    vendors = {side.vendor: side for side in sides.values()}
    facts = FLOW_KINDS[kind]
    with tenant_tx(tenant.pk):
        flow = Flow.objects.create(
            tenant=tenant,
            name=kind,
            kind=kind,
            source=vendors[facts.source_vendor],
            target=vendors[facts.target_vendor],
            mode=mode,
            start=start,
            settings=settings,
            revision_number=1,
        )
        FlowRevision.objects.create(tenant=tenant, flow=flow, number=1, config={"settings": settings})
        return flow.pk


def quicken(factor: float) -> None:
    """Speeds our budgets up, as the sandboxes' clocks are: ratios stay true."""
    with system_tx("test"):
        for budget in QuotaBudget.objects.all():
            budget.per_s /= factor
            budget.save(update_fields=["per_s"])


def open_wide(shown: Stage) -> None:
    """Quotas, the vendors' and ours, that never make anybody wait: other tests are about them."""
    shown.cliniko.vendor.limit = SlidingWindow(10**6, 60)
    shown.shopify.vendor.configure(SHOP, capacity=10.0**7, restore_rate=10.0**6)
    with tenant_tx(shown.tenant.pk):
        rows = list(Connection.objects.all())
    owners = [user.id for user in shown.world.users.values()]
    with system_tx("test"):
        for row in rows:
            connector = CONNECTORS[row.vendor]
            for facts in ({}, *({"user_id": owner} for owner in owners)):  # before and after the first probe
                account = Account(name=row.account, credentials={"api_key": KEY}, facts=facts)
                ensure_budget(connector.name, row.quota_subject or connector.subject(account), connector.limit)
        QuotaBudget.objects.update(amount=10.0**6, per_s=1, capacity=10.0**7)
