"""Files that go to and come from a vendor's storage: hostile addresses, hostile bodies, and what is sent byte by byte."""

import gzip
import hashlib
import json
import re
import socket
import stat
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from integrations.core.errors import SyncError, Throttled, Unavailable, VendorChanged
from integrations.toolkit import transfer
from integrations.toolkit.http import HttpClient
from integrations.toolkit.transfer import Limits
from tests.faults.test_wire_http import SECRET, client_for, send
from tests.faults.wire_server import Script, Wires, answer, wires

HOSTS = ("storage.example.com",)
QUICK = Limits(total_s=1.5, line_bytes=1000)
LINES = b'{"a":1}\n{"b":2}\n{"c":"Mia"}\n'
PARAMETERS = (("Content-Type", "text/jsonl"), ("policy", "p=="), ("key", "tmp/1/rows.jsonl"), ("acl", "private"))


@contextmanager
def served(script: Script, **kwargs: object) -> Iterator[tuple[HttpClient, Wires]]:
    with wires(script) as server, client_for(server.origin, **kwargs) as client:
        yield client, server


def put(client: HttpClient, url: str, path: Path, limits: Limits = QUICK) -> transfer.Moved:
    return transfer.upload(client, url, PARAMETERS, path, hosts=HOSTS, content_type="text/jsonl", limits=limits)


def fetch(client: HttpClient, url: str, folder: Path, expected: int | None = None, **limits: int) -> transfer.Moved:
    path = folder / "rows.jsonl"
    return transfer.download(client, url, path, hosts=HOSTS, expected=expected, limits=replace(QUICK, **limits))


def failure(call: Callable[[], object]) -> SyncError:
    """The error, after a look that neither the key, nor a signature, nor a value travels in it."""
    with pytest.raises(SyncError) as caught:
        call()
    told = repr(caught.value) + str(caught.value) + repr(vars(caught.value))
    assert not re.search(f"{SECRET}|signature|Mia", told)
    return caught.value


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "up.jsonl"
    path.write_bytes(LINES)
    return path


# -- up


def test_a_file_goes_up_after_every_parameter_in_the_order_given_and_without_the_key(rows: Path) -> None:
    with served(send(answer(b"", status="201 Created"))) as (client, server):
        moved = put(client, f"{server.origin}/bucket?x=1", rows)
        [request] = server.requests
    assert (moved.size, moved.lines, moved.sha256) == (len(LINES), 3, hashlib.sha256(LINES).hexdigest())
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /bucket?x=1 HTTP/1.1") and SECRET.encode() not in request
    boundary = re.search(rb"boundary=(\w+)", head)
    assert boundary
    parts = body.split(b"--" + boundary[1])
    names = [found.decode() for found in re.findall(rb'form-data; name="([^"]+)"', body)]
    assert names == [*dict(PARAMETERS), "file"]
    assert parts[3].endswith(b"\r\n\r\ntmp/1/rows.jsonl\r\n")
    assert b'filename="up.jsonl"\r\nContent-Type: text/jsonl\r\n\r\n' + LINES + b"\r\n" in parts[-2]
    assert parts[-1] == b"--\r\n" and client.calls == 1


def discard(listener: socket.socket) -> None:
    """Takes one request without keeping it, and answers."""
    peer, _ = listener.accept()
    with peer, peer.makefile("rb") as file:
        length = 0
        while (line := file.readline()) != b"\r\n":
            length = int(line.partition(b":")[2]) if line.lower().startswith(b"content-length") else length
        while length:
            length -= len(file.read(min(length, 65536)))
        peer.sendall(answer(b""))


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    path, line = tmp_path / "large.jsonl", b'{"a":"' + b"x" * 990 + b'"}\n'
    path.write_bytes(line * 30_000)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=discard, args=(listener,), daemon=True).start()
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with client_for(origin) as client:
            tracemalloc.start()
            try:
                moved = put(client, origin, path, Limits(total_s=20))
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert (moved.lines, moved.size) == (30_000, 30_000 * len(line))
    assert peak < 4_000_000


def test_a_file_beyond_the_limit_is_not_even_begun(rows: Path) -> None:
    with served(send(answer(b""))) as (client, server):
        with pytest.raises(ValueError):
            put(client, server.origin, rows, replace(QUICK, up_bytes=len(LINES) - 1))
        assert server.requests == []


