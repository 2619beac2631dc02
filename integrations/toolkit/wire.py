"""One exchange over one connection, within limits of time and size that hold by our own clock.

A vendor may answer one byte a second for ever, promise a length it does not send, or pack a gigabyte into a
kilobyte. Here every wait is cut to what is left of the exchange, and every body is counted while it is read.
"""

import functools
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

import certifi
import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NewConnectionError

from integrations.toolkit.addresses import Resolve, is_public, resolve_by_system, resolve_within
from integrations.toolkit.bodies import READ, Broken, too_big, unpack, unpacked

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, SupportsRead, WriteableBuffer

    Content = SupportsRead[bytes] | Iterable[ReadableBuffer] | ReadableBuffer | str


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one exchange. ``ratio`` applies to bodies that unpack to more than a megabyte."""

    connect_s: float = 5.0
    read_s: float = 15.0
    total_s: float = 20.0
    wire_bytes: int = 10 * 1024 * 1024
    decoded_bytes: int = 25 * 1024 * 1024
    ratio: int = 50


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete answer. ``whole`` is False where only the end of the connection told the end of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool


class Clock:
    """What the sockets of one wire share: how long the running exchange may still take, and whether it was sent."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.ends_at = 0.0
        self.sent = False
        self.has_body = False
        self.reason = ""

    def start(self, *, has_body: bool) -> None:
        self.ends_at = time.monotonic() + self.bounds.total_s
        self.sent = False
        self.has_body = has_body
        self.reason = ""

    def left(self, at_most: float) -> float:
        """Seconds to wait now. Raises TimeoutError when the exchange's time is up."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the exchange took too long")
        return min(left, at_most)


class _PlainSocket(socket.socket):
    clock: Clock

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(self.clock.left(self.clock.bounds.read_s))
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: "ReadableBuffer", flags: int = 0) -> None:
        self.settimeout(self.clock.left(self.clock.bounds.read_s))
        super().sendall(data, flags)


class _SafeSocket(ssl.SSLSocket):
    clock: Clock

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int | None = None, flags: int = 0) -> int:
        self.settimeout(self.clock.left(self.clock.bounds.read_s))
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        self.settimeout(self.clock.left(self.clock.bounds.read_s))
        return super().send(data, flags)


@dataclass(frozen=True, slots=True)
class Dialler:
    """Resolves a host once and connects to the very address it judged, so that a second answer cannot win."""

    clock: Clock
    resolve: Resolve = resolve_by_system
    allow_private: bool = False

    def dial(self, host: str, port: int) -> socket.socket:
        """A connected socket. Raises OSError; ``clock.reason`` tells which of our codes it is."""
        bounds = self.clock.bounds
        self.clock.reason = "http.dns"
        addresses = resolve_within(self.resolve, host, port, self.clock.left(bounds.connect_s))
        if not self.allow_private and not all(is_public(address) for address in addresses):
            self.clock.reason = "http.not_public"
            raise OSError("refused address")
        self.clock.reason = "http.unreachable"
        for address in addresses[:2]:
            try:
                return self._connect(address, port)
            except OSError:
                continue
        raise OSError("no connection")

    def _connect(self, address: str, port: int) -> socket.socket:
        sock = _PlainSocket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        sock.clock = self.clock
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(self.clock.left(self.clock.bounds.connect_s))
            sock.connect((address, port))
        except OSError:
            sock.close()
            raise
        return sock


class _PlainConnection(HTTPConnection):
    """A connection dialled by us. The head of a request that has a body leaves together with it, in one packet."""

    dialler: ClassVar[Dialler]
    _head: bytes | None = None

    def _new_conn(self) -> socket.socket:
        try:
            return self.dialler.dial(self.host, self.port or self.default_port)
        except OSError:
            raise NewConnectionError(self, "no connection") from None

    def send(self, data: "Content") -> None:
        clock = self.dialler.clock
        if self.sock is None:
            self.connect()
        if clock.has_body and isinstance(data, bytes):
            if self._head is None:
                self._head = data
                return
            data, self._head = self._head + data, None
        clock.sent = True
        super().send(data)

    def close(self) -> None:
        self._head = None
        super().close()


class _SafeConnection(_PlainConnection, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        if isinstance(self.sock, _SafeSocket):
            self.sock.clock = self.dialler.clock
        self.dialler.clock.reason = ""


@functools.cache
def _trust(cafile: str) -> ssl.SSLContext:
    """The TLS settings of every call: certificates and names are verified, 1.2 is the oldest version."""
    context = ssl.create_default_context(cafile=cafile or certifi.where())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _SafeSocket
    return context


class _OneHost(HTTPAdapter):
    """An adapter that knows a single pool: whatever a request says, it goes to the wire's own origin.

    Cookies, proxies, environment and certificates per request, which it leaves out, are what makes the stock adapter
    slow; none of them may play a part here.
    """

    def __init__(self, pool: HTTPConnectionPool) -> None:
        super().__init__()
        self.pool = pool

    def get_connection_with_tls_context(self, *_: object, **__: object) -> HTTPConnectionPool:
        return self.pool

    def cert_verify(self, *_: object, **__: object) -> None:
        """The pool's own TLS settings hold; a request cannot loosen them."""

    def request_url(self, request: requests.PreparedRequest, proxies: object) -> str:
        return request.url or "/"

    def build_response(self, req: requests.PreparedRequest, resp: object) -> requests.Response:
        response = requests.Response()
        response.raw = resp
        return response

    def close(self) -> None:
        self.pool.close()
        super().close()


