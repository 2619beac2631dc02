"""Customers in bulk, from our rows through the sandboxed shop and back, over HTTP; and what the sandbox promises of it."""

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from integrations.connectors.base import BulkPass, BulkRun, BulkState, WriteItem, Written
from integrations.connectors.sandbox_kit import Fault, FaultKind, Server
from integrations.connectors.shopify import bulk
from integrations.connectors.shopify.bulk_customers import BULK
from integrations.connectors.shopify.customers import prepare, read_many
from integrations.connectors.shopify.sandbox import ShopifyVendor, serve
from integrations.connectors.shopify.sandbox_call import Refusal
from integrations.core.errors import Rejected, Throttled, Unavailable, Uncertain
from integrations.core.records import Record
from integrations.core.values import Value
from integrations.toolkit import transfer
from integrations.toolkit.http import HttpClient
from tests.contract.test_shopify_sandbox import SHOP, TOKEN, ask
from tests.faults.test_wire_http import OpenGate
from tests.unit.connectors.shopify.bench import FIELDS, MARKER, MIA, REFERRER, new, patch

SET = BULK.passes[0]


@pytest.fixture
def server() -> Iterator[Server[ShopifyVendor]]:
    with serve() as running:
        running.vendor.configure(SHOP, bulk_rows_per_s=1e6)
        yield running


@pytest.fixture
def client(server: Server[ShopifyVendor]) -> Iterator[HttpClient]:
    with client_of(server) as made:
        prepare(made, MARKER)
        yield made


def client_of(server: Server[ShopifyVendor]) -> HttpClient:
    return HttpClient(
        vendor="shopify",
        account=f"{SHOP}.myshopify.com",
        tenant_id=1,
        origin=f"https://{SHOP}.myshopify.com",
        sandbox_origin=f"{server.url}/{SHOP}",
        headers={"X-Shopify-Access-Token": TOKEN},
        gate=OpenGate(),
    )


def people(count: int, **changes: Value) -> list[WriteItem]:
    return [person(number, **changes) for number in range(1, count + 1)]


def person(number: int, **changes: Value) -> WriteItem:
    contact = {"email": f"p{number}@example.com", "phone": f"+6140000{number:04}"}
    return new(str(number), **{"firstName": f"P{number}", **contact, **changes})


