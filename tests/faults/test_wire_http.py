"""What comes over the line: cut, dripping, endless, elsewhere, or not what it says. Each case is bounded in time."""

import gzip
import resource
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from integrations.core.errors import AccountError, Rejected, SyncError, Throttled, Unavailable, Uncertain, VendorChanged
from integrations.toolkit import paging, payload
from integrations.toolkit.http import HttpClient
from integrations.toolkit.refusals import throttled_until
from integrations.toolkit.wire import Bounds
from tests.faults.wire_server import Script, Wires, answer, wires

QUICK = Bounds(connect_s=1.0, read_s=0.6, total_s=1.2)
SECRET = "tok-CANARY-7f3a"
GOOD = b'{"patients": [{"id": "1", "first_name": "Mia"}]}'


class OpenGate:
    """No limit; keeps count."""

    def __init__(self) -> None:
        self.acquired = 0
        self.blocked: list[float] = []

    def acquire(self, cost: int) -> None:
        self.acquired += cost

    def settle(self, cost: int, **_: object) -> None:
        pass

    def block_until(self, epoch_s: float) -> None:
        self.blocked.append(epoch_s)


def client_for(origin: str, bounds: Bounds = QUICK, **kwargs: object) -> HttpClient:
    given: dict[str, object] = {
        "vendor": "clinicware",
        "account": "harbour",
        "tenant_id": 1,
        "origin": "https://api.clinicware.com",
        "sandbox_origin": origin,
        "headers": {"Authorization": f"Bearer {SECRET}"},
        "gate": OpenGate(),
        "bounds": bounds,
        "sleep": lambda seconds: None,
    }
    return HttpClient(**(given | kwargs))  # type: ignore[arg-type]


@contextmanager
def served(script: Script, bounds: Bounds = QUICK, **kwargs: object) -> Iterator[tuple[HttpClient, Wires]]:
    with wires(script) as server, client_for(server.origin, bounds, **kwargs) as client:
        yield client, server


def send(data: bytes, *, close: bool = False, reset: bool = False) -> Script:
    def script(peer: socket.socket, _: bytes) -> None:
        peer.sendall(data)
        if reset:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if close or reset:
            peer.close()

    return script


def failure(call: Callable[[], object]) -> SyncError:
    """The error, after a look that nothing of the request or the answer travels in it."""
    with pytest.raises(SyncError) as caught:
        call()
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error) + str(error) + repr(vars(error))
        assert "Mia" not in repr(error) + str(error) + repr(vars(error))
        assert isinstance(error, SyncError), "a library's exception holds addresses and headers"
        error = error.__cause__ or error.__context__
    return caught.value


WHOLE = answer(GOOD)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(GOOD), GOOD)
PACKED = answer(gzip.compress(GOOD), headers="Content-Encoding: gzip")
BODY_AT = WHOLE.index(b"\r\n\r\n") + 4
CUTS = {
    "no_answer": b"",
    "in_the_status": WHOLE[:7],
    "after_the_status": WHOLE[: WHOLE.index(b"\r\n") + 2],
    "in_a_header": WHOLE[:30],
    "before_the_body": WHOLE[:BODY_AT],
    "first_byte_of_the_body": WHOLE[: BODY_AT + 1],
    "in_the_body": WHOLE[: BODY_AT + 20],
    "last_byte_missing": WHOLE[:-1],
    "in_a_chunk_size": CHUNKED[: CHUNKED.index(b"\r\n\r\n") + 5],
    "in_a_chunk": CHUNKED[:-15],
    "last_chunk_missing": CHUNKED[:-5],
    "gzip_cut_but_length_true": answer(gzip.compress(GOOD)[:-9], headers="Content-Encoding: gzip"),
    "no_length_and_cut": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + GOOD[:-3],
}


