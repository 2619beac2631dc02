"""Flows: their list, and a page each with its fields, settings, schedule, preview and revisions."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, F, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from integrations.admin import rules
from integrations.admin.setup import SetupAdmin, clinic_of, faults_by_place, humble, in_one_clinic, may_ask, said
from integrations.connectors import CONNECTORS
from integrations.core.rules import Choice, FreeText
from integrations.core.values import Value
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config, FlowKind
from integrations.messages import message
from integrations.models import (
    Connection,
    ConnectionState,
    Delivery,
    DeliveryState,
    Flow,
    FlowRevision,
    Mode,
    Run,
)
from integrations.services import configuration
from integrations.services.configuration import ANYTHING_ELSE, WRITING, By, Refused, config_of
from integrations.services.trial import FieldTrial, Trial, try_record
from integrations.toolkit import redact
from tenants.admin import EDITORS
from tenants.models import AGENCY_ROLES, Role
from tenants.sites import LiveView, agency_site, clinic_site, live_view
from tenants.walls import app_now, narrow_to

TABS = (
    ("change", "Overview"),
    ("fields", "Fields"),
    ("settings", "Settings"),
    ("values", "Value maps"),
    ("schedule", "Schedule and pilot"),
    ("preview", "Preview"),
    ("revisions", "Revisions"),
)

MODES = (
    (Mode.OFF, "power_settings_new", "Off", "Nothing is read and nothing is written."),
    (Mode.PREVIEW, "preview", "Preview", "Reads and maps everything, and shows what it would do. Writes nothing."),
    (Mode.PILOT, "flight_takeoff", "Pilot", "Writes for the records on the pilot list only."),
    (Mode.LIVE, "play_circle", "Live", "Keeps both sides in step."),
)

ACTIONS = {
    "create": "Create",
    "update": "Update",
    "archive": "Mark as archived",
    "nothing": "Nothing to do",
    "hold": "Ask a person",
    "skip": "Leave out",
}
ACTION_STATES = {
    "create": "created",
    "update": "updated",
    "archive": "archived",
    "nothing": "unchanged",
    "hold": "held",
    "skip": "skipped",
}
PREVIEW_PAGE = 50
RUNS_SHOWN = 5


class FlowAdmin(SetupAdmin):
    """Which fields flow and when is the agency's to decide; a clinic's manager chooses settings, maps and the pilot list,
    and may always stop a flow."""

    may_add = frozenset(AGENCY_ROLES)
    may_change = EDITORS
    list_display_links = ("shown",)
    list_filter = ("mode", "kind")
    search_fields = ("name",)
    list_per_page = 50
    list_select_related = ("tenant", "source", "target")
    ordering = ("tenant__name", "name")
    pages = (
        ("fields", "fields_view"),
        ("settings", "settings_view"),
        ("values", "values_view"),
        ("schedule", "schedule_view"),
        ("preview", "preview_view"),
        ("revisions", "revisions_view"),
        ("mode", "mode_view"),
    )

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        columns = ("shown", "ends", "mode_word", "succeeded", "behind", "waiting_count", "held_count")
        return columns if in_one_clinic() else ("clinic", *columns)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        counts = {"waiting_n": _counted(DeliveryState.WAITING), "held_n": _counted(DeliveryState.HELD)}
        queryset: QuerySet[Any] = super().get_queryset(request).annotate(**counts)
        return queryset

    @admin.display(description="Clinic", ordering="tenant__name")
    def clinic(self, flow: Flow) -> str:
        return str(flow.tenant)

    @admin.display(description="Flow", ordering="name")
    def shown(self, flow: Flow) -> str:
        return FLOW_KINDS[flow.kind].label if flow.name == flow.kind else flow.name

    @admin.display(description="From and to")
    def ends(self, flow: Flow) -> str:
        return f"{flow.source} → {flow.target}"

    @admin.display(description="Mode", ordering="mode")
    def mode_word(self, flow: Flow) -> SafeString:
        return render_to_string("suture/state.html", {"state": "attention" if flow.stopped_code else flow.mode})

    @admin.display(description="Last success", ordering="last_success_at")
    def succeeded(self, flow: Flow) -> SafeString:
        return render_to_string("suture/time.html", {"value": flow.last_success_at, "zone": flow.tenant.time_zone})

    @admin.display(description="Behind", ordering="last_success_at")
    def behind(self, flow: Flow) -> str:
        return freshness(flow, app_now_once(flow))

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

    def frame(
        self, request: HttpRequest, flow: Flow, tab: str, context: Mapping[str, Any], *, status: int = 200
    ) -> HttpResponse:
        """A page of a flow: its head, its tabs, and what the tab shows."""
        whole = {
            "flow": flow,
            "kind": FLOW_KINDS[flow.kind],
            "clinic": clinic_of(flow),
            "words": rules.Words.of(flow),
            "tabs": [(place, words, self.url(place, flow.pk)) for place, words in TABS],
            "tab": tab,
            "url": self.url(tab, flow.pk),
            "mode_url": self.url("mode", flow.pk),
            "history_url": self.url("history", flow.pk),
            "connection_url": f"{self.admin_site.name}:integrations_connection_change",
            **context,
        }
        return self.page(request, f"admin/integrations/flow/{tab}.html", self.shown(flow), whole, status)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        flow = self.row(request, object_id)
        if flow is None:
            return self.absent(request, object_id)
        return self.frame(request, flow, "change", self.overview(request, flow))

    def overview(self, request: HttpRequest, flow: Any) -> dict[str, Any]:
        runs = list(Run.objects.filter(flow=flow).order_by("-started_at")[:RUNS_SHOWN])
        return {
            "waiting": flow.waiting_n,
            "held": flow.held_n,
            "behind": freshness(flow, app_now()),
            "runs": runs,
            "modes": [
                {
                    "mode": mode,
                    "icon": icon,
                    "word": word,
                    "text": text,
                    "may": mode not in WRITING or self.is_agency(request),
                }
                for mode, icon, word, text in MODES
            ],
            "stopped": said(flow.stopped_code),
            "steps": _steps(flow, runs),
            "desk_url": self._list_url("delivery", f"?flow__id__exact={flow.pk}"),
            "runs_url": self._list_url("run", f"?flow__id__exact={flow.pk}"),
        }

    def _list_url(self, model: str, query: str) -> str:
        known = {one._meta.model_name: one for one in self.admin_site._registry}
        if model not in known:
            return ""
        from django.urls import reverse  # noqa: PLC0415

        return reverse(f"{self.admin_site.name}:integrations_{model}_changelist") + query

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
            return self.frame(
                request,
                flow,
                "mode",
                {"mode": Mode(mode), "plans": _plan_counts(flow), "url": self.url("change", flow.pk)},
            )
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

    # Fields

    @live_view
    def fields_view(self, request: HttpRequest, object_id: str) -> LiveView:
        """The rules. POST ``do=try`` tries the form's rules on one record, ``do=publish`` keeps them."""
        flow = self.row(request, object_id)
        if flow is None:
            return self.absent(request, object_id)
        config, added = config_of(flow), rules.Added()
        given = request.POST if request.method == "POST" else QueryDict()
        may_edit = self.is_agency(request)
        if given and may_edit and "rule-0-target" in given:
            config, added = rules.read_form(flow, config, given)
        shown: dict[str, Any] = {
            "asked": given.get("asked", "").strip(),
            "note": given.get("note", ""),
            "may_edit": may_edit,
        }
        faults: dict[str, list[str]] = {}
        if given.get("do") == "publish":
            if not may_edit:
                raise PermissionDenied
            published, faults = self._publish(request, flow, config, added)
            if published:
                return redirect(self.url("fields", flow.pk))
        elif given.get("do", "try") == "try" and shown["asked"]:
            faults = _fault_map(configuration.config_faults(flow, configuration.tidy(FLOW_KINDS[flow.kind], config)))
            if not faults and not may_ask(request, flow.tenant_id):
                faults = {"": ["That was often. Wait a minute, then try again."]}
            if not faults:
                trial = yield lambda: try_record(flow.tenant_id, flow.pk, shown["asked"], config=config)
                shown["trial"] = shown_trial(
                    trial, rules.Words.of(flow), is_masked=self.role(request) is Role.CLINIC_VIEWER
                )
        shown |= {
            "editor": rules.editor(flow, config, faults, added),
            "faults": [sentence for where, said_of in faults.items() if not _has_row(where) for sentence in said_of],
            "is_edited": config != config_of(flow),
            "config": config,
        }
        return self.frame(request, flow, "fields", shown)

    def _publish(
        self, request: HttpRequest, flow: Flow, config: Config, added: rules.Added
    ) -> tuple[bool, dict[str, list[str]]]:
        if added.faults:
            return False, {"": list(added.faults)}
        seen = request.POST.get("revision", "")
        try:
            with narrow_to(flow.tenant_id):
                changed = configuration.configure(
                    flow,
                    config=config,
                    note=request.POST.get("note", ""),
                    by=self.by(request),
                    revision_seen=int(seen) if seen.isdigit() else None,
                )
        except Refused as refusal:
            return False, faults_by_place(refusal)
        _say_changed(request, flow, changed)
        return True, {}

    # Settings, value maps, schedule

    def settings_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        flow = self.row(request, object_id)
        if flow is None:
            return self.absent(request, object_id)
        kind, config = FLOW_KINDS[flow.kind], config_of(flow)
        form = SettingsForm(kind, config, request.POST or None)
        if request.method == "POST":
            self.may(request)
            if form.is_valid():
                wanted = replace(config, settings=form.settings())
                if self._keep(request, flow, form, config=wanted, note=form.cleaned_data["note"]):
                    return redirect(self.url("settings", flow.pk))
        return self.frame(request, flow, "settings", {"form": form})

    def values_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        flow = self.row(request, object_id)
        if flow is None:
            return self.absent(request, object_id)
        kind, config = FLOW_KINDS[flow.kind], config_of(flow)
        faults: list[str] = []
        if request.method == "POST":
            self.may(request)
            wanted = replace(config, value_maps=_read_maps(kind, request.POST))
            try:
                with narrow_to(flow.tenant_id):
                    changed = configuration.configure(
                        flow, config=wanted, note=request.POST.get("note", ""), by=self.by(request)
                    )
                _say_changed(request, flow, changed)
                return redirect(self.url("values", flow.pk))
            except Refused as refusal:
                faults, config = [fault.sentence for fault in refusal.faults], wanted
        return self.frame(request, flow, "values", {"maps": _maps(kind, config), "faults": faults})

    def schedule_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        flow = self.row(request, object_id)
        if flow is None:
            return self.absent(request, object_id)
        form = ScheduleForm(flow, request.POST or None, is_agency=self.is_agency(request))
        if request.method == "POST":
            self.may(request)
            if form.is_valid() and self._keep(request, flow, form, **form.given()):
                return redirect(self.url("schedule", flow.pk))
        return self.frame(request, flow, "schedule", {"form": form})

    def _keep(self, request: HttpRequest, flow: Flow, form: forms.Form, **given: Any) -> bool:
        try:
            with narrow_to(flow.tenant_id):
                changed = configuration.configure(flow, by=self.by(request), **given)
        except Refused as refusal:
            for fault in refusal.faults:
                name = fault.where.removeprefix("settings.")
                form.add_error(name if name in form.fields else None, fault.sentence)
            return False
        _say_changed(request, flow, changed)
        return True

    # Preview and revisions

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the deliveries of the newest preview would do: an action, field names, never a value."""
        flow = self.row(request, object_id)
        if flow is None:
            return self.absent(request, object_id)
        wanted = request.GET.get("action", "")
        rows = _previewed(flow)
        if wanted in ACTIONS:
            rows = rows.filter(plan__action=wanted)
        page = Paginator(rows.order_by("-done_at", "pk"), PREVIEW_PAGE).get_page(request.GET.get("page"))
        words = rules.Words.of(flow)
        lines = [
            {
                "key": row.source_key,
                "url": _admin_url(flow, row.source_key),
                "action": ACTIONS.get(row.plan.get("action", ""), "Create"),
                "state": ACTION_STATES.get(row.plan.get("action", ""), "created"),
                "fields": ", ".join(
                    words.target(name) for name in row.plan.get("fields", ()) if name != words.kind.marker
                ),
                "notes": [message(note["code"]).sentence for note in row.notes],
                "at": row.done_at,
            }
            for row in page
        ]
        counts = [(action, ACTIONS.get(action, action), count) for action, count in _plan_counts(flow).items()]
        return self.frame(
            request, flow, "preview", {"page_of": page, "lines": lines, "counts": counts, "wanted": wanted}
        )

    def revisions_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST: publishes an older revision again."""
        flow = self.row(request, object_id)
        if flow is None:
            return self.absent(request, object_id)
        if request.method == "POST":
            if not self.is_agency(request):
                raise PermissionDenied
            number = request.POST.get("number", "")
            try:
                with narrow_to(flow.tenant_id):
                    changed = configuration.restore_revision(
                        flow, int(number) if number.isdigit() else 0, by=self.by(request)
                    )
                _say_changed(request, flow, changed)
            except (Refused, FlowRevision.DoesNotExist) as refusal:
                messages.error(request, str(refusal))
            return redirect(self.url("revisions", flow.pk))
        return self.frame(request, flow, "revisions", {"revisions": _revisions(flow)})

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
        context = {"form": form, "back": self.url("changelist"), "connections_url": self._list_url("connection", "")}
        return self.page(request, "admin/integrations/flow/add.html", "Add a flow", context)

    def _added(self, form: "FlowForm", by: By) -> Flow | None:
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


