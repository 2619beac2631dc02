"""Where things are: sign-in, the two sites, what vendors call, and a health page that says nothing."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.http import require_safe

from reconciliation.views import report_link
from tenants.acting import Begin, End
from tenants.signin import home
from tenants.sites import agency_site, clinic_site


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """The web process answers. Whether the sync is well is on the dashboard, behind sign-in."""
    return HttpResponse("ok\n", content_type="text/plain")


urlpatterns = [
    path("", home, name="home"),
    path("health", health, name="health"),
    path("accounts/", include("allauth.urls")),
    path("report-link/<int:clinic>/<str:secret>/", report_link, name="report_link"),
    path("acting/begin/", Begin.as_view(), name="acting_begin"),
    path("acting/end/", End.as_view(), name="acting_end"),
    path("agency/", agency_site.urls),
    path("clinic/", clinic_site.urls),
]

handler500 = "config.look.went_wrong"
