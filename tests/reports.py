"""A comparison of a stage's flow, and what it found, as tests read it."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from integrations.connectors.shopify.sandbox_rows import Row
from integrations.models import Link
from integrations.services.connections import open_client
from reconciliation.compare import LEFT_PARTS, RIGHT_PARTS, side_total
from reconciliation.here import compare
from reconciliation.models import Mismatch, Report, ReportState
from tenants.walls import tenant_tx
from tests.stage import Stage

MARKER = "suture.cliniko_patient_id"


@dataclass(frozen=True, slots=True)
class Seen:
    """One open mismatch, without its times."""

    kind: str
    source_key: str = ""
    target_key: str = ""
    field: str = ""
    cause: str = ""
    code: str = ""


def compared(on_stage: Stage, flow_id: int = 0) -> Report:
    """A comparison to its end; its counts add up on both sides."""
    report = compare(on_stage.tenant.pk, flow_id or on_stage.flow_id, max_wait_s=30, opener=open_client)
    assert report.state == ReportState.DONE, report.code
    assert report.left == side_total(report.counts, LEFT_PARTS)
    assert report.right == side_total(report.counts, RIGHT_PARTS)
    return report


def rows(on_stage: Stage, flow_id: int = 0, **which: object) -> list[Mismatch]:
    with tenant_tx(on_stage.tenant.pk):
        found = Mismatch.objects.filter(flow_id=flow_id or on_stage.flow_id, **{"closed_at": None, **which})
        return list(found.order_by("kind", "source_key", "target_key", "field"))


def seen(on_stage: Stage, flow_id: int = 0) -> set[Seen]:
    return {
        Seen(row.kind, row.source_key, row.target_key, row.field, row.cause, row.code)
        for row in rows(on_stage, flow_id)
    }


def patients(on_stage: Stage, names: Sequence[str]) -> dict[str, str]:
    """A patient a name, with their keys."""
    return {
        name: on_stage.world.add_patient(
            first_name=name.title(),
            last_name=f"Chen-{name.title()}",
            email=f"{name}@example.com",
            accepted_email_marketing=number % 2 == 0,
        )
        for number, name in enumerate(names)
    }


def customer(on_stage: Stage, key: str) -> Row:
    """The customer linked to a patient."""
    with tenant_tx(on_stage.tenant.pk):
        link = Link.objects.get(source_key=key)
    return on_stage.shop.customers[int(link.target_key)]


def edit(on_stage: Stage, key: str, **given: object) -> str:
    """What somebody does by hand to a patient's customer; the customer's key."""
    row = on_stage.shop.store({**deepcopy(customer(on_stage, key)), **given})
    return str(row["id"])


def mark(on_stage: Stage, row: Row, value: str) -> Row:
    """The metafields of a customer, with another marker."""
    (name,) = (name for name in row["metafields"] if name == MARKER)
    fields = deepcopy(row["metafields"])
    fields[name]["value"] = value
    return fields


def copy_customer(on_stage: Stage, key: str) -> str:
    """One more customer that says it is this patient; its key."""
    row = deepcopy(customer(on_stage, key))
    copied = {**row, "id": on_stage.shop.next_id(), "email": None, "phone": None}
    return str(on_stage.shop.store(copied)["id"])
