"""Repairs: what would be written and was, record by record; approved, declined and taken back here."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse

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
from integrations.services.candidates import shown
from integrations.services.desk import Refused
from integrations.vault import Unsealable, Vault, open_vault
from integrations.words import name_of_flow
from reconciliation import repair as repairs
from reconciliation.models import Repair, RepairState, RepairStep, StepState, UndoState
from reconciliation.repairing import AT_WORK, preview_place
from reconciliation.words import Words
from tenants.middleware import person
from tenants.models import Role
from tenants.sites import agency_site, clinic_site
from tenants.walls import app_now, narrow_to

STEPS_PER_PAGE = 25
TONES = {
    RepairState.PREVIEWING: "running",
    RepairState.PROPOSED: "held",
    RepairState.SENDING: "sending",
    RepairState.UNDOING: "sending",
    RepairState.DONE: "done",
    RepairState.UNDONE: "skipped",
    RepairState.DECLINED: "skipped",
    RepairState.LAPSED: "skipped",
    RepairState.FAILED: "failed",
}
STEP_TONES = {
    StepState.PLANNED: "waiting",
    StepState.READY: "waiting",
    StepState.LEFT: "skipped",
    StepState.SENT: "sending",
    StepState.IN_LINE: "done",
    StepState.UNEQUAL: "held",
}
UNDO_TONES = {
    UndoState.SENT: "sending",
    UndoState.UNDONE: "done",
    UndoState.PARTLY: "held",
    UndoState.KEPT: "held",
}
ACTIONS = {"create": "Would be made", "update": "Would be changed", "archive": "Would be archived"}


class StateFilter(Choice):
    title, parameter_name, any_word = "State", "state", "Any"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in RepairState.choices]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(state=self.value()) if self.value() else queryset


def state_cell(row: Repair) -> Cell:
    note = message(row.code).sentence if row.code else ""
    return badge(TONES[RepairState(row.state)], row.get_state_display(), note)


def count_cell(row: Repair, name: str) -> Cell:
    is_told = row.state in (RepairState.DONE, RepairState.UNDOING, RepairState.UNDONE)
    return {"text": f"{getattr(row, name):,}" if is_told else "–"}


class RepairAdmin(RecordAdmin):
    columns = (
        Column("Flow", lambda row: {"text": name_of_flow(row.flow.name), "is_link": True}),
        Column("State", state_cell),
        Column("Records", lambda row: {"text": f"{row.records:,}"}, num=True),
        Column("In line", lambda row: count_cell(row, "in_line"), num=True),
        Column("Still not equal", lambda row: count_cell(row, "unequal"), num=True),
        Column("Proposed", lambda row: when(row, row.proposed_at)),
        Column("By", lambda row: {"text": row.proposed_by}),
        CLINIC,
    )
    list_filter = (FlowFilter, StateFilter, ClinicFilter)
    list_select_related = ("tenant", "flow", "flow__source", "flow__target")
    search_fields = ()
    key_columns = ()
    ordering = ("-proposed_at", "-pk")
    change_list_template = "admin/reconciliation/repair/list.html"
    detail_template = "admin/reconciliation/repair/detail.html"
    empty = Empty(
        "Nothing was repaired yet",
        "Tick what does not agree on the list of mismatches and choose Bring in line. You see what would be written"
        " before anything is sent.",
        "published_with_changes",
    )
    empty_filtered: ClassVar[Empty] = Empty("No repair fits", "Widen the filters, or show everything.", "search_off")

    # -- what a person does

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        if request.method != "POST":
            return super().change_view(request, object_id, form_url, extra_context)
        row = self.get_object(request, object_id)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.may_act(request):
            raise PermissionDenied
        try:
            with narrow_to(row.tenant_id):
                messages.success(request, self._do(request, row))
        except Refused as refusal:
            messages.error(request, str(refusal))
        return redirect(self.url("change", row.pk))

    def _do(self, request: HttpRequest, row: Repair) -> str:
        """Does what was asked, and says what came of it. Raises Refused."""
        by, now = person(request).actor, app_now()
        match request.POST.get("do"):
            case "approve":
                sent = repairs.approve(row, by=by, now=now)
                return f"{_records(sent)} on the way. Each is read again afterwards, to see that it is in line."
            case "decline":
                repairs.decline(row, by=by, now=now)
                return "Declined. Nothing was sent."
            case "undo":
                sent = repairs.undo(row, by=by, reason=request.POST.get("reason", ""), now=now)
                return f"{_records(sent)} on the way back. What cannot be taken back is named below."
        raise Refused("Choose what to do.")

    # -- what is shown

    def detail(self, request: HttpRequest, row: Repair) -> dict[str, Any]:
        words, steps = Words.of(row.flow), RepairStep.objects.filter(repair=row)
        by_state = dict(steps.order_by().values_list("state").annotate(count=Count("pk")))
        only = request.GET.get("only", "")
        only = only if only in by_state else ""
        asked = steps.filter(state=only) if only else steps
        page: Any = Paginator(asked.order_by("pk"), STEPS_PER_PAGE).get_page(request.GET.get("p"))
        masked = self.role(request) is Role.CLINIC_VIEWER
        with narrow_to(row.tenant_id):
            vault = open_vault(row.tenant_id)
            lines = [_line(row, step, words, vault, masked=masked) for step in page]
        is_done = row.state == RepairState.DONE
        return {
            "title": f"Repair of {name_of_flow(row.flow.name)}",
            "list_name": "Repairs",
            "words": words,
            "told": message(row.code) if row.code else None,
            "is_at_work": row.state in AT_WORK,
            "counts": _counts(by_state),
            "tabs": [("", "All", sum(by_state.values())), *_tabs(by_state)],
            "only": only,
            "lines": lines,
            "page": page,
            "is_masked": masked,
            "may_approve": repairs.may_approve(row, person(request).actor),
            "undo": _undo_counts(row) if is_done and row.undo_until and row.undo_until > app_now() else None,
            "undo_facts": _undo_facts(row) if row.state == RepairState.UNDONE else [],
            "mismatches_url": self._mismatches(row),
            "facts": facts(
                ("State", state_cell(row)),
                ("Records", {"text": f"{row.records:,}"}),
                ("Proposed", when(row, row.proposed_at)),
                ("Proposed by", {"text": row.proposed_by}),
                ("Approved", when(row, row.approved_at, never="")),
                ("Approved by", {"text": row.approved_by}),
                ("Ended", when(row, row.ended_at, never="")),
                ("Taken back by", {"text": row.undone_by, "note": row.undo_reason}),
                ("Can be taken back until", when(row, row.undo_until, never="") if is_done else {}),
            ),
        }

    def _mismatches(self, row: Repair) -> str:
        clinic = f"&clinic={row.tenant.slug}" if is_agency() else ""
        return f"{reverse(f'{self.admin_site.name}:reconciliation_mismatch_changelist')}?flow={row.flow.name}{clinic}"


def _records(count: int) -> str:
    return f"{count:,} record is" if count == 1 else f"{count:,} records are"


def _counts(by_state: Mapping[str, int]) -> dict[str, int]:
    """How many steps are in each state, and how many of them somebody has looked at or read again."""
    counts = {str(state): by_state.get(state, 0) for state in StepState.values}
    return {
        **counts,
        "all": sum(counts.values()),
        "looked_at": sum(counts.values()) - counts["planned"],
        "checked": counts["in_line"] + counts["unequal"],
        "going": counts["sent"] + counts["in_line"] + counts["unequal"],
    }


def _tabs(by_state: Mapping[str, int]) -> list[tuple[str, str, int]]:
    return [(value, label, by_state[value]) for value, label in StepState.choices if value in by_state]


def _undo_counts(row: Repair) -> dict[str, int]:
    """How many records could get their old values back, and how many were made by the repair and stay."""
    counts: dict[str, int] = RepairStep.objects.filter(repair=row).aggregate(
        able=Count("pk", filter=repairs.undoable()), made=Count("pk", filter=Q(outcome="created"))
    )
    return counts


def _undo_facts(row: Repair) -> list[tuple[int, str]]:
    """What could not be taken back, by why."""
    kept = RepairStep.objects.filter(repair=row, undo_state__in=(UndoState.KEPT, UndoState.PARTLY))
    counted = kept.order_by().values_list("undo_code").annotate(count=Count("pk")).order_by("-count")
    return [(count, message(code).sentence) for code, count in counted]


def _line(row: Repair, step: RepairStep, words: Words, vault: Vault, *, masked: bool) -> dict[str, Any]:
    undo = UndoState(step.undo_state)
    code = step.undo_code or step.code
    return {
        "step": step,
        "badge": badge(UNDO_TONES[undo], undo.label)
        if undo is not UndoState.NONE
        else badge(STEP_TONES[StepState(step.state)], _state_words(step)),
        "why": message(code).sentence if code else "",
        "kept": [words.field(name) for name in step.kept_fields],
        "changes": _changes(row, step, words, vault, masked=masked),
    }


def _state_words(step: RepairStep) -> str:
    if step.state == StepState.READY:
        return ACTIONS.get(step.action, str(StepState.READY.label))
    return str(step.get_state_display())


def _changes(row: Repair, step: RepairStep, words: Words, vault: Vault, *, masked: bool) -> list[tuple[str, str, str]]:
    """(field, value there, value wished) as this person may see them."""
    if step.sealed_preview is None:
        return []
    try:
        told = json.loads(vault.unseal(step.sealed_preview, bound_to=preview_place(row.pk, step.source_key)))
    except Unsealable:
        return []
    stream, marker = words.kind.target, words.kind.marker
    return [
        (
            words.field(name),
            shown(stream, name, there, masked=masked and name != marker),
            shown(stream, name, wanted, masked=masked and name != marker),
        )
        for name, there, wanted in told
    ]


for site in (agency_site, clinic_site):
    site.register(Repair, RepairAdmin)