class Wire:
    """Exchanges requests with one origin, one at a time. Not for use by several threads at once."""

    def __init__(
        self,
        origin: str,
        *,
        bounds: Bounds,
        resolve: Resolve = resolve_by_system,
        allow_private: bool = False,
        cafile: str = "",
    ) -> None:
        self.bounds = bounds
        self._clock = Clock(bounds)
        self._session = requests.Session()
        self._session.trust_env = False
        self._adapter = _OneHost(_pool(origin, Dialler(self._clock, resolve, allow_private), cafile))
        self._session.mount(origin, self._adapter)
        self._timeout = (bounds.connect_s, bounds.read_s)

    def close(self) -> None:
        self._session.close()

    def exchange(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | Iterable[bytes] | None
    ) -> Answered:
        """Sends one request to ``target`` (path and query) and reads its answer. Raises Broken.

        A body in pieces needs its Content-Length among the headers.
        """
        raw = self._sent(method, target, headers, body)
        try:
            return self._read(raw)
        except (OSError, HTTPError) as error:
            code = self._code(error)
        raise Broken(code, sent=self._clock.sent)  # outside the handler: their exceptions hold addresses and headers

    @contextmanager
    def stream(self, target: str, headers: Mapping[str, str]) -> Iterator[tuple[Answered, Iterator[bytes]]]:
        """A GET whose body comes unpacked and piece by piece, so that it never stands in memory as a whole.

        Raises Broken, and so do the pieces.
        """
        raw = self._sent("GET", target, headers, None)
        told = _headers_of(raw)
        try:
            pieces = unpacked(
                self._pieces(raw, told), told.get("content-encoding", ""), decoded_bytes=self.bounds.decoded_bytes
            )
            yield Answered(raw.status, told, b"", _delimited(told)), pieces
        finally:
            raw.close()

    def _sent(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | Iterable[bytes] | None
    ) -> HTTPResponse:
        """The head of the answer. Raises Broken."""
        request = requests.PreparedRequest()
        request.method, request.url = method, target
        request.body = cast("bytes | None", body)
        request.headers = cast("CaseInsensitiveDict[str]", headers)
        self._clock.start(has_body=isinstance(body, bytes) and bool(body))
        try:
            return cast(HTTPResponse, self._adapter.send(request, stream=True, timeout=self._timeout).raw)
        except (OSError, HTTPError) as error:  # every exception of requests is an OSError
            code = self._code(error)
        raise Broken(code, sent=self._clock.sent)

    def _code(self, failed: Exception) -> str:
        """Our code for a library's exception."""
        if not self._clock.sent and isinstance(failed, requests.exceptions.SSLError):
            return "http.tls"
        if not self._clock.sent:
            return self._clock.reason or "http.unreachable"
        late = time.monotonic() >= self._clock.ends_at
        return "http.timeout" if late or "imeout" in type(failed).__name__ else "http.broken"

    def _read(self, raw: HTTPResponse) -> Answered:
        headers = _headers_of(raw)
        whole = False
        try:
            parts = list(self._parts(raw, headers))
            whole = True
        finally:
            raw.release_conn() if whole else raw.close()
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return Answered(
            raw.status,
            headers,
            unpack(
                body,
                headers.get("content-encoding", ""),
                decoded_bytes=self.bounds.decoded_bytes,
                ratio=self.bounds.ratio,
            ),
            _delimited(headers),
        )

    def _parts(self, raw: HTTPResponse, headers: Mapping[str, str]) -> Iterator[bytes]:
        """The body as it comes over the line, counted while it is read."""
        promised = headers.get("content-length", "")
        if promised.isdigit() and int(promised[:12]) > self.bounds.wire_bytes:
            raise too_big()
        size = 0
        while part := raw.read(READ, decode_content=False):
            size += len(part)
            if size > self.bounds.wire_bytes:
                raise too_big()
            yield part

    def _pieces(self, raw: HTTPResponse, headers: Mapping[str, str]) -> Iterator[bytes]:
        """The same for who reads them outside: the library's exceptions become ours on the way."""
        parts = self._parts(raw, headers)
        while True:
            try:
                part = next(parts, b"")
            except (OSError, HTTPError) as error:
                code = self._code(error)
                break
            if not part:
                return
            yield part
        raise Broken(code, sent=True)


def _headers_of(raw: HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in raw.headers.items()}


def _delimited(headers: Mapping[str, str]) -> bool:
    return "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()


def _pool(origin: str, dialler: Dialler, cafile: str) -> HTTPConnectionPool:
    """A pool for this origin whose connections are dialled by ``dialler``."""
    scheme, _, rest = origin.partition("://")
    host, _, port = rest.partition(":")
    if scheme == "https":
        safe = type(
            "SafePool",
            (HTTPSConnectionPool,),
            {"ConnectionCls": type("Safe", (_SafeConnection,), {"dialler": dialler})},
        )
        return cast(HTTPConnectionPool, safe(host, int(port or 443), maxsize=2, ssl_context=_trust(cafile)))
    plain = type(
        "PlainPool", (HTTPConnectionPool,), {"ConnectionCls": type("Plain", (_PlainConnection,), {"dialler": dialler})}
    )
    return cast(HTTPConnectionPool, plain(host, int(port or 80), maxsize=2))