# Forms


class SettingsForm(forms.Form):
    """A flow kind's settings, in its own words, the default marked."""

    def __init__(self, kind: FlowKind, config: Config, *args: Any) -> None:
        super().__init__(*args)
        self.kind = kind
        for setting in kind.settings:
            self.fields[setting.name] = _setting_field(setting, config.settings.get(setting.name, setting.default))
        self.fields["note"] = forms.CharField(label="Note for the revision", required=False, max_length=200)

    def settings(self) -> dict[str, str]:
        return {setting.name: self.cleaned_data[setting.name] for setting in self.kind.settings}


def _setting_field(setting: Choice | FreeText, value: str) -> forms.Field:
    if isinstance(setting, FreeText):
        told = f"{setting.help} Default: {setting.default}." if setting.default else setting.help
        return forms.CharField(label=setting.label, help_text=told, initial=value, required=False, max_length=255)
    choices = [
        (option, f"{words} (default)" if option == setting.default else words) for option, words in setting.options
    ]
    return forms.ChoiceField(
        label=setting.label, help_text=setting.help, choices=choices, initial=value, widget=forms.RadioSelect
    )


class ScheduleForm(forms.Form):
    """When a flow runs, what it starts with, and which records a pilot lets through."""

    every = forms.CharField(
        label="How often",
        max_length=60,
        help_text="A duration such as 15m or 2h, or a cron line in the clinic's time zone: 0 6 * * 1-5.",
    )
    urgent = forms.BooleanField(label="As fast as the quota allows", required=False)
    start = forms.CharField(
        label="Which records",
        max_length=20,
        help_text="all, activation (made after the flow went live), or a date such as 2026-07-01.",
    )
    pilot_keys = forms.CharField(
        label="Pilot list",
        required=False,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text="Record numbers, one a line. The pilot writes for these only.",
    )

    def __init__(self, flow: Flow, data: Any, *, is_agency: bool) -> None:
        initial = {
            "every": flow.every,
            "urgent": flow.urgent,
            "start": flow.start,
            "pilot_keys": "\n".join(flow.pilot_keys),
        }
        super().__init__(data, initial=initial)
        if not is_agency:
            for name in ("every", "urgent", "start"):
                self.fields[name].disabled = True

    def given(self) -> dict[str, Any]:
        keys = self.cleaned_data["pilot_keys"].replace(",", "\n").split()
        return {**self.cleaned_data, "pilot_keys": keys}


