"""Reports: how far both sides of each flow agree, over time, and what does not."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

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
from integrations.models import Flow, Mode
from integrations.services.desk import Refused
from integrations.words import lasted, name_of_flow
from reconciliation import chart, mailing, services
from reconciliation.admin import summary
from reconciliation.compare import AGREE, LEFT_OUT, LEFT_PARTS, OTHERS, RIGHT_PARTS
from reconciliation.compare import Mismatch as Kind
from reconciliation.errands import set_timetable
from reconciliation.models import Every, MailEvery, Mailing, Mismatch, Report, ReportState, Timetable
from reconciliation.words import Words, as_percent
from tenants.sites import agency_site, clinic_site
from tenants.walls import app_now, narrow_to

TRIGGERS = {"schedule": "By its timetable", "person": "A person", "command": "Command line"}
FLOWS_OFFERED = 500
LATEST = 60
"""Comparisons in a picture: two months of nights."""


class StateFilter(Choice):
    title, parameter_name, any_word = "State", "state", "Any"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            *((str(value), str(label)) for value, label in ReportState.choices),
            ("unequal", "Not everything agrees"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "unequal":
            return queryset.filter(state=ReportState.DONE).exclude(**dict.fromkeys(Kind, 0))
        return queryset.filter(state=self.value()) if self.value() else queryset


def state_cell(row: Report) -> Cell:
    note = message(row.code).sentence if row.code else ""
    word = row.get_phase_display() if row.state == ReportState.RUNNING else row.get_state_display()
    return badge(row.state, word, note)


def agreement_cell(row: Report) -> Cell:
    return {"text": percent(row) if row.state == ReportState.DONE else "–"}


def percent(row: Report) -> str:
    share = row.agreement
    return "nothing to compare" if share is None else as_percent(share)


def unequal(row: Report) -> int:
    """Records that do not agree."""
    return sum(getattr(row, kind.value) for kind in Kind)


def unequal_cell(row: Report) -> Cell:
    return {"text": f"{unequal(row):,}" if row.state == ReportState.DONE else "–"}


def read_cell(row: Report, compared: int, read: int) -> Cell:
    """A side's records: of a report that is not done, those that were read so far."""
    return {"text": f"{compared if row.state == ReportState.DONE else read:,}"}


def took_cell(row: Report) -> Cell:
    return {"text": lasted(row.finished_at - row.started_at) if row.finished_at else "still going"}


def series_of(flow_id: int, url_of: Callable[[int], str]) -> dict[str, Any] | None:
    """What ``chart.html`` draws of a flow's latest comparisons, None where there are too few to draw."""
    done = Report.objects.filter(flow_id=flow_id, state=ReportState.DONE).select_related("tenant")
    newest = [one for one in done.order_by("-started_at")[:LATEST] if one.agreement is not None]
    told = newest[::-1]
    drawn = chart.draw([chart.Moment(one.started_at, one.agreement or 0.0, unequal(one)) for one in told])
    if drawn is None:
        return None
    figures = [
        (dot, one, percent(one), unequal(one), url_of(one.pk)) for dot, one in zip(drawn.dots, told, strict=True)
    ]
    return {
        "chart": drawn,
        "half": drawn.bar_width / 2,
        "figures": figures,
        "newest_first": figures[::-1],
        "first": told[0].started_at,
        "last": told[-1].started_at,
        "zone": told[0].tenant.time_zone,
    }


