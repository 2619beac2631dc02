"""Links: which source record is which target record, and the two ways in which a person corrects one."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path

from integrations.admin import explain, trails
from integrations.admin.records import (
    CLINIC,
    Cell,
    Choice,
    ClinicFilter,
    Column,
    Empty,
    RecordAdmin,
    facts,
    is_agency,
    when,
)
from integrations.connectors import CONNECTORS
from integrations.messages import message
from integrations.models import Link, LinkState
from integrations.services import linking
from integrations.services.candidates import label_of, page_of, stream_of
from integrations.services.desk import Refused
from integrations.words import flow_name
from tenants.sites import LiveView, SutureSite, agency_site, clinic_site, live_view

MADE_BY = {"created": "Created by Suture", "matched": "Found and matched", "person": "Chosen by a person"}


class MadeByFilter(Choice):
    title, parameter_name, any_word = "How it came about", "made", "Any"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(MADE_BY.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(made_by=self.value()) if self.value() else queryset


def source_cell(row: Link) -> Cell:
    note = f"{row.source} {row.source_stream}"
    return {
        "text": row.source_key,
        "note": f"{note} · was {', '.join(row.source_aliases)}" if row.source_aliases else note,
        "is_link": True,
    }


def target_cell(row: Link) -> Cell:
    note = f"{row.target} {row.target_stream}"
    return {
        "text": row.target_key,
        "note": f"{note} · was {', '.join(row.target_aliases)}" if row.target_aliases else note,
    }


class LinkAdmin(RecordAdmin):
    columns = (
        Column("From", source_cell),
        Column("To", target_cell),
        Column("How", lambda row: {"text": MADE_BY.get(row.made_by, row.made_by)}),
        Column("Linked", lambda row: when(row, row.created_at)),
        CLINIC,
    )
    list_filter = (MadeByFilter, ClinicFilter)
    list_select_related = ("tenant", "source", "target")
    ordering = ("-pk",)
    detail_template = "admin/integrations/link/detail.html"
    empty = Empty(
        "Nothing is linked yet",
        "A link is made when a record is first written, or matched with one that is there.",
        "link",
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By either key, and by those a record had before a merge."""
        return (linking.by_key(queryset, search_term) if search_term.strip() else queryset), False

    def list_context(self, request: HttpRequest, cl: Any) -> dict[str, Any]:
        return {**super().list_context(request, cl), "search_label": "Number on either side"}

    def explained(self, row: Link) -> tuple[str, str]:
        return row.source_key, ""

    def get_urls(self) -> list[URLPattern]:
        page = self.admin_site.admin_view(self.explain_view)
        return [path("explain/", page, name="integrations_link_explain"), *super().get_urls()]

    @live_view
    def explain_view(self, request: HttpRequest) -> LiveView:
        """Any record, linked or not, by its number on either side, an address, an order's number."""
        response: HttpResponse = yield from explain.answer(self, request)
        return response

    @live_view
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> LiveView:
        """The link; a correction frees the old target at the vendor before it is written down here."""
        row = self.get_object(request, object_id)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return]
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if request.method != "POST":
            kind = trails.kind_of_link(row)
            trail = (yield from trails.follow(row, kind)) if kind else None
            return self.detail_response(request, row, self.detail(request, row) | self._trail(row, trail))
        if not self.may_act(request):
            raise PermissionDenied
        new_key = linking.last_part(request.POST.get("key", "")) if request.POST.get("do") == "relink" else ""
        if problem := self._too_little(request, new_key):
            messages.error(request, problem)
            return redirect(self.url("change", row.pk))
        freed = yield lambda: linking.free_target(row.tenant_id, row.pk, new_target_key=new_key)
        return self._corrected(request, row, new_key, freed)

    def _trail(self, row: Link, trail: trails.Trail | None) -> dict[str, Any]:
        hops = trail.hops if trail else ()
        told = [
            (
                hop,
                self.url("change", hop.link_pk) if hop.link_pk else "",
                self.explain_url(hop.source_key, clinic=row.tenant),
            )
            for hop in hops
        ]
        return {"trail": trail, "hops": told}

    def _too_little(self, request: HttpRequest, new_key: str) -> str:
        """Why the vendor need not even be asked."""
        if request.POST.get("do") not in {"relink", "unlink"}:
            return "Choose what to do."
        if not request.POST.get("reason", "").strip():
            return "Say why, so that the next person knows."
        return "Say which record it is." if request.POST.get("do") == "relink" and not new_key else ""

    def _corrected(self, request: HttpRequest, row: Link, new_key: str, freed: linking.Freed) -> HttpResponse:
        here = redirect(self.url("change", row.pk))
        if freed.code:
            messages.error(request, f"Nothing was changed. {message(freed.code).sentence} {message(freed.code).advice}")
            return here
        if not freed.is_there:
            messages.error(request, f"Nothing was changed: there is no {new_key} at {row.target}.")
            return here
        reason = request.POST.get("reason", "")
        try:
            if new_key:
                linking.relink(row, target_key=new_key, reason=reason)
            else:
                linking.unlink(row, reason=reason, send_again=bool(request.POST.get("again")))
        except Refused as refusal:
            messages.error(request, str(refusal))
            return here
        if new_key:
            messages.success(request, f"{row.source_key} is now {new_key}. It is sent there next.")
            return here
        messages.success(request, f"{row.source_key} is no longer linked.")
        return redirect(self.url("changelist"))

    def detail(self, request: HttpRequest, row: Link) -> dict[str, Any]:
        source, target = stream_of(row.source, row.source_stream), stream_of(row.target, row.target_stream)
        states = LinkState.objects.filter(link_id=row.pk).select_related("flow").order_by("flow__name")
        return {
            "title": f"{row.source_key} → {row.target_key}",
            "source_label": CONNECTORS[row.source.vendor].label,
            "target_label": CONNECTORS[row.target.vendor].label,
            "source_url": page_of(source, row.source.facts, row.source_key) if source else "",
            "target_url": page_of(target, row.target.facts, row.target_key) if target else "",
            "states": [
                {
                    "flow": flow_name(state.flow),
                    "written_at": state.written_at,
                    "revision": state.revision_number,
                    "fields": len(state.digests),
                    "dropped": [label_of(target, name) if target else name for name in state.dropped],
                    "is_due": not bytes(state.wish),
                    "gone": state.gone,
                }
                for state in states
            ],
            "facts": facts(
                (f"{row.source} ({row.source_stream})", {"text": row.source_key}),
                ("Merged into it", {"text": ", ".join(row.source_aliases)}),
                (f"{row.target} ({row.target_stream})", {"text": row.target_key}),
                ("Was before a merge", {"text": ", ".join(row.target_aliases)}),
                ("How it came about", {"text": MADE_BY.get(row.made_by, row.made_by)}),
                ("Linked", when(row, row.created_at)),
            ),
            "log_url": self.url_of(
                "synclogentry", "changelist", q=row.source_key, clinic=row.tenant.slug if is_agency() else ""
            ),
        }


SutureSite.finders.append(explain.found_by_search)
for site in (agency_site, clinic_site):
    site.register(Link, LinkAdmin)