class FlowForm(forms.Form):
    kind = forms.ChoiceField(
        label="What flows", choices=lambda: [(kind.name, kind.label) for kind in FLOW_KINDS.values()]
    )
    source = forms.ModelChoiceField(Connection.objects.none(), label="From")
    target = forms.ModelChoiceField(Connection.objects.none(), label="To")
    name = forms.SlugField(
        label="Name",
        required=False,
        max_length=80,
        help_text="Needed only where a clinic runs the same kind twice: two shops, say.",
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        known = Connection.objects.select_related("tenant").order_by("tenant__name", "name")
        for name in ("source", "target"):
            field: Any = self.fields[name]
            field.queryset = known
            field.empty_label = "Choose a connection"
            field.label_from_instance = _with_clinic


def _with_clinic(connection: Connection) -> str:
    return f"{connection.tenant} · {connection} ({CONNECTORS[connection.vendor].label})"


# What the pages show


def _counted(state: str) -> Coalesce:
    rows = Delivery.objects.filter(
        tenant_id=OuterRef("tenant_id"), target_id=OuterRef("target_id"), flow_id=OuterRef("pk"), state=state
    )
    counted = rows.order_by().values("flow_id").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)


def app_now_once(flow: Any) -> datetime:
    """The list's one clock reading."""
    return getattr(flow, "now", None) or app_now()


