"""The contract that every connector and each of its streams must pass (C29). Nothing here names a vendor."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Account, Ask, Connector, Field, Stream
from integrations.connectors.sandbox_kit import Fault, FaultKind, Server
from integrations.core.errors import AccountError, SyncError, Throttled, Unavailable, VendorChanged
from integrations.core.records import Record, State
from integrations.toolkit.http import HttpClient
from tests.contract.desk import (
    HOSTILE_HOSTS,
    Case,
    CountingGate,
    Rig,
    Script,
    account_of,
    cases_of,
    client_of,
    folder_of,
    read_all,
    rig_of,
)

STREAMS = [(name, stream.name) for name, connector in CONNECTORS.items() for stream in connector.streams]
READABLE = [
    (name, stream.name) for name, connector in CONNECTORS.items() for stream in connector.streams if stream.read_page
]
CASES = [case for name in CONNECTORS for case in cases_of(name)]


@pytest.fixture(params=sorted(CONNECTORS))
def connector(request: pytest.FixtureRequest) -> Connector:
    return CONNECTORS[request.param]


@pytest.fixture
def rig(connector: Connector) -> Rig:
    return rig_of(connector.name)


@pytest.fixture
def server(rig: Rig) -> Iterator[Server[Any]]:
    with rig.serve() as running:
        yield running


@pytest.fixture
def client(connector: Connector, rig: Rig, server: Server[Any]) -> Iterator[HttpClient]:
    with client_of(connector, rig, server) as opened:
        yield opened


def _readable(connector: Connector) -> list[Stream]:
    return [stream for stream in connector.streams if stream.read_page]


def _ask(rig: Rig, stream: Stream, since: datetime | None = None) -> Ask:
    return Ask(since, rig.streams[stream.name].open_fields)


# -- facts


def test_it_is_registered_under_its_own_name(connector: Connector) -> None:
    assert CONNECTORS[connector.name] is connector
    assert re.fullmatch(r"[a-z][a-z0-9]{1,30}", connector.name)
    assert connector.label


def test_its_credentials_have_labels_and_one_is_secret(connector: Connector) -> None:
    assert all(credential.label for credential in connector.credentials)
    assert any(credential.secret for credential in connector.credentials)
    assert connector.limit.amount > 0 and connector.limit.per_s > 0


def test_what_is_never_called_are_paths(connector: Connector) -> None:
    assert all(re.fullmatch(r"(/[a-z0-9_.-]+)+", path) for path in connector.never)


@pytest.mark.parametrize(("vendor", "name"), STREAMS)
def test_a_streams_fields_are_distinct_and_labelled(vendor: str, name: str) -> None:
    stream = CONNECTORS[vendor].stream(name)
    names = [known.name for known in stream.fields]
    assert len(names) == len(set(names))
    assert all(known.label for known in stream.fields)
    assert not any(known.clinical and (known.natural_key or known.writable) for known in stream.fields)
    assert 1 <= stream.batch <= 250


@pytest.mark.parametrize(("vendor", "name"), STREAMS)
def test_a_target_can_look_up_and_read_back_what_it_writes(vendor: str, name: str) -> None:
    stream = CONNECTORS[vendor].stream(name)
    assert not stream.write_many or (stream.find and stream.read_many)


def test_the_folder_says_where_its_facts_and_fixtures_come_from(connector: Connector) -> None:
    folder = folder_of(connector.name)
    told = (folder / "fixtures" / "README.md").read_text("utf-8")
    assert "## Sources" in (folder / "README.md").read_text("utf-8")
    for case in cases_of(connector.name):
        assert case.path.name in told, f"fixtures/README.md does not tell the source of {case.path.name}"


# -- hostile accounts


def test_a_hostile_account_never_becomes_a_host(connector: Connector, rig: Rig) -> None:
    assert len(HOSTILE_HOSTS) >= 300
    assert not {host: fault for host in HOSTILE_HOSTS if (fault := _fault_with_host(connector, rig, host))}


def _fault_with_host(connector: Connector, rig: Rig, host: str) -> str:
    """What is wrong with how a hostile name was taken, or nothing: refused with a sentence, or made harmless."""
    typed, credentials = rig.hostile(host)
    try:
        origin = connector.origin(Account(connector.normalise_account(typed, credentials), credentials))
    except ValueError as error:
        sentence = str(error)
        return "" if sentence.endswith(".") and (len(host) < 5 or host not in sentence) else f"said {sentence}"
    parts = urlsplit(origin)
    plain = parts.scheme == "https" and parts.netloc == parts.hostname and not (parts.path or parts.query)
    own = re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*" + re.escape(f".{rig.domain}"), parts.netloc)
    return "" if plain and own else f"became {origin}"


def test_headers_are_plain_and_say_who_we_are(connector: Connector, rig: Rig) -> None:
    headers = connector.headers(account_of(connector, rig))
    assert all(value.isascii() and value.isprintable() for value in headers.values())


# -- fixtures


@pytest.mark.parametrize("name", sorted(CONNECTORS))
def test_every_stream_has_fixtures(name: str) -> None:
    assert {case.told["stream"] for case in cases_of(name)} == {stream.name for stream in CONNECTORS[name].streams}


@pytest.mark.parametrize("case", CASES, ids=[f"{case.connector}-{case.path.stem}" for case in CASES])
def test_a_fixture_reads_as_it_says(case: Case) -> None:
    expected = case.told["expect"]
    script = Script(case.connector, case.told["answers"], case.told.get("facts", {}))
    if "error" in expected:
        with pytest.raises(SyncError) as caught:
            _call(case, script)
        assert caught.value.code == expected["error"]
        return
    records, broken = _call(case, script)
    assert script.left == 0, "a declared answer was never asked for"
    assert [
        _told(case.stream, record, wanted) for record, wanted in zip(records, expected["records"], strict=True)
    ] == [{name: value for name, value in wanted.items() if name != "absent"} for wanted in expected["records"]]
    for record, wanted in zip(records, expected["records"], strict=True):
        assert not set(wanted.get("absent", ())) & set(record.values)
    assert broken == [tuple(pair) for pair in expected.get("broken", [])]
    for planted in case.told.get("planted", ()):
        assert planted not in repr(records)


def _call(case: Case, script: Script) -> tuple[list[Record], list[tuple[str, str]]]:
    if case.told["call"] == "read_many":
        assert case.stream.read_many
        found = case.stream.read_many(script, case.told["keys"], case.fields)
        return [found[key] for key in case.told["keys"] if key in found], []
    assert case.stream.read_page
    page = case.stream.read_page(script, Ask(case.since, case.fields), case.told.get("place"))
    expected = case.told["expect"]
    if "vendor_now" in expected:
        told = expected["vendor_now"]
        assert page.vendor_now == (datetime.fromisoformat(told) if told else None)
    assert (page.next is not None) is expected.get("has_next", False)
    return list(page.records), [(key, error.code) for key, error in page.broken]


def _told(stream: Stream, record: Record, wanted: dict[str, Any]) -> dict[str, Any]:
    """Of a record, what its fixture speaks of, as JSON."""
    told: dict[str, Any] = {name: getattr(record, name) for name in wanted if name not in ("values", "absent")}
    if isinstance(told.get("state"), State):
        told["state"] = told["state"].value
    if "values" in wanted:
        told["values"] = {
            name: stream.kind_of(name).dump(record.values[name]) if name in record.values else "(absent)"
            for name in wanted["values"]
        }
    return json.loads(json.dumps(told, default=str))


# -- reading from the sandbox


def test_a_pass_over_everything_ends_and_gives_each_record_once(
    connector: Connector, rig: Rig, server: Server[Any], client: HttpClient
) -> None:
    for stream in _readable(connector):
        rig.streams[stream.name].add(server, 250)
        pages = read_all(client, stream, _ask(rig, stream))
        keys = [record.key for page in pages for record in page.records]
        assert len(keys) > 250 and len(keys) == len(set(keys))
        assert not [broken for page in pages for broken in page.broken]
        assert pages[0].vendor_now is not None and pages[0].vendor_now.tzinfo is UTC


def test_records_hold_named_fields_only_and_nothing_clinical(
    connector: Connector, rig: Rig, client: HttpClient
) -> None:
    for stream in _readable(connector):
        for page in read_all(client, stream, _ask(rig, stream)):
            for record in page.records:
                for name in record.values:
                    known = stream.find_field(name)
                    assert known is not None, name
                    assert not (isinstance(known, Field) and known.clinical), name
            text = repr(page)
            assert not [planted for planted in rig.planted if planted in text]


def test_open_fields_are_decoded_only_when_asked_for(connector: Connector, rig: Rig, client: HttpClient) -> None:
    for stream in _readable(connector):
        asked = rig.streams[stream.name].open_fields
        for fields in (frozenset[str](), asked):
            pages = read_all(client, stream, Ask(None, fields))
            prefixes = tuple(family.prefix for family in stream.open_fields)
            found = {name for page in pages for record in page.records for name in record.values}
            assert {name for name in found if name.startswith(prefixes)} == fields


def test_a_pass_goes_on_from_its_stored_place(
    connector: Connector, rig: Rig, server: Server[Any], client: HttpClient
) -> None:
    for stream in _readable(connector):
        assert stream.read_page
        rig.streams[stream.name].add(server, 250)
        ask = _ask(rig, stream)
        whole = [record.key for page in read_all(client, stream, ask) for record in page.records]
        first = stream.read_page(client, ask, None)
        assert first.next is not None
        rest: list[str] = []
        place: str | None = str(first.next)
        while place is not None:
            with client_of(connector, rig, server) as another:
                page = stream.read_page(another, ask, place)
            rest += [record.key for record in page.records]
            place = page.next
        assert [record.key for record in first.records] + rest == whole


def test_what_changed_since_the_watermark_is_found_again(
    connector: Connector, rig: Rig, server: Server[Any], client: HttpClient
) -> None:
    for stream in _readable(connector):
        started = read_all(client, stream, _ask(rig, stream))[0].vendor_now
        assert started is not None
        key = rig.streams[stream.name].touch(server)
        changed = read_all(client, stream, _ask(rig, stream, started))
        assert key in {record.key for page in changed for record in page.records}


def test_read_many_gives_what_is_there_and_leaves_out_what_is_not(
    connector: Connector, rig: Rig, client: HttpClient
) -> None:
    for stream in _readable(connector):
        if not stream.read_many:
            continue
        fields = rig.streams[stream.name].open_fields
        listed = {record.key: record for page in read_all(client, stream, _ask(rig, stream)) for record in page.records}
        some = list(listed)[: stream.batch]
        found = stream.read_many(client, [*some[:-1], "999999999"], fields)
        assert dict(found) == {key: listed[key] for key in some[:-1]}


def test_every_request_passes_the_budget(connector: Connector, rig: Rig, server: Server[Any]) -> None:
    gate = CountingGate()
    with client_of(connector, rig, server, gate=gate) as client:
        for stream in _readable(connector):
            read_all(client, stream, _ask(rig, stream))
    assert gate.acquired == len(server.journal.entries()) > 0


def test_nothing_that_is_never_called_was_called(
    connector: Connector, rig: Rig, server: Server[Any], client: HttpClient
) -> None:
    connector.verify(client)
    for stream in _readable(connector):
        read_all(client, stream, _ask(rig, stream))
    assert not [entry.path for entry in server.journal.entries() if entry.path.startswith(connector.never or ("\0",))]
    for path in connector.never:
        with pytest.raises(RuntimeError):
            client.get(path)


# -- what goes wrong


def test_v06_a_bad_key_is_an_account_error(connector: Connector, rig: Rig, server: Server[Any]) -> None:
    with client_of(connector, rig, server, bad=True) as client, pytest.raises(AccountError) as caught:
        connector.verify(client)
    _assert_discreet(caught.value, rig)


@pytest.mark.parametrize("status", [401, 403])
def test_v06_a_refused_read_is_an_account_error(
    connector: Connector, rig: Rig, server: Server[Any], client: HttpClient, status: int
) -> None:
    for stream in _readable(connector):
        server.faults.add(Fault(FaultKind.STATUS, status=status, body='{"message": "no, jane@example.com"}'))
        with pytest.raises(AccountError) as caught:
            read_all(client, stream, _ask(rig, stream))
        _assert_discreet(caught.value, rig)


def test_v01_being_throttled_says_until_when(
    connector: Connector, rig: Rig, server: Server[Any], client: HttpClient
) -> None:
    for stream in _readable(connector):
        server.faults.add(Fault(FaultKind.STATUS, status=429, body='{"message": "slower"}'))
        with pytest.raises(Throttled) as caught:
            read_all(client, stream, _ask(rig, stream))
        now = datetime.now(UTC)
        assert now - timedelta(seconds=2) < caught.value.retry_at <= now + timedelta(minutes=16)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.STATUS, times=9, status=500, body="jane@example.com"),
        Fault(FaultKind.STATUS, times=9, status=502, body="<html>"),
        Fault(FaultKind.DROP_BEFORE, times=9),
        Fault(FaultKind.TRUNCATE, times=9),
        Fault(FaultKind.HTML, times=9),
    ],
    ids=lambda fault: f"{fault.kind}{fault.status or ''}",
)
def test_v02_v04_v05_a_vendor_that_is_down_is_unavailable(
    connector: Connector, rig: Rig, server: Server[Any], client: HttpClient, fault: Fault
) -> None:
    for stream in _readable(connector):
        server.faults.clear()
        server.faults.add(fault)
        with pytest.raises(Unavailable) as caught:
            read_all(client, stream, _ask(rig, stream))
        _assert_discreet(caught.value, rig)


def test_v02_one_bad_moment_is_read_again(
    connector: Connector, rig: Rig, server: Server[Any], client: HttpClient
) -> None:
    for stream in _readable(connector):
        before = sum(len(page.records) for page in read_all(client, stream, _ask(rig, stream)))
        server.faults.add(Fault(FaultKind.STATUS, status=503))
        server.faults.add(Fault(FaultKind.TRUNCATE))
        assert sum(len(page.records) for page in read_all(client, stream, _ask(rig, stream))) == before


@pytest.mark.parametrize("body", ["null", "[]", "{}", '"text"', "17", '{"data": null}', '{"data": []}', "[[]]"])
def test_v16_an_answer_of_another_shape_stops_the_stream(
    connector: Connector, rig: Rig, server: Server[Any], client: HttpClient, body: str
) -> None:
    for stream in _readable(connector):
        server.faults.clear()
        server.faults.add(Fault(FaultKind.REPLACE, times=3, status=200, body=body))
        with pytest.raises(VendorChanged):
            read_all(client, stream, _ask(rig, stream))


# -- "Test connection"


def test_the_probe_says_what_it_found(connector: Connector, client: HttpClient) -> None:
    probe = connector.verify(client)
    assert probe.works and probe.account_id and probe.account_name and probe.subject
    assert probe.findings
    for word, sentence in probe.findings:
        assert word in ("ok", "warning", "problem")
        assert sentence.endswith(".") and len(sentence) < 300


def test_the_probe_keeps_nothing_about_a_person_or_the_key(connector: Connector, rig: Rig, client: HttpClient) -> None:
    kept = json.dumps(dict(connector.verify(client).facts))
    assert not [text for text in (*rig.personal, *rig.credentials.values()) if text in kept]


def test_the_probed_subject_is_the_one_of_later_requests(connector: Connector, rig: Rig, client: HttpClient) -> None:
    probe = connector.verify(client)
    account = account_of(connector, rig)
    probed = Account(account.name, account.credentials, probe.facts)
    assert connector.subject(probed) == probe.subject
    assert not [secret for secret in rig.credentials.values() if secret in connector.subject(account)]


def _assert_discreet(error: SyncError, rig: Rig) -> None:
    text = f"{error!s} {error!r} {error.__cause__!r}"
    assert "jane@example.com" not in text
    assert not [secret for secret in rig.credentials.values() if secret in text]
