"""Rows for bulk runs and what their results mean, line by line."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from graphql import NoDeprecatedCustomRule, build_schema, parse, specified_rules, validate

from integrations.connectors.base import BulkPass, BulkResult, BulkState, WriteItem, Written
from integrations.connectors.shopify import bulk
from integrations.connectors.shopify.bulk_customers import BULK
from integrations.core.errors import (
    AccountError,
    Rejected,
    SyncError,
    Throttled,
    Unavailable,
    Uncertain,
    VendorChanged,
)
from integrations.core.records import Record
from integrations.core.values import Value
from tests.contract.desk import folder_of
from tests.unit.connectors.shopify.bench import FIELDS, MARKER, MIA, REFERRER, Direct, new

PASSES: Mapping[str, BulkPass] = {one.name: one for one in BULK.passes}
SET, METAFIELDS = PASSES["customers"], PASSES["metafields"]
GID = "gid://shopify/Customer/7"


def there(left: Mapping[str, Value], handles: Mapping[str, str] | None = None) -> WriteItem:
    """Mia as a customer with so much left to write."""
    return WriteItem("17", left, {**MIA, **left}, Record("7", "", {"email": "x", "phone": "x"}, handles=handles or {}))


# -- rows


def test_every_document_fits_the_schema_and_uses_nothing_deprecated() -> None:
    schema = build_schema((folder_of("shopify") / "schema.graphql").read_text("utf-8"))
    texts = [one.document(FIELDS, MARKER) for one in BULK.passes]
    for text in (*texts, bulk.STAGE, bulk.START, bulk.LOOK, bulk.FIND, bulk.CANCEL):
        assert validate(schema, parse(text), [*specified_rules, NoDeprecatedCustomRule]) == [], text
    assert all("fragment" not in text and text.count("mutation") == 1 for text in texts)


def test_a_customer_is_set_by_its_marker_and_without_any_list() -> None:
    assert SET.row(new(), MARKER) == {
        "identifier": {"customId": {"namespace": "suture", "key": "cliniko_patient_id", "value": "17"}},
        "input": {"firstName": "Mia", "lastName": "Chen", "email": "mia@example.com", "phone": "+61400000001"},
    }
    assert SET.row(there({"firstName": "Mia"}), MARKER) is None


def test_the_marker_goes_again_with_the_metafields_first_and_without_a_type() -> None:
    row = METAFIELDS.row(there({REFERRER: "Dr Reid"}), MARKER)
    assert row == {
        "metafields": [
            {"ownerId": GID, "namespace": "suture", "key": "cliniko_patient_id", "value": "17"},
            {
                "ownerId": GID,
                "namespace": "clinic",
                "key": "referrer",
                "value": "Dr Reid",
                "type": "single_line_text_field",
            },
        ]
    }
    many = {f"metafields.clinic.f{number:02}": "x" for number in range(40)}
    assert len((METAFIELDS.row(there(many), MARKER) or {})["metafields"]) == 25  # type: ignore[arg-type]
    assert METAFIELDS.row(new(), MARKER) is None


def test_consents_and_tags_say_only_what_is_left() -> None:
    left = there({"emailMarketing": True, "smsMarketing": False, "tag.patient": True, "tag.old": None})
    email, sms, tags = (PASSES[name].row(left, MARKER) for name in ("email_consents", "sms_consents", "tags"))
    yes = {"marketingState": "SUBSCRIBED", "marketingOptInLevel": "SINGLE_OPT_IN"}
    assert email == {"input": {"customerId": GID, "emailMarketingConsent": yes}}
    assert sms == {"input": {"customerId": GID, "smsMarketingConsent": {"marketingState": "UNSUBSCRIBED"}}}
    assert tags == {"id": GID, "tags": ["patient"]}
    nothing = there({})
    assert [PASSES[name].row(nothing, MARKER) for name in ("email_consents", "sms_consents", "tags")] == [None] * 3
    assert PASSES["tags"].row(there({"tag.old": None}), MARKER) is None, "taking away is left to the ordinary way"


def test_an_address_goes_whole_and_only_where_there_is_none() -> None:
    left = {"address.city": "Geelong"}
    row: Any = PASSES["addresses"].row(there(left), MARKER)
    assert row["identifier"] == {"id": GID} and list(row["input"]) == ["addresses"]
    [address] = row["input"]["addresses"]
    assert (address["address1"], address["city"], address["countryCode"]) == ("12 Wattle Street", "Geelong", "AU")
    assert PASSES["addresses"].row(there(left, {"address_id": "9"}), MARKER) is None
    assert PASSES["addresses"].row(there({"firstName": "Mia"}), MARKER) is None
    with pytest.raises(Rejected):
        PASSES["addresses"].row(there({"address.countryCode": "Atlantis"}), MARKER)


def test_a_row_is_one_line_of_json() -> None:
    line = bulk.as_line({"input": {"firstName": "Zoë\n“Z”\u2028"}})
    assert "\n" not in line and json.loads(line) == {"input": {"firstName": "Zoë\n“Z”\u2028"}}


# -- lines


def lines(*numbers: int, **more: object) -> list[bytes]:
    return [json.dumps({"data": {"n": number}, **more, "__lineNumber": number}).encode() for number in numbers]


def joined(found: list[bytes], rows: int) -> list[tuple[int, object]]:
    told = bulk.results(partial(iter, found), rows)
    return [(one.number, one.answer["data"]["n"] if one.answer else None) for one in told]  # type: ignore[index]


def test_results_are_joined_by_number_and_those_without_a_line_come_last() -> None:
    assert joined(lines(2, 0), 4) == [(2, 2), (0, 0), (1, None), (3, None)]
    assert joined([], 2) == [(0, None), (1, None)]
    assert joined(lines(3, 1, 2), 3) == [(2, 3), (0, 1), (1, 2)], "numbers from one"
    assert joined(lines(1, 2), 3) == [(1, 1), (2, 2), (0, None)], "numbers from nought, the first is missing"


def test_lines_that_say_nothing_count_for_nothing() -> None:
    hostile = [
        *lines(0), *lines(0, data={"n": "again"}), *lines(9), b"no json", b"[]", b"null",
        b'{"data":{"n":1}}', b'{"id":"gid://shopify/ProductVariant/1","__parentId":"x"}',
        b'{"data":{"n":1},"__lineNumber":-1}', b'{"data":{"n":1},"__lineNumber":1', b"\xff\xfe",
    ]  # fmt: skip
    assert joined(hostile, 2) == [(0, 0), (1, None)]


def test_a_number_inside_the_data_is_not_the_lines() -> None:
    value = json.dumps({"data": {"n": 0, "note": '"__lineNumber":5}', "__lineNumber": 7}, "__lineNumber": 1}).encode()
    assert joined([value, *lines(0)], 2) == [(1, 0), (0, 0)]
    assert joined([b'{"__lineNumber": "1", "data": {"n": 4}}', *lines(0)], 2) == [(1, 4), (0, 0)]


# -- outcomes


def customer(**changes: object) -> dict[str, object]:
    """Mia as a row's answer shows her."""
    return {
        "id": GID, "updatedAt": "2026-10-01T00:00:00Z", "createdAt": "2026-10-01T00:00:00Z", "tags": [],
        "firstName": "Mia", "lastName": "Chen", "defaultAddress": None, "f0": None, "f1": None,
        "defaultEmailAddress": {"emailAddress": "mia@example.com", "marketingState": "NOT_SUBSCRIBED"},
        "defaultPhoneNumber": None, **changes,
    }  # fmt: skip


