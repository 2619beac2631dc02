"""What the set-up screens share: who asks, whether they proved it lately, and pages of our own in the admin's frame."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.core.cache import cache
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from integrations.messages import Message, message
from integrations.services.changes import By, Fault
from tenants.admin import TenantModelAdmin
from tenants.middleware import person
from tenants.models import AGENCY_ROLES, Role, Tenant
from tenants.sites import LiveView
from tenants.walls import TenantScope, current_scope

ASKS_PER_MINUTE = 20
"""How often one person may have a vendor asked for one clinic: tests of a connection, trials of a rule."""


class SetupAdmin(TenantModelAdmin):
    """A model whose pages are ours: the list is Django's, a row has one page and further ones beside it."""

    pages: tuple[tuple[str, str], ...] = ()
    """(path under the row's page, method): each becomes the URL name ``integrations_<model>_<path>``."""

    def get_urls(self) -> list[URLPattern]:
        info = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path(
                f"<path:object_id>/{place}/", self.admin_site.admin_view(getattr(self, method)), name=f"{info}_{place}"
            )
            for place, method in self.pages
        ]
        return [*own, *super().get_urls()]

    def url(self, place: str, *args: object) -> str:
        return reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{place}", args=args)

    def by(self, request: HttpRequest) -> By:
        who = person(request)
        return By(who.actor, str(self.role(request) or ""), who.user_id, who.acted_by)

    def is_agency(self, request: HttpRequest) -> bool:
        return self.role(request) in AGENCY_ROLES

    def is_owner(self, request: HttpRequest) -> bool:
        return self.role(request) is Role.AGENCY_OWNER

    def row(self, request: HttpRequest, object_id: str) -> Any:
        """The row, or None: a foreign one is as absent as one that never was. Raises PermissionDenied."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return self.get_object(request, object_id)

    def absent(self, request: HttpRequest, object_id: str) -> HttpResponse:
        answer: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        return answer

    def may(self, request: HttpRequest) -> None:
        """Raises PermissionDenied for who may only look."""
        if not self.has_change_permission(request):
            raise PermissionDenied

    def page(
        self, request: HttpRequest, template: str, title: str, context: Mapping[str, Any], status: int = 200
    ) -> TemplateResponse:
        whole = {
            **self.admin_site.each_context(request),
            "title": title,
            "media": "",
            "may_change": self.has_change_permission(request),
            "is_agency": self.is_agency(request),
            "is_owner": self.is_owner(request),
            **context,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, template, whole, status=status)


def may_ask(request: HttpRequest, tenant_id: int) -> bool:
    """Counts one more question to a vendor; False when this person asked too often for this clinic."""
    key = f"asks:{tenant_id}:{request.user.pk}"
    if cache.add(key, 1, timeout=60):
        return True
    try:
        return int(cache.incr(key)) <= ASKS_PER_MINUTE
    except ValueError:
        return True


def clinic_of(row: Any) -> Tenant:
    """The clinic of a row, from the names this scope may see."""
    return Tenant.objects.get(pk=row.tenant_id)


def faults_by_place(faults: Iterable[Fault]) -> dict[str, list[str]]:
    """Sentences by the field they stand beside."""
    told: dict[str, list[str]] = {}
    for fault in faults:
        told.setdefault(fault.where, []).append(fault.sentence)
    return told


def said(code: str) -> Message | None:
    return message(code) if code else None


def in_one_clinic() -> bool:
    return isinstance(current_scope(), TenantScope)


def humble(choices: Iterable[tuple[str, str]], value: str) -> str:
    """The words of a choice."""
    return next((words for option, words in choices if option == value), value)


Steps = Callable[..., LiveView]