@pytest.mark.parametrize("ending", ["closed", "reset"])
@pytest.mark.parametrize("cut", CUTS)
def test_v04_a_cut_answer_is_read_again_and_never_taken_for_half_a_page(cut: str, ending: str) -> None:
    with served(send(CUTS[cut], close=ending == "closed", reset=ending == "reset")) as (client, server):
        error = failure(lambda: client.get("/v1/patients"))
        assert isinstance(error, Unavailable)
        assert 2 <= len(server.requests) <= 3  # a try may meet the connection that was just closed


@pytest.mark.parametrize("cut", CUTS)
def test_v04_a_write_whose_answer_is_cut_is_uncertain_and_sent_once(cut: str) -> None:
    with served(send(CUTS[cut], close=True)) as (client, server):
        assert isinstance(failure(lambda: client.post("/v1/patients", {"a": 1}, writes=True)), Uncertain)
        assert len(server.requests) == 1


def test_v04_a_read_succeeds_at_the_third_try() -> None:
    tries = []

    def script(peer: socket.socket, _: bytes) -> None:
        tries.append(1)
        send(WHOLE if len(tries) == 3 else WHOLE[:-4], close=len(tries) < 3)(peer, _)

    with served(script) as (client, _):
        assert client.get("/v1/patients").data == {"patients": [{"id": "1", "first_name": "Mia"}]}


@pytest.mark.parametrize("length", ["5", "99999", "-1", "1e3", "48, 49", "x", str(11 * 1024 * 1024)])
def test_v04_a_wrong_length_never_gives_data(length: str) -> None:
    raw = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + GOOD
    with served(send(raw, close=True)) as (client, _):
        try:
            data = client.get("/v1/patients").data
        except SyncError:
            return
        assert data == {"patients": [{"id": "1", "first_name": "Mia"}]}, "a length we ignore must not cut the body"


def test_a_body_longer_than_its_length_does_not_leak_into_the_next_answer() -> None:
    body = b'{"page": 1}'
    smuggled = answer(body) + answer(b'{"page": "smuggled"}')
    with served(send(smuggled)) as (client, _):
        for _ in range(3):
            assert client.get("/v1/patients").data == {"page": 1}
            time.sleep(0.02)


def test_writes_that_never_left_are_unavailable_not_uncertain() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with client_for(f"http://127.0.0.1:{port}") as client:
        error = failure(lambda: client.post("/v1/x", {}, writes=True))
        assert isinstance(error, Unavailable)
        assert error.code == "http.unreachable"


def drip(data: bytes, every_s: float) -> Script:
    def script(peer: socket.socket, _: bytes) -> None:
        for byte in data:
            peer.sendall(bytes([byte]))
            time.sleep(every_s)

    return script


@pytest.mark.parametrize("part", ["head", "body", "chunks", "silence"])
def test_v03_a_slow_answer_ends_by_our_own_clock(part: str) -> None:
    script: Script = {
        "head": drip(WHOLE, 0.05),
        "body": lambda peer, _: (peer.sendall(WHOLE[:BODY_AT]), drip(WHOLE[BODY_AT:], 0.05)(peer, _))[0],
        "chunks": lambda peer, _: (
            peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            drip(b"1\r\n \r\n" * 100, 0.05)(peer, _),
        )[0],
        "silence": lambda peer, _: time.sleep(5),
    }[part]
    with served(script) as (client, _):
        began = time.monotonic()
        error = failure(lambda: client.post("/v1/x", {}, writes=True))
        took = time.monotonic() - began
    assert isinstance(error, Uncertain)
    assert error.code == "http.timeout"
    assert took < (QUICK.read_s if part == "silence" else QUICK.total_s) + 0.6


@pytest.mark.proof
def test_v03_one_byte_a_second_ends_within_22_seconds() -> None:
    with served(drip(WHOLE, 1.0), Bounds()) as (client, _):
        began = time.monotonic()
        failure(lambda: client.post("/v1/x", {}, writes=True))
        assert 19 < time.monotonic() - began <= 22