def outcome(answer: dict[str, object] | None, one: BulkPass = SET, item: WriteItem | None = None) -> Written:
    return one.outcome(item or new(), BulkResult(0, answer), FIELDS, MARKER)


def set_answer(shown: object, *errors: object) -> dict[str, object]:
    return {"data": {"customerSet": {"customer": shown, "userErrors": list(errors)}}}


def error_of(written: Written) -> SyncError:
    assert written.record is None and written.error is not None
    assert "Mia" not in repr(written.error) + str(written.error.facts)
    return written.error


def test_a_row_that_went_well_answers_the_customer() -> None:
    told = outcome(set_answer(customer()))
    assert told.ref == "17" and told.error is None and told.record is not None
    assert told.record.key == "7" and told.record.values["email"] == "mia@example.com"


def denied(code: str, message: str = "Mia") -> dict[str, object]:
    return {"message": message, "extensions": {"code": code}}


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (None, Uncertain, "shopify.row_lost"),
        ({}, Uncertain, "shopify.shape"),
        ({"errors": "Internal error"}, Uncertain, "shopify.shape"),
        ({"data": None}, Uncertain, "shopify.shape"),
        (set_answer(None), Uncertain, "shopify.shape"),
        ({"errors": [denied("INTERNAL_SERVER_ERROR")]}, Uncertain, "shopify.outage"),
        ({"errors": [denied("TIMEOUT")], "data": {"customerSet": None}}, Uncertain, "shopify.outage"),
        ({"errors": [denied("ACCESS_DENIED")]}, AccountError, "shopify.scope_missing"),
        ({"errors": [denied("THROTTLED")]}, Throttled, "shopify.throttled"),
        ({"errors": [{"message": "Throttled"}]}, Throttled, "shopify.throttled"),
        ({"errors": [denied("INVALID_VARIABLE")]}, Rejected, "shopify.values_refused"),
        ({"errors": [{"message": "Variable $input of type X! was provided invalid value for Mia"}]}, Rejected, "shopify.values_refused"),
        (set_answer(None, {"field": ["input", "email"], "message": "Mia", "code": "TAKEN"}), Rejected, "shopify.email_taken"),
        (set_answer(None, {"field": ["input", "phone"], "message": "Phone has already been taken"}), Rejected, "shopify.phone_taken"),
        (set_answer(None, {"field": ["identifier", "customId"], "message": "Mia", "code": "TAKEN"}), Rejected, "shopify.marker_taken"),
        (set_answer(None, {"field": ["input", "id"], "message": "Mia", "code": "NOT_FOUND"}), Rejected, "shopify.customer_gone"),
        (set_answer(None, {"field": ["input", "addresses", "0", "phone"], "message": "Mia"}), Rejected, "shopify.address_invalid"),
        (set_answer(None, {"field": None, "message": "Mia", "code": "BLANK"}), Rejected, "shopify.values_refused"),
    ],
)  # fmt: skip
def test_each_way_to_fail_is_told_apart(answer: dict[str, object] | None, kind: type[SyncError], code: str) -> None:
    error = error_of(outcome(answer))
    assert type(error) is kind and error.code == code