def freshness(flow: Flow, now: datetime) -> str:
    """How old the newest finished pass is, in words; "" while the flow is off or has none."""
    if flow.mode == Mode.OFF or flow.last_success_at is None:
        return "–"
    return timesince(flow.last_success_at, now, depth=1)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing on the way to live."""

    words: str
    is_done: bool
    url: str = ""


def _steps(flow: Flow, runs: Sequence[Run]) -> list[Step]:
    ends = (flow.source, flow.target)
    previewed = (flow.mode != Mode.OFF and bool(runs)) or flow.mode in WRITING
    return [Step(f"Test {end}", end.state == ConnectionState.OK) for end in ends] + [
        Step("Look at the fields and settings", flow.revision_number > 1 or flow.mode in WRITING),
        Step("Run a preview and look at what it would do", previewed),
        Step("Go live, or start with a pilot", flow.mode in WRITING),
    ]


def _previewed(flow: Flow) -> QuerySet[Any]:
    """The newest preview's deliveries: those of the last run that made any."""
    done = Delivery.objects.filter(flow=flow, state=DeliveryState.DONE, code="mode.preview")
    newest = done.order_by("-run_id").values_list("run_id", flat=True).first()
    return done.filter(run_id=newest) if newest is not None else done.none()


def _plan_counts(flow: Flow) -> Counter[str]:
    rows = _previewed(flow).order_by().values_list("plan__action").annotate(n=Count("pk"))
    return Counter({action or "create": count for action, count in rows})


