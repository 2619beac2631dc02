"""Explain this record: asked by a number or an address, answered from both sides as they are now."""

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.dataclasses import SearchResult

from integrations.admin.records import Cell, RecordAdmin, badge, facts, is_agency, when
from integrations.admin.setup import may_ask
from integrations.core.diffing import Fate
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import FlowKind
from integrations.messages import Message, message
from integrations.models import Delivery, Flow, Link, SyncLogEntry
from integrations.services import linking
from integrations.services.candidates import page_of
from integrations.services.explain import Candidate, Explanation, FieldTold, Located, explain, locate, open_tested
from integrations.services.wording import Told, Wording, singular
from integrations.words import flow_name
from tenants.models import Tenant
from tenants.sites import Ask, SutureSite

NUMBER = re.compile(r"#?[A-Za-z0-9._:/?=&-]*[0-9][A-Za-z0-9._:/?=&-]*")
"""What may stand in an address bar: a number or a page's address, never a person's name or e-mail."""
LONGEST = 300
MADE_BY = {"created": "Created by Suture", "matched": "Found and matched", "person": "Chosen by a person"}
RANKS = {"bad": 0, "warn": 0, "info": 1}
"""Which fields come first: those that need somebody, then those that will be written."""


@dataclass(slots=True)
class Question:
    """What was asked, of which clinic, in which flow (``""``: any). ``problem`` says why it is not looked up."""

    text: str = ""
    clinic: Tenant | None = None
    flow: str = ""
    clinics: Sequence[Tenant] = ()
    flows: Sequence[tuple[str, str]] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two records. ``why_not`` says why it could not be read just now."""

    label: str
    word: str
    key: str
    url: str
    is_there: bool
    note: str = ""
    why_not: Message | None = None


@dataclass(frozen=True, slots=True)
class FieldLine:
    label: str
    source: str
    before: str
    steps: str
    made: str
    is_as_read: bool
    there: str
    is_seen: bool
    verdict: Told
    is_same: bool
    written: Cell | None = None
    written_by: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """An explanation as the page shows it."""

    told: Explanation
    words: Wording
    source: Side
    target: Side
    next: Told
    since: str
    differing: Sequence[FieldLine] = ()
    same: Sequence[FieldLine] = ()
    empty: int = 0
    facts: Sequence[tuple[str, Cell]] = ()
    log: Sequence[Mapping[str, Any]] = ()
    deliveries: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    desk_url: str = ""
    link_url: str = ""
    log_url: str = ""
    merged: Sequence[str] = ()


def answer(admin: RecordAdmin, request: HttpRequest) -> Generator[Ask, Any, HttpResponse]:
    """The page: a form, and below it what could be meant, or the record explained."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    asked = _question(request)
    if request.method == "POST" and not asked.problem and NUMBER.fullmatch(asked.text):
        return redirect(admin.explain_url(asked.text, asked.flow, clinic=asked.clinic))
    located, page = Located(), None
    is_asked = bool(asked.text and asked.clinic) and not asked.problem
    if is_asked and asked.clinic is not None:
        if not may_ask(request, asked.clinic.pk):
            asked.problem = "That was often. Wait a minute, then ask again."
            is_asked = False
        else:
            tenant_id, text, flow = asked.clinic.pk, asked.text, asked.flow
            located = yield lambda: locate(tenant_id, text, flow_name=flow, opener=open_tested)
            one = located.one
            if one is not None:
                told = yield lambda: explain(tenant_id, one.flow_id, one.source_key, opener=open_tested)
                page = _page(admin, request, told)
    return _shown(admin, request, asked, located, page, is_asked=is_asked)


def found_by_search(site: SutureSite, request: HttpRequest, typed: str) -> list[SearchResult]:
    """The search box's offer to explain a number that was typed into it. Whether there is such a record is asked later."""
    admin = site._registry.get(Link)
    if admin is None or not NUMBER.fullmatch(typed) or not admin.has_view_permission(request):
        return []
    link = f"{reverse(f'{site.name}:integrations_link_explain')}?{urlencode({'key': typed})}"
    return [
        SearchResult(
            title=f"Explain record {typed}", description="Both sides, field by field", link=link, icon="contact_support"
        )
    ]


# -- what was asked


