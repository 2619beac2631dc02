"""Weekly digests: what waited at a clinic, and who has seen it."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from integrations.admin.records import (
    CLINIC,
    Cell,
    Choice,
    ClinicFilter,
    Column,
    Empty,
    RecordAdmin,
    badge,
    facts,
    is_agency,
    when,
)
from integrations.messages import message
from integrations.models import Digest
from integrations.services import desk, digests
from integrations.services.digests import LANE_WORDS
from tenants.middleware import person
from tenants.sites import agency_site, clinic_site
from tenants.walls import app_now, narrow_to

AGE_HEADS = {"day": "Under a day", "week": "1–7 days", "month": "7–30 days", "old": "Over 30 days"}
OF_AGENCY = {"clinic": "The clinic", "agency": "The agency", "vendor": "The vendor", "system": "Suture's engineers"}


def waiting_cell(row: Digest) -> Cell:
    count = digests.total(row.waiting)
    return {"text": f"{count:,} record{'' if count == 1 else 's'}" if count else "Nothing", "is_link": True}


def signed_cell(row: Digest) -> Cell:
    return badge("done", "Signed off", row.signed_by) if row.signed_at else badge("waiting", "Not signed off yet")


class SignedFilter(Choice):
    title, parameter_name, any_word = "Signed off", "signed", "Either"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Signed off"), ("no", "Not yet")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(signed_at__isnull=self.value() == "no") if self.value() in ("yes", "no") else queryset


class DigestAdmin(RecordAdmin):
    columns = (
        Column("Waited", waiting_cell),
        Column("Made", lambda row: when(row, row.made_at)),
        Column("Signed off", signed_cell),
        Column("On", lambda row: when(row, row.signed_at)),
        CLINIC,
    )
    list_filter = (SignedFilter, ClinicFilter)
    list_title = "Weekly digests"
    search_fields = ()
    key_columns = ()
    list_select_related = ("tenant",)
    ordering = ("-made_at",)
    detail_template = "admin/integrations/digest/detail.html"
    empty = Empty("No digest yet", "Each Monday morning the clinic's managers are told what waits, by mail and here.")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        row = self.get_object(request, object_id)
        if row is not None and request.method == "POST":
            return self._sign(request, row)
        return super().change_view(request, object_id, form_url, extra_context)

    def _sign(self, request: HttpRequest, row: Digest) -> HttpResponse:
        if not self.may_act(request):
            raise PermissionDenied
        try:
            with narrow_to(row.tenant_id):
                digests.sign_off(row, by=person(request).actor)
            messages.success(request, "Signed off. Thank you.")
        except desk.Refused as refusal:
            messages.warning(request, str(refusal))
        return redirect(self.url("change", row.pk))

    def detail(self, request: HttpRequest, row: Digest) -> dict[str, Any]:
        with narrow_to(row.tenant_id):
            now = digests.waiting_now(app_now())
        clinic = row.tenant.slug if is_agency() else ""
        return {
            "title": "Weekly digest",
            "list_name": self.list_title,
            "lanes": _lanes(row.waiting),
            "ages": list(AGE_HEADS.values()),
            "kinds": [
                (
                    message(code),
                    then,
                    now["kinds"].get(code, 0),
                    self.url_of("delivery", "changelist", code=code, clinic=clinic),
                )
                for code, then in digests.kinds_of(row.waiting)
            ],
            "total": digests.total(row.waiting),
            "total_now": digests.total(now),
            "total_signed": digests.total(row.signed_waiting),
            "facts": facts(
                ("State", signed_cell(row)),
                ("Made", when(row, row.made_at)),
                ("Mailed", when(row, row.mailed_at, never="not yet")),
                ("Signed off", when(row, row.signed_at, never="")),
                ("By", {"text": row.signed_by}),
            ),
        }


def _lanes(waiting: Mapping[str, Any]) -> list[tuple[str, list[int], int]]:
    """Owner, how many by age, how many in all."""
    found = []
    for owner, words in LANE_WORDS.items():
        ages = waiting.get("lanes", {}).get(owner, {})
        counts = [int(ages.get(age, 0)) for age in AGE_HEADS]
        if any(counts):
            found.append((OF_AGENCY[owner] if is_agency() else words, counts, sum(counts)))
    return found


for site in (agency_site, clinic_site):
    site.register(Digest, DigestAdmin)
