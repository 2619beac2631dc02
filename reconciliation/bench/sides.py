"""The sides that every peer compares, staged as a report stages them, and joined as it joins them."""

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from django.db import connection as database
from django.db import connections, transaction

from integrations.bench.clinic import open_clinic
from integrations.bench.sides import FIELDS, pairs
from integrations.core.values import Text
from integrations.models import Flow
from integrations.services.jobs import Job, load_job
from reconciliation import staging
from reconciliation.compare import Standing
from reconciliation.joining import Row, alone_rows, join, pair_rows
from reconciliation.layout import Layout
from reconciliation.models import Side
from tenants.models import Tenant
from tenants.walls import tenant_tx, text_array

REPORT, HAUL = 1, 1000
_LINKS = """
INSERT INTO integrations_link (tenant_id, source_id, target_id, source_stream, target_stream, source_key, target_key,
    source_aliases, target_aliases, made_by, created_at)
SELECT %s, %s, %s, %s, %s, key, key, '{}'::text[], '{}'::text[], 'bench', app_now() FROM unnest(%s::text[]) AS one(key)"""


def stage(count: int, slug: str) -> None:
    """Both sides as a report stages them, the source first; all are linked, and have been for long: what peers have of
    their tables, the links have too, but not what was staged."""
    clinic = open_clinic(slug)
    with tenant_tx(clinic.tenant_id, reason="bench"):
        job = load_job(clinic.flow_id)
        streams = (job.source_stream.name, job.target_stream.name)
        layout = _layout(job)
        for side in (Side.LEFT, Side.RIGHT):
            told = pairs(count)
            while haul := list(islice(told, HAUL)):
                rows = _rows(layout, side, haul)
                if side is Side.LEFT:
                    with database.cursor() as cursor:
                        keys = text_array(str(key) for key, *_ in haul)
                        cursor.execute(_LINKS, [clinic.tenant_id, clinic.source_id, clinic.target_id, *streams, keys])
                    staging.stage(REPORT, side, list(rows.values()))
                else:
                    staging.match(REPORT, job, rows)
    with connections["owner"].cursor() as cursor:
        cursor.execute("VACUUM ANALYZE integrations_link")


def _rows(layout: Layout, side: Side, haul: Iterable[Sequence[Any]]) -> dict[str, staging.Row]:
    rows = {}
    for number, left, right in haul:
        key, values = str(number), left if side is Side.LEFT else right
        if values is not None:
            fields = dict(zip(FIELDS, values, strict=True))
            prints = layout.wished(fields) if side is Side.LEFT else layout.there(fields)
            rows[key] = (key, "" if side is Side.LEFT else key, Standing.LIVE, prints)
    return rows


def _layout(job: Job) -> Layout:
    return Layout.of(FIELDS, lambda _: Text, job.vault.digest_key)


def compare(count: int, slug: str) -> list[float]:
    """How many agree, how many are to be looked at again, and in how many seconds that was told. Nothing is kept."""
    tenant, began = Tenant.objects.get(slug=slug), time.perf_counter()
    with tenant_tx(tenant.pk, reason="bench"):
        job = load_job(Flow.objects.get().pk)
        agree = staging.agreed_so_far(REPORT) + join(job, REPORT)["agree"]
        suspects = sum(row.parts is None for row in _walked(job))
        transaction.set_rollback(True)
    return [agree, suspects, round(time.perf_counter() - began, 3)]


def _walked(job: Job) -> Iterator[Row]:
    layout, place = _layout(job), ""
    while rows := pair_rows(job, REPORT, layout, place):
        yield from rows
        place = rows[-1].key
    yield from alone_rows(job, REPORT, None)