class ReportAdmin(RecordAdmin):
    columns = (
        Column("Flow", lambda row: {"text": name_of_flow(row.flow.name), "is_link": True}),
        Column("Started", lambda row: when(row, row.started_at)),
        Column("State", state_cell),
        Column("Agreement", agreement_cell, num=True),
        Column("Do not agree", unequal_cell, num=True),
        Column("At the source", lambda row: read_cell(row, row.left, row.read_left), num=True),
        Column("At the target", lambda row: read_cell(row, row.right, row.read_right), num=True),
        Column("Took", took_cell, num=True),
        CLINIC,
    )
    list_filter = (FlowFilter, StateFilter, ClinicFilter)
    search_fields = ()
    key_columns = ()
    ordering = ("-started_at",)
    change_list_template = "admin/reconciliation/report/list.html"
    detail_template = "admin/reconciliation/report/detail.html"
    empty = Empty(
        "Nothing was compared yet",
        "Each live flow is compared at night. One that is asked for now shows whether both sides agree.",
        "balance",
    )
    empty_filtered: ClassVar[Empty] = Empty("No report fits", "Widen the filters, or show everything.", "search_off")

    def get_urls(self) -> list[URLPattern]:
        begin = self.admin_site.admin_view(self.begin_view)
        told = self.admin_site.admin_view(partial(summary.page_of, self))
        return [
            path("begin/", begin, name="reconciliation_report_begin"),
            path("summary/", told, name="reconciliation_report_summary"),
            *super().get_urls(),
        ]

    def list_context(self, request: HttpRequest, cl: Any) -> dict[str, Any]:
        flows = Flow.objects.exclude(mode=Mode.OFF).select_related("tenant").order_by("tenant__name", "name")
        return {
            **super().list_context(request, cl),
            "flows": list(flows[:FLOWS_OFFERED]) if self.may_act(request) else [],
            "begin_url": self.url("begin"),
            "shows_clinic": is_agency(),
            "summary_url": self.url("summary"),
            "series": self._series_of_list(request),
        }

    def _series_of_list(self, request: HttpRequest) -> dict[str, Any] | None:
        """The picture of the one flow that the list is narrowed to."""
        name, clinic = request.GET.get("flow", ""), request.GET.get("clinic", "")
        if not name:
            return None
        flows = Flow.objects.filter(name=name)
        if clinic and is_agency():
            flows = flows.filter(tenant__slug=clinic)
        chosen = list(flows.values_list("pk", flat=True)[:2])
        return series_of(chosen[0], partial(self.url, "change")) if len(chosen) == 1 else None

    # -- what a person does

    def begin_view(self, request: HttpRequest) -> HttpResponse:
        """POST ``flow``: compares it now."""
        answer: HttpResponse = require_POST(self._begin)(request)
        return answer

    def _begin(self, request: HttpRequest) -> HttpResponse:
        if not self.may_act(request):
            raise PermissionDenied
        given = request.POST.get("flow", "")
        flow = (
            Flow.objects.filter(pk=int(given)).first()
            if given.isascii() and given.isdigit() and len(given) < 19
            else None
        )
        if flow is None:
            messages.error(request, "Choose a flow.")
            return redirect(self.url("changelist"))
        return self._compare(request, flow)

    def _compare(self, request: HttpRequest, flow: Flow) -> HttpResponse:
        try:
            with narrow_to(flow.tenant_id):
                report = services.begin(flow.pk, trigger="person", now=app_now())
                self.audit(request, "begun", report, [])
        except Refused as refusal:
            messages.error(request, str(refusal))
            return redirect(self.url("changelist"))
        messages.success(request, "Both sides are being compared. You may close this page; it goes on by itself.")
        return redirect(self.url("change", report.pk))

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
        match request.POST.get("do"):
            case "again":
                return self._compare(request, row.flow)
            case "stop":
                self._stop(request, row)
            case "timetable":
                self._keep_timetable(request, row)
            case "mailing":
                self._keep_mailing(request, row)
            case _:
                messages.error(request, "Choose what to do.")
        return redirect(self.url("change", row.pk))

    def _stop(self, request: HttpRequest, row: Report) -> None:
        with narrow_to(row.tenant_id):
            is_done = services.stop(row.pk, app_now())
            if is_done:
                self.audit(request, "stopped", row, [])
        if is_done:
            messages.success(request, "Stopped. What it found so far stays on the list of mismatches.")
        else:
            messages.warning(request, "Nothing was changed: it had ended already.")

    def _keep_timetable(self, request: HttpRequest, row: Report) -> None:
        every = request.POST.get("every", "")
        if every not in Every.values:
            messages.error(request, "Choose how often.")
            return
        with narrow_to(row.tenant_id):
            flow = Flow.objects.select_related("tenant").get(pk=row.flow_id)
            set_timetable(flow, Every(every), app_now())
            self.audit(request, f"timetable.{every}", row, [])
        messages.success(request, f"{name_of_flow(row.flow.name)} is compared {Every(every).label.lower()}.")

    def _keep_mailing(self, request: HttpRequest, row: Report) -> None:
        every = request.POST.get("mail", "")
        if every not in MailEvery.values:
            messages.error(request, "Choose when.")
            return
        with narrow_to(row.tenant_id):
            mailing.choose(row.tenant, MailEvery(every), app_now())
            self.audit(request, f"mailing.{every}", row, [])
        messages.success(request, f"Mail to the managers of {row.tenant}: {MailEvery(every).label.lower()}.")

    # -- what is shown

    def detail(self, request: HttpRequest, row: Report) -> dict[str, Any]:
        words = Words.of(row.flow)
        mailed = (
            Mailing.objects.filter(tenant_id=row.tenant_id).values_list("every", flat=True).first() or MailEvery.OFF
        )
        table = Timetable.objects.filter(flow_id=row.flow_id).first()
        return {
            "title": f"Report on {name_of_flow(row.flow.name)}",
            "words": words,
            "told": message(row.code) if row.code and row.state != ReportState.DONE else None,
            "is_running": row.state == ReportState.RUNNING,
            "percent": percent(row) if row.state == ReportState.DONE else "",
            "sides": [
                (f"In {words.source}", row.left, self._parts(row, LEFT_PARTS, words)),
                (f"In {words.target}", row.right, self._parts(row, RIGHT_PARTS, words)),
            ],
            "breakdown": self._breakdown(row, words),
            "all_url": self._mismatches(row),
            "series": series_of(row.flow_id, partial(self.url, "change")),
            "every": [
                (value, label, value == (table.every if table else Every.DAILY)) for value, label in Every.choices
            ],
            "mail": [(value, label, value == mailed) for value, label in MailEvery.choices],
            "facts": facts(
                ("State", state_cell(row)),
                ("Started", when(row, row.started_at)),
                ("Ended", when(row, row.finished_at, never="")),
                ("Took", took_cell(row)),
                ("Because", {"text": TRIGGERS.get(row.trigger, row.trigger), "note": row.actor}),
                ("New mismatches", {"text": f"{row.found:,}"}),
                ("Closed since the last", {"text": f"{row.closed:,}"}),
                ("Linked to nothing", {"text": f"{row.linked_to_nothing:,}" if row.linked_to_nothing else ""}),
                ("Revision of the rules", {"text": row.revision_number or ""}),
                (
                    "Next",
                    when(row, table.next_due_at, never="only when asked") if table else {"text": "not planned yet"},
                ),
            ),
        }

    def _parts(self, row: Report, parts: Any, words: Words) -> list[tuple[int, str, str]]:
        """(how many, in words, where they are listed) for each part of a side that is not empty."""
        told = []
        for part in map(str, parts):
            count = getattr(row, part)
            if count:
                is_kind = part in set(Kind)
                told.append((count, _part_words(part, words), self._mismatches(row, kind=part) if is_kind else ""))
        return told

    def _breakdown(self, row: Report, words: Words) -> list[dict[str, Any]]:
        """The mismatches that this report was the last to see, by kind, cause and field."""
        rows = (
            Mismatch.objects.filter(report=row)
            .values("kind", "cause", "field")
            .annotate(count=Count("pk"), still=Count("pk", filter=Q(closed_at=None)))
            .order_by("-count")[:50]
        )
        return [
            {
                "count": one["count"],
                "still": one["still"],
                "kind": words.kind_of(one["kind"]),
                "field": words.field(one["field"]),
                "cause": words.cause(one["cause"]),
                "url": self._mismatches(row, kind=one["kind"], cause=one["cause"] or "unknown", field=one["field"]),
            }
            for one in rows
        ]

    def _mismatches(self, row: Report, **asked: str) -> str:
        """The list of this flow's mismatches, narrowed."""
        query = {**asked, "flow": row.flow.name, "clinic": row.tenant.slug if is_agency() else ""}
        given = urlencode({name: value for name, value in query.items() if value})
        return f"{reverse(f'{self.admin_site.name}:reconciliation_mismatch_changelist')}?{given}"


def _part_words(part: str, words: Words) -> str:
    if part == LEFT_OUT:
        return "left out by the flow's rules"
    if part == OTHERS:
        return f"not from {words.source}, or left out there"
    if part == AGREE:
        return "agree"
    told = words.kind_of(part)
    return told[0].lower() + told[1:]


for site in (agency_site, clinic_site):
    site.register(Report, ReportAdmin)
