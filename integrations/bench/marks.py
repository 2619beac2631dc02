"""A task that only says when it began."""

import time
from pathlib import Path


def mark(path: str, rang_at: float) -> None:
    with Path(path).open("a") as marks:
        marks.write(f"{rang_at} {time.time()}\n")
