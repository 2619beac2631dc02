"""Customers are written in converging steps, ten at a time, each with its own outcome."""

from datetime import UTC, datetime
from typing import Any

import pytest

from integrations.connectors.base import Wanted, WriteItem
from integrations.connectors.shopify.sandbox_call import Refusal
from integrations.core.errors import (
    AccountError,
    Rejected,
    SyncError,
    Throttled,
    Unavailable,
    Uncertain,
    VendorChanged,
)
from integrations.core.values import Value
from tests.unit.connectors.shopify.bench import (
    FIELDS,
    MARKER,
    MIA,
    REFERRER,
    SHOP,
    bring,
    look,
    made,
    new,
    patch,
    read,
    ready,
    write,
)


def test_a_new_customer_is_one_create_and_one_address() -> None:
    client = ready()
    record, steps = bring(client, new())
    assert steps == ["customerCreate", "customerAddressCreate"]
    assert record.values[MARKER] == "17" and record.values["emailMarketing"] is True and record.values["tag.patient"]
    assert record.values["address.city"] == "Geelong" and record.values["address.firstName"] == "Mia"
    assert patch(record, MIA) is None
    again = read(client, record.key)
    assert again is not None and dict(again.values) == dict(record.values) and again.handles == record.handles


def test_v09_the_create_carries_marker_consent_and_tags_in_one_call() -> None:
    client = ready()
    write(client, new())
    given = client.sent[-1]["variables"]["i0"]
    assert given["metafields"][0] == {"namespace": "suture", "key": "cliniko_patient_id", "value": "17"}
    assert given["metafields"][1]["type"] == "single_line_text_field"
    assert given["emailMarketingConsent"] == {"marketingState": "SUBSCRIBED", "marketingOptInLevel": "SINGLE_OPT_IN"}
    assert "smsMarketingConsent" not in given and given["tags"] == ["patient"] and "addresses" not in given


def test_c16_one_changed_field_is_the_only_one_sent() -> None:
    client = ready()
    record = made(client)
    changed, steps = bring(client, new_wish(record, email="mia.chen@example.com"))
    assert steps == ["customerUpdate"]
    assert client.sent[-1]["variables"]["i0"] == {
        "id": f"gid://shopify/Customer/{record.key}",
        "email": "mia.chen@example.com",
    }
    assert changed.values["email"] == "mia.chen@example.com"


def new_wish(record: Any, **changes: Value) -> WriteItem:
    item = patch(record, {**MIA, **changes})
    assert item is not None
    return item


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"firstName": "Mila", REFERRER: "Dr Okafor"}, ["customerUpdate"]),
        ({REFERRER: None}, ["metafieldsDelete"]),
        ({"emailMarketing": False}, ["customerEmailMarketingConsentUpdate"]),
        ({"smsMarketing": True}, ["customerSmsMarketingConsentUpdate"]),
        ({"address.city": "Ballarat", "address.zip": "3350"}, ["customerAddressUpdate"]),
        ({"address.address1": None}, ["customerAddressUpdate"]),
        ({"tag.archived": True, "tag.patient": None}, ["tagsAdd", "tagsRemove"]),
        ({"phone": None}, ["customerUpdate"]),
        (
            {"lastName": "Venn", "smsMarketing": True, "address.city": "Ballarat", "tag.archived": True},
            ["customerUpdate", "customerSmsMarketingConsentUpdate", "customerAddressUpdate", "tagsAdd"],
        ),
    ],
)
def test_each_change_takes_its_own_step_and_no_other(changes: dict[str, Value], steps: list[str]) -> None:
    client = ready()
    record = made(client)
    end, taken = bring(client, new_wish(record, **changes))
    assert taken == steps
    there = read(client, record.key)
    assert there is not None and {name: there.values[name] for name in changes} == {
        name: end.values[name] for name in changes
    }


def test_the_merchants_own_tags_and_fields_stay() -> None:
    client = ready()
    record = made(client)
    client.shop.update(f"gid://shopify/Customer/{record.key}", {"tags": ["VIP", "patient"], "note": "likes tea"})
    bring(client, new_wish(read(client, record.key), firstName="Mila", **{"tag.archived": True}))
    row = client.shop.customers[int(record.key)]
    assert row["tags"] == ["VIP", "patient", "archived"] and row["note"] == "likes tea"


