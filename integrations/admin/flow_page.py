"""One request for a page of one flow: the frame around its tabs, trying a record, and publishing."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from integrations.admin import rules
from integrations.admin.flow_shown import UNDER_WAY, say_changed
from integrations.admin.setup import SetupAdmin, clinic_of, faults_by_place, may_ask
from integrations.admin.trials import shown_trial
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config, FlowKind
from integrations.services import config_faults, configuration, configured
from integrations.services.changes import Refused
from integrations.services.trial import try_record
from integrations.words import flow_name
from tenants.models import Role
from tenants.sites import Ask
from tenants.walls import narrow_to

TABS = (
    ("change", "Overview"),
    ("fields", "Fields"),
    ("settings", "Settings"),
    ("values", "Value maps"),
    ("schedule", "Schedule and pilot"),
    ("preview", "Preview"),
    ("backfill", "History"),
    ("blueprint", "Blueprint"),
    ("revisions", "Revisions"),
)

Faults = Mapping[str, list[str]]
"""Sentences by the place they stand beside; ``""`` for the page as a whole."""


@dataclass(frozen=True, slots=True)
class FlowPage:
    """``flow`` is a row of the flows' list, with its counts."""

    admin: SetupAdmin
    request: HttpRequest
    flow: Any

    @property
    def kind(self) -> FlowKind:
        return FLOW_KINDS[self.flow.kind]

    @property
    def words(self) -> rules.Words:
        return rules.Words.of(self.flow)

    @property
    def is_agency(self) -> bool:
        return self.admin.is_agency(self.request)

    @property
    def may_edit(self) -> bool:
        return self.admin.has_change_permission(self.request)

    def url(self, tab: str) -> str:
        return self.admin.url(tab, self.flow.pk)

    def list_url(self, model: str, *, app: str = "integrations", **query: str) -> str:
        """Another list of this site, narrowed to this flow."""
        asked = {**query, "flow": self.flow.name, **({"clinic": clinic_of(self.flow).slug} if self.is_agency else {})}
        return f"{reverse(f'{self.admin.admin_site.name}:{app}_{model}_changelist')}?{urlencode(asked)}"

    def sheet(self, what: str, *, may_import: bool) -> dict[str, str]:
        """Where a tab's file is had, and given back."""
        given = f"{self.url('import')}?what={what}" if may_import else ""
        return {"export_url": f"{self.url('export')}?what={what}", "import_url": given}

    def go(self, tab: str) -> HttpResponseRedirect:
        return redirect(self.url(tab))

    def shown(self, tab: str, context: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
        """The flow's head, its tabs, and what the tab shows."""
        whole = {
            "flow": self.flow,
            "kind": self.kind,
            "clinic": clinic_of(self.flow),
            "words": self.words,
            "finds_people": self.kind.source.find is not None,
            "tabs": [(place, words, self.url(place)) for place, words in TABS],
            "tab": tab,
            "under_way": UNDER_WAY.get(self.flow.backfill_state, ""),
            "here": self.url(tab),
            "mode_url": self.url("mode"),
            "history_url": self.url("history"),
            "connection_url": f"{self.admin.admin_site.name}:integrations_connection_change",
            **context,
        }
        return self.admin.page(self.request, f"admin/integrations/flow/{tab}.html", flow_name(self.flow), whole, status)

    def tried(self, asked: str, config: Config) -> Generator[Ask, Any, tuple[dict[str, Any] | None, Faults]]:
        """The record of this number or address as ``config`` would treat it, in words; or why it was not tried."""
        faults = faults_by_place(config_faults.config_faults(self.flow, configured.tidy(self.kind, config)))
        if not faults and not may_ask(self.request, self.flow.tenant_id):
            faults = {"": ["That was often. Wait a minute, then try again."]}
        if faults:
            return None, faults
        trial = yield lambda: try_record(self.flow.tenant_id, self.flow.pk, asked, config=config)
        is_masked = self.admin.role(self.request) is Role.CLINIC_VIEWER
        zone = ZoneInfo(clinic_of(self.flow).time_zone)
        return shown_trial(trial, self.words, is_masked=is_masked, zone=zone), {}

    def kept(self, **given: Any) -> Faults | None:
        """Keeps a change of configuration or schedule, and says so; the faults where it was refused."""
        try:
            with narrow_to(self.flow.tenant_id):
                changed = configuration.configure(self.flow, by=self.admin.by(self.request), **given)
        except Refused as refusal:
            return faults_by_place(refusal.faults)
        say_changed(self.request, self.flow, changed)
        return None

    def published(self, config: Config) -> Faults | None:
        """Publishes with the form's note, unless somebody else did since the form was drawn."""
        seen = self.request.POST.get("revision", "")
        note = self.request.POST.get("note", "")
        return self.kept(config=config, note=note, revision_seen=int(seen) if seen.isdigit() else None)
