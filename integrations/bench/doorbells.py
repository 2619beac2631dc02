"""Rows of the queue: how long a doorbell takes to be heard, and what listening costs."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

from django.conf import settings
from django_q.tasks import async_task

from integrations.bench.figures import Figure
from integrations.bench.marks import mark
from integrations.bench.measuring import cpu_of_tree
from integrations.bench.reading import Bench

RINGS = 100
IDLE_S = 20.0
START_S = 120.0
TASK = f"{mark.__module__}.{mark.__qualname__}"


def doorbell(bench: Bench) -> Iterator[Figure]:
    """Enqueue to start with the worker as it is shipped and idle between rings; then the CPU of doing nothing."""
    marks = Path(settings.SUTURE_VAR) / "marks"
    marks.unlink(missing_ok=True)
    with _worker() as pid:
        _ring_until_heard(marks)
        marks.unlink()
        pause = random.Random(5)  # noqa: S311 - the same rings every time
        for _ in range(RINGS):
            async_task(TASK, str(marks), time.time())
            time.sleep(pause.uniform(0.15, 0.25))
        waits = _heard(marks, RINGS)
        before, database = cpu_of_tree(pid), cpu_of_tree(bench.postmaster) if bench.postmaster else 0.0
        time.sleep(IDLE_S)
        idle = (cpu_of_tree(pid) - before) / IDLE_S * 100
        there = (cpu_of_tree(bench.postmaster) - database) / IDLE_S * 100 if bench.postmaster else 0.0
    cuts = quantiles(waits, n=100)
    yield Figure("doorbell", "enqueue to start, median", cuts[49] * 1000, "ms", must=150, goal=25)
    yield Figure("doorbell", "enqueue to start, p99", cuts[98] * 1000, "ms", goal=90)
    note = f"PostgreSQL {there:.1f} %"
    yield Figure("doorbell", "idle worker, supervisor and cluster", idle, "% of a core", must=5, goal=5, note=note)


@contextmanager
def _worker() -> Iterator[int]:
    """The worker, in a group of its own, ended politely."""
    child = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        cwd=settings.BASE_DIR,
        env=os.environ | {"LOG_LEVEL": "WARNING"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(90)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _ring_until_heard(marks: Path) -> None:
    """Rings once; the worker hears it when it is up. Raises TimeoutError."""
    async_task(TASK, str(marks), time.time())
    _heard(marks, 1, seconds=START_S)
    time.sleep(3)  # the other workers start


def _heard(marks: Path, count: int, *, seconds: float = 60.0) -> list[float]:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        lines = marks.read_text().splitlines() if marks.exists() else []
        if len(lines) >= count:
            return [float(began) - float(rang) for rang, began in (line.split() for line in lines)]
        time.sleep(0.1)
    raise TimeoutError(f"{count} doorbells were not heard in {seconds:.0f} s")
