"""Speed and memory beside the bare loop."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import connection as database

from integrations.bench import comparing, doorbells, quota, reading, writing
from integrations.bench.figures import Figure, table

ROWS = ("new", "incremental", "written", "quota", "doorbell", "reconcile", "compare")
LEFT_TO_US = (
    "PYTHONDONTWRITEBYTECODE",
    "DATABASE_URL",
    "DATABASE_OWNER_URL",
    "SECRET_KEY",
    "SUTURE_KEY_RING",
    "SUTURE_VENDOR_URLS",
)


class Command(BaseCommand):
    help = (
        "Measure reading, writing, the quota's use, the doorbell and comparing on a database of its own, which is removed afterwards. "
        "Ratios are to the bare loop (requests and json over the same pages) of the same minutes. Exit status 1: a must is missed."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--records", default="10000,100000", help="sizes of a first load (default: %(default)s)")
        parser.add_argument(
            "--sides", default="100000,1000000", help="sizes of stored sides to compare (default: %(default)s)"
        )
        parser.add_argument(
            "--rows", default=",".join(ROWS), help="which rows (default: %(default)s); new includes unchanged"
        )
        parser.add_argument(
            "--peers",
            type=Path,
            metavar="DIR",
            help="a folder of virtual environments: dlt/ with dlt[postgres], sides/ with reladiff[postgresql], datacompy, polars, pandas and pyarrow",
        )
        parser.add_argument(
            "--times", type=int, default=reading.TIMES, help="runs per figure, of which the median counts"
        )
        parser.add_argument("--json", action="store_true", help="print one object and nothing else on standard output")
        parser.add_argument(
            "--here", action="store_true", help="measure on the database this command finds, which is thrown away"
        )

    def handle(self, *, here: bool, **options: Any) -> None:
        if not here:
            sys.exit(_on_a_database_of_its_own(sys.argv[2:]))
        self._measure(**options)

    def _measure(
        self, *, records: str, sides: str, rows: str, peers: Path | None, times: int, json: bool, **_: object
    ) -> None:
        wanted = rows.split(",")
        bench = reading.Bench(_postmaster(), peers, times)
        began, figures = time.monotonic(), []
        sizes, larger = ([int(size) for size in given.split(",")] for given in (records, sides))
        for name, measure in _rows(bench, sizes, larger):
            if name not in wanted:
                continue
            for figure in measure():
                figures.append(figure)
                self.stderr.write(f"{figure.row}: {figure.what}: {figure.value:.3g} {figure.unit} {figure.note}")
        seconds = time.monotonic() - began
        missed = [figure for figure in figures if figure.verdict == "MISSED"]
        self.stdout.write(_as_json(figures, seconds) if json else self._told(figures, seconds))
        if missed:
            sys.exit(1)

    def _told(self, figures: list[Figure], seconds: float) -> str:
        least, most = min(figure.load for figure in figures), max(figure.load for figure in figures)
        return (
            f"\n{table(figures)}\n\nx: times the bare loop, {len(os.sched_getaffinity(0))} cores, load {least:.1f} to "
            f"{most:.1f} meanwhile; all other units are absolute. {seconds:.0f} s.\n"
        )


def _rows(
    bench: reading.Bench, sizes: list[int], sides: list[int]
) -> Iterator[tuple[str, Callable[[], Iterator[Figure]]]]:
    for size in sizes:
        yield "new", partial(reading.loaded, bench, size)
    yield "incremental", partial(reading.incremental, bench, max(sizes))
    yield "written", partial(writing.written, bench)
    yield "quota", partial(quota.used, bench)
    yield "doorbell", partial(doorbells.doorbell, bench)
    yield "reconcile", partial(comparing.reconciled, bench, sizes)
    for size in sides:
        yield "compare", partial(comparing.compared, bench, size)


def _as_json(figures: list[Figure], seconds: float) -> str:
    ok = all(figure.verdict != "MISSED" for figure in figures)
    return json.dumps({"figures": [figure.as_json() for figure in figures], "seconds": round(seconds), "ok": ok})


def _postmaster() -> int:
    """The process above the one that serves us; 0 where the database runs elsewhere."""
    with database.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _on_a_database_of_its_own(arguments: list[str]) -> int:
    """Runs this command again in a folder of its own, and removes it."""
    folder = Path(tempfile.mkdtemp(prefix="suture-bench-"))
    folder.chmod(0o755)  # the database's user must get through; what is secret in it has modes of its own
    environment = _environment(folder)
    try:
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "bench", "--here", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - ourselves
    finally:
        stop = [sys.executable, "-m", "config.embedded", "stop"]
        subprocess.run(stop, env=environment, cwd=settings.BASE_DIR, check=False, stdout=subprocess.DEVNULL)  # noqa: S603
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in LEFT_TO_US}
    return kept | {"SUTURE_VAR": str(folder), "SUTURE_SANDBOX": "1", "LOG_LEVEL": "WARNING"}