def test_a_server_that_does_not_read_our_request_is_left() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1)
    with listener, client_for(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
        began = time.monotonic()
        error = failure(lambda: client.post("/v1/x", {"text": "x" * 30_000_000}, writes=True))
        assert time.monotonic() - began < 5
    assert isinstance(error, Uncertain)


def test_v08_bombs_are_refused_in_little_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    zeros = gzip.compress(b" " * 200_000_000, compresslevel=9)
    bombs = {
        "gzip": answer(zeros, headers="Content-Encoding: gzip"),
        "announced": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        "ratio": answer(gzip.compress(b'{"a": "%s"}' % (b"a" * 5_000_000)), headers="Content-Encoding: gzip"),
    }
    for name, bomb in bombs.items():
        with served(send(bomb), Bounds(total_s=8)) as (client, _):
            error = failure(lambda: client.get("/v1/patients"))
            assert (type(error), error.code) == (VendorChanged, "http.too_big"), name
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000 + 30_000


def test_v08_an_endless_body_ends_at_ten_megabytes() -> None:
    sent = []

    def script(peer: socket.socket, _: bytes) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _count in range(1000):
            peer.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
            sent.append(65536)

    with served(script, Bounds(total_s=8)) as (client, server):
        error = failure(lambda: client.post("/v1/patients", {}, writes=False))
        assert error.code == "http.too_big"
        assert len(server.requests) == 1, "what is too big once is not asked for again"
    assert sum(sent) < 20_000_000


def test_v08_an_honest_large_page_comes_through_packed_and_plain() -> None:
    rows = (
        b'{"patients": ['
        + b",".join(b'{"id": "%d", "first_name": "Name %d"}' % (n, n * 7919) for n in range(9000))
        + b"]}"
    )
    for raw in (answer(rows), answer(gzip.compress(rows), headers="Content-Encoding: gzip")):
        with served(send(raw), Bounds(total_s=8)) as (client, _):
            assert len(payload.items(payload.as_object(client.get("/v1/patients").data, ""), "patients")) == 9000


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 304])
@pytest.mark.parametrize("writes", [True, False])
def test_v07_a_redirect_is_not_followed_and_the_credential_goes_nowhere(status: int, writes: bool) -> None:
    with wires(send(answer(b"{}"))) as elsewhere:
        away = answer(b"moved", status=f"{status} Moved", headers=f"Location: {elsewhere.origin}/v1/patients")
        if status == 304:
            away = f"HTTP/1.1 304 Not Modified\r\nLocation: {elsewhere.origin}\r\n\r\n".encode()
        with served(send(away)) as (client, server):
            error = failure(lambda: client.post("/v1/patients", {}, writes=writes))
            assert (type(error), error.code) == (VendorChanged, "http.redirected")
            assert len(server.requests) == 1
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/v1/patients?page=2",
        "http://127.0.0.1:1/v1/patients?page=2",
        "//evil.example/v1/patients",
        "https://api.clinicware.com.evil.example/v1/patients",
        "https://api.clinicware.com@evil.example/v1/patients",
        "https://user:pass@api.clinicware.com/v1/patients",
        "https://api.clinicware.com:8443/v1/patients",
        "http://api.clinicware.com/v1/patients",
        "https://API.clinicware.com\\@evil.example/v1",
        "https://api.clinicware.com /v1",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "",
    ],
)
def test_v08_a_foreign_next_link_is_not_followed(link: str) -> None:
    with served(send(answer(b"{}"))) as (client, server):
        assert failure(lambda: client.get_link(link)).code == "http.foreign_link"
        assert server.requests == []


def test_v08_own_links_are_followed_under_both_names_of_the_host() -> None:
    with served(send(answer(b"{}"))) as (client, server):
        client.get_link("https://api.clinicware.com/v1/patients?page=2&q%5B%5D=id%3A%3D1#top")
        client.get_link(f"{server.origin}/v1/patients?page=3")
        assert [request.split(b" ")[1] for request in server.requests] == [
            b"/v1/patients?page=2&q%5B%5D=id%3A%3D1",
            b"/v1/patients?page=3",
        ]


