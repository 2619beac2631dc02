"""Reading records by key so that one unreadable record never stops the others."""

from collections.abc import Mapping, Sequence

from integrations.connectors.base import Stream
from integrations.core.errors import RecordError, VendorChanged
from integrations.core.records import Record
from integrations.toolkit.http import Client

Unread = dict[str, RecordError]


def read_each(
    stream: Stream, client: Client, keys: Sequence[str], fields: frozenset[str]
) -> tuple[Mapping[str, Record], Unread]:
    """Records by key, and the error of each that could not be read. A key in neither is gone.

    A batch that one record spoils is read again in halves.
    """
    if stream.read_many is None:
        raise VendorChanged("flow.source_unreadable", stream=stream.name)
    if not keys:
        return {}, {}
    try:
        return stream.read_many(client, keys, fields), {}
    except RecordError as error:
        if len(keys) == 1:
            return {}, {keys[0]: error}
    half = len(keys) // 2
    first, broken_first = read_each(stream, client, keys[:half], fields)
    rest, broken_rest = read_each(stream, client, keys[half:], fields)
    return {**first, **rest}, {**broken_first, **broken_rest}
