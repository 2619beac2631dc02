"""Connections: their list, a page each, keys that are written and never read, and "Test connection"."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import slugify

from integrations.admin.setup import SetupAdmin, clinic_of, in_one_clinic, may_ask, said
from integrations.connectors import CONNECTORS
from integrations.connectors.base import Connector, Probe
from integrations.core.errors import SyncError
from integrations.models import Alert, Connection, ConnectionState, Flow, QuotaBudget
from integrations.services import connection_setup
from integrations.services.changes import Refused
from integrations.services.connections import test_connection
from integrations.services.quota import share_used
from integrations.words import flow_name
from tenants.admin import EDITORS
from tenants.models import AGENCY_ROLES, Tenant
from tenants.signin import is_fresh, prove_yourself
from tenants.sites import LiveView, agency_site, clinic_site, live_view
from tenants.walls import app_now, narrow_to

FACTS = {
    "account_name": "Account",
    "role": "Role of the key's owner",
    "plan": "Plan",
    "zone": "Time zone",
    "currency": "Currency",
    "country": "Country",
    "scopes": "May do",
    "api_version": "API version",
}
"""The probed facts that tell a person something, and their words."""

TONES = {
    "ok": ("check_circle", "ok", "Fine"),
    "warning": ("warning", "warn", "Look at this"),
    "problem": ("error", "bad", "Problem"),
}


class CredentialForm(forms.Form):
    """The boxes of a connector. Secrets go in and never come out; a box left empty keeps what is there."""

    def __init__(self, connector: Connector, connection: Connection | None, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        hints = connection.hints if connection else {}
        if connection is None:
            self.fields["label"] = _box("Name on screens", help_text="For example: Cliniko, or Shop.", max_length=120)
            self.initial.setdefault("label", connector.label)
        if connector.account_label:
            self.fields["account"] = _box(connector.account_label, initial=connection.account if connection else "")
        for box in connector.credentials:
            self.fields[f"key-{box.name}"] = _credential(box, str(hints.get(box.name, "")))

    def credentials(self) -> dict[str, str]:
        return {name[4:]: value for name, value in self.cleaned_data.items() if name.startswith("key-")}


def _box(label: str, **options: Any) -> forms.CharField:
    return forms.CharField(label=label, widget=forms.TextInput(attrs={"autocomplete": "off"}), **options)


def _credential(box: Any, hint: str) -> forms.CharField:
    if not box.secret:
        return _box(box.label, help_text=box.help, required=box.required, initial=hint, max_length=320)
    widget = forms.PasswordInput(attrs={"autocomplete": "new-password", "spellcheck": "false"})
    if hint:
        widget.attrs["placeholder"] = f"•••• {hint}  (empty keeps it)"
    return forms.CharField(
        label=box.label, help_text=box.help, required=box.required and not hint, widget=widget, max_length=2000
    )


@dataclass(frozen=True, slots=True)
class Tested:
    """What a test came to, in words. ``code`` is set when the vendor could not be asked."""

    works: bool
    title: str
    code: str = ""

    @classmethod
    def of(cls, answer: Probe | SyncError) -> "Tested":
        if isinstance(answer, SyncError):
            return cls(False, "The connection does not work.", answer.code)
        if answer.works:
            return cls(True, f"It works: {answer.account_name}.")
        return cls(False, f"{answer.account_name} answers, but something must be put right first.")


class ConnectionAdmin(SetupAdmin):
    """A clinic's accounts. The agency makes them; the clinic's manager may change a key and test it."""

    may_add = frozenset(AGENCY_ROLES)
    may_change = EDITORS
    list_display_links = ("clinic", "shown")
    list_filter = ("state", "vendor")
    search_fields = ("name", "label", "account")
    list_per_page = 50
    list_before_template = "admin/integrations/connection/none.html"
    list_select_related = ("tenant",)
    ordering = ("tenant__name", "name")
    pages = (("key", "key_view"), ("test", "test_view"), ("pause", "pause_view"), ("fields", "fields_view"))

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        columns = ("shown", "account", "state_word", "answered", "tested", "quota")
        return columns if in_one_clinic() else ("clinic", *columns)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).defer("sealed_credentials", "facts", "findings")

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The page's rows with their quota, which is kept by what the vendor counts against: one query for all."""
        changelist = super().get_changelist_instance(request)
        rows = list(changelist.result_list)
        budgets = _budgets(rows)
        for row in rows:
            row.quota_used = budgets.get((row.vendor, row.quota_subject))
        changelist.result_list = rows
        return changelist

    @admin.display(description="Clinic", ordering="tenant__name")
    def clinic(self, row: Connection) -> str:
        return str(row.tenant)

    @admin.display(description="Connection", ordering="name")
    def shown(self, row: Connection) -> SafeString:
        vendor = CONNECTORS[row.vendor].label if row.vendor in CONNECTORS else row.vendor
        return format_html('{}<span class="su-under">{}</span>', str(row), "" if vendor == str(row) else vendor)

    @admin.display(description="State", ordering="state")
    def state_word(self, row: Connection) -> SafeString:
        return render_to_string("suture/state.html", {"state": row.state, "word": row.get_state_display()})

    @admin.display(description="Last answer", ordering="last_answer_at")
    def answered(self, row: Connection) -> SafeString:
        return render_to_string(
            "suture/time.html", {"value": row.last_answer_at, "zone": row.tenant.time_zone, "ago": True}
        )

    @admin.display(description="Last tested", ordering="tested_at")
    def tested(self, row: Connection) -> SafeString:
        return render_to_string("suture/time.html", {"value": row.tested_at, "zone": row.tenant.time_zone, "ago": True})

    @admin.display(description="Quota used")
    def quota(self, row: Any) -> SafeString:
        return render_to_string("suture/quota.html", {"percent": row.quota_used})

    # One connection

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        connection = self.row(request, object_id)
        if connection is None:
            return self.absent(request, object_id)
        if request.method == "POST":
            self.may(request)
            connection.label = request.POST.get("label", "").strip()[:120]
            connection.save(update_fields=["label"])
            self.audit(request, "changed", connection, [{"changed": {"fields": ["label"]}}])
            messages.success(request, "The name is kept.")
            return redirect(self.url("change", connection.pk))
        return self.connection_page(request, connection)

    def connection_page(
        self, request: HttpRequest, connection: Connection, *, tested: Tested | None = None, **more: Any
    ) -> HttpResponse:
        connector = CONNECTORS[connection.vendor]
        flows = list(Flow.objects.filter(tenant_id=connection.tenant_id).select_related("source", "target"))
        for flow in flows:
            flow.shown = flow_name(flow)
        context = {
            "connection": connection,
            "connector": connector,
            "clinic": clinic_of(connection),
            "tested": tested,
            "trouble": said((tested.code if tested else "") or connection.state_code),
            "alert": Alert.objects.filter(connection=connection, ended_at=None).first(),
            "is_back": connection.state == ConnectionState.OK,
            "quota_used": _budgets([connection]).get((connection.vendor, connection.quota_subject)),
            "findings": [_finding(one) for one in connection.findings],
            "facts": [
                (words, connection.facts[name].replace(",", ", "))
                for name, words in FACTS.items()
                if connection.facts.get(name)
            ],
            "boxes": [(box, connection.hints.get(box.name, "")) for box in connector.credentials],
            "fields": _custom_fields(connection),
            "flows": [flow for flow in flows if connection.pk in {flow.source_id, flow.target_id}],
            "is_paused": connection.state == ConnectionState.PAUSED,
            "urls": {
                place: self.url(place, connection.pk)
                for place in ("change", "key", "test", "pause", "fields", "history")
            },
            "flow_url": f"{self.admin_site.name}:integrations_flow_change",
            **more,
        }
        return self.page(request, "admin/integrations/connection/page.html", str(connection), context)

    # Keys

    @live_view
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> LiveView:
        """Which system, then for which clinic and with which key."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        vendor = request.GET.get("vendor", "")
        if vendor not in CONNECTORS:
            connectors = [(connector, f"{self.url('add')}?vendor={name}") for name, connector in CONNECTORS.items()]
            return self.page(
                request, "admin/integrations/connection/vendors.html", "Add a connection", {"connectors": connectors}
            )
        if not (yield lambda: is_fresh(request)):
            return prove_yourself(request.get_full_path())
        return self._adding(request, CONNECTORS[vendor])

    def _adding(self, request: HttpRequest, connector: Connector) -> HttpResponse:
        form = CredentialForm(connector, None, request.POST or None)
        form.fields["clinic"] = forms.ModelChoiceField(
            Tenant.objects.all(), label="Clinic", empty_label="Choose a clinic"
        )
        form.order_fields(["clinic", "label", "account"])
        if request.method == "POST" and form.is_valid():
            connection = self._made(request, connector, form)
            if connection is not None:
                messages.success(request, "The connection is made. Test it now.")
                return redirect(self.url("change", connection.pk))
        return self._key_page(request, connector, form, f"Connect {connector.label}", self.url("changelist"))

    def _made(self, request: HttpRequest, connector: Connector, form: CredentialForm) -> Connection | None:
        clinic, label = form.cleaned_data["clinic"], form.cleaned_data["label"]
        with narrow_to(clinic.pk):
            taken = set(Connection.objects.values_list("name", flat=True))
            connection = Connection(
                tenant_id=clinic.pk, vendor=connector.name, label=label, name=_free_name(label, taken)
            )
            connection.save(force_insert=True)
            try:
                connection_setup.set_credentials(
                    connection, form.credentials(), account=form.cleaned_data.get("account"), by=self.by(request)
                )
            except Refused as refusal:
                connection.delete()
                _tell(form, refusal)
                return None
            self.audit(request, "added", connection, [])
        return connection

    @live_view
    def key_view(self, request: HttpRequest, object_id: str) -> LiveView:
        """Another key for the same account; asked for only from somebody who proved who they are a moment ago."""
        connection = self.row(request, object_id)
        if connection is None:
            return self.absent(request, object_id)
        self.may(request)
        if not (yield lambda: is_fresh(request)):
            return prove_yourself(self.url("key", connection.pk))
        connector = CONNECTORS[connection.vendor]
        form = CredentialForm(connector, connection, request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                with narrow_to(connection.tenant_id):
                    changed = connection_setup.set_credentials(
                        connection, form.credentials(), account=form.cleaned_data.get("account"), by=self.by(request)
                    )
            except Refused as refusal:
                _tell(form, refusal)
            else:
                messages.success(request, "Kept. Test the connection now." if changed else "Nothing was changed.")
                return redirect(self.url("change", connection.pk))
        return self._key_page(
            request, connector, form, f"Change the key of {connection}", self.url("change", connection.pk)
        )

    def _key_page(
        self, request: HttpRequest, connector: Connector, form: CredentialForm, title: str, back: str
    ) -> HttpResponse:
        context = {"form": form, "connector": connector, "back": back}
        return self.page(request, "admin/integrations/connection/key.html", title, context)

    # What may be done with it

    @live_view
    def test_view(self, request: HttpRequest, object_id: str) -> LiveView:
        connection = self.row(request, object_id)
        if connection is None:
            return self.absent(request, object_id)
        self.may(request)
        if not (yield lambda: is_fresh(request)):
            return prove_yourself(self.url("test", connection.pk))
        if request.method != "POST":
            return self.connection_page(request, connection, asks_to_test=True)
        if not may_ask(request, connection.tenant_id):
            messages.error(request, "That was often. Wait a minute, then test again.")
            return redirect(self.url("change", connection.pk))
        actor = self.by(request).actor
        answer = yield lambda: test_connection(connection.tenant_id, connection.pk, actor=actor)
        connection = self.row(request, object_id)
        if connection is None:
            return self.absent(request, object_id)
        return self.connection_page(request, connection, tested=Tested.of(answer))

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: pauses, or resumes what is paused."""
        connection = self.row(request, object_id)
        if connection is None:
            return self.absent(request, object_id)
        self.may(request)
        if request.method == "POST":
            with narrow_to(connection.tenant_id):
                if connection.state == ConnectionState.PAUSED:
                    connection_setup.resume_connection(connection, by=self.by(request))
                    messages.success(request, "Work goes on.")
                else:
                    reason = request.POST.get("reason", "")
                    connection_setup.pause_connection(connection, reason=reason, by=self.by(request))
                    messages.success(request, "Paused. What is due waits until you resume it.")
        return redirect(self.url("change", connection.pk))

    def fields_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: releases a custom field by name, or takes one back. The agency's owner only."""
        connection = self.row(request, object_id)
        if connection is None:
            return self.absent(request, object_id)
        if not self.is_owner(request):
            raise PermissionDenied
        if request.method != "POST":
            return redirect(self.url("change", connection.pk))
        name, reason = request.POST.get("name", ""), request.POST.get("reason", "")
        try:
            with narrow_to(connection.tenant_id):
                if request.POST.get("action") == "take_back":
                    connection_setup.take_back_field(connection, name, reason=reason, by=self.by(request))
                    messages.success(request, f"{name} is closed again; rules leave it out.")
                else:
                    full = connection_setup.release_field(connection, name, reason=reason, by=self.by(request))
                    messages.success(request, f"{full} is released; rules may use it.")
        except Refused as refusal:
            messages.error(request, str(refusal))
        return redirect(f"{self.url('change', connection.pk)}#custom-fields")


