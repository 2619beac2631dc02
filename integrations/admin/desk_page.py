"""What the page of one held record offers: its fix right there, the pages where else it is put right, and its history."""

from dataclasses import dataclass
from typing import Any

from integrations.admin.records import RecordAdmin, badge
from integrations.messages import Fix, Message, message
from integrations.models import Comment, Delivery, Link, SyncLogEntry
from integrations.services import desk, handling
from integrations.services.handling import Gap, Lack
from integrations.words import action_words
from tenants.models import AuditEntry

LOG_LINES = 8
OF_RECORDS = "delivery."
"""How the audit's entries about records of the desk begin."""


@dataclass(frozen=True, slots=True)
class Way:
    """A page on which the advice is followed. ``is_only``: nothing on the record's own page helps."""

    url: str
    words: str
    is_only: bool = False


def way_of(admin: RecordAdmin, row: Delivery, told: Message) -> Way | None:
    """Where else the trouble is put right, None where the record's own page is the place."""
    if row.code == handling.UNMAPPED:
        return Way(admin.url_of("flow", "values", row.flow_id), "Open the value map", is_only=True)
    if "flow settings" in told.advice or "flow's setting" in told.advice:
        settings = admin.url_of("flow", "settings", row.flow_id)
        return Way(settings, "Open the flow's settings", is_only=told.fix is Fix.SETTING)
    match told.fix:
        case Fix.SETTING:
            return Way(admin.url_of("flow", "fields", row.flow_id), "Open the flow's fields", is_only=True)
        case Fix.NEW_KEY:
            is_source = row.code.startswith(f"{row.flow.source.vendor}.")
            connection_id = row.flow.source_id if is_source else row.flow.target_id
            return Way(admin.url_of("connection", "change", connection_id), "Open the connection", is_only=True)
        case Fix.RELINK:
            return _link_way(admin, row)
        case _:
            return None


def _link_way(admin: RecordAdmin, row: Delivery) -> Way | None:
    kind = desk.kind_of(row)
    link = Link.objects.filter(
        source_id=row.flow.source_id,
        target_id=row.flow.target_id,
        source_stream=kind.source.name,
        target_stream=kind.target.name,
        source_key=row.source_key,
    ).first()
    return Way(admin.url_of("link", "change", link.pk), "Open its link", is_only=True) if link else None


@dataclass(frozen=True, slots=True)
class Help:
    """What can be done on the page itself. ``main`` names the one thing to do, ``""`` where a page elsewhere is it."""

    gap: Gap | None
    lack: Lack | None
    way: Way | None
    main: str

    @property
    def input_type(self) -> str:
        """Of the box in which the missing value is typed."""
        kinds = {"e-mail": "email", "phone number": "tel"}
        return kinds.get(self.lack.kind.name, "text") if self.lack else ""


def help_for(admin: RecordAdmin, row: Delivery, told: Message, *, without: bool, has_candidates: bool) -> Help:
    gap, lack, way = handling.gap_of(row), handling.lack_of(row), way_of(admin, row, told)
    if gap is not None:
        main = "map"
    elif lack is not None:
        main = "fill"
    elif told.fix is Fix.APPROVE:
        main = "approve"
    elif told.fix is Fix.CHOOSE and has_candidates:
        main = "choose"
    elif without:
        main = "without"
    elif way is not None and way.is_only:
        main = ""
    else:
        main = "ignore" if told.fix is Fix.NONE else "retry"
    return Help(gap, lack, way, main)


# What happened to it


def story_of(row: Delivery, *, may_see_deeds: bool) -> list[dict[str, Any]]:
    """The newest of what happened to the record: lines of the log, comments, and what people decided."""
    zone = row.tenant.time_zone
    log = SyncLogEntry.objects.filter(tenant_id=row.tenant_id, source_key=row.source_key).order_by("-at")
    told = [log_line(entry, zone) for entry in log[:LOG_LINES]]
    told += [_comment_line(one, zone) for one in handling.comments_of(row)]
    if may_see_deeds:
        deeds = AuditEntry.objects.filter(
            tenant_id=row.tenant_id, target=f"delivery {row.pk}", action__startswith=OF_RECORDS
        ).order_by("-at")
        told += [_deed_line(entry, zone) for entry in deeds[:LOG_LINES]]
    return sorted(told, key=lambda line: line["at"], reverse=True)


def log_line(entry: SyncLogEntry, zone: str) -> dict[str, Any]:
    """A log entry for the short history on a record's page."""
    return {
        "at": entry.at,
        "zone": zone,
        "action": action_words(entry.action),
        "outcome": badge(entry.outcome, entry.get_outcome_display()),
        "sentence": message(entry.code).sentence if entry.code else "",
        "fields": entry.fields,
        "actor": entry.actor,
    }


def _comment_line(one: Comment, zone: str) -> dict[str, Any]:
    return {"at": one.at, "zone": zone, "action": "Comment", "sentence": one.text, "actor": one.author}


def _deed_line(entry: AuditEntry, zone: str) -> dict[str, Any]:
    action = entry.action.removeprefix(OF_RECORDS).replace("_", " ").capitalize()
    more = entry.reason if "until" in entry.diff else str(entry.diff.get("to") or "")
    return {"at": entry.at, "zone": zone, "action": action, "sentence": more, "actor": entry.actor}
