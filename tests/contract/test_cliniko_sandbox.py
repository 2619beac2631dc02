"""The sandboxed Cliniko answers as its contract says. Asked over HTTP, without our own client."""

import base64
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from integrations.connectors.cliniko import sandbox_people
from integrations.connectors.cliniko.sandbox import ClinikoVendor, nobody, serve
from integrations.connectors.cliniko.sandbox_world import ClinikoWorld
from integrations.connectors.sandbox_kit import Fault, FaultKind, Server

KEY = "MS0xLXRlc3Q-au2"


@dataclass(frozen=True, slots=True)
class Told:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)

    @property
    def keys(self) -> list[str]:
        return [row["id"] for row in self.data["patients"]]


def ask(
    server: Server[ClinikoVendor], path: str, *query: tuple[str, str], method: str = "GET", body: object = None,
    key: str = KEY, agent: str = "Test (ops@agency.example)",
) -> Told:  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    credentials = base64.b64encode(f"{key}:".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "User-Agent": agent}
    target = f"{path}?{urlencode(query)}" if query else path
    try:
        connection.request(method, target, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return Told(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def patients(server: Server[ClinikoVendor], *filters: str, **more: str) -> Told:
    return ask(server, "/v1/patients", *[("q[]", given) for given in filters], *more.items())


@pytest.fixture
def server() -> Iterator[Server[ClinikoVendor]]:
    world = ClinikoWorld()
    world.add_account(KEY)
    with serve(world=world, seed=nobody) as running:
        yield running


@pytest.fixture
def world(server: Server[ClinikoVendor]) -> ClinikoWorld:
    return server.vendor.world


# -- access


def test_a_bad_key_is_refused(server: Server[ClinikoVendor]) -> None:
    assert ask(server, "/v1/user", key="other-au2").status == 401


def test_the_suffix_of_the_key_may_be_dropped(server: Server[ClinikoVendor]) -> None:
    assert ask(server, "/v1/user", key="MS0xLXRlc3Q").status == 200


def test_a_user_agent_without_contact_is_blocked(server: Server[ClinikoVendor]) -> None:
    assert ask(server, "/v1/user", agent="python-requests").status == 403


def test_settings_depend_on_the_role(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    world.add_key("lower-au2", world.first, role="receptionist")
    assert ask(server, "/v1/settings").status == 200
    assert ask(server, "/v1/settings", key="lower-au2").status == 403
    assert ask(server, "/v1/settings/public", key="lower-au2").status == 200


def test_keys_open_their_own_account_only(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    mine = world.add_patient(first_name="Mia", last_name="Chen")
    ridge = world.add_account("ridge-au1", "Ridge Podiatry")
    theirs = world.add_patient(ridge, first_name="Ada", last_name="Pike")
    assert patients(server).keys == [mine]
    assert ask(server, "/v1/patients", key="ridge-au1").data["patients"][0]["id"] == theirs
    assert ask(server, f"/v1/patients/{mine}", key="ridge-au1").status == 404


# -- limits


def test_the_201st_request_in_a_minute_is_refused_until_the_header_says(
    server: Server[ClinikoVendor], world: ClinikoWorld
) -> None:
    world.add_key("second-au2", world.first)
    answers = [ask(server, "/v1/user") for _ in range(205)]
    assert [answer.status for answer in answers] == [200] * 200 + [429] * 5
    reset = int(answers[-1].headers["x-ratelimit-reset"])
    assert 0 < reset - server.clock.now() <= 61
    assert ask(server, "/v1/user", key="second-au2").status == 200  # per key owner, not per account
    server.clock.advance(reset - server.clock.now())
    assert ask(server, "/v1/user").status == 200


def test_the_window_slides_and_the_journal_proves_it(server: Server[ClinikoVendor]) -> None:
    user = next(iter(server.vendor.world.users.values()))
    for _ in range(150):
        ask(server, "/v1/user")
    server.clock.advance(31)
    statuses = [ask(server, "/v1/user").status for _ in range(60)]
    assert statuses.count(200) == 50
    server.clock.advance(30)
    assert [ask(server, "/v1/user").status for _ in range(150)].count(200) == 150
    assert server.journal.busiest(60, subject=f"user:{user.id}") == 200
    assert server.journal.count(429) == 10


# -- lists


def test_pages_follow_links_and_the_last_has_none(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    keys = sandbox_people.fill(world, 230)
    seen: list[str] = []
    told = patients(server, per_page="100")
    while True:
        seen += told.keys
        assert told.data["total_entries"] == 230
        link = told.data["links"].get("next")
        if link is None:
            break
        parts = urlsplit(link)
        told = ask(server, f"{parts.path}?{parts.query}")
    assert seen == keys
    assert len(patients(server, per_page="500").keys) == 100
    assert len(patients(server).keys) == 50


def test_archived_ones_are_hidden_until_the_field_is_named(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    live, gone = (world.add_patient(first_name=name, last_name="Chen") for name in ("Mia", "Leo"))
    world.archive(gone)
    assert patients(server).keys == [live]
    assert patients(server, "archived_at:*").keys == [live, gone]
    assert patients(server, "archived_at:?").keys == [gone]
    assert patients(server, "archived_at:!?").keys == [live]
    assert ask(server, f"/v1/patients/{gone}").status == 404
    assert ask(server, f"/v1/patients/{gone}", ("q[]", "archived_at:*")).status == 200
    world.unarchive(gone)
    assert patients(server).keys == [live, gone]


def test_archiving_need_not_touch_updated_at(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    key = world.add_patient(first_name="Mia", last_name="Chen", created_at="2025-01-01T00:00:00Z")
    world.archive(key)
    assert patients(server, "updated_at:>=2025-02-01T00:00:00Z", "archived_at:*").keys == []
    assert patients(server, "archived_at:>=2025-02-01T00:00:00Z").keys == [key]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["updated_at:>=2025-03-01T00:00:00Z"], "bc"),
        (["updated_at:>2025-03-01T00:00:00Z"], "c"),
        (["updated_at:<2025-03-01T00:00:00Z"], "a"),
        (["email:=b@example.com"], "b"),
        (["email:=B@example.com"], ""),
        (["email:!?"], "c"),
        (["last_name:~en"], "ab"),
        (["last_name:~~C%"], "a"),
        (["accepted_privacy_policy:=true"], "a"),
        (["id:=11,13"], "ac"),
        (["id:>11", "id:<13"], "b"),
        (["date_of_birth:>=1990-01-01"], "b"),
    ],
)
def test_filters_select(server: Server[ClinikoVendor], world: ClinikoWorld, filters: list[str], expected: str) -> None:
    people = (
        ("11", {"last_name": "Chen", "email": "a@example.com", "accepted_privacy_policy": True}, "02"),
        ("12", {"last_name": "Venn", "email": "b@example.com", "date_of_birth": "1991-01-01"}, "03"),
        ("13", {"last_name": "Doyle"}, "04"),
    )
    for key, given, month in people:
        world.add_patient(id=key, first_name="X", created_at=f"2025-{month}-01T00:00:00Z", **given)
    letters = {"11": "a", "12": "b", "13": "c"}
    assert "".join(letters[key] for key in patients(server, *filters).keys) == expected


@pytest.mark.parametrize(
    "given",
    [
        "phone:=1", "medicare:=1", "updated_at:=2025-03-01T00:00:00Z", "updated_at:>=2025-03-01T00:00:00+10:00",
        "updated_at:>=yesterday", "id:=abc", "updated_at_gteq=1", "accepted_privacy_policy:=yes",
    ],
)  # fmt: skip
def test_an_unknown_filter_is_an_error(server: Server[ClinikoVendor], given: str) -> None:
    told = patients(server, given)
    assert told.status == 400 and set(told.data) == {"message"}


def test_lists_sort(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    first, second = (world.add_patient(first_name=name, last_name="Chen") for name in ("Mia", "Leo"))
    world.clock.advance(5)
    world.edit_patient(first, city="Manly")
    assert patients(server, sort="updated_at:desc").keys == [first, second]
    assert patients(server, sort="first_name").keys == [second, first]
    assert patients(server, sort="phone").status == 400


# -- values


def test_a_patient_has_every_documented_key(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    key = world.add_patient(first_name="Mia", last_name="Chen", phone="0400 000 001", concession_type_id="5")
    row = ask(server, f"/v1/patients/{key}").data
    assert len(row) >= 50
    assert isinstance(row["id"], str) and len(row["id"]) == 19
    assert int(float(row["id"])) != int(row["id"])  # a float would lose its last digits
    assert row["patient_phone_numbers"] == [
        {"number": "0400 000 001", "normalized_number": "61400000001", "phone_type": "Mobile"}
    ]
    assert datetime.strptime(row["updated_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert row["concession_type"]["links"]["self"].endswith("/concession_types/5")
    assert "referring_doctor" not in row and "merged_with_patient" not in row


def test_a_merged_patient_points_to_the_survivor(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    kept, gone = (world.add_patient(first_name="Mia", last_name="Chen") for _ in range(2))
    world.merge(gone, kept)
    row = ask(server, f"/v1/patients/{gone}", ("q[]", "archived_at:*")).data
    assert row["merged_at"] and row["merged_with_patient"]["links"]["self"].endswith(f"/{kept}")
    assert patients(server).keys == [kept]


def test_quirks_of_older_answers(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    key = world.add_patient(first_name="Mia", last_name="Chen")
    world.set_quirks(ids_as_numbers=True, empty_as_text=True, missing_keys=("country_code",))
    row = ask(server, f"/v1/patients/{key}").data
    assert row["id"] == int(key) and row["archived_at"] == "" and "country_code" not in row


def test_a_change_may_stay_invisible_for_a_while(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    key = world.add_patient(first_name="Mia", last_name="Chen", email="old@example.com")
    world.set_quirks(lag_s=60)
    world.edit_patient(key, email="new@example.com")
    late = world.add_patient(first_name="Leo", last_name="Chen")
    told = patients(server)
    assert told.keys == [key] and told.data["patients"][0]["email"] == "old@example.com"
    assert ask(server, f"/v1/patients/{late}").status == 404
    world.clock.advance(61)
    assert patients(server).keys == [key, late]
    assert ask(server, f"/v1/patients/{key}").data["email"] == "new@example.com"


# -- writes


def test_a_patient_can_be_written(server: Server[ClinikoVendor]) -> None:
    made = ask(server, "/v1/patients", method="POST", body={"first_name": "Mia", "last_name": "Chen", "id": "5"})
    assert made.status == 201 and made.data["id"] != "5"
    path = urlsplit(made.headers["location"]).path
    change = {"accepted_sms_marketing": True, "unsubscribe_sms_marketing": True, "email": "mia@example.com"}
    edited = ask(server, path, method="PATCH", body=change)
    assert edited.status == 200 and edited.data["accepted_sms_marketing"] is False
    assert ask(server, f"{path}/archive", method="POST").status == 204
    assert ask(server, path).status == 404
    assert ask(server, f"{path}/unarchive", method="POST").data["email"] == "mia@example.com"


def test_bad_values_are_named(server: Server[ClinikoVendor]) -> None:
    told = ask(server, "/v1/patients", method="POST", body={"first_name": "", "email": "nobody"})
    assert told.status == 422
    assert set(told.data["errors"]) == {"first_name", "last_name", "email"} and told.data["message"]


# -- faults, clock, state


def test_faults_on_demand(server: Server[ClinikoVendor]) -> None:
    server.faults.add(Fault(FaultKind.STATUS, times=2, status=500))
    assert [ask(server, "/v1/user").status for _ in range(3)] == [500, 500, 200]
    server.faults.add(Fault(FaultKind.DROP_AFTER, method="POST"))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server, "/v1/patients", method="POST", body={"first_name": "Mia", "last_name": "Chen"})
    assert len(server.vendor.world.patients) == 1
    server.faults.add(Fault(FaultKind.DROP_BEFORE, method="POST"))
    with pytest.raises(http.client.RemoteDisconnected):
        ask(server, "/v1/patients", method="POST", body={"first_name": "Leo", "last_name": "Chen"})
    assert len(server.vendor.world.patients) == 1
    server.faults.add(Fault(FaultKind.TRUNCATE))
    with pytest.raises(http.client.IncompleteRead):
        ask(server, "/v1/user")
    server.faults.add(Fault(FaultKind.HTML, skip=1))
    assert ask(server, "/v1/user").data["id"]
    assert ask(server, "/v1/user").body.startswith(b"<!doctype")
    assert [entry.fault for entry in server.journal.entries() if entry.fault] == [
        "status", "status", "drop_after", "drop_before", "truncate", "html",
    ]  # fmt: skip


def test_a_slow_answer_takes_its_time(server: Server[ClinikoVendor]) -> None:
    server.faults.add(Fault(FaultKind.SLOW, delay_s=0.2))
    began = time.monotonic()
    assert ask(server, "/v1/user").status == 200
    assert time.monotonic() - began >= 0.2


def test_the_clock_can_be_off_and_fast(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    world.clock.set_offset(-900)
    told = ask(server, "/v1/user")
    assert -905 < parsedate_to_datetime(told.headers["date"]).timestamp() - time.time() < -895
    key = world.add_patient(first_name="Mia", last_name="Chen")
    assert datetime.fromisoformat(str(world.row(key)["created_at"])).timestamp() < time.time() - 890
    world.clock.set_offset(0)
    before = world.clock.now()
    world.clock.set_speed(1000)
    time.sleep(0.05)
    assert world.clock.now() - before > 30


def test_state_survives_a_restart(tmp_path: Path) -> None:
    with serve(state_dir=tmp_path) as first:
        key = first.vendor.world.add_patient(first_name="Mia", last_name="Chen", email="mia@example.com")
        whole = first.vendor.dump()
    with serve(state_dir=tmp_path) as second:
        assert second.vendor.world.row(key)["email"] == "mia@example.com"
        assert json.dumps(second.vendor.dump()) == json.dumps(whole)
        assert second.vendor.world.new_id() not in second.vendor.world.patients


def test_edits_over_http(server: Server[ClinikoVendor], tmp_path: Path) -> None:
    def edit(path: str, body: object, method: str = "POST") -> Told:
        return ask(server, f"/_sandbox/{path}", method=method, body=body)

    key = edit("patients", {"first_name": "Mia", "last_name": "Chen", "phone": "0400 000 001"}).data["id"]
    assert edit(f"patients/{key}", {"email": "mia@example.com"}, "PATCH").status == 200
    twin = edit("patients", {"first_name": "Mia", "last_name": "Chen"}).data["id"]
    assert edit(f"patients/{twin}/merge", {"into": key}).status == 200
    assert [row["merged_with"] for row in edit("patients", None, "GET").data["patients"]] == [None, key]
    assert edit("faults", {"kind": "status", "status": 500}).status == 200
    assert ask(server, "/v1/user").status == 500
    assert edit("faults", {"kind": "nonsense"}).status == 400
    assert edit("fill", {"count": 5}).status == 200 and edit("touch", {"count": 2}).status == 200
    persons = tmp_path / "persons.csv"
    persons.write_text("rec_id, given_name, surname, state\nrec-7-org, mia, chen, nsw\n", "utf-8")
    assert edit("persons", {"path": str(persons)}).data == {"loaded": 1}
    assert len(edit("journal", None, "GET").data["entries"]) == 1
    assert edit("patients/17/archive", None).status == 400
    assert edit("nothing", {}).status == 404
    assert edit("reset", None).status == 200 and not server.vendor.world.accounts


def test_the_clinic_that_is_shipped_is_plausible() -> None:
    with serve() as running:
        world = running.vendor.world
        rows = list(world.patients.values())
        emails = [str(row["email"]) for row in rows if row.get("email")]
        assert 55 <= len(rows) <= 75
        assert len(emails) - len(set(emails)) >= 4 and sum(1 for row in rows if not row.get("email")) >= 4
        assert sum(1 for row in rows if row.get("archived_at")) >= 4
        assert sum(1 for row in rows if row.get("merged_at")) == 1
        assert all("CANARY" in json.dumps(row) for row in rows)
        assert any(row["accepted_privacy_policy"] is False for row in rows)


def test_persons_of_a_file_get_the_promised_shares() -> None:
    world = ClinikoWorld()
    world.add_account(KEY)
    rows = [{"rec_id": f"rec-{number}-org", "given_name": "mia", "surname": "chen"} for number in range(1000)]
    keys = sandbox_people.load_persons(world, [*rows, rows[40] | {"rec_id": "rec-40-dup-0"}])
    emails = [world.row(key)["email"] for key in keys[:1000]]
    assert sum(1 for email in emails if email and emails.count(email) > 1) == 60
    assert emails.count(None) == 50
    numbers = [world.row(key)["patient_phone_numbers"][0]["number"] for key in keys[:1000]]
    assert sum(1 for number in numbers if len(number) < 10) == 30
    assert world.row(keys[-1])["email"] == world.row(keys[40])["email"]


def test_a_hundred_pages_a_second_and_more(server: Server[ClinikoVendor], world: ClinikoWorld) -> None:
    """The yardstick is 200 pages a second on a quiet machine; a quarter of it is asked of a busy one."""
    sandbox_people.fill(world, 5_000)
    server.vendor.limit.amount = 100_000
    for page in range(1, 51):
        patients(server, "archived_at:*", per_page="100", page=str(page))
    began = time.monotonic()
    for page in range(1, 51):
        patients(server, "archived_at:*", per_page="100", page=str(page))
    assert 50 / (time.monotonic() - began) > 50