def test_v08_endless_pages_and_repeated_links_are_found() -> None:
    page = "https://h/v1/patients?page={}&per_page=100"

    def links(number: object) -> payload.Json:
        return {"next": page.format(number)}

    assert paging.next_link(links(2), "next", current=None) == page.format(2)
    assert paging.next_link({}, "next", current=page.format(9)) is None
    assert paging.next_link({"next": ""}, "next", current=page.format(9)) is None
    for current, following in (
        (None, 1),
        (page.format(2), 2),
        (page.format(7), 3),
        (page.format(2), "two"),
        (None, 10**13),
    ):
        with pytest.raises(VendorChanged, match=r"paging\.loop"):
            paging.next_link(links(following), "next", current=current)
    with pytest.raises(VendorChanged, match=r"paging\.endless"):
        paging.next_link(links(paging.MOST_PAGES + 1), "next", current=page.format(2))
    seen = paging.Seen()
    assert [seen.step(cursor) for cursor in ("a", "b", None)] == ["a", "b", None]
    with pytest.raises(VendorChanged, match=r"paging\.loop"):
        seen.step("a")


HTML = b"<!doctype html><title>Sorry, Mia</title>"


@pytest.mark.parametrize(
    ("raw", "read", "write"),
    [
        (answer(HTML, headers="Content-Type: text/html"), (Unavailable, "http.html"), (Uncertain, "http.html")),
        (answer(HTML), (Unavailable, "http.html"), (Uncertain, "http.html")),
        (answer(b""), (Unavailable, "http.empty"), (Uncertain, "http.empty")),
        (answer(b"  \n"), (Unavailable, "http.empty"), (Uncertain, "http.empty")),
        (answer(b"OK Mia"), (VendorChanged, "payload.json"), (Uncertain, "payload.json")),
        (answer(b'{"a": NaN}'), (VendorChanged, "payload.json"), (Uncertain, "payload.json")),
        (answer(b'{"a": 1} x'), (VendorChanged, "payload.json"), (Uncertain, "payload.json")),
        (answer('{"a": "Mia"}'.encode("utf-16")), (VendorChanged, "payload.json"), (Uncertain, "payload.json")),
        (answer(b"[" * 100_000), (VendorChanged, "payload.too_deep"), (Uncertain, "payload.too_deep")),
        (answer(b"{}", headers="Content-Encoding: br"), (VendorChanged, "http.encoding"), (Uncertain, "http.encoding")),
        (answer(b"boom", status="500 Oops"), (Unavailable, "http.server_error"), (Uncertain, "http.server_error")),
        (answer(HTML, status="502 Bad"), (Unavailable, "http.server_error"), (Uncertain, "http.server_error")),
        (answer(b"", status="408 Late"), (Unavailable, "http.server_error"), (Uncertain, "http.server_error")),
        (answer(b"no", status="401 No"), (AccountError, "http.unauthorised"), (AccountError, "http.unauthorised")),
        (answer(b"no", status="403 No"), (AccountError, "http.forbidden"), (AccountError, "http.forbidden")),
        (answer(b"no", status="404 No"), (Rejected, "http.not_found"), (Rejected, "http.not_found")),
        (answer(b"no", status="400 No"), (VendorChanged, "http.unexpected_status"), (Rejected, "http.rejected")),
        (answer(b"no", status="410 Gone"), (VendorChanged, "http.unexpected_status"), (VendorChanged, "http.unexpected_status")),
    ],
)  # fmt: skip
def test_v05_a_status_proves_nothing_and_every_answer_is_classified(
    raw: bytes, read: tuple[type, str], write: tuple[type, str]
) -> None:
    with served(send(raw)) as (client, _):
        error = failure(lambda: client.get("/v1/patients"))
        assert (type(error), error.code) == read
        error = failure(lambda: client.post("/v1/patients", {}, writes=True))
        assert (type(error), error.code) == write


