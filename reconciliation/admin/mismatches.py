"""Mismatches: what is not equal on both sides, in plain words, with both values and what can be done."""

from collections import Counter
from datetime import timedelta
from operator import itemgetter
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode

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
from integrations.flows import FLOW_KINDS
from integrations.messages import message
from integrations.services.candidates import page_of
from integrations.services.desk import Refused
from integrations.vault import open_vault
from integrations.words import flow_name
from reconciliation import repair
from reconciliation.admin.files import CSV, XLSX, as_file
from reconciliation.exports import csv_parts, xlsx
from reconciliation.models import CAUSES, KINDS, Mismatch, RepairStep
from reconciliation.summary import AGES
from reconciliation.words import Words, field_words, values_of
from tenants.middleware import person
from tenants.models import Role
from tenants.services import record_audit
from tenants.sites import ScopedStream, agency_site, clinic_site
from tenants.walls import app_now, narrow_to

UNKNOWN = "unknown"


class ShowFilter(Choice):
    title, parameter_name, any_word = "Show", "show", "What does not agree now"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("closed", "What agrees again"), ("all", "Both")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all":
            return queryset
        return queryset.filter(closed_at__isnull=self.value() != "closed")


class KindFilter(Choice):
    title, parameter_name, any_word = "What is wrong", "kind", "Anything"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(KINDS)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


class CauseFilter(Choice):
    title, parameter_name, any_word = "Probable cause", "cause", "Any"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value or UNKNOWN, words) for value, words in CAUSES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        return queryset.filter(cause="" if self.value() == UNKNOWN else self.value())


class AgeFilter(Choice):
    """How long it has not agreed."""

    title, parameter_name, any_word = "Open for", "age", "Any time"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(age, words) for age, words, _, _ in AGES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = {age: (most, least) for age, _, least, most in AGES}.get(self.value() or "")
        if asked is None:
            return queryset
        most, least = asked
        now = app_now()
        older = queryset.filter(first_seen__lte=now - timedelta(days=least))
        return older.filter(first_seen__gt=now - timedelta(days=most)) if most else older


class FieldFilter(Choice):
    """The fields that differ somewhere now."""

    title, parameter_name, any_word = "Field", "field", "Any"
    MOST = 100

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        rows = Mismatch.objects.filter(closed_at=None).exclude(field="").order_by("flow__kind", "field")
        named = rows.values_list("flow__kind", "field").distinct()[: self.MOST]
        return sorted({name: field_words(FLOW_KINDS[kind], name) for kind, name in named}.items(), key=itemgetter(1))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(field=self.value()) if self.value() else queryset


def what_cell(row: Mismatch) -> Cell:
    words = Words.of(row.flow)
    return {"text": words.sentence(row), "note": words.why(row), "is_link": True}


def record_cell(row: Mismatch) -> Cell:
    return {"text": row.source_key or row.target_key, "note": flow_name(row.flow)}


def cause_cell(row: Mismatch) -> Cell:
    return {"text": Words.of(row.flow).cause(row.cause)}


