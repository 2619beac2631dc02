"""Flows: their list, and a page each with its fields, settings, schedule, preview and revisions."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from integrations.admin import trends
from integrations.admin.backfills import history_tab
from integrations.admin.flow_blueprint import blueprint_tab
from integrations.admin.flow_edits import fields_tab, settings_tab
from integrations.admin.flow_forms import FlowForm, ScheduleForm, add_faults
from integrations.admin.flow_page import FlowPage
from integrations.admin.flow_sheets import exported, imported
from integrations.admin.flow_shown import (
    UNDER_WAY,
    app_now_once,
    arrivals,
    behind,
    besides,
    counted,
    ends_in_trouble,
    plan_counts,
    preview_line,
    previewed,
    revisions_of,
    say_changed,
    state_of_backfill,
    steps_to_live,
)
from integrations.admin.proposals import proposal_page, proposals_of, proposed_again
from integrations.admin.setup import SetupAdmin, in_one_clinic, said
from integrations.admin.trials import ACTIONS
from integrations.admin.value_maps import values_tab
from integrations.flows import FLOW_KINDS
from integrations.models import DeliveryState, Flow, FlowRevision, Mode, Run
from integrations.services import configuration, freshness
from integrations.services.changes import By, Refused
from integrations.services.configuration import WRITING
from integrations.services.meters import days_of, today_of
from integrations.words import flow_name, rhythm
from tenants.admin import EDITORS
from tenants.models import AGENCY_ROLES
from tenants.sites import LiveView, agency_site, clinic_site, live_view
from tenants.walls import app_now, narrow_to

MODES = (
    (Mode.OFF, "power_settings_new", "Off", "Nothing is read and nothing is written."),
    (Mode.PREVIEW, "preview", "Preview", "Reads and maps everything, and shows what it would do. Writes nothing."),
    (Mode.PILOT, "flight_takeoff", "Pilot", "Writes for the records on the pilot list only."),
    (Mode.LIVE, "play_circle", "Live", "Keeps both sides in step."),
)

PREVIEW_PAGE = 50
RUNS_SHOWN = 5


class FlowAdmin(SetupAdmin):
    """Which fields flow and when is the agency's to decide; a clinic's manager chooses settings, maps and the pilot list,
    and may always stop a flow."""

    may_add = frozenset(AGENCY_ROLES)
    may_change = EDITORS
    list_display_links = ("clinic", "shown")
    list_filter = ("mode", "kind")
    search_fields = ("name",)
    list_per_page = 50
    list_before_template = "admin/integrations/flow/none.html"
    list_select_related = ("tenant", "source", "target")
    ordering = ("tenant__name", "name")
    pages = (
        ("fields", "fields_view"),
        ("settings", "settings_view"),
        ("values", "values_view"),
        ("schedule", "schedule_view"),
        ("preview", "preview_view"),
        ("backfill", "backfill_view"),
        ("blueprint", "blueprint_view"),
        ("export", "export_view"),
        ("import", "import_view"),
        ("revisions", "revisions_view"),
        ("proposal", "proposal_view"),
        ("mode", "mode_view"),
    )

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        columns = ("shown", "ends", "mode_word", "succeeded", "behind", "waiting_count", "held_count")
        return columns if in_one_clinic() else ("clinic", *columns)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        more = {"waiting_n": counted(DeliveryState.WAITING), "held_n": counted(DeliveryState.HELD)}
        queryset: QuerySet[Any] = super().get_queryset(request).annotate(**more, backfill_state=state_of_backfill())
        return queryset

    @admin.display(description="Clinic", ordering="tenant__name")
    def clinic(self, flow: Flow) -> str:
        return str(flow.tenant)

    @admin.display(description="Flow", ordering="name")
    def shown(self, flow: Flow) -> str:
        return flow_name(flow)

    @admin.display(description="From and to")
    def ends(self, flow: Flow) -> str:
        return f"{flow.source} → {flow.target}"

    @admin.display(description="Mode", ordering="mode")
    def mode_word(self, flow: Any) -> SafeString:
        state = "attention" if flow.stopped_code else flow.mode
        under_way = UNDER_WAY.get(flow.backfill_state, "")
        return render_to_string("admin/integrations/flow/mode_cell.html", {"state": state, "under_way": under_way})

    @admin.display(description="Last success", ordering="last_success_at")
    def succeeded(self, flow: Flow) -> SafeString:
        return render_to_string("suture/time.html", {"value": flow.last_success_at, "zone": flow.tenant.time_zone})

    @admin.display(description="Behind", ordering="last_success_at")
    def behind(self, flow: Flow) -> str:
        return behind(flow, app_now_once(flow))

    @admin.display(description="Waiting", ordering="waiting_n")
    def waiting_count(self, flow: Any) -> int:
        return int(flow.waiting_n)

    @admin.display(description="Held", ordering="held_n")
    def held_count(self, flow: Any) -> int:
        return int(flow.held_n)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        now, rows = app_now(), list(changelist.result_list)
        for row in rows:
            row.now = now
        changelist.result_list = rows
        return changelist

    # One flow

    def open(self, request: HttpRequest, object_id: str) -> FlowPage | None:
        """The flow, or None: a foreign one is as absent as one that never was. Raises PermissionDenied."""
        flow = self.row(request, object_id)
        return FlowPage(self, request, flow) if flow else None

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        page = self.open(request, object_id)
        if page is None:
            return self.absent(request, object_id)
        return page.shown("change", self.overview(page))

    def overview(self, page: FlowPage) -> dict[str, Any]:
        flow = page.flow
        now = app_now()
        runs = list(Run.objects.filter(flow=flow).order_by("-started_at")[:RUNS_SHOWN])
        today = today_of(flow.tenant, now)
        first = today - trends.SHOWN
        drawn = trends.trends_of(days_of(flow.tenant, first, today, now), first, today, flow.pk)
        return {
            "trends": drawn,
            "table": trends.table_of(drawn),
            "waiting": flow.waiting_n,
            "held": flow.held_n,
            "behind": behind(flow, now),
            "arrivals": arrivals(freshness.measured(flow.pk, now)) if flow.mode in WRITING else "",
            "runs": runs,
            "run_page": f"{self.admin_site.name}:integrations_run_change",
            "rhythm": rhythm(flow.every),
            "modes": [
                {
                    "mode": mode,
                    "icon": icon,
                    "word": word,
                    "text": text,
                    "may": mode not in WRITING or page.is_agency,
                }
                for mode, icon, word, text in MODES
            ],
            "stopped": said(flow.stopped_code),
            "ends_in_trouble": ends_in_trouble(flow),
            "is_due": flow.next_due_at is not None and flow.next_due_at <= now,
            "steps": steps_to_live(flow, runs),
            "desk_url": page.list_url("delivery"),
            "runs_url": page.list_url("run"),
            "reports_url": page.list_url("report", app="reconciliation"),
        }

    def mode_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: changes the mode; what lets it write asks first."""
        flow = self.row(request, object_id)
        if flow is None:
            return self.absent(request, object_id)
        self.may(request)
        mode = request.POST.get("mode", "")
        back = redirect(self.url("change", flow.pk))
        if request.method != "POST" or mode not in Mode.values or mode == flow.mode:
            return back
        if mode in WRITING and not self.is_agency(request):
            raise PermissionDenied
        if mode in WRITING and request.POST.get("sure") != "yes":
            asked = {"mode": Mode(mode), "plans": plan_counts(flow), "here": self.url("change", flow.pk)}
            return FlowPage(self, request, flow).shown("mode", asked)
        try:
            with narrow_to(flow.tenant_id):
                configuration.change_mode(flow, mode, by=self.by(request))
        except Refused as refusal:
            messages.error(request, str(refusal))
        else:
            messages.success(
                request,
                f"The flow is in mode {Mode(mode).label.partition(':')[0].lower()} now. It starts with one full pass.",
            )
        return back

    # Fields, settings, value maps, schedule

    @live_view
    def fields_view(self, request: HttpRequest, object_id: str) -> LiveView:
        page = self.open(request, object_id)
        return (yield from fields_tab(page)) if page else self.absent(request, object_id)

    @live_view
    def settings_view(self, request: HttpRequest, object_id: str) -> LiveView:
        page = self.open(request, object_id)
        return (yield from settings_tab(page)) if page else self.absent(request, object_id)

    @live_view
    def values_view(self, request: HttpRequest, object_id: str) -> LiveView:
        page = self.open(request, object_id)
        return (yield from values_tab(page)) if page else self.absent(request, object_id)

    def blueprint_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        page = self.open(request, object_id)
        return blueprint_tab(page) if page else self.absent(request, object_id)

    def export_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        page = self.open(request, object_id)
        return exported(page) if page else self.absent(request, object_id)

    def import_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        page = self.open(request, object_id)
        return imported(page) if page else self.absent(request, object_id)

    def schedule_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        page = self.open(request, object_id)
        if page is None:
            return self.absent(request, object_id)
        form = ScheduleForm(page.flow, request.POST or None, is_agency=page.is_agency)
        if request.method == "POST":
            self.may(request)
            faults = page.kept(**form.given()) if form.is_valid() else {}
            if faults is None:
                return page.go("schedule")
            add_faults(form, faults)
        return page.shown("schedule", {"form": form})

    # Preview, history and revisions

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the deliveries of the newest preview would do: an action, field names, never a value."""
        page = self.open(request, object_id)
        if page is None:
            return self.absent(request, object_id)
        wanted = request.GET.get("action", "")
        rows = previewed(page.flow)
        if wanted in ACTIONS:
            rows = rows.filter(plan__action=wanted)
        some = Paginator(rows.order_by("-done_at", "pk"), PREVIEW_PAGE).get_page(request.GET.get("page"))
        context = {
            "page_of": some,
            "lines": [preview_line(page.flow, row) for row in some],
            "counts": [
                (action, ACTIONS.get(action, action), count) for action, count in plan_counts(page.flow).items()
            ],
            "wanted": wanted,
            "others": besides(page.flow, page.list_url("delivery")),
        }
        return page.shown("preview", context)

    @live_view
    def backfill_view(self, request: HttpRequest, object_id: str) -> LiveView:
        page = self.open(request, object_id)
        return (yield from history_tab(page)) if page else self.absent(request, object_id)

    def revisions_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: publishes an older revision again, or proposes it and rehearses that (``do=rehearse``)."""
        page = self.open(request, object_id)
        if page is None:
            return self.absent(request, object_id)
        flow = page.flow
        if request.method == "POST":
            if not self.is_agency(request):
                raise PermissionDenied
            given = request.POST.get("number", "")
            number = int(given) if given.isdigit() and len(given) < 10 else 0
            if request.POST.get("do") == "rehearse":
                return proposed_again(page, number)
            try:
                with narrow_to(flow.tenant_id):
                    changed = configuration.restore_revision(flow, number, by=self.by(request))
                say_changed(request, flow, changed)
            except (Refused, FlowRevision.DoesNotExist) as refusal:
                messages.error(request, str(refusal))
            return redirect(self.url("revisions", flow.pk))
        return page.shown("revisions", {"revisions": revisions_of(flow), "proposals": proposals_of(page)})

    def proposal_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """``?id=`` says which. POST ``do``: rehearse, stop, rebase, publish, withdraw."""
        page = self.open(request, object_id)
        answer = proposal_page(page) if page else None
        return answer or self.absent(request, object_id)

    # A new flow

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = FlowForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            flow = self._added(form, self.by(request))
            if flow is not None:
                messages.success(request, "The flow is made, and off. Look at its fields, then switch on the preview.")
                return redirect(self.url("change", flow.pk))
        context = {
            "form": form,
            "back": self.url("changelist"),
            "connections_url": reverse(f"{self.admin_site.name}:integrations_connection_changelist"),
        }
        return self.page(request, "admin/integrations/flow/add.html", "Add a flow", context)

    def _added(self, form: FlowForm, by: By) -> Flow | None:
        source, target = form.cleaned_data["source"], form.cleaned_data["target"]
        kind = FLOW_KINDS[form.cleaned_data["kind"]]
        if source.tenant_id != target.tenant_id:
            form.add_error("target", "Both connections must be of one clinic.")
            return None
        try:
            with narrow_to(source.tenant_id):
                name = form.cleaned_data["name"] or kind.name
                return configuration.add_flow(kind=kind, source=source, target=target, name=name, by=by)
        except Refused as refusal:
            for fault in refusal.faults:
                form.add_error(fault.where if fault.where in form.fields else None, fault.sentence)
            return None


for site in (agency_site, clinic_site):
    site.register(Flow, FlowAdmin)
