"""The sync log: what happened to which key, asked by question, by key, or by a person's e-mail looked up live."""

from datetime import date, datetime, time, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django import forms
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import path

from integrations.admin.records import (
    CLINIC,
    Cell,
    Choice,
    ClinicFilter,
    Column,
    Empty,
    FlowFilter,
    RecordAdmin,
    badge,
    facts,
    is_agency,
    when,
)
from integrations.connectors import CONNECTORS
from integrations.flows import FLOW_KINDS
from integrations.messages import message
from integrations.models import Action, SyncLogEntry
from integrations.services.candidates import label_of, page_of
from integrations.services.lookup import Looked, find_by_email
from integrations.words import action_words, flow_name
from tenants.models import Tenant
from tenants.sites import LiveView, agency_site, clinic_site, live_view

WRITES = (Action.CREATE, Action.UPDATE, Action.ARCHIVE)
QUESTIONS: dict[str, tuple[str, Q]] = {
    "failed": ("What failed?", Q(outcome__in=("held", "retry", "uncertain"))),
    "written": ("What was written?", Q(action__in=WRITES, outcome="ok")),
    "person": ("What did people do?", ~Q(actor="")),
    "links": ("Which links changed?", Q(action__in=(Action.LINK, Action.UNLINK, Action.MOVE))),
    "left": ("What was left out?", Q(outcome="skipped")),
    "preview": ("What would be done?", Q(outcome="preview")),
}
CODES_FROM = 2_000


class QuestionFilter(Choice):
    title, parameter_name, any_word = "Question", "show", "Everything"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, words) for name, (words, _) in QUESTIONS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = QUESTIONS.get(self.value() or "")
        return queryset.filter(asked[1]) if asked else queryset


class ActionFilter(Choice):
    title, parameter_name, any_word = "Action", "action", "Any"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(action.value, action_words(action)) for action in Action]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(action=self.value()) if self.value() else queryset


