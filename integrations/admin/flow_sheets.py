"""A flow's rules and value maps as CSV: the file, and an import that shows line by line what it would do before it does."""

from dataclasses import dataclass
from typing import Any

from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from integrations.admin.flow_page import Faults, FlowPage
from integrations.admin.proposals import proposed
from integrations.admin.setup import clinic_of
from integrations.admin.sheets import (
    CHANGED,
    FIELDS,
    MOST_BYTES,
    NEEDED,
    NEW,
    REFUSED,
    REMOVED,
    SAME,
    VALUES,
    Line,
    Reading,
    Sheets,
)
from integrations.core.cells import Unreadable
from integrations.services import config_faults
from integrations.services.configured import config_of
from integrations.services.following import layer_of

SALT = "suture.sheet"
KEPT_S = 3600
SHOWN_MAX = 500
"""Of the lines that need no look (they say what is so already), and of the others each, at most so many are drawn."""

WORDS = {
    NEW: ("New", "add_circle", "ok"),
    CHANGED: ("Changed", "edit", "info"),
    REMOVED: ("Taken away", "remove", "warn"),
    REFUSED: ("Refused", "error", "bad"),
    SAME: ("As it is", "check", "idle"),
}
"""(word, icon, tone) of what a line would do; also the order in which they are told."""


def exported(page: FlowPage) -> HttpResponse:
    """``?what=`` fields or values. Everybody who sees the flow may keep what its pages show."""
    what = _what(page.request)
    file = HttpResponse(sheets_of(page).written(what, config_of(page.flow)), content_type="text/csv; charset=utf-8")
    name = f"{clinic_of(page.flow).slug}-{page.flow.name}-{what}.csv"
    file["Content-Disposition"] = f'attachment; filename="{name}"'
    return file


def imported(page: FlowPage) -> HttpResponse:
    """GET asks for a file; POST with one shows what it would do; POST ``do`` publishes or rehearses what was shown."""
    what = _what(page.request)
    page.admin.may(page.request)
    if what == FIELDS and not page.is_agency:
        raise PermissionDenied
    given = page.request.POST
    try:
        file = _file(page.request, page.flow.pk) if page.request.method == "POST" else None
        reading = _read(page, what, file) if file else None
    except Unreadable as refusal:
        return _drawn(page, what, problem=str(refusal))
    if file is None or reading is None:
        return _drawn(page, what)
    faults: Faults = {}
    if reading.count(REFUSED) and given.get("do") and not given.get("good"):
        faults = {"": ["Nothing was published: some lines were refused. Say below that the good ones are enough."]}
    elif given.get("do") == "rehearse":
        answer = proposed(page, reading.config)
        if isinstance(answer, HttpResponse):
            return answer
        faults = answer
    elif given.get("do") == "publish":
        refused = page.published(reading.config)
        if refused is None:
            return page.go(what)
        faults = refused
    return _drawn(page, what, file=file, reading=reading, faults=faults)


def sheets_of(page: FlowPage) -> Sheets:
    return Sheets(page.words, page.flow.source.released_fields)


def _what(request: HttpRequest) -> str:
    asked = request.GET.get("what", VALUES)
    return asked if asked in NEEDED else VALUES


@dataclass(frozen=True, slots=True)
class File:
    """``sealed`` carries it from the preview to the confirmation: signed, for this flow, for an hour."""

    data: bytes
    takes_away: bool
    sealed: str


def _file(request: HttpRequest, flow_id: int) -> File | None:
    """The file that was chosen, or the one that was shown before. Raises Unreadable."""
    upload = request.FILES.get("sheet")
    if upload is not None:
        if (upload.size or 0) > MOST_BYTES:
            raise Unreadable("The file is larger than 1 MB. Import it in parts.")
        data, takes_away = upload.read(), bool(request.POST.get("takes_away"))
        told = [flow_id, data.decode("latin-1"), takes_away]
        return File(data, takes_away, signing.dumps(told, salt=SALT, compress=True))
    sealed = request.POST.get("shown", "")
    if not sealed:
        return None
    try:
        of_flow, text, takes_away = signing.loads(sealed, salt=SALT, max_age=KEPT_S)
    except signing.BadSignature:
        of_flow = None
    if of_flow != flow_id:
        raise Unreadable("That preview is over an hour old. Choose the file once more.")
    return File(text.encode("latin-1"), takes_away, sealed)


def _read(page: FlowPage, what: str, file: File) -> Reading:
    sheets, before = sheets_of(page), config_of(page.flow)
    reading = sheets.read(what, file.data, before, takes_away=file.takes_away, below=layer_of(page.flow))
    faults = config_faults.config_faults(page.flow, reading.config) if reading.config != before else []
    return sheets.without(reading, faults, before)


def _drawn(
    page: FlowPage,
    what: str,
    *,
    file: File | None = None,
    reading: Reading | None = None,
    faults: Faults | None = None,
    problem: str = "",
) -> HttpResponse:
    context: dict[str, Any] = {
        "tab": what,
        "what": what,
        "here": f"{page.url('import')}?what={what}",
        "back": page.url(what),
        "export_url": f"{page.url('export')}?what={what}",
        "needed": NEEDED[what],
        "problem": problem,
        "faults": [sentence for sentences in (faults or {}).values() for sentence in sentences],
    }
    if file is not None and reading is not None:
        context |= {"file": file, "reading": reading, "note": page.request.POST.get("note", ""), **_told(reading)}
        context["is_empty"] = reading.config == config_of(page.flow)
    return page.shown("import", context)


def _told(reading: Reading) -> dict[str, Any]:
    """The lines as they are drawn: what was refused first, what says nothing new last."""
    groups: list[dict[str, Any]] = []
    for verdict in (REFUSED, NEW, CHANGED, REMOVED, SAME):
        lines: list[Line] = [line for line in reading.lines if line.verdict == verdict]
        word, icon, tone = WORDS[verdict]
        shown = {"word": word, "icon": icon, "tone": tone, "verdict": verdict}
        groups.append({**shown, "count": len(lines), "lines": lines[:SHOWN_MAX], "left_off": len(lines[SHOWN_MAX:])})
    return {"groups": groups, "refused": reading.count(REFUSED), "is_foreign_encoding": reading.encoding != "UTF-8"}
