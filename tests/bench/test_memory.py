"""A first load takes no more memory for ten times the records."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.proof
def test_memory_does_not_grow_with_the_practice(tmp_path: Path) -> None:
    """The bench's own figures, on a database of its own."""
    told = subprocess.run(
        [sys.executable, "manage.py", "bench", "--rows", "new", "--times", "1", "--json"],
        cwd=ROOT,
        env=os.environ,
        stdout=subprocess.PIPE,
        check=False,
    )
    figures = {(one["row"], one["what"]): one["value"] for one in json.loads(told.stdout)["figures"]}
    for row in ("new", "unchanged"):
        small, large = (figures[row, f"peak memory, {size} records"] for size in ("10,000", "100,000"))
        assert large <= 150
        assert large <= small + 20
