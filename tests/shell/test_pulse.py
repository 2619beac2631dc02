"""The pulse: what it rings for, how often, and for whom first. The queue itself is a table here; nobody answers."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.core.management.base import CommandError
from django.db import connections
from django.test import override_settings
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from integrations import tasks, worker
from integrations.management.commands.worker import refuse_unsafe_start
from integrations.models import BulkRun, Connection, Delivery, Flow, Mode, Run
from integrations.services import claims, leases, pulse
from tenants.models import Agency, Tenant
from tenants.services import add_tenant
from tenants.walls import app_now, insert_rows, tenant_tx
from tests.conftest import House
from tests.faults.theatre import set_clock

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])


@pytest.fixture(autouse=True)
def steady_clock() -> Iterator[None]:
    yield
    set_clock(timedelta())
    connections["owner"].close()


def clinic(agency: Agency, number: int, *, every: str = "15m") -> tuple[Tenant, int, int]:
    """A clinic with a live flow whose first run is over. Returns it with its flow and shop."""
    tenant = add_tenant(agency=agency, slug=f"clinic-{number}", name=f"Clinic {number}")
    with tenant_tx(tenant.pk):
        source = Connection.objects.create(tenant=tenant, name="practice", vendor="cliniko")
        target = Connection.objects.create(tenant=tenant, name="shop", vendor="shopify", account="x.myshopify.com")
        flow = Flow.objects.create(
            tenant=tenant,
            name="patients-to-customers",
            kind="patients-to-customers",
            source=source,
            target=target,
            mode=Mode.LIVE,
            every=every,
            next_due_at=app_now() + timedelta(days=1),
        )
        return tenant, flow.pk, target.pk


def fill(tenant: Tenant, flow_id: int, target_id: int, count: int, *, backfill: bool) -> None:
    """So many waiting deliveries."""
    with tenant_tx(tenant.pk):
        now = app_now()
        run = Run.objects.create(
            tenant=tenant, flow_id=flow_id, state="done", started_at=now, finished_at=now, read=count, waiting=count
        )
        columns = ("flow_id", "run_id", "target_id", "source_key", "state", "backfill", "not_before", "created_at")
        rows = [(flow_id, run.pk, target_id, str(number), "waiting", backfill, now, now) for number in range(count)]
        insert_rows(Delivery, columns, rows)


def ring(turns: dict[int, float] | None = None) -> int:
    return worker.ring_due(worker.look(), {} if turns is None else turns)


def rung() -> list[tuple[str, tuple[int, int]]]:
    """The doorbells in the queue: function and arguments."""
    found = [SignedPackage.loads(row.payload) for row in OrmQ.objects.order_by("pk")]
    return [(getattr(task["func"], "__name__", task["func"]), tuple(task["args"])) for task in found]


def test_due_work_is_rung_for_once(house: House) -> None:
    tenant, flow_id, target_id = clinic(house.agency, 1)
    fill(tenant, flow_id, target_id, 3, backfill=False)
    assert ring() == 1
    assert ring() == 0
    assert rung() == [("drain", (tenant.pk, target_id))]


def test_a_bulk_run_is_rung_for_like_a_first_load_and_its_rows_are_not(house: House) -> None:
    """Live work of the same clinic comes first; rows of a bulk run are nobody's lost claims, however old."""
    tenant, flow_id, target_id = clinic(house.agency, 1)
    fill(tenant, flow_id, target_id, 3, backfill=False)
    with tenant_tx(tenant.pk):
        bulk_run = BulkRun.objects.create(tenant=tenant, flow_id=flow_id, target_id=target_id, started_at=app_now())
        gathered = Delivery.objects.order_by("pk").first()
        assert gathered is not None
        Delivery.objects.filter(pk=gathered.pk).update(state="sending", bulk_run=bulk_run)
    assert ring() == 2
    assert rung() == [("drain", (tenant.pk, target_id)), ("carry_on_bulk_run", (tenant.pk, bulk_run.pk))]
    set_clock(timedelta(days=1))
    with tenant_tx(tenant.pk):
        assert gathered.pk not in {item.pk for item in claims.claim(target_id, limit=10)}
    assert [found.id for found in pulse.due_drains()] == []