def put(client: HttpClient, one: BulkPass, items: Sequence[WriteItem], folder: Path) -> str:
    """Rows to a staged file; its key."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{time.monotonic_ns()}.jsonl"
    transfer.write_lines(path, (bulk.as_line(row) for item in items if (row := one.row(item, MARKER))))
    staged = BULK.stage(client, path.name)
    transfer.upload(client, staged.url, staged.parameters, path, hosts=BULK.hosts, content_type=BULK.content_type)
    return staged.key


def start(client: HttpClient, one: BulkPass, items: Sequence[WriteItem], folder: Path, name: str = "run_1") -> str:
    return BULK.start(client, one.document(FIELDS, MARKER), put(client, one, items, folder), name)


def ended(client: HttpClient, key: str) -> BulkRun:
    for _ in range(200):
        run = BULK.look(client, key)
        assert run is not None
        if run.state is not BulkState.RUNNING:
            return run
        time.sleep(0.02)
    raise AssertionError("the run does not end")


def outcomes(
    client: HttpClient, one: BulkPass, items: Sequence[WriteItem], run: BulkRun, folder: Path
) -> list[Written]:
    """Of the items that had a row, in the order of the results."""
    sent = [item for item in items if one.row(item, MARKER) is not None]
    lines = partial(iter, ())
    if run.url:
        path = folder / f"{time.monotonic_ns()}.result"
        transfer.download(client, run.url, path, hosts=BULK.hosts, expected=run.size)
        lines = partial(transfer.read_lines, path)
    return [one.outcome(sent[told.number], told, FIELDS, MARKER) for told in BULK.results(lines, len(sent))]


def do(client: HttpClient, one: BulkPass, items: Sequence[WriteItem], folder: Path) -> dict[str, Written]:
    """A pass from its rows to its outcomes."""
    run = ended(client, start(client, one, items, folder))
    return {told.ref: told for told in outcomes(client, one, items, run, folder)}


def bring(client: HttpClient, items: Sequence[WriteItem], folder: Path) -> tuple[dict[str, Record], list[str]]:
    """All passes as the shell takes them; the records at the end, and the passes that had rows."""
    records: dict[str, Record] = {}
    took: list[str] = []
    wanted = {item.ref: item.wanted for item in items}
    for one in BULK.passes:
        if all(one.row(item, MARKER) is None for item in items):
            continue
        took.append(one.name)
        for told in do(client, one, items, folder).values():
            assert told.error is None and told.record is not None, told.error
            records[told.ref] = told.record
        items = [
            patch(records[ref], wish, ref) or WriteItem(ref, {}, wish, records[ref]) for ref, wish in wanted.items()
        ]
    return records, took


def customers(server: Server[ShopifyVendor]) -> list[dict[str, object]]:
    return list(server.vendor.shop(SHOP).customers.values())


# -- there and back


@pytest.mark.parametrize("writes_marker", [True, False])
def test_customers_are_as_wished_after_the_passes(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path, writes_marker: bool
) -> None:
    """Whether ``customerSet`` keeps the custom id it was asked by is not documented: both end the same."""
    server.vendor.configure(SHOP, custom_id_writes_marker=writes_marker)
    items = people(21)
    records, took = bring(client, items, tmp_path)
    assert took == ["customers", "metafields", "email_consents", "addresses", "tags"]
    now = read_many(client, [record.key for record in records.values()], FIELDS)
    for item in items:
        there = now[records[item.ref].key]
        assert patch(there, item.wanted) is None and there.values == records[item.ref].values
        assert (there.values[MARKER], there.values[REFERRER]) == (item.ref, MIA[REFERRER])
    assert len(customers(server)) == 21


def test_rows_cost_no_points_and_are_counted(server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path) -> None:
    server.vendor.operations.clear()
    server.vendor.configure(SHOP, capacity=100.0, restore_rate=0.0)
    do(client, SET, people(60), tmp_path)
    entries = [entry for entry in server.vendor.operations if entry.rows]
    assert sum(entry.rows for entry in entries) == 60 == server.vendor.writes(SHOP)
    assert sum(entry.actual or 0 for entry in entries) == 0


def test_results_come_out_of_order_and_are_joined_by_their_number(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path
) -> None:
    items = people(20)
    run = ended(client, start(client, SET, items, tmp_path))
    told = outcomes(client, SET, items, run, tmp_path)
    assert [one.ref for one in told] != [item.ref for item in items]
    for one in told:
        assert one.record is not None and one.record.values["email"] == f"p{one.ref}@example.com"


def test_numbers_that_begin_at_one_are_understood(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path
) -> None:
    server.vendor.configure(SHOP, bulk_first_line=1)
    assert all(told.error is None for told in do(client, SET, people(9), tmp_path).values())


def test_a_refused_row_leaves_the_others_alone(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path
) -> None:
    server.vendor.shop(SHOP).create({"firstName": "Zoe", "email": "p2@example.com"})
    server.vendor.refuse_next(SHOP, Refusal("customerSet", skip=5))
    told = do(client, SET, [*people(3), person(4, firstName="x" * 300), *people(6)[4:]], tmp_path)
    codes = {ref: one.error.code if one.error else "" for ref, one in told.items()}
    assert codes["2"] == "shopify.email_taken" and codes["4"] == "shopify.name_invalid"
    assert isinstance(told["2"].error, Rejected) and told["2"].error.facts["look_again"]
    assert sorted(codes.values()) == ["", "", "", "shopify.email_taken", "shopify.name_invalid", "shopify.outage"]
    [lost] = [one.error for one in told.values() if one.error and one.error.code == "shopify.outage"]
    assert isinstance(lost, Uncertain)


def test_a_row_whose_variables_do_not_fit_is_refused_alone(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path
) -> None:
    items = people(3)
    path = tmp_path / "rows.jsonl"
    rows = [dict(SET.row(item, MARKER) or {}) for item in items]
    rows[1] = {**rows[1], "input": {"shoeSize": 9}}
    transfer.write_lines(path, map(bulk.as_line, rows))
    staged = BULK.stage(client, path.name)
    transfer.upload(client, staged.url, staged.parameters, path, hosts=BULK.hosts, content_type=BULK.content_type)
    run = ended(client, BULK.start(client, SET.document(FIELDS, MARKER), staged.key, "run_1"))
    told = {one.ref: one.error for one in outcomes(client, SET, items, run, tmp_path)}
    assert told["1"] is None and told["3"] is None
    assert isinstance(told["2"], Rejected) and told["2"].code == "shopify.values_refused"


def test_a_person_with_neither_email_nor_phone_does_not_go_in_bulk() -> None:
    assert BULK.takes(person(1), MARKER) and BULK.takes(person(1, email=None), MARKER)
    assert not BULK.takes(person(1, email=None, phone=None), MARKER)
    assert not BULK.takes(person(1, **{MARKER: None}), MARKER)


# -- when it goes wrong


@pytest.mark.parametrize("writes_marker", [True, False])
def test_a_run_that_dies_midway_tells_what_it_did_and_may_be_sent_again(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path, writes_marker: bool
) -> None:
    server.vendor.configure(SHOP, bulk_fail_after=11, custom_id_writes_marker=writes_marker)
    items = people(20)
    run = ended(client, start(client, SET, items, tmp_path))
    assert (run.state, run.error_code) == (BulkState.FAILED, "INTERNAL_SERVER_ERROR")
    told = outcomes(client, SET, items, run, tmp_path)
    assert sum(one.error is None for one in told) == 11 == len(customers(server))
    assert {one.error.code for one in told if one.error} == {"shopify.row_lost"}
    assert all(isinstance(one.error, Uncertain) for one in told[11:])
    again = do(client, SET, items, tmp_path)
    assert len(customers(server)) == 20
    refused = [one.error.code for one in again.values() if one.error]
    assert refused == ([] if writes_marker else ["shopify.email_taken"] * 11)


def test_a_start_whose_answer_is_lost_is_found_by_its_identifier(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path
) -> None:
    now, items = datetime.now(UTC), people(2)
    start(client, SET, people(4)[2:], tmp_path, "run_other")
    key = put(client, SET, items, tmp_path)
    assert BULK.find_started(client, "run_7", now) is None
    server.faults.add(Fault(FaultKind.DROP_AFTER, contains="bulkOperationRunMutation"))
    with pytest.raises(Uncertain):
        BULK.start(client, SET.document(FIELDS, MARKER), key, "run_7")
    found = BULK.find_started(client, "run_7", now)
    assert found is not None
    run = ended(client, found.key)
    assert {one.ref for one in outcomes(client, SET, items, run, tmp_path)} == {"1", "2"}
    assert BULK.find_started(client, "run_", now) is None
    assert BULK.find_started(client, "run_7", now + timedelta(hours=1)) is None


@pytest.mark.parametrize(("at_once", "word"), [(5, "LIMIT_REACHED"), (1, "OPERATION_IN_PROGRESS")])
def test_more_runs_than_go_at_once_wait(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path, at_once: int, word: str
) -> None:
    server.vendor.configure(SHOP, bulk_rows_per_s=0.0, bulk_at_once=at_once)
    for number in range(at_once):
        start(client, SET, [person(number + 1)], tmp_path, f"run_{number}")
    with pytest.raises(Throttled) as caught:
        start(client, SET, [person(9)], tmp_path, "run_9")
    assert (caught.value.code, caught.value.facts["vendor_code"]) == ("shopify.bulk_full", word)
    assert timedelta(0) < caught.value.retry_at - datetime.now(UTC) <= timedelta(minutes=2)


def test_a_run_can_be_stopped_and_keeps_what_it_did(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path
) -> None:
    server.vendor.configure(SHOP, bulk_rows_per_s=10.0)
    server.clock.set_speed(0.000001)
    items = people(20)
    key = start(client, SET, items, tmp_path)
    server.clock.advance(1.01)
    run = BULK.look(client, key)
    assert run is not None and (run.state, run.rows, run.url) == (BulkState.RUNNING, 10, "")
    BULK.cancel(client, key)
    run = ended(client, key)
    assert run.state is BulkState.CANCELLED
    told = outcomes(client, SET, items, run, tmp_path)
    assert [one.error is None for one in told] == [True] * 10 + [False] * 10
    BULK.cancel(client, key)  # twice is no error


def test_a_file_that_is_not_there_is_staged_anew(client: HttpClient, tmp_path: Path) -> None:
    staged = BULK.stage(client, "rows.jsonl")
    with pytest.raises(Unavailable) as caught:
        BULK.start(client, SET.document(FIELDS, MARKER), staged.key, "run_1")
    assert caught.value.code == "shopify.bulk_file_refused"


def test_no_rows_end_well_without_a_file(client: HttpClient, tmp_path: Path) -> None:
    run = ended(client, start(client, SET, [], tmp_path))
    assert (run.state, run.url) == (BulkState.COMPLETED, "")


def test_results_live_a_week(server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path) -> None:
    key = start(client, SET, people(1), tmp_path)
    url = ended(client, key).url
    server.clock.advance(7 * 86_400 + 60)
    run = BULK.look(client, key)
    assert run is not None and (run.state, run.url) == (BulkState.EXPIRED, "")
    with pytest.raises(Unavailable) as caught:
        transfer.download(client, url, tmp_path / "late", hosts=BULK.hosts)
    assert caught.value.code == "http.file_gone"


def test_a_run_nobody_knows_is_none(client: HttpClient) -> None:
    assert BULK.look(client, "gid://shopify/BulkOperation/1") is None


# -- what the sandbox promises


def test_a_run_goes_at_the_speed_of_the_shops_clock_and_outlives_the_server(tmp_path: Path) -> None:
    with serve(state_dir=tmp_path / "state") as server, client_of(server) as client:
        server.clock.set_speed(0.000001)
        prepare(client, MARKER)
        key = start(client, SET, people(1100), tmp_path)
        run = BULK.look(client, key)
        assert run is not None and run.state is BulkState.RUNNING and not run.rows
        server.clock.advance(1.01)
        while (run := BULK.look(client, key)) and (run.rows or 0) < 505:
            time.sleep(0.02)
        assert run is not None and run.rows == 505
    with serve(state_dir=tmp_path / "state") as server, client_of(server) as client:
        server.clock.advance(3)
        assert ended(client, key).rows == 1100 == len(customers(server))


DOCUMENTS = [
    "query { shop { name } }",
    "mutation { nothingLikeIt { id } }",
    "mutation (",
    "mutation ($i: CustomerSetInput!) { a: customerSet(input: $i) { customer { id } } b: customerSet(input: $i) { customer { id } } }",
    'mutation { bulkOperationCancel(id: "gid://shopify/BulkOperation/1") { userErrors { message } } }',
    "mutation ($i: CustomerSetInput!) { customerSet(input: $i) { customer { a: addressesV2(first: 1) { nodes { id } } b: metafields(first: 1) { nodes { id } } } } }",
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_bulk_document_holds_one_mutation_with_one_connection_at_most(
    server: Server[ShopifyVendor], client: HttpClient, tmp_path: Path, document: str
) -> None:
    key = put(client, SET, people(1), tmp_path)
    told = ask(server, bulk.START, mutation=document, stagedUploadPath=key).data["bulkOperationRunMutation"]
    assert told["bulkOperation"] is None and told["userErrors"][0]["code"] == "INVALID_MUTATION"


Parts = list[tuple[str, str]]


def post_form(server: Server[ShopifyVendor], url: str, parts: Parts, headers: dict[str, str] | None = None) -> int:
    """The status of an upload with these parts."""
    body = "".join(f'--XX\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in parts)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        kind = {"Content-Type": "multipart/form-data; boundary=XX"}
        connection.request("POST", url.partition(str(server.port))[2], f"{body}--XX--\r\n", kind | (headers or {}))
        return connection.getresponse().status
    finally:
        connection.close()


def test_an_upload_needs_every_parameter_in_order_the_file_last_and_no_token(
    server: Server[ShopifyVendor], client: HttpClient
) -> None:
    staged = BULK.stage(client, "rows.jsonl")
    given, file = list(staged.parameters), ("file", "{}\n")
    assert post_form(server, staged.url, [*given[::-1], file]) == 403
    assert post_form(server, staged.url, [*given[1:], file]) == 403
    assert post_form(server, staged.url, [file, *given]) == 400
    assert post_form(server, staged.url, given) == 400
    assert post_form(server, staged.url, [*given, file], {"X-Shopify-Access-Token": TOKEN}) == 400
    assert post_form(server, staged.url, [*given, file]) == 201
    server.clock.advance(3601)
    assert post_form(server, staged.url, [*given, file]) == 403


def test_an_upload_holds_a_hundred_megabytes(
    server: Server[ShopifyVendor], client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("integrations.connectors.shopify.sandbox_bulk.MOST_BYTES", 1000)
    staged = BULK.stage(client, "rows.jsonl")
    assert post_form(server, staged.url, [*staged.parameters, ("file", "x" * 1001)]) == 400
    assert post_form(server, staged.url, [*staged.parameters, ("file", "x" * 1000)]) == 201


def test_what_is_no_line_of_json_is_no_file(server: Server[ShopifyVendor], client: HttpClient) -> None:
    staged = BULK.stage(client, "rows.jsonl")
    post_form(server, staged.url, [*staged.parameters, ("file", "{}\n[1]\n")])
    document = SET.document(FIELDS, MARKER)
    told = ask(server, bulk.START, mutation=document, stagedUploadPath=staged.key).data["bulkOperationRunMutation"]
    assert told["userErrors"][0]["code"] == "INVALID_STAGED_UPLOAD_FILE"


def test_customer_set_makes_or_changes_by_its_identifier(server: Server[ShopifyVendor], client: HttpClient) -> None:
    document = SET.document(frozenset({"email", "firstName"}), MARKER)

    def put_in(identifier: object, **given: object) -> dict[str, object]:
        return dict(ask(server, document, identifier=identifier, input=given).data["customerSet"])

    namespace, key = MARKER.split(".")[1:]
    mine = {"customId": {"namespace": namespace, "key": key, "value": "7"}}
    made = put_in(mine, firstName="Mia", email="mia@example.com")["customer"]
    again = put_in(mine, firstName="Maia")["customer"]
    assert isinstance(made, dict) and isinstance(again, dict)
    assert again["id"] == made["id"] and again["firstName"] == "Maia" and again["defaultEmailAddress"]
    for identifier, given, code in (
        ({"id": "gid://shopify/Customer/1"}, {"firstName": "A"}, "NOT_FOUND"),
        ({"email": "a@example.com"}, {"firstName": "A"}, "MISSING_FIELD_REQUIRED"),
        ({"email": "a@example.com"}, {"email": "b@example.com"}, "INPUT_MISMATCH"),
        (None, {"email": "mia@example.com"}, "TAKEN"),
    ):
        refused = put_in(identifier, **given)
        assert refused["customer"] is None and refused["userErrors"][0]["code"] == code  # type: ignore[index]
    assert len(customers(server)) == 1


def test_metafields_are_set_all_or_nothing_several_of_one_owner(
    server: Server[ShopifyVendor], client: HttpClient
) -> None:
    gid = ask(server, 'mutation { customerCreate(input: {firstName: "A"}) { customer { id } } }').data["customerCreate"]
    owner = {"ownerId": gid["customer"]["id"], "namespace": "clinic", "type": "single_line_text_field"}
    document = BULK.passes[1].document(FIELDS, MARKER)
    good = [{**owner, "key": "one", "value": "1"}, {**owner, "key": "two", "value": "2"}]
    refused = ask(server, document, metafields=[*good, {**owner, "key": "three", "value": "a\nb"}]).data[
        "metafieldsSet"
    ]
    assert refused["userErrors"][0]["elementIndex"] == 2 and customers(server)[0]["metafields"] == {}
    told = ask(server, document, metafields=good).data["metafieldsSet"]
    assert [entry["value"] for entry in told["metafields"]] == ["1", "2"]
    assert json.dumps(customers(server)[0]["metafields"]).count('"clinic.') == 2
