"""The three layers of a GraphQL answer, and what it says about cost."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from integrations.core.errors import AccountError, SyncError, Throttled, Unavailable, Uncertain, VendorChanged
from integrations.toolkit import graphql
from integrations.toolkit.graphql import Costs, Meaning
from integrations.toolkit.http import Reply

NOW = datetime(2026, 10, 2, tzinfo=UTC)
CODES = {
    "THROTTLED": Meaning.THROTTLED,
    "ACCESS_DENIED": Meaning.DENIED,
    "INTERNAL_SERVER_ERROR": Meaning.OUTAGE,
    "MAX_COST_EXCEEDED": Meaning.OURS,
}
COST = {
    "requestedQueryCost": 52,
    "actualQueryCost": 40,
    "throttleStatus": {"maximumAvailable": 2000, "currentlyAvailable": 1960, "restoreRate": 100.0},
}


class Gate:
    def __init__(self) -> None:
        self.settled: list[dict[str, object]] = []
        self.blocked: list[float] = []

    def acquire(self, cost: int) -> None: ...

    def settle(self, cost: int, **told: object) -> None:
        self.settled.append({"cost": cost} | told)

    def block_until(self, epoch_s: float) -> None:
        self.blocked.append(epoch_s)


class Shop:
    vendor = "shopware"
    account = "harbour"
    facts: Mapping[str, str] = {}

    def __init__(self, data: object) -> None:
        self.gate = Gate()
        self.memo: dict[str, object] = {}
        self.data = data
        self.costs: list[int] = []
        self.bodies: list[object] = []

    def get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Reply:
        raise NotImplementedError

    def get_link(self, url: str) -> Reply:
        raise NotImplementedError

    def post(self, path: str, body: object, *, writes: bool, cost: int = 1) -> Reply:
        self.costs.append(cost)
        self.bodies.append(body)
        return Reply(200, {}, self.data, "req-1")


def run(data: object, *, writes: bool = False, costs: Costs | None = None) -> tuple[graphql.Outcome, Shop]:
    shop = Shop(data)
    outcome = graphql.run(
        shop, "/graphql.json", "query { a }", {"x": 1}, writes=writes, cost=10, codes=CODES, prefix="shopware", costs=costs, now=lambda: NOW
    )  # fmt: skip
    return outcome, shop


def error(code: str, path: list[object] | None = None, **more: object) -> dict[str, object]:
    return {"message": "mia@example.com is no good", "extensions": {"code": code} | more} | (
        {"path": path} if path else {}
    )


def failure(data: object, *, writes: bool = False) -> SyncError:
    with pytest.raises(SyncError) as caught:
        run(data, writes=writes)
    assert "mia@" not in str(caught.value)
    return caught.value


def test_data_comes_back_and_the_budget_hears_the_cost() -> None:
    outcome, shop = run({"data": {"a": {"id": "1"}}, "extensions": {"cost": COST}})
    assert outcome.data == {"a": {"id": "1"}}
    assert outcome.problems == ()
    assert shop.gate.settled == [{"cost": 10, "actual": 40, "available": 1960, "capacity": 2000, "restore_rate": 100.0}]


def test_the_next_call_asks_for_what_the_last_one_requested() -> None:
    costs = Costs()
    run({"data": {}, "extensions": {"cost": COST}}, costs=costs)
    _, shop = run({"data": {}}, costs=costs)
    assert shop.costs == [52]


def test_being_throttled_waits_for_what_was_requested_and_tells_everybody() -> None:
    status = {"maximumAvailable": 2000, "currentlyAvailable": 12, "restoreRate": 100}
    cost = {"requestedQueryCost": 512, "actualQueryCost": None, "throttleStatus": status}
    shop = Shop({"data": None, "errors": [error("THROTTLED")], "extensions": {"cost": cost}})
    with pytest.raises(Throttled) as caught:
        graphql.run(shop, "/g", "mutation", {}, writes=True, cost=10, codes=CODES, prefix="shopware", now=lambda: NOW)
    assert caught.value.code == "shopware.throttled"
    assert caught.value.retry_at == NOW + timedelta(seconds=5)
    assert shop.gate.blocked == [caught.value.retry_at.timestamp()]
    assert shop.gate.settled[0]["available"] == 12


@pytest.mark.parametrize("writes", [True, False])
def test_errors_of_the_whole_call(writes: bool) -> None:
    lost = Uncertain if writes else Unavailable
    odd = Uncertain if writes else VendorChanged
    cases: list[tuple[object, type[SyncError], str]] = [
        ({"data": None, "errors": [error("ACCESS_DENIED")]}, AccountError, "shopware.denied"),
        ({"errors": [error("MAX_COST_EXCEEDED")]}, VendorChanged, "shopware.refused"),
        ({"errors": [error("")]}, VendorChanged, "shopware.refused"),
        ({"data": None, "errors": [error("INTERNAL_SERVER_ERROR")]}, lost, "shopware.outage"),
        ({"data": {"a": None}, "errors": [error("INTERNAL_SERVER_ERROR")]}, lost, "shopware.outage"),
        ({"errors": "[API] Invalid token"}, odd, "shopware.shape"),
        ({"data": None}, odd, "shopware.shape"),
        ({"data": []}, odd, "shopware.shape"),
        ({}, odd, "shopware.shape"),
        ([], odd, "shopware.shape"),
        (None, odd, "shopware.shape"),
    ]
    for data, kind, code in cases:
        found = failure(data, writes=writes)
        assert (type(found), found.code) == (kind, code), data


def test_a_refused_field_concerns_its_alias_only() -> None:
    denied = error(
        "ACCESS_DENIED", ["r1", "email", 0], requiredAccess="`read_customers` access scope for mia@example.com"
    )
    outcome, _ = run({"data": {"r0": {"id": "1"}, "r1": {"id": "2", "email": None}}, "errors": [denied]})
    assert outcome.error_for("r0") is None
    found = outcome.error_for("r1")
    assert isinstance(found, AccountError)
    assert found.facts["required"] == "read_customers"
    assert found.facts["path"] == "r1.email.0"
    assert "mia@" not in str(found)


def test_one_throttled_alias_stops_the_batch() -> None:
    assert isinstance(failure({"data": {"a": None}, "errors": [error("THROTTLED", ["a"])]}), Throttled)


def test_business_refusals_show_path_and_code_and_hide_their_words() -> None:
    member = {
        "userErrors": [
            {"field": ["input", "phone"], "message": "0400 is taken", "code": "TAKEN"},
            {"field": None, "message": "no"},
        ]
    }
    first, second = graphql.user_errors(member)
    assert (first.path, first.code, second.path, second.code) == ("input.phone", "TAKEN", "", "")
    assert "0400" not in repr(first)
    assert graphql.user_errors({"userErrors": []}) == ()