def _admin_url(flow: Flow, key: str) -> str:
    made = FLOW_KINDS[flow.kind].source.admin_url
    return made(flow.source.facts, key) if made else ""


@dataclass(frozen=True, slots=True)
class Revision:
    number: int
    at: datetime
    author: str
    note: str
    changed: tuple[str, ...]
    is_current: bool


def _revisions(flow: Flow) -> list[Revision]:
    """Newest first, each with the names of what it changed."""
    kind, words = FLOW_KINDS[flow.kind], rules.Words.of(flow)
    stored = list(FlowRevision.objects.filter(flow=flow).annotate(wrote=F("author__email")).order_by("number"))
    before, made = Config(), []
    for row in stored:
        config = Config.from_json(row.config)
        names = configuration.config_changes(kind, before, config)
        author = row.wrote or _absent_author(row)
        made.append(
            Revision(
                row.number,
                row.created_at,
                author,
                row.note,
                tuple(_in_words(name, words) for name in names),
                row.number == flow.revision_number,
            )
        )
        before = config
    return made[::-1]


def _absent_author(row: FlowRevision) -> str:
    return "The agency" if row.author_id else "Provisioning"


def _in_words(name: str, words: rules.Words) -> str:
    part, _, rest = name.partition(".")
    if part == "rules":
        return words.target(rest)
    if part == "settings":
        return humble([(setting.name, setting.label) for setting in words.kind.settings], rest)
    return humble([(spec.name, spec.label) for spec in words.kind.value_maps], rest)


