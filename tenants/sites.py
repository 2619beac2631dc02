"""The two admin sites. Every page is answered, and rendered, inside the scope of who asks."""

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial, update_wrapper
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from allauth.mfa.utils import is_mfa_enabled
from django.apps import apps
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST
from unfold.dataclasses import SearchResult
from unfold.sites import UnfoldAdminSite

from tenants.bases import OWN_APPS
from tenants.middleware import person
from tenants.models import Role, Tenant
from tenants.walls import agency_tx, tenant_tx

View = Callable[..., Any]
Ask = Callable[[], object]
Finder = Callable[[Any, HttpRequest, str], list[SearchResult]]
"""What an app adds to the search box: (site, request, what was typed) -> results."""
SitePage = tuple[str, str, Callable[..., Any]]
"""What an app adds beside its models' pages: (path, URL name, view of a site and a request)."""
LiveView = Generator[Ask, Any, HttpResponseBase]

CLINIC_KEY = "clinic_id"
SEARCH_PER_PAGE = 100


def unscoped(view: View) -> View:
    """Marks a view that runs as app_login: it changes the session or the account and reads no clinic's rows."""
    view.is_unscoped = True  # type: ignore[attr-defined]
    return view


def live_view(view: Callable[..., LiveView]) -> View:
    """Marks a view that must call a vendor: a generator that yields the call.

    What comes before `answer = yield call` runs in a transaction, `call()` with none open, what comes after in a second
    one, in which the response is rendered. Several calls are several yields. `call` says as a value what went wrong.
    """
    view.is_live = True  # type: ignore[attr-defined]
    return view


class ScopedStream(StreamingHttpResponse):
    """A long answer made part by part: each part within the scope of who asked, none of which stays open between."""

    def __init__(self, parts: Iterator[str], **given: Any) -> None:
        self.parts = parts
        super().__init__(**given)

    def enter_with(self, enter: Callable[[], AbstractContextManager[Any]]) -> None:
        """Says whose scope it is; before that it has no content."""
        self.streaming_content = self._scoped(enter)

    def _scoped(self, enter: Callable[[], AbstractContextManager[Any]]) -> Iterator[str]:
        while True:
            with enter():
                part = next(self.parts, None)
            if part is None:
                return
            yield part


