"""Divergences of thirteen kinds planted among records that agree: all found, none invented, causes right, and mended (B7, K35).

`make test` plants a few of each among some hundred patients, `make proof` two thousand among a hundred thousand; there
SUTURE_PROOF_RECORDS names another number of patients.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest
from django.db import connection

from integrations.models import Link
from integrations.services import intake, linking
from integrations.services.sync import begin_run
from reconciliation.models import RepairState
from tenants.walls import tenant_tx
from tests.conftest import House
from tests.repairs import approved, proposed, steps, taken_back
from tests.reports import Seen, compared, copy_customer, customer, edit, mark, patients, rows, seen
from tests.stage import SHOP, Stage, open_wide, stage

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])
WHOLE = int(os.environ.get("SUTURE_PROOF_RECORDS", "100000"))

Plant = Callable[[Stage, str, str], Seen]


@pytest.fixture
def clinic(house: House) -> Iterator[Stage]:
    """How long bulk runs take is shown elsewhere."""
    with stage(house.harbour) as built:
        open_wide(built)
        built.shopify.vendor.configure(SHOP, bulk_rows_per_s=50_000)
        yield built


def _renamed(clinic: Stage, key: str, target: str) -> Seen:
    edit(clinic, key, lastName="Smith")
    return Seen("different", key, target, "lastName", "hand")


def _readdressed(clinic: Stage, key: str, target: str) -> Seen:
    row = customer(clinic, key)
    edit(clinic, key, email=f"someone.{row['email']}")
    return Seen("different", key, target, "email", "hand")


def _deleted(clinic: Stage, key: str, target: str) -> Seen:
    clinic.shop.remove(int(target))
    return Seen("missing_right", key, target, cause="deleted")


def _gone(clinic: Stage, key: str, target: str) -> Seen:
    clinic.world.remove(key)
    return Seen("missing_left", key, target, cause="deleted")


def _both_gone(clinic: Stage, key: str, target: str) -> Seen:
    clinic.world.remove(key)
    clinic.shop.remove(int(target))
    return Seen("linked_to_nothing", key, target, cause="deleted")


def _copied(clinic: Stage, key: str, _target: str) -> Seen:
    return Seen("duplicate", key, copy_customer(clinic, key))


def _remarked(clinic: Stage, key: str, target: str) -> Seen:
    edit(clinic, key, metafields=mark(clinic, customer(clinic, key), "999999999999"))
    return Seen("linked_twice", key, target, cause="hand")


def _unmarked(clinic: Stage, key: str, target: str) -> Seen:
    edit(clinic, key, metafields={})
    return Seen("different", key, target, "metafields.suture.cliniko_patient_id", "hand")


def _corrected(clinic: Stage, key: str, target: str) -> Seen:
    clinic.world.edit_patient(key, last_name="Corrected")
    return Seen("different", key, target, "lastName", "missed")


def _archived(clinic: Stage, key: str, target: str) -> Seen:
    clinic.world.archive(key)
    return Seen("different", key, target, "tag.inactive", "archived")


AFTER: Mapping[str, Plant] = {
    "renamed": _renamed,
    "readdressed": _readdressed,
    "deleted": _deleted,
    "gone": _gone,
    "both gone": _both_gone,
    "copied": _copied,
    "remarked": _remarked,
    "unmarked": _unmarked,
    "corrected": _corrected,
    "archived": _archived,
}


def _plant(clinic: Stage, keys: Mapping[str, str], names: Iterator[str], each: int) -> set[Seen]:
    """So many of each kind. What waits or is held is made first, since it takes a reading."""
    planted = set()
    links = clinic.links()
    for number in range(each):
        held = clinic.world.add_patient(first_name="No", last_name=f"Mail-{number}")
        planted.add(Seen("missing_right", held, cause="held", code="record.email_missing"))
        waiting = keys[next(names)]
        clinic.world.edit_patient(waiting, last_name="Under-Way")
        planted.add(Seen("different", waiting, links[waiting], "lastName", "not_delivered"))
    run_id = begin_run(clinic.tenant.pk, clinic.flow_id)
    assert run_id is not None
    intake.run_slice(clinic.tenant.pk, run_id, seconds=300)
    for number in range(each):
        new = clinic.world.add_patient(first_name="New", last_name="Patient", email=f"new.{number}@example.com")
        planted.add(Seen("missing_right", new, cause="missed"))
        for plant in AFTER.values():
            key = keys[next(names)]
            planted.add(plant(clinic, key, links[key]))
    return planted


@pytest.mark.parametrize(("among", "each"), [(90, 3), pytest.param(WHOLE, 154, marks=pytest.mark.proof)])
def test_all_are_found_none_is_invented_and_the_plan_mends_what_can_be_mended(
    clinic: Stage, among: int, each: int
) -> None:
    names = [f"p{number}" for number in range(among)]
    with _timed("synced"):
        keys = patients(clinic, names)
        clinic.sync(max_wait_s=600)
    planted = _plant(clinic, keys, iter(names), each)
    with _timed("compared"):
        report = compared(clinic)
    found = seen(clinic)
    assert {_what(one) for one in found} == {_what(one) for one in planted}
    assert report.found == len(found) == len(planted) == 13 * each
    right = len(found & planted) / len(planted)
    print(f"{len(found)} found of {len(planted)} planted among {among:,}, causes right: {right:.1%}")
    assert right >= 0.95
    assert _in_clear(clinic) == []
    touched = 11 * each  # of the synced ones; a copied one still agrees
    assert report.agree == among - touched + each

    mended = _mended_by_a_repair(found)
    with _timed("brought in line"):
        repair_id = _bring_in_line(clinic, mended)
    left = {one for one in found if one.kind in {"missing_left", "linked_to_nothing", "duplicate", "linked_twice"}}
    left |= {one for one in found if one.cause in {"deleted", "held"}}
    again = compared(clinic)
    assert seen(clinic) == left
    assert (again.found, again.closed) == (0, len(planted) - len(left) - len(mended))

    _take_back(clinic, repair_id, mended)
    back = {one for one in mended if one.kind == "different"}  # what was missing was made, and stays
    assert compared(clinic).found == len(back)
    assert {(one.source_key, one.field) for one in seen(clinic) - left} == {(one.source_key, one.field) for one in back}
    _bring_in_line(clinic, back)

    with _timed("decided by a person, and synced"):
        _decide_the_rest(clinic, left)
        clinic.sync()
    last = compared(clinic)
    assert rows(clinic) == [] and last.agree == last.left - last.left_out == last.right - last.others
    print(f"the last report: {last.agree:,} agree, 0 mismatches")


def _what(one: Seen) -> Seen:
    return replace(one, cause="", code="")


@contextmanager
def _timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    print(f"{what} in {time.monotonic() - began:.0f} s")


def _mended_by_a_repair(planted: set[Seen]) -> set[Seen]:
    """What a delivery mends, and nobody has sent yet."""
    by_hand = {"deleted", "held", "not_delivered"}
    return {one for one in planted if one.kind in {"different", "missing_right"} and one.cause not in by_hand}


def _bring_in_line(clinic: Stage, mended: set[Seen]) -> int:
    """Looked at, approved by somebody else, delivered and read again; the repair's number."""
    row = approved(clinic, proposed(clinic).pk)
    assert (row.state, row.in_line, row.unequal) == (RepairState.DONE, len(mended), 0)
    return row.pk


