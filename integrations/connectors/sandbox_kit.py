"""What every sandboxed vendor is built from: a small threaded HTTP/1.1 server around a vendor with state.

The vendor decides what to answer; the kit keeps the journal, plays faults, moves the clock, stores the state and
serves ``/_sandbox/``. Standard library only. It listens on the loopback address unless told otherwise.

``/_sandbox/`` (JSON in and out, no sign-in, never part of a vendor's own paths)::

    GET    journal[?after=N]    requests from the N-th on; DELETE forgets them
    GET    faults               faults still to be played; POST adds one (fields of ``Fault``); DELETE removes all
    POST   clock                {"speed": 20, "offset_s": -900, "advance_s": 60}
    POST   journal/bodies       {"keep": true}: request bodies are kept from now on
    POST   reset                the state the vendor started with, an empty journal, no faults
    *      anything else        the vendor's own: state edits
"""

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from email.utils import formatdate
from enum import StrEnum
from io import BufferedIOBase
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar
from urllib.parse import parse_qsl, unquote

ADMIN = "/_sandbox/"
MAX_BODY = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. Header names are lower-case, ``path`` is decoded, ``query`` is not."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def params(self) -> list[tuple[str, str]]:
        return parse_qsl(self.query, keep_blank_values=True)

    def json(self) -> object:
        """The decoded body, ``None`` when empty. Raises ValueError when it is not JSON."""
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    content_type: str = "application/json; charset=utf-8"


def json_response(status: int, data: object, headers: Sequence[tuple[str, str]] = ()) -> Response:
    return Response(status, json.dumps(data, ensure_ascii=False).encode("utf-8", "surrogatepass"), headers)


class Clock:
    """The vendor's clock: the machine's, moved by ``offset_s`` and running ``speed`` times as fast since then."""

    def __init__(self, *, speed: float = 1.0, offset_s: float = 0.0) -> None:
        self._since = time.monotonic()
        self._base = time.time() + offset_s
        self._speed = speed
        self._offset_s = offset_s

    @property
    def speed(self) -> float:
        return self._speed

    def now(self) -> float:
        """Seconds since 1970 as this vendor believes."""
        return self._base + (time.monotonic() - self._since) * self._speed

    def set_speed(self, speed: float) -> None:
        self._base, self._since, self._speed = self.now(), time.monotonic(), speed

    def set_offset(self, offset_s: float) -> None:
        """How far the vendor's clock is from the machine's, replacing an earlier offset."""
        self._base += offset_s - self._offset_s
        self._offset_s = offset_s

    def advance(self, seconds: float) -> None:
        self._base += seconds


@dataclass(frozen=True, slots=True)
class Entry:
    """One request in the journal. ``at`` is the vendor's clock, ``real`` the machine's, both in seconds since 1970.

    ``status`` is 0 when the connection was dropped without an answer. ``body`` is the request's, when kept.
    """

    at: float
    real: float
    method: str
    path: str
    query: str
    subject: str
    status: int
    fault: str = ""
    body: str | None = None


