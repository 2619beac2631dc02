"""How passes over patients behave when the clinic does not hold still, and what the probe says about keys."""

from datetime import UTC, datetime, timedelta

import pytest

from integrations.connectors import CONNECTORS
from integrations.connectors.base import Ask, Page
from integrations.connectors.cliniko import sandbox_people
from integrations.connectors.cliniko.sandbox import ClinikoVendor
from integrations.connectors.cliniko.sandbox_world import ClinikoWorld
from integrations.connectors.sandbox_kit import Server
from integrations.core.errors import AccountError, Throttled, VendorChanged
from integrations.core.records import State
from integrations.toolkit.http import HttpClient
from tests.contract.desk import client_of, read_all
from tests.contract.rigs.cliniko import RIG

CLINIKO = CONNECTORS["cliniko"]
PATIENTS = CLINIKO.stream("patients")
KEY = RIG.credentials["api_key"]


def _pass(client: HttpClient, since: datetime | None = None) -> list[Page]:
    return read_all(client, PATIENTS, Ask(since, frozenset()))


def _keys(pages: list[Page]) -> list[str]:
    return [record.key for page in pages for record in page.records]


def test_v13_nobody_is_skipped_while_patients_change_between_pages(client: HttpClient, world: ClinikoWorld) -> None:
    assert PATIENTS.read_page
    keys = sandbox_people.fill(world, 350)
    ask = Ask(None, frozenset())
    seen: list[str] = []
    place: str | None = None
    for number in range(10):
        page = PATIENTS.read_page(client, ask, place)
        seen += [record.key for record in page.records]
        world.edit_patient(keys[number * 30], city="Elsewhere")
        world.archive(keys[number * 30 + 1])
        keys.append(world.add_patient(first_name="New", last_name="Comer"))
        place = page.next
        if place is None:
            break
    assert set(keys[:350]) <= set(seen) and len(seen) == len(set(seen))


def test_v12_500_patients_of_one_second_are_all_found(client: HttpClient, world: ClinikoWorld) -> None:
    stamp = "2025-06-30T04:40:02Z"
    keys = [world.add_patient(first_name="A", last_name=str(number), created_at=stamp) for number in range(500)]
    found = _pass(client, datetime.fromisoformat(stamp))
    assert sorted(_keys(found)) == sorted(keys)
    assert found[0].vendor_now == datetime.fromisoformat(stamp)


@pytest.mark.parametrize("offset_s", [-900, 900])
def test_v14_the_watermark_never_passes_what_the_vendor_showed(
    server: Server[ClinikoVendor], client: HttpClient, world: ClinikoWorld, offset_s: int
) -> None:
    world.clock.set_offset(offset_s)
    world.add_patient(first_name="Mia", last_name="Chen")
    started = _pass(client)[0].vendor_now
    late = world.add_patient(first_name="Late", last_name="Row")
    assert started is not None
    assert late in _keys(_pass(client, started))


def test_v14_the_rows_are_believed_when_the_date_header_runs_ahead_of_them(
    client: HttpClient, world: ClinikoWorld
) -> None:
    world.add_patient(first_name="Mia", last_name="Chen", created_at="2025-06-30T04:40:02Z")
    assert _pass(client)[0].vendor_now == datetime(2025, 6, 30, 4, 40, 2, tzinfo=UTC)


def test_v15_an_archive_that_leaves_updated_at_alone_is_noticed(client: HttpClient, world: ClinikoWorld) -> None:
    key = world.add_patient(first_name="Mia", last_name="Chen", created_at="2025-01-01T00:00:00Z")
    since = datetime.now(UTC) - timedelta(minutes=5)
    assert _keys(_pass(client, since)) == []
    world.archive(key)
    [record] = [record for page in _pass(client, since) for record in page.records]
    assert record.key == key and record.state is State.ARCHIVED


def test_v15_a_merge_is_noticed_and_names_the_survivor(client: HttpClient, world: ClinikoWorld) -> None:
    kept, gone = (world.add_patient(first_name="Mia", last_name="Chen") for _ in range(2))
    world.merge(gone, kept)
    assert PATIENTS.read_many
    record = PATIENTS.read_many(client, [gone], frozenset())[gone]
    assert (record.state, record.merged_into) == (State.MERGED, kept)


def test_a_removed_patient_is_absent_from_read_many(client: HttpClient, world: ClinikoWorld) -> None:
    keys = sandbox_people.fill(world, 130)
    world.remove(keys[3])
    world.archive(keys[4])
    assert PATIENTS.read_many
    found = PATIENTS.read_many(client, [*keys, "x", "0"], frozenset())
    assert set(found) == set(keys) - {keys[3]}