def test_v05_nothing_to_say_is_fine_where_the_status_says_so() -> None:
    with served(send(b"HTTP/1.1 204 No Content\r\n\r\n")) as (client, _):
        assert client.post("/v1/x/archive", {}, writes=True).data is None


def test_v05_a_validation_error_names_fields_and_repeats_no_value() -> None:
    body = b'{"message": "Mia is bad", "errors": {"email": "mia@example.com is taken", "Mia Chen <x>": "?"}}'
    with served(send(answer(body, status="422 No"))) as (client, _):
        error = failure(lambda: client.post("/v1/patients", {}, writes=True))
    assert isinstance(error, Rejected)
    assert error.facts["fields"] == "email"
    assert "mia@" not in str(error)


def test_v01_a_refusal_is_waited_for_as_told_and_everybody_waits() -> None:
    now = time.time()
    for headers, wait_s in (
        (f"X-RateLimit-Reset: {int(now) + 40}", 40),
        ("Retry-After: 7", 7),
        ("Retry-After: 86400", 900),
        ("X-Nothing: 1", 30),
        ("X-RateLimit-Reset: soon", 30),
        (
            f"X-RateLimit-Reset: {int(now) + 640}\r\nDate: {datetime.fromtimestamp(now + 600, UTC):%a, %d %b %Y %H:%M:%S} GMT",
            40,
        ),
    ):
        gate = OpenGate()
        with served(
            send(answer(b"slow", status="429 No", headers=headers)),
            gate=gate,
            errors={429: throttled_until("X-RateLimit-Reset")},
        ) as (client, server):
            error = failure(lambda: client.get("/v1/patients"))
            assert isinstance(error, Throttled)
            assert -2 <= error.retry_at.timestamp() - now - wait_s <= 3 + wait_s / 20, headers
            assert gate.blocked == [error.retry_at.timestamp()]
            assert len(server.requests) == 1, "being throttled is never a try"


def test_a_vendors_own_table_of_statuses_is_used() -> None:
    table = {503: throttled_until("retry-after", "clinicware.throttled"), 401: "clinicware.auth.rejected"}
    with served(send(answer(b"", status="503 No")), errors=table) as (client, _):
        assert failure(lambda: client.get("/v1/x")).code == "clinicware.throttled"
    with served(send(answer(b"", status="401 No")), errors=table) as (client, _):
        error = failure(lambda: client.get("/v1/x"))
        assert (type(error), error.code) == (AccountError, "clinicware.auth.rejected")


def test_no_call_for_another_tenant_nor_inside_a_transaction_nor_to_a_forbidden_path() -> None:
    def busy() -> None:
        raise RuntimeError("a transaction is open")

    with served(send(answer(b"{}")), current_tenant=lambda: 2) as (client, server):
        with pytest.raises(RuntimeError, match="another tenant"):
            client.get("/v1/patients")
        assert server.requests == []
    with served(send(answer(b"{}")), assert_idle=busy) as (client, server):
        with pytest.raises(RuntimeError, match="transaction"):
            client.get("/v1/patients")
        assert server.requests == []
    with served(send(answer(b"{}")), never=("/v1/medical",)) as (client, server):
        for path in ("/v1/medical_alerts", "/v1/%6dedical_alerts", "/v1/Medical_alerts"):
            with pytest.raises(RuntimeError, match="never"):
                client.get(path)
        for path in (
            "v1/x",
            "/v1/../medical",
            "/v1/%2e%2e/medical",
            "//evil.example/x",
            "/v1/x?y",
            "/v1/x\r\nHost: y",
            "/v1/é",
            "/v1/x#y",
        ):
            with pytest.raises(ValueError, match="plain"):
                client.get(path)
        assert server.requests == []


