"""The stage of the fault tests: one clock for all processes and both vendors, wide quotas, and work done step by step.

Nothing sleeps here: where work is due later, the clock is moved to it.
"""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connections

from integrations.connectors.cliniko import lists
from integrations.models import Connection, Flow, Mode
from integrations.services import bulk, delivery, intake, pulse
from integrations.services.connections import open_client
from integrations.services.sync import begin_run
from integrations.toolkit.http import Client
from tenants.models import Agency, Tenant
from tenants.services import add_tenant
from tenants.walls import app_now, tenant_tx
from tests import stage as stages
from tests.stage import Stage, open_wide

MARKER = "suture.cliniko_patient_id"
ROUNDS_MAX = 400


class EndlessWork(AssertionError):
    """Work that is always due again at once."""


@dataclass(slots=True)
class Theatre(Stage):
    """A stage whose clock is moved by hand."""

    moved: timedelta = timedelta()
    rounds: int = 0
    opened: dict[int, Client] = field(default_factory=dict)

    # -- time

    def forward(self, seconds: float) -> None:
        """Moves ``app_now()`` of every process, and both vendors' clocks."""
        self.moved += timedelta(seconds=seconds)
        set_clock(self.moved)
        self.cliniko.clock.advance(seconds)
        self.shopify.clock.advance(seconds)

    # -- work

    @property
    def only(self) -> pulse.Only:
        with tenant_tx(self.tenant.pk):
            targets = list(Connection.objects.filter(name="shop").values_list("pk", flat=True))
            return pulse.Only(list(Flow.objects.values_list("pk", flat=True)), targets)

    def start_all(self) -> None:
        """A pass of every flow."""
        for flow_id in self.only.flows or ():
            begin_run(self.tenant.pk, flow_id, trigger="test")

    def start(self) -> int | None:
        return begin_run(self.tenant.pk, self.flow_id, trigger="test")

    def work(self) -> bool:
        """Whatever is due now, until nothing is. True if anything was."""
        only, worked = self.only, False
        for _ in range(ROUNDS_MAX):
            runs, drains = pulse.due_runs(only), []
            for ring in runs:
                intake.run_slice(ring.tenant_id, ring.id, seconds=30, client=self._client("practice"))
            bulk_runs = pulse.due_bulk_runs(only)
            for ring in bulk_runs:
                bulk.carry_on(ring.tenant_id, ring.id, seconds=30, opener=self._open)
            drains = pulse.due_drains(only)
            for ring in drains:
                delivery.drain(ring.tenant_id, ring.id, seconds=30, opener=self._open)
            self.rounds += 1
            if not runs and not bulk_runs and not drains:
                return worked
            worked = True
        raise EndlessWork

    def settle(self, *, within: timedelta = timedelta(days=3)) -> timedelta:
        """Works, moving the clock to whatever is due next, until nothing is on its way. Returns the time that took."""
        began = self.moved
        for _ in range(ROUNDS_MAX):
            self.work()
            due = self.next_due()
            if due is None:
                return self.moved - began
            self.forward(max(0.1, (due - app_now()).total_seconds() + 0.1))
            assert self.moved - began < within, "not idle in time"
        raise EndlessWork

    def pass_over(self) -> timedelta:
        """One run to idle."""
        self.start()
        return self.settle()

    def next_due(self) -> datetime | None:
        return pulse.next_due_at(self.only)

    def _open(self, tenant_id: int, connection: Connection, **how: object) -> Client:
        if connection.pk not in self.opened:
            client = open_client(tenant_id, connection, patience_s=0.3)
            client._sleep = lambda seconds: None  # type: ignore[attr-defined]  # between tries of a read
            self.opened[connection.pk] = client
        return self.opened[connection.pk]

    def _client(self, name: str) -> Client:
        with tenant_tx(self.tenant.pk):
            connection = Connection.objects.get(name=name)
        return self._open(self.tenant.pk, connection)

    def hang_up(self) -> None:
        """A new process opens its own clients."""
        for client in self.opened.values():
            client.close()  # type: ignore[attr-defined]
        self.opened.clear()

    # -- what is there

    def connection(self, name: str) -> Connection:
        with tenant_tx(self.tenant.pk):
            return Connection.objects.get(name=name)

    def marked(self) -> dict[str, list[dict[str, object]]]:
        """Customers by the patient id they carry."""
        found: dict[str, list[dict[str, object]]] = {}
        for row in self.customers():
            marker = row["metafields"].get(MARKER)
            if marker:
                found.setdefault(str(marker["value"]), []).append(row)
        return found

    def patients(self, count: int, *, prefix: str = "p", **given: object) -> list[str]:
        return [
            self.world.add_patient(
                **{
                    "first_name": f"Given{number}",
                    "last_name": f"Family{prefix}{number}",
                    "email": f"{prefix}{number}@example.com",
                    **given,
                }
            )
            for number in range(count)
        ]

    def requests(self) -> int:
        return len(self.cliniko.journal.entries()) + len(self.shopify.journal.entries())

    def calm(self) -> None:
        """Both vendors behave from now on."""
        self.cliniko.faults.clear()
        self.shopify.faults.clear()
        self.shopify.vendor._refusals.clear()


