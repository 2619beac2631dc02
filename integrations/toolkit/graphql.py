"""GraphQL over a client: the three layers of its errors told apart, and its cost given to the budget.

A 200 may carry refusals for the whole call, for one alias or for one field, and every answer says what it cost. The
answers look like this, each part optional:

    {"data": {"a": {...}, "b": null},
     "errors": [{"message": "...", "path": ["b", "email"], "extensions": {"code": "ACCESS_DENIED"}}],
     "extensions": {"cost": {"requestedQueryCost": 12, "actualQueryCost": 10,
                             "throttleStatus": {"maximumAvailable": 2000, "currentlyAvailable": 1988, "restoreRate": 100}}}}
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import assert_never

from integrations.core.errors import AccountError, SyncError, Throttled, Unavailable, Uncertain, VendorChanged
from integrations.toolkit import payload
from integrations.toolkit.http import Client, Reply
from integrations.toolkit.payload import Json
from integrations.toolkit.refusals import LONGEST_WAIT_S


class Meaning(Enum):
    """What an error code of a vendor amounts to."""

    THROTTLED = "throttled"
    DENIED = "denied"  # the account lacks a permission: AccountError
    OUTAGE = "outage"  # Unavailable for a read, Uncertain for a write
    OURS = "ours"  # our document does not fit, never worth a retry: VendorChanged


@dataclass(frozen=True, slots=True)
class Problem:
    """An error beside data: ``alias`` is the top-level member it concerns, ``path`` the whole way with indexes."""

    alias: str
    path: str
    error: SyncError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a document answered. A member that a problem concerns is not to be trusted: its nulls say nothing."""

    data: Json
    problems: tuple[Problem, ...]
    reply: Reply

    def error_for(self, alias: str) -> SyncError | None:
        """The first error that concerns this top-level member."""
        return next((problem.error for problem in self.problems if problem.alias == alias), None)


@dataclass(frozen=True, slots=True)
class UserError:
    """A business refusal: ``path`` into the input (``input.phone``), the vendor's code or "", and its words, which
    may hold personal values and stay out of errors and logs."""

    path: str
    code: str
    message: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Cost:
    """What the vendor said about its points. None where it did not."""

    requested: int | None = None
    actual: int | None = None
    available: int | None = None
    capacity: int | None = None
    restore_rate: float | None = None


class Costs:
    """What operations were seen to request, so that the budget is asked for the right amount.

    ``name`` should carry whatever changes the price: ``customers_by_id*10``. ``most`` is what one document may ask for:
    one that asked for more was refused, and is no reason to wait for more than a budget ever holds.
    """

    def __init__(self, most: int | None = None) -> None:
        self._seen: dict[str, int] = {}
        self._most = most

    def expect(self, name: str, otherwise: int) -> int:
        """The dearest this operation was, or the caller's guess."""
        seen = self._seen.get(name, otherwise)
        return seen if self._most is None else min(seen, self._most)

    def learn(self, name: str, requested: int | None) -> None:
        """Remembers a price the vendor named."""
        if requested is not None:
            self._seen[name] = max(requested, self._seen.get(name, 0))


def run(
    client: Client,
    path: str,
    document: str,
    variables: Mapping[str, object],
    *,
    writes: bool,
    cost: int,
    codes: Mapping[str, Meaning],
    prefix: str = "graphql",
    name: str = "",
    costs: Costs | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    explain: Callable[[Json], SyncError | None] = lambda _: None,
) -> Outcome:
    """Runs a document and classifies its answer by content. ``prefix`` begins the codes of its errors.

    ``cost`` is what the document is expected to request, corrected by what ``costs`` learnt under ``name``. Raises
    what concerns the whole call (``.throttled``, ``.denied``, ``.outage``, ``.refused``, ``.shape``, and all that
    ``client.post`` raises); what concerns one alias is in ``Outcome.problems``. ``explain`` is shown each entry of
    ``errors`` first, for vendors whose codes alone do not say what happened; its words go into no error.
    """
    known = costs or Costs()
    asked = known.expect(name or document, cost)
    body: dict[str, object] = {"query": document, "variables": dict(variables)}
    reply = client.post(path, body | ({"operationName": name} if name else {}), writes=writes, cost=asked)
    told = _cost(reply.data)
    known.learn(name or document, told.requested)
    client.gate.settle(
        asked,
        actual=told.actual,
        available=told.available,
        capacity=told.capacity,
        restore_rate=told.restore_rate,
    )
    try:
        return _Reader(client.vendor, writes, codes, prefix, told, now, explain).outcome(reply)
    except Throttled as error:
        client.gate.block_until(error.retry_at.timestamp())
        raise


