"""What the contract suite needs to know of a vendor, and the clients it reads with.

A connector joins the suite with one module, ``tests/contract/rigs/<name>.py``, that holds a ``RIG``.
"""

import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Account, Ask, Connector, Page, Stream
from integrations.connectors.sandbox_kit import Server
from integrations.toolkit import payload
from integrations.toolkit.http import HttpClient, Reply

CONTACT = "ops@agency.example"


@dataclass(frozen=True, slots=True)
class StreamRig:
    """How the suite moves one stream's records in the sandbox.

    ``open_fields`` are asked for, ``unreleased`` must not appear although the vendor has them. ``add`` makes so many
    new records, ``touch`` changes one and returns its key.
    """

    add: Callable[[Server[Any], int], None]
    touch: Callable[[Server[Any]], str]
    open_fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rig:
    """One vendor on the suite's bench.

    ``hostile`` puts a hostile host name where a person or a key could put it: (typed account, credentials).
    ``planted`` are texts that the sandbox holds in clinical fields and that must never come out;
    ``personal`` are texts about the key's owner that must not be kept as facts.
    """

    serve: Callable[[], Server[Any]]
    credentials: Mapping[str, str]
    bad_credentials: Mapping[str, str]
    hostile: Callable[[str], tuple[str, Mapping[str, str]]]
    domain: str
    streams: Mapping[str, StreamRig]
    typed: str = ""
    planted: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    origin: Callable[[Server[Any]], str] = field(default=lambda server: server.url)


def rig_of(name: str) -> Rig:
    """The rig of a connector. A missing one is a failure with a sentence, not a skip."""
    try:
        rig = importlib.import_module(f"tests.contract.rigs.{name}").RIG
    except ModuleNotFoundError as error:
        raise AssertionError(
            f"{name} has no tests/contract/rigs/{name}.py: every connector passes this suite"
        ) from error
    assert isinstance(rig, Rig)
    return rig


@dataclass(slots=True)
class CountingGate:
    """A budget without end that counts."""

    acquired: int = 0
    settled: int = 0
    blocked_until: float = 0.0

    def acquire(self, cost: int) -> None:
        self.acquired += 1

    def settle(self, cost: int, **_: object) -> None:
        self.settled += 1

    def block_until(self, epoch_s: float) -> None:
        self.blocked_until = epoch_s


def account_of(connector: Connector, rig: Rig, *, bad: bool = False) -> Account:
    credentials = rig.bad_credentials if bad else rig.credentials
    return Account(connector.normalise_account(rig.typed, credentials), credentials)


def client_of(
    connector: Connector, rig: Rig, server: Server[Any], *, gate: CountingGate | None = None, bad: bool = False
) -> HttpClient:
    """The real client against the sandbox, without naps between tries."""
    account = account_of(connector, rig, bad=bad)
    return HttpClient(
        vendor=connector.name,
        account=account.name,
        tenant_id=1,
        origin=connector.origin(account),
        headers=connector.headers(account),
        gate=gate or CountingGate(),
        errors=connector.errors,
        never=connector.never,
        sandbox_origin=rig.origin(server),
        sleep=lambda _: None,
    )


def read_all(client: HttpClient, stream: Stream, ask: Ask, *, most_pages: int = 500) -> list[Page]:
    """Every page of a pass. Fails when the pass does not end."""
    assert stream.read_page
    pages: list[Page] = []
    place: str | None = None
    while len(pages) < most_pages:
        pages.append(stream.read_page(client, ask, place))
        place = pages[-1].next
        if place is None:
            return pages
    raise AssertionError(f"{stream.name} did not end after {most_pages} pages")


# -- fixtures


@dataclass(frozen=True, slots=True)
class Case:
    """One fixture: a call, the vendor's answers to it, and what must come out."""

    connector: str
    path: Path
    told: Mapping[str, Any]

    @property
    def stream(self) -> Stream:
        return CONNECTORS[self.connector].stream(self.told["stream"])

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(self.told.get("fields", ()))

    @property
    def since(self) -> datetime | None:
        return datetime.fromisoformat(self.told["since"]) if self.told.get("since") else None


def folder_of(connector: str) -> Path:
    module = importlib.import_module(f"integrations.connectors.{connector}")
    assert module.__file__
    return Path(module.__file__).parent


def cases_of(connector: str) -> list[Case]:
    """Every ``fixtures/<stream>/<case>.json`` of a connector."""
    files = sorted((folder_of(connector) / "fixtures").glob("*/*.json"))
    return [Case(connector, path, json.loads(path.read_text("utf-8"))) for path in files]


class Script:
    """A client that gives a fixture's answers in turn, whatever it is asked, and remembers what was asked.

    An answer is ``{"data": ...}`` or ``{"body": "raw JSON text"}``, both with optional ``headers``.
    """

    def __init__(self, connector: str, answers: Sequence[Mapping[str, Any]], facts: Mapping[str, str]) -> None:
        self.vendor = connector
        self.account = ""
        self.facts = facts
        self.gate = CountingGate()
        self.memo: dict[str, object] = {}
        self.asked: list[tuple[str, object]] = []
        self._answers = list(answers)

    def get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Reply:
        return self._next(path, tuple(params))

    def get_link(self, url: str) -> Reply:
        return self._next(url, ())

    def post(self, path: str, body: object, *, writes: bool, cost: int = 1) -> Reply:
        return self._next(path, body)

    @property
    def left(self) -> int:
        return len(self._answers)

    def _next(self, path: str, detail: object) -> Reply:
        self.asked.append((path, detail))
        answer = self._answers.pop(0)
        body = answer["body"].encode() if "body" in answer else json.dumps(answer["data"]).encode()
        return Reply(answer.get("status", 200), answer.get("headers", {}), payload.decode(body), "")


# -- hostile names

_HOSTS = (
    "127.0.0.1", "127.1", "0", "0.0.0.0.0", "0x7f.1", "0x7f000001", "2130706433", "017700000001", "[::1]", "::1",
    "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "localhost", "localhost.", "evil.example",
    "evil.example.", "au1.evil.example", "au١", "ａｕ１", "аu1", "au1\n", "au1\r\nX: y", "au1\t", " au1", "au1%00", "au1%2e", "au1/",
    "au1#", "au1?", "au1:80", "au1@evil.example", "@evil.example", "x@127.0.0.1/", "..", "-", "--", "xn--au1-x", "☃",
    "a" * 300, "au1\\@evil.example", "au1;evil", "au1,evil", "{au1}", "$(id)", "`id`", "'au1'", '"au1"', "<au1>",
    "au1\x00", "au1\u200b", "au1\u202e",
)  # fmt: skip
_WRAPS = ("{}", "https://{}", "http://{}/", "{}/../", "//{}", "user:pass@{}")
HOSTILE_HOSTS = tuple(wrap.format(host) for host in _HOSTS for wrap in _WRAPS)