def _say_changed(request: HttpRequest, flow: Flow, changed: Iterable[str]) -> None:
    words = rules.Words.of(flow)
    names = [_in_words(name, words) if "." in name else name.replace("_", " ") for name in changed]
    if not names:
        messages.info(request, "Nothing was changed.")
    elif any("." in name for name in changed):
        messages.success(
            request,
            f"Published as revision {flow.revision_number}: {', '.join(names)}. The next run looks at every record once.",
        )
    else:
        messages.success(request, f"Kept: {', '.join(names)}.")


def _maps(kind: FlowKind, config: Config) -> list[dict[str, Any]]:
    return [
        {
            "spec": spec,
            "lines": sorted(
                {**spec.defaults, **config.value_maps.get(spec.name, {})}.items(),
                key=lambda line: (line[0] == ANYTHING_ELSE, line[0]),
            ),
            "own": config.value_maps.get(spec.name, {}),
        }
        for spec in kind.value_maps
    ]


def _read_maps(kind: FlowKind, given: QueryDict) -> dict[str, dict[str, str]]:
    """``map-NAME-key`` and ``map-NAME-value`` come in pairs; an empty key or value takes the line away."""
    maps = {}
    for spec in kind.value_maps:
        pairs = zip(given.getlist(f"map-{spec.name}-key"), given.getlist(f"map-{spec.name}-value"), strict=False)
        lines = {key.strip(): value.strip() for key, value in pairs if key.strip() and value.strip()}
        if lines:
            maps[spec.name] = lines
    return maps


def _fault_map(faults: Iterable[configuration.Fault]) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for fault in faults:
        told.setdefault(fault.where, []).append(fault.sentence)
    return told


def _has_row(where: str) -> bool:
    return where.startswith("rules.")


# A trial, shown


@dataclass(frozen=True, slots=True)
class TrialLine:
    label: str
    source: str
    before: str
    after: str
    there: str
    sentence: str
    is_problem: bool
    writes: bool


def shown_trial(trial: Trial, words: rules.Words, *, is_masked: bool) -> dict[str, Any]:
    """A trial in words. Values are masked for who may only look."""
    told = said(trial.code)
    names = [words.target(one.target) for one in trial.fields if one.writes]
    return {
        "key": trial.key,
        "target_key": trial.target_key,
        "action": trial.action,
        "action_words": ACTIONS.get(trial.action, ""),
        "state": ACTION_STATES.get(trial.action, "attention"),
        "sentence": told.sentence if told else "",
        "advice": told.advice if told else "",
        "candidates": len(trial.candidates),
        "choices": trial.choices,
        "writes": names,
        "lines": [_trial_line(one, words, is_masked=is_masked) for one in trial.fields],
        "is_masked": is_masked,
    }


def _trial_line(one: FieldTrial, words: rules.Words, *, is_masked: bool) -> TrialLine:
    return TrialLine(
        label=words.target(one.target),
        source=words.source(one.source) if one.source else "",
        before=_spelt(one.before, is_masked=is_masked),
        after=_spelt(one.after, is_masked=is_masked),
        there=_spelt(one.there, is_masked=is_masked),
        sentence=message(one.code).sentence if one.code else "",
        is_problem=one.is_problem,
        writes=one.writes,
    )


def _spelt(value: Value, *, is_masked: bool) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return "Yes" if value else "No"
    text = ", ".join(value) if isinstance(value, tuple) else str(value)
    return redact.mask(text) if is_masked else text


for site in (agency_site, clinic_site):
    site.register(Flow, FlowAdmin)