def test_consent_is_never_written_without_an_address_to_carry_it() -> None:
    client = ready()
    record, steps = bring(client, new(email=None, phone=None, smsMarketing=True))
    assert "emailMarketing" not in record.values and "smsMarketing" not in record.values
    assert steps == ["customerCreate", "customerAddressCreate"]
    changed, steps = bring(client, new_wish(record, smsMarketing=True))
    assert steps == ["customerUpdate", "customerEmailMarketingConsentUpdate", "customerSmsMarketingConsentUpdate"]
    assert changed.values["emailMarketing"] is True and changed.values["smsMarketing"] is True


def test_a_no_that_was_never_asked_for_writes_nothing() -> None:
    client = ready()
    record = made(client, emailMarketing=False)
    assert record.values["emailMarketing"] is None
    assert patch(record, {**MIA, "emailMarketing": False}) is None


def test_name_and_country_alone_make_no_address() -> None:
    client = ready()
    place = {name: None for name in MIA if name.startswith("address.")}
    _, steps = bring(client, new(**{**place, "address.firstName": "Mia", "address.countryCode": "AU"}))
    assert steps == ["customerCreate"]


def test_ten_items_go_in_one_request_with_an_outcome_each() -> None:
    client = ready()
    people = [new(str(n), email=f"m{n}@example.com", phone=f"+6140000{n:04}") for n in range(10)]
    people[3] = new("3", email="m1@example.com", phone=None)
    people[5] = new("5", email="m5@example.com", phone="+61")
    before = len(client.sent)
    outcomes = write(client, *people)
    assert len(client.sent) == before + 1
    assert [outcome.ref for outcome in outcomes] == [str(n) for n in range(10)]
    assert {outcome.ref: code_of(outcome.error) for outcome in outcomes if outcome.error} == {
        "3": "shopify.email_taken",
        "5": "shopify.phone_invalid",
    }
    assert all(outcome.request_id for outcome in outcomes)


def code_of(error: SyncError | None) -> str:
    assert isinstance(error, Rejected)
    return error.code


def test_large_batches_stay_below_a_thousand_points() -> None:
    client = ready()
    people = [new(str(n), email=f"m{n}@example.com", phone=None) for n in range(100)]
    assert all(outcome.record for outcome in write(client, *people))
    asked = [operation.requested for operation in client.sandbox.operations if "customerCreate" in operation.roots]
    assert len(asked) > 1 and max(asked) <= 1000


def test_the_guess_is_what_shopify_asks_for() -> None:
    client = ready()
    made(client)
    bring(client, new_wish(look(client, Wanted("17", "17", {}))["17"].by_marker[0], firstName="Mila"))
    for asked, operation in zip(client.gate.asked, client.sandbox.operations, strict=True):
        assert operation.requested <= asked <= operation.requested * 1.5 + 3, operation


def test_the_budget_learns_from_every_answer() -> None:
    client = ready()
    made(client)
    assert client.gate.told[-1]["available"] is not None and client.gate.told[-1]["restore_rate"] == 1e8
    assert len(client.gate.told) == len(client.gate.asked)


# -- what goes wrong


@pytest.mark.parametrize("lost", [Uncertain("http.broken"), Unavailable("http.connect")])
def test_v09_a_lost_answer_is_every_items_outcome_and_the_customer_is_found_again(lost: SyncError) -> None:
    client = ready()
    client.lose = lost
    outcomes = write(client, new("1"), new("2", email="leo@example.com", phone=None))
    assert [outcome.error for outcome in outcomes] == [lost, lost]
    found = look(client, Wanted("1", "1", {}), Wanted("2", "2", {}), Wanted("3", "3", {}))
    assert [len(found[ref].by_marker) for ref in "123"] == [1, 1, 0]


def test_v09_a_second_create_with_the_same_marker_is_refused_by_the_shop() -> None:
    client = ready()
    made(client)
    [outcome] = write(client, new("17", email="other@example.com", phone=None))
    assert code_of(outcome.error) == "shopify.marker_taken" and outcome.error and outcome.error.facts["look_again"]


