"""The agency's blueprints: their list, and a page each for its clinics and publishing, its lines and its versions."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from integrations.admin.blueprint_lines import LinesForm
from integrations.admin.blueprint_shown import ROLLOUT_TONES, followers, standing
from integrations.admin.flow_page import Faults
from integrations.admin.flow_shown import author_of
from integrations.admin.rules import Words
from integrations.admin.said import differences
from integrations.admin.setup import SetupAdmin, faults_by_place
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config
from integrations.models import ROLLOUT_OPEN, Blueprint, BlueprintVersion, Flow, Rollout, RolloutState
from integrations.services import blueprints
from integrations.services.changes import Refused, refused
from integrations.services.configured import config_of
from integrations.words import flow_name
from tenants.admin import OWNERS
from tenants.middleware import person
from tenants.models import AGENCY_ROLES
from tenants.sites import agency_site

TABS = (("change", "Clinics and publishing"), ("lines", "Lines"), ("versions", "Versions"))
MOST_OFFERED = 500


class BlueprintForm(forms.Form):
    """A new blueprint: of which kind, called what, and whose lines it begins with."""

    name = forms.CharField(
        label="Name",
        max_length=blueprints.LONGEST_NAME,
        help_text="Clinics read it beside the lines that come from it.",
    )
    kind = forms.ChoiceField(
        label="For which flows", choices=lambda: [(kind.name, kind.label) for kind in FLOW_KINDS.values()]
    )
    like = forms.ChoiceField(label="Begin with the lines of", required=False)

    def __init__(self, data: Any, flows: QuerySet[Flow]) -> None:
        super().__init__(data)
        self.flows = {str(flow.pk): flow for flow in flows}
        choices = [(key, f"{flow.tenant.name}: {flow_name(flow)}") for key, flow in self.flows.items()]
        self.fields["like"].choices = [("", "the kind as shipped"), *choices]  # type: ignore[attr-defined]

    def begins_with(self) -> Config:
        """Raises Refused where that flow is of another kind."""
        flow = self.flows.get(self.cleaned_data["like"])
        if flow is None:
            return Config()
        if flow.kind != self.cleaned_data["kind"]:
            raise refused("like", "blueprint.other_kind", "That flow is of another kind.")
        return config_of(flow)


class BlueprintAdmin(SetupAdmin):
    """Looked at by the agency's people, each seeing the clinics they reach; changed and published by its owner."""

    may_view = frozenset(AGENCY_ROLES)
    may_add = OWNERS
    may_change = OWNERS
    list_display = ("name", "kind_label", "followed", "version", "state")
    list_display_links = ("name",)
    search_fields = ("name",)
    list_before_template = "admin/integrations/blueprint/none.html"
    list_per_page = 50
    pages = (("lines", "lines_view"), ("versions", "versions_view"), ("clinics", "clinics_view"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).filter(agency_id=person(request).agency_id)
        more = {
            "follower_n": blueprints.follower_counts(),
            "behind_n": blueprints.behind_counts(),
            "rollout_state": blueprints.rollout_states(),
        }
        told: QuerySet[Any] = rows.annotate(**more)
        return told

    @admin.display(description="For flows", ordering="kind")
    def kind_label(self, blueprint: Blueprint) -> str:
        return FLOW_KINDS[blueprint.kind].label

    @admin.display(description="Followed by")
    def followed(self, blueprint: Any) -> str:
        flows = blueprint.follower_n or 0
        return f"{flows:,} flow{'' if flows == 1 else 's'}" if flows else "Nobody yet"

    @admin.display(description="Newest version", ordering="number")
    def version(self, blueprint: Any) -> str:
        if not blueprint.number:
            return "None yet"
        behind = blueprint.behind_n or 0
        return f"{blueprint.number}; {behind:,} not yet on it" if behind else str(blueprint.number)

    @admin.display(description="Publishing")
    def state(self, blueprint: Any) -> SafeString | str:
        if not blueprint.rollout_state:
            return "–"
        tone, icon = ROLLOUT_TONES[RolloutState(blueprint.rollout_state)]
        word = RolloutState(blueprint.rollout_state).label
        return render_to_string("suture/badge.html", {"word": word, "tone": tone, "icon": icon})

    # One blueprint

    def shown(self, request: HttpRequest, row: Blueprint, tab: str, context: dict[str, Any]) -> HttpResponse:
        whole = {
            "blueprint": row,
            "kind": FLOW_KINDS[row.kind],
            "words": Words.of_kind(FLOW_KINDS[row.kind]),
            "tabs": [(place, words, self.url(place, row.pk)) for place, words in TABS],
            "tab": tab,
            "here": self.url(tab, row.pk),
            "zone": settings.TIME_ZONE,
            "trail": [("Blueprints", self.url("changelist"))],
            **context,
        }
        return self.page(request, f"admin/integrations/blueprint/{tab}.html", row.name, whole)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The clinics that follow, and publishing. POST ``do``: prepare, rehearse, begin, go, stop, undo."""
        row = self.row(request, object_id)
        if row is None:
            return self.absent(request, object_id)
        if request.method == "POST":
            self.may(request)
            return self._act(request, row)
        rollout = blueprints.newest_rollout(row)
        is_open = rollout is not None and rollout.state in ROLLOUT_OPEN
        published = BlueprintVersion.objects.filter(blueprint=row, number=row.number).first()
        is_new = published is None or published.config != row.config
        config = Config.from_json(published.config if is_open and published else row.config)
        before = Config.from_json(published.config) if published else Config()
        some = followers(row, rollout if is_open or not is_new else None, config, request.GET.get("page"))
        context = {
            "is_open": is_open,
            "is_new": is_new,
            "next_number": row.number + 1 if is_new else row.number,
            "edits": list(differences(Words.of_kind(FLOW_KINDS[row.kind]), before, Config.from_json(row.config))),
            "page_of": some,
            "followers": list(some),
            "behind": row.behind_n if not is_new else row.follower_n,
            "clinics_url": self.url("clinics", row.pk),
            "lines_url": self.url("lines", row.pk),
            **({"standing": standing(rollout)} if rollout is not None else {}),
        }
        return self.shown(request, row, "change", context)

    def _act(self, request: HttpRequest, row: Blueprint) -> HttpResponseRedirect:
        given, by = request.POST, self.by(request)
        do, rollout = given.get("do", ""), blueprints.newest_rollout(row)
        ticked = {int(key) for key in given.getlist("flow") if key.isdigit() and len(key) < 19}
        try:
            if do == "prepare":
                blueprints.prepare(row, by=by, note=given.get("note", ""), first=ticked)
                messages.success(request, "Prepared. Nothing has changed yet: look at what it would do, then begin.")
            elif rollout is not None:
                self._move(request, rollout, do, ticked)
        except Refused as refusal:
            messages.error(request, str(refusal))
        return redirect(self.url("change", row.pk))

    def _move(self, request: HttpRequest, rollout: Rollout, do: str, ticked: set[int]) -> None:
        by = self.by(request)
        if do == "rehearse":
            count = blueprints.ask_rehearsal(rollout, ticked)
            if not count:
                messages.info(request, "Tick the clinics to rehearse at.")
                return
            messages.success(
                request, f"{count:,} rehearsal{'' if count == 1 else 's'} will begin, and go on by themselves."
            )
        elif do == "begin":
            blueprints.begin(rollout, by=by)
            messages.success(request, "It goes to the first clinics now.")
        elif do == "go":
            blueprints.go_on(rollout, by=by, reason=request.POST.get("reason", ""))
            messages.success(request, "It goes to all the others now.")
        elif do == "stop":
            blueprints.stop(rollout, by=by)
            messages.success(request, "Stopped. Whoever did not run by it yet stays as they are.")
        elif do == "undo":
            count = blueprints.undo(rollout, by=by)
            messages.success(request, f"It is taken back from {count:,} flow{'' if count == 1 else 's'}.")

    def lines_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self.row(request, object_id)
        if row is None:
            return self.absent(request, object_id)
        given: QueryDict | None = None
        if request.method == "POST":
            self.may(request)
            given = request.POST
        form = LinesForm(FLOW_KINDS[row.kind], Config.from_json(row.config), given)
        faults: Faults = {}
        if given is not None and form.is_right:
            try:
                is_new = blueprints.edit(row, form.config, by=self.by(request))
            except Refused as refusal:
                faults = faults_by_place(refusal.faults)
            else:
                said = "Kept. No clinic is touched before you publish." if is_new else "Nothing was changed."
                messages.success(request, said)
                return redirect(self.url("lines", row.pk))
        return self.shown(
            request, row, "lines", {"may_edit": self.has_change_permission(request), **form.drawn(faults)}
        )

    def versions_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self.row(request, object_id)
        if row is None:
            return self.absent(request, object_id)
        words, before, told = Words.of_kind(FLOW_KINDS[row.kind]), Config(), []
        rollouts = {one.number: one for one in Rollout.objects.filter(blueprint=row).order_by("pk")}
        stored = BlueprintVersion.objects.filter(blueprint=row).annotate(wrote=F("author__email")).order_by("number")
        for version in stored:
            config = Config.from_json(version.config)
            rollout = rollouts.get(version.number)
            told.append(
                {
                    "version": version,
                    "author": author_of(version),
                    "changes": list(differences(words, before, config)),
                    "rollout": rollout,
                    "badge": ROLLOUT_TONES[RolloutState(rollout.state)] if rollout else None,
                }
            )
            before = config
        return self.shown(request, row, "versions", {"versions": told[::-1]})

    def clinics_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Who may follow. POST ``flow``: these do from now on; POST ``leave``: that one does no more."""
        row = self.row(request, object_id)
        if row is None:
            return self.absent(request, object_id)
        if request.method == "POST":
            self.may(request)
            return self._follow(request, row)
        flows = list(blueprints.may_follow(row)[: MOST_OFFERED + 1])
        context = {
            "tab": "change",
            "here": self.url("clinics", row.pk),
            "back": self.url("change", row.pk),
            "flows": [(flow, flow_name(flow)) for flow in flows[:MOST_OFFERED]],
            "has_more": len(flows) > MOST_OFFERED,
        }
        return self.shown(request, row, "clinics", context)

    def _follow(self, request: HttpRequest, row: Blueprint) -> HttpResponseRedirect:
        given, by = request.POST, self.by(request)
        leaving = given.get("leave", "")
        if leaving.isdigit() and len(leaving) < 19:
            if blueprints.leave(row, int(leaving), by=by):
                messages.success(request, "It follows no more. Its lines stay as they are, as that clinic's own.")
            return redirect(self.url("change", row.pk))
        ticked = {int(key) for key in given.getlist("flow") if key.isdigit() and len(key) < 19}
        count = blueprints.follow(row, ticked, by=by)
        if not count:
            messages.info(request, "Tick the flows that shall follow.")
            return redirect(self.url("clinics", row.pk))
        messages.success(
            request, f"{count:,} flow{'' if count == 1 else 's'} follow from the next version that you publish on."
        )
        return redirect(self.url("change", row.pk))

    # A new one

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        flows = Flow.objects.select_related("tenant").order_by("tenant__name", "name")[:MOST_OFFERED]
        form = BlueprintForm(request.POST or None, flows)
        if request.method == "POST" and form.is_valid():
            made = self._added(request, form)
            if made is not None:
                messages.success(request, "The blueprint is made. Look at its lines, then choose who follows it.")
                return redirect(self.url("lines", made.pk))
        context = {"form": form, "back": self.url("changelist"), "trail": [("Blueprints", self.url("changelist"))]}
        return self.page(request, "admin/integrations/blueprint/add.html", "Add a blueprint", context)

    def _added(self, request: HttpRequest, form: BlueprintForm) -> Blueprint | None:
        given = form.cleaned_data
        try:
            return blueprints.add_blueprint(
                person(request).agency_id or 0,
                FLOW_KINDS[given["kind"]],
                given["name"],
                form.begins_with(),
                by=self.by(request),
            )
        except Refused as refusal:
            for fault in refusal.faults:
                form.add_error(fault.where if fault.where in form.fields else None, fault.sentence)
            return None


agency_site.register(Blueprint, BlueprintAdmin)
