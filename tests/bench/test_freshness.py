"""From a change in the practice to the shop (B12, A22): one clinic, all flows urgent, the vendors' own quotas, one worker.

Clocks stand still but for what takes time in the world (slow_motion.py), so figures do not depend on the machine.
"""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connections

from integrations.flows import FLOW_KINDS
from integrations.models import Flow
from integrations.services import freshness
from integrations.services.sync import begin_run
from tenants.walls import tenant_tx
from tests.bench.slow_motion import SlowMotion
from tests.bench.watching import INVOICES, LIMIT, PRODUCTS, STOCK, WINDOW_S, Change, Practice, Watch
from tests.conftest import House
from tests.faults.theatre import set_clock
from tests.stage import stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

GOAL_S, SLACK_S = 15.0, 5.0


@pytest.fixture
def motion(house: House) -> Iterator[SlowMotion]:
    with stage(house.harbour) as built:
        built.join(PRODUCTS)
        built.join(STOCK, location=str(next(iter(built.shop.locations))))
        built.join(INVOICES)
        with tenant_tx(built.tenant.pk):
            Flow.objects.update(urgent=True)
        try:
            yield SlowMotion(built)
        finally:
            set_clock(timedelta())
            connections["owner"].close()


def play(motion: SlowMotion, *, each: int, per_minute: float) -> Watch:
    """A first load, a quiet while, then ``each`` changes of four kinds at random moments."""
    practice = Practice(motion.stage.world, motion.stage.shop, each)
    watch = Watch(lambda: motion.now)
    load_all(motion, practice)
    rest(motion)
    verbs = practice.verbs()
    moments = sorted(motion.now + practice.draw.uniform(0, 60 * len(verbs) / per_minute) for _ in verbs)
    ends = moments[-1] + 300
    plan = list(zip(moments, verbs, strict=True))

    def change_and_look() -> None:
        while plan and plan[0][0] <= motion.now:
            at, (flow, verb) = plan.pop(0)
            watch.pending.append(Change(flow, at, verb()))
        watch.look()

    motion.moved = change_and_look
    while (plan or watch.pending) and motion.now < ends:
        motion.beat()
    assert not plan and not watch.pending, [change.flow for change in watch.pending]
    return watch


def load_all(motion: SlowMotion, practice: Practice) -> None:
    """Until each record is in the shop."""
    wanted = practice.keys()
    ends = motion.now + 3600
    while wanted - set(motion.stage.links()) or motion.stage.deliveries(state="waiting"):
        assert motion.now < ends
        motion.beat()


def rest(motion: SlowMotion) -> None:
    """Until the flows ask as seldom as they do when it is quiet, and the vendors' windows are empty."""
    ends = motion.now + freshness.BUSY_FOR.total_seconds() + WINDOW_S
    while motion.now < ends:
        motion.beat()


def assert_fresh(motion: SlowMotion, watch: Watch, within_s: float) -> None:
    watch.tell()
    busiest = motion.stage.cliniko.journal.busiest(WINDOW_S)
    print(f"busiest minute at the practice: {busiest} of {LIMIT} requests")
    assert watch.p(0.95) <= within_s
    assert busiest <= LIMIT
    assert motion.stage.cliniko.journal.count(429) == 0


def test_a_change_is_in_the_shop_within_seconds(motion: SlowMotion) -> None:
    assert_fresh(motion, play(motion, each=4, per_minute=20), GOAL_S + SLACK_S)


@pytest.mark.proof
@pytest.mark.parametrize("per_minute", [2, 20, 60])
def test_a_hundred_changes_are_in_the_shop_within_fifteen_seconds(motion: SlowMotion, per_minute: float) -> None:
    assert_fresh(motion, play(motion, each=25, per_minute=per_minute), GOAL_S)


def test_polls_cost_what_their_streams_say(motion: SlowMotion) -> None:
    practice = Practice(motion.stage.world, motion.stage.shop, 1)
    load_all(motion, practice)
    rest(motion)
    with tenant_tx(motion.stage.tenant.pk):
        flows = {flow.kind: flow for flow in Flow.objects.all()}
    journal = motion.stage.cliniko.journal
    asked = {}
    for kind, flow in flows.items():
        before = len(journal.entries())
        motion.read(begin_run(flow.tenant_id, flow.pk))
        asked[kind] = len(journal.entries()) - before
    assert asked == {kind: FLOW_KINDS[kind].source.poll_cost for kind in flows}