@pytest.mark.parametrize(
    ("raw", "kind", "code"),
    [
        (answer(b"<Error>EntityTooLarge</Error>", status="400 Bad Request"), Unavailable, "http.upload_refused"),
        (answer(b"<Error>ExpiredToken</Error>", status="403 Forbidden"), Unavailable, "http.upload_refused"),
        (answer(b"", status="429 Too Many", headers="Retry-After: 9"), Throttled, "http.throttled"),
        (answer(b"", status="503 Down"), Unavailable, "http.server_error"),
        (answer(b"", status="307 Elsewhere", headers="Location: https://evil.example"), VendorChanged, "http.redirected"),
        (b"", Unavailable, "http.broken"),
    ],
)  # fmt: skip
def test_what_the_store_refuses_may_be_sent_again(rows: Path, raw: bytes, kind: type[SyncError], code: str) -> None:
    with served(send(raw, close=not raw)) as (client, server):
        error = failure(lambda: put(client, f"{server.origin}/?signature=s3cret", rows))
        assert type(error) is kind and error.code == code and len(server.requests) == 1


def test_a_parameter_cannot_leave_its_quotes(rows: Path) -> None:
    with served(send(answer(b""))) as (client, server):
        error = failure(
            lambda: transfer.upload(
                client, server.origin, [('key"; filename="x', "v")], rows, hosts=HOSTS, content_type="text/jsonl"
            )
        )
        assert error.code == "http.upload_form" and server.requests == []


# -- down


def test_a_file_comes_down_for_our_eyes_only(tmp_path: Path) -> None:
    with served(send(answer(LINES))) as (client, server):
        moved = fetch(client, f"{server.origin}/result.jsonl?signature=s3cret", tmp_path)
        assert SECRET.encode() not in server.requests[0]
    assert stat.S_IMODE(moved.path.stat().st_mode) == 0o600
    assert (moved.size, moved.lines, moved.sha256) == (len(LINES), 3, hashlib.sha256(LINES).hexdigest())
    assert [json.loads(line) for line in transfer.read_lines(moved.path)] == [{"a": 1}, {"b": 2}, {"c": "Mia"}]


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"ours")
    with served(send(answer(LINES))) as (client, server), pytest.raises(FileExistsError):
        fetch(client, server.origin, tmp_path)
    assert (tmp_path / "rows.jsonl").read_bytes() == b"ours"


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
PACKED = gzip.compress(LINES, mtime=0)


@pytest.mark.parametrize(
    "raw",
    [
        answer(LINES)[:-1],
        answer(LINES)[: -len(LINES)],
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (len(LINES), LINES),
        HEAD + b"\r\n" + LINES[:-4],
        answer(PACKED[:-9], headers="Content-Encoding: gzip"),
        answer(b"no gzip at all", headers="Content-Encoding: gzip"),
    ],
    ids=["a byte short", "nothing", "no last chunk", "no length", "gzip cut", "no gzip"],
)
def test_a_cut_file_is_no_file(tmp_path: Path, raw: bytes) -> None:
    with served(send(raw, close=True)) as (client, server):
        error = failure(lambda: fetch(client, server.origin, tmp_path))
    assert isinstance(error, Unavailable) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("expected", "is_whole"), [(None, True), (len(LINES), True), (len(LINES) + 1, False)])
def test_a_body_without_a_length_is_held_against_what_was_told(
    tmp_path: Path, expected: int | None, is_whole: bool
) -> None:
    with served(send(HEAD + b"\r\n" + LINES, close=True)) as (client, server):
        if is_whole:
            assert fetch(client, server.origin, tmp_path, expected).size == len(LINES)
        else:
            assert isinstance(failure(lambda: fetch(client, server.origin, tmp_path, expected)), Unavailable)


def test_a_packed_file_is_unpacked_on_the_way(tmp_path: Path) -> None:
    with served(send(answer(PACKED, headers="Content-Encoding: gzip"))) as (client, server):
        assert fetch(client, server.origin, tmp_path).path.read_bytes() == LINES


BOMB = answer(gzip.compress(b'{"a":1}\n' * 500_000), headers="Content-Encoding: gzip")


@pytest.mark.parametrize(
    ("raw", "limits"),
    [
        (answer(LINES), {"down_bytes": 10}),
        (HEAD + b"\r\n" + LINES * 50, {"down_bytes": 1000}),
        (BOMB, {"down_bytes": 1_000_000}),
        (answer(b'{"a":"' + b"x" * 1001), {}),
        (answer(b"{}\n" + b"x" * 1001 + b"\n{}\n"), {}),
    ],
)
def test_a_file_or_a_line_beyond_its_limit_ends_there(tmp_path: Path, raw: bytes, limits: dict[str, int]) -> None:
    with served(send(raw, close=True)) as (client, server):
        error = failure(lambda: fetch(client, server.origin, tmp_path, **limits))
    assert isinstance(error, VendorChanged) and error.code == "http.too_big" and list(tmp_path.iterdir()) == []


