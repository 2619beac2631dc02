"""One HTTP client per connection: the only way out of the house.

It refuses another tenant's work, open transactions, redirects, foreign hosts and private addresses; it waits for the
connection's budget, keeps every call within its bounds, and turns whatever happens into the errors of ``core.errors``.
Reads are tried three times here. Writes are sent once: their retries belong to the outbox, which looks first.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol
from urllib.parse import quote, unquote, urlencode, urlsplit

from requests.structures import CaseInsensitiveDict
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from integrations.core.errors import SyncError, Throttled, Unavailable, Uncertain, VendorChanged
from integrations.toolkit import payload
from integrations.toolkit.addresses import Resolve, https_origin, resolve_by_system
from integrations.toolkit.bodies import Broken
from integrations.toolkit.redact import safe_path
from integrations.toolkit.refusals import ErrorRule, Refusal, classify
from integrations.toolkit.wire import Answered, Bounds, Wire


class LimitStyle(StrEnum):
    REQUESTS = "requests"  # so many calls in any window of per_s seconds
    POINTS = "points"  # a leaky bucket of query cost, corrected by what the vendor says


@dataclass(frozen=True, slots=True)
class Limit:
    """A vendor's published limit. REQUESTS: ``amount`` calls per ``per_s`` seconds, any window.
    POINTS: restores ``amount`` points per ``per_s`` seconds up to ``capacity`` (start values; the vendor's answers correct them)."""

    style: LimitStyle
    amount: int
    per_s: float
    capacity: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was complete and fits: decoded JSON ``data`` (None for an empty body), lower-cased header names."""

    status: int
    headers: Mapping[str, str]
    data: object
    request_id: str


class Gate(Protocol):
    """The database-wide budget of one credential. ``acquire`` sleeps until ``cost`` may be spent, or raises Throttled
    when that lies beyond its patience. ``settle`` corrects the budget by what the vendor said."""

    def acquire(self, cost: int) -> None: ...
    def settle(
        self,
        cost: int,
        *,
        actual: int | None = None,
        available: int | None = None,
        capacity: int | None = None,
        restore_rate: float | None = None,
    ) -> None: ...
    def block_until(self, epoch_s: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Outside:
    """How to reach hosts other than the vendor's own, for files that it keeps elsewhere (``transfer.py``).

    ``sandbox_base`` is where everything goes instead while a sandbox stands in for the vendor, "" otherwise.
    ``refuse_others`` raises where a call would be refused on the client itself.
    """

    sandbox_base: str
    resolve: Resolve
    cafile: str
    refuse_others: Callable[[], None]


class Client(Protocol):
    """What connector functions are given. Refuses another tenant's work, redirects, foreign hosts, open transactions."""

    vendor: str
    account: str
    facts: Mapping[str, str]
    gate: Gate
    calls: int  # requests sent so far
    memo: dict[str, object]  # what a connector remembers for as long as this client lives
    outside: Outside

    def get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Reply: ...

    def get_link(self, url: str) -> Reply:
        """Follows an absolute link the vendor gave, only on the connection's own host (else VendorChanged)."""

    def post(self, path: str, body: object, *, writes: bool, cost: int = 1) -> Reply:
        """``writes``: a lost answer is Uncertain, not Unavailable, and nothing is retried here.

        A successful post of a POINTS vendor must be settled by the caller, who alone can read its true cost."""


READ_TRIES = 3
LAST_TRY_STARTS_S = 25.0
_ID_HEADERS = ("x-request-id", "x-correlation-id", "request-id")


class HttpClient:
    """The client of one connection. One thread at a time.

    ``origin`` is what the connector built: ``https://host`` and nothing more. ``sandbox_origin`` replaces it (with any
    port and a path in front), and alone lifts the walls around private addresses and plain HTTP. ``errors`` is the
    vendor's own table of statuses; ``never`` holds path prefixes that are refused. ``assert_idle`` raises when a
    database transaction is open; ``current_tenant`` tells whose scope is entered, None for nobody's.
    """

    def __init__(
        self,
        *,
        vendor: str,
        account: str,
        tenant_id: int,
        origin: str,
        headers: Mapping[str, str],
        gate: Gate,
        facts: Mapping[str, str] = MappingProxyType({}),
        errors: Mapping[int, ErrorRule] = MappingProxyType({}),
        never: Sequence[str] = (),
        sandbox_origin: str = "",
        assert_idle: Callable[[], None] = lambda: None,
        current_tenant: Callable[[], int | None] = lambda: None,
        bounds: Bounds = Bounds(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        resolve: Resolve = resolve_by_system,
        cafile: str = "",
    ) -> None:
        self.vendor = vendor
        self.account = account
        self.facts = facts
        self.calls = 0
        self.memo: dict[str, object] = {}
        self.gate = gate
        self._tenant_id = tenant_id
        self._errors = errors
        self._never = tuple(_plain(prefix) for prefix in never)
        self._assert_idle = assert_idle
        self._current_tenant = current_tenant
        self._clock = clock
        self._sleep = sleep
        self._origin = origin.rstrip("/")
        scheme, host, self._prefix = _split_origin(self._origin, sandbox_origin.rstrip("/"))
        self._base = f"{scheme}://{host}"
        self.outside = Outside(
            f"{self._base}{self._prefix}" if sandbox_origin else "", resolve, cafile, self._refuse_others
        )
        self._wire = Wire(self._base, bounds=bounds, resolve=resolve, allow_private=bool(sandbox_origin), cafile=cafile)
        self._headers = CaseInsensitiveDict(
            {"User-Agent": "Suture", "Accept": "application/json", "Accept-Encoding": "gzip", "Host": host}
            | _checked(headers)
        )

    def __repr__(self) -> str:
        return f"HttpClient({self.vendor}, tenant {self._tenant_id})"

    def close(self) -> None:
        """Gives the sockets back."""
        self._wire.close()

    def __enter__(self) -> "HttpClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Reply:
        query = urlencode(params)
        return self._read("GET", path, f"{path}?{query}" if query else path, None, 1, settles=True)

    def get_link(self, url: str) -> Reply:
        path, query = self.own_link(url)
        return self._read("GET", path, f"{path}?{query}" if query else path, None, 1, settles=True)

    def post(self, path: str, body: object, *, writes: bool, cost: int = 1) -> Reply:
        content = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
        if writes:
            return self._once("POST", path, path, content, cost, writes=True, settles=False)
        return self._read("POST", path, path, content, cost, settles=False)

    def own_link(self, url: str) -> tuple[str, str]:
        """Path and query of a link the vendor gave. Raises VendorChanged where it leads to another host."""
        target = url if url.isascii() and url.isprintable() and " " not in url and "\\" not in url else ""
        own = (f"{self._base}{self._prefix}", self._origin)
        for base in own if self._prefix or self._base != self._origin else own[1:]:
            if target.startswith(f"{base}/"):
                path, _, query = target[len(base) :].partition("#")[0].partition("?")
                return path, query
        raise VendorChanged("http.foreign_link", vendor=self.vendor)

    def _read(self, method: str, path: str, target: str, content: bytes | None, cost: int, *, settles: bool) -> Reply:
        """A call that changes nothing: tried again after Unavailable, while a last try may still end in good time."""
        started = time.monotonic()

        def enough(state: RetryCallState) -> bool:
            return state.attempt_number >= READ_TRIES or time.monotonic() - started > LAST_TRY_STARTS_S

        tries = Retrying(
            retry=retry_if_exception_type(Unavailable),
            stop=enough,
            wait=wait_random_exponential(multiplier=0.5, max=5),
            sleep=self._sleep,
            reraise=True,
        )
        return tries(self._once, method, path, target, content, cost, writes=False, settles=settles)

    def _once(
        self, method: str, path: str, target: str, content: bytes | None, cost: int, *, writes: bool, settles: bool
    ) -> Reply:
        self._refuse_others()
        self._refuse_path(path)
        self.gate.acquire(cost)
        self.calls += 1
        fault: SyncError
        try:
            answered = self._wire.exchange(method, self._prefix + target, self._headers_for(content), content)
            reply = self._judge(answered, path, writes=writes)
        except Broken as broken:
            fault = self._fault(broken, path, writes=writes)
        except Throttled as error:
            self.gate.block_until(error.retry_at.timestamp())
            fault = error
        except SyncError as error:
            fault = error
        else:
            if settles:
                self.gate.settle(cost)
            return reply
        self.gate.settle(cost)
        raise fault from None

    def _headers_for(self, content: bytes | None) -> Mapping[str, str]:
        if content is None:
            return self._headers
        headers = self._headers.copy()
        headers["Content-Type"] = "application/json"
        headers["Content-Length"] = str(len(content))
        return headers

    def _judge(self, answered: Answered, path: str, *, writes: bool) -> Reply:
        """The answer as a Reply, or the error it amounts to. A status alone proves nothing."""
        request_id = next((answered.headers[name] for name in _ID_HEADERS if name in answered.headers), "")[:100]
        if not 200 <= answered.status < 300:
            raise classify(self._refusal(answered, path, request_id, writes=writes), self._errors)
        if not answered.body.strip():
            if answered.status == 200:
                raise self._unusable("http.empty", path, request_id, writes=writes)
            return Reply(answered.status, answered.headers, None, request_id)
        if answered.body.lstrip()[:1] == b"<":
            raise self._unusable("http.html", path, request_id, writes=writes)
        try:
            data = payload.decode(answered.body)
        except VendorChanged as error:
            if writes or (error.code == "payload.json" and not answered.whole):
                code = error.code if writes else "http.broken"
                raise self._unusable(code, path, request_id, writes=writes) from None
            raise VendorChanged(error.code, vendor=self.vendor, path=safe_path(path), **error.facts) from None
        return Reply(answered.status, answered.headers, data, request_id)

    def _refusal(self, answered: Answered, path: str, request_id: str, *, writes: bool) -> Refusal:
        try:
            data = payload.decode(answered.body) if answered.body else None
        except VendorChanged:
            data = None
        now = datetime.fromtimestamp(self._clock(), UTC)
        return Refusal(self.vendor, answered.status, answered.headers, data, writes, safe_path(path), request_id, now)

    def _unusable(self, code: str, path: str, request_id: str, *, writes: bool) -> SyncError:
        """A success that says nothing: what stands between us and the vendor may have answered in its place."""
        error = Uncertain if writes else Unavailable
        return error(code, vendor=self.vendor, path=safe_path(path), request_id=request_id or None)

    def _fault(self, broken: Broken, path: str, *, writes: bool) -> SyncError:
        facts = {"vendor": self.vendor, "path": safe_path(path)}
        if not broken.sent:
            return Unavailable(broken.code, **facts)
        if writes:
            return Uncertain(broken.code, **facts)
        return (VendorChanged if broken.size else Unavailable)(broken.code, **facts)

    def _refuse_others(self) -> None:
        """Raises RuntimeError: work for another tenant, or a call inside a transaction, is a bug of ours."""
        entered = self._current_tenant()
        if entered is not None and entered != self._tenant_id:
            raise RuntimeError("A client was asked to work for another tenant.")
        self._assert_idle()

    def _refuse_path(self, path: str) -> None:
        if not path.startswith("/") or path != quote(path, safe="/-._~:@!$&'()*+,;=%") or _climbs(path):
            raise ValueError("A path must begin with / and be plain.")
        plain = _plain(path)
        if any(plain.startswith(prefix) for prefix in self._never):
            raise RuntimeError("A connector called a path that is never to be called.")


def _plain(path: str) -> str:
    return unquote(path).lower()


def _climbs(path: str) -> bool:
    plain = unquote(unquote(path))
    return "//" in plain or any(part in (".", "..") for part in plain.split("/")) or "?" in plain or "#" in plain


def _split_origin(origin: str, sandbox_origin: str) -> tuple[str, str, str]:
    """Scheme, host with port, and path in front. Raises ValueError for an origin that is not public https."""
    if not sandbox_origin:
        scheme, _, host = origin.partition("://")
        if scheme != "https":
            raise ValueError("A vendor's origin begins with https.")
        return "https", https_origin(host).partition("://")[2], ""
    parts = urlsplit(sandbox_origin)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError("SUTURE_VENDOR_URLS holds an address that is not http or https.")
    return parts.scheme, parts.netloc, parts.path.rstrip("/")


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers, if every value is printable ASCII. Raises ValueError naming the header, never its value."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"The value for the header {name} has characters that a header cannot hold.")
    return dict(headers)
