"""How the two sites look: the menu, the style sheets, and what every page's template may use. Settings name these.

Colours are in static/suture/css: a policy without inline style has no room for unfold's own.
"""

from collections.abc import Callable
from typing import Any

from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.templatetags.static import static
from django.urls import reverse

from tenants.middleware import acting_of, person
from tenants.sites import SITES

Menu = tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]
"""Groups of (title, icon, `app.model`, with `:page` where it is not the list, or the name of a page of the site's own); a
model that a site does not register is left out of its menu."""

MENU: Menu = (
    (
        "Day to day",
        (
            ("Error desk", "front_hand", "integrations.delivery"),
            ("Weekly digests", "fact_check", "integrations.digest"),
            ("Incidents", "crisis_alert", "integrations.incident"),
            ("Runs", "play_circle", "integrations.run"),
            ("Sync log", "receipt_long", "integrations.synclogentry"),
            ("Links", "link", "integrations.link"),
            ("Explain a record", "contact_support", "integrations.link:explain"),
            ("Mismatches", "difference", "reconciliation.mismatch"),
            ("Repairs", "published_with_changes", "reconciliation.repair"),
            ("Reports", "balance", "reconciliation.report"),
            ("Health", "monitor_heart", "health"),
        ),
    ),
    (
        "Set-up",
        (
            ("Clinics", "storefront", "tenants.tenant"),
            ("Connections", "cable", "integrations.connection"),
            ("Flows", "conversion_path", "integrations.flow"),
            ("Blueprints", "architecture", "integrations.blueprint"),
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
        items = [{"title": name, "icon": icon, "link": link} for name, icon, label in entries if (link := pages(label))]
        if items:
            groups.append({"title": title, "items": items})
    _mark_active(groups, request.path)
    return groups


def _mark_active(groups: list[dict[str, Any]], path: str) -> None:
    """The entry that the page belongs to: of a list and a page below it that both are in the menu, only the page."""
    items = [item for group in groups[1:] for item in group["items"]]
    here = max((item["link"] for item in items if path.startswith(item["link"])), key=len, default="")
    for item in items:
        item["active"] = item["link"] == here


def _pages(site_name: str, request: HttpRequest) -> Callable[[str], str]:
    """The address of a menu's page, ``""`` where the site does not register its model or the person may not see it."""
    site = next(site for site in SITES if site.name == site_name)
    seen = {
        model._meta.label_lower
        for model, admin in site._registry.items()
        if admin.has_view_or_change_permission(request)
    }

    def address(label: str) -> str:
        if "." not in label:
            return reverse(f"{site_name}:{label}")
        model, _, page = label.partition(":")
        return reverse(f"{site_name}:{model.replace('.', '_')}_{page or 'changelist'}") if model in seen else ""

    return address


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
    """`sandbox` and `acting` show their strips; `second_step_missing` is asked by the page that sets one up."""

    def second_step_missing() -> bool:
        return person(request).is_agency and not is_mfa_enabled(request.user)

    acting = acting_of(request) if hasattr(request, "session") else None
    return {"sandbox": settings.SUTURE_SANDBOX, "acting": acting, "second_step_missing": second_step_missing}


def went_wrong(request: HttpRequest) -> HttpResponse:
    """The page of a fault of ours: Django's own would be rendered without the sandbox's strip."""
    return render(None, "500.html", {"sandbox": settings.SUTURE_SANDBOX}, status=500)