def test_what_is_withheld_is_absent_from_the_customer() -> None:
    path = ["customerSet", "customer", "firstName"]
    told = outcome({**set_answer(customer(firstName=None)), "errors": [{**denied("ACCESS_DENIED"), "path": path}]})
    assert told.record is not None and "firstName" not in told.record.values


@pytest.mark.parametrize(
    "shown",
    [
        customer(defaultEmailAddress={"emailAddress": "leo@example.com", "marketingState": "INVALID"}),
        customer(f1={"value": "18"}),
    ],
)
def test_a_line_that_speaks_of_somebody_else_is_not_believed(shown: dict[str, object]) -> None:
    error = error_of(outcome(set_answer(shown)))
    assert isinstance(error, Uncertain) and error.code == "shopify.row_mismatch"


def test_the_marker_decides_even_where_a_contact_was_changed() -> None:
    shown = customer(f1={"value": "17"}, defaultEmailAddress=None)
    assert outcome(set_answer(shown)).error is None


def test_later_passes_know_their_customer_by_its_key() -> None:
    item = there({"tag.patient": True})
    answer = {"data": {"tagsAdd": {"node": customer(tags=["patient"]), "userErrors": []}}}
    told = outcome(answer, PASSES["tags"], item)
    assert told.record is not None and told.record.values["tag.patient"] is True
    other = replace(item, current=Record("8", "", {}))
    assert error_of(outcome(answer, PASSES["tags"], other)).code == "shopify.row_mismatch"


