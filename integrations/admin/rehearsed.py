"""What a rehearsal found, drawn: how many records, why, which fields, and the records one by one."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from integrations.admin import rules
from integrations.admin.flow_page import FlowPage
from integrations.admin.setup import said
from integrations.admin.trials import ACTION_STATES, ACTIONS
from integrations.messages import message
from integrations.models import Prediction, Rehearsal
from integrations.services.candidates import shown
from integrations.services.rehearsal import bound_to
from integrations.services.wording import in_short
from integrations.vault import Unsealable, Vault, open_vault
from tenants.models import Role
from tenants.walls import narrow_to

LINES = 50
NEWLY = "newly"
UNCLEAR = {"wait": "Wait for another record", "flying": "On its way already", "looking": "Being looked up"}


def result(page: FlowPage, row: Rehearsal, here: str) -> dict[str, Any]:
    """What the rehearsal found, so far or in the end, for its proposal's page at ``here``."""
    wanted = page.request.GET.get("action", "")
    rows = _predictions(row, wanted)
    some = Paginator(rows.order_by("pk"), LINES).get_page(page.request.GET.get("page"))
    words = page.words
    return {
        "percent": _percent(row),
        "told": said(row.code),
        "tiles": _tiles(row, here, wanted),
        "by_field": _counted((words.target(name), n) for name, n in row.fields.items() if name != words.kind.marker),
        "by_code": _counted((message(code).sentence, n) for code, n in row.codes.items()),
        "lines": _prediction_lines(page, row, some),
        "page_of": some,
        "wanted": wanted,
        "whole": here,
        "is_masked": page.admin.role(page.request) is Role.CLINIC_VIEWER,
    }


def _percent(row: Rehearsal) -> int | None:
    most = min(row.most, row.expected) if row.expected else None
    return min(99, int(100 * row.read / most)) if most else None


@dataclass(frozen=True, slots=True)
class Tile:
    """How many records, and which: ``url`` lists them."""

    which: str
    label: str
    value: int
    note: str
    tone: str = ""
    url: str = ""
    is_chosen: bool = False


def _tiles(row: Rehearsal, here: str, wanted: str) -> list[Tile]:
    tiles = (
        Tile("", "Would change", row.changed, f"of {row.read:,} looked at", "info" if row.changed else ""),
        Tile(NEWLY, "Newly ask a person", row.newly_held, "go through now", "warn" if row.newly_held else ""),
        Tile("create", "Create", row.created, "made anew"),
        Tile("update", "Update", row.updated + row.archived, "written to"),
        Tile("hold", "Ask a person", row.held, "wait on the error desk"),
        Tile("skip", "Leave out", row.skipped, "not carried over"),
        Tile("nothing", "Stay as they are", row.unchanged, "nothing to do"),
    )
    return [
        replace(one, url=f"{here}&action={one.which}" if one.value else "", is_chosen=one.which == wanted)
        for one in tiles
    ]


def _predictions(row: Rehearsal, wanted: str) -> QuerySet[Prediction]:
    rows: QuerySet[Prediction] = Prediction.objects.filter(rehearsal=row)
    if wanted == NEWLY:
        return rows.filter(action="hold").exclude(was_action="hold")
    if wanted == "update":
        return rows.filter(action__in=("update", "archive"))
    return rows.filter(action=wanted) if wanted in ACTIONS else rows.filter(is_changed=True)


def _counted(pairs: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Most first; equal words told once."""
    told: dict[str, int] = {}
    for words, count in pairs:
        told[words] = told.get(words, 0) + count
    return sorted(told.items(), key=lambda pair: (-pair[1], pair[0]))


def _prediction_lines(page: FlowPage, row: Rehearsal, some: Page[Prediction]) -> list[dict[str, Any]]:
    if not some.object_list:
        return []
    with narrow_to(page.flow.tenant_id):
        vault = open_vault(page.flow.tenant_id)
    masked = page.admin.role(page.request) is Role.CLINIC_VIEWER
    return [_line(page, row, one, vault, masked=masked) for one in some]


def _line(page: FlowPage, row: Rehearsal, one: Prediction, vault: Vault, *, masked: bool) -> dict[str, Any]:
    kind, words = page.kind, page.words
    made = kind.source.admin_url
    return {
        "key": one.source_key,
        "url": made(page.flow.source.facts, one.source_key) if made else "",
        "was": _action(one.was_action),
        "was_state": ACTION_STATES.get(one.was_action, "waiting"),
        "was_code": _reason(one.was_code),
        "then": _action(one.action),
        "state": ACTION_STATES.get(one.action, "waiting"),
        "code": _reason(one.code),
        "fields": in_short(words.target(name) for name in one.fields if name != kind.marker),
        "values": _values(row, one, vault, words, masked=masked),
    }


def _action(action: str) -> str:
    return ACTIONS.get(action) or UNCLEAR.get(action, action)


def _reason(code: str) -> str:
    return message(code).sentence if code else ""


def _values(
    row: Rehearsal, one: Prediction, vault: Vault, words: rules.Words, *, masked: bool
) -> list[tuple[str, str, str]]:
    """(field, as it is, as it would be) of a sample, as this person may see it."""
    if one.sealed_sample is None:
        return []
    try:
        told = json.loads(vault.unseal(one.sealed_sample, bound_to=bound_to(row.pk, one.source_key)))
    except Unsealable:
        return []
    stream = words.kind.target
    lines = []
    for name, pair in told.items():
        now, then = (shown(stream, name, text, masked=masked) or "nothing" for text in pair)
        lines.append((words.target(name), now, then))
    return lines