def test_being_throttled_ran_nothing_and_says_until_when() -> None:
    client = ready()
    cost = {
        "requestedQueryCost": 18,
        "throttleStatus": {"maximumAvailable": 2000, "currentlyAvailable": 3, "restoreRate": 5},
    }
    client.script = [
        {"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}], "extensions": {"cost": cost}}
    ]
    with pytest.raises(Throttled) as caught:
        write(client, new())
    assert 2 < (caught.value.retry_at - datetime.now(UTC)).total_seconds() <= 3
    assert client.gate.blocked and client.gate.told[-1]["available"] == 3


def test_c11_part_of_a_document_that_failed_is_uncertain_for_that_item_only() -> None:
    client = ready()
    client.sandbox.refuse_next(SHOP, Refusal("customerCreate", skip=1, applies=True))
    first, second = write(client, new("1"), new("2", email="leo@example.com", phone=None))
    assert first.record and isinstance(second.error, Uncertain) and second.error.code == "shopify.outage"


def test_v06_a_missing_scope_stops_the_connection() -> None:
    client = ready()
    client.sandbox.configure(SHOP, scopes=["read_customers"])
    with pytest.raises(AccountError) as caught:
        write(client, new("1"), new("2"))
    assert caught.value.code == "shopify.scope_missing" and caught.value.facts["scopes"] == "write_customers"


def test_v06_withheld_fields_are_absent_from_what_a_write_answers() -> None:
    client = ready(protected_data=False)
    [outcome] = write(client, new())
    assert outcome.record and outcome.record.values[MARKER] == "17"
    assert not {"firstName", "lastName", "email", "emailMarketing"} & set(outcome.record.values)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": None},
        {"data": {"m0": None}},
        {"data": {"m0": {"customer": None, "userErrors": []}}},
        {"data": {"m0": {"customer": {"id": 7}, "userErrors": []}}},
        {"data": {"m0": {"customer": {"id": "gid://shopify/Customer/7", "updatedAt": "now"}, "userErrors": []}}},
        {"data": {"m0": []}},
        {"errors": "text"},
    ],
)
def test_v05_an_answer_that_proves_nothing_is_uncertain(answer: dict[str, Any]) -> None:
    client = ready()
    client.script = [answer]
    [outcome] = write(client, new())
    assert isinstance(outcome.error, Uncertain)


def test_a_refused_document_stops_the_stream() -> None:
    client = ready()
    client.script = [{"errors": [{"message": "Field 'x' doesn't exist", "extensions": {"code": "undefinedField"}}]}]
    with pytest.raises(VendorChanged):
        write(client, new())


def test_one_items_bad_value_does_not_stop_the_others() -> None:
    client = ready()
    error = {
        "message": "Variable $i1 of type CustomerInput! was provided invalid value",
        "extensions": {"code": "INVALID_VARIABLE"},
    }
    client.script = [{"errors": [error]}]
    first, second, third = write(
        client, new("1"), new("2", email="leo@example.com", phone=None), new("3", email="zoe@example.com", phone=None)
    )
    assert code_of(second.error) == "shopify.values_refused" and first.record and third.record


def test_a_country_that_does_not_exist_is_refused_before_it_is_sent() -> None:
    client = ready()
    record = made(client)
    sent = len(client.sent)
    [outcome] = write(client, new_wish(record, **{"address.countryCode": "XX"}))
    assert code_of(outcome.error) == "shopify.country_invalid" and len(client.sent) == sent


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"address.provinceCode": "Victoria"}, "shopify.province_invalid"),
        ({"address.zip": "99"}, "shopify.zip_invalid"),
        ({"email": "nowhere"}, "shopify.email_invalid"),
        ({"firstName": "x" * 300}, "shopify.name_invalid"),
        ({REFERRER: "two\nlines"}, "shopify.metafield_invalid"),
    ],
)
def test_values_shopify_refuses_name_their_field(changes: dict[str, Value], code: str) -> None:
    client = ready()
    [outcome] = write(client, new_wish(made(client), **changes))
    assert code_of(outcome.error) == code
    assert not [value for value in changes.values() if str(value) in str(outcome.error)]


def test_v15_a_customer_that_is_gone_is_looked_up_again() -> None:
    client = ready()
    record = made(client)
    client.shop.remove(int(record.key))
    for changes in (
        {"firstName": "Mila"},
        {"address.city": "Ballarat"},
        {"tag.archived": True},
        {"smsMarketing": True},
    ):
        [outcome] = write(client, new_wish(record, **changes))
        assert code_of(outcome.error) == "shopify.customer_gone" and outcome.error and outcome.error.facts["look_again"]


def test_v15_after_a_merge_the_marker_leads_to_the_kept_customer() -> None:
    client = ready()
    record = made(client)
    keep, _ = client.shop.create({"firstName": "Mia", "email": "mia.chen@example.com"})
    client.shop.merge(keep["id"], int(record.key))
    assert read(client, record.key) is None
    [found] = look(client, Wanted("17", "17", {}))["17"].by_marker
    assert found.key == str(keep["id"])


def test_nothing_deprecated_is_used_and_nothing_is_personal_in_a_document() -> None:
    client = ready()
    bring(client, new_wish(made(client), lastName="Venn", **{"address.city": "Ballarat", REFERRER: None}))
    for sent in client.sent:
        assert "mia" not in sent["query"].lower() and "0400" not in sent["query"]
    assert FIELDS  # the widest selection was used
