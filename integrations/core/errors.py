"""Errors named by who must act.

    SyncError
    ├── RecordError            this record: hold its delivery, go on with the rest
    │   ├── MappingErrors      one or more rules could not make their field
    │   ├── Rejected           the vendor refused the values
    │   ├── Ambiguous          several targets could be meant
    │   ├── Conflict           both sides changed and the flow's policy is to ask
    │   └── ParentMissing      a record this one refers to has no link yet
    ├── AccountError           the connection: pause it, tell its owner once
    ├── Throttled              nobody: resume at ``retry_at``, never counts as a try
    ├── Unavailable            nobody, until it lasts: back off, counts as a try
    ├── Uncertain              a write may or may not have happened: look before trying again
    └── VendorChanged          an answer that does not fit our facts: stop the stream, report once

Every error carries a stable ``code`` (its sentence, owner and advice live in ``messages.py``) and ``facts``:
ids, field names, statuses and numbers for developers. Never a body, a credential or a personal value.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

Fact = str | int | bool | None


class SyncError(Exception):
    """Anything the sync core knows how to act on."""

    counts_as_try: ClassVar[bool] = False

    def __init__(self, code: str, **facts: Fact) -> None:
        super().__init__(code)
        self.code = code
        self.facts: Mapping[str, Fact] = facts

    def __str__(self) -> str:
        told = " ".join(f"{name}={value}" for name, value in self.facts.items() if value is not None)
        return f"{self.code} {told}".rstrip()


class RecordError(SyncError):
    """Concerns one record; the rest of the batch goes on."""


class MappingErrors(RecordError):
    """Rules that could not make their field: ``problems`` is a tuple of (code, target field)."""

    def __init__(self, problems: tuple[tuple[str, str], ...]) -> None:
        super().__init__(problems[0][0], fields=", ".join(field for _, field in problems))
        self.problems = problems


class Rejected(RecordError):
    """The vendor refused the values; the same input would be refused again."""


class Ambiguous(RecordError):
    """Several targets could be meant; ``candidates`` are target keys."""

    def __init__(self, code: str, candidates: tuple[str, ...], **facts: Fact) -> None:
        super().__init__(code, candidates=len(candidates), **facts)
        self.candidates = candidates


class Conflict(RecordError):
    """The target was changed since our last write and the policy is to ask a person."""


class ParentMissing(RecordError):
    """The record refers to another whose link does not exist yet: wait, then hold."""


class AccountError(SyncError):
    """Bad or expired credentials, a missing permission, a plan limit."""


class Throttled(SyncError):
    """The vendor, or our own budget, asks to wait until ``retry_at`` (aware, UTC)."""

    def __init__(self, code: str, retry_at: datetime, **facts: Fact) -> None:
        super().__init__(code, **facts)
        self.retry_at = retry_at


class Unavailable(SyncError):
    """Network, 5xx, or a timeout on a read."""

    counts_as_try: ClassVar[bool] = True


class Uncertain(SyncError):
    """The line broke after a write was sent: it may have happened."""

    counts_as_try: ClassVar[bool] = True


class VendorChanged(SyncError):
    """The vendor's answer does not fit our facts."""
