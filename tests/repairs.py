"""A repair of a stage's mismatches, from the choice to its end, as tests drive it."""

from integrations.services.connections import open_client
from reconciliation import repair, repairing
from reconciliation.models import Mismatch, Repair, RepairStep
from tenants.walls import app_now, tenant_tx
from tests.stage import Stage


def proposed(on_stage: Stage, *, by: str = "olga", **which: object) -> Repair:
    """A repair of the flow's open mismatches, looked at and waiting for approval."""
    with tenant_tx(on_stage.tenant.pk):
        choice = repair.choose(Mismatch.objects.filter(flow_id=on_stage.flow_id, **which))
        (made,) = repair.propose(choice, by=by, now=app_now())
    return carried_on(on_stage, made.pk)


def carried_on(on_stage: Stage, repair_id: int) -> Repair:
    """As far as it goes without anybody."""
    while repairing.run_slice(on_stage.tenant.pk, repair_id, seconds=30, opener=open_client).more:
        with tenant_tx(on_stage.tenant.pk):
            Repair.objects.filter(pk=repair_id).update(not_before=None)
        on_stage.report()
    return standing(on_stage, repair_id)


def standing(on_stage: Stage, repair_id: int) -> Repair:
    with tenant_tx(on_stage.tenant.pk):
        found: Repair = Repair.objects.get(pk=repair_id)
        return found


def steps(on_stage: Stage, repair_id: int) -> dict[str, RepairStep]:
    """Its steps by source key."""
    with tenant_tx(on_stage.tenant.pk):
        return {step.source_key: step for step in RepairStep.objects.filter(repair_id=repair_id)}


def approved(on_stage: Stage, repair_id: int, *, by: str = "ana") -> Repair:
    """Approved, delivered and read again."""
    with tenant_tx(on_stage.tenant.pk):
        repair.approve(Repair.objects.get(pk=repair_id), by=by, now=app_now())
    on_stage.report()
    return carried_on(on_stage, repair_id)


def taken_back(on_stage: Stage, repair_id: int) -> Repair:
    """Undone, as far as it can be."""
    with tenant_tx(on_stage.tenant.pk):
        repair.undo(Repair.objects.get(pk=repair_id), by="olga", reason="a mistake", now=app_now())
    on_stage.report()
    return carried_on(on_stage, repair_id)
