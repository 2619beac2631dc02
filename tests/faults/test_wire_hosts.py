"""Whom we are willing to call: three hundred hostile hosts, private addresses in every dress, names that change."""

import itertools
import socket
import threading

import pytest

from integrations.core.errors import Unavailable
from integrations.toolkit.addresses import https_origin, is_public
from integrations.toolkit.http import HttpClient
from tests.faults.test_wire_http import OpenGate, client_for, failure

GOOD = ["api.au1.cliniko.com", "harbour-physio.myshopify.com", "a.b-c.d1.example.com", "services.example.io"]

# ruff: noqa: S104 - hostile on purpose
INNER = ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "0177.0.0.1", "169.254.169.254", "10.0.0.1",
         "192.168.0.1", "172.16.0.1", "100.64.0.1", "0.0.0.0", "0", "255.255.255.255", "[::1]", "::1", "[::ffff:127.0.0.1]",
         "[fe80::1%25eth0]", "[::]", "[fd00::1]", "localhost", "localhost.localdomain", "metadata.google.internal", "db.internal",
         "printer.local", "router.lan", "nas.home", "ad.corp", "1.0.0.127.in-addr.arpa", "hidden.onion", "x.invalid", "x.test"]  # fmt: skip
SPELLINGS = ["{}", " {}", "{} ", "{}\n", "\n{}", "{}\r\nHost: x", "{}\t", "{}\0", "{}.", "{}..", ".{}", "{}/", "{}/v1", "{}?x", "{}#x",
             "{}:443", "{}:8443", "{}:", "user@{}", "user:pass@{}", "KEY-x@127.0.0.1/{}", "{}@127.0.0.1", "127.0.0.1/{}", "127.0.0.1#{}",
             "127.0.0.1?{}", "127.0.0.1\\{}", "{}\\@127.0.0.1", "https://{}", "http://{}", "//{}", "{}%00", "{}%2e", "%6c{}", "*.{}",
             "_{}", "-{}", "{}-", "a..{}", "{}。", "{}．com", "xn--{}", "{}.xn--p1ai", "é{}", "a\u0131{}", "a\u0661{}", "\u202e{}",
             "\u200b{}", "\ufeff{}", "A.{}".upper() + "X"]  # fmt: skip
SHOPS = ["evil.com/.myshopify.com", "a.myshopify.com\n", "a.myshopify.com.evil.com", "a.myshopify.com.", "myshopify.com", ".myshopify.com",
         "-a.myshopify.com", "a-.myshopify.com", "a_b.myshopify.com", "a b.myshopify.com", "a@b.myshopify.com", "а.myshopify.com",
         "a.myshоpify.com", "a.myshopify.com@evil.com", "evilmyshopify.com", "a.notmyshopify.com", "A.myshopify.com", "a.MYSHOPIFY.com",
         "a%2emyshopify.com", "a\u3002myshopify.com", f"{'a' * 64}.myshopify.com", f"{'a.' * 130}myshopify.com", "127.0.0.1.myshopify.com.",
         "xn--80ak6aa92e.myshopify.com", "ab--cd.myshopify.com", "a.myshopify.com:443", "a.myshopify.com\t", "a.myshopify.com\u2028", ""]  # fmt: skip

HOSTILE = sorted(
    set(INNER)
    | {spelling.format(host) for spelling, host in itertools.product(SPELLINGS[1:], GOOD)}
    | {spelling.format("127.0.0.1") for spelling in SPELLINGS}
    | set(SHOPS)
)


def test_three_hundred_hostile_hosts_are_refused_and_none_is_repeated() -> None:
    assert len(HOSTILE) >= 300
    for host in HOSTILE:
        with pytest.raises(ValueError) as caught:
            found = https_origin(host, under="myshopify.com" if host in SHOPS else "")
            pytest.fail(f"{host!r} became {found}")
        assert len(host) < 6 or host == "myshopify.com" or host not in str(caught.value)


def test_ordinary_hosts_pass() -> None:
    assert [https_origin(host) for host in GOOD] == [f"https://{host}" for host in GOOD]
    assert https_origin("harbour-physio.myshopify.com", under="myshopify.com") == "https://harbour-physio.myshopify.com"


@pytest.mark.parametrize("host", HOSTILE[::7])
def test_no_client_can_be_made_for_a_hostile_host(host: str) -> None:
    with pytest.raises(ValueError):
        HttpClient(vendor="v", account="a", tenant_id=1, origin=f"https://{host}", headers={}, gate=OpenGate()) if (
            host not in SHOPS
        ) else https_origin(host, under="myshopify.com")


def test_plain_http_and_other_ports_exist_only_for_the_sandbox() -> None:
    for origin in (
        "http://api.cliniko.com",
        "https://api.cliniko.com:8443",
        "https://api.cliniko.com/v1",
        "ftp://api.cliniko.com",
    ):
        with pytest.raises(ValueError):
            HttpClient(vendor="v", account="a", tenant_id=1, origin=origin, headers={}, gate=OpenGate())


PRIVATE = ["127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
           "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.1.1.1",
           "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "64:ff9b::7f00:1",
           "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fe80::1", "fec0::1", "fc00::1",
           "fd12:3456::1", "ff02::1", "2001:db8::1", "100::1", "fe80::1%eth0", "not an address", ""]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_known_in_every_dress(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "23.227.38.74", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"]
)
def test_public_addresses_pass(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("addresses", [[address] for address in PRIVATE[:34:3]] + [["1.1.1.1", "127.0.0.1"]])
def test_a_public_name_for_a_private_address_is_not_called(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dialled: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: dialled.append(address))
    with client_for("", sandbox_origin="", resolve=lambda host, port: addresses) as client:
        error = failure(lambda: client.post("/v1/x", {}, writes=True))
    assert (type(error), error.code) == (Unavailable, "http.not_public")
    assert dialled == []


def test_a_rebinding_name_never_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver says a public address to the check and a private one ever after: only what was judged is dialled."""
    answers = itertools.chain([["93.184.216.34"]], itertools.repeat(["127.0.0.1"]))
    dialled: list[str] = []
    lock = threading.Lock()

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        with lock:
            dialled.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: pytest.fail("resolved behind our back"))
    with client_for("", sandbox_origin="", resolve=lambda host, port: next(answers)) as client:
        codes = [failure(lambda: client.post("/v1/x", {}, writes=True)).code for _ in range(4)]
    assert codes == ["http.unreachable", "http.not_public", "http.not_public", "http.not_public"]
    assert dialled == ["93.184.216.34"]
