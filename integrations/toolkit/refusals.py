"""From an answer that says no to the error that says who must act."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from integrations.core.errors import AccountError, Rejected, SyncError, Throttled, Unavailable, Uncertain, VendorChanged

LONGEST_WAIT_S = 900.0
_UNSAID_WAIT_S = 30.0
_FIELD = re.compile(r"[A-Za-z0-9_.\[\]-]{1,60}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer with a status of 300 or more. ``data`` is its JSON, or None; it never goes into an error.

    ``path`` has no query and no personal value. ``now`` is our clock.
    """

    vendor: str
    status: int
    headers: Mapping[str, str]
    data: object
    writes: bool
    path: str
    request_id: str
    now: datetime

    @property
    def facts(self) -> dict[str, str | int | bool | None]:
        """What every error about this answer may say."""
        return {"vendor": self.vendor, "status": self.status, "path": self.path, "request_id": self.request_id or None}

    @property
    def vendor_now(self) -> datetime:
        """The vendor's clock at its answer, or ours if it did not say."""
        return http_instant(self.headers.get("date", "")) or self.now


_DEFAULTS: Mapping[int, tuple[type[SyncError], str]] = {
    401: (AccountError, "http.unauthorised"),
    403: (AccountError, "http.forbidden"),
    404: (Rejected, "http.not_found"),
}
_REFUSES = (400, 402, 409, 412, 413, 415, 423, 424)  # to a write these say that its values are not wanted

# A code keeps the class of the default table; a function decides all by itself.
ErrorRule = str | Callable[[Refusal], SyncError]


def classify(refusal: Refusal, table: Mapping[int, ErrorRule]) -> SyncError:
    """The error for this answer: the vendor's own rule for the status if it has one, else the default table's."""
    rule = table.get(refusal.status)
    if callable(rule):
        return rule(refusal)
    return _by_default(refusal, rule)


def _by_default(refusal: Refusal, code: str | None) -> SyncError:
    status, facts = refusal.status, refusal.facts
    if status == 429:
        return throttled(refusal, code or "http.throttled")
    if status in (422, *_REFUSES) and (status == 422 or refusal.writes):
        return Rejected(code or "http.rejected", fields=refused_fields(refusal.data) or None, **facts)
    if status >= 500 or status == 408:
        return (Uncertain if refusal.writes else Unavailable)(code or "http.server_error", **facts)
    kind, usual = _DEFAULTS.get(
        status, (VendorChanged, "http.redirected" if status < 400 else "http.unexpected_status")
    )
    return kind(code or usual, **facts)


def account_error(code: str) -> Callable[[Refusal], SyncError]:
    """For statuses that concern the account: a frozen shop, a plan without the feature."""
    return lambda refusal: AccountError(code, **refusal.facts)


def throttled_until(header: str, code: str = "http.throttled") -> Callable[[Refusal], SyncError]:
    """For a status that means "wait"; ``header`` holds the end of the wait in whole seconds since 1970, UTC."""
    return lambda refusal: throttled(refusal, code, until_header=header.lower())


def throttled_for(seconds: float, code: str = "http.throttled") -> Callable[[Refusal], SyncError]:
    """For a status that means "wait" where the vendor does not say how long."""
    return lambda refusal: throttled(refusal, code, unsaid_s=seconds)


def throttled(
    refusal: Refusal, code: str, *, until_header: str = "x-ratelimit-reset", unsaid_s: float = _UNSAID_WAIT_S
) -> Throttled:
    """Wait as told by ``until_header`` or Retry-After, at most a quarter of an hour, and a little jitter."""
    wait_s = _told_wait(refusal, until_header)
    wait_s = min(max(unsaid_s if wait_s is None else wait_s, 0.0), LONGEST_WAIT_S)
    jitter_s = random.uniform(0.1, 1.0 + wait_s / 20)  # noqa: S311 - spreads callers, protects nothing
    return Throttled(code, refusal.now + timedelta(seconds=wait_s + jitter_s), **refusal.facts)


def _told_wait(refusal: Refusal, until_header: str) -> float | None:
    until = refusal.headers.get(until_header, "")
    if re.fullmatch(r"\d{9,11}(\.\d{1,6})?", until):
        return float(until) - refusal.vendor_now.timestamp()
    after = refusal.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,6})?", after):
        return float(after)
    instant = http_instant(after)
    return None if instant is None else (instant - refusal.vendor_now).total_seconds()


def http_instant(text: str) -> datetime | None:
    """The instant in a Date-like header, or None."""
    try:
        found = parsedate_to_datetime(text) if text else None
    except (ValueError, OverflowError):
        return None
    return None if found is None else (found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC))


def refused_fields(data: object) -> str:
    """The names of the fields a validation error speaks of, never their texts: ``{"errors": {"email": ...}}``."""
    errors = data.get("errors") if isinstance(data, dict) else None
    names: list[object] = []
    if isinstance(errors, dict):
        names = list(errors)
    elif isinstance(errors, list):
        names = [error.get("field") for error in errors if isinstance(error, dict)]
    return ", ".join(name for name in names[:20] if isinstance(name, str) and _FIELD.fullmatch(name))
