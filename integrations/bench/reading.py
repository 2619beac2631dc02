"""Rows of reading: new records, unchanged ones, and the incremental run."""

import os
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median as middle

from django.conf import settings

from integrations.bench.clinic import Clinic, counting_queries, counts, lift_limits, open_clinic, rows_written
from integrations.bench.figures import Figure
from integrations.bench.measuring import Cost, median, run, serving
from integrations.models import Run
from integrations.services import intake
from tenants.walls import app_now, tenant_tx

TIMES = 3
CHANGED = 1000
STATED = 100_000
"""The size that the numbers to meet are stated for."""
PEER = Path(__file__).with_name("peer_dlt.py")


@dataclass(slots=True)
class Bench:
    """What every row is given."""

    postmaster: int
    peers: Path | None = None
    times: int = TIMES
    serial: int = 0
    sizes: Mapping[str, float] = field(default_factory=dict)

    def clinic(self, *, subject: str = "") -> Clinic:
        self.serial += 1
        made = open_clinic(f"bench-{os.getpid()}-{self.serial}", subject=subject)
        lift_limits(subject or made.slug)
        return made

    def run(self, command: tuple[str, ...], **urls: str) -> Cost:
        return run(command, environment=vendors(**urls), postmaster=self.postmaster)


def vendors(**urls: str) -> dict[str, str]:
    """The environment that leads to the fast servers."""
    named = ",".join(f"{vendor}={url}" for vendor, url in urls.items())
    return {"SUTURE_SANDBOX": "1", "SUTURE_VENDOR_URLS": named}


NOWHERE = "http://127.0.0.1:9/{account}"


def loaded(bench: Bench, records: int) -> Iterator[Figure]:
    """Reading new records, then the same ones unchanged; each run beside a bare loop over the same pages."""
    with serving("integrations.bench.practice", "--patients", str(records)) as practice:
        sync = partial(bench.run, cliniko=practice, shopify=NOWHERE)
        bare = partial(bench.run, ("-m", "integrations.bench.bare", practice))
        bare()
        loops: list[Cost] = []
        runs: list[Cost] = []
        for _ in range(bench.times):
            clinic = bench.clinic()
            clinic.let_deliver(on=False)
            loops.append(bare())
            runs.append(sync(clinic.sync))
            _expect(runs[-1], read=records, waiting=records)
        yield from _ratios("new", records, runs, loops, must=5, goal=2.5, heavy=150, light=120)
        clinic.settle_waiting()
        loops, runs = [], []
        before = rows_written()
        for _ in range(bench.times):
            clinic.ask_everything()
            loops.append(bare())
            runs.append(sync(clinic.sync))
            _expect(runs[-1], read=records, unchanged=records)
        yield from _ratios("unchanged", records, runs, loops, must=3, goal=1.8, heavy=150, light=120)
        yield Figure("unchanged", f"rows written, {records:,} records", rows_written() - before, "rows", must=0, goal=0)
        if records <= 10_000:
            yield from _queries(bench, practice)


def _ratios(
    row: str, records: int, runs: list[Cost], loops: list[Cost], *, must: float, goal: float, heavy: float, light: float
) -> Iterator[Figure]:
    told = partial(Figure, row)
    least, best = (must, goal) if records >= STATED else (None, None)  # smaller loads are mostly the process's start
    wall = middle(run.wall_s / loop.wall_s for run, loop in zip(runs, loops, strict=True))
    cpu = middle(run.cpu_s / loop.cpu_s for run, loop in zip(runs, loops, strict=True))
    whole = middle((run.cpu_s + run.database_s) / loop.cpu_s for run, loop in zip(runs, loops, strict=True))
    seconds = f"{median(lambda cost: cost.wall_s, runs):.1f} s beside {median(lambda cost: cost.wall_s, loops):.1f} s"
    size = f"{records:,} records"
    yield told(f"wall clock, {size}", wall, "x", least, best, note=seconds)
    yield told(f"CPU of the process, {size}", cpu, "x", least, best)
    yield told(f"CPU with the database's, {size}", whole, "x")
    yield told(f"peak memory, {size}", median(lambda cost: cost.peak_mb, runs), "MB", heavy, light)