class SutureSite(UnfoldAdminSite):
    """What both sites share: who may come in, and the scope around each view."""

    enable_nav_sidebar = True
    actions_on_top = True
    index_template = "suture/dashboard.html"
    finders: ClassVar[list[Finder]] = []
    pages: ClassVar[list[SitePage]] = []

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.disable_action("delete_selected")  # we never delete in bulk

    def role_of(self, request: HttpRequest) -> Role | None:
        """What the person is on this page; None keeps them out."""
        raise NotImplementedError

    def scope_of(self, request: HttpRequest) -> Callable[[], AbstractContextManager[Any]]:
        """A factory of the scope in which this request's pages run; a live view enters it twice."""
        raise NotImplementedError

    def has_permission(self, request: HttpRequest) -> bool:
        return self.role_of(request) is not None

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if getattr(view, "is_unscoped", False):
                return view(request, *args, **kwargs)  # type: ignore[no-any-return]
            detour = self.before(request)
            if detour is not None:
                return detour
            enter = self.scope_of(request)
            if getattr(view, "is_live", False):
                return _run_live(view(request, *args, **kwargs), enter)
            with enter():
                return _finish(view(request, *args, **kwargs), enter)

        update_wrapper(inner, view)
        return super().admin_view(inner, cacheable)  # type: ignore[no-any-return]

    def before(self, request: HttpRequest) -> HttpResponse | None:
        """Somewhere else to go first, or None."""
        return None

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Django's, less `r/<type>/<id>/`, which names objects of any clinic."""
        load_admins()
        own = [path(place, self.admin_view(partial(view, self)), name=name) for place, name, view in self.pages]
        return own + [url for url in super().get_urls() if getattr(url, "name", None) != "view_on_site"]

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """allauth signs in; who is signed in and has no place here is told so."""
        target = request.GET.get("next", "")
        if not url_has_allowed_host_and_scheme(target, {request.get_host()}, request.is_secure()):
            target = reverse(f"{self.name}:index")
        if not request.user.is_authenticated:
            return redirect_to_login(target)
        if not self.has_permission(request):
            raise PermissionDenied
        return redirect(target)

    @unscoped
    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().logout(request, extra_context)  # type: ignore[no-any-return]

    @unscoped
    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return redirect("account_change_password")

    @unscoped
    def password_change_done(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return redirect("account_change_password")

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Names of pages, and what the finders add. Unfold keeps found rows in the cache by user, which would carry them between clinics."""
        term = request.GET.get("s", "").strip().lower()
        if not term:
            return HttpResponse()
        results = self._search_apps(self.get_app_list(request), term)
        for find in self.finders:
            results += find(self, request, request.GET["s"].strip())
        page = Paginator(results, SEARCH_PER_PAGE).get_page(request.GET.get("page"))
        extended = "extended" in request.GET
        return TemplateResponse(
            request,
            "unfold/helpers/command_results.html" if extended else "unfold/helpers/search_results.html",
            {"page_obj": page.paginator, "results": page, "page_counter": page.start_index() - 1, "execution_time": 0},
            headers={"HX-Trigger": "search"},
        )


class AgencySite(SutureSite):
    """For the agency: all clinics the person may see, at once. Two factors are compulsory."""

    settings_name = "UNFOLD"

    def role_of(self, request: HttpRequest) -> Role | None:
        return person(request).agency_role

    def before(self, request: HttpRequest) -> HttpResponse | None:
        if is_mfa_enabled(request.user):
            return None
        return redirect("mfa_index")

    def scope_of(self, request: HttpRequest) -> Callable[[], AbstractContextManager[Any]]:
        who = person(request)
        return lambda: agency_tx(who.agency_clinics, actor=who.actor, reason="agency site")


class ClinicSite(SutureSite):
    """For a clinic's own people: one clinic at a time, chosen where they have several."""

    settings_name = "UNFOLD_CLINIC"

    def role_of(self, request: HttpRequest) -> Role | None:
        chosen = self.chosen(request)
        return person(request).clinics[chosen] if chosen else None

    def chosen(self, request: HttpRequest) -> int | None:
        """The clinic of this request: what they chose while it is still theirs, else their first."""
        clinics = person(request).clinics
        wanted = request.session.get(CLINIC_KEY)
        if isinstance(wanted, int) and wanted in clinics:
            return wanted
        return min(clinics, default=None)

    def scope_of(self, request: HttpRequest) -> Callable[[], AbstractContextManager[Any]]:
        who = person(request)
        own = Tenant.objects.in_bulk(list(who.clinics))
        clinic = own[self.chosen(request)]
        # The names of one's other clinics, read before the scope closes over one of them.
        request.clinic, request.clinics = clinic, sorted(own.values(), key=str)  # type: ignore[attr-defined]

        @contextmanager
        def enter() -> Generator[None, None, None]:
            with (
                tenant_tx(clinic.pk, actor=who.actor, reason="clinic site"),
                timezone.override(ZoneInfo(clinic.time_zone)),
            ):
                yield

        return enter

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        context: dict[str, Any] = super().each_context(request)
        places = {"clinic": getattr(request, "clinic", None), "clinics": getattr(request, "clinics", [])}
        return context | places

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [path("choose/", self.admin_view(self.choose), name="choose"), *super().get_urls()]

    @unscoped
    def choose(self, request: HttpRequest) -> HttpResponse:
        """POST `clinic`: the id of one of the person's clinics."""
        return _choose(request)


@require_POST
def _choose(request: HttpRequest) -> HttpResponse:
    wanted = request.POST.get("clinic", "")
    own = {str(tenant_id): tenant_id for tenant_id in person(request).clinics}
    if wanted not in own:
        raise PermissionDenied
    request.session[CLINIC_KEY] = own[wanted]
    return HttpResponseRedirect(reverse("clinic:index"))


def _finish(response: HttpResponseBase, enter: Callable[[], AbstractContextManager[Any]]) -> HttpResponseBase:
    """Renders while the scope is open, and lets a failure take its writes with it."""
    if isinstance(response, ScopedStream):
        response.enter_with(enter)
        return response
    if isinstance(response, TemplateResponse) and not response.is_rendered:
        response = response.render()
    if response.streaming:
        raise TypeError("a streamed response would be built outside its scope")
    if response.status_code >= 500:
        transaction.set_rollback(True)
    return response


def _run_live(steps: LiveView, enter: Callable[[], AbstractContextManager[Any]]) -> HttpResponseBase:
    answer: object = None
    while True:
        with enter():
            try:
                ask = steps.send(answer)
            except StopIteration as end:
                return _finish(end.value, enter)
        answer = ask()


agency_site = AgencySite("agency")
clinic_site = ClinicSite("clinic")
SITES: tuple[SutureSite, ...] = (agency_site, clinic_site)


def load_admins() -> None:
    """Fills both registries. For the URL map and the checks; the command line does without."""
    for config in apps.get_app_configs():
        if config.label in OWN_APPS and find_spec(f"{config.name}.admin"):
            import_module(f"{config.name}.admin")
