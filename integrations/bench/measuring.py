"""Running a command and saying what it cost: wall clock, CPU of the process and of the database, peak memory."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

LAUNCH = Path(__file__).with_name("launch.py")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """One run. ``database_s`` is CPU of PostgreSQL's own processes meanwhile."""

    wall_s: float
    cpu_s: float
    database_s: float
    peak_mb: float
    output: str


class CommandFailed(Exception):
    """A command that a measurement needs ended badly; the message has its last words."""


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    postmaster: int = 0,
    python: str = sys.executable,
) -> Cost:
    """Runs a command with this or that interpreter, to its end, with byte code kept as an installation keeps it. Raises
    CommandFailed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = cpu_of_tree(postmaster) if postmaster else 0.0
    done = subprocess.run(  # noqa: S603 - our own commands
        [sys.executable, "-I", "-S", str(LAUNCH), python, *command],
        cwd=settings.BASE_DIR,
        env=kept | dict(environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    said, _, told = done.stderr.rstrip().rpartition("\n")
    wall_s, cpu_s, peak_kb, status = json.loads(told)
    if status:
        raise CommandFailed(f"{' '.join(command)} ended with {status}: {said[-2000:] or done.stdout[-2000:]}")
    database_s = cpu_of_tree(postmaster) - before if postmaster else 0.0
    return Cost(wall_s, cpu_s, database_s, peak_kb / 1024, done.stdout)


def median(of: Callable[[Cost], float], costs: Sequence[Cost]) -> float:
    return statistics.median(map(of, costs))


@contextmanager
def serving(module: str, *options: str) -> Iterator[str]:
    """One of our fast servers, in a process of its own. Gives its address."""
    server = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", module, *options], cwd=settings.BASE_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdin is not None and server.stdout is not None  # noqa: S101 - both are pipes
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.stdin.close()
        server.terminate()
        server.wait()
        server.stdout.close()


def cpu_of_tree(pid: int) -> float:
    """CPU seconds of a process, its children, and those of its children that ended."""
    return sum(_cpu(one, ended=one == pid) for one in family(pid)) / _TICKS


def family(pid: int) -> list[int]:
    """A process and everything below it."""
    found, ahead = [], [pid]
    while ahead:
        one = ahead.pop()
        found.append(one)
        try:
            for thread in Path(f"/proc/{one}/task").iterdir():
                ahead += map(int, (thread / "children").read_text().split())
        except OSError:
            continue
    return found


def _cpu(pid: int, *, ended: bool) -> int:
    try:
        numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    own = int(numbers[11]) + int(numbers[12])
    return own + int(numbers[13]) + int(numbers[14]) if ended else own
