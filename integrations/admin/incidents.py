"""The agency's incidents: what stopped, for how many clinics, and what to do; the noise budget, and the webhook."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.conf import settings
from django.contrib import messages
from django.contrib.postgres.aggregates import ArrayAgg
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path

from integrations.admin.records import Cell, Choice, Column, Empty, RecordAdmin, badge
from integrations.admin.setup import may_ask
from integrations.messages import message
from integrations.models import Alert, AlertHook, Call, HookPost, Incident, PostState
from integrations.services import hooks, noise
from integrations.services.incidents import count_of, in_short
from integrations.services.mails import vendor_name
from integrations.words import flow_name, name_of_flow
from tenants.middleware import person
from tenants.models import Role, Tenant
from tenants.services import record_audit
from tenants.signin import is_fresh, prove_yourself
from tenants.sites import LiveView, agency_site, live_view
from tenants.walls import app_now

POSTS_SHOWN = 10
POST_TONES = {
    PostState.WAITING: ("info", "hourglass_top"),
    PostState.SENDING: ("info", "sync"),
    PostState.SENT: ("ok", "check_circle"),
    PostState.FAILED: ("bad", "error"),
    PostState.UNCLEAR: ("warn", "help"),
}
TEST_TEXT = "A test from Suture: alerts of your clinics' connections will be written here."


class StateFilter(Choice):
    title, parameter_name, any_word = "State", "state", "Any"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Goes on"), ("over", "Over")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in ("open", "over"):
            return queryset
        return queryset.filter(ended_at__isnull=self.value() == "open")


def at(moment: Any, never: str = "–") -> Cell:
    return {"time": moment, "zone": settings.TIME_ZONE, "ago": False} if moment else {"text": never}


def fault_cell(row: Any) -> Cell:
    about = name_of_flow(row.kind) if row.kind else vendor_name(row.vendor)
    return {"text": message(row.code).sentence, "note": about, "is_link": True}


def state_cell(row: Any) -> Cell:
    return badge("done", "Over") if row.ended_at else badge("failed", "Goes on")


def clinics_cell(row: Any) -> Cell:
    """Of the clinics that this person may see."""
    said = count_of(len(row.names))
    if row.ended_at is None and row.left < len(row.names):
        said = f"{row.left:,} of {said}"
    return {"text": said, "note": in_short(row.names)}


def where_cell(row: Any) -> Cell:
    if row.kind:
        return {"text": "Records", "url": row.own}
    return {"text": "Connection" if row.page else "Connections", "url": row.page or row.own}


def told_cell(row: Any) -> Cell:
    return at(row.told_at, "Over before anybody was told" if row.ended_at else "Not yet")


class IncidentAdmin(RecordAdmin):
    """An incident none of whose clinics a person reaches does not exist for them, and they count only their own."""

    columns = (
        Column("What", fault_cell),
        Column("State", state_cell),
        Column("Since", lambda row: at(row.opened_at)),
        Column("Clinics", clinics_cell),
        Column("What to do", lambda row: {"text": message(row.code).advice}),
        Column("Where", where_cell),
        Column("Told", told_cell),
    )
    list_filter = (StateFilter,)
    search_fields = ()
    key_columns = ()
    list_select_related = ("agency",)
    ordering = ("-opened_at",)
    change_list_template = "admin/integrations/incident/list.html"
    detail_template = "admin/integrations/incident/detail.html"
    hook_template: ClassVar[str] = "admin/integrations/incident/webhook.html"
    empty = Empty(
        "No incident yet",
        "When a connection stops, or many records wait for one reason, it is written here: once, however many clinics have it.",
        "verified",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows.filter(Exists(Alert.objects.filter(incident_id=OuterRef("pk"))))

    def get_urls(self) -> list[Any]:
        hook = self.admin_site.admin_view(self.hook_view)
        return [path("webhook/", hook, name="integrations_incident_webhook"), *super().get_urls()]

    # The list

    def list_context(self, request: HttpRequest, cl: Any) -> dict[str, Any]:
        self._count(cl.result_list)
        now = app_now()
        measured = noise.measure(now, Tenant.objects.count())
        hook = _hook_of(request)
        return {
            **super().list_context(request, cl),
            "title": "Incidents",
            "noise": measured,
            "loudest": noise.loudest(now),
            "noise_said": f"{measured.per_clinic_and_week:.2f}",
            "hook": hook,
            "last_post": _shown(_posts(request)[:1]) if hook else [],
            "hook_url": self.url("webhook") if self.role(request) is Role.AGENCY_OWNER else "",
            "connections_url": self.url_of("connection", "changelist"),
        }

    def _count(self, rows: Sequence[Any]) -> None:
        """Their clinics in scope, in one question for all of the page."""
        known = {
            one["incident_id"]: one
            for one in Alert.objects.filter(incident_id__in=[row.pk for row in rows])
            .order_by()
            .values("incident_id")
            .annotate(
                names=ArrayAgg("tenant__name", distinct=True),
                left=Count("tenant_id", distinct=True, filter=Q(ended_at=None)),
                first=Min("connection_id"),
                last=Max("connection_id"),
            )
        }
        for row in rows:
            found = known.get(row.pk, {"names": [], "left": 0, "first": None, "last": None})  # removed this instant
            is_one = found["first"] is not None and found["first"] == found["last"]
            row.names, row.left = found["names"], found["left"]
            row.page = self.url_of("connection", "change", found["first"]) if is_one else ""
            row.own = self.url("change", row.pk)

    # One incident

    def detail(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        alerts = list(
            Alert.objects.filter(incident_id=row.pk)
            .select_related("tenant", "connection", "flow")
            .order_by(F("ended_at").asc(nulls_first=True), "tenant__name", "-opened_at")
        )
        self._count([row])
        return {
            "title": f"{name_of_flow(row.kind) if row.kind else vendor_name(row.vendor)}: {count_of(len(row.names))}",
            "told": message(row.code),
            "members": [
                {
                    "clinic": alert.tenant,
                    "place": alert.connection or flow_name(alert.flow),
                    "page": self._place(alert),
                    "records": alert.records if alert.call == Call.RECORDS else None,
                    "alert": alert,
                }
                for alert in alerts
            ],
            "is_of_records": bool(row.kind),
            "desk_url": self.url_of("delivery", "changelist", code=row.code) if row.call == Call.RECORDS else "",
            "facts": [
                ("State", state_cell(row)),
                ("Since", at(row.opened_at)),
                ("Last joined", at(row.last_joined_at)),
                ("Over since", at(row.ended_at)),
                ("Clinics", {"text": clinics_cell(row)["text"]}),
                ("People were told", told_cell(row)),
                ("Told that it is over", at(row.end_told_at)),
                ("Code", {"text": row.code}),
            ],
        }

    def _place(self, alert: Alert) -> str:
        """Where it is looked into: the connection, the flow, or its records on the desk."""
        if alert.connection_id is not None:
            return self.url_of("connection", "change", alert.connection_id)
        if alert.flow is None or alert.call == Call.SILENCE:
            return self.url_of("flow", "change", alert.flow_id)
        asked = {"code": alert.code, "flow": alert.flow.name, "clinic": alert.tenant.slug}
        return self.url_of("delivery", "changelist", **asked)

    def detail_response(self, request: HttpRequest, row: Any, more: Any, *, template: str = "") -> HttpResponse:
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "row": row,
            "zone": settings.TIME_ZONE,
            "list_url": self.url("changelist"),
            "list_name": "Incidents",
            **more,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.detail_template, context)

    # The webhook

    @live_view
    def hook_view(self, request: HttpRequest) -> LiveView:
        """Only the owner, who proved it lately: the address is a secret, and says where names of clinics go."""
        if self.role(request) is not Role.AGENCY_OWNER:
            raise PermissionDenied
        if not (yield lambda: is_fresh(request)):
            return prove_yourself(request.path)
        agency_id = _agency_id(request)
        verb, problem = request.POST.get("do", ""), ""
        if verb == "save":
            given = request.POST.get("url", "")
            problem = yield lambda: _refusal(given)
            if not problem:
                hooks.set_address(agency_id, given)
                return self._kept(request, "alert_hook.set", "The address is kept. Send a test now.")
        elif verb == "remove":
            hooks.remove_address(agency_id)
            return self._kept(request, "alert_hook.removed", "The webhook is removed.")
        elif verb == "test":
            if not may_ask(request, 0):
                problem = "That was often. Wait a minute, please."
            else:
                code = yield lambda: hooks.deliver(agency_id, TEST_TEXT)
                if not code:
                    return self._kept(
                        request, "alert_hook.tested", "The test was taken. It should stand in the channel now."
                    )
                problem = f"{message(code).sentence} {message(code).advice}"
        return self._hook_page(request, problem)

    def _kept(self, request: HttpRequest, action: str, said: str) -> HttpResponse:
        record_audit(action, target=hooks.PLACE, actor=person(request).actor, actor_role=str(self.role(request) or ""))
        messages.success(request, said)
        return redirect(self.url("webhook"))

    def _hook_page(self, request: HttpRequest, problem: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": "Webhook",
            "hook": _hook_of(request),
            "problem": problem,
            "posts": _shown(_posts(request)[:POSTS_SHOWN]),
            "zone": settings.TIME_ZONE,
            "list_url": self.url("changelist"),
            "list_name": "Incidents",
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.hook_template, context)


def _refusal(url: str) -> str:
    """Why an address cannot be used, "" if it can. Asks the resolver."""
    try:
        hooks.check_public(hooks.parsed(url))
    except hooks.BadAddress as refusal:
        return str(refusal)
    return ""


def _agency_id(request: HttpRequest) -> int:
    return person(request).agency_id or 0


def _hook_of(request: HttpRequest) -> AlertHook | None:
    return AlertHook.objects.filter(agency_id=_agency_id(request)).defer("sealed_url").first()


def _posts(request: HttpRequest) -> QuerySet[HookPost]:
    return HookPost.objects.filter(agency_id=_agency_id(request)).order_by("-made_at")


def _shown(posts: QuerySet[HookPost]) -> list[dict[str, Any]]:
    """What became of each message; its words only name clinics on the owner's page."""
    return [
        {
            "post": post,
            "state": {"badge": post.get_state_display(), "tone": POST_TONES[PostState(post.state)][0], "icon": POST_TONES[PostState(post.state)][1]},
            "why": message(post.code).sentence if post.code else "",
        }
        for post in posts
    ]  # fmt: skip


agency_site.register(Incident, IncidentAdmin)
