"""A record as the vendor gave it, and a draft of what the target should be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from integrations.core.values import Value


class State(StrEnum):
    LIVE = "live"
    ARCHIVED = "archived"
    MERGED = "merged"


@dataclass(frozen=True, slots=True)
class Record:
    """One thing as the vendor gave it, parsed.

    ``key`` is the vendor's id as text; ``version`` orders two readings of the same record (text, compared as given).
    ``values`` holds only fields the stream names, clinical ones never. ``handles`` are vendor-internal ids a writer
    needs for its next step (the id of an address, say). ``merged_into`` is the surviving record's key.
    ``parents`` names other records this one refers to: stream name -> key.
    """

    key: str
    version: str
    values: Mapping[str, Value]
    state: State = State.LIVE
    merged_into: str = ""
    changed_at: datetime | None = None
    created_at: datetime | None = None
    handles: Mapping[str, str] = field(default_factory=dict)
    parents: Mapping[str, str] = field(default_factory=dict)


class Write(StrEnum):
    """When a wished field is written."""

    ALWAYS = "always"
    IF_NEW = "if_new"
    IF_EMPTY = "if_empty"
    APPEND = "append"


class OnConflict(StrEnum):
    """What to do with a field that somebody else changed at the target since our last write."""

    SOURCE_WINS = "source"
    TARGET_WINS = "target"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Draft:
    """The target fields we want. ``gone`` marks a wish made for an archived source record."""

    fields: Mapping[str, Value]
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Something a person should know that does not stop the record, for example a dropped phone number."""

    code: str
    field: str = ""
