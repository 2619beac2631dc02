"""Clinics for measuring, between the fast servers, and shortcuts into states that would take long to reach."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection as database

from integrations.core.records import Record
from integrations.models import Connection, ConnectionState, Flow, FlowRevision, Mode, QuotaBudget
from integrations.services import settlement
from integrations.services.claims import Item, claim
from integrations.services.connections import save_credentials
from integrations.services.jobs import Job, load_job
from integrations.services.quota import ensure_budget
from integrations.toolkit.http import Limit, LimitStyle
from tenants.models import Agency, Tenant
from tenants.services import add_agency, add_tenant
from tenants.walls import app_now, system_tx, tenant_tx

KIND = "patients-to-customers"
ENDLESS = 1_000_000_000
CLAIMED_AT_ONCE = 1000
WRITTEN = ("integrations_delivery", "integrations_link", "integrations_linkstate", "integrations_synclogentry")


@dataclass(frozen=True, slots=True)
class Clinic:
    slug: str
    tenant_id: int
    flow_id: int
    source_id: int
    target_id: int

    @property
    def sync(self) -> tuple[str, ...]:
        """The command that syncs this clinic alone."""
        return ("manage.py", "sync", "--tenant", self.slug, "--json")

    @property
    def reconcile(self) -> tuple[str, ...]:
        """The command that compares both sides of this clinic alone."""
        return ("manage.py", "reconcile", "--tenant", self.slug, "--json")

    def let_deliver(self, *, on: bool) -> None:
        """A shop that is paused leaves its deliveries waiting: what is then measured is reading alone."""
        with tenant_tx(self.tenant_id, reason="bench"):
            Connection.objects.filter(pk=self.target_id).update(
                state=ConnectionState.OK if on else ConnectionState.PAUSED
            )

    def ask_everything(self) -> None:
        """The next run reads all patients again."""
        with tenant_tx(self.tenant_id, reason="bench"):
            Flow.objects.filter(pk=self.flow_id).update(wants_full_pass=True)

    def job(self) -> Job:
        with tenant_tx(self.tenant_id, reason="bench"):
            return load_job(self.flow_id)

    def settle_waiting(self) -> int:
        """Ends all waiting deliveries as if the shop had taken each: links, states and log, without the shop."""
        job, settled = self.job(), 0
        while True:
            with tenant_tx(self.tenant_id, reason="bench"):
                items = claim(self.target_id, limit=CLAIMED_AT_ONCE)
                if not items:
                    return settled
                for item in items:
                    _deliver(job, item)
                settlement.settle(job, [settlement.done(item, "created") for item in items])
            settled += len(items)


def _deliver(job: Job, item: Item) -> None:
    item.draft = job.unseal(item.sealed_draft or b"", item.source_key)
    item.target_key, item.is_new = item.source_key, True
    item.wrote = list(item.draft.fields)
    item.current = Record(item.target_key, "", item.draft.fields)
    item.digests = {name: job.digest(name, value) for name, value in item.draft.fields.items()}


def open_clinic(slug: str, *, subject: str = "") -> Clinic:
    """A new clinic with a live flow. Clinics of one ``subject`` share a key and a shop's budget."""
    agency = Agency.objects.first() or add_agency(name="Bench Agency", slug="bench")
    tenant = add_tenant(agency=agency, slug=slug, name=slug)
    with tenant_tx(tenant.pk, reason="bench"):
        source = _connect(tenant, "practice", "cliniko", "")
        save_credentials(
            source, {"api_key": f"bench-key-of-{subject or slug}-au1", "contact_email": "ops@agency.example"}
        )
        target = _connect(tenant, "shop", "shopify", f"{subject or slug}.myshopify.com")
        save_credentials(target, {"access_token": "shpat_bench_0001"})
        # As after a test: untested ones would ask the vendor who they are, and be told another subject.
        Connection.objects.update(state=ConnectionState.OK, tested_at=app_now(), quota_subject=subject or slug)
        flow = Flow.objects.create(
            tenant=tenant, name=KIND, kind=KIND, source=source, target=target, mode=Mode.LIVE, revision_number=1
        )
        FlowRevision.objects.create(tenant=tenant, flow=flow, number=1, config={})
    return Clinic(slug, tenant.pk, flow.pk, source.pk, target.pk)


def _connect(tenant: Tenant, name: str, vendor: str, account: str) -> Connection:
    made: Connection = Connection.objects.create(tenant=tenant, name=name, vendor=vendor, account=account)
    return made


def lift_limits(subject: str) -> None:
    """Budgets that never make anybody wait; every call still takes its turn."""
    set_budget("cliniko", subject, Limit(LimitStyle.REQUESTS, ENDLESS, 60.0))
    set_budget("shopify", subject, Limit(LimitStyle.POINTS, ENDLESS, 1.0, ENDLESS))


def set_budget(vendor: str, subject: str, limit: Limit) -> None:
    with system_tx("bench"):
        ensure_budget(vendor, subject, limit)
        QuotaBudget.objects.filter(vendor=vendor, subject=subject).update(
            amount=limit.amount, per_s=limit.per_s, capacity=limit.capacity
        )


def counts(output: str) -> dict[str, int]:
    """The buckets of the only flow in what ``sync --json`` printed."""
    (flow,) = json.loads(output)["flows"]
    return {name: value for name, value in flow.items() if isinstance(value, int)}


def rows_written() -> int:
    """Rows inserted, updated or deleted so far in the tables that hold records' states; ours are told without delay."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE relname = ANY(%s)",
            [[*WRITTEN]],
        )
        (written,) = cursor.fetchone()
    return int(written or 0)


@contextmanager
def counting_queries() -> Iterator[list[int]]:
    """How many statements this process sends meanwhile: the only member of what it gives."""
    seen = [0]

    def count(execute, sql, params, many, context):  # type: ignore[no-untyped-def]  # Django's own protocol
        seen[0] += 1
        return execute(sql, params, many, context)

    with database.execute_wrapper(count):
        yield seen