class Journal:
    """Every request, in the order of arrival at the answer's end. ``keep_bodies`` is for canary tests."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._lock = threading.Lock()
        self.keep_bodies = False

    def add(self, entry: Entry) -> None:
        with self._lock:
            self._entries.append(entry)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def entries(self, *, method: str = "", path: str = "", subject: str = "", after: int = 0) -> list[Entry]:
        """Those with this method, path prefix and subject; empty means any."""
        with self._lock:
            kept = self._entries[after:]
        return [
            entry
            for entry in kept
            if method in ("", entry.method) and entry.path.startswith(path) and subject in ("", entry.subject)
        ]

    @property
    def writes(self) -> list[Entry]:
        """Requests that are not reads by their method. A vendor with POSTed reads has its own notion."""
        return [entry for entry in self.entries() if entry.method not in ("GET", "HEAD")]

    def count(self, status: int) -> int:
        return sum(1 for entry in self.entries() if entry.status == status)

    def busiest(self, window_s: float, *, subject: str = "", refused: int = 429) -> int:
        """The most requests that the vendor took in any ``window_s`` seconds of its clock; refused ones left out."""
        taken = sorted(entry.at for entry in self.entries(subject=subject) if entry.status != refused)
        most = first = 0
        for last, at in enumerate(taken):
            while taken[first] <= at - window_s:
                first += 1
            most = max(most, last - first + 1)
        return most


class FaultKind(StrEnum):
    STATUS = "status"  # answer ``status`` with ``body`` (and ``headers``) instead of doing anything
    STATUS_AFTER = "status_after"  # do it, then answer ``status``
    DROP_BEFORE = "drop_before"  # cut the connection, nothing done
    DROP_AFTER = "drop_after"  # do it, then cut the connection without an answer
    TRUNCATE = "truncate"  # do it, send ``share`` of the body, cut
    SLOW = "slow"  # do it, wait ``delay_s``, then send ``bytes_per_s`` (0: at once)
    HTML = "html"  # answer 200 with a page of HTML, nothing done
    REPLACE = "replace"  # do it, answer ``body`` in place of the real one, with ``status`` when given


@dataclass(frozen=True, slots=True)
class Fault:
    """Played on the next ``times`` requests that match, after ``skip`` matching ones went through.

    ``path`` is a prefix; ``contains`` is looked for in the query and the body; ``subject`` is the quota subject.
    """

    kind: FaultKind
    times: int = 1
    skip: int = 0
    method: str = ""
    path: str = ""
    contains: str = ""
    subject: str = ""
    status: int = 0
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    share: float = 0.5
    delay_s: float = 0.0
    bytes_per_s: float = 0.0

    def matches(self, request: Request, subject: str) -> bool:
        return (
            self.method in ("", request.method)
            and request.path.startswith(self.path)
            and self.subject in ("", subject)
            and (not self.contains or self.contains in request.query or self.contains.encode() in request.body)
        )


@dataclass(slots=True)
class _Armed:
    fault: Fault
    skip: int
    left: int


class Faults:
    """Faults on demand, played in the order they were added, one per request."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._armed.append(_Armed(fault, fault.skip, fault.times))

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()

    def left(self) -> list[Fault]:
        with self._lock:
            return [armed.fault for armed in self._armed]

    def take(self, request: Request, subject: str) -> Fault | None:
        """The fault to play on this request, or None."""
        if not self._armed:
            return None
        with self._lock:
            for armed in self._armed:
                if not armed.fault.matches(request, subject):
                    continue
                if armed.skip:
                    armed.skip -= 1
                    continue
                armed.left -= 1
                if not armed.left:
                    self._armed.remove(armed)
                return armed.fault
        return None


def fault_from_json(data: object) -> Fault:
    """A fault as the admin endpoint takes it. Raises ValueError on an unknown field or kind."""
    if not isinstance(data, dict):
        raise ValueError("a fault is an object")
    known = {column.name for column in fields(Fault)}
    if unknown := set(data) - known:
        raise ValueError(f"unknown fields of a fault: {', '.join(sorted(map(str, unknown)))}")
    given = dict(data)
    given["kind"] = FaultKind(given.get("kind", ""))
    given["headers"] = tuple((str(name), str(value)) for name, value in given.get("headers", ()))
    return Fault(**given)


class SlidingWindow:
    """``amount`` requests per subject in any ``window_s`` seconds; what is refused does not count."""

    def __init__(self, amount: int, window_s: float) -> None:
        self.amount = amount
        self.window_s = window_s
        self._taken: dict[str, list[float]] = {}

    def take(self, subject: str, now: float) -> float | None:
        """None when taken, else the instant at which there is room again."""
        taken = self._taken.setdefault(subject, [])
        while taken and taken[0] <= now - self.window_s:
            taken.pop(0)
        if len(taken) >= self.amount:
            return taken[0] + self.window_s
        taken.append(now)
        return None

    def clear(self) -> None:
        self._taken.clear()


class Vendor(Protocol):
    """A vendor with state. Called under the server's lock, so it need not lock anything itself."""

    @property
    def name(self) -> str: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def version(self) -> int:
        """Grows with every change worth storing."""

    def subject(self, request: Request) -> str:
        """Who owns the quota this request is counted against; ``""`` when it cannot be told."""

    def answer(self, request: Request) -> Response: ...

    def admin(self, request: Request) -> Response | None:
        """A state edit; ``request.path`` is without ``/_sandbox/``. None when there is no such edit."""

    def dump(self) -> object:
        """The state as JSON."""

    def restore(self, state: object) -> None: ...

    def reset(self) -> None:
        """Back to the state the vendor is shipped with."""


Send = Callable[[bytes], None]
V = TypeVar("V", bound=Vendor)