class ReasonFilter(Choice):
    title, parameter_name, any_word = "Reason", "code", "Any"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The reasons given in the newest lines."""
        newest = SyncLogEntry.objects.order_by("-at").values_list("code", flat=True)[:CODES_FROM]
        codes = sorted({code for code in (*newest, request.GET.get("code", "")) if code})
        return [(code, message(code).sentence) for code in codes]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(code=self.value()) if self.value() else queryset


class DayFilter(Choice):
    """The last fortnight's days, in the clinic's zone; for several clinics at once in UTC."""

    title, parameter_name, any_word = "Day", "day", "Any day"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        self.zone = zone = _zone(request)
        today = datetime.now(zone).date()
        days = [today - timedelta(days=back) for back in range(14)]
        words = {0: "Today", 1: "Yesterday"}
        return [(day.isoformat(), words.get(back, f"{day:%a %-d %b}")) for back, day in enumerate(days)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        try:
            day = date.fromisoformat(self.value() or "")
        except ValueError:
            return queryset
        starts = datetime.combine(day, time(), tzinfo=self.zone)
        ends = datetime.combine(day + timedelta(days=1), time(), tzinfo=self.zone)
        return queryset.filter(at__gte=starts, at__lt=ends)


def _zone(request: HttpRequest) -> ZoneInfo:
    clinic = getattr(request, "clinic", None)
    if clinic is None and request.GET.get("clinic"):
        clinic = Tenant.objects.filter(slug=request.GET["clinic"]).first()
    return ZoneInfo(clinic.time_zone if clinic else "UTC")


def done_cell(row: SyncLogEntry) -> Cell:
    return {"text": action_words(row.action), "note": _fields(row), "is_link": True}


def _fields(row: SyncLogEntry) -> str:
    kind = FLOW_KINDS.get(row.flow.kind)
    names = [label_of(kind.target, name) if kind else name for name in row.fields]
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def outcome_cell(row: SyncLogEntry) -> Cell:
    return badge(row.outcome, row.get_outcome_display())


def key_cell(row: SyncLogEntry) -> Cell:
    return {"text": row.source_key, "note": f"→\u00a0{row.target_key}" if row.target_key else ""}


class SyncLogAdmin(RecordAdmin):
    columns = (
        Column("What", done_cell),
        Column("When", lambda row: when(row, row.at)),
        Column("Outcome", outcome_cell),
        Column("Why", lambda row: {"text": message(row.code).sentence if row.code else ""}),
        Column("Record", key_cell),
        Column("Flow", lambda row: {"text": flow_name(row.flow), "note": row.actor}),
        CLINIC,
    )
    list_filter = (QuestionFilter, FlowFilter, ActionFilter, ReasonFilter, DayFilter, ClinicFilter)
    list_select_related = ("tenant", "flow", "flow__source", "flow__target")
    ordering = ("-at",)
    change_list_template = "admin/integrations/synclogentry/list.html"
    detail_template = "admin/integrations/synclogentry/detail.html"
    find_template: ClassVar[str] = "admin/integrations/synclogentry/find.html"
    empty = Empty(
        "Nothing happened yet",
        "Once a flow is set to preview, its first pass writes its lines here, and nothing to anybody's system.",
        "receipt_long",
    )

    def get_urls(self) -> list[Any]:
        find = self.admin_site.admin_view(self.find_view)
        return [path("find/", find, name="integrations_synclogentry_find"), *super().get_urls()]

    def list_context(self, request: HttpRequest, cl: Any) -> dict[str, Any]:
        return {
            **super().list_context(request, cl),
            "title": "Sync log",
            "find_url": self.url("find"),
            "explain_url": self.url_of("link", "explain"),
        }

    def explained(self, row: SyncLogEntry) -> tuple[str, str]:
        return row.source_key, row.flow.name

    def detail(self, request: HttpRequest, row: SyncLogEntry) -> dict[str, Any]:
        kind, told = FLOW_KINDS.get(row.flow.kind), message(row.code)
        source, target = row.flow.source, row.flow.target
        labels = [label_of(kind.target, name) if kind else name for name in row.fields]
        slug = row.tenant.slug if is_agency() else ""
        return {
            "title": f"{action_words(row.action)}: {row.source_key}",
            "told": told if row.code else None,
            "fields": labels,
            "source_url": page_of(kind.source, source.facts, row.source_key) if kind else "",
            "target_url": page_of(kind.target, target.facts, row.target_key) if kind and row.target_key else "",
            "source_label": CONNECTORS[source.vendor].label,
            "target_label": CONNECTORS[target.vendor].label,
            "record_url": self.url("changelist", q=row.source_key, clinic=slug),
            "facts": facts(
                ("Outcome", outcome_cell(row)),
                ("When", when(row, row.at)),
                ("Flow", {"text": flow_name(row.flow), "note": f"{source} → {target}"}),
                (f"{source}", {"text": row.source_key}),
                (f"{target}", {"text": row.target_key}),
                ("Took", {"text": f"{row.duration_ms:,} ms" if row.duration_ms is not None else ""}),
                (
                    "Run",
                    {"text": row.run_number, "url": self.url_of("run", "change", row.run_number)}
                    if row.run_number
                    else {"text": ""},
                ),
                ("By", {"text": row.actor}),
                ("Vendor's request number", {"text": row.request_id}),
                ("Code", {"text": row.code}),
            ),
        }

    @live_view
    def find_view(self, request: HttpRequest) -> LiveView:
        """Keys of a person by e-mail. The address comes by POST, is asked of the vendors, and is kept nowhere."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = FindForm(request.POST if request.method == "POST" else None, clinic=request.GET.get("clinic", ""))
        looked: Looked | None = None
        clinic: Tenant | None = None
        if form.is_valid():
            clinic = form.cleaned_data.get("clinic") or request.clinic  # type: ignore[attr-defined]
            tenant_id, email = clinic.pk, form.cleaned_data["email"]
            looked = yield lambda: find_by_email(tenant_id, email)
        context = {
            **self.admin_site.each_context(request),
            "title": "Find a person",
            "form": form,
            "looked": looked,
            "hits": self._hits(looked, clinic) if looked else [],
            "failed": [(name, message(code).sentence) for name, code in looked.failed] if looked else [],
            "list_url": self.url("changelist"),
            "list_name": "Sync log",
        }
        return TemplateResponse(request, self.find_template, context)

    def _hits(self, looked: Looked, clinic: Tenant | None) -> list[dict[str, Any]]:
        slug = clinic.slug if clinic and is_agency() else ""
        return [
            {
                "hit": hit,
                "log_url": self.url("changelist", q=hit.source_key or hit.key, clinic=slug),
                "explain_url": self.explain_url(hit.source_key, clinic=clinic) if hit.source_key else "",
            }
            for hit in looked.hits
        ]


class FindForm(forms.Form):
    """An address, and for the agency whose person it is."""

    email = forms.EmailField(label="E-mail address", max_length=254)

    def __init__(self, *args: Any, clinic: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["email"].widget.attrs |= {"autocomplete": "off", "autofocus": True}
        if is_agency():
            chosen = Tenant.objects.filter(slug=clinic).first() if clinic else None
            self.fields = {
                "clinic": forms.ModelChoiceField(Tenant.objects.order_by("name"), label="Clinic", initial=chosen),
                **self.fields,
            }


for site in (agency_site, clinic_site):
    site.register(SyncLogEntry, SyncLogAdmin)
