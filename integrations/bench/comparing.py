"""Rows of reconciliation: two stored sides compared, beside peers that compare tables; and a whole comparison, both sides
fetched, beside two bare loops."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median as middle

from django.conf import settings

from integrations.bench.figures import Figure
from integrations.bench.measuring import Cost, median, run, serving
from integrations.bench.reading import NOWHERE, STATED, Bench
from integrations.bench.sides import expected
from integrations.connectors.shopify.operations import page_document, selection

STATED_SIDES = 1_000_000
IN_TABLES = ("reladiff", "datacompy_polars", "datacompy_pandas")
"""Peers that an environment of their own brings: the folder ``sides`` of ``--peers``."""


def compared(bench: Bench, records: int) -> Iterator[Figure]:
    """Two sides that are stored already, in whole processes: ours by links and digests, a join and peers by values."""
    sides = Sides(bench, records)
    sides.prepare()
    runs, joins = [], []
    for _ in range(bench.times):
        joins.append(sides.peer("sql"))
        runs.append(sides.ours())
    size = f"{records:,} a side"
    seconds = median(lambda cost: cost.wall_s, runs)
    note = f"{seconds:.2f} s beside {median(lambda cost: cost.wall_s, joins):.2f} s"
    is_stated = records >= STATED_SIDES
    share = middle(ours.wall_s / theirs.wall_s for ours, theirs in zip(runs, joins, strict=True))
    told = partial(Figure, "compare")
    yield told(f"whole process, {size}", share, "x SQL join", must=2 if is_stated else None, note=note)
    warm = middle(json.loads(cost.output)[2] for cost in runs)
    yield told(f"in a running worker, {size}, absolute", warm, "s", goal=None if is_stated else 0.6)
    yield told(f"whole process, {size}, absolute", seconds, "s", goal=4 if is_stated else 1.3)
    yield told(f"peak memory, {size}", median(lambda cost: cost.peak_mb, runs), "MB", must=150, goal=80)
    if sides.python is None:
        yield told(f"beside other tools, {size}", 0, "", note="not measured: run with --peers DIR")
        return
    for name in IN_TABLES:
        costs = [sides.peer(name) for _ in range(bench.times)]
        theirs, heap = median(lambda cost: cost.wall_s, costs), median(lambda cost: cost.peak_mb, costs)
        yield told(f"beside {name}, {size}", seconds / theirs, "x", goal=1, note=f"{theirs:.2f} s, {heap:.0f} MB")


class Sides:
    """The same two sides for everybody, in one database."""

    def __init__(self, bench: Bench, records: int) -> None:
        self.bench, self.records = bench, records
        self.slug = f"sides-{os.getpid()}-{records}"
        self.workdir = settings.SUTURE_VAR / "sides"
        python = bench.peers / "sides" / "bin" / "python" if bench.peers else None
        self.python = python if python is not None and python.exists() else None

    def prepare(self) -> None:
        self.workdir.mkdir(exist_ok=True)
        self._run_peer("load")
        if self.python:
            self._run_peer("frames")
        self._run_ours("stage")

    def ours(self) -> Cost:
        cost = self._run_ours("compare")
        differing = sum(expected(self.records))
        agree, suspects, _ = json.loads(cost.output)
        if (agree, suspects) != (self.records - differing, differing):
            raise AssertionError(cost.output)
        return cost

    def peer(self, method: str) -> Cost:
        cost = self._run_peer(method)
        if json.loads(cost.output.splitlines()[-1]) != expected(self.records):
            raise AssertionError(f"{method}: {cost.output}")
        return cost

    def _run_ours(self, method: str) -> Cost:
        return run(
            ("-m", "reconciliation.bench", method, str(self.records), self.slug), postmaster=self.bench.postmaster
        )

    def _run_peer(self, method: str) -> Cost:
        command = ("-m", "integrations.bench.peer_sides", method, str(self.records), str(self.workdir))
        environment = {"PEER_DATABASE": os.environ["DATABASE_OWNER_URL"]}
        if method in ("load", "sql") or self.python is None:
            return run(command, environment=environment, postmaster=self.bench.postmaster)
        return run(command, environment=environment, postmaster=self.bench.postmaster, python=str(self.python))


def reconciled(bench: Bench, sizes: Sequence[int]) -> Iterator[Figure]:
    """``manage.py reconcile``: both sides fetched, compared, what differs read again, judged and stored."""
    peaks = []
    for records in sizes:
        costs, loops = _both_fetched(bench, records)
        yield from _beside(costs, loops, f"{records:,} a side", is_stated=records >= STATED)
        peaks.append(median(lambda cost: cost.peak_mb, costs))
        yield Figure("reconcile", f"peak memory, {records:,} a side", peaks[-1], "MB", goal=100)
    if len(peaks) > 1:
        times = f"memory that {sizes[-1] / sizes[0]:g} times the records take"
        yield Figure("reconcile", times, peaks[-1] - peaks[0], "MB", must=20)


def _beside(costs: list[Cost], loops: list[list[Cost]], size: str, *, is_stated: bool) -> Iterator[Figure]:
    def ratio(ours: Callable[[Cost], float], theirs: Callable[[Cost], float]) -> float:
        return middle(ours(cost) / sum(map(theirs, pair)) for cost, pair in zip(costs, loops, strict=True))

    told = partial(Figure, "reconcile")
    seconds = median(lambda cost: cost.wall_s, costs)
    bare = middle(sum(cost.wall_s for cost in pair) for pair in loops)
    wall = ratio(lambda cost: cost.wall_s, lambda cost: cost.wall_s)
    whole = ratio(lambda cost: cost.cpu_s + cost.database_s, lambda cost: cost.cpu_s)
    note = f"{seconds:.1f} s beside two loops, {bare:.1f} s"
    yield told(f"wall clock, {size}", wall, "x", must=5 if is_stated else None, note=note)
    yield told(f"CPU of the process, {size}", ratio(lambda cost: cost.cpu_s, lambda cost: cost.cpu_s), "x")
    yield told(f"CPU with the database's, {size}", whole, "x")
    yield told(f"wall clock, {size}, absolute", seconds, "s", goal=7 if is_stated else None)


def _both_fetched(bench: Bench, records: int) -> tuple[list[Cost], list[list[Cost]]]:
    """What comparisons cost, and the two bare loops before each."""
    costs, loops = [], []
    with (
        serving("integrations.bench.practice", "--patients", str(records)) as practice,
        serving("integrations.bench.twins", "--patients", str(records)) as shop,
    ):
        clinic = bench.clinic()
        clinic.let_deliver(on=False)
        bench.run(clinic.sync, cliniko=practice, shopify=NOWHERE)
        clinic.settle_waiting()
        clinic.let_deliver(on=True)
        document = page_document("customers", "ID", selection(clinic.job().plan.target_fields))
        for _ in range(bench.times):
            loops.append([run(("-m", "integrations.bench.bare", *pages)) for pages in ((practice,), (shop, document))])
            costs.append(bench.run(clinic.reconcile, cliniko=practice, shopify=shop))
            _expect(costs[-1], records)
    return costs, loops


def _expect(cost: Cost, records: int) -> None:
    """Raises AssertionError when the comparison did not find what there is."""
    (flow,) = json.loads(cost.output)["flows"]
    found = [flow[name] for name in ("different", "missing_right", "missing_left")]
    if found != expected(records) or flow["left"] != records or flow["duplicate"] or flow["linked_twice"]:
        raise AssertionError(cost.output)