def _question(request: HttpRequest) -> Question:
    given = request.POST if request.method == "POST" else request.GET
    asked = Question(text=given.get("key", "").strip()[:LONGEST], flow=given.get("flow", ""))
    if request.method != "POST" and asked.text and not NUMBER.fullmatch(asked.text):
        asked.text, asked.problem = "", "Type it into the box: what tells of a person does not belong into an address."
    if is_agency():
        asked.clinics = list(Tenant.objects.order_by("name"))
        asked.clinic = next((one for one in asked.clinics if one.slug == given.get("clinic", "")), None)
        if asked.clinic is None and asked.text:
            asked.clinic = _only_clinic(asked)
            asked.problem = asked.problem or ("" if asked.clinic else "Choose the clinic.")
    else:
        asked.clinic = request.clinic  # type: ignore[attr-defined]
    flows = Flow.objects.filter(tenant_id=asked.clinic.pk).order_by("name") if asked.clinic else ()
    asked.flows = [(flow.name, flow_name(flow)) for flow in flows if flow.kind in FLOW_KINDS]
    if asked.flow not in dict(asked.flows):
        asked.flow = ""
    return asked


def _only_clinic(asked: Question) -> Tenant | None:
    """The clinic whose record this is, where only one of those the person may see knows the number."""
    if len(asked.clinics) == 1:
        return asked.clinics[0]
    key = linking.last_part(asked.text)
    owners = set(linking.by_key(Link.objects.all(), key).values_list("tenant_id", flat=True)[:2])
    owners |= set(Delivery.objects.filter(source_key=key).values_list("tenant_id", flat=True)[:2])
    return next((one for one in asked.clinics if one.pk in owners), None) if len(owners) == 1 else None


# -- what is shown


def _shown(
    admin: RecordAdmin, request: HttpRequest, asked: Question, located: Located, page: Page | None, *, is_asked: bool
) -> HttpResponse:
    slug = asked.clinic.slug if asked.clinic and is_agency() else ""
    context = {
        **admin.admin_site.each_context(request),
        "title": "Explain a record",
        "asked": asked,
        "is_asked": is_asked,
        "is_agency": is_agency(),
        "found": _choices(admin, located, asked) if page is None else [],
        "is_family": len({one.source_key for one in located.candidates}) > 1 and "@" in asked.text,
        "is_one": len({one.source_key for one in located.candidates}) == 1,
        "failed": [(name, message(code)) for name, code in located.failed],
        "page": page,
        "zone": asked.clinic.time_zone if asked.clinic else "UTC",
        "masked": not admin.may_act(request),
        "here": admin.url("explain"),
        "list_url": admin.url_of("synclogentry", "changelist", clinic=slug),
        "list_name": "Sync log",
    }
    request.current_app = admin.admin_site.name
    return TemplateResponse(request, "admin/integrations/link/explain.html", context)


def _choices(admin: RecordAdmin, located: Located, asked: Question) -> list[dict[str, Any]]:
    kinds = dict(Flow.objects.filter(pk__in={one.flow_id for one in located.candidates}).values_list("pk", "kind"))
    return [
        _choice(admin, one, FLOW_KINDS[kinds[one.flow_id]], asked) for one in located.candidates if one.flow_id in kinds
    ]


def _choice(admin: RecordAdmin, one: Candidate, kind: FlowKind, asked: Question) -> dict[str, Any]:
    return {
        "one": one,
        "flow": kind.label if one.flow_name == kind.name else one.flow_name,
        "source": singular(kind.source).capitalize(),
        "target": singular(kind.target).capitalize(),
        "url": admin.explain_url(one.source_key, one.flow_name, clinic=asked.clinic) if one.source_key else "",
    }


def _page(admin: RecordAdmin, request: HttpRequest, told: Explanation) -> Page:
    seen = told.foreseen
    flow, kind = seen.flow, seen.job.kind
    words = Wording(kind, ZoneInfo(flow.tenant.time_zone), masked=not admin.may_act(request))
    lines = [_line(words, flow, one) for one in told.fields]
    filled = [line for line in lines if line.before or line.made or line.there or not line.is_same]
    slug = flow.tenant.slug if is_agency() else ""
    source, target = _sides(told, words)
    return Page(
        told=told,
        words=words,
        source=source,
        target=target,
        next=words.next(told),
        since=words.since(told),
        differing=sorted(
            (line for line in filled if not line.is_same), key=lambda line: RANKS.get(line.verdict.tone, 2)
        ),
        same=[line for line in filled if line.is_same],
        empty=len(lines) - len(filled),
        facts=_facts(admin, told),
        log=[_log_line(line, words, flow) for line in told.log],
        deliveries=[_delivery_line(admin, row, flow) for row in told.deliveries],
        desk_url=admin.url_of("delivery", "change", seen.stands.pk) if seen.stands and seen.next.when == "desk" else "",
        link_url=admin.url("change", seen.link.pk) if seen.link else "",
        log_url=admin.url_of("synclogentry", "changelist", q=seen.key, clinic=slug),
        merged=seen.merged,
    )