def test_a_header_that_could_split_the_request_is_refused_without_showing_it() -> None:
    for value in (f"{SECRET}\r\nX: y", f"{SECRET}\n", f"{SECRET}é", f"{SECRET}\0"):
        with pytest.raises(ValueError) as caught:
            client_for("http://127.0.0.1:1", headers={"X-Token": value})
        assert SECRET not in str(caught.value)


def test_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (
        wires(send(answer(b'{"from": "proxy"}'))) as proxy,
        served(send(answer(b'{"from": "vendor"}'))) as (client, server),
    ):
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.origin)
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        assert client.get("/v1/x").data == {"from": "vendor"}
        assert proxy.requests == []
        assert f"Bearer {SECRET}".encode() in server.requests[0]


def test_cookies_are_neither_kept_nor_sent() -> None:
    with served(send(answer(b"{}", headers="Set-Cookie: session=1"))) as (client, server):
        client.get("/v1/x")
        client.get("/v1/x")
        assert b"cookie" not in server.requests[1].lower()


# -- V17: TLS and names


def self_signed(folder: Path, name: str) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


@pytest.fixture
def tls(tmp_path: Path) -> tuple[str, Callable[[socket.socket], socket.socket]]:
    certificate, key = self_signed(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, lambda peer: context.wrap_socket(peer, server_side=True)


def test_v17_a_certificate_nobody_vouches_for_ends_the_call_before_anything_is_sent(
    tls: tuple[str, Callable[[socket.socket], socket.socket]],
) -> None:
    _, wrap = tls
    with wires(send(answer(b"{}")), wrap) as server, client_for(f"https://localhost:{server.port}") as client:
        error = failure(lambda: client.post("/v1/x", {}, writes=True))
        assert (type(error), error.code) == (Unavailable, "http.tls")
        assert server.requests == []


def test_v17_a_good_certificate_for_another_name_is_refused(
    tls: tuple[str, Callable[[socket.socket], socket.socket]],
) -> None:
    certificate, wrap = tls
    with wires(send(answer(b"{}")), wrap) as server:
        with client_for(f"https://127.0.0.1:{server.port}", cafile=certificate) as client:
            assert failure(lambda: client.post("/v1/x", {}, writes=True)).code == "http.tls"
        with client_for(f"https://localhost:{server.port}", cafile=certificate) as client:
            assert client.get("/v1/x").data == {}
            assert client.get("/v1/x").data == {}


def test_v03_a_slow_answer_over_tls_ends_by_our_own_clock(
    tls: tuple[str, Callable[[socket.socket], socket.socket]],
) -> None:
    certificate, wrap = tls
    with (
        wires(drip(WHOLE, 0.05), wrap) as server,
        client_for(f"https://localhost:{server.port}", cafile=certificate) as client,
    ):
        began = time.monotonic()
        error = failure(lambda: client.post("/v1/x", {}, writes=True))
        assert (type(error), error.code) == (Uncertain, "http.timeout")
        assert time.monotonic() - began < QUICK.total_s + 0.6


def test_v17_a_server_that_accepts_and_never_shakes_hands_is_left() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, client_for(f"https://localhost:{listener.getsockname()[1]}") as client:
        began = time.monotonic()
        assert isinstance(failure(lambda: client.post("/v1/x", {}, writes=True)), Unavailable)
        assert time.monotonic() - began < 3


def test_v17_a_name_that_does_not_resolve_and_a_resolver_that_hangs() -> None:
    def missing(host: str, port: int) -> list[str]:
        raise OSError(f"no such host {host}")

    hang = threading.Event()

    def hanging(host: str, port: int) -> list[str]:
        hang.wait(20)
        return []

    for resolve in (missing, hanging):
        client = client_for("", sandbox_origin="", resolve=resolve, bounds=QUICK)
        began = time.monotonic()
        error = failure(lambda client=client: client.post("/v1/x", {}, writes=True))  # type: ignore[misc]
        assert (type(error), error.code) == (Unavailable, "http.dns")
        assert time.monotonic() - began < 2
    hang.set()
