"""Where a mailed link leads: to a button, once its person has signed in, and from there to the report."""

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from reconciliation import mailing
from tenants.middleware import person
from tenants.services import record_audit
from tenants.sites import CLINIC_KEY
from tenants.walls import tenant_tx

PAGE = "reconciliation/link.html"


@require_http_methods(["GET", "HEAD", "POST"])
def report_link(request: HttpRequest, clinic: int, secret: str) -> HttpResponse:
    """GET shows the button, so that whoever only looks ahead uses nothing up; POST opens the report.

    Somebody else's link, one that was used, one that is too old and one that never was answer alike.
    """
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    who = person(request)
    role = who.clinics.get(clinic)
    if role is None or who.user_id is None:
        return _closed(request)
    with tenant_tx(clinic, actor=who.actor, reason="mailed link"):
        if request.method != "POST":
            is_open = mailing.is_open(who.user_id, secret)
            return render(request, PAGE) if is_open else _closed(request)
        link = mailing.open_link(who.user_id, secret)
        if link is None:
            return _closed(request)
        record_audit("report.opened_by_link", target=f"report {link.report_id or 'summary'}", actor_role=role)
    request.session[CLINIC_KEY] = clinic
    if link.report_id is None:
        return redirect(reverse("clinic:reconciliation_report_summary"))
    return redirect(reverse("clinic:reconciliation_report_change", args=[link.report_id]))


def _closed(request: HttpRequest) -> HttpResponse:
    return render(request, PAGE, {"is_closed": True}, status=404)
