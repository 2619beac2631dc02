"""The page *Health*: a clinic's month, for its people and for the agency's review; and what is paid for, as a file."""

from collections.abc import Iterator
from dataclasses import astuple
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from integrations.admin.trends import percent, spell, table_of, trends_of
from integrations.connectors import CONNECTORS
from integrations.core.cells import safe_cell
from integrations.flows import FLOW_KINDS
from integrations.messages import message
from integrations.services.meters import Day, today_of
from integrations.words import flow_name, lasted
from reconciliation import health
from reconciliation.exports import as_csv
from reconciliation.health import FlowHealth, Health, Month
from reconciliation.words import field_words
from tenants.admin import EDITORS
from tenants.middleware import person
from tenants.models import Role, Tenant
from tenants.services import record_audit
from tenants.sites import SutureSite, agency_site
from tenants.walls import app_now, narrow_to

PER_PAGE = 50
MONTHS_OFFERED = 13
MOST_MINUTES = Decimal(999)
NONE = "–"
USAGE_HEAD = (
    "Clinic", "Flow", "Month", "Objects", "Direction", "Rules", "Records read", "Records written", "Written by first loads",
)  # fmt: skip


def health_view(site: SutureSite, request: HttpRequest) -> HttpResponse:
    """One clinic's month (``?month=2026-03``); on the agency's site with ``?clinic=``, without it all clinics to choose."""
    clinic = _clinic_of(site, request)
    if clinic is None:
        return _all(site, request)
    with narrow_to(clinic.pk):
        if request.method == "POST":
            return _keep_minutes(site, request, clinic)
        return _one(site, request, clinic)


def usage_view(site: SutureSite, request: HttpRequest) -> HttpResponse:
    """What is paid for, as CSV: of the clinic, or of all that the person reaches."""
    clinic = _clinic_of(site, request)
    now = app_now()
    month = Month.read(request.GET.get("month", ""), latest=Month.of(now.date()))
    lines = [list(USAGE_HEAD)]
    for one in health.usage(month, clinic):
        name, flow, *rest = map(str, astuple(one))
        lines.append([safe_cell(name), safe_cell(flow), month.key, *rest])
    name = f"usage-{clinic.slug}-{month.key}" if clinic else f"usage-{month.key}"
    return HttpResponse(
        "\ufeff" + as_csv(lines),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
    )


def _clinic_of(site: SutureSite, request: HttpRequest) -> Tenant | None:
    if site is not agency_site:
        own: Tenant = request.clinic  # type: ignore[attr-defined]
        return own
    slug = request.GET.get("clinic", "")
    found = Tenant.objects.filter(slug=slug).first() if slug else None
    if slug and found is None:
        raise Http404
    return found


def _url(site: SutureSite, page: str = "health", **asked: str) -> str:
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"{reverse(f'{site.name}:{page}')}{'?' if query else ''}{query}"


