"""The error desk, and every delivery behind it: one list, opened on what waits for a person."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from integrations.admin import desk_deeds
from integrations.admin.desk_deeds import IGNORE_DAYS, STAYING, Deed
from integrations.admin.desk_page import help_for, story_of
from integrations.admin.explained import CODES, figures_of, has_figures
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
from integrations.connectors import CONNECTORS
from integrations.messages import Owner, message
from integrations.models import RERUN_LIVE, Assignment, Delivery, DeliveryState, Rerun
from integrations.models.delivery import IN_FLIGHT
from integrations.services import desk, desk_choice, handling, reruns
from integrations.services.candidates import Comparison, compare, label_of, page_of
from integrations.services.changes import By
from integrations.services.desk_choice import Chosen
from integrations.services.trail import Seen, see_source
from integrations.words import flow_name
from tenants.middleware import person
from tenants.sites import LiveView, agency_site, clinic_site, live_view
from tenants.walls import app_now

OWNER_WORDS = {
    Owner.CLINIC: ("The clinic", "storefront"),
    Owner.AGENCY: ("The agency", "domain"),
    Owner.VENDOR: ("The vendor", "cloud"),
    Owner.SYSTEM: ("Suture's engineers", "engineering"),
}
DESK = "desk"
PEOPLE_MAX = 50
RERUNS_SHOWN = 3


class ShowFilter(Choice):
    """Which part of the outbox: without a choice what waits for a person, since that is what people come for."""

    title, parameter_name = "Show", "show"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("ignored", "Ignored for now"),
            ("waiting", "Waiting"),
            ("moving", "On their way"),
            ("done", "Done"),
            ("all", "All deliveries"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:
        now = app_now()
        match self.value():
            case "ignored":
                return queryset.filter(state=DeliveryState.HELD, ignored_until__gt=now)
            case "waiting":
                return queryset.filter(state=DeliveryState.WAITING)
            case "moving":
                return queryset.filter(state__in=IN_FLIGHT)
            case "done":
                return queryset.filter(state=DeliveryState.DONE)
            case "all":
                return queryset
            case _:
                return queryset.filter(desk.is_on_desk(now))


class OwnerFilter(Choice):
    title, parameter_name, any_word = "Who can fix it", "owner", "Anyone"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(owner.value, word) for owner, (word, _) in OWNER_WORDS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:
        return desk_choice.of_owner(queryset, self.value() or "", app_now())


class CodeFilter(Choice):
    title, parameter_name, any_word = "What happened", "code", "Anything"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The kinds of trouble on the desk now, the most frequent first."""
        request.kinds_of_trouble = found = desk.kinds_of_trouble(desk.on_desk(app_now()))  # type: ignore[attr-defined]
        chosen = request.GET.get("code", "")
        codes = [code for code, _ in found.most_common()]
        return [
            (code, message(code).sentence) for code in (*codes, *([chosen] if chosen and chosen not in found else []))
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:
        return queryset.filter(code=self.value()) if self.value() else queryset


class AgeFilter(Choice):
    title, parameter_name, any_word = "Waiting for", "age", "Any time"
    WORDS = {
        "day": "less than a day",
        "week": "1 to 7 days",
        "month": "7 to 30 days",
        "old": "more than 30 days",
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, self.WORDS[name]) for name in desk_choice.AGES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:
        return desk_choice.of_age(queryset, self.value() or "", app_now())


class AssigneeFilter(Choice):
    title, parameter_name, any_word = "Given to", "assignee", "Anybody"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Oneself first, then whoever else has been given a record."""
        own = request.user.get_username()
        names = Assignment.objects.order_by("assignee").values_list("assignee", flat=True).distinct()[:PEOPLE_MAX]
        return [(own, "Me"), *((name, name) for name in names if name != own)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> QuerySet[Delivery]:
        return desk_choice.of_assignee(queryset, self.value() or "")


def owner_cell(row: Any) -> Cell:
    """``is_escalated`` and ``assignee`` are set for all rows of a page at once."""
    if not row.code:
        return {"text": "–"}
    notes = [
        "also the agency: it waits too long" if row.is_escalated else "",
        row.assignee and f"given to {row.assignee}",
    ]
    return {"text": OWNER_WORDS[message(row.code).owner][0], "note": " · ".join(filter(None, notes))}


def is_escalated(row: Delivery, edge: datetime) -> bool:
    """Whether the clinic has left it so long that it is the agency's as well."""
    return message(row.code).owner is Owner.CLINIC and row.held_at is not None and row.held_at <= edge


def sentence_cell(row: Delivery) -> Cell:
    if not row.code:
        return {"text": row.get_state_display(), "is_link": True}
    return {"text": message(row.code).sentence, "note": _fields_note(row), "is_link": True}


def _fields_note(row: Delivery) -> str:
    """Which fields, where it is about fields; and the reason of an ignored one."""
    kind = desk.kind_of(row)
    said = ", ".join(dict.fromkeys(filter(None, (handling.place_of(kind, problem) for problem in row.codes))))
    if row.ignored_reason and row.ignored_until:
        said = " · ".join(filter(None, [said, f"Ignored: {row.ignored_reason}"]))
    return said


def _unless_said(code: str, row: Delivery) -> str:
    """The sentence of one field's problem; ``""`` where the page's heading says it already."""
    return "" if code == row.code else message(code).sentence


def record_cell(row: Delivery) -> Cell:
    return {"text": row.source_key, "note": flow_name(row.flow)}


def state_cell(row: Delivery) -> Cell:
    return badge(row.state, row.get_state_display(), row.outcome if row.state == DeliveryState.DONE else "")


def since_cell(row: Delivery) -> Cell:
    return when(row, row.held_at or row.done_at or row.created_at, ago=True)


class DeliveryAdmin(RecordAdmin):
    columns = (
        Column("What happened", sentence_cell),
        Column("Who can fix it", owner_cell),
        Column("Record", record_cell),
        CLINIC,
        Column("Since", since_cell),
        Column("Tries", lambda row: {"text": row.tries or "–"}, num=True),
    )
    other_columns = (
        Column("Record", lambda row: {"text": row.source_key, "note": flow_name(row.flow), "is_link": True}),
        Column("State", state_cell),
        Column("What happened", lambda row: {"text": message(row.code).sentence if row.code else "–"}),
        CLINIC,
        Column("Since", since_cell),
        Column("Tries", lambda row: {"text": row.tries or "–"}, num=True),
    )
    list_filter = (ShowFilter, OwnerFilter, CodeFilter, FlowFilter, AgeFilter, AssigneeFilter, ClinicFilter)
    hidden_filters = frozenset({"show"})
    key_columns = ("source_key",)
    list_select_related = ("tenant", "flow", "flow__source", "flow__target")
    ordering = ("-held_at",)
    change_list_template = "admin/integrations/delivery/list.html"
    detail_template = "admin/integrations/delivery/detail.html"
    actions = ("retry_chosen", "ignore_chosen", "back_to_desk")
    empty = Empty(
        "Nobody is waited for",
        "Every record went through, or waits for its turn. What needs a person will stand here.",
        "task_alt",
    )
    empty_elsewhere = Empty("Nothing here", "No delivery is in this state now.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.defer("sealed_draft", "wish")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        show = request.GET.get("show", "")
        return ("-held_at",) if show in {"", "ignored"} else ("-pk",)

    def columns_for(self, request: HttpRequest) -> tuple[Column, ...]:
        show = request.GET.get("show", "")
        columns = self.columns if show in {"", "ignored"} else self.other_columns
        return tuple(column for column in columns if is_agency() or not column.only_agency)

    def list_context(self, request: HttpRequest, cl: Any) -> dict[str, Any]:
        show = request.GET.get("show", "")
        self._mark(cl.result_list)
        context = super().list_context(request, cl)
        kinds: Any = getattr(request, "kinds_of_trouble", Counter())
        chosen = {spec.parameter_name: spec.value() for spec in cl.filter_specs}
        context |= {
            "title": "Error desk" if show in {"", "ignored"} else "Deliveries",
            "tabs": [("", "Needs a person"), *ShowFilter(request, {}, Delivery, self).lookup_choices],
            "show": show,
            "kinds": [(message(code), count, chosen.get("code") == code) for code, count in kinds.most_common(8)]
            if show == ""
            else [],
            "counted_most": desk.COUNT_MAX if show == "" and kinds.total() >= desk.COUNT_MAX else 0,
            "lanes": _lanes(kinds, str(chosen.get("owner") or "")) if show == "" and kinds else [],
            "may_act": self.may_act(request),
            "offered": _offered(show) if self.may_act(request) else [],
            "bulk_max": desk.BULK_MAX,
            "reruns": self._reruns_under_way() if show == "" else [],
            "reruns_url": self.url_of("rerun", "changelist"),
        }
        others = [value for name, value in chosen.items() if value and name != "show"]
        if not context["rows"] and not others and not cl.query:
            context["empty"] = self.empty if show == "" else self.empty_elsewhere
        return context

    def _reruns_under_way(self) -> list[tuple[Rerun, str]]:
        live = Rerun.objects.filter(state__in=RERUN_LIVE).select_related("tenant").order_by("-begun_at")
        return [(row, self.url_of("rerun", "change", row.pk)) for row in live[:RERUNS_SHOWN]]

    def _mark(self, rows: Sequence[Any]) -> None:
        """What a row of the list says besides its own columns, in one question for all of the page."""
        edge, keys = desk_choice.escalated_before(app_now()), [row.source_key for row in rows]
        taken = {
            (flow_id, key): assignee
            for flow_id, key, assignee in Assignment.objects.filter(
                flow_id__in={row.flow_id for row in rows}, source_key__in=keys
            ).values_list("flow_id", "source_key", "assignee")
        }
        for row in rows:
            row.is_escalated, row.assignee = is_escalated(row, edge), taken.get((row.flow_id, row.source_key), "")

    def row(self, request: HttpRequest, row: Delivery) -> dict[str, Any]:
        """Its page knows the questions it was found with, so that the next one is of the same kind."""
        shown = super().row(request, row)
        if request.GET.get("show", "") == "":
            shown["url"] = self._page_from_desk(row.pk, Chosen.of(request.GET.dict()).as_json())
        return shown

    def explained(self, row: Delivery) -> tuple[str, str]:
        return row.source_key, row.flow.name

    # -- many at once

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_actions(request) if self.may_act(request) else {}

    def retry_chosen(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse | None:
        if "confirmed" not in request.POST:
            return self._ask_first(request, queryset, "retry_chosen", "Try these again", goes_by_canary=True)
        if request.POST.get("canary") == "1":
            return self._begin_rerun(request)
        count = desk.retry(queryset)
        self._say(request, count, "is tried again" if count == 1 else "are tried again")
        return None

    def _begin_rerun(self, request: HttpRequest) -> HttpResponse | None:
        try:
            series = reruns.begin(Chosen.of(request.GET.dict()), by=person(request).actor)
        except desk.Refused as refusal:
            messages.warning(request, str(refusal))
            return None
        first = Rerun.objects.filter(series=series).order_by("-sent", "pk").first()
        return redirect(self.url_of("rerun", "change", first.pk if first else 0))

    def ignore_chosen(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse | None:
        if "confirmed" not in request.POST:
            return self._ask_first(request, queryset, "ignore_chosen", "Ignore these for now", asks_reason=True)
        try:
            count = desk.ignore(
                queryset, reason=request.POST.get("reason", ""), until=desk_deeds.until(request.POST.get("days", ""))
            )
        except desk.Refused as refusal:
            return self._ask_first(
                request, queryset, "ignore_chosen", "Ignore these for now", asks_reason=True, problem=str(refusal)
            )
        self._say(request, count, "is off the desk" if count == 1 else "are off the desk")
        return None

    def back_to_desk(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        count = desk.stop_ignoring(queryset)
        self._say(request, count, "is back on the desk" if count == 1 else "are back on the desk")

    def _ask_first(
        self,
        request: HttpRequest,
        queryset: QuerySet[Delivery],
        action: str,
        title: str,
        *,
        asks_reason: bool = False,
        problem: str = "",
        goes_by_canary: bool = False,
    ) -> HttpResponse:
        """What would be done, to how many of which kind; nothing is done yet."""
        held = queryset.filter(state=DeliveryState.HELD)
        kinds = desk.kinds_of_trouble(held, most=desk.BULK_MAX)
        total, few = sum(kinds.values()), settings.SUTURE_CANARY_RECORDS
        by_questions = (
            request.POST.get("select_across") == "1" and not request.GET.get("q") and not request.GET.get("show")
        )
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "action": action,
            "asks_reason": asks_reason,
            "problem": problem,
            "reason": request.POST.get("reason", ""),
            "days": IGNORE_DAYS,
            "total": total,
            "is_full": total == desk.BULK_MAX,
            "few": few if goes_by_canary and by_questions and total > few else 0,
            "bulk_max": desk.BULK_MAX,
            "kinds": [(message(code), count) for code, count in kinds.most_common()],
            "chosen": request.POST.getlist("_selected_action"),
            "select_across": request.POST.get("select_across", "0"),
            "back": request.get_full_path(),
        }
        return TemplateResponse(request, "admin/integrations/delivery/confirm.html", context)

    def _say(self, request: HttpRequest, count: int, what: str) -> None:
        if not count:
            messages.warning(request, "Nothing was done: none of these waits for a person any more.")
            return
        messages.success(request, f"{count:,} {'record' if count == 1 else 'records'} {what}.")

    # -- one of them

    @live_view
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> LiveView:
        """The record's trouble and, where another record could be meant, both side by side as they are now."""
        row = self.get_object(request, object_id)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return]
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if request.method == "POST":
            seen: Seen | None = None
            if request.POST.get("do") == "fill" and self.may_act(request) and row.state == DeliveryState.HELD:
                seen = yield lambda: see_source(row.tenant_id, row.pk)
            return self._decide(request, row, seen)
        comparison = Comparison()
        if row.state == DeliveryState.HELD:
            masked = not self.may_act(request)
            comparison = yield lambda: compare(row.tenant_id, row.pk, masked=masked)
        return self.detail_response(request, row, self._shown(request, row, comparison))

    def get_urls(self) -> list[URLPattern]:
        explain = self.admin_site.admin_view(self.explain_view)
        own = path("<path:object_id>/explain/", explain, name="integrations_delivery_explain")
        return [own, *super().get_urls()]

    @live_view
    def explain_view(self, request: HttpRequest, object_id: str) -> LiveView:
        """Why the record's lines do not come to what it states, as it is now."""
        row = self.get_object(request, object_id)
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return]
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if not has_figures(desk.kind_of(row).source):
            return redirect(self.url("change", row.pk))
        figures = yield from figures_of(row)
        source = CONNECTORS[row.flow.source.vendor].label
        more = {
            "title": f"{desk.kind_of(row).source.label}: {row.source_key}",
            "list_name": "Error desk",
            "figures": figures,
            "source_label": source,
            "source_url": page_of(desk.kind_of(row).source, row.flow.source.facts, row.source_key),
            "back": self.url("change", row.pk),
            "facts": facts((f"In {source}", {"text": row.source_key}), ("Flow", {"text": flow_name(row.flow)})),
        }
        return self.detail_response(request, row, more, template="admin/integrations/delivery/explain.html")

    def _shown(self, request: HttpRequest, row: Delivery, comparison: Comparison) -> dict[str, Any]:
        kind, told = desk.kind_of(row), message(row.code)
        owner, icon = OWNER_WORDS[told.owner]
        source, target = row.flow.source, row.flow.target
        without, may_act = desk.may_leave_out(row), self.may_act(request)
        can_choose = any(not (one.is_gone or one.taken_by) for one in comparison.candidates) and not comparison.code
        people = handling.people_for(row) if may_act else []
        return {
            "title": f"{kind.source.label}: {row.source_key}",
            "list_name": "Error desk" if row.state == DeliveryState.HELD else "Deliveries",
            "list_url": self._back(request),
            **self._neighbours(request, row),
            "told": told if row.code else None,
            "owner": owner,
            "owner_icon": icon,
            "is_escalated": is_escalated(row, desk_choice.escalated_before(app_now())),
            "is_held": row.state == DeliveryState.HELD,
            "is_ignored": bool(row.ignored_until and row.ignored_until > app_now()),
            "problems": [
                (place, _unless_said(problem["code"], row))
                for problem in row.codes
                if (place := handling.place_of(kind, problem))
            ],
            "help": help_for(self, row, told, without=bool(without), has_candidates=can_choose) if row.code else None,
            "given": handling.given_fields(row),
            "notes": [(message(note["code"]).sentence, label_of(kind.target, note["field"])) for note in row.notes],
            "comparison": comparison,
            "why_not_asked": message(comparison.code).sentence if comparison.code else "",
            "masked": not may_act,
            "source_label": CONNECTORS[source.vendor].label,
            "target_label": CONNECTORS[target.vendor].label,
            "source_url": page_of(kind.source, source.facts, row.source_key),
            "explain_url": self.url("explain", row.pk) if row.code in CODES and has_figures(kind.source) else "",
            "without": without,
            "without_words": " and the ".join(label_of(kind.target, name).lower() for name in without),
            "is_linked": bool(row.target_key),
            "days": IGNORE_DAYS,
            "people": people,
            "assignee": handling.assignee_of(row),
            "facts": facts(
                ("State", badge(row.state, row.get_state_display())),
                ("Since", when(row, row.held_at or row.created_at, ago=False)),
                ("Given to", {"text": handling.assignee_of(row)}),
                ("Flow", {"text": flow_name(row.flow), "note": f"{source} → {target}"}),
                ("Run", {"text": row.run_id, "url": self.url_of("run", "change", row.run_id)}),
                (f"In {CONNECTORS[source.vendor].label}", {"text": row.source_key}),
                (f"In {CONNECTORS[target.vendor].label}", {"text": row.target_key}),
                ("Tries", {"text": row.tries or ""}),
                ("Ignored until", when(row, row.ignored_until, never="") if row.ignored_until else {"text": ""}),
                ("Ignored because", {"text": row.ignored_reason}),
                ("Code", {"text": row.code}),
            ),
            "story": story_of(row, may_see_deeds=may_act),
            "log_url": self.url_of(
                "synclogentry", "changelist", q=row.source_key, clinic=row.tenant.slug if is_agency() else ""
            ),
        }

    # -- from one to the next

    def _asked(self, request: HttpRequest) -> dict[str, str]:
        """The desk's questions with which this record was come to; {} where it was come to by itself."""
        return Chosen.of(request.GET.dict()).as_json() if request.GET.get("from") == DESK else {}

    def _back(self, request: HttpRequest) -> str:
        return self.url("changelist", **self._asked(request))

    def _neighbours(self, request: HttpRequest, row: Delivery) -> dict[str, Any]:
        """The addresses of the records before and after it, by the questions it was come to with."""
        if request.GET.get("from") != DESK or row.state != DeliveryState.HELD:
            return {"newer_url": "", "older_url": ""}
        now, asked = app_now(), self._asked(request)
        newer, older = desk_choice.beside(Chosen.of(asked).narrow(desk.on_desk(now), now), row)
        return {
            "newer_url": self._page_from_desk(newer, asked),
            "older_url": self._page_from_desk(older, asked),
        }

    def _page_from_desk(self, pk: int | None, asked: Mapping[str, str]) -> str:
        return "" if pk is None else f"{self.url('change', pk)}?{urlencode({'from': DESK, **asked})}"

    def _decide(self, request: HttpRequest, row: Delivery, seen: Seen | None = None) -> HttpResponse:
        """One button of the page. Leads to the next record of the desk; stays there when it could not be done, or when
        the record is not through with it."""
        if not self.may_act(request):
            raise PermissionDenied
        places, here = self._neighbours(request, row), redirect(request.get_full_path())
        try:
            said = desk_deeds.do(Deed(row, request.POST, self._by(request), seen))
        except desk.Refused as refusal:
            messages.error(request, str(refusal))
            return here
        messages.success(request, said)
        if request.POST.get("do") in STAYING:
            return here
        return redirect(places["older_url"] or places["newer_url"] or self._back(request))

    def _by(self, request: HttpRequest) -> By:
        who = person(request)
        return By(who.actor, str(self.role(request) or ""), who.user_id)


def _lanes(kinds: Counter[str], chosen: str) -> list[tuple[str, str, str, int, bool]]:
    """Who can fix how many: owner, words, icon, count, whether it is the one shown."""
    counts: Counter[Owner] = Counter()
    for code, count in kinds.items():
        counts[message(code).owner] += count
    return [
        (owner.value, words, icon, counts[owner], owner == chosen)
        for owner, (words, icon) in OWNER_WORDS.items()
        if counts[owner] or owner == chosen
    ]


def _offered(show: str) -> list[tuple[str, str, str]]:
    """The buttons for many at once: action, words, icon."""
    if show == "ignored":
        return [("back_to_desk", "Back on the desk", "undo"), ("retry_chosen", "Try again", "refresh")]
    return (
        [("retry_chosen", "Try again", "refresh"), ("ignore_chosen", "Ignore for now", "visibility_off")]
        if show == ""
        else []
    )


for site in (agency_site, clinic_site):
    site.register(Delivery, DeliveryAdmin)
