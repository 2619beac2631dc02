"""Where things are: sign-in, the two sites, what vendors call, and a health page that says nothing."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from django.views.decorators.http import require_safe


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """The web process answers. Whether the sync is well is on the dashboard, behind sign-in."""
    return HttpResponse("ok\n", content_type="text/plain")


urlpatterns = [
    path("health", health, name="health"),
    path("accounts/", include("allauth.urls")),
    path("hijack/", include("hijack.urls")),
]
