"""What a value map should cover: the source values that were really met, and how often."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from django.db import connection as database

from integrations.core.records import Record
from integrations.services.jobs import Job
from tenants.walls import current_tenant_id, text_array

LONGEST = 255
_COUNT = """
INSERT INTO integrations_seenvalue (tenant_id, flow_id, name, source_value, times, last_at)
SELECT %(tenant)s, %(flow)s, %(name)s, met.value, met.times, %(now)s FROM unnest(%(values)s::text[], %(times)s::int[]) AS met(value, times)
ON CONFLICT (tenant_id, flow_id, name, source_value)
DO UPDATE SET times = integrations_seenvalue.times + excluded.times, last_at = excluded.last_at
"""


def count(job: Job, records: Sequence[Record], now: datetime) -> None:
    """Adds a page's values, one statement per value map. Call inside the clinic's transaction."""
    for spec in job.kind.value_maps:
        met = Counter(str(value)[:LONGEST] for one in records if (value := one.values.get(spec.source)) is not None)
        if not met:
            continue
        values = sorted(met)
        with database.cursor() as cursor:
            cursor.execute(
                _COUNT,
                {
                    "tenant": current_tenant_id(),
                    "flow": job.flow_id,
                    "name": spec.name,
                    "values": text_array(values),
                    "times": [met[value] for value in values],
                    "now": now,
                },
            )
