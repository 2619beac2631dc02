"""Files that a vendor takes and gives outside its own interface: up to a staged target, down from a link.

The vendor names the address, so it is judged like any other: https, a public address, and one of the hosts that the
connector lists. No credential of the connection goes there. Nothing stands in memory as a whole: a file is sent and
kept piece by piece, counted and digested on the way. Both ways may be repeated without harm, so a failure is
Unavailable; who asked decides when to ask again.
"""

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from integrations.core.errors import SyncError, Unavailable, VendorChanged
from integrations.toolkit.addresses import https_origin
from integrations.toolkit.bodies import Broken
from integrations.toolkit.http import Client
from integrations.toolkit.redact import safe_path
from integrations.toolkit.refusals import ErrorRule, Refusal, classify
from integrations.toolkit.wire import Answered, Bounds, Wire

MEGABYTE = 1_000_000
_PIECE = 256 * 1024
_LONGEST_URL = 8000
_HERE = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True)
class Limits:
    """``total_s`` is what one transfer may take; the waits inside it are those of every call (``Bounds``)."""

    up_bytes: int = 100 * MEGABYTE
    down_bytes: int = 1000 * MEGABYTE
    line_bytes: int = 2 * MEGABYTE
    total_s: float = 45.0  # less than a task lives


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Moved:
    """A file that was written or sent whole. ``lines`` counts those that hold something; ``sha256`` is hexadecimal."""

    path: Path
    size: int
    lines: int
    sha256: str


# -- local files: readable by us alone, of one line an entry


def write_lines(path: Path, lines: Iterable[str], *, most: int = LIMITS.up_bytes) -> Moved:
    """Writes as many lines as fit into ``most`` bytes to a new file; ``lines`` of the answer tells how many went in.

    Raises FileExistsError rather than write over anything, and ValueError where not even the first line fits.
    """
    with _fresh(path) as tally:
        for line in lines:
            text = line.encode() + b"\n"
            if tally.size + len(text) > most:
                if not tally.lines:
                    raise ValueError("A line is longer than a file may be.")
                break
            tally.take(text)
    return tally.moved(path)


def read_lines(path: Path, *, longest: int = LIMITS.line_bytes) -> Iterator[bytes]:
    """The lines of a file that hold something, without their ends. Raises VendorChanged for one beyond ``longest``."""
    with path.open("rb") as file:
        while line := file.readline(longest + 2):
            text = line.strip()
            if len(text) > longest:
                raise VendorChanged("http.too_big", longest=longest)
            if text:
                yield text


class _Tally:
    """Counts and digests what goes through, and writes it where there is a file to write to."""

    def __init__(self, file: BinaryIO | None = None, longest: int = LIMITS.up_bytes) -> None:
        self.size = 0
        self.lines = 0
        self._digest = hashlib.sha256()
        self._file = file
        self._longest = longest
        self._open = 0  # bytes of the line that has not ended yet

    def take(self, piece: bytes) -> None:
        """Raises VendorChanged for a line that does not end in time."""
        self.size += len(piece)
        self._digest.update(piece)
        *ended, rest = piece.split(b"\n")
        for part in ended:
            self._grow(part)
            self.lines += self._open > 0
            self._open = 0
        self._grow(rest)
        if self._file is not None:
            self._file.write(piece)

    def _grow(self, part: bytes) -> None:
        self._open += len(part)
        if self._open > self._longest:
            raise VendorChanged("http.too_big", longest=self._longest)

    @property
    def ends_whole(self) -> bool:
        return not self._open

    def moved(self, path: Path) -> Moved:
        return Moved(path, self.size, self.lines + (self._open > 0), self._digest.hexdigest())