@pytest.mark.parametrize(
    "entries", [[], [{"id": "1"}], [{"namespace": "suture", "key": "cliniko_patient_id", "value": "17"}]]
)
def test_metafields_that_went_well_are_laid_over_the_customer(entries: list[object]) -> None:
    answer = {"data": {"metafieldsSet": {"metafields": entries, "userErrors": []}}}
    told = outcome(answer, METAFIELDS, there({REFERRER: "Dr Reid"}))
    assert told.record is not None
    assert (told.record.key, told.record.values[MARKER], told.record.values[REFERRER]) == ("7", "17", "Dr Reid")


def test_metafields_of_somebody_else_or_refused_are_errors() -> None:
    entry = {"namespace": "suture", "key": "cliniko_patient_id", "value": "18"}
    answer: dict[str, object] = {"data": {"metafieldsSet": {"metafields": [entry], "userErrors": []}}}
    assert error_of(outcome(answer, METAFIELDS, there({}))).code == "shopify.row_mismatch"
    refused = {"field": ["metafields", "0", "ownerId"], "message": "Owner does not exist", "code": "INVALID"}
    answer = {"data": {"metafieldsSet": {"metafields": None, "userErrors": [refused]}}}
    assert error_of(outcome(answer, METAFIELDS, there({}))).code == "shopify.customer_gone"


# -- runs


def started(*errors: object, run: object = None) -> dict[str, Any]:
    return {"data": {"bulkOperationRunMutation": {"bulkOperation": run, "userErrors": list(errors)}}}


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (started({"field": None, "message": "x", "code": "LIMIT_REACHED"}), Throttled, "shopify.bulk_full"),
        (started({"field": None, "message": "x", "code": "OPERATION_IN_PROGRESS"}), Throttled, "shopify.bulk_full"),
        (started({"message": "A bulk mutation operation is already in progress"}), Throttled, "shopify.bulk_full"),
        (started({"message": "x", "code": "NO_SUCH_FILE"}), Unavailable, "shopify.bulk_file_refused"),
        (started({"message": "x", "code": "INTERNAL_FILE_SERVER_ERROR"}), Unavailable, "shopify.bulk_file_refused"),
        (started({"message": "x", "code": "INVALID_MUTATION"}), VendorChanged, "shopify.bulk_refused"),
        (started({"message": "x", "code": "SOMETHING_NEW"}), VendorChanged, "shopify.bulk_refused"),
        (started(), Uncertain, "shopify.shape"),
        ({"data": {"bulkOperationRunMutation": None}}, Uncertain, "shopify.shape"),
    ],
)
def test_each_way_not_to_start_is_told_apart(answer: dict[str, Any], kind: type[SyncError], code: str) -> None:
    client = Direct()
    client.script = [answer]
    with pytest.raises(SyncError) as caught:
        BULK.start(client, SET.document(FIELDS, MARKER), "tmp/1", "run_1")
    assert type(caught.value) is kind and caught.value.code == code


def test_the_identifier_goes_along_in_the_mutations_name() -> None:
    client = Direct()
    client.script = [started(run={"id": "gid://shopify/BulkOperation/1", "status": "CREATED"})]
    assert BULK.start(client, SET.document(FIELDS, MARKER), "tmp/1", "run_1") == "gid://shopify/BulkOperation/1"
    sent = client.sent[-1]["variables"]
    assert sent["mutation"].startswith("mutation BulkCustomerSet_run_1($identifier: ")
    assert (sent["clientIdentifier"], sent["stagedUploadPath"]) == ("run_1", "tmp/1")
    with pytest.raises(ValueError):
        BULK.start(client, SET.document(FIELDS, MARKER), "tmp/1", "run 1) {")


