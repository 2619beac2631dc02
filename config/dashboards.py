"""The first page of each site: how every clinic is, and what to do next. The one place that sees every app.

Each number comes for all clinics at once, so the agency's page asks as many questions for a thousand clinics as for
one. Counts stop at a bound (``most``): a person needs to know that it is many.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.db import connection as database
from django.db.models import Count
from django.http import Http404, HttpRequest
from django.urls import NoReverseMatch, reverse

from integrations.admin import trends
from integrations.connectors import CONNECTORS
from integrations.messages import message
from integrations.models import (
    Alert,
    Connection,
    ConnectionState,
    Flow,
    LinkState,
    Mode,
    QuotaBudget,
    Run,
    RunState,
)
from integrations.services import backfill, desk, noise
from integrations.services.meters import today_of
from integrations.services.quota import share_used
from integrations.words import flow_name
from reconciliation.health import days_of
from tenants.admin import EDITORS, OWNERS
from tenants.models import AGENCY_ROLES, Tenant
from tenants.sites import SutureSite, agency_site, clinic_site
from tenants.walls import app_now, narrow_to

COUNT_MAX, COUNT_LEAST, COUNT_ALL = 1_000, 100, 50_000
PER_PAGE = 50
OF_CONNECTION = (
    "tenant_id", "name", "label", "vendor", "account", "state", "state_code", "quota_subject", "last_answer_at",
)  # fmt: skip
OF_FLOW = (
    "tenant_id", "name", "mode", "source_id", "target_id", "stopped_code", "last_success_at", "next_due_at",
)  # fmt: skip
LATE_AFTER = timedelta(minutes=20)
OPEN_MAX = 50_000
RUNS_SHOWN = 6

# word, how it is drawn, and its place among the others: those that need somebody first
STATES: dict[str, tuple[str, str, int]] = {
    "needs_reauth": ("Needs a new key", "needs_reauth", 0),
    "failing": ("Not answering", "failing", 1),
    "attention": ("Needs a person", "attention", 2),
    "setup": ("Not set up", "setup", 3),
    "late": ("Working, but behind", "late", 4),
    "paused": ("Paused", "paused", 5),
    "ok": ("Working", "ok", 6),
}

_COUNTS = """
SELECT clinic.id,
    (SELECT count(*) FROM (SELECT FROM integrations_delivery d
        WHERE d.tenant_id = clinic.id AND d.state = 'held' AND (d.ignored_until IS NULL OR d.ignored_until <= %(now)s)
        LIMIT %(most)s) AS held),
    (SELECT count(*) FROM (SELECT FROM integrations_delivery d
        WHERE d.tenant_id = clinic.id AND d.state = 'waiting' LIMIT %(most)s) AS waiting)
  + (SELECT count(*) FROM integrations_delivery d
        WHERE d.tenant_id = clinic.id AND d.state IN ('claimed', 'sending', 'uncertain'))
FROM unnest(%(clinics)s::bigint[]) AS clinic(id)
"""

_UNLINKED = """
SELECT d.flow_id, count(*) FROM (
    SELECT flow_id, source_key FROM integrations_delivery
    WHERE tenant_id = %(clinic)s AND state IN ('waiting', 'held', 'claimed', 'sending', 'uncertain') LIMIT %(most)s
) AS d
WHERE NOT EXISTS (SELECT FROM integrations_linkstate s
    WHERE s.tenant_id = %(clinic)s AND s.flow_id = d.flow_id AND s.source_key = d.source_key)