def test_a_dripping_file_ends_by_our_clock(tmp_path: Path) -> None:
    def drip(peer: object, _: bytes) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")  # type: ignore[attr-defined]
        for _ in range(60):
            peer.sendall(b"\n")  # type: ignore[attr-defined]
            time.sleep(0.1)

    began = time.monotonic()
    with served(drip) as (client, server):
        assert failure(lambda: fetch(client, server.origin, tmp_path)).code == "http.timeout"
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "410 Gone", "416 Range"])
def test_a_link_that_has_expired_is_asked_for_again(tmp_path: Path, status: str) -> None:
    with served(send(answer(b"<Error/>", status=status))) as (client, server):
        error = failure(lambda: fetch(client, server.origin, tmp_path))
    assert isinstance(error, Unavailable) and error.code == "http.file_gone"


# -- where to


FOREIGN = [
    "http://storage.example.com/x",
    "https://storage.example.com.evil.org/x",
    "https://evilstorage.example.com/x",
    "https://example.com/x",
    "https://storage.example.com:8443/x",
    "https://me:pw@storage.example.com/x",
    "https://storage.example.com\\@evil.org/x",
    "https://storage.example.com@evil.org/x",
    "https://[::1]/x",
    "https://storage.example.com:port/x",
    "https://127.0.0.1/x",
    "https://localhost/x",
    "https://xn--strage-bya.example.com/x",
    "ftp://storage.example.com/x",
    "//storage.example.com/x",
    "",
    "https://storage.example.com/a b",
    "https://storage.example.com/" + "x" * 9000,
]


@pytest.mark.parametrize("url", [*FOREIGN, "http://127.0.0.1:{port}/x"])
def test_only_the_listed_hosts_are_gone_to(rows: Path, url: str) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with wires(send(answer(b""))) as server, client_for("", sandbox_origin="", resolve=resolve) as client:
        target = url.replace("{port}", str(server.port))
        for call in (lambda: put(client, target, rows), lambda: fetch(client, target, rows.parent)):
            assert failure(call).code == "http.foreign_link"
        assert server.requests == [] and asked == [] and client.calls == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.7", "169.254.169.254", "::1", "::ffff:10.0.0.7"])
def test_a_listed_name_that_leads_inward_is_refused(rows: Path, address: str) -> None:
    with client_for("", sandbox_origin="", resolve=lambda host, port: [address]) as client:
        for host in ("storage.example.com", "bucket.storage.example.com"):
            error = failure(lambda host=host: put(client, f"https://{host}/x", rows))
            assert isinstance(error, Unavailable) and error.code == "http.not_public"


def test_while_a_sandbox_stands_in_nothing_leaves_the_machine(rows: Path) -> None:
    """A listed host means the sandbox, below its prefix; any other machine is refused."""
    with served(send(answer(b""))) as (client, server), client_for(f"{server.origin}/shop") as shop:
        put(shop, "https://bucket.storage.example.com/up?x=1", rows)
        put(client, server.origin.replace("127.0.0.1", "localhost"), rows)
        assert [request.split(b" ")[1] for request in server.requests] == [b"/shop/up?x=1", b"/"]
        for url in ("http://192.168.1.9/x", "https://example.org/x", "http://storage.example.com/x"):
            assert failure(lambda url=url: put(client, url, rows)).code == "http.foreign_link"


def test_no_file_goes_for_another_clinic_or_inside_a_transaction(rows: Path) -> None:
    def busy() -> None:
        raise RuntimeError("a transaction is open")

    for kwargs in ({"assert_idle": busy}, {"current_tenant": lambda: 2}):
        with served(send(answer(b"")), **kwargs) as (client, server):
            with pytest.raises(RuntimeError):
                put(client, server.origin, rows)
            assert server.requests == []


# -- local files


def test_lines_fill_a_private_file_up_to_its_limit_and_leave_the_rest(tmp_path: Path) -> None:
    left = iter(["one", "two", "three"])
    moved = transfer.write_lines(tmp_path / "a", left, most=9)
    assert (moved.lines, moved.size, (tmp_path / "a").read_bytes()) == (2, 8, b"one\ntwo\n")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    with pytest.raises(ValueError):
        transfer.write_lines(tmp_path / "b", ["too long for it"], most=9)
    assert not (tmp_path / "b").exists()


def test_lines_are_read_one_by_one_whatever_ends_them(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\n{}\r\n\n  \n[1]")
    assert list(transfer.read_lines(path)) == [b"{}", b"[1]"]
    path.write_bytes(b"x" * 12 + b"\n")
    assert list(transfer.read_lines(path, longest=12)) == [b"x" * 12]
    with pytest.raises(VendorChanged):
        list(transfer.read_lines(path, longest=11))
