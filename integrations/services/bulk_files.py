"""The files of bulk runs on this machine: short-lived, for our eyes alone, and swept when somebody died over one."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from django.conf import settings

AGED_S = 3600  # no step lives as long


def as_line(row: Mapping[str, object]) -> str:
    """A row as it stands in a file."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


@contextmanager
def fresh() -> Iterator[Path]:
    """A name for a file that is not there yet; what was written under it goes at the end, and what others left as well."""
    sweep()
    path = _folder() / f"{secrets.token_hex(16)}.jsonl"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def sweep() -> int:
    """Removes what a dead worker left."""
    swept = 0
    for path in _folder().iterdir():
        with suppress(FileNotFoundError):  # its owner was quicker
            if time.time() - path.stat().st_mtime > AGED_S:
                path.unlink()
                swept += 1
    return swept


def _folder() -> Path:
    folder: Path = settings.SUTURE_VAR / "bulk"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
