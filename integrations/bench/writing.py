"""The row of writing: what one delivered record costs the client."""

from collections.abc import Iterator

from integrations.bench.clinic import counts
from integrations.bench.figures import Figure
from integrations.bench.measuring import Cost, median, run, serving
from integrations.bench.reading import NOWHERE, Bench, vendors

RECORDS = 3000


def written(bench: Bench) -> Iterator[Figure]:
    """CPU of the process per new customer with an address: look-up, create, address, quota, link, log and counts.

    The command's own start is taken off, since it is paid once, however many records follow.
    """
    with serving("integrations.bench.practice", "--patients", str(RECORDS)) as practice:
        for batch, what, must, goal in ((10, "aliased batches of 10", 2.0, 0.3), (1, "one by one", 2.0, 1.3)):
            costs, starts = [], []
            for _ in range(bench.times):
                start, cost = _deliver(bench, practice, batch)
                starts.append(start)
                costs.append(cost)
            each = (median(lambda cost: cost.cpu_s, costs) - median(lambda cost: cost.cpu_s, starts)) / RECORDS * 1000
            database = median(lambda cost: cost.database_s, costs) / RECORDS * 1000
            note = f"database {database:.2f} ms, {RECORDS / median(lambda cost: cost.wall_s, costs):,.0f} records/s"
            yield Figure("written", f"CPU per record, {what}", each, "ms", must, goal, note=note)


def _deliver(bench: Bench, practice: str, batch: int) -> tuple[Cost, Cost]:
    """A sync with nothing to do, and one that delivers every patient; a shop of its own for each."""
    with serving("integrations.bench.shop") as shop:
        clinic = bench.clinic()
        clinic.let_deliver(on=False)
        environment = vendors(cliniko=practice, shopify=shop)
        if batch == 1:
            environment["SUTURE_CLAIM_BATCH"] = "1"
        bench.run(clinic.sync, cliniko=practice, shopify=NOWHERE)
        start = bench.run(clinic.sync, cliniko=practice, shopify=NOWHERE)
        clinic.let_deliver(on=True)
        cost = run(clinic.sync, environment=environment, postmaster=bench.postmaster)
        with_target = counts(cost.output)
        assert not with_target["held"], cost.output  # noqa: S101 - else it measured something else
    return start, cost
