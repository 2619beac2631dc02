"""Repairs from the choice to the undo, over real loopback HTTP (B7, K35): looked at, approved, delivered, read again, and
taken back from what was kept, with what could not be taken back named."""

import json
from collections.abc import Iterator
from copy import deepcopy

import pytest
from django.test import override_settings

from integrations.connectors.cliniko import sandbox_goods as goods
from integrations.connectors.sandbox_kit import Fault, FaultKind
from integrations.models import Connection, Flow, LinkState
from integrations.services import errands as registry
from integrations.services.connections import open_client
from integrations.vault import open_vault
from reconciliation import repair, repairing
from reconciliation.models import Mismatch, Repair, RepairState, StepState, UndoState
from reconciliation.repairing import preview_place
from tenants.walls import app_now, system_tx, tenant_tx
from tests.conftest import House
from tests.repairs import approved, proposed, steps, taken_back
from tests.reports import compared, customer, edit, patients, rows
from tests.stage import Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
NAMES = ("ada", "ben", "cal", "dee")


@pytest.fixture
def clinic(house: House) -> Iterator[Stage]:
    with stage(house.harbour) as built:
        open_wide(built)
        yield built


@pytest.fixture
def keys(clinic: Stage) -> dict[str, str]:
    """Four synced patients; ada and ben were edited by hand in the shop, and one more patient was never read."""
    made = patients(clinic, NAMES)
    clinic.sync()
    edit(clinic, made["ada"], lastName="Smith")
    edit(clinic, made["ben"], email="somebody.else@example.com", firstName="Benny")
    made["new"] = clinic.world.add_patient(first_name="New", last_name="Patient", email="new@example.com")
    compared(clinic)
    return made


def preview_of(clinic: Stage, repair_id: int, key: str) -> list[list[str]]:
    step = steps(clinic, repair_id)[key]
    with tenant_tx(clinic.tenant.pk):
        vault = open_vault(clinic.tenant.pk)
    told: list[list[str]] = json.loads(vault.unseal(step.sealed_preview, bound_to=preview_place(repair_id, key)))
    return told


def test_a_preview_tells_each_field_and_writes_nothing(clinic: Stage, keys: dict[str, str]) -> None:
    before = clinic.writes
    row = proposed(clinic)
    assert (row.state, row.records, clinic.writes) == (RepairState.PROPOSED, 3, before)
    assert preview_of(clinic, row.pk, keys["ada"]) == [["lastName", "Smith", "Chen-Ada"]]
    assert {name: there for name, there, _ in preview_of(clinic, row.pk, keys["ben"])} == {
        "firstName": "Benny", "email": "somebody.else@example.com",
    }  # fmt: skip
    actions = {key: step.action for key, step in steps(clinic, row.pk).items()}
    assert actions == {keys["ada"]: "update", keys["ben"]: "update", keys["new"]: "create"}
    assert clinic.deliveries(state="waiting") == []


def test_what_was_approved_is_delivered_and_read_again(clinic: Stage, keys: dict[str, str]) -> None:
    row = approved(clinic, proposed(clinic).pk)
    assert (row.state, row.in_line, row.unequal) == (RepairState.DONE, 3, 0)
    assert customer(clinic, keys["ada"])["lastName"] == "Chen-Ada"
    assert rows(clinic) == []  # closed by the reading after the write
    assert compared(clinic).agree == 5


def test_a_record_that_does_not_arrive_is_told_with_its_code(clinic: Stage, keys: dict[str, str]) -> None:
    row = proposed(clinic)
    clinic.world.edit_patient(keys["ada"], email="")
    row = approved(clinic, row.pk)
    step = steps(clinic, row.pk)[keys["ada"]]
    assert (row.in_line, row.unequal) == (2, 1)
    assert (step.state, step.code) == (StepState.UNEQUAL, "record.email_missing")


def test_undo_restores_what_was_there_and_stays(clinic: Stage, keys: dict[str, str]) -> None:
    """The values, what is remembered of them, and the mismatch itself are as they were; no pass sends them anew."""
    was = {name: deepcopy(customer(clinic, keys[name])) for name in ("ada", "ben")}
    memory = _memory(clinic)
    row = taken_back(clinic, approved(clinic, proposed(clinic).pk).pk)
    told = steps(clinic, row.pk)
    assert (row.state, row.undone, row.kept) == (RepairState.UNDONE, 2, 1)
    assert {told[keys[name]].undo_state for name in was} == {UndoState.UNDONE}
    assert told[keys["new"]].undo_code == "repair.created"
    for name, row_before in was.items():
        now = customer(clinic, keys[name])
        for field in ("firstName", "lastName", "email", "phone", "metafields", "tags", "addresses"):
            assert now.get(field) == row_before.get(field), (name, field)
    assert {key: _memory(clinic)[key] for key in memory} == memory
    written = clinic.writes
    clinic.set_flow()  # one full pass
    clinic.sync()
    assert clinic.writes == written
    report = compared(clinic)
    assert report.different == 2
    assert {(one.source_key, one.cause) for one in rows(clinic)} == {(keys["ada"], "hand"), (keys["ben"], "hand")}


def _memory(clinic: Stage) -> dict[str, object]:
    with tenant_tx(clinic.tenant.pk):
        found = LinkState.objects.values_list("source_key", "digests", "wish", "gone")
        return {key: (digests, bytes(wish), gone) for key, digests, wish, gone in found}


