"""Many held records tried again at once: how far it is, and why it stopped."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from integrations.admin.records import (
    CLINIC,
    Cell,
    ClinicFilter,
    Column,
    Empty,
    RecordAdmin,
    badge,
    facts,
    is_agency,
    when,
)
from integrations.messages import message
from integrations.models import RERUN_LIVE, Rerun, RerunState
from integrations.services import reruns
from integrations.services.desk_choice import Chosen
from tenants.sites import agency_site, clinic_site
from tenants.walls import narrow_to

TONES = {
    RerunState.CANARY: "waiting",
    RerunState.READY: "waiting",
    RerunState.RUNNING: "running",
    RerunState.DONE: "done",
    RerunState.STOPPED: "stopped",
}


def chosen_words(row: Rerun) -> str:
    chosen = Chosen.of(row.chosen)
    return message(chosen.code).sentence if chosen.code else "Records of several kinds"


def state_cell(row: Rerun) -> Cell:
    why = message(row.code).sentence if row.code else ""
    return badge(TONES[RerunState(row.state)], row.get_state_display(), why)


def sent_cell(row: Rerun) -> Cell:
    return {"text": f"{row.sent:,} of {row.total:,}"}


class RerunAdmin(RecordAdmin):
    columns = (
        Column("What", lambda row: {"text": chosen_words(row), "is_link": True}),
        Column("Begun", lambda row: when(row, row.begun_at)),
        Column("State", state_cell),
        Column("Sent", sent_cell, num=True),
        Column("By", lambda row: {"text": row.author}),
        CLINIC,
    )
    list_filter = (ClinicFilter,)
    list_title = "Tried again together"
    search_fields = ()
    key_columns = ()
    list_select_related = ("tenant",)
    ordering = ("-begun_at",)
    detail_template = "admin/integrations/rerun/detail.html"
    empty = Empty("Nothing was tried again together yet", "On the error desk, choose all that fit and try them again.")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        row = self.get_object(request, object_id)
        if row is not None and request.method == "POST":
            return self._stop(request, row)
        return super().change_view(request, object_id, form_url, extra_context)

    def _stop(self, request: HttpRequest, row: Rerun) -> HttpResponse:
        if not self.may_act(request):
            raise PermissionDenied
        for one in Rerun.objects.filter(series=row.series):
            with narrow_to(one.tenant_id):
                reruns.stop(one)
        messages.success(request, "Nothing more is sent. What is on its way arrives.")
        return redirect(self.url("change", row.pk))

    def detail(self, request: HttpRequest, row: Rerun) -> dict[str, Any]:
        """Of a series the clinics that this person may see."""
        parts = list(Rerun.objects.filter(series=row.series).select_related("tenant").order_by("tenant__name"))
        total, sent = sum(one.total for one in parts), sum(one.sent for one in parts)
        stopped = next((one for one in parts if one.state == RerunState.STOPPED), None)
        asked = {**row.chosen, "clinic": row.tenant.slug if is_agency() and len(parts) == 1 else ""}
        return {
            "title": f"Tried again together: {total:,} record{'' if total == 1 else 's'}",
            "list_name": self.list_title,
            "what": chosen_words(row),
            "told": message(stopped.code) if stopped and stopped.code else None,
            "is_live": any(one.state in RERUN_LIVE for one in parts),
            "is_canary": any(one.state == RerunState.CANARY for one in parts),
            "few": sum(len(one.canary) for one in parts),
            "total": total,
            "sent": sent,
            "left": max(0, total - sent),
            "share": round(100 * sent / total) if total else 100,
            "came_back": sum(reruns.came_back(one) for one in parts) if len(parts) == 1 else None,
            "parts": [(one, state_cell(one), sent_cell(one)["text"]) for one in parts] if len(parts) > 1 else [],
            "desk_url": self.url_of("delivery", "changelist", **asked),
            "facts": facts(
                ("State", state_cell(row)),
                ("Begun", when(row, row.begun_at)),
                ("By", {"text": row.author}),
                ("Ended", when(row, row.finished_at, never="")),
            ),
        }


for site in (agency_site, clinic_site):
    site.register(Rerun, RerunAdmin)
