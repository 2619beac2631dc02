"""Runs: what each pass read, and where every record of it stands now."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest

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
from integrations.messages import message
from integrations.models import BUCKETS, Run, RunState
from integrations.words import flow_name, lasted
from tenants.sites import agency_site, clinic_site

WORDS = {
    "created": "created",
    "updated": "updated",
    "archived": "marked as archived",
    "unchanged": "unchanged",
    "skipped": "left out",
    "held": "need a person",
    "uncertain": "being checked",
    "waiting": "waiting",
    "superseded": "replaced by newer",
}
TRIGGERS = {
    "schedule": "On schedule",
    "person": "A person",
    "command": "Command line",
    "backfill": "Somebody asked for the history",
    "mode": "The mode changed",
    "repair": "Mismatches were brought in line",
    "undo": "A repair was taken back",
}


class StateFilter(Choice):
    title, parameter_name, any_word = "State", "state", "Any"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            *((str(value), str(label)) for value, label in RunState.choices),
            ("trouble", "With records that need a person"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "trouble":
            return queryset.filter(held__gt=0)
        return queryset.filter(state=self.value()) if self.value() else queryset


class SomethingFilter(Choice):
    """Most passes find nothing to do; they are rarely what a person looks for."""

    title, parameter_name, any_word = "What came of it", "came", "Anything"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("something", "Something was written or held")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.exclude(created=0, updated=0, archived=0, held=0) if self.value() else queryset


def flow_cell(row: Run) -> Cell:
    return {"text": flow_name(row.flow), "note": "everything" if row.since is None else "what changed", "is_link": True}


def state_cell(row: Run) -> Cell:
    return badge(row.state, row.get_state_display(), message(row.code).sentence if row.code else "")


def came_cell(row: Run) -> Cell:
    said = [f"{getattr(row, name):,} {WORDS[name]}" for name in BUCKETS if getattr(row, name) and name != "unchanged"]
    if not row.read:
        return {"text": "Nothing to read" if row.finished_at else "–"}
    return {"text": " · ".join(said) or "All unchanged"}


def took_cell(row: Run) -> Cell:
    return {"text": lasted(row.finished_at - row.started_at) if row.finished_at else "still going"}


class RunAdmin(RecordAdmin):
    columns = (
        Column("Flow", flow_cell),
        Column("Started", lambda row: when(row, row.started_at)),
        Column("State", state_cell),
        Column("Read", lambda row: {"text": f"{row.read:,}"}, num=True),
        Column("What came of it", came_cell),
        Column("Took", took_cell, num=True),
        CLINIC,
    )
    list_filter = (FlowFilter, StateFilter, SomethingFilter, ClinicFilter)
    search_fields = ()
    key_columns = ()
    ordering = ("-started_at",)
    detail_template = "admin/integrations/run/detail.html"
    empty = Empty(
        "No run yet", "Within a minute after a flow is set to preview or live, its first run begins.", "play_circle"
    )

    def detail(self, request: HttpRequest, row: Run) -> dict[str, Any]:
        slug = row.tenant.slug if is_agency() else ""
        parts = [(getattr(row, name), WORDS[name], name) for name in BUCKETS]
        return {
            "title": f"Run: {flow_name(row.flow)}",
            "told": message(row.code) if row.code else None,
            "parts": [(count, words, self._where(name, row, slug)) for count, words, name in parts if count],
            "adds_up": sum(count for count, _, _ in parts) == row.read,
            "share": min(100, round(100 * row.read / row.expected)) if row.expected and not row.finished_at else None,
            "facts": facts(
                ("State", badge(row.state, row.get_state_display())),
                ("Started", when(row, row.started_at)),
                ("Ended", when(row, row.finished_at, never="")),
                ("Took", took_cell(row)),
                (
                    "Asked for",
                    {"text": "everything"}
                    if row.since is None
                    else {**when(row, row.since), "note": "changes since then"},
                ),
                ("Because", {"text": TRIGGERS.get(row.trigger, row.trigger)}),
                ("Pages read", {"text": f"{row.pages:,}" if row.pages else ""}),
                ("Revision of the rules", {"text": row.revision_number or ""}),
                ("Goes on at", when(row, row.not_before, never="") if not row.finished_at else {"text": ""}),
            ),
        }

    def _where(self, name: str, row: Run, slug: str) -> str:
        """The list that shows the records of this count, where there is one."""
        show = {"held": "", "waiting": "waiting", "uncertain": "moving"}.get(name)
        if show is None or not getattr(row, name):
            return ""
        return self.url_of("delivery", "changelist", show=show, flow=row.flow.name, clinic=slug)


for site in (agency_site, clinic_site):
    site.register(Run, RunAdmin)
