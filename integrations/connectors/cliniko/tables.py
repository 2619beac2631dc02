"""Cliniko's small lists (taxes, places, people), read whole and remembered for as long as the client lives."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from integrations.connectors.cliniko.lists import Listing, Query, every_page
from integrations.connectors.cliniko.rows import row_key
from integrations.toolkit.http import Client
from integrations.toolkit.payload import Json


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows by id, and the ids that were looked for in vain."""

    rows: Mapping[str, Json]
    missing: frozenset[str]


def look_up(
    client: Client, listing: Listing, keys: Collection[str], *, members: Sequence[str], filters: Query = ()
) -> Mapping[str, Json]:
    """The rows of a whole list by id, of each these members only. Nothing is asked for no keys.

    The list is read again where a key is not in what is remembered: somebody may have added it since.
    """
    name = repr((listing.path, filters))
    table = client.memo.get(name)
    known = table if isinstance(table, _Table) else _Table({}, frozenset())
    unknown = set(keys) - known.rows.keys() - known.missing
    if unknown:
        rows = {
            row_key(row, listing.collection): {name: row.get(name) for name in members}
            for page in every_page(client, listing, filters)
            for row in page
        }
        known = _Table(rows, known.missing | (unknown - rows.keys()))
        client.memo[name] = known
    return known.rows