def looked(**told: object) -> Any:
    client = Direct()
    whole = {"id": "gid://shopify/BulkOperation/1", "status": "RUNNING", **told}
    client.script = [{"data": {"bulkOperation": whole}}]
    return BULK.look(client, "gid://shopify/BulkOperation/1")


@pytest.mark.parametrize("status", ["CREATED", "RUNNING", "CANCELING", "SOMETHING_NEW"])
def test_a_status_we_do_not_know_has_not_ended(status: str) -> None:
    run = looked(status=status, rootObjectCount="12", partialDataUrl="https://storage.example/x")
    assert (run.state, run.rows, run.url) == (BulkState.RUNNING, 12, "")


def test_a_run_tells_its_file_and_keeps_the_link_to_itself() -> None:
    whole = looked(status="COMPLETED", url="https://a.example/s3cret", fileSize="99", objectCount=4)
    assert (whole.state, whole.url, whole.size, whole.rows) == (BulkState.COMPLETED, "https://a.example/s3cret", 99, 4)
    assert "s3cret" not in repr(whole)
    part = looked(status="FAILED", errorCode="TIMEOUT", url=None, partialDataUrl="https://a.example/p")
    assert (part.state, part.error_code, part.url) == (BulkState.FAILED, "TIMEOUT", "https://a.example/p")
    assert looked(status="COMPLETED", url=None).url == ""


def staged(parameters: list[tuple[str, str]]) -> dict[str, Any]:
    told = [{"name": name, "value": value} for name, value in parameters]
    target = {"url": "https://a.storage.googleapis.com/", "resourceUrl": None, "parameters": told}
    return {"data": {"stagedUploadsCreate": {"stagedTargets": [target], "userErrors": []}}}


def test_a_staged_target_keeps_the_order_and_needs_a_key() -> None:
    client = Direct()
    client.script = [staged([("policy", "p"), ("key", "tmp/1"), ("acl", "a")])]
    found = BULK.stage(client, "rows.jsonl")
    assert found.parameters == (("policy", "p"), ("key", "tmp/1"), ("acl", "a")) and found.key == "tmp/1"
    assert client.sent[-1]["variables"]["input"] == [
        {
            "resource": "BULK_MUTATION_VARIABLES",
            "filename": "rows.jsonl",
            "mimeType": "text/jsonl",
            "httpMethod": "POST",
        }
    ]
    client.script = [staged([("policy", "p")])]
    with pytest.raises(VendorChanged):
        BULK.stage(client, "rows.jsonl")


def test_the_search_for_a_started_run_goes_through_every_page_and_ends() -> None:
    def page(text: str, cursor: str | None) -> dict[str, Any]:
        node = {"id": f"gid://shopify/BulkOperation/{len(text)}", "status": "RUNNING", "query": text}
        info = {"hasNextPage": cursor is not None, "endCursor": cursor}
        return {"data": {"bulkOperations": {"nodes": [node], "pageInfo": info}}}

    client, since = Direct(), datetime(2026, 10, 1, 12, tzinfo=UTC)
    client.script = [page("mutation A_run_12 { x }", "a"), page("mutation  A_run_1($i: X) { x }", None)]
    found = BULK.find_started(client, "run_1", since)
    assert found is not None and found.key.endswith("/30") and client.sent[-1]["variables"]["after"] == "a"
    assert client.sent[-1]["variables"]["query"] == "operation_type:mutation created_at:>='2026-10-01T11:50:00Z'"
    client.script = [page("{ shop }", "a"), page("{ shop }", "a")]
    with pytest.raises(VendorChanged):
        BULK.find_started(client, "run_1", since)