def set_clock(moved: timedelta, *, rate: float = 1.0) -> None:
    """Moves the clock of every process, as only the owner may; zero puts it back."""
    with connections["owner"].cursor() as cursor:
        cursor.execute("DELETE FROM tenants_clock")
        if moved or rate != 1.0:
            cursor.execute(
                "INSERT INTO tenants_clock (moved_at, shows, rate) SELECT now, now + %s, %s FROM clock_timestamp() now",
                [moved, rate],
            )


@contextmanager
def theatre(
    tenant: Tenant,
    *,
    flow_settings: Mapping[str, str] | None = None,
    mode: str = Mode.LIVE,
    page: int = 0,
    ahead: bool = False,
) -> Iterator[Theatre]:
    """A stage with its own clock; ``page`` makes the vendor's pages so small, each kept by itself, or with ``ahead`` two
    at a time while the next two are read."""
    whole, haul = lists.PAGE_SIZE, (intake.HAUL_ROWS, intake.WORTH_READING_AHEAD)
    lists.PAGE_SIZE = page or whole
    if page:
        intake.HAUL_ROWS, intake.WORTH_READING_AHEAD = (2 * page, 1) if ahead else (page, page + 1)
    try:
        with stages.stage(tenant, settings=flow_settings, mode=mode) as built:
            shown = Theatre(built.tenant, built.cliniko, built.shopify, built.flow_id)
            open_wide(shown)
            yield shown
            shown.hang_up()
    finally:
        lists.PAGE_SIZE = whole
        intake.HAUL_ROWS, intake.WORTH_READING_AHEAD = haul
        set_clock(timedelta())
        connections["owner"].close()


def new_clinic(shown: Theatre, agency: Agency, number: int, **flow_settings: str) -> None:
    """The same theatre for another clinic: both vendors emptied."""
    shown.hang_up()
    shown.cliniko.vendor.reset()
    shown.shopify.vendor.reset()
    for server in (shown.cliniko, shown.shopify):
        server.journal.clear()
        server.faults.clear()
    shown.tenant = add_tenant(agency=agency, slug=f"clinic-{number}", name=f"Clinic {number}")
    shown.flow_id = stages._join(shown.tenant, dict(flow_settings), Mode.LIVE)
    open_wide(shown)


# Children that are killed


def in_child(work: Callable[[], object], *, seconds: float = 60) -> int:
    """Runs ``work`` in a forked process and returns its wait status; it never outlives this call."""
    connections.close_all()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(int(seconds))
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def lease_s() -> float:
    return float(settings.SUTURE_LEASE_S)