def judge(
    answer: Json,
    *,
    vendor: str,
    writes: bool,
    codes: Mapping[str, Meaning],
    prefix: str,
    explain: Callable[[Json], SyncError | None] = lambda entry: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Outcome:
    """What an answer says that did not come as one: a line in a file of results. Raises what ``run`` raises of it."""
    return _Reader(vendor, writes, codes, prefix, Cost(), now, explain).outcome(Reply(200, {}, answer, ""))


def user_errors(parent: Json, name: str = "userErrors", at: str = "") -> tuple[UserError, ...]:
    """The business refusals inside a mutation's payload."""
    return tuple(
        UserError(
            path=".".join(payload.texts(entry, "field", at)),
            code=payload.optional_text(entry, "code", at) or "",
            message=payload.optional_text(entry, "message", at) or "",
        )
        for entry in payload.optional_items(parent, name, at)
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    vendor: str
    writes: bool
    codes: Mapping[str, Meaning]
    prefix: str
    cost: Cost
    now: Callable[[], datetime]
    explain: Callable[[Json], SyncError | None]

    def outcome(self, reply: Reply) -> Outcome:
        body, shaped = reply.data, isinstance(reply.data, dict)
        errors = body.get("errors") if isinstance(body, dict) else None
        data = body.get("data") if isinstance(body, dict) else None
        if not shaped or not isinstance(errors, list | None) or not isinstance(data, dict | None):
            raise self._unclear(reply)
        problems = tuple(self._problem(entry) for entry in errors or ())
        for problem in problems:
            if data is None or not problem.alias or isinstance(problem.error, Throttled):
                raise problem.error
        if data is None:
            raise self._unclear(reply)
        return Outcome(data, problems, reply)

    def _unclear(self, reply: Reply) -> SyncError:
        error = Uncertain if self.writes else VendorChanged
        return error(f"{self.prefix}.shape", vendor=self.vendor, request_id=reply.request_id or None)

    def _problem(self, entry: object) -> Problem:
        found = entry if isinstance(entry, dict) else {}
        way = found.get("path")
        steps = [str(step) for step in way] if isinstance(way, list) else []
        extensions = found.get("extensions")
        extensions = extensions if isinstance(extensions, dict) else {}
        code = extensions.get("code")
        code = code if isinstance(code, str) and re.fullmatch(r"[A-Z][A-Z0-9_]{0,60}", code) else ""
        path = ".".join(steps)[:200]
        error = self.explain(found) or self._error(code, path, extensions.get("requiredAccess"))
        return Problem(steps[0] if steps else "", path, error)

    def _error(self, code: str, path: str, required: object) -> SyncError:
        facts: dict[str, str | int | bool | None]
        facts = {"vendor": self.vendor, "vendor_code": code or None, "path": path or None}
        meaning = self.codes.get(code, Meaning.OURS)
        match meaning:
            case Meaning.THROTTLED:
                return Throttled(f"{self.prefix}.throttled", self._retry_at(), **facts)
            case Meaning.DENIED:
                scopes = re.findall(r"\b(?:read|write)_[a-z_]{1,60}", required) if isinstance(required, str) else []
                return AccountError(f"{self.prefix}.denied", required=", ".join(scopes) or None, **facts)
            case Meaning.OUTAGE:
                return (Uncertain if self.writes else Unavailable)(f"{self.prefix}.outage", **facts)
            case Meaning.OURS:
                return VendorChanged(f"{self.prefix}.refused", **facts)
            case _:
                assert_never(meaning)

    def _retry_at(self) -> datetime:
        """When what was requested will be available, in a second at the earliest."""
        missing = (self.cost.requested or 0) - (self.cost.available or 0)
        wait_s = missing / self.cost.restore_rate if self.cost.restore_rate else 2.0
        return self.now() + timedelta(seconds=min(max(wait_s, 1.0), LONGEST_WAIT_S))


def _cost(data: object) -> Cost:
    """The cost block, each member read leniently: a budget goes on without it."""
    told = _inner(_inner(data, "extensions"), "cost")
    status = _inner(told, "throttleStatus")
    return Cost(
        requested=_points(told, "requestedQueryCost"),
        actual=_points(told, "actualQueryCost"),
        available=_points(status, "currentlyAvailable"),
        capacity=_points(status, "maximumAvailable"),
        restore_rate=_amount(status, "restoreRate"),
    )


def _inner(data: object, name: str) -> object:
    return data.get(name) if isinstance(data, dict) else None


def _points(data: object, name: str) -> int | None:
    found = _amount(data, name)
    return None if found is None else int(found)


def _amount(data: object, name: str) -> float | None:
    value = _inner(data, name)
    usable = isinstance(value, int | float | Decimal) and not isinstance(value, bool) and 0 <= value < 10**9
    return float(value) if usable else None  # type: ignore[arg-type]  # just seen to be a number


def aliases(count: int, stem: str = "r") -> Sequence[str]:
    """Names for the members of an aliased batch: r0, r1 .."""
    return [f"{stem}{index}" for index in range(count)]