def _take_back(clinic: Stage, repair_id: int, mended: set[Seen]) -> None:
    """What was there before is there again; what was made is named."""
    row = taken_back(clinic, repair_id)
    made = {one.source_key for one in mended if one.kind == "missing_right"}
    told = steps(clinic, repair_id)
    assert (row.undone, row.kept) == (len(mended) - len(made), len(made))
    assert {key for key, step in told.items() if step.undo_code == "repair.created"} == made


def _decide_the_rest(clinic: Stage, left: set[Seen]) -> None:
    """What a person does, at a vendor or at a link."""
    for one in left:
        match one.kind, one.cause:
            case "missing_right", "held":
                clinic.world.edit_patient(one.source_key, email=f"found.{one.source_key}@example.com")
            case "missing_right" | "linked_to_nothing", "deleted":
                with tenant_tx(clinic.tenant.pk):
                    link = Link.objects.get(source_key=one.source_key)
                    linking.unlink(link, reason="deleted there", send_again=one.kind == "missing_right")
            case "linked_twice", _:
                row = clinic.shop.customers[int(one.target_key)]
                clinic.shop.store({**row, "metafields": mark(clinic, row, one.source_key)})
            case "duplicate", _:
                clinic.shop.remove(int(one.target_key))
            case _:
                with tenant_tx(clinic.tenant.pk):
                    Link.objects.get(source_key=one.source_key).delete()
                clinic.shop.remove(int(one.target_key))


def _in_clear(clinic: Stage) -> list[str]:
    """Rows of mismatches in which a name or an address stands for all to read."""
    with tenant_tx(clinic.tenant.pk), connection.cursor() as cursor:
        cursor.execute("SELECT t::text || coalesce(encode(sealed_values, 'escape'), '') FROM reconciliation_mismatch t")
        told = [row for (row,) in cursor.fetchall() if row]
    assert told
    return [row for row in told if "example.com" in row or "Smith" in row]
