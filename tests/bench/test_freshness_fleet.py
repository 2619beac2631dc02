"""From a change in a practice to its shop (B12) with fifty clinics, all flows urgent, one machine and one real worker."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from integrations.connectors.cliniko import sandbox as cliniko_sandbox
from integrations.connectors.sandbox_kit import Server
from integrations.connectors.shopify import sandbox as shopify_sandbox
from integrations.connectors.shopify.sandbox import ShopifyVendor
from integrations.flows import FLOW_KINDS
from integrations.models import Connection, Flow, FlowRevision, Link, Mode
from integrations.services.connections import save_credentials
from tenants.models import Tenant
from tenants.services import add_tenant
from tenants.walls import tenant_tx
from tests.bench.watching import INVOICES, LIMIT, PATIENTS, PRODUCTS, STOCK, WINDOW_S, Change, Practice, Watch
from tests.conftest import House

pytestmark = [pytest.mark.django_db(transaction=True, databases=["default", "owner"]), pytest.mark.proof]

CLINICS, EACH, CHANGES_S = 50, 1, 120.0
GOAL_S, PATIENCE_S = 30.0, 600.0
WORKERS = 16


def join(tenant: Tenant, key: str, shops: Server[ShopifyVendor]) -> None:
    """Four live, urgent flows between one practice and one shop."""
    shop = shops.vendor.shop(tenant.slug)
    chosen = {STOCK: {"location": str(next(iter(shop.locations)))}}
    with tenant_tx(tenant.pk):
        practice = Connection.objects.create(tenant=tenant, name="practice", vendor="cliniko")
        save_credentials(practice, {"api_key": key, "contact_email": "ops@agency.example"})
        target = Connection.objects.create(
            tenant=tenant, name="shop", vendor="shopify", account=f"{tenant.slug}.myshopify.com"
        )
        save_credentials(target, {"access_token": f"shpat_{tenant.slug}"})
        for kind in (PATIENTS, PRODUCTS, STOCK, INVOICES):
            flow = Flow.objects.create(
                tenant=tenant,
                name=FLOW_KINDS[kind].name,
                kind=kind,
                source=practice,
                target=target,
                mode=Mode.LIVE,
                start="all",
                urgent=True,
                settings=chosen.get(kind, {}),
                revision_number=1,
            )
            FlowRevision.objects.create(tenant=tenant, flow=flow, number=1, config={"settings": flow.settings})


@contextmanager
def working(urls: str, log: Path) -> Iterator[None]:
    """One ``manage.py worker`` on the tests' database, its settings the shipped ones but for its tasks at once."""
    head, _, query = os.environ["DATABASE_URL"].partition("?")
    environment = os.environ | {
        "DATABASE_URL": f"{head.rpartition('/')[0]}/{connection.settings_dict['NAME']}?{query}",
        "SUTURE_SANDBOX": "1",
        "SUTURE_VENDOR_URLS": urls,
        "SUTURE_WORKERS": str(WORKERS),
        "LOG_LEVEL": "WARNING",
    }
    environment.pop("DATABASE_OWNER_URL", None)
    with log.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "worker"],
            cwd=settings.BASE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


def linked(tenant: Tenant) -> set[str]:
    with tenant_tx(tenant.pk):
        return set(Link.objects.values_list("source_key", flat=True))


def test_a_change_is_in_its_shop_within_thirty_seconds(house: House, tmp_path: Path) -> None:
    with cliniko_sandbox.serve(seed=lambda _: None) as cliniko, shopify_sandbox.serve() as shopify:
        world, practices, tenants = cliniko.vendor.world, {}, []
        for number in range(CLINICS):
            tenant = add_tenant(agency=house.agency, slug=f"fleet-{number}", name=f"Fleet {number}")
            account = world.add_account(f"fleet-{number}-au1", tenant.name)
            join(tenant, f"fleet-{number}-au1", shopify)
            practices[tenant] = Practice(world, shopify.vendor.shop(tenant.slug), EACH, account)
            tenants.append(tenant)
        watch = Watch(time.monotonic)
        with working(f"cliniko={cliniko.url},shopify={shopify.url}/{{account}}", tmp_path / "worker.log"):
            ends = time.monotonic() + PATIENCE_S
            while any(practices[tenant].keys() - linked(tenant) for tenant in tenants):
                assert time.monotonic() < ends, (tmp_path / "worker.log").read_text()[-3000:]
                time.sleep(2)
            verbs = [verb for tenant in tenants for verb in practices[tenant].verbs()]
            random.Random(7).shuffle(verbs)
            began = time.monotonic()
            for number, (flow, verb) in enumerate(verbs):
                while time.monotonic() < began + number * CHANGES_S / len(verbs):
                    watch.look()
                    time.sleep(0.1)
                watch.pending.append(Change(flow, time.monotonic(), verb()))
            while watch.pending:
                watch.look()
                time.sleep(0.1)
                assert time.monotonic() < began + PATIENCE_S, [change.flow for change in watch.pending]
    watch.tell()
    busiest = max(
        cliniko.journal.busiest(WINDOW_S, subject=subject)
        for subject in {entry.subject for entry in cliniko.journal.entries()}
    )
    print(f"busiest minute at a practice: {busiest} of {LIMIT} requests")
    assert watch.p(0.95) <= GOAL_S
    assert busiest <= LIMIT
    assert cliniko.journal.count(429) == 0