def test_a_bulk_run_waits_for_its_moment_and_ends(house: House) -> None:
    tenant, flow_id, target_id = clinic(house.agency, 1)
    later = app_now() + timedelta(seconds=30)
    with tenant_tx(tenant.pk):
        row = BulkRun.objects.create(
            tenant=tenant, flow_id=flow_id, target_id=target_id, started_at=app_now(), not_before=later
        )
    assert ring() == 0 and pulse.next_due_at() == later
    set_clock(timedelta(seconds=31))
    assert ring() == 1
    with tenant_tx(tenant.pk):
        BulkRun.objects.filter(pk=row.pk).update(state="done")
    assert pulse.next_due_at() is None


def test_c04_a_lost_doorbell_is_rung_again_within_a_minute(house: House) -> None:
    tenant, flow_id, target_id = clinic(house.agency, 1)
    fill(tenant, flow_id, target_id, 1, backfill=False)
    ring()
    OrmQ.objects.all().delete()
    set_clock(timedelta(seconds=59))
    assert ring() == 1
    assert rung() == [("drain", (tenant.pk, target_id))]


def test_a_due_flow_is_started_and_rung_for_in_one_beat(house: House) -> None:
    tenant, flow_id, _ = clinic(house.agency, 1)
    with tenant_tx(tenant.pk):
        Flow.objects.filter(pk=flow_id).update(next_due_at=app_now())
    assert ring() == 1
    with tenant_tx(tenant.pk):
        (run,) = Run.objects.filter(state="running")
    assert rung() == [("run_flow", (tenant.pk, run.pk))]


def test_c06_four_tickers_start_one_run_a_flow_and_ring_once(house: House) -> None:
    clinics = [clinic(house.agency, number) for number in range(3)]
    for tenant, flow_id, _ in clinics:
        with tenant_tx(tenant.pk):
            Flow.objects.filter(pk=flow_id).update(next_due_at=app_now())
    connections.close_all()
    at = time.monotonic() + 1
    pids = [tick_in_child(at) for _ in range(4)]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
    for tenant, flow_id, _ in clinics:
        with tenant_tx(tenant.pk):
            assert Run.objects.filter(flow_id=flow_id).count() == 1
    assert Counter(rung()).most_common(1)[0][1] == 1
    assert len(rung()) == 3


def tick_in_child(at: float) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        signal.alarm(60)
        time.sleep(max(0.0, at - time.monotonic()))
        for _ in range(3):
            ring()
        status = 0
    finally:
        os._exit(status)


def test_c06_a_flow_with_a_bad_schedule_stops_nobody_else(house: House) -> None:
    _, bad, _ = clinic(house.agency, 1, every="whenever")
    tenant, good, _ = clinic(house.agency, 2)
    for owner, flow_id in ((Tenant.objects.get(slug="clinic-1"), bad), (tenant, good)):
        with tenant_tx(owner.pk):
            Flow.objects.filter(pk=flow_id).update(next_due_at=app_now())
    ring()
    assert ("run_flow", tenant.pk) in [(name, args[0]) for name, args in rung()]


def test_one_supervisor_pulses_the_other_stands_by_and_takes_over(house: House) -> None:
    first, second = worker.Worker(name="one"), worker.Worker(name="two")
    first.tick()
    second.tick()
    assert leases.live(worker.PULSE) == {worker.PULSE: "one"}
    set_clock(timedelta(seconds=20))
    second.tick()
    first.tick()
    assert leases.live(worker.PULSE) == {worker.PULSE: "two"}


def test_an_idle_tick_is_cheap(house: House, django_assert_max_num_queries: object) -> None:
    clinic(house.agency, 1)
    beat = worker.Worker(name="one")
    beat.tick()
    with django_assert_max_num_queries(23):  # type: ignore[operator]
        beat.tick()


FLOOD = 3000
SLICE = 50