def _tell(form: CredentialForm, refusal: Refused) -> None:
    for fault in refusal.faults:
        form.add_error("account" if fault.where == "account" and "account" in form.fields else None, fault.sentence)


def _free_name(label: str, taken: set[str]) -> str:
    """A name for the command line: the label as a slug, numbered where it is taken."""
    stem = slugify(label)[:50] or "connection"
    return next(name for number in range(1, 1000) if (name := stem if number == 1 else f"{stem}-{number}") not in taken)


def _finding(one: Mapping[str, str]) -> dict[str, str]:
    icon, tone, word = TONES.get(one["word"], TONES["warning"])
    return {"icon": icon, "tone": tone, "word": word, "sentence": one["sentence"]}


def _budgets(rows: list[Connection]) -> dict[tuple[str, str], float]:
    """Per cent of the allowance in use, by vendor and subject."""
    found = QuotaBudget.objects.filter(subject__in={row.quota_subject for row in rows if row.quota_subject})
    now = app_now()
    return {(budget.vendor, budget.subject): 100 * share_used(budget, now) for budget in found}


@dataclass(frozen=True, slots=True)
class CustomField:
    name: str
    slug: str
    is_released: bool
    is_there: bool


def _custom_fields(connection: Connection) -> list[CustomField] | None:
    """The account's custom fields as the last test saw them, and those released; None where there are none to release."""
    family = connection_setup.open_family(connection)
    if family is None:
        return None
    seen = [f"{family.prefix}{slug}" for slug in connection.facts.get("custom_fields", "").split(",") if slug]
    names = dict.fromkeys([*connection.released_fields, *seen])
    return [
        CustomField(name, name.removeprefix(family.prefix), name in connection.released_fields, name in seen)
        for name in names
    ]


for site in (agency_site, clinic_site):
    site.register(Connection, ConnectionAdmin)
