"""Records of a source, read for a page: what they refer to, what their figures are, what rules see of one. Kept nowhere."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from integrations.connectors.base import Stream
from integrations.core import errors
from integrations.core.records import Record
from integrations.core.values import Value
from integrations.models import Connection, Delivery
from integrations.services import connections
from integrations.services.jobs import load_job
from integrations.services.reading import read_each
from integrations.toolkit.http import Client
from tenants.walls import tenant_tx

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the source said now. ``code`` says why it could not be asked, or why the one record asked for is unreadable."""

    records: Mapping[str, Record] = field(default_factory=dict)
    code: str = ""


def read_source(
    tenant_id: int,
    source: Connection,
    stream: Stream,
    keys: Sequence[str],
    fields: frozenset[str],
    *,
    opener: Callable[..., Client] = connections.open_client,
) -> Answer:
    """These records as they are now; outside of any transaction. Those that are gone are absent."""
    try:
        client = opener(tenant_id, source, interactive=True, patience_s=PATIENCE_S)
        records, unread = read_each(stream, client, keys, fields)
    except errors.SyncError as error:
        return Answer(code=error.code)
    return Answer(records, next((error.code for error in unread.values()), ""))


@dataclass(frozen=True, slots=True)
class Seen:
    """What the rules see of one record as it is now. None: it is gone, or ``code`` says why it could not be read."""

    values: Mapping[str, Value] | None = field(default=None, repr=False)
    code: str = ""


def see_source(tenant_id: int, delivery_id: int, *, opener: Callable[..., Client] = connections.open_client) -> Seen:
    """The record of a delivery, as its flow's present rules see it; outside of any transaction."""
    with tenant_tx(tenant_id, reason="see source"):
        row = Delivery.objects.only("flow_id", "source_key").get(pk=delivery_id)
        job = load_job(row.flow_id)
    fields = job.plan.source_fields
    answer = read_source(tenant_id, job.source, job.source_stream, [row.source_key], fields, opener=opener)
    record = answer.records.get(row.source_key)
    return Seen(job.plan.source_values(record) if record else None, answer.code)