@pytest.mark.parametrize(
    ("flood", "others"), [(FLOOD, 12), pytest.param(100_000, 49, marks=pytest.mark.proof)], ids=["sample", "whole"]
)
def test_c11_one_clinic_that_floods_does_not_keep_others_waiting(house: House, flood: int, others: int) -> None:
    """Four workers of fifty deliveries a slice: everybody else is done long before the flood is, which never had more
    than half of the workers while others waited."""
    loud = clinic(house.agency, 0)
    fill(*loud, flood, backfill=True)
    quiet = [clinic(house.agency, number) for number in range(1, others + 1)]
    for one in quiet:
        fill(*one, 20, backfill=False)
    turns: dict[int, float] = {}
    rounds = 0
    while rung_for_others(quiet):
        rounds += 1
        ring(turns)
        answered = answer(workers=4)
        assert answered[loud[0].pk] <= 2
        assert rounds <= 2 + others
    assert rounds <= others // 2 + 2
    with tenant_tx(loud[0].pk):
        assert Delivery.objects.filter(state="waiting").count() >= flood - rounds * 2 * SLICE


def test_deliveries_come_first_and_asking_and_first_loads_take_turns() -> None:
    """B12: what was read is delivered before more is read, and neither many askers nor many first loads starve the other."""
    waiting = [
        *(("run", pulse.Ring(tenant, 100 + tenant)) for tenant in (1, 2, 3)),
        *(("run", pulse.Ring(tenant, 200 + tenant, backfill=True)) for tenant in (4, 5)),
        ("drain", pulse.Ring(6, 300, backfill=True)),
        ("drain", pulse.Ring(7, 301)),
        ("drain", pulse.Ring(8, 302)),
    ]
    turns = {7: 2.0, 8: 1.0, 1: 9.0}
    told = [(kind, ring.tenant_id) for kind, ring in worker.by_turns(waiting, turns)]
    assert told == [
        ("drain", 8), ("drain", 7),
        ("run", 2), ("run", 4), ("run", 3), ("run", 5), ("run", 1), ("drain", 6),
    ]  # fmt: skip


def test_a_clinic_with_many_pieces_does_not_push_out_one_with_few() -> None:
    waiting = [*(("drain", pulse.Ring(1, number)) for number in range(3)), ("drain", pulse.Ring(2, 9))]
    assert [ring.tenant_id for _, ring in worker.by_turns(waiting, {2: 5.0})] == [1, 2, 1, 1]


def rung_for_others(quiet: list[tuple[Tenant, int, int]]) -> bool:
    for tenant, _, _ in quiet:
        with tenant_tx(tenant.pk):
            if Delivery.objects.filter(state="waiting").exists():
                return True
    return False


def answer(*, workers: int) -> Counter[int]:
    """What so many workers do in a slice: take the oldest doorbells, deliver fifty each."""
    answered: Counter[int] = Counter()
    for row in OrmQ.objects.order_by("pk")[:workers]:
        task = SignedPackage.loads(row.payload)
        row.delete()
        if getattr(task["func"], "__name__", "") != "drain":
            continue
        tenant_id, target_id = task["args"]
        with tenant_tx(tenant_id):
            some = (
                Delivery.objects.filter(target_id=target_id, state="waiting").order_by("pk").values_list("pk")[:SLICE]
            )
            Delivery.objects.filter(pk__in=[pk for (pk,) in some]).update(state="done", outcome="created")
        leases.drop(tasks.work_name("drain", tenant_id, target_id))
        answered[tenant_id] += 1
    return answered


def test_a_backfill_has_its_fair_share_of_the_workers(house: House) -> None:
    tenant, flow_id, _ = clinic(house.agency, 1)
    with tenant_tx(tenant.pk):
        shops = [
            Connection.objects.create(tenant=tenant, name=f"shop-{number}", vendor="shopify", account=f"{number}.test")
            for number in range(6)
        ]
    for number, shop in enumerate(shops):
        with tenant_tx(tenant.pk):
            flow = Flow.objects.get(pk=flow_id)
            flow.pk, flow.name, flow.target = None, f"flow-{number}", shop
            flow._state.adding = True
            flow.save()
        fill(tenant, flow.pk, shop.pk, 5, backfill=True)
    assert ring() == worker.WORKERS // 2


@override_settings(SUTURE_KEY_RING=[])
def test_a_worker_refuses_to_start_without_keys() -> None:
    with pytest.raises(CommandError, match="SUTURE_KEY_RING"):
        refuse_unsafe_start()


def test_a_worker_starts_where_all_is_well() -> None:
    refuse_unsafe_start()