def test_v08_a_next_link_to_itself_or_to_another_host_ends_the_stream(client: HttpClient, world: ClinikoWorld) -> None:
    sandbox_people.fill(world, 250)
    world.set_quirks(loop_at_page=2)
    with pytest.raises(VendorChanged, match=r"cliniko\.paging\.loop"):
        _pass(client)
    world.set_quirks(loop_at_page=0, foreign_next="http://evil.example")
    with pytest.raises(VendorChanged, match=r"http\.foreign_link"):
        _pass(client)


def test_a_wrong_total_ends_nothing(client: HttpClient, world: ClinikoWorld) -> None:
    sandbox_people.fill(world, 250)
    world.set_quirks(wrong_total=True)
    assert len(_keys(_pass(client))) == 250


def test_v16_one_unreadable_patient_is_named_and_the_page_goes_on(client: HttpClient, world: ClinikoWorld) -> None:
    keys = sandbox_people.fill(world, 3)
    world.set_raw(keys[1], last_name={"surprise": "Chen"})
    [page] = _pass(client)
    assert [record.key for record in page.records] == [keys[0], keys[2]]
    [(key, error)] = page.broken
    assert (key, error.code) == (keys[1], "record.unreadable")
    assert "Chen" not in str(error) and error.facts["path"] == "last_name"


def test_v01_the_wait_is_taken_from_the_reset_header_on_the_vendors_clock(
    server: Server[ClinikoVendor], client: HttpClient, world: ClinikoWorld
) -> None:
    world.clock.set_offset(7200)
    server.vendor.limit.amount = 1
    client.get("/v1/user")
    with pytest.raises(Throttled) as caught:
        client.get("/v1/user")
    assert caught.value.code == "cliniko.throttled"
    assert timedelta(seconds=50) < caught.value.retry_at - datetime.now(UTC) < timedelta(seconds=70)


# -- "Test connection"


def _findings(server: Server[ClinikoVendor], role: str | None) -> tuple[bool, str]:
    server.vendor.world.users.clear()
    server.vendor.world.add_key(KEY, server.vendor.world.first, role=role)
    with client_of(CLINIKO, RIG, server) as client:
        probe = CLINIKO.verify(client)
    return probe.works, "\n".join(f"{word}: {sentence}" for word, sentence in probe.findings)


def test_the_probe_speaks_about_the_role(server: Server[ClinikoVendor]) -> None:
    works, said = _findings(server, "power receptionist")
    assert works and said == "ok: Harbour Physio: the key works; its owner is a power receptionist."
    works, said = _findings(server, "receptionist")
    assert works and "warning: The key's owner may not read the settings" in said
    works, said = _findings(server, "administrator")
    assert works and "warning: Harbour Physio: the key belongs to an administrator" in said
    works, said = _findings(server, None)
    assert works and "no role" in said
    works, said = _findings(server, "bookkeeper")
    assert not works and "problem: The key's owner may not read patients." in said


def test_the_probe_reads_no_patient(server: Server[ClinikoVendor], client: HttpClient, world: ClinikoWorld) -> None:
    world.add_patient(first_name="Mia", last_name="Chen")
    CLINIKO.verify(client)
    [entry] = server.journal.entries(path="/v1/patients")
    assert "id%3A%3D0" in entry.query


@pytest.mark.parametrize(
    ("zones", "zone", "said"),
    [
        (("Australia/Melbourne",), "Australia/Melbourne", ""),
        (("Australia/Sydney", "Australia/Perth"), "Australia/Sydney", "2 time zones"),
        (("Australia/NSW",), "Australia/NSW", ""),
        (("Mars/Olympus",), "", "no usable time zone"),
        ((), "", "no usable time zone"),
    ],
)
def test_the_zone_comes_from_the_businesses(
    client: HttpClient, world: ClinikoWorld, zones: tuple[str, ...], zone: str, said: str
) -> None:
    world.first.zones = zones
    probe = CLINIKO.verify(client)
    assert probe.zone == zone
    assert said in " ".join(sentence for _, sentence in probe.findings)


def test_a_key_that_was_withdrawn_is_an_account_error(server: Server[ClinikoVendor], client: HttpClient) -> None:
    server.vendor.world.users.clear()
    with pytest.raises(AccountError, match=r"cliniko\.auth\.rejected"):
        CLINIKO.verify(client)