def _expect(cost: Cost, **expected: int) -> None:
    """Raises AssertionError when the run did not do what is measured."""
    found = counts(cost.output)
    wrong = {name: found.get(name) for name, count in expected.items() if found.get(name) != count}
    if wrong:
        raise AssertionError(f"expected {expected}, found {wrong}")


def _queries(bench: Bench, practice: str) -> Iterator[Figure]:
    """Statements per page of a pass over everything, its start and end shared out; the quota's are among them."""
    settings.SUTURE_SANDBOX, settings.SUTURE_VENDOR_URLS = True, {"cliniko": practice}
    clinic = bench.clinic()
    yield Figure("new", "statements per page", _statements_per_page(clinic), "SQL")
    clinic.settle_waiting()
    clinic.ask_everything()
    yield Figure("unchanged", "statements per page", _statements_per_page(clinic), "SQL")


def _statements_per_page(clinic: Clinic) -> float:
    with tenant_tx(clinic.tenant_id, reason="bench"):
        run = intake.start_run(clinic.flow_id, trigger="bench", now=app_now())
    assert run is not None  # noqa: S101 - the flow is live and has no other run
    with counting_queries() as seen:
        intake.run_slice(clinic.tenant_id, run.pk, seconds=3600)
    with tenant_tx(clinic.tenant_id, reason="bench"):
        pages: int = Run.objects.get(pk=run.pk).pages
    return seen[0] / pages


def incremental(bench: Bench, records: int) -> Iterator[Figure]:
    """A cold command when nothing changed, and when a thousand did; the peer in the same minutes."""
    with serving("integrations.bench.practice", "--patients", str(records)) as practice:
        sync = partial(bench.run, cliniko=practice, shopify=NOWHERE)
        clinic = bench.clinic()
        clinic.let_deliver(on=False)
        sync(clinic.sync)
        clinic.settle_waiting()
        peer = Peer.found(bench, practice)
        if peer:
            peer.run("initial")
        for changed, goal in ((0, 0.9), (CHANGED, 1.6)):
            ours: list[Cost] = []
            theirs: list[Cost] = []
            for _ in range(bench.times):
                if changed:
                    _change(practice, changed)
                ours.append(sync(clinic.sync))
                _expect(ours[-1], waiting=changed)
                clinic.settle_waiting()
                if peer:
                    theirs.append(peer.run("again"))
            what = f"{changed:,} changed" if changed else "nothing changed"
            told = partial(Figure, "incremental", note=f"CPU {median(lambda cost: cost.cpu_s, ours):.2f} s")
            yield told(f"{what}, cold command, absolute", median(lambda cost: cost.wall_s, ours), "s", goal=goal)
            if theirs:
                share = middle(our.wall_s / their.wall_s for our, their in zip(ours, theirs, strict=True))
                note = f"dlt {median(lambda cost: cost.wall_s, theirs):.2f} s"
                yield Figure("incremental", f"{what}, beside dlt", share, "x dlt", must=1, note=note)
            else:
                yield Figure(
                    "incremental", f"{what}, beside dlt", 0, "-", note="absent: --peers DIR with DIR/dlt/bin/python"
                )


def _change(practice: str, count: int) -> None:
    time.sleep(1.1)  # changes are stamped in whole seconds
    with urllib.request.urlopen(f"{practice}/_bench/change?n={count}", data=b"", timeout=60):  # noqa: S310 - our own
        pass


@dataclass(frozen=True, slots=True)
class Peer:
    """dlt in an environment of its own, loading the same pages into the same database server."""

    python: Path
    practice: str
    workdir: Path
    database: str
    postmaster: int

    @classmethod
    def found(cls, bench: Bench, practice: str) -> "Peer | None":
        python = bench.peers / "dlt" / "bin" / "python" if bench.peers else None
        if python is None or not python.exists():
            return None
        return cls(python, practice, settings.SUTURE_VAR / "dlt", os.environ["DATABASE_OWNER_URL"], bench.postmaster)

    def run(self, what: str) -> Cost:
        command = ("-P", str(PEER), self.practice, what, str(self.workdir))
        environment = {"PEER_DATABASE": self.database}
        return run(command, environment=environment, postmaster=self.postmaster, python=str(self.python))
