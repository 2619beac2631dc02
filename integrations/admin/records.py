"""What the lists of machine-written rows have in common: a bounded count, plain columns, questions as filters.

A list of a million rows must cost what a list of thirty does, so nothing here counts beyond a bound, and the order is
the one an index holds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.db.models import Q, QuerySet, Value
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.views import ChangeList

from integrations.models import Flow
from integrations.services.linking import last_part
from integrations.words import name_of_flow
from tenants.admin import EDITORS, ReadOnlyTenantAdmin
from tenants.models import Tenant
from tenants.walls import AgencyScope, current_scope

Cell = Mapping[str, Any]
"""What `records_cell.html` shows: text, url and note; or badge, tone and icon; or time, zone and ago."""

COUNT_MAX = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # not subscriptable at run time
    """Counts to COUNT_MAX and says when there are more; rows beyond are reached by narrowing the list, and a page beyond
    is the last one."""

    @cached_property
    def counted(self) -> int:
        rows: Any = self.object_list
        if isinstance(rows, QuerySet):
            bare = rows.order_by().select_related(None).annotate(one=Value(1)).values("one")
            return int(bare[: COUNT_MAX + 1].count())
        return len(rows)

    @cached_property
    def count(self) -> int:
        return min(self.counted, COUNT_MAX)

    def validate_number(self, number: Any) -> int:
        return int(super().validate_number(min(int(number), self.num_pages)))

    def page(self, number: Any) -> Any:
        """The page's keys first, by the index alone; then its rows with what they are shown with."""
        number = self.validate_number(number)
        starts = (number - 1) * self.per_page
        rows: Any = self.object_list
        if isinstance(rows, QuerySet):
            keys = rows.select_related(None).values_list("pk", flat=True)[starts : starts + self.per_page]
            return Page(list(rows.filter(pk__in=list(keys))), number, self)
        return Page(rows[starts : starts + self.per_page], number, self)

    @property
    def has_more(self) -> bool:
        return self.counted > COUNT_MAX


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its heading and how a row fills it. ``only_agency`` ones repeat what a clinic's person knows."""

    label: str
    cell: Callable[[Any], Cell]
    num: bool = False
    only_agency: bool = False


@dataclass(frozen=True, slots=True)
class Empty:
    """What a list says when there is nothing in it."""

    title: str
    text: str
    icon: str = "inbox"


def is_agency() -> bool:
    return isinstance(current_scope(), AgencyScope)


def clinic_cell(row: Any) -> Cell:
    return {"text": row.tenant.name, "note": row.tenant.time_zone}


TONES = {
    "held": ("warn", "front_hand"),
    "waiting": ("info", "hourglass_top"),
    "claimed": ("info", "sync"),
    "sending": ("info", "sync"),
    "uncertain": ("warn", "help"),
    "done": ("ok", "check_circle"),
    "ok": ("ok", "check_circle"),
    "same": ("idle", "check"),
    "retry": ("info", "hourglass_top"),
    "preview": ("info", "preview"),
    "skipped": ("idle", "remove"),
    "running": ("info", "sync"),
    "failed": ("bad", "error"),
    "stopped": ("warn", "front_hand"),
}


def badge(state: str, word: str, note: str = "") -> Cell:
    """A state as a word with an icon; its tone only repeats what the word says."""
    tone, icon = TONES.get(state, ("idle", "circle"))
    return {"badge": word, "tone": tone, "icon": icon, "note": note}


CLINIC = Column("Clinic", clinic_cell, only_agency=True)


def when(row: Any, moment: datetime | None, *, ago: bool = False, never: str = "–") -> Cell:
    """An instant in the row's clinic's zone."""
    return {"time": moment, "zone": row.tenant.time_zone, "ago": ago} if moment else {"text": never}


class Choice(admin.SimpleListFilter):
    """A question a list answers, as one box of its filter bar."""

    any_word: ClassVar[str] = "Any"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        raise NotImplementedError

    def has_output(self) -> bool:
        return bool(self.lookup_choices)


class ClinicFilter(Choice):
    title, parameter_name, any_word = "Clinic", "clinic", "All clinics"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Tenant.objects.order_by("name").values_list("slug", "name")) if is_agency() else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not (self.value() and is_agency()):
            return queryset
        return queryset.filter(tenant_id=Tenant.objects.filter(slug=self.value()).values_list("pk", flat=True).first())