class MismatchAdmin(RecordAdmin):
    columns = (
        Column("What is wrong", what_cell),
        Column("Probable cause", cause_cell),
        Column("Record", record_cell),
        CLINIC,
        Column("First seen", lambda row: when(row, row.first_seen, ago=True)),
        Column("Last seen", lambda row: when(row, row.last_seen)),
    )
    list_select_related = ("tenant", "flow", "flow__source", "flow__target")
    list_filter = (ShowFilter, KindFilter, CauseFilter, AgeFilter, FieldFilter, FlowFilter, ClinicFilter)
    ordering = ("-last_seen", "-pk")
    search_label = "Number on either side"
    change_list_template = "admin/reconciliation/mismatch/list.html"
    detail_template = "admin/reconciliation/mismatch/detail.html"
    actions = ("bring_in_line", "download_csv", "download_xlsx")
    empty = Empty(
        "No mismatch",
        "What differs between the two sides will stand here. See Reports for when they were last compared.",
        "task_alt",
    )

    def list_context(self, request: HttpRequest, cl: Any) -> dict[str, Any]:
        offered = [
            ("bring_in_line", "Bring in line", "published_with_changes"),
            ("download_csv", "CSV", "download"),
            ("download_xlsx", "Excel", "download"),
        ]
        return {
            **super().list_context(request, cl),
            "offered": offered if self.may_act(request) else [],
        }

    # -- many at once

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_actions(request) if self.may_act(request) else {}

    def bring_in_line(self, request: HttpRequest, queryset: QuerySet[Mismatch]) -> HttpResponse | None:
        chosen = repair.choose(queryset)
        if "confirmed" not in request.POST:
            return self._ask_first(request, chosen)
        try:
            made = repair.propose(chosen, by=person(request).actor, now=app_now())
        except Refused as refusal:
            messages.error(request, str(refusal))
            return None
        if not made:
            messages.warning(request, "Nothing was proposed: none of these can be mended by sending a record.")
            return None
        messages.success(request, "What would be written is looked up now. Nothing is sent before somebody approves.")
        base = f"{self.admin_site.name}:reconciliation_repair"
        alone = len(made) == 1
        return redirect(reverse(f"{base}_change", args=[made[0].pk]) if alone else reverse(f"{base}_changelist"))

    def _ask_first(self, request: HttpRequest, chosen: repair.Choice) -> HttpResponse:
        """What would be looked at, and what needs a person's decision instead; nothing is done yet."""
        kinds = dict(KINDS)
        context = {
            **self.admin_site.each_context(request),
            "title": "Bring in line",
            "choice": chosen,
            "sent": [(kinds[kind], count) for kind, count in Counter(chosen.by_kind).most_common()],
            "left": [(kinds[kind], count) for kind, count in Counter(chosen.left).most_common()],
            "most": repair.MOST,
            "chosen": request.POST.getlist("_selected_action"),
            "select_across": request.POST.get("select_across", "0"),
            "back": request.get_full_path(),
        }
        return TemplateResponse(request, "admin/reconciliation/mismatch/confirm.html", context)

    def download_csv(self, request: HttpRequest, queryset: QuerySet[Mismatch]) -> HttpResponseBase:
        self._note_export(request, queryset, "csv")
        parts = csv_parts(queryset, masked=self._is_masked(request))
        return ScopedStream(parts, content_type=CSV, headers=as_file("mismatches", "csv"))

    def download_xlsx(self, request: HttpRequest, queryset: QuerySet[Mismatch]) -> HttpResponse:
        self._note_export(request, queryset, "xlsx")
        made = xlsx(queryset, masked=self._is_masked(request))
        return HttpResponse(made, content_type=XLSX, headers=as_file("mismatches", "xlsx"))

    def _note_export(self, request: HttpRequest, queryset: QuerySet[Mismatch], kind: str) -> None:
        """One audit entry a clinic: who took how much away."""
        for tenant_id in queryset.order_by().values_list("tenant_id", flat=True).distinct():
            count = queryset.filter(tenant_id=tenant_id).count()
            record_audit(
                "mismatch.exported",
                target=f"{count} mismatches",
                diff={"rows": count, "kind": kind},
                tenant_id=tenant_id,
                actor_role=self.role(request) or "",
            )

    def _is_masked(self, request: HttpRequest) -> bool:
        return self.role(request) is Role.CLINIC_VIEWER

    # -- one of them

    def detail(self, request: HttpRequest, row: Mismatch) -> dict[str, Any]:
        words = Words.of(row.flow)
        flow = row.flow
        with narrow_to(row.tenant_id):
            masked = self._is_masked(request)
            left, right = (
                values_of(row, words, open_vault(row.tenant_id), masked=masked) if row.sealed_values else ("", "")
            )
        slug = row.tenant.slug if is_agency() else ""
        site = f"{self.admin_site.name}:"
        return {
            "title": words.sentence(row),
            "list_name": "Mismatches",
            "words": words,
            "cause": words.cause(row.cause),
            "told": message(row.code) if row.code else None,
            "field": words.field(row.field),
            "is_for_a_person": row.closed_at is None and row.kind not in repair.MENDED,
            "may_repair": row.closed_at is None and row.kind in repair.MENDED and self.may_act(request),
            "links_url": _listed(site, "link", row.source_key or row.target_key, slug),
            "has_values": row.sealed_values is not None,
            "left": left,
            "right": right,
            "is_masked": masked,
            "source_label": words.source,
            "target_label": words.target,
            "source_url": page_of(words.kind.source, flow.source.facts, row.source_key) if row.source_key else "",
            "target_url": page_of(words.kind.target, flow.target.facts, row.target_key) if row.target_key else "",
            "log_url": _listed(site, "synclogentry", row.source_key or row.target_key, slug),
            "report_url": self._report_url(row),
            "repair_url": self._repair_url(row),
            "facts": facts(
                ("State", _state(row)),
                (f"In {words.source}", {"text": row.source_key}),
                (f"In {words.target}", {"text": row.target_key}),
                ("Flow", {"text": flow_name(flow)}),
                ("First seen", when(row, row.first_seen)),
                ("Open for", {"text": _age(row)}),
                ("Last seen", when(row, row.last_seen)),
                ("Closed", when(row, row.closed_at, never="")),
            ),
        }

    def _repair_url(self, row: Mismatch) -> str:
        """The newest repair that the record is or was in, ``""`` for none."""
        steps = RepairStep.objects.filter(repair__flow_id=row.flow_id, source_key=row.source_key)
        newest = steps.order_by("-repair_id").values_list("repair_id", flat=True).first() if row.source_key else None
        return reverse(f"{self.admin_site.name}:reconciliation_repair_change", args=(newest,)) if newest else ""

    def _report_url(self, row: Mismatch) -> str:
        return reverse(f"{self.admin_site.name}:reconciliation_report_change", args=(row.report_id,))


def _listed(site: str, model: str, key: str, clinic: str) -> str:
    asked = {"q": key, **({"clinic": clinic} if clinic else {})}
    return f"{reverse(f'{site}integrations_{model}_changelist')}?{urlencode(asked)}"


def _state(row: Mismatch) -> Cell:
    return badge("done", "Agrees again") if row.closed_at else badge("held", "Does not agree")


def _age(row: Mismatch) -> str:
    days = ((row.closed_at or app_now()) - row.first_seen).days
    return "less than a day" if not days else f"{days} day{'' if days == 1 else 's'}"


for site in (agency_site, clinic_site):
    site.register(Mismatch, MismatchAdmin)
