"""The agency's list of clinics, with the state of each in a word."""

from typing import Any

from django.contrib import admin
from django.db.models import Case, CharField, Exists, OuterRef, QuerySet, Value, When
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from integrations.models import Connection, ConnectionState, Delivery, DeliveryState, Flow, Mode
from integrations.services.configuration import WRITING
from tenants.admin import TenantAdmin
from tenants.models import Tenant
from tenants.sites import agency_site

STATES = {
    "needs_reauth": "Needs a new key",
    "failing": "Not answering",
    "attention": "Needs a person",
    "live": "Live",
    "preview": "Preview",
    "setup": "Being set up",
    "off": "Closed",
}


class ClinicAdmin(TenantAdmin):
    list_display = ("name", "state_word", "slug", "time_zone", "country", "currency")
    list_before_template = "admin/tenants/tenant/none.html"
    list_per_page = 100

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        connections = Connection.objects.filter(tenant_id=OuterRef("pk"))
        flows = Flow.objects.filter(tenant_id=OuterRef("pk"))
        held = Delivery.objects.filter(tenant_id=OuterRef("pk"), state=DeliveryState.HELD)
        state = Case(
            When(active=False, then=Value("off")),
            When(Exists(connections.filter(state=ConnectionState.NEEDS_REAUTH)), then=Value("needs_reauth")),
            When(Exists(connections.filter(state=ConnectionState.FAILING)), then=Value("failing")),
            When(Exists(flows.exclude(stopped_code="")), then=Value("attention")),
            When(Exists(held), then=Value("attention")),
            When(Exists(flows.filter(mode__in=WRITING)), then=Value("live")),
            When(Exists(flows.filter(mode=Mode.PREVIEW)), then=Value("preview")),
            default=Value("setup"),
            output_field=CharField(),
        )
        queryset: QuerySet[Any] = super().get_queryset(request).annotate(state=state)
        return queryset

    @admin.display(description="State", ordering="state")
    def state_word(self, clinic: Any) -> SafeString:
        return render_to_string("suture/state.html", {"state": clinic.state, "word": STATES[clinic.state]})


agency_site.unregister(Tenant)
agency_site.register(Tenant, ClinicAdmin)
