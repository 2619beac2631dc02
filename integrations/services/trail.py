"""Records of a source, read for a page: what they refer to and what their figures are. Kept nowhere."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from integrations.connectors.base import Stream
from integrations.core import errors
from integrations.core.records import Record
from integrations.models import Connection
from integrations.services import connections
from integrations.services.reading import read_each
from integrations.toolkit.http import Client

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
