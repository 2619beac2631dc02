"""Where a pass over one of Shopify's lists stands, and where it goes on.

Passes over everything page by id, passes over changes by ``updated_at`` up to the instant they began; both start a
new list every 20,000 rows, because Shopify ends one at 25,000.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from integrations.core.errors import VendorChanged
from integrations.core.records import Record
from integrations.toolkit import payload

LIST_LENGTH = 20_000  # rows before a list is started anew; Shopify ends one at 25,000


@dataclass(frozen=True, slots=True)
class Place:
    """``since`` opens a pass over changes and ``until`` ends it: the list is in order of change, so a row beyond
    ``until`` ends the pass. ``above`` is the id that a list of everything starts after."""

    since: str | None
    until: str | None = None
    above: str = ""
    after: str | None = None
    rows: int = 0

    @classmethod
    def of(cls, place: str | None, since: datetime | None) -> "Place":
        """The place a pass stored, or its beginning."""
        return cls.parse(place) if place else cls(stamp(since) if since else None)

    @classmethod
    def parse(cls, text: str) -> "Place":
        told = payload.as_object(json.loads(text), "place")
        since, until, above, after = (
            payload.optional_text(told, name) for name in ("since", "until", "above", "after")
        )
        return cls(since, until, above or "", after, payload.whole(told, "rows"))

    def text(self) -> str:
        told = {"since": self.since, "until": self.until, "above": self.above, "after": self.after, "rows": self.rows}
        return json.dumps(told, separators=(",", ":"))

    @property
    def sort_key(self) -> str:
        return "ID" if self.since is None else "UPDATED_AT"

    def query(self) -> str | None:
        if self.since is not None:
            return f"updated_at:>='{self.since}'"
        return f"id:>{self.above}" if self.above else None

    def onward(self, cursor: str, records: Sequence[Record], now: datetime | None, size: int) -> "Place | None":
        """Where to go on after a page of ``size``, None at the end of the pass.

        Raises VendorChanged if the list cannot go on: no new cursor, or more rows at one instant than a list holds.
        """
        if cursor == self.after or not cursor:
            raise VendorChanged("shopify.paging_stuck", rows=self.rows)
        until = self.until or (stamp(now) if now else None)
        newest = max((stamp(record.changed_at) for record in records if record.changed_at), default="")
        if self.since is not None and until is not None and newest > until:
            return None
        rows = self.rows + size
        if rows < LIST_LENGTH or not records:
            return Place(self.since, until, self.above, cursor, rows)
        if self.since is None:
            return Place(None, until, records[-1].key)
        if newest == self.since:
            raise VendorChanged("shopify.paging_stuck", rows=rows)
        return Place(newest, until)


def stamp(instant: datetime) -> str:
    """An instant as Shopify writes it: whole seconds, UTC."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