class Server(Generic[V]):
    """A vendor on a port. Starts at once; use as a context manager or call ``stop``.

    With ``state_dir`` the state is read from ``<state_dir>/<vendor>.json`` and written there after changes. ``chores``
    is what the vendor does without being asked, a little at a time; it tells whether more of it is due.
    """

    def __init__(
        self,
        vendor: V,
        *,
        port: int = 0,
        state_dir: Path | None = None,
        host: str = "127.0.0.1",
        chores: Callable[[], bool] | None = None,
    ) -> None:
        self.vendor = vendor
        self._host = host
        self.journal = Journal()
        self.faults = Faults()
        self._lock = threading.RLock()
        self._store = _Store(vendor, state_dir, self._lock) if state_dir else None
        self._tcp = _Tcp((host, port), self._serve_one)
        self._thread = threading.Thread(target=self._tcp.serve_forever, args=(0.1,), name=vendor.name, daemon=True)
        self._thread.start()
        self._ended = threading.Event()
        self._worker = threading.Thread(target=self._work, args=(chores,), name=f"{vendor.name}-chores", daemon=True)
        if chores is not None:
            self._worker.start()

    @property
    def port(self) -> int:
        return int(self._tcp.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    @property
    def clock(self) -> Clock:
        return self.vendor.clock

    def stop(self) -> None:
        self._ended.set()
        if self._worker.is_alive():
            self._worker.join()
        self._tcp.shutdown()
        self._tcp.close_connections()
        self._tcp.server_close()
        self._thread.join()
        if self._store:
            self._store.close()

    def wait(self) -> None:
        """Until another thread stops the server."""
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _work(self, chores: Callable[[], bool]) -> None:
        pause = 0.05
        while not self._ended.wait(pause):
            with self._lock:
                pause = 0.002 if chores() else 0.05

    # One request, answered. Returns whether the connection lives on.

    def _serve_one(self, request: Request, send: Send) -> bool:
        if request.path.startswith(ADMIN):
            send(_head(self._admin(request), self.clock.now()))
            return True
        at, real = self.clock.now(), time.time()
        subject = self.vendor.subject(request)
        fault = self.faults.take(request, subject)
        response = self._respond(request, fault)
        status = response.status if response else 0
        body = request.body.decode("utf-8", "replace") if self.journal.keep_bodies else None
        kind = fault.kind.value if fault else ""
        self.journal.add(Entry(at, real, request.method, request.path, request.query, subject, status, kind, body))
        if response is None:
            return False
        return _deliver(_head(response, self.clock.now()), len(response.body), fault, send)

    def _respond(self, request: Request, fault: Fault | None) -> Response | None:
        """The answer to be sent, None when the line is cut without one."""
        kind = fault.kind if fault else None
        if fault is None or kind in (FaultKind.TRUNCATE, FaultKind.SLOW):
            return self._answer(request)
        if kind is FaultKind.DROP_BEFORE:
            return None
        if kind is FaultKind.HTML:
            return Response(200, b"<!doctype html><title>Down</title><p>Back soon.", (), "text/html")
        if kind is FaultKind.STATUS:
            return Response(fault.status, fault.body.encode(), fault.headers)
        real = self._answer(request)
        if kind is FaultKind.DROP_AFTER:
            return None
        return Response(fault.status or real.status, fault.body.encode(), fault.headers or real.headers)

    def _answer(self, request: Request) -> Response:
        with self._lock:
            return self.vendor.answer(request)

    def _admin(self, request: Request) -> Response:
        path = request.path.removeprefix(ADMIN).strip("/")
        try:
            with self._lock:
                done = self._kit_admin(request.method, path, request)
                return done or self.vendor.admin(_at(request, path)) or json_response(404, {"message": "no such edit"})
        except (ValueError, TypeError, KeyError) as error:
            return json_response(400, {"message": f"{type(error).__name__}: {error}"})

    def _kit_admin(self, method: str, path: str, request: Request) -> Response | None:
        match method, path:
            case "GET", "journal":
                after = int(dict(request.params).get("after", "0"))
                return json_response(200, {"entries": [asdict(entry) for entry in self.journal.entries(after=after)]})
            case "DELETE", "journal":
                self.journal.clear()
            case "POST", "journal/bodies":
                self.journal.keep_bodies = bool(_object(request).get("keep"))
            case "GET", "faults":
                return json_response(200, {"faults": [asdict(fault) for fault in self.faults.left()]})
            case "POST", "faults":
                self.faults.add(fault_from_json(request.json()))
            case "DELETE", "faults":
                self.faults.clear()
            case "GET", "clock":
                return json_response(200, {"now": self.clock.now(), "speed": self.clock.speed})
            case "POST", "clock":
                self._move_clock(_object(request))
            case "POST", "reset":
                self.vendor.reset()
                self.journal.clear()
                self.faults.clear()
            case _:
                return None
        return json_response(200, {"ok": True})

    def _move_clock(self, wish: Mapping[str, object]) -> None:
        for name, move in (
            ("speed", self.clock.set_speed),
            ("offset_s", self.clock.set_offset),
            ("advance_s", self.clock.advance),
        ):
            value = wish.get(name)
            if isinstance(value, int | float):
                move(float(value))


class _Store:
    """Writes the vendor's state after changes, never more than a tenth of the time; whole files only."""

    def __init__(self, vendor: Vendor, folder: Path, lock: threading.RLock) -> None:
        self._vendor = vendor
        self._lock = lock
        self._path = folder / f"{vendor.name}.json"
        self._ended = threading.Event()
        folder.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            vendor.restore(json.loads(self._path.read_text("utf-8")))
        self._stored = vendor.version if self._path.exists() else -1
        self._thread = threading.Thread(target=self._run, name=f"{vendor.name}-state", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._save()

    def _run(self) -> None:
        pause = 0.5
        while not self._ended.wait(pause):
            began = time.monotonic()
            self._save()
            pause = max(0.5, 9 * (time.monotonic() - began))

    def _save(self) -> None:
        with self._lock:
            version = self._vendor.version
            if version == self._stored:
                return
            text = json.dumps(self._vendor.dump(), ensure_ascii=False)
        fresh = self._path.with_suffix(".json.new")
        fresh.write_text(text, "utf-8", errors="surrogatepass")
        fresh.replace(self._path)
        self._stored = version


class _Tcp(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], serve_one: Callable[[Request, Send], bool]) -> None:
        self.serve_one = serve_one
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(address, _Connection)

    def remember(self, connection: socket.socket, *, is_open: bool) -> None:
        with self._open_lock:
            (self._open.add if is_open else self._open.discard)(connection)

    def close_connections(self) -> None:
        with self._open_lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    timeout = 120

    def handle(self) -> None:
        server = self.server
        assert isinstance(server, _Tcp)  # noqa: S101 -- tells the type checker what socketserver cannot
        server.remember(self.connection, is_open=True)
        try:
            while (request := _read_request(self.rfile)) is not None:
                keep = server.serve_one(request, self.connection.sendall)
                if not keep or request.headers.get("connection", "").lower() == "close":
                    return
        except (OSError, ValueError):
            return  # the peer went away, or does not speak HTTP
        finally:
            server.remember(self.connection, is_open=False)


def _read_request(stream: BufferedIOBase) -> Request | None:
    """The next request on a connection, None at its end. Raises ValueError for what is no request."""
    line = stream.readline(65_537)
    if not line.strip():
        return None
    method, target, _ = line.decode("iso-8859-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := stream.readline(65_537)) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("iso-8859-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    if "transfer-encoding" in headers or not 0 <= length <= MAX_BODY:
        raise ValueError("a body of unknown or too large size")
    path, _, query = target.partition("?")
    return Request(method, unquote(path), query, headers, stream.read(length) if length else b"")


def _head(response: Response, now: float) -> bytes:
    """Status line, headers and body as one block of bytes."""
    lines = [f"HTTP/1.1 {response.status} -", f"Date: {formatdate(now, usegmt=True)}"]
    if response.status != 204:
        lines.append(f"Content-Length: {len(response.body)}")
    if response.body:
        lines.append(f"Content-Type: {response.content_type}")
    lines.extend(f"{name}: {value}" for name, value in response.headers)
    return "\r\n".join((*lines, "", "")).encode("iso-8859-1") + response.body


def _deliver(block: bytes, body_length: int, fault: Fault | None, send: Send) -> bool:
    if fault is None or fault.kind not in (FaultKind.TRUNCATE, FaultKind.SLOW):
        send(block)
        return True
    if fault.kind is FaultKind.TRUNCATE:
        send(block[: len(block) - body_length + int(body_length * fault.share)])
        return False
    time.sleep(fault.delay_s)
    if not fault.bytes_per_s:
        send(block)
        return True
    step = max(1, int(fault.bytes_per_s / 4))
    for start in range(0, len(block), step):
        send(block[start : start + step])
        time.sleep(step / fault.bytes_per_s)
    return True


def _at(request: Request, path: str) -> Request:
    return Request(request.method, path, request.query, request.headers, request.body)


def _object(request: Request) -> Mapping[str, object]:
    data = request.json()
    if not isinstance(data, dict):
        raise ValueError("expected an object")
    return data
