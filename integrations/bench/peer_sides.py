"""Peers that compare two tables: PostgreSQL itself, reladiff, and datacompy by pandas and by polars.

    PEER_DATABASE=postgresql://... python -m integrations.bench.peer_sides METHOD COUNT WORKDIR

``load`` makes the tables, ``frames`` the files that datacompy reads. The other methods print how many records differ and
are missing right and left. But for ``load`` and ``sql`` they run by the interpreter of an environment of their own.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from integrations.bench.sides import FIELDS, pairs

TABLES = ("peer_left", "peer_right")


def load(count: int, _workdir: Path) -> None:
    import psycopg  # noqa: PLC0415 - each method starts what it needs and nothing else

    columns = ", ".join(f"{name} text NOT NULL" for name in FIELDS)
    with psycopg.connect(os.environ["PEER_DATABASE"], autocommit=True) as database:
        for side, table in enumerate(TABLES, start=1):
            database.execute(f"DROP TABLE IF EXISTS {table}")
            database.execute(f"CREATE TABLE {table} (id bigint, {columns})")
            with database.cursor().copy(f"COPY {table} FROM STDIN") as copy:
                for key, *sides in pairs(count):
                    values = sides[side - 1]
                    if values is not None:
                        copy.write_row((key, *values))
            database.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (id)")
            database.execute(f"VACUUM ANALYZE {table}")


def sql(_count: int, _workdir: Path) -> list[int]:
    import psycopg  # noqa: PLC0415

    named = ", ".join(f"a.{name} IS DISTINCT FROM b.{name}" for name in FIELDS)
    left, right = (", ".join(f"{side}.{name}" for name in FIELDS) for side in "ab")
    with psycopg.connect(os.environ["PEER_DATABASE"]) as database:
        rows = database.execute(
            f"SELECT a.id, b.id, {named} FROM {TABLES[0]} a FULL JOIN {TABLES[1]} b ON a.id = b.id"  # noqa: S608
            f" WHERE a.id IS NULL OR b.id IS NULL OR ({left}) IS DISTINCT FROM ({right})"
        ).fetchall()
    only_left, only_right = sum(row[1] is None for row in rows), sum(row[0] is None for row in rows)
    return [len(rows) - only_left - only_right, only_left, only_right]


def reladiff(_count: int, _workdir: Path) -> list[int]:
    import reladiff as peer  # type: ignore[import-not-found]  # noqa: PLC0415

    parts = urlsplit(os.environ["PEER_DATABASE"])
    where = {
        "driver": "postgresql",
        "host": parts.hostname or unquote(parse_qs(parts.query)["host"][0]),
        "port": str(parts.port or 5432),
        "dbname": parts.path[1:],
        "user": parts.username,
        "password": parts.password,
    }
    left, right = (peer.connect_to_table(where, table, "id", extra_columns=FIELDS) for table in TABLES)
    signs: dict[str, set[str]] = {"-": set(), "+": set()}
    for sign, row in peer.diff_tables(left, right, algorithm=peer.Algorithm.JOINDIFF, extra_columns=FIELDS):
        signs[sign].add(row[0])
    both = signs["-"] & signs["+"]
    return [len(both), len(signs["-"] - both), len(signs["+"] - both)]


def frames(count: int, workdir: Path) -> None:
    import pyarrow  # type: ignore[import-not-found]  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    for side, table in enumerate(TABLES):
        rows = [(key, *values) for key, *both in pairs(count) if (values := both[side]) is not None]
        columns = dict(zip(("id", *FIELDS), zip(*rows, strict=True), strict=True))
        parquet.write_table(pyarrow.table(columns), workdir / f"{table}.parquet")


def datacompy_pandas(_count: int, workdir: Path) -> list[int]:
    import datacompy  # type: ignore[import-not-found]  # noqa: PLC0415
    import pandas  # type: ignore[import-untyped]  # noqa: PLC0415

    left, right = (pandas.read_parquet(workdir / f"{table}.parquet") for table in TABLES)
    return _told(datacompy.PandasCompare(left, right, join_columns="id"))


def datacompy_polars(_count: int, workdir: Path) -> list[int]:
    import datacompy  # noqa: PLC0415
    import polars  # type: ignore[import-not-found]  # noqa: PLC0415

    left, right = (polars.read_parquet(workdir / f"{table}.parquet") for table in TABLES)
    return _told(datacompy.PolarsCompare(left, right, join_columns="id"))


def _told(compared) -> list[int]:  # type: ignore[no-untyped-def]  # datacompy is not installed here
    different = len(compared.all_mismatch())
    compared.report()
    return [different, len(compared.df1_unq_rows), len(compared.df2_unq_rows)]


METHODS: Mapping[str, Callable[[int, Path], list[int] | None]] = {
    method.__name__: method for method in (load, sql, reladiff, frames, datacompy_pandas, datacompy_polars)
}

if __name__ == "__main__":
    name, size, folder = sys.argv[1:4]
    sys.stdout.write(json.dumps(METHODS[name](int(size), Path(folder))) + "\n")
