"""Who is asking, and what they may be where. Read afresh for every request, so that a right taken away is gone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import Q

from tenants.models import AGENCY_ROLES, Membership, Role, Tenant
from tenants.walls import ScopeError, current_scope


@dataclass(frozen=True, slots=True)
class Person:
    """`agency_clinics` are the clinics an agency role reaches; `clinics` the ones they belong to, with their role.
    ``acted_by`` is the account of whoever acts as them just now.
    """

    user_id: int | None = None
    actor: str = ""
    agency_id: int | None = None
    agency_role: Role | None = None
    agency_clinics: frozenset[int] = frozenset()
    clinics: Mapping[int, Role] = field(default_factory=dict)
    acted_by: str = ""

    @property
    def is_agency(self) -> bool:
        return self.agency_role is not None

    @property
    def is_owner(self) -> bool:
        return self.agency_role is Role.AGENCY_OWNER


NOBODY = Person()


def person_for(user: Any) -> Person:
    """Works out a signed-in user's places in two queries."""
    if isinstance(user, AnonymousUser) or not user.is_active:
        return NOBODY
    memberships = list(Membership.objects.of_user(user.pk))
    agency = [row for row in memberships if row.role in AGENCY_ROLES]
    return Person(
        user_id=user.pk,
        actor=user.get_username(),
        agency_id=agency[0].agency_id if agency else None,
        agency_role=_highest(agency),
        agency_clinics=_reached(agency),
        clinics={row.tenant_id: Role(row.role) for row in memberships if row.agency_id is None and row.tenant_id},
    )


def may_act_as(who: Person, other: Person, clinic_id: int) -> bool:
    """Whether one of the agency's people may act as this person in this clinic: one that they reach, and somebody who
    belongs to it and to no agency. Nobody does so while they act as somebody already."""
    return (
        not who.acted_by
        and who.is_agency
        and clinic_id in who.agency_clinics
        and other.user_id is not None
        and not other.is_agency
        and clinic_id in other.clinics
    )


def acted_by(who: Person, other: Person, clinic_id: int) -> Person:
    """What `who` is while acting as `other`: the other's role in that one clinic, with both names in the audit; nobody
    once they may not."""
    if not may_act_as(who, other, clinic_id):
        return NOBODY
    return replace(
        other,
        actor=f"{who.actor} as {other.actor}",
        acted_by=who.actor,
        clinics={clinic_id: other.clinics[clinic_id]},
    )


def _highest(memberships: list[Membership]) -> Role | None:
    roles = {row.role for row in memberships}
    return next((role for role in AGENCY_ROLES if role in roles), None)


def _reached(memberships: list[Membership]) -> frozenset[int]:
    everywhere = {row.agency_id for row in memberships if row.tenant_id is None and row.agency_id is not None}
    reached = {row.tenant_id for row in memberships if row.tenant_id is not None}
    if everywhere:
        reached |= set(Tenant.objects.filter(agency_id__in=everywhere).values_list("id", flat=True))
    return frozenset(reached)


def addresses(clinic: Tenant, *roles: Role) -> list[str]:
    """Where people with one of these roles who reach the clinic get their mail, each once. Outside of any scope: a
    clinic does not see the agency's people."""
    if current_scope() is not None:
        raise ScopeError("people of the agency and of a clinic are seen together only by app_login, outside a scope")
    here = Q(tenant=clinic) | Q(agency_id=clinic.agency_id, tenant=None)
    members = Membership.objects.filter(here, role__in=roles, user__is_active=True).exclude(user__email="")
    return sorted(set(members.values_list("user__email", flat=True)))


def people_with(clinic: Tenant, *roles: Role) -> list[tuple[int, str]]:
    """(user, address) of the people with one of these roles at this very clinic. Outside of any scope."""
    if current_scope() is not None:
        raise ScopeError("addresses are seen by app_login, outside a scope")
    members = Membership.objects.filter(tenant=clinic, agency=None, role__in=roles, user__is_active=True)
    return sorted(members.exclude(user__email="").values_list("user_id", "user__email"))


@dataclass(frozen=True, slots=True)
class Reader:
    """One of the agency's people with an address. ``clinics`` are those they reach, None for every clinic."""

    address: str
    clinics: frozenset[int] | None

    def reached(self, clinics: Iterable[int]) -> frozenset[int]:
        """Which of these they may hear of."""
        return frozenset(clinics) if self.clinics is None else self.clinics & frozenset(clinics)


def readers(agency_id: int) -> list[Reader]:
    """The agency's own people and how far each may see, by address. Outside of any scope."""
    if current_scope() is not None:
        raise ScopeError("all the agency's people are seen by app_login, outside a scope")
    members = Membership.objects.filter(agency_id=agency_id, role__in=AGENCY_ROLES, user__is_active=True)
    reached: dict[str, set[int | None]] = {}
    for address, clinic in members.exclude(user__email="").values_list("user__email", "tenant_id"):
        reached.setdefault(address, set()).add(clinic)
    return [
        Reader(address, None if None in clinics else frozenset(clinic for clinic in clinics if clinic))
        for address, clinics in sorted(reached.items())
    ]
