"""Untrusted JSON: refused within limits, read with its path, and never repeated in an error."""

import json
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations.core.errors import Rejected, VendorChanged
from integrations.toolkit import payload

CANARY = "Mia-CANARY"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "payload.json"),
        (b"{", "payload.json"),
        (b'{"a": NaN}', "payload.json"),
        (b'{"a": Infinity}', "payload.json"),
        (b'{"a": -Infinity}', "payload.json"),
        (b"{'a': 1}", "payload.json"),
        (b'{"a": 1,}', "payload.json"),
        (b'"\x00"', "payload.json"),
        (b'{"a": "\xff"}', "payload.json"),
        ('{"a": 1}'.encode("utf-16"), "payload.json"),
        (b"1" * 5000, "payload.json"),
        (b"[" * 100_000 + b"]" * 100_000, "payload.too_deep"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "payload.too_deep"),
        (b"[" + b"1," * 100_001 + b"1]", "payload.too_many"),
        (json.dumps({str(n): n for n in range(1_000_000)}).encode(), "payload.too_many"),
        (b'"' + b" " * (25 * 1024 * 1024) + b'"', "payload.too_big"),
    ],
    ids=range(16),
)
def test_hostile_texts_are_refused(body: bytes, code: str) -> None:
    with pytest.raises(VendorChanged) as caught:
        payload.decode(body)
    assert caught.value.code == code
    assert caught.value.__context__ is None


def test_depth_hidden_behind_text_still_ends_as_an_error() -> None:
    for depth in (1500, 100_000):
        hidden = (b'["' + b"]" + b'",') * depth + b"1" + b"]" * depth
        with pytest.raises(VendorChanged):
            payload.decode(hidden)


def test_numbers_stay_exact() -> None:
    assert payload.decode(b'{"id": 1482019375550301201, "n": 81.818, "e": 1e999999, "z": -0, "d": [1, 1.10]}') == {
        "id": 1482019375550301201,
        "n": Decimal("81.818"),
        "e": Decimal("1e999999"),
        "z": 0,
        "d": [1, Decimal("1.10")],
    }
    big = int("9" * 400)
    assert payload.decode(str(big).encode()) == big


def test_odd_texts_become_storable() -> None:
    body = rb'{"a\u0000b": "x\u0000y", "c": ["\ud83d\ude00", "\ud83d", "q\udc00"], "d": null, "a": 1, "a": 2}'
    assert payload.decode(body) == {"ab": "xy", "c": ["😀", "�", "q�"], "d": None, "a": 2}
    assert payload.decode(b"\xef\xbb\xbf{}") == {}
    assert payload.decode(b"null") is None


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=30,
    )
)
def test_what_json_writes_is_read_again_but_for_what_nobody_can_store(data: object) -> None:
    plain = json.loads(json.dumps(data).replace("\\u0000", ""))
    assert payload.decode(json.dumps(plain).encode()) == plain
    assert payload.decode(json.dumps(plain, ensure_ascii=False).encode()) == plain


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:0129.eE+-tfn\\u ', max_size=200).map(str.encode))
def test_no_bytes_bring_anything_but_data_or_our_error(body: bytes) -> None:
    try:
        payload.decode(body)
    except VendorChanged as error:
        assert error.code.startswith("payload.")


def test_the_limits_cost_little_beside_the_decoding() -> None:
    patient = {f"field_{n}": f"value {n}" for n in range(45)} | {"phones": [{"number": "0400 000 000"}], "n": None}
    body = json.dumps({"patients": [patient] * 130}).encode()
    assert len(body) > 120_000

    def best(call: Callable[[bytes], object]) -> float:
        times = []
        for _ in range(30):
            began = time.perf_counter()
            call(body)
            times.append(time.perf_counter() - began)
        return min(times)

    assert best(payload.decode) < 1.6 * best(json.loads)


ROW: dict[str, object] = {
    "text": CANARY,
    "empty": "",
    "null": None,
    "yes": True,
    "count": 7,
    "count_text": "-12",
    "money": "81.818",
    "number": Decimal("10.0"),
    "at": "2025-06-30T04:40:02Z",
    "at_offset": "2025-06-30T14:40:02+10:00",
    "day": "1987-03-09",
    "object": {"a": 1},
    "list": [{"a": 1}],
    "texts": ["a", "b"],
}


def test_readers_give_typed_values() -> None:
    assert payload.text(ROW, "text") == CANARY
    assert payload.text(ROW, "empty") == ""
    assert payload.optional_text(ROW, "empty") is None
    assert payload.key(ROW, "count") == "7"
    assert payload.flag(ROW, "yes") is True
    assert payload.whole(ROW, "count_text") == -12
    assert payload.decimal(ROW, "money") == Decimal("81.818")
    assert payload.decimal(ROW, "count") == 7
    assert (
        payload.instant(ROW, "at") == payload.instant(ROW, "at_offset") == datetime(2025, 6, 30, 4, 40, 2, tzinfo=UTC)
    )
    assert payload.day(ROW, "day") == date(1987, 3, 9)
    assert payload.obj(ROW, "object") == {"a": 1}
    assert payload.items(ROW, "list") == [{"a": 1}]
    assert payload.texts(ROW, "texts") == ("a", "b")
    for reader in (payload.optional_text, payload.optional_flag, payload.optional_whole, payload.optional_decimal):
        assert [reader(ROW, name) for name in ("null", "absent", "empty")] == [None, None, None]
    for reader in (payload.optional_instant, payload.optional_day):
        assert [reader(ROW, name) for name in ("null", "absent", "empty")] == [None, None, None]
    assert (payload.optional_obj(ROW, "null"), payload.optional_items(ROW, "absent"), payload.texts(ROW, "null")) == (
        None,
        (),
        (),
    )


REQUIRED = [payload.text, payload.key, payload.flag, payload.whole, payload.decimal, payload.instant, payload.day, payload.obj, payload.items]  # fmt: skip
WRONG = [None, "", " ", CANARY, True, 2**70, -1.5, [CANARY], [[CANARY]], {"x": CANARY}, "0000-00-00", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59-12:00", "2025-02-30", "2025-06-30T04:40:02", "1e999999", "NaN", "٣", Decimal("1e999999")]  # fmt: skip


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("reader", REQUIRED)
def test_a_wrong_type_names_path_and_type_and_never_the_value(reader: Callable[..., object], value: object) -> None:
    try:
        reader({"field": value}, "field", "patients[3]")
    except VendorChanged as error:
        assert error.code == "payload.shape"
        assert error.facts["path"] in ("patients[3].field", "patients[3].field[0]")
        assert "CANARY" not in str(error) + str(error.facts)
        held = payload.unreadable(error)
        assert isinstance(held, Rejected)
        assert (held.code, held.facts) == ("record.unreadable", error.facts)
        assert error.facts["found"] != "absent"
    with pytest.raises(VendorChanged, match="found=absent"):
        reader({}, "field")
