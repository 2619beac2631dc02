"""The summary: every clinic and flow with its agreement, what does not agree by age and cause, and files of the same."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from integrations.admin.records import RecordAdmin, is_agency
from integrations.words import name_of_flow
from reconciliation.admin.files import CSV, XLSX, as_file
from reconciliation.exports import summary_csv, summary_xlsx
from reconciliation.models import CAUSES
from reconciliation.summary import AGES, ORDERS, Line, Total, in_order, lines, total
from reconciliation.words import Words, as_percent
from tenants.middleware import person
from tenants.services import record_audit
from tenants.sites import ScopedStream
from tenants.walls import app_now

PER_PAGE = 50
HEADINGS = (
    ("clinic", "Clinic", False),
    ("", "Flow", False),
    ("agreement", "Agreement", True),
    ("open", "Do not agree", True),
    ("old", "By age", False),
    ("", "Most frequent cause", False),
    ("compared", "Last compared", False),
)
"""(order, in words, whether it is a number) of each column; the first is left out in a clinic."""


def page_of(admin: RecordAdmin, request: HttpRequest) -> HttpResponseBase:
    """GET: the lines in the order of ``sort``, a page of them. POST ``do``: all of them as a file."""
    told = lines(app_now())
    if request.method == "POST":
        return _file(admin, request, told)
    order = request.GET.get("sort", "")
    order = order if order in ORDERS else "open"
    page: Any = Paginator(in_order(told, order), PER_PAGE).get_page(request.GET.get("p"))
    context = {
        **admin.admin_site.each_context(request),
        "title": "How far the flows agree",
        "tiles": _tiles(total(told)),
        "causes": _causes(admin, total(told)),
        "headings": _headings(order),
        "rows": [_row(admin, line) for line in page],
        "page": page,
        "order": order,
        "is_agency": is_agency(),
        "may_act": admin.may_act(request),
        "reports_url": admin.url("changelist"),
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, "admin/reconciliation/report/summary.html", context)


def _file(admin: RecordAdmin, request: HttpRequest, told: list[Line]) -> HttpResponseBase:
    if not admin.may_act(request):
        raise PermissionDenied
    kind = request.POST.get("do")
    if kind not in ("csv", "xlsx"):
        messages.error(request, "Choose a kind of file.")
        return redirect(admin.url("summary"))
    for tenant_id in sorted({line.flow.tenant_id for line in told}):
        record_audit(
            "summary.exported",
            target=f"clinic {tenant_id}",
            diff={"kind": kind, "flows": sum(line.flow.tenant_id == tenant_id for line in told)},
            tenant_id=tenant_id,
            actor=person(request).actor,
            actor_role=admin.role(request) or "",
        )
    ordered = in_order(told, "clinic")
    if kind == "csv":
        return ScopedStream(summary_csv(ordered), content_type=CSV, headers=as_file("agreement", kind))
    return HttpResponse(summary_xlsx(ordered), content_type=XLSX, headers=as_file("agreement", kind))


def _tiles(sums: Total) -> list[Mapping[str, object]]:
    share = "–" if sums.agreement is None else as_percent(sums.agreement)
    uncompared = f"{sums.uncompared:,} never compared" if sums.uncompared else "all compared"
    clinics = f"in {sums.clinics:,} clinic{'' if sums.clinics == 1 else 's'}" if is_agency() else uncompared
    return [
        {"label": "Agreement", "value": share, "icon": "balance", "note": "of all records that should be equal"},
        {
            "label": "Do not agree",
            "value": sums.open,
            "icon": "difference",
            "tone": "warn" if sums.open else "",
            "note": f"{sums.old:,} for more than a week",
        },
        {"label": "Flows", "value": sums.flows, "icon": "conversion_path", "note": clinics},
    ]


def _causes(admin: RecordAdmin, sums: Total) -> list[tuple[int, str, str]]:
    """(how many, in words, where they are listed) for each cause, the most frequent first."""
    words = dict(CAUSES)
    return [
        (count, words[cause], _mismatches(admin, {"cause": cause or "unknown"})) for cause, count in sums.causes.items()
    ]


def _headings(order: str) -> list[Mapping[str, object]]:
    return [
        {"label": label, "num": num, "url": f"?sort={name}" if name else "", "is_chosen": name == order}
        for name, label, num in HEADINGS
        if name != "clinic" or is_agency()
    ]


def _row(admin: RecordAdmin, line: Line) -> Mapping[str, object]:
    flow = line.flow
    asked = {"flow": flow.name, "clinic": flow.tenant.slug if is_agency() else ""}
    return {
        "clinic": flow.tenant.name,
        "zone": flow.tenant.time_zone,
        "flow": name_of_flow(flow.name),
        "url": admin.url("changelist", **asked),
        "agreement": "–" if line.agreement is None else as_percent(line.agreement),
        "open": line.open,
        "open_url": _mismatches(admin, asked),
        "ages": [
            (words, line.ages[name], _mismatches(admin, {**asked, "age": name}))
            for name, words, _, _ in AGES
            if line.ages.get(name)
        ],
        "cause": "" if line.cause is None else Words.of(flow).cause(line.cause),
        "compared": line.report.started_at if line.report else None,
    }


def _mismatches(admin: RecordAdmin, asked: Mapping[str, str]) -> str:
    given = urlencode({name: value for name, value in asked.items() if value})
    return f"{reverse(f'{admin.admin_site.name}:reconciliation_mismatch_changelist')}?{given}"