@contextmanager
def _fresh(path: Path, longest: int = LIMITS.up_bytes) -> Iterator[_Tally]:
    """A new file for the owner's eyes, which goes again if writing it does not end well."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with os.fdopen(number, "wb") as file:
            yield _Tally(file, longest)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


# -- over the line


def upload(
    client: Client,
    url: str,
    parameters: Sequence[tuple[str, str]],
    path: Path,
    *,
    hosts: Sequence[str],
    content_type: str,
    limits: Limits = LIMITS,
) -> Moved:
    """Posts a file to a staged target: every parameter in the order given, the file last, and no credentials.

    Raises VendorChanged for an address that is none of ``hosts``, Unavailable or Throttled if it did not arrive (a
    target that has expired among it: stage anew), ValueError for a file beyond the limit.
    """
    size = path.stat().st_size
    if size > limits.up_bytes:
        raise ValueError("The file is larger than the vendor takes.")
    boundary = secrets.token_hex(16)
    head, tail = _form(parameters, path.name, content_type, boundary)
    tally = _Tally()
    with _outward(client, url, hosts, Bounds(total_s=limits.total_s, wire_bytes=MEGABYTE)) as way:
        headers = way.headers | {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + size + len(tail)),
        }
        answered = way.wire.exchange("POST", way.target, headers, _body(head, path, size, tail, tally))
        if not 200 <= answered.status < 300:
            raise classify(_refusal(client, answered, way), _UPLOAD_ERRORS)
    return tally.moved(path)


def download(
    client: Client,
    url: str,
    path: Path,
    *,
    hosts: Sequence[str],
    expected: int | None = None,
    limits: Limits = LIMITS,
) -> Moved:
    """Fetches a file of lines to ``path``, which must not be there yet and which only we can read.

    ``expected`` is the size that the vendor told, if it did: it decides where nothing else tells the end of a body.
    Raises VendorChanged for an address that is none of ``hosts``, a line or a file beyond the limits; Unavailable or
    Throttled if it did not arrive whole (a link that has expired among it: ask for it anew).
    """
    bounds = Bounds(total_s=limits.total_s, wire_bytes=limits.down_bytes, decoded_bytes=limits.down_bytes)
    with _outward(client, url, hosts, bounds) as way, way.wire.stream(way.target, way.headers) as (answered, pieces):
        if answered.status != 200:
            raise classify(_refusal(client, answered, way), _DOWNLOAD_ERRORS)
        with _fresh(path, limits.line_bytes) as tally:
            for piece in pieces:
                tally.take(piece)
            if not (answered.whole or tally.size == expected or (expected is None and tally.ends_whole)):
                raise Unavailable("http.broken", vendor=client.vendor)
    return tally.moved(path)


@dataclass(frozen=True, slots=True)
class _Way:
    """An open wire to a judged host, what to ask it for and with which headers."""

    wire: Wire
    target: str
    headers: dict[str, str]


@contextmanager
def _outward(client: Client, url: str, hosts: Sequence[str], bounds: Bounds) -> Iterator[_Way]:
    """Refuses what the client refuses, judges the address, counts the call, and tells a broken line in our words."""
    client.outside.refuse_others()
    base, target = _judged(client, url, hosts)
    fault: SyncError
    with ExitStack() as stack:
        outside = client.outside
        wire = Wire(
            base,
            bounds=bounds,
            resolve=outside.resolve,
            allow_private=bool(outside.sandbox_base),
            cafile=outside.cafile,
        )
        stack.callback(wire.close)
        client.calls += 1
        host = base.partition("://")[2]
        headers = {"User-Agent": "Suture", "Accept": "*/*", "Accept-Encoding": "identity", "Host": host}
        try:
            yield _Way(wire, target, headers)
            return
        except Broken as broken:
            kind = VendorChanged if broken.size else Unavailable
            fault = kind(broken.code, vendor=client.vendor, path=safe_path(target))
    raise fault from None


def _judged(client: Client, url: str, hosts: Sequence[str]) -> tuple[str, str]:
    """Origin and target of an address we are willing to go to. Raises VendorChanged for any other.

    While a sandbox stands in, it may name addresses on its own machine, and the vendor's hosts mean the sandbox.
    """
    refused = VendorChanged("http.foreign_link", vendor=client.vendor)
    if not (url.isascii() and url.isprintable() and len(url) <= _LONGEST_URL) or set(url) & set(" \\"):
        raise refused
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise refused from None
    if parts.username is not None or parts.password is not None:
        raise refused
    target = quote(parts.path or "/", safe="/-._~:@!$&'()*+,;=%") + (f"?{parts.query}" if parts.query else "")
    base = client.outside.sandbox_base
    if base and parts.scheme in ("http", "https") and host in (*_HERE, urlsplit(base).hostname):
        return f"{parts.scheme}://{host}" + (f":{port}" if port else ""), target
    if parts.scheme != "https" or port not in (None, 443) or not _is_listed(host, hosts):
        raise refused
    if base:
        scheme, _, rest = base.partition("://")
        netloc, slash, prefix = rest.partition("/")
        return f"{scheme}://{netloc}", f"{slash}{prefix}{target}"
    return f"https://{host}", target


def _is_listed(host: str, hosts: Sequence[str]) -> bool:
    try:
        https_origin(host)
    except ValueError:
        return False
    return any(host == known or host.endswith(f".{known}") for known in hosts)


def _refusal(client: Client, answered: Answered, way: _Way) -> Refusal:
    path = safe_path(way.target)
    return Refusal(client.vendor, answered.status, answered.headers, None, False, path, "", datetime.now(UTC))


def _unavailable(code: str) -> ErrorRule:
    return lambda refusal: Unavailable(code, **refusal.facts)


_UPLOAD_ERRORS: Mapping[int, ErrorRule] = dict.fromkeys(
    (400, 401, 403, 404, 405, 409, 410, 411, 412, 413, 415, 422), _unavailable("http.upload_refused")
)
_DOWNLOAD_ERRORS: Mapping[int, ErrorRule] = dict.fromkeys(
    (204, 206, 400, 401, 403, 404, 405, 409, 410, 412, 416, 422), _unavailable("http.file_gone")
)


# -- the form of an upload


def _form(parameters: Sequence[tuple[str, str]], name: str, content_type: str, boundary: str) -> tuple[bytes, bytes]:
    """What stands before and after the file."""
    parts = [f"--{boundary}\r\n{_named(field)}\r\n\r\n{value}\r\n" for field, value in parameters]
    parts.append(f'--{boundary}\r\n{_named("file")}; filename="{_plain(name)}"\r\nContent-Type: {content_type}\r\n\r\n')
    return "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode()


def _named(field: str) -> str:
    return f'Content-Disposition: form-data; name="{_plain(field)}"'


def _plain(text: str) -> str:
    """Raises VendorChanged for a name that would not stay inside its quotes."""
    if not text.isprintable() or '"' in text or "\\" in text:
        raise VendorChanged("http.upload_form")
    return text


def _body(head: bytes, path: Path, size: int, tail: bytes, tally: _Tally) -> Iterator[bytes]:
    """The whole request body, piece by piece. Raises RuntimeError if the file is not what was measured."""
    yield head
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            tally.take(piece)
            yield piece
    if tally.size != size:
        raise RuntimeError("A file changed while it was sent.")
    yield tail
