"""What every admin page has in common: rights by role, the clinic from the scope, our own audit and history."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, cast

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import RelatedDropdownFilter
from unfold.forms import PaginationInlineFormSet

from tenants.acting import ActForm
from tenants.forms import AgencyMemberForm, ClinicChoiceForm, MemberForm, MemberRoleForm, TenantForm
from tenants.middleware import person
from tenants.models import AGENCY_ROLES, CLINIC_ROLES, AgencyAuditEntry, AuditEntry, Membership, Role, Tenant
from tenants.services import add_member, find_or_add_user, record_audit, save_new_tenant
from tenants.signin import is_fresh, prove_yourself
from tenants.sites import LiveView, SutureSite, agency_site, clinic_site, live_view
from tenants.walls import AgencyScope, current_scope

Roles = frozenset[Role]
EVERYONE: Roles = frozenset(Role)
EDITORS: Roles = frozenset({Role.AGENCY_OWNER, Role.AGENCY_STAFF, Role.CLINIC_MANAGER})
OWNERS: Roles = frozenset({Role.AGENCY_OWNER})
NOBODY: Roles = frozenset()


class ScopedAdmin(ModelAdmin):
    """Who may do what is a set of roles; permissions of Django's own are not asked. Nothing is deleted unless said."""

    may_view: ClassVar[Roles] = EVERYONE
    may_change: ClassVar[Roles] = EDITORS
    may_add: ClassVar[Roles] = EDITORS
    may_delete: ClassVar[Roles] = NOBODY
    view_on_site = False
    list_title: ClassVar[str] = ""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """A list is called what it shows, as in the menu; not "Select ... to change"."""
        title = self.list_title or str(self.opts.verbose_name_plural).capitalize()
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def role(self, request: HttpRequest) -> Role | None:
        return cast(SutureSite, self.admin_site).role_of(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.role(request) in self.may_view

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.role(request) in self.may_change

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.role(request) in self.may_add

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.role(request) in self.may_delete

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.role(request) in self.may_view

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        self.audit(request, "added", obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        self.audit(request, "changed", obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Any]) -> None:
        for obj in queryset:
            self.audit(request, "deleted", obj, [])

    def audit(self, request: HttpRequest, verb: str, obj: Any, message: Any, reason: str = "") -> None:
        """One entry that names the row and the fields, never a value."""
        said = json.loads(message) if isinstance(message, str) and message.startswith("[") else message
        record_audit(
            f"{self.opts.model_name}.{verb}",
            target=target_of(obj),
            reason=reason,
            diff={"form": said} if said else {},
            tenant_id=obj.pk if isinstance(obj, Tenant) else getattr(obj, "tenant_id", None),
            actor=person(request).actor,
            actor_role=self.role(request) or "",
        )

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit entries of one row."""
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            return cast(HttpResponse, self._get_obj_does_not_exist_redirect(request, self.opts, object_id))
        if not self.has_view_or_change_permission(request, obj):
            raise PermissionDenied
        paginator = self.get_paginator(request, self._entries(obj), 100)
        page: Any = paginator.get_page(request.GET.get(PAGE_VAR, 1))
        context = {
            **self.admin_site.each_context(request),
            "title": f"History of {obj}",
            "subtitle": None,
            "action_list": page,
            "page_range": paginator.get_elided_page_range(page.number),
            "page_var": PAGE_VAR,
            "pagination_required": paginator.count > 100,
            "module_name": str(self.opts.verbose_name_plural),
            "object": obj,
            "opts": self.opts,
            "preserved_filters": self.get_preserved_filters(request),
            **(extra_context or {}),
        }
        page.object_list = [HistoryLine.of(entry) for entry in page.object_list]
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.object_history_template or "admin/object_history.html", context)

    def _entries(self, obj: Any) -> models.QuerySet[Any]:
        if isinstance(obj, Tenant):
            return AuditEntry.objects.filter(tenant_id=obj.pk, target=target_of(obj)).order_by("at")
        tenant_id = getattr(obj, "tenant_id", None)
        if tenant_id is None:
            return AgencyAuditEntry.objects.filter(target=target_of(obj)).order_by("at")
        return AuditEntry.objects.filter(tenant_id=tenant_id, target=target_of(obj)).order_by("at")


def target_of(obj: models.Model) -> str:
    """How the audit names a row: its kind and number, since its words may be personal."""
    return f"{obj._meta.model_name} {obj.pk}"


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """An audit entry in the shape Django's history template reads."""

    action_time: datetime
    who: str
    what: str

    @classmethod
    def of(cls, entry: Any) -> "HistoryLine":
        return cls(entry.at, entry.actor, " ".join(filter(None, [entry.action, entry.reason])))

    @property
    def user(self) -> "HistoryLine":
        return self

    def get_username(self) -> str:
        return self.who

    def get_full_name(self) -> str:
        return ""

    def get_change_message(self) -> str:
        return self.what


class TenantModelAdmin(ScopedAdmin):
    """For tenant tables: `tenant` is no field of the form; the agency chooses a clinic when it adds a row."""

    form = TenantForm
    add_form: ClassVar[type[TenantForm]] = ClinicChoiceForm

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if self._asks_for_clinic(obj):
            kwargs["form"] = self._add_form()
        return super().get_form(request, obj, change=change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        if self.fields is None:
            return cast(Sequence[Any], super().get_fields(request, obj))
        return ["clinic", *self.fields] if self._asks_for_clinic(obj) else self.fields

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if self._asks_for_clinic(obj) and self.fieldsets:
            return [(None, {"fields": ["clinic"]}), *fieldsets]
        return fieldsets

    def _asks_for_clinic(self, obj: Any) -> bool:
        return obj is None and isinstance(current_scope(), AgencyScope)

    def _add_form(self) -> "type[forms.ModelForm[Any]]":
        if self.form is TenantForm:
            return self.add_form
        return type(f"{self.form.__name__}WithClinic", (ClinicChoiceForm, self.form), {})


class TenantInlineFormSet(PaginationInlineFormSet):
    """Rows added beside their parent belong to its clinic."""

    def _construct_form(self, i: int, **kwargs: Any) -> Any:
        form = super()._construct_form(i, **kwargs)
        form.instance.tenant_id = form.instance.tenant_id or self.instance.tenant_id
        return form


class TenantTabularInline(TabularInline):
    """For tenant tables beside their parent; the roles of the parent's page decide."""

    form = TenantForm
    formset = TenantInlineFormSet

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(self.parent().has_change_permission(request, obj))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(self.parent().has_change_permission(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(self.parent().has_change_permission(request, obj))

    def parent(self) -> Any:
        return self.admin_site.get_model_admin(self.parent_model)


class ReadOnlyTenantAdmin(TenantModelAdmin):
    """For what the machine writes: runs, links, logs. Looked at by everyone, changed by nobody."""

    may_change = NOBODY
    may_add = NOBODY


class TenantAdmin(ScopedAdmin):
    """The agency's clinics. Only its owner adds one."""

    may_view = frozenset(AGENCY_ROLES)
    may_change = frozenset(AGENCY_ROLES)
    may_add = OWNERS
    list_display = ("name", "slug", "time_zone", "country", "currency", "active")
    list_filter = ("active", "country")
    search_fields = ("name", "slug")
    fields = ("name", "slug", "time_zone", "country", "currency", "active")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["labels"] = {"slug": "Short name"}
        kwargs["help_texts"] = {"slug": "For addresses and commands, such as harbour-physio. It stays as it is."}
        return super().get_form(request, obj, change, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        return ("slug",) if obj else ()

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            obj.save(update_fields=form.changed_data or None)
            return
        obj.agency_id = person(request).agency_id
        save_new_tenant(obj)


class MembershipAdmin(ScopedAdmin):
    """Who may see what. People are invited by address, never chosen from a list of all accounts."""

    may_change = OWNERS | {Role.CLINIC_MANAGER}
    may_add = OWNERS | {Role.CLINIC_MANAGER}
    may_delete = OWNERS | {Role.CLINIC_MANAGER}
    may_view = EVERYONE - {Role.CLINIC_VIEWER}
    list_display = ("email", "role", "clinic")
    list_title = "Members"
    list_filter = ("role",)
    list_select_related = ("tenant",)
    search_fields = ("user__email",)
    form = MemberRoleForm
    fields = ("role",)

    def get_urls(self) -> list[URLPattern]:
        """To act as somebody begins on the agency's site alone."""
        act = path("<path:object_id>/act/", self.admin_site.admin_view(self.act_view), name="tenants_membership_act")
        return [act, *super().get_urls()] if self.admin_site is agency_site else super().get_urls()

    def get_list_display(self, request: HttpRequest) -> Sequence[str]:
        return (*self.list_display, "act") if self.admin_site is agency_site else self.list_display

    def get_list_filter(self, request: HttpRequest) -> Sequence[Any]:
        return ("role", ("tenant", RelatedDropdownFilter)) if self.admin_site is agency_site else self.list_filter

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        members: models.QuerySet[Any] = super().get_queryset(request)
        annotated: models.QuerySet[Any] = members.annotate(email=F("user__email"))
        return annotated

    def email(self, member: Any) -> str:
        return str(member.email)

    email.admin_order_field = "email"  # type: ignore[attr-defined]

    @admin.display(description="Clinic", ordering="tenant__name")
    def clinic(self, member: Any) -> str:
        return str(member.tenant or "All clinics")

    @admin.display(description="Help them")
    def act(self, member: Any) -> SafeString | str:
        if member.role not in CLINIC_ROLES:
            return ""
        return format_html('<a class="su-link" href="{}">Act as them</a>', self._act_url(member))

    def _act_url(self, member: Any) -> str:
        return reverse("agency:tenants_membership_act", args=[member.pk])

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Who acts as somebody changes no members."""
        return super().has_add_permission(request) and not person(request).acted_by

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes their own role; an agency role is taken away and given anew."""
        who = person(request)
        is_fixed = obj is not None and (obj.user_id == who.user_id or obj.agency_id is not None)
        return super().has_change_permission(request, obj) and not is_fixed and not who.acted_by

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        who = person(request)
        is_self = obj is not None and obj.user_id == who.user_id
        return super().has_delete_permission(request, obj) and not is_self and not who.acted_by

    @live_view
    def act_view(self, request: HttpRequest, object_id: str) -> LiveView:
        """Asks for the reason; `tenants.acting` begins. Who has not proved lately who they are does so first."""
        member = self.get_object(request, unquote(object_id))
        if member is None:
            return cast(HttpResponse, self._get_obj_does_not_exist_redirect(request, self.opts, object_id))
        if member.role not in CLINIC_ROLES:
            raise PermissionDenied
        who, address = str(member.email), self._act_url(member)
        if not (yield lambda: is_fresh(request)):
            return prove_yourself(address)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Act as {who}",
            "form": ActForm(),
            "member": member,
            "minutes": settings.SUTURE_ACTING_S // 60,
        }
        return TemplateResponse(request, "tenants/act.html", context)

    @live_view
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> LiveView:
        """An account is found or made as app_login, between the two halves, for a clinic may not look for accounts."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = self.invitation(request)
        if request.method == "POST" and form.is_valid():
            user: Any = yield lambda: find_or_add_user(email=form.cleaned_data["email"])
            if not self.is_member(user.pk, form):
                add_member(user_id=user.pk, **form.place(person(request)), actor=person(request).actor)
            messages.success(request, "They can sign in now.")
            return redirect(f"{self.admin_site.name}:tenants_membership_changelist")
        context = {**self.admin_site.each_context(request), "title": "Add member", "form": form, "opts": self.opts}
        return TemplateResponse(request, "tenants/member_add.html", context)

    def invitation(self, request: HttpRequest) -> MemberForm:
        form = AgencyMemberForm if self.role(request) in AGENCY_ROLES else MemberForm
        return form(request.POST if request.method == "POST" else None)

    def is_member(self, user_id: int, form: MemberForm) -> bool:
        return Membership.objects.filter(user_id=user_id, **form.place_key()).exists()


class Journal:
    """The columns of both journals: when with its zone, who, and what in words."""

    list_display: Sequence[str] = ("when", "who", "what", "target", "reason")

    @admin.display(description="When", ordering="at")
    def when(self, entry: Any) -> SafeString:
        zone = entry.tenant.time_zone if hasattr(entry, "tenant") else "UTC"
        return render_to_string("suture/time.html", {"value": entry.at, "zone": zone})

    @admin.display(description="Who", ordering="actor")
    def who(self, entry: Any) -> str:
        return entry.actor or "Suture"

    @admin.display(description="What", ordering="action")
    def what(self, entry: Any) -> str:
        """``flow.backfill_begun`` is said as *Flow history begun*."""
        words: str = entry.action.replace(".", " ").replace("_", " ").replace("backfill", "history")
        return words.capitalize()


class AuditEntryAdmin(Journal, ReadOnlyTenantAdmin):
    list_title = "Audit"
    list_select_related = ("tenant",)
    list_filter = ("action",)
    search_fields = ("actor", "target")
    date_hierarchy = "at"
    may_view = EVERYONE - {Role.CLINIC_VIEWER}

    def get_list_display(self, request: HttpRequest) -> Sequence[str]:
        """The agency sees whose it is; a clinic sees its own alone."""
        when, *rest = self.list_display
        return (when, "clinic", *rest) if self.role(request) in AGENCY_ROLES else self.list_display

    @admin.display(description="Clinic", ordering="tenant__name")
    def clinic(self, entry: Any) -> str:
        return str(entry.tenant)


class AgencyAuditEntryAdmin(Journal, ScopedAdmin):
    list_title = "Agency audit"
    may_view = OWNERS
    may_change = NOBODY
    may_add = NOBODY
    list_filter = ("action",)
    search_fields = ("actor", "target")
    date_hierarchy = "at"


agency_site.register(Tenant, TenantAdmin)
agency_site.register(AgencyAuditEntry, AgencyAuditEntryAdmin)
for site in (agency_site, clinic_site):
    site.register(Membership, MembershipAdmin)
    site.register(AuditEntry, AuditEntryAdmin)
