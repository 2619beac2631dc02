"""A pytest plugin (`-p tests.embedded_server`) that opens an embedded database before the settings are read.

It is a server of the tests' own (`var/tests`), which need not survive a power cut: without fsync, emptying the tables
after each test that commits takes milliseconds. pytest-django reads the settings before any conftest; workers of
pytest-xdist inherit the environment made here.
"""

import os
from pathlib import Path

import psycopg

from config import embedded, embedded_home

os.environ.setdefault("SUTURE_VAR", str(Path(__file__).resolve().parent.parent / "var" / "tests"))


def _hurry() -> None:
    server = embedded.start(embedded_home.var_folder())
    with psycopg.connect(embedded.address(server, "postgres", "postgres"), autocommit=True) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off")
        connection.execute("SELECT pg_reload_conf()")


if embedded.prepare():
    _hurry()