def test_undo_names_what_somebody_changed_since(clinic: Stage, keys: dict[str, str]) -> None:
    row = approved(clinic, proposed(clinic).pk)
    edit(clinic, keys["ada"], lastName="Third")
    edit(clinic, keys["ben"], firstName="Other")
    row = taken_back(clinic, row.pk)
    told = steps(clinic, row.pk)
    ada, ben = told[keys["ada"]], told[keys["ben"]]
    assert (ada.undo_state, ada.undo_code, ada.kept_fields) == (UndoState.KEPT, "repair.changed_since", ["lastName"])
    assert (ben.undo_state, ben.undo_code, ben.kept_fields) == (UndoState.PARTLY, "repair.changed_since", ["firstName"])
    assert customer(clinic, keys["ada"])["lastName"] == "Third"
    assert customer(clinic, keys["ben"])["firstName"] == "Other"
    assert customer(clinic, keys["ben"])["email"] == "somebody.else@example.com"
    assert clinic.held() == {}


def test_undo_gives_way_to_a_newer_wish(clinic: Stage, keys: dict[str, str]) -> None:
    """The source changed after the repair: what it says now counts, before the undo and after it."""
    row = approved(clinic, proposed(clinic).pk)
    clinic.world.edit_patient(keys["ada"], last_name="Married")
    clinic.sync()
    row = taken_back(clinic, row.pk)
    assert steps(clinic, row.pk)[keys["ada"]].undo_code == "repair.changed_since"
    assert customer(clinic, keys["ada"])["lastName"] == "Married"


def test_a_target_that_is_gone_or_unlinked_is_not_made_anew_by_an_undo(clinic: Stage, keys: dict[str, str]) -> None:
    row = approved(clinic, proposed(clinic).pk)
    clinic.shop.remove(int(clinic.links()[keys["ada"]]))
    count = len(clinic.customers())
    row = taken_back(clinic, row.pk)
    told = steps(clinic, row.pk)
    assert (told[keys["ada"]].undo_state, told[keys["ada"]].undo_code) == (UndoState.KEPT, "link.target_gone")
    assert len(clinic.customers()) == count
    assert clinic.held() == {}


@pytest.fixture
def shelf(house: House) -> Iterator[Stage]:
    """A roller that the shop sells, with its price and its stock from the practice."""
    with stage(house.harbour, mode="off") as built, override_settings(SUTURE_PARENT_WAIT_S=0.1):
        built.join("products-to-products")
        built.join("stock-to-inventory", location=str(next(iter(built.shop.locations))))
        open_wide(built)
        goods.add_product(built.world, name="Roller", item_code="FR-1", price="90", stock_level="10.0")
        built.sync_all()
        yield built


def test_a_price_and_a_stock_level_are_repaired_and_taken_back(shelf: Stage) -> None:
    """K35: what a shop's staff typed is there again, where the repair was the mistake."""
    (product,) = shelf.shop.products.values()
    product["variants"][0]["price"] = "1.00"
    shelf.shop.store(product)
    (level,) = (one for one in shelf.shop.levels.values() if one["isActive"])
    level["available"] = 17
    told = {}
    for kind in ("products-to-products", "stock-to-inventory"):
        with tenant_tx(shelf.tenant.pk):
            shelf.flow_id = Flow.objects.get(name=kind).pk
        compared(shelf)
        told[kind] = approved(shelf, proposed(shelf).pk)
        assert (told[kind].in_line, told[kind].unequal) == (1, 0), kind
    assert (_price(shelf), _level(shelf)) == ("90.00", 10)
    for kind, row in told.items():
        assert taken_back(shelf, row.pk).undone == 1, kind
    assert (_price(shelf), _level(shelf)) == ("1.00", 17)
    written = shelf.writes
    shelf.sync_all()
    assert shelf.writes == written


def _price(shelf: Stage) -> str:
    (product,) = shelf.shop.products.values()
    return str(product["variants"][0]["price"])


def _level(shelf: Stage) -> int:
    (level,) = (one for one in shelf.shop.levels.values() if one["isActive"])
    return int(level["available"])


def test_a_source_that_fails_later_is_not_the_targets_trouble(
    clinic: Stage, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three records a page each: the first goes well, so both connections are open when the source fails."""
    monkeypatch.setattr(repairing, "SUSPECTS", 1)
    with tenant_tx(clinic.tenant.pk):
        (row,) = repair.propose(repair.choose(Mismatch.objects.all()), by="olga", now=app_now())
    clinic.cliniko.faults.add(Fault(FaultKind.STATUS, status=503, skip=1, times=50))
    told = repairing.run_slice(clinic.tenant.pk, row.pk, seconds=30, opener=open_client)
    assert told.more and told.code.startswith("http.")
    with tenant_tx(clinic.tenant.pk):
        failures = dict(Connection.objects.values_list("name", "failures"))
    assert failures["practice"] > 0 and failures["shop"] == 0


def test_the_workers_task_carries_a_repair_on(clinic: Stage, keys: dict[str, str]) -> None:
    with tenant_tx(clinic.tenant.pk):
        (row,) = repair.propose(repair.choose(Mismatch.objects.all()), by="olga", now=app_now())
    with system_tx("test"):
        due = {errand.name: [ring.id for ring in errand.due()] for errand in registry.errands()}
    assert due["repair"] == [row.pk]
    assert registry.task_of("repair")(clinic.tenant.pk, row.pk) == "end"
    with tenant_tx(clinic.tenant.pk):
        assert Repair.objects.get(pk=row.pk).state == RepairState.PROPOSED
