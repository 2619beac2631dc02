"""The row of writing: what one delivered record costs the client."""

import json
from collections.abc import Iterator, Mapping

from integrations.bench.figures import Figure
from integrations.bench.measuring import Cost, median, run, serving
from integrations.bench.reading import NOWHERE, Bench, vendors

RECORDS = 3000
ALONE = 300


def written(bench: Bench) -> Iterator[Figure]:
    """CPU of the process per new customer with an address: look-up, create, address, quota, link, log and counts.

    The command's own start is taken off, since it is paid once, however many records follow. Claims of one record are
    what a connection gets that has just failed: everything but the mutation itself is then paid for each.
    """
    with serving("integrations.bench.practice", "--patients", str(RECORDS)) as practice:
        yield _each(bench, practice, RECORDS, "as shipped: claims of 50, aliased by 10", {}, must=2.0, goal=0.3)
    with serving("integrations.bench.practice", "--patients", str(ALONE)) as practice:
        yield _each(bench, practice, ALONE, "claims of one", {"SUTURE_CLAIM_BATCH": "1"})


def _each(
    bench: Bench,
    practice: str,
    records: int,
    what: str,
    settings: Mapping[str, str],
    *,
    must: float | None = None,
    goal: float | None = None,
) -> Figure:
    pairs = [_deliver(bench, practice, records, settings) for _ in range(bench.times)]
    starts, costs = [start for start, _ in pairs], [cost for _, cost in pairs]
    each = (median(lambda cost: cost.cpu_s, costs) - median(lambda cost: cost.cpu_s, starts)) / records * 1000
    database = median(lambda cost: cost.database_s, costs) / records * 1000
    rate = records / (median(lambda cost: cost.wall_s, costs) - median(lambda cost: cost.wall_s, starts))
    note = f"database {database:.2f} ms, {rate:,.0f} records/s"
    return Figure("written", f"CPU per record, {what}", each, "ms", must, goal, note=note)


def _deliver(bench: Bench, practice: str, records: int, settings: Mapping[str, str]) -> tuple[Cost, Cost]:
    """A sync with nothing to do, and one that delivers every patient one by one; a shop of its own for each."""
    with serving("integrations.bench.shop") as shop:
        clinic = bench.clinic()
        clinic.let_deliver(on=False)
        bench.run(clinic.sync, cliniko=practice, shopify=NOWHERE)
        start = bench.run(clinic.sync, cliniko=practice, shopify=NOWHERE)
        clinic.let_deliver(on=True)
        environment = {**vendors(cliniko=practice, shopify=shop), **settings, "SUTURE_BULK_FROM": str(records)}
        cost = run(clinic.sync, environment=environment, postmaster=bench.postmaster)
        (flow,) = json.loads(cost.output)["flows"]
        if flow["older"].get("created") != records:
            raise AssertionError(cost.output)
    return start, cost
