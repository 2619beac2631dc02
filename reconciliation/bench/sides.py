"""The sides that every peer compares, staged as a report stages them, and joined as it joins them."""

import time
from collections.abc import Iterator

from django.db import connection as database
from django.db import transaction

from integrations.bench.clinic import open_clinic
from integrations.bench.sides import FIELDS, pairs
from integrations.core.values import Text
from integrations.models import Flow
from integrations.services.jobs import Job, load_job
from reconciliation.compare import Standing
from reconciliation.joining import Row, alone_rows, join, pair_rows
from reconciliation.layout import Layout
from reconciliation.models import Side, Staged
from reconciliation.staging import COLUMNS
from tenants.models import Tenant
from tenants.walls import insert_rows, tenant_tx

REPORT = 1
_LINKS = f"""
INSERT INTO integrations_link (tenant_id, source_id, target_id, source_stream, target_stream, source_key, target_key,
    source_aliases, target_aliases, made_by, created_at)
SELECT DISTINCT tenant_id, %s, %s, %s, %s, key, key, '{{}}'::text[], '{{}}'::text[], 'bench', app_now()
FROM reconciliation_staged WHERE tenant_id = %s AND report_number = {REPORT}"""  # noqa: S608 - constants only


def stage(count: int, slug: str) -> None:
    clinic = open_clinic(slug)
    with tenant_tx(clinic.tenant_id, reason="bench"):
        job = load_job(clinic.flow_id)
        insert_rows(Staged, COLUMNS, _rows(_layout(job), count))
        streams = (job.source_stream.name, job.target_stream.name)
        with database.cursor() as cursor:
            cursor.execute(_LINKS, [clinic.source_id, clinic.target_id, *streams, clinic.tenant_id])


def _layout(job: Job) -> Layout:
    return Layout.of(FIELDS, lambda _: Text, job.vault.digest_key)


def _rows(layout: Layout, count: int) -> Iterator[tuple[object, ...]]:
    live = Standing.LIVE.value
    for key, left, right in pairs(count):
        if left is not None:
            wished = layout.wished(dict(zip(FIELDS, left, strict=True)))
            yield REPORT, Side.LEFT.value, str(key), "", live, wished.fingerprint, wished.digests
        if right is not None:
            there = layout.there(dict(zip(FIELDS, right, strict=True)))
            yield REPORT, Side.RIGHT.value, str(key), str(key), live, there.fingerprint, there.digests


def compare(count: int, slug: str) -> list[float]:
    """How many agree, how many are to be looked at again, and in how many seconds that was told. Nothing is kept."""
    tenant, began = Tenant.objects.get(slug=slug), time.perf_counter()
    with tenant_tx(tenant.pk, reason="bench"):
        job = load_job(Flow.objects.get().pk)
        agree = join(job, REPORT)["agree"]
        suspects = sum(row.parts is None for row in _walked(job))
        transaction.set_rollback(True)
    return [agree, suspects, round(time.perf_counter() - began, 3)]


def _walked(job: Job) -> Iterator[Row]:
    layout, place = _layout(job), ""
    while rows := pair_rows(job, REPORT, layout, place):
        yield from rows
        place = rows[-1].key
    yield from alone_rows(job, REPORT, None)