def _sides(told: Explanation, words: Wording) -> tuple[Side, Side]:
    seen = told.foreseen
    key = seen.link.target_key if seen.link else seen.current.key if seen.current else ""
    is_archived = seen.record is not None and seen.record.state.value == "archived"
    source = Side(
        label=words.source,
        word=words.source_record.capitalize(),
        key=seen.key,
        url=page_of(words.kind.source, seen.flow.source.facts, seen.key),
        is_there=seen.record is not None,
        note="Archived there" if is_archived else "",
        why_not=message(seen.source_code) if seen.source_code else None,
    )
    found = "Not linked yet; this is the one that would be taken" if seen.current and not seen.link else ""
    target = Side(
        label=words.target,
        word=words.target_record.capitalize(),
        key=key,
        url=page_of(words.kind.target, seen.flow.target.facts, key) if key else "",
        is_there=seen.current is not None,
        note=found,
        why_not=message(seen.target_code) if seen.target_code else None,
    )
    return source, target


def _line(words: Wording, flow: Flow, one: FieldTold) -> FieldLine:
    steps = ", then ".join(words.step(name) for name, _ in one.steps if name != "single_line")
    return FieldLine(
        label=words.target_field(one.name),
        source=words.source_field(one.rule.source) if one.rule else "",
        before=words.source_value(one.rule.source, one.before) if one.rule else "",
        steps=steps,
        made=words.target_value(one.name, one.made),
        is_as_read=one.made == one.before,
        there=words.target_value(one.name, one.there),
        is_seen=one.is_seen,
        verdict=words.verdict(one),
        is_same=one.verdict in {Fate.SAME, "unmade"} and not one.code,
        written={"time": one.written.at, "zone": flow.tenant.time_zone} if one.written else None,
        written_by=one.written.actor if one.written else "",
    )


def _facts(admin: RecordAdmin, told: Explanation) -> Sequence[tuple[str, Cell]]:
    seen, row = told.foreseen, told.revision
    flow = seen.flow
    by = str(getattr(row, "wrote", "") or "")
    linked = MADE_BY.get(seen.link.made_by, seen.link.made_by) if seen.link else ""
    return facts(
        (
            "Flow",
            {"text": flow_name(flow), "note": flow.get_mode_display(), "url": admin.url_of("flow", "change", flow.pk)},
        ),
        (
            "Rules",
            {
                "text": f"Revision {seen.job.revision_number}",
                "note": " · ".join(filter(None, (by, row.note if row else ""))),
            },
        ),
        ("Published", when(flow, row.created_at) if row else {"text": ""}),
        ("Linked", when(flow, seen.link.created_at) if seen.link else {"text": "Not yet"}),
        ("How", {"text": linked}),
        ("Merged into it", {"text": ", ".join(seen.link.source_aliases if seen.link else ())}),
        ("Delivered last", when(flow, told.written_at, never="")),
        ("Next pass", when(flow, flow.next_due_at, never="")),
    )


def _log_line(line: SyncLogEntry, words: Wording, flow: Flow) -> dict[str, Any]:
    names = [words.target_field(name) for name in line.fields if name != words.kind.marker]
    return {
        "at": line.at,
        "zone": flow.tenant.time_zone,
        "action": line.get_action_display(),
        "outcome": badge(line.outcome, line.get_outcome_display()),
        "sentence": message(line.code).sentence if line.code else "",
        "fields": ", ".join(names),
        "actor": line.actor,
    }


def _delivery_line(admin: RecordAdmin, row: Delivery, flow: Flow) -> dict[str, Any]:
    return {
        "state": badge(row.state, row.get_state_display()),
        "outcome": row.outcome,
        "sentence": message(row.code).sentence if row.code else "",
        "revision": row.revision_number,
        "at": row.held_at or row.done_at or row.created_at,
        "zone": flow.tenant.time_zone,
        "url": admin.url_of("delivery", "change", row.pk),
    }