class FlowFilter(Choice):
    title, parameter_name, any_word = "Flow", "flow", "All flows"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = Flow.objects.order_by("name").values_list("name", flat=True).distinct()
        return sorted(((name, name_of_flow(name)) for name in names), key=lambda choice: choice[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        return queryset.filter(flow_id__in=list(Flow.objects.filter(name=self.value()).values_list("pk", flat=True)))


class RecordAdmin(ReadOnlyTenantAdmin):
    """A list of rows that people look at and never type into, and a page for each."""

    columns: ClassVar[tuple[Column, ...]] = ()
    list_title: ClassVar[str] = ""  # where the model's own plural is no name for people
    empty: ClassVar[Empty] = Empty("Nothing here yet", "")
    empty_filtered: ClassVar[Empty] = Empty("Nothing fits", "Widen the filters, or show everything.", "search_off")
    key_columns: ClassVar[tuple[str, ...]] = ("source_key", "target_key")
    search_label: ClassVar[str] = "Record's number"
    detail_template: ClassVar[str] = "admin/integrations/detail.html"
    hidden_filters: ClassVar[frozenset[str]] = frozenset()

    change_list_template = "admin/integrations/records.html"
    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 0
    list_display = ("__str__",)
    list_display_links = None
    search_fields: tuple[str, ...] = ("source_key",)
    list_select_related: tuple[str, ...] = ("tenant", "flow")
    actions: Any = None

    # -- the list

    def columns_for(self, request: HttpRequest) -> tuple[Column, ...]:
        agency = is_agency()
        return tuple(column for column in self.columns if agency or not column.only_agency)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Rows with exactly this key on either side; the indexes know no other question."""
        key = last_part(search_term)
        if not key:
            return queryset, False
        wanted = Q()
        for name in self.key_columns:
            wanted |= Q(**{name: key})
        return queryset.filter(wanted), False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Only the list's own questions; no column is asked by name in the address."""
        return any(lookup == asked.parameter_name for asked in self.list_filter)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        response = super().changelist_view(request, extra_context)
        list_ = getattr(response, "context_data", None) or {}
        if "cl" in list_:
            list_["cl"].full_result_count = list_["cl"].result_count  # else the frame offers to show all of a million
            list_ |= self.list_context(request, list_["cl"])
            list_.pop("opts")  # the frame then names the page by its title
        return response

    def list_context(self, request: HttpRequest, cl: ChangeList) -> dict[str, Any]:
        rows = [self.row(request, row) for row in cl.result_list]
        is_narrowed = bool(cl.query or any(spec.value() for spec in cl.filter_specs))
        return {
            "title": self.list_title or str(self.opts.verbose_name_plural).capitalize(),
            "columns": self.columns_for(request),
            "rows": rows,
            "empty": self.empty_filtered if is_narrowed and not rows else self.empty,
            "is_narrowed": is_narrowed,
            "filters": [spec for spec in cl.filter_specs if spec.parameter_name not in self.hidden_filters],
            "kept": [(spec.parameter_name, spec.value()) for spec in cl.filter_specs if self._is_kept(spec)],
            "search_label": self.search_label,
            "pages": self._pages(cl),
        }

    def _is_kept(self, spec: Any) -> bool:
        return spec.parameter_name in self.hidden_filters and bool(spec.value())

    def row(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        columns = self.columns_for(request)
        cells = [column.cell(row) for column in columns]
        return {
            "pk": row.pk,
            "url": self.url("change", row.pk),
            "cells": cells,
            "cells_with_columns": list(zip(cells, columns, strict=True)),
        }

    def _pages(self, cl: ChangeList) -> dict[str, Any]:
        paginator: Any = cl.paginator
        number, last = min(cl.page_num, paginator.num_pages), paginator.num_pages
        return {
            "count": paginator.count,
            "has_more": getattr(paginator, "has_more", False),
            "number": number,
            "last": last,
            "before": cl.get_query_string({"p": number - 1}) if number > 1 else "",
            "after": cl.get_query_string({"p": number + 1}) if number < last else "",
        }

    # -- one row

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        row = self.get_object(request, unquote(object_id))
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return self.detail_response(request, row, self.detail(request, row))

    def detail(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """What the page of a row shows, beyond the row itself."""
        return {}

    def detail_response(
        self, request: HttpRequest, row: Any, more: Mapping[str, Any], *, template: str = ""
    ) -> HttpResponse:
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        explained = self.explained(row)
        context = {
            **self.admin_site.each_context(request),
            "row": row,
            "zone": row.tenant.time_zone,
            "list_url": self.url("changelist"),
            "list_name": str(self.opts.verbose_name_plural).capitalize(),
            "is_agency": is_agency(),
            "may_act": self.may_act(request),
            "title": str(row),
            "explain_record_url": self.explain_url(*explained, clinic=row.tenant) if explained else "",
            **more,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, template or self.detail_template, context)

    def explained(self, row: Any) -> tuple[str, str] | None:
        """The key and the flow (``""``: any) by which the row's record can be explained, None where it has none."""
        return None

    def explain_url(self, key: str, flow: str = "", *, clinic: Tenant | None = None) -> str:
        """The page that explains the record of this number."""
        return self.url_of("link", "explain", key=key, flow=flow, clinic=clinic.slug if clinic and is_agency() else "")

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """With what its page shows about it, in one query; None for another clinic's, as for one that never was."""
        if not object_id.isascii() or not object_id.isdigit() or len(object_id) > 18:
            return None
        return self.get_queryset(request).select_related(*self.list_select_related).filter(pk=int(object_id)).first()

    def may_act(self, request: HttpRequest) -> bool:
        return self.role(request) in EDITORS

    def url(self, page: str, *args: object, **query: object) -> str:
        path = reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args)
        asked = {name: value for name, value in query.items() if value}
        return f"{path}?{urlencode(asked)}" if asked else path

    def url_of(self, model_name: str, page: str, *args: object, **query: object) -> str:
        """A page of another list of this app on the same site."""
        path = reverse(f"{self.admin_site.name}:{self.opts.app_label}_{model_name}_{page}", args=args)
        asked = {name: value for name, value in query.items() if value}
        return f"{path}?{urlencode(asked)}" if asked else path


def facts(*pairs: tuple[str, Cell]) -> Sequence[tuple[str, Cell]]:
    """Labelled cells for a page's list of facts, those with nothing in them left out."""
    return [(label, cell) for label, cell in pairs if any(value not in ("", None) for value in cell.values())]
