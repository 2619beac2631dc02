"""How the two sites look: the menu, the style sheets, and what every page's template may use. Settings name these.

Colours are in static/suture/css: a policy without inline style has no room for unfold's own.
"""

from typing import Any

from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse

from tenants.middleware import person
from tenants.sites import SITES

Menu = tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]
"""Groups of (title, icon, `app.model`); a model that a site does not register is left out of its menu."""

MENU: Menu = (
    (
        "Day to day",
        (
            ("Error desk", "front_hand", "integrations.delivery"),
            ("Incidents", "crisis_alert", "integrations.incident"),
            ("Runs", "play_circle", "integrations.run"),
            ("Sync log", "receipt_long", "integrations.synclogentry"),
            ("Links", "link", "integrations.link"),
        ),
    ),
    (
        "Set-up",
        (
            ("Clinics", "storefront", "tenants.tenant"),
            ("Connections", "cable", "integrations.connection"),
            ("Flows", "conversion_path", "integrations.flow"),
            ("Revisions", "history_edu", "integrations.flowrevision"),
            ("Value maps", "swap_horiz", "integrations.valuemap"),
            ("Vendor apps", "extension", "integrations.vendorapp"),
        ),
    ),
    (
        "People",
        (
            ("Members", "group", "tenants.membership"),
            ("Audit", "policy", "tenants.auditentry"),
            ("Agency audit", "policy", "tenants.agencyauditentry"),
        ),
    ),
)


def menu(site_name: str, request: HttpRequest) -> list[dict[str, Any]]:
    """The side menu of a site: its first page, then what this person may look at."""
    first = {"title": "Dashboard", "icon": "space_dashboard", "link": reverse(f"{site_name}:index")}
    pages = _pages(site_name, request)
    groups: list[dict[str, Any]] = [{"items": [first]}]
    for title, entries in MENU:
        items = [{"title": name, "icon": icon, "link": pages[label]} for name, icon, label in entries if label in pages]
        if items:
            groups.append({"title": title, "items": items})
    return groups


def _pages(site_name: str, request: HttpRequest) -> dict[str, str]:
    """The list page of every model that the site registers and the person may see, by `app.model`."""
    site = next(site for site in SITES if site.name == site_name)
    return {
        model._meta.label_lower: reverse(f"{site_name}:{model._meta.app_label}_{model._meta.model_name}_changelist")
        for model, admin in site._registry.items()
        if admin.has_view_or_change_permission(request)
    }


def agency_menu(request: HttpRequest) -> list[dict[str, Any]]:
    return menu("agency", request)


def clinic_menu(request: HttpRequest) -> list[dict[str, Any]]:
    return menu("clinic", request)


def clinic_name(request: HttpRequest) -> str:
    return str(getattr(request, "clinic", ""))


def agency_style(request: HttpRequest) -> str:
    return static("suture/css/agency.css")


def clinic_style(request: HttpRequest) -> str:
    return static("suture/css/clinic.css")


def look(request: HttpRequest) -> dict[str, Any]:
    """`sandbox` shows the strip; `second_step_missing` is asked by the page that sets one up."""

    def second_step_missing() -> bool:
        return person(request).is_agency and not is_mfa_enabled(request.user)

    return {"sandbox": settings.SUTURE_SANDBOX, "second_step_missing": second_step_missing}


def went_wrong(request: HttpRequest) -> HttpResponse:
    """The page of a fault of ours: Django's own would be rendered without the sandbox's strip."""
    return render(None, "500.html", {"sandbox": settings.SUTURE_SANDBOX}, status=500)