GROUP BY d.flow_id
"""


@dataclass
class Standing:
    """What is known of one clinic."""

    clinic: Tenant
    now: datetime
    connections: list[Connection] = field(default_factory=list)
    flows: list[Flow] = field(default_factory=list)
    held: int = 0
    waiting: int = 0
    counted_to: int = COUNT_MAX
    held_counted_to: int = COUNT_MAX
    alerts: dict[int, Alert] = field(default_factory=dict)
    quota: float | None = None
    quota_of: str = ""

    @property
    def running(self) -> list[Flow]:
        return [flow for flow in self.flows if flow.mode != Mode.OFF]

    @property
    def last_success(self) -> datetime | None:
        """The newest end of a pass of any flow."""
        return max((flow.last_success_at for flow in self.flows if flow.last_success_at), default=None)

    @property
    def behind(self) -> timedelta | None:
        """How old the oldest certain reading of a running flow is."""
        known = [flow.last_success_at for flow in self.running if flow.last_success_at]
        return self.now - min(known) if known else None

    @property
    def is_late(self) -> bool:
        """A pass that was due has not even begun."""
        due = [flow.next_due_at for flow in self.running if flow.next_due_at and not flow.stopped_code]
        return any(self.now - moment > LATE_AFTER for moment in due)

    @cached_property
    def state(self) -> str:
        """Worked out once all is known, and asked for by every order of the list."""
        states = {connection.state for connection in self.connections}
        stopped = any(flow.stopped_code for flow in self.flows)
        tests: tuple[tuple[str, bool], ...] = (
            ("needs_reauth", ConnectionState.NEEDS_REAUTH in states),
            ("failing", ConnectionState.FAILING in states),
            ("setup", not self.connections or not self.flows),
            ("attention", bool(self.held) or stopped),
            ("paused", ConnectionState.PAUSED in states or not self.running or not self.clinic.active),
            ("setup", self.last_success is None),
            ("late", self.is_late),
        )
        return next((name for name, is_so in tests if is_so), "ok")

    @property
    def about(self) -> Connection | None:
        """The connection that the state is about, where it is about one."""
        wanted = {"needs_reauth": ConnectionState.NEEDS_REAUTH, "failing": ConnectionState.FAILING}.get(self.state)
        return next((one for one in self.connections if one.state == wanted), None)

    @property
    def note(self) -> str:
        """What the state is about: which connection, which reason."""
        about = self.about
        if about is not None:
            return f"{about}: {message(about.state_code).sentence}" if about.state_code else str(about)
        stopped = next((flow for flow in self.flows if flow.stopped_code), None)
        if stopped is not None:
            return f"{flow_name(stopped)}: {message(stopped.stopped_code).sentence}"
        if self.state == "setup":
            return _next_step(self)
        return ""


def _next_step(standing: Standing) -> str:
    if not standing.connections:
        return "Connect its practice system and its shop."
    if not standing.flows:
        return "Add a flow between its connections."
    return "The first pass has not ended yet."


def stand(clinics: Sequence[Tenant], now: datetime) -> dict[int, Standing]:
    """How these clinics are, in five questions whatever their number."""
    standings = {clinic.pk: Standing(clinic, now) for clinic in clinics}
    for connection in Connection.objects.filter(tenant_id__in=standings).only(*OF_CONNECTION):
        standings[connection.tenant_id].connections.append(connection)
    for flow in Flow.objects.filter(tenant_id__in=standings).only(*OF_FLOW):
        standings[flow.tenant_id].flows.append(flow)
    for alert in Alert.objects.filter(tenant_id__in=standings, flow=None, ended_at=None):
        standings[alert.tenant_id].alerts[alert.connection_id] = alert
    with database.cursor() as cursor:
        cursor.execute(_COUNTS, {"now": now, "most": most(len(standings)), "clinics": list(standings)})
        for pk, held, waiting in cursor.fetchall():
            standings[pk].held, standings[pk].waiting = held, waiting
            standings[pk].counted_to = standings[pk].held_counted_to = most(len(standings))
    _fill_quota(standings.values(), now)
    return standings


def most(clinics: int) -> int:
    """How far a clinic's rows are counted: the further, the fewer clinics there are to count."""
    return min(COUNT_MAX, max(COUNT_LEAST, COUNT_ALL // max(1, clinics)))


def _fill_quota(standings: Iterable[Standing], now: datetime) -> None:
    """The most used budget of each clinic's connections."""
    users: defaultdict[tuple[str, str], list[tuple[Standing, Connection]]] = defaultdict(list)
    for standing in standings:
        for connection in standing.connections:
            users[connection.vendor, connection.quota_subject or connection.account].append((standing, connection))
    subjects = {subject for _, subject in users}
    for budget in QuotaBudget.objects.filter(subject__in=subjects):
        share = 100 * share_used(budget, now)
        for standing, connection in users.get((budget.vendor, budget.subject), ()):
            if standing.quota is None or share > standing.quota:
                standing.quota, standing.quota_of = share, str(connection)


# -- the agency ------------------------------------------------------------------------------------------------------

SORTS: dict[str, tuple[str, Callable[[Standing], Any]]] = {
    "state": ("State", lambda one: (STATES[one.state][2], -one.held, one.clinic.name.casefold())),
    "name": ("Clinic", lambda one: one.clinic.name.casefold()),
    "last": ("Last success", lambda one: one.last_success.timestamp() if one.last_success else 0.0),
    "behind": ("Behind", lambda one: -(one.behind or timedelta()).total_seconds()),
    "waiting": ("Waiting", lambda one: -one.waiting),
    "held": ("Held", lambda one: -one.held),
    "quota": ("Quota used", lambda one: -(one.quota or 0.0)),
}
COLUMNS = (
    ("name", False),
    ("state", False),
    ("last", False),
    ("behind", False),
    ("waiting", True),
    ("held", True),
    ("quota", False),
)


def agency(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Every clinic the person may see, the worst first; or, with ``?clinic=slug``, one of them."""
    if slug := request.GET.get("clinic", ""):
        clinic = Tenant.objects.filter(slug=slug).first()
        if clinic is None:
            raise Http404
        with narrow_to(clinic.pk):
            return context | one_clinic(request, agency_site, clinic) | {"back_url": reverse("agency:index")}
    clinics = list(Tenant.objects.all())
    words = request.GET.get("q", "").strip().casefold()
    found = [clinic for clinic in clinics if words in f"{clinic.name} {clinic.slug} {clinic.time_zone}".casefold()]
    now = app_now()
    standings = list(stand(found, now).values())
    chosen = request.GET.get("sort", "")
    chosen = chosen if chosen in SORTS else "state"
    standings.sort(key=SORTS[chosen][1])
    page, last = _page(request, len(standings))
    shown = standings[(page - 1) * PER_PAGE : page * PER_PAGE]
    return context | {
        "title": "Clinics",
        "is_list": bool(clinics),
        "clinics": [row_of(one, agency_site) for one in shown],
        "tiles": [*_tiles(standings), _noise_tile(now, len(clinics))] if len(clinics) > 1 else [],
        "sorts": [_sort(key, is_num, chosen, words) for key, is_num in COLUMNS],
        "words": request.GET.get("q", ""),
        "is_paged": last > 1 or bool(words),
        "found": len(standings),
        "page": page,
        "last_page": last,
        "before_url": _query(sort=chosen, q=words, p=page - 1) if page > 1 else "",
        "after_url": _query(sort=chosen, q=words, p=page + 1) if page < last else "",
        "add_url": page_url(agency_site, "tenants", "tenant", "add") if agency_site.role_of(request) in OWNERS else "",
    }


def _page(request: HttpRequest, count: int) -> tuple[int, int]:
    last = max(1, -(-count // PER_PAGE))
    given = request.GET.get("p", "1")
    return min(last, max(1, int(given))) if given.isascii() and given.isdigit() and len(given) < 7 else 1, last


def _sort(key: str, is_num: bool, chosen: str, words: str) -> dict[str, Any]:
    return {"label": SORTS[key][0], "num": is_num, "url": _query(sort=key, q=words), "is_chosen": key == chosen}


def _query(**asked: object) -> str:
    return f"?{urlencode({name: value for name, value in asked.items() if value})}"


def _noise_tile(now: datetime, clinics: int) -> dict[str, Any]:
    """K47: how often people are alerted."""
    measured = noise.measure(now, clinics)
    return {
        "label": "Alerts per clinic and week",
        "value": f"{measured.per_clinic_and_week:.2f}",
        "icon": "volume_mute" if measured.is_within else "volume_up",
        "tone": "ok" if measured.is_within else "warn",
        "url": page_url(agency_site, "integrations", "incident", "changelist"),
        "note": "last four weeks; aim: below 1",
    }


def _tiles(standings: Sequence[Standing]) -> list[dict[str, Any]]:
    look = [one for one in standings if STATES[one.state][2] <= STATES["attention"][2]]
    held = sum(one.held for one in standings)
    is_more = any(one.held >= one.held_counted_to for one in standings)
    waiting = sum(one.waiting for one in standings)
    well = sum(one.state == "ok" for one in standings)
    return [
        {"label": "Clinics that need somebody", "value": len(look), "icon": "priority_high", "tone": "warn" if look else "", "note": f"of {len(standings):,}"},
        {"label": "Working", "value": well, "icon": "check_circle", "tone": "ok", "note": "nothing to do"},
        {"label": "Records on the error desk", "value": f"{held:,}{'+' if is_more else ''}", "icon": "front_hand", "tone": "warn" if held else "", "url": page_url(agency_site, "integrations", "delivery", "changelist"), "note": "need a person"},
        {"label": "Waiting", "value": f"{waiting:,}", "icon": "hourglass_top", "tone": "", "note": "on their way"},
    ]  # fmt: skip


def row_of(one: Standing, site: SutureSite) -> dict[str, Any]:
    """A clinic as `suture/dashboard.html` shows it."""
    word, drawn, _ = STATES[one.state]
    slug = one.clinic.slug if site is agency_site else ""
    desk_url = page_url(site, "integrations", "delivery", "changelist")
    return {
        "name": one.clinic.name,
        "url": f"{reverse('agency:index')}?clinic={slug}" if slug else "",
        "state": drawn,
        "word": word,
        "note": one.note,
        "alert": one.alerts.get(one.about.pk) if one.about else None,
        "last_success": one.last_success,
        "time_zone": one.clinic.time_zone,
        "freshness": in_words(one.behind) if one.behind is not None else "",
        "is_late": one.is_late,
        "waiting": one.waiting,
        "waiting_url": f"{desk_url}{_query(show='waiting', clinic=slug)}" if desk_url else "",
        "waiting_more": "+" if one.waiting >= one.counted_to else "",
        "held": one.held,
        "held_more": "+" if one.held >= one.held_counted_to else "",
        "held_url": f"{desk_url}{_query(clinic=slug)}" if desk_url else "",
        "quota": one.quota,
        "quota_note": one.quota_of,
    }


def in_words(span: timedelta) -> str:
    """A span in its largest unit: ``< 1 min``, ``3 min``, ``5 h``, ``2 days``."""
    minutes = int(span.total_seconds() // 60)
    if minutes < 1:
        return "< 1 min"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"


def page_url(site: SutureSite, app: str, model: str, page: str, *args: object) -> str:
    """A page of a site, ``""`` where the site does not have it."""
    try:
        return reverse(f"{site.name}:{app}_{model}_{page}", args=args)
    except NoReverseMatch:
        return ""


# -- one clinic ------------------------------------------------------------------------------------------------------


def clinic(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The clinic of the person's own site."""
    return context | one_clinic(request, clinic_site, request.clinic)  # type: ignore[attr-defined]


def one_clinic(request: HttpRequest, site: SutureSite, tenant: Tenant) -> dict[str, Any]:
    """Its numbers, what needs a person first, its flows, and the newest runs. In that clinic's scope."""
    now = app_now()
    one = stand([tenant], now)[tenant.pk]
    slug = tenant.slug if site is agency_site else ""
    role = site.role_of(request)
    today = today_of(tenant, now)
    first = today - trends.SHOWN
    kinds = desk.kinds_of_trouble(desk.on_desk(now)) if one.held else Counter()
    one.held, one.held_counted_to = kinds.total(), desk.COUNT_MAX
    row = row_of(one, site) | {"url": ""}
    if role not in AGENCY_ROLES and not (one.connections and one.flows):
        row["note"] = ""  # what to do next is the agency's
    drawn = trends.trends_of(days_of(tenant, first, today, now), first, today) if one.flows else []
    return {
        "title": tenant.name,
        "trends": drawn,
        "table": trends.table_of(drawn),
        "health_url": f"{reverse(f'{site.name}:health')}{_query(clinic=slug) if slug else ''}",
        "members_url": _members_url(tenant) if site is agency_site else "",
        "clinics": [row],
        "more": "admin/integrations/dashboard_clinic.html",
        "zone": tenant.time_zone,
        "clinic": tenant,
        "first": _first(site, slug, kinds),
        "all_held_url": row["held_url"],
        "connections": [
            _connection(connection, site) | {"alert": one.alerts.get(connection.pk)} for connection in one.connections
        ],
        "flows": _flows(one, site),
        "runs": _runs(site),
        "runs_url": f"{page_url(site, 'integrations', 'run', 'changelist')}{_query(clinic=slug) if slug else ''}",
        "next_title": (_next_step(one) if role in AGENCY_ROLES else "Not set up yet") if one.state == "setup" else "",
        "next_url": _next_url(one, site) if role in AGENCY_ROLES else "",
        "is_agency": role in AGENCY_ROLES,
        "next_do": "Add a connection" if not one.connections else "Add a flow" if not one.flows else "",
        "may_act": role in EDITORS,
    }


def _members_url(tenant: Tenant) -> str:
    """Where the agency finds the clinic's people, to act as one of them."""
    return f"{reverse('agency:tenants_membership_changelist')}{_query(tenant__id__exact=tenant.pk)}"


def _next_url(one: Standing, site: SutureSite) -> str:
    if one.connections and one.flows:
        return ""
    return page_url(site, "integrations", "flow" if one.connections else "connection", "add")


def _first(site: SutureSite, slug: str, kinds: Counter[str]) -> list[dict[str, Any]]:
    """The kinds of trouble on the desk, the most frequent first."""
    desk_url = page_url(site, "integrations", "delivery", "changelist")
    return [
        {"count": count, "told": message(code), "url": f"{desk_url}{_query(code=code, clinic=slug)}"}
        for code, count in kinds.most_common(5)
    ]


def _connection(connection: Connection, site: SutureSite) -> dict[str, Any]:
    return {
        "name": str(connection),
        "vendor": CONNECTORS[connection.vendor].label if connection.vendor in CONNECTORS else connection.vendor,
        "state": connection.state,
        "word": connection.get_state_display(),
        "note": message(connection.state_code).sentence if connection.state_code else "",
        "works": connection.state == ConnectionState.OK,
        "answered": connection.last_answer_at,
        "url": page_url(site, "integrations", "connection", "change", connection.pk),
    }


def _flows(one: Standing, site: SutureSite) -> list[dict[str, Any]]:
    """Each flow with its completeness: of the records it would carry, how many are linked."""
    linked = dict(
        LinkState.objects.filter(tenant_id=one.clinic.pk).values_list("flow_id").annotate(count=Count("pk")).order_by()
    )
    with database.cursor() as cursor:
        cursor.execute(_UNLINKED, {"clinic": one.clinic.pk, "most": OPEN_MAX})
        missing = dict(cursor.fetchall())
    names = {connection.pk: str(connection) for connection in one.connections}
    live = Run.objects.filter(tenant_id=one.clinic.pk, is_backfill=True, state__in=backfill.LIVE)
    backfills = {run.flow_id: run for run in live}
    return [
        _flow(flow, names, linked.get(flow.pk, 0), missing.get(flow.pk, 0), site)
        | {"history": _history(backfills.get(flow.pk), one.now)}
        for flow in one.flows
    ]


def _history(run: Run | None, now: datetime) -> str:
    """How far a backfill is, in a word or two."""
    if run is None:
        return ""
    if run.state == RunState.PAUSED:
        return "History is paused"
    share = backfill.progress(run, now).share
    return "Bringing in history" if share is None else f"Bringing in history: {int(100 * share)} %"


def _flow(flow: Flow, names: dict[int, str], linked: int, missing: int, site: SutureSite) -> dict[str, Any]:
    eligible = linked + missing
    return {
        "name": flow_name(flow),
        "between": f"{names.get(flow.source_id, '')} → {names.get(flow.target_id, '')}",
        "mode": flow.mode,
        "word": flow.get_mode_display().partition(":")[0],
        "stopped": message(flow.stopped_code).sentence if flow.stopped_code else "",
        "last_success": flow.last_success_at,
        "next_due": flow.next_due_at if flow.mode != Mode.OFF else None,
        "linked": linked,
        "eligible": eligible,
        "percent": 100 * linked / eligible if eligible else None,
        "url": page_url(site, "integrations", "flow", "change", flow.pk),
    }


def _runs(site: SutureSite) -> list[dict[str, Any]]:
    newest = Run.objects.select_related("flow").order_by("-started_at")[:RUNS_SHOWN]
    return [
        {
            "flow": flow_name(run.flow),
            "started": run.started_at,
            "state": "attention" if run.state == RunState.STOPPED else run.state,
            "word": run.get_state_display(),
            "read": run.read,
            "written": run.created + run.updated + run.archived,
            "held": run.held,
            "url": page_url(site, "integrations", "run", "change", run.pk),
        }
        for run in newest
    ]
