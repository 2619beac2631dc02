"""The row of quotas: a first load by one clinic, as fast as the vendors allow and no faster."""

import os
from collections.abc import Iterator, Mapping
from functools import partial

from integrations.bench import campaign
from integrations.bench.clinic import Clinic
from integrations.bench.figures import Figure
from integrations.bench.reading import Bench

PATIENTS = 40_000
WRITTEN = 400
SPEED = 4.0


def used(bench: Bench) -> Iterator[Figure]:
    """What one clinic's processes use of the practice's window while they read, and of the shop's points while they
    write one by one; the sandboxes' clocks and our budgets run faster alike."""
    told = partial(Figure, "quota")
    with campaign.stage(PATIENTS, speed=SPEED) as on:
        (clinic,) = campaign.clinics(1, prefix=f"quota-{os.getpid()}")
        clinic.let_deliver(on=False)
        campaign.at_once(on, [clinic.sync], environment=os.environ, seconds=900)
        seen = campaign.requests_told(on)
        note = f"busiest window {seen.busiest:.0f} of {seen.limit:.0f}, clock x {SPEED:g}"
        yield told("used in a first load, one process", seen.share * 100, "%", 95, 97, least=True, note=note)
        yield told("refusals while reading", seen.refused, "refused", 0, 0)
    with campaign.stage(WRITTEN, speed=SPEED) as on:
        (clinic,) = campaign.clinics(1, prefix=f"quota-written-{os.getpid()}")
        write_with(on, clinic, processes=1, batch="10")
        seen = campaign.points_told(on)
        note = f"least left in the bucket {seen.busiest:.0f}"
        yield told("used of the shop's points, one process", seen.share * 100, "%", 95, 97, least=True, note=note)
        yield told("refusals while writing", seen.refused, "refused", 0, 0)


def write_with(
    on: campaign.Stage,
    clinic: Clinic,
    *,
    processes: int,
    batch: str,
    environment: Mapping[str, str] = os.environ,
    seconds: float = 900,
) -> None:
    """Reads with the shop paused, then lets so many processes write, each record by itself or in batches."""
    clinic.let_deliver(on=False)
    campaign.at_once(on, [clinic.sync], environment=environment, seconds=seconds)
    clinic.let_deliver(on=True)
    command = (*clinic.sync, "--until-idle", "--max-wait", "60")
    writing = {**environment, "SUTURE_CLAIM_BATCH": batch}
    campaign.at_once(on, [command] * processes, environment=writing, seconds=seconds)