def _page(site: SutureSite, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    request.current_app = site.name
    return TemplateResponse(
        request, f"admin/reconciliation/health/{template}.html", site.each_context(request) | context
    )


def _months(site: SutureSite, latest: Month, slug: str, chosen: Month) -> dict[str, Any]:
    """What the chooser of months needs."""
    offered = [latest]
    while len(offered) < MONTHS_OFFERED:
        offered.append(offered[-1].before)
    return {
        "month": chosen,
        "months": offered if chosen in offered else [*offered, chosen],
        "before_url": _url(site, clinic=slug, month=chosen.before.key),
        "after_url": _url(site, clinic=slug, month=chosen.after.key) if chosen < latest else "",
        "usage_url": _url(site, "usage", clinic=slug, month=chosen.key),
        "slug": slug,
    }


# All clinics


def _all(site: SutureSite, request: HttpRequest) -> HttpResponse:
    now = app_now()
    latest = Month.of(now.date())
    month = Month.read(request.GET.get("month", ""), latest=latest)
    words = request.GET.get("q", "").strip()
    clinics = [one for one in Tenant.objects.all() if words.casefold() in f"{one.name} {one.slug}".casefold()]
    page = Paginator(clinics, PER_PAGE).get_page(request.GET.get("p"))
    rows = [
        {
            "name": one.clinic.name,
            "url": _url(site, clinic=one.clinic.slug, month=month.key),
            "flows": one.flows,
            "written": one.day.written + one.day.loaded,
            "fresh": _fresh(one.day, 0.95),
            "agreement": _agreement(one.day),
            "held": NONE if one.day.held is None else f"{one.day.held:,}",
            "hours": f"{one.hours:,.1f}",
        }
        for one in health.summaries(list(page), month)
    ]
    context = {
        "title": "Health",
        "rows": rows,
        "page": page,
        "words": words,
        "earlier_url": _url(site, month=month.key, q=words, p=str(page.number - 1)) if page.has_previous() else "",
        "later_url": _url(site, month=month.key, q=words, p=str(page.number + 1)) if page.has_next() else "",
        **_months(site, latest, "", month),
    }
    return _page(site, request, "all", context)


# One clinic


def _one(site: SutureSite, request: HttpRequest, clinic: Tenant) -> HttpResponse:
    now = app_now()
    latest = Month.of(today_of(clinic, now))
    month = Month.read(request.GET.get("month", ""), latest=latest)
    seen = health.look(clinic, month, now)
    slug = clinic.slug if site is agency_site else ""
    role = site.role_of(request)
    last = min(month.last, today_of(clinic, now))
    context = {
        "title": f"Health of {clinic.name}",
        "clinic": clinic,
        "is_agency": site is agency_site,
        "all_url": _url(site, month=month.key) if slug else "",
        "is_now": month == latest,
        "made_at": now,
        "tiles": _tiles(seen, is_now=month == latest),
        "flows": [_flow(site, one) for one in seen.flows],
        "savings": _savings(seen),
        "hours": f"{seen.hours:,.1f}",
        "hours_a_week": f"{float(seen.hours) / seen.weeks:,.1f}",
        "by_hand": health.HOURS_BY_HAND,
        "may_set": role in EDITORS,
        "trends": (trends := trends_of(seen.days, month.first, last)),
        "table": table_of(trends),
        "drift": [
            (flow_name(flow), field_words(FLOW_KINDS[flow.kind], name) if name else "The record as a whole", *rest)
            for flow, name, *rest in seen.drift
        ],
        "ages": health.AGES,
        "held": [(who, list(zip(health.AGES, counts, strict=True)), together) for who, counts, together in seen.held],
        "outages": [
            (one, message(one.code).sentence, lasted(one.lasted)) for one in seen.outages[: health.ALERTS_SHOWN]
        ],
        "more_outages": max(0, len(seen.outages) - health.ALERTS_SHOWN),
        "down": lasted(seen.down) if seen.outages else "",
        "uses": [
            (one, CONNECTORS[one.connection.vendor].label if one.connection.vendor in CONNECTORS else "")
            for one in seen.uses
        ],
        "usage": _usage(seen),
        "decided": seen.decided if role is not Role.CLINIC_VIEWER else None,
        **_months(site, latest, slug, month),
    }
    return _page(site, request, "one", context)


def _tiles(seen: Health, *, is_now: bool) -> list[dict[str, Any]]:
    """The six numbers of a month, each beside the month before."""
    month, before = seen.total, seen.total_before
    told = f"{seen.month.before.words}: "
    a_week = seen.alerts / seen.weeks
    return [
        {"label": "Records kept in step", "icon": "sync_alt", "value": f"{month.written:,}", "note": f"{told}{before.written:,}"},
        {"label": "Fresh within", "icon": "bolt", "value": _fresh(month, 0.95), "note": f"{told}{_fresh(before, 0.95)}"},
        {"label": "Both sides agree", "icon": "balance", "value": _agreement(month), "note": f"{told}{_agreement(before)}"},
        {"label": "Hours saved", "icon": "schedule", "value": f"{seen.hours:,.1f}", "note": f"{told}{seen.hours_before:,.1f}"},
        {"label": "Held now" if is_now else "Held at its end", "icon": "front_hand", "value": _held(month), "note": f"{told}{_held(before)}", "tone": "warn" if month.held else ""},
        {"label": "Alerts a week", "icon": "notifications", "value": f"{a_week:.1f}", "note": f"{told}{seen.alerts_before} in all; aim: below 1", "tone": "warn" if a_week >= 1 else ""},
    ]  # fmt: skip


def _fresh(day: Day, share: float) -> str:
    seconds = day.behind_s(share)
    return NONE if seconds is None else spell(seconds)


def _agreement(day: Day) -> str:
    return NONE if day.agreement is None else percent(day.agreement)


def _held(day: Day) -> str:
    return NONE if day.held is None else f"{day.held:,}"


def _flow(site: SutureSite, one: FlowHealth) -> dict[str, Any]:
    month = one.month
    return {
        "name": flow_name(one.flow),
        "url": reverse(f"{site.name}:integrations_flow_change", args=[one.flow.pk]),
        "mode": one.flow.mode,
        "word": one.flow.get_mode_display().partition(":")[0],
        "written": month.written,
        "before": one.before.written,
        "loaded": month.loaded,
        "p50": _fresh(month, 0.5),
        "p95": _fresh(month, 0.95),
        "agreement": _agreement(month),
        "held": _held(month),
        "failed": month.failed,
    }


def _savings(seen: Health) -> list[dict[str, Any]]:
    """The formula, a line a flow kind that the clinic runs."""
    kinds: dict[str, dict[str, Any]] = {}
    for one in seen.flows:
        line = kinds.setdefault(
            one.flow.kind,
            {"kind": one.flow.kind, "name": FLOW_KINDS[one.flow.kind].label, "minutes": one.minutes, "written": 0},
        )
        line["written"] += one.month.written
    return [line | {"hours": f"{line['written'] * line['minutes'] / 60:,.1f}"} for line in kinds.values()]


def _usage(seen: Health) -> list[tuple[str, str]]:
    """C23: what a price is made of."""
    active = [one for one in seen.flows if one.month.passes or one.month.written or one.month.loaded]
    month = seen.total
    calls = sum(use.calls for use in seen.uses)
    return [
        ("Records written", f"{month.written + month.loaded:,}"),
        ("Of these by first loads", f"{month.loaded:,}"),
        ("Records read", f"{month.read:,}"),
        ("Requests to vendors", f"{calls:,}"),
        ("Connections used", str(sum(1 for use in seen.uses if use.calls))),
        ("Flows that ran", str(len(active))),
    ]


def _keep_minutes(site: SutureSite, request: HttpRequest, clinic: Tenant) -> HttpResponse:
    """POST ``minutes-<flow kind>``: how long one record takes by hand."""
    role = site.role_of(request)
    if role not in EDITORS:
        raise PermissionDenied
    back = redirect(f"{_url(site, clinic=request.GET.get('clinic', ''), month=request.GET.get('month', ''))}#saved")
    try:
        given = dict(_given(request))
    except (InvalidOperation, ValueError):
        messages.error(request, "Minutes are numbers from 0 to 999, such as 2.5.")
        return back
    changed = health.set_minutes(clinic, given)
    if changed:
        record_audit(
            "health.minutes", target=f"clinic {clinic.pk}", diff={"kinds": changed}, actor=person(request).actor,
            actor_role=str(role),
        )  # fmt: skip
        messages.success(request, "Kept. The hours are counted anew.")
    return back


def _given(request: HttpRequest) -> Iterator[tuple[str, Decimal]]:
    for kind in FLOW_KINDS:
        text = request.POST.get(f"minutes-{kind}", "").strip().replace(",", ".")
        if text:
            minutes = Decimal(text)
            if not (minutes.is_finite() and 0 <= minutes <= MOST_MINUTES):
                raise ValueError
            yield kind, minutes.quantize(Decimal("0.1"))


SutureSite.pages += [("health/", "health", health_view), ("health/usage.csv", "usage", usage_view)]
