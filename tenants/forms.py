"""Forms of tenant rows: the clinic is never a field of the row, and never taken from the request."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminSelectWidget

from tenants.models import AGENCY_ROLES, CLINIC_ROLES, Membership, Role, Tenant
from tenants.people import Person
from tenants.walls import TenantForeignKey, TenantScope, current_scope, current_tenant_id

if TYPE_CHECKING:
    _Form = forms.ModelForm[Any]
else:
    _Form = forms.ModelForm


def choices(roles: Iterable[Role]) -> list[tuple[str, str]]:
    return [(role.value, str(role.label)) for role in roles]


class TenantForm(_Form):
    """Sets the clinic before the row is checked, so that unique constraints that begin with it are checked too."""

    def _post_clean(self) -> None:
        if self.instance.tenant_id is None:
            self.instance.tenant_id = self.clinic_id()
        super()._post_clean()  # type: ignore[misc]
        for field in self.instance._meta.concrete_fields:
            if isinstance(field, TenantForeignKey) and field.name in self.cleaned_data:
                self._refuse_foreign(field.name)

    def clinic_id(self) -> int | None:
        """The clinic in scope; an agency's scope holds many, and its add form asks."""
        scope = current_scope()
        return scope.id if isinstance(scope, TenantScope) else None

    def _refuse_foreign(self, name: str) -> None:
        other = self.cleaned_data[name]
        if other is not None and other.tenant_id != self.instance.tenant_id:
            self.add_error(
                name, ValidationError("Select a valid choice. That choice is not one of the available choices.")
            )

    def _get_validation_exclusions(self) -> set[str]:
        return super()._get_validation_exclusions() - {"tenant"}  # type: ignore[misc,no-any-return]


class ClinicChoiceForm(TenantForm):
    """The agency's add form: which of its clinics the row is for."""

    clinic = forms.ModelChoiceField(Tenant.objects.all())

    def clinic_id(self) -> int | None:
        chosen = self.cleaned_data.get("clinic")
        return chosen.pk if chosen else None


class MemberForm(forms.Form):
    """A clinic invites by address. Whether the address has an account already is not told."""

    email = forms.EmailField(max_length=150, widget=UnfoldAdminEmailInputWidget)
    role = forms.ChoiceField(choices=choices(CLINIC_ROLES), widget=UnfoldAdminSelectWidget)

    def place(self, by: Person) -> dict[str, Any]:
        """What `add_member` is to be told."""
        return {"role": Role(self.cleaned_data["role"]), "tenant_id": current_tenant_id()}

    def place_key(self) -> dict[str, Any]:
        return {"tenant_id": current_tenant_id()}


class AgencyMemberForm(MemberForm):
    """The agency's owner invites to a clinic, or to the agency itself."""

    role = forms.ChoiceField(choices=choices(Role), widget=UnfoldAdminSelectWidget)
    clinic = forms.ModelChoiceField(
        Tenant.objects.all(),
        required=False,
        empty_label="All clinics",
        help_text="Clinic roles need one; agency staff without one reach all.",
        widget=UnfoldAdminSelectWidget,
    )

    def clean(self) -> dict[str, Any]:
        role, clinic = self.cleaned_data.get("role"), self.cleaned_data.get("clinic")
        if role in CLINIC_ROLES and clinic is None:
            self.add_error("clinic", "A clinic role needs a clinic.")
        if role == Role.AGENCY_OWNER and clinic is not None:
            self.add_error("clinic", "The agency's owner reaches all clinics.")
        return self.cleaned_data

    def place(self, by: Person) -> dict[str, Any]:
        role, clinic = Role(self.cleaned_data["role"]), self.cleaned_data["clinic"]
        agency_id = by.agency_id if role in AGENCY_ROLES else None
        return {"role": role, "tenant_id": clinic.pk if clinic else None, "agency_id": agency_id}

    def place_key(self) -> dict[str, Any]:
        return {"tenant": self.cleaned_data["clinic"]}


class MemberRoleForm(_Form):
    """What a clinic manager may change of a member."""

    role = forms.ChoiceField(choices=choices(CLINIC_ROLES), widget=UnfoldAdminSelectWidget)

    class Meta:
        model = Membership
        fields = ["role"]
