"""A flow's tab "Blueprint": whose each of its lines is, and giving lines back."""

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpResponse

from integrations.admin.flow_page import FlowPage
from integrations.admin.flow_shown import say_changed
from integrations.admin.said import label_of, said_at
from integrations.flows.kind import Config
from integrations.models import Flow, Following
from integrations.services import following as followings
from integrations.services.changes import Refused
from integrations.services.configured import config_of
from integrations.services.following import Origin
from tenants.walls import narrow_to


def origin_words(page: FlowPage) -> dict[str, str]:
    """Whose each line is, by its place; empty where the flow follows no blueprint."""
    row = followings.following_of(page.flow)
    if row is None or not row.number:
        return {}
    words = {Origin.BLUEPRINT: f"From blueprint {row.name}", Origin.OWN: "This clinic's own"}
    return {place: words[origin] for place, origin in followings.origins(row, config_of(page.flow)).items()}


def blueprint_tab(page: FlowPage) -> HttpResponse:
    """POST ``place``: gives these lines back to the blueprint."""
    row = followings.following_of(page.flow)
    if page.request.method == "POST":
        page.admin.may(page.request)
        if row is not None:
            _give_back(page)
        return page.go("blueprint")
    lines = _lines(page, row) if row is not None and row.number else []
    context: Mapping[str, Any] = {
        "following": row,
        "lines": lines,
        "own": sum(line["is_own"] for line in lines),
        "may_give": any(line["may_give"] for line in lines),
    }
    return page.shown("blueprint", context)


def _give_back(page: FlowPage) -> None:
    given = page.request.POST
    seen = given.get("revision", "")
    try:
        with narrow_to(page.flow.tenant_id):
            changed = followings.give_back(
                Flow.objects.get(pk=page.flow.pk),
                given.getlist("place"),
                by=page.admin.by(page.request),
                revision_seen=int(seen) if seen.isdigit() else None,
            )
    except Refused as refusal:
        messages.error(page.request, str(refusal))
        return
    page.flow.refresh_from_db(fields=["revision_number"])
    say_changed(page.request, page.flow, changed)


def _lines(page: FlowPage, row: Following) -> list[dict[str, Any]]:
    effective, layer = config_of(page.flow), Config.from_json(row.config)
    lines = []
    for place, origin in followings.origins(row, effective).items():
        is_own = origin is Origin.OWN
        lines.append(
            {
                "place": place,
                "label": label_of(page.words, place),
                "runs": said_at(page.words, effective, place),
                "would": said_at(page.words, layer, place),
                "is_own": is_own,
                "may_give": is_own and page.may_edit and (page.is_agency or not place.startswith("rules.")),
            }
        )
    return sorted(lines, key=lambda line: (not line["is_own"], line["label"]))
