"""Whoever changes how a clinic is set up, what is wrong with what they asked for, and the audit of what they changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from integrations.models import Connection, Flow
from tenants.models import AGENCY_ROLES, Role
from tenants.services import record_audit


@dataclass(frozen=True, slots=True)
class By:
    """Who changes something: the account's name, its role, and its id where a person did it; ``acted_by`` is who acted
    as them."""

    actor: str
    role: str
    user_id: int | None = None
    acted_by: str = ""

    @property
    def is_owner(self) -> bool:
        return self.role in {Role.AGENCY_OWNER, OPERATOR_ROLE}

    @property
    def is_agency(self) -> bool:
        return self.role in {*AGENCY_ROLES, OPERATOR_ROLE}


OPERATOR_ROLE = "operator"
OPERATOR = By("provisioning", OPERATOR_ROLE)
"""Whoever may run commands on the machine: as much as the agency's owner."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: ``where`` is ``rules.TARGET``, ``settings.NAME``, ``values.MAP.LINE`` or a field's name."""

    where: str
    code: str
    sentence: str


class Refused(ValueError):
    """A configuration that cannot be, or may not be made by this person. Nothing was changed."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(" ".join(fault.sentence for fault in faults))
        self.faults = tuple(faults)


def refused(where: str, code: str, sentence: str) -> Refused:
    return Refused([Fault(where, code, sentence)])


def audit(
    action: str, row: Connection | Flow, by: By, *, reason: str = "", diff: Mapping[str, object] | None = None
) -> None:
    """By name, never by value."""
    record_audit(
        action,
        target=f"{row._meta.model_name} {row.pk}",
        reason=reason.strip()[:500],
        diff=diff,
        tenant_id=row.tenant_id,
        actor=by.actor,
        actor_role=by.role,
    )
