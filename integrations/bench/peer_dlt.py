"""The peer: dlt's REST source into PostgreSQL, merging by id behind a cursor on ``updated_at``.

    PEER_DATABASE=postgresql://... python peer_dlt.py URL initial|again WORKDIR

Run by the interpreter of an environment of its own; nothing here is imported by anybody.
"""

import os
import sys
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}

import dlt  # type: ignore[import-not-found]
from dlt.sources.rest_api import rest_api_source  # type: ignore[import-not-found]

DATASET = "peer_dlt"


def credentials(url: str) -> str:
    """The address as dlt takes it: the socket's folder as the host."""
    parts = urlsplit(url)
    host = parts.hostname or unquote(parse_qs(parts.query)["host"][0]).replace("/", "%2F")
    return f"postgresql://{parts.username}:{parts.password}@{host}:{parts.port or 5432}{parts.path}"


def main(practice: str, what: str, workdir: str) -> None:
    pipeline = dlt.pipeline(
        pipeline_name=DATASET,
        pipelines_dir=str(Path(workdir)),
        dataset_name=DATASET,
        destination=dlt.destinations.postgres(credentials(os.environ["PEER_DATABASE"])),
    )
    if what == "initial":
        with pipeline.sql_client() as client:
            for schema in (DATASET, f"{DATASET}_staging"):
                client.execute_sql(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        pipeline = pipeline.drop()
    pipeline.run(
        rest_api_source(
            {
                "client": {
                    "base_url": f"{practice}/v1/",
                    "paginator": {"type": "json_link", "next_url_path": "links.next"},
                },
                "resources": [
                    {
                        "name": "patients",
                        "primary_key": "id",
                        "write_disposition": "merge",
                        "endpoint": {
                            "path": "patients",
                            "data_selector": "patients",
                            "params": {"per_page": 100, "q[]": "updated_at:>{incremental.start_value}"},
                            "incremental": {"cursor_path": "updated_at", "initial_value": "2000-01-01T00:00:00Z"},
                        },
                    }
                ],
            },
            max_table_nesting=1,
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:4])
