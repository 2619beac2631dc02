"""What a flow's pages show: steps to live, previews, revisions, value maps, and changes in words."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages
from django.db.models import Count, F, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.timesince import timesince

from integrations.admin import rules
from integrations.admin.setup import humble
from integrations.admin.trials import ACTION_STATES, ACTIONS
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import Config
from integrations.messages import message
from integrations.models import ConnectionState, Delivery, DeliveryState, Flow, FlowRevision, Mode, Run, RunState
from integrations.services import backfill, configured
from integrations.services.configuration import WRITING
from integrations.services.freshness import MEASURED, Freshness
from integrations.services.wording import in_short
from integrations.words import lasted
from tenants.walls import app_now

ENOUGH = 20
UNDER_WAY: dict[str, str] = {RunState.RUNNING: "Bringing in history", RunState.PAUSED: "History is paused"}
"""How a backfill is spoken of, by its run's state."""


def counted(state: str) -> Coalesce:
    rows = Delivery.objects.filter(
        tenant_id=OuterRef("tenant_id"), target_id=OuterRef("target_id"), flow_id=OuterRef("pk"), state=state
    )
    counted = rows.order_by().values("flow_id").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)


def state_of_backfill() -> Subquery:
    """For the list of flows: the state of the backfill that is under way, or None."""
    live = Run.objects.filter(
        tenant_id=OuterRef("tenant_id"), flow_id=OuterRef("pk"), is_backfill=True, state__in=backfill.LIVE
    )
    return Subquery(live.values("state")[:1])


def app_now_once(flow: Any) -> datetime:
    """The list's one clock reading."""
    return getattr(flow, "now", None) or app_now()


def behind(flow: Flow, now: datetime) -> str:
    """How old the newest finished pass is, in words; "–" while the flow is off or has none."""
    if flow.mode == Mode.OFF or flow.last_success_at is None:
        return "–"
    is_new = now - flow.last_success_at < timedelta(minutes=1)
    return "less than a minute" if is_new else timesince(flow.last_success_at, now, depth=1)


def arrivals(told: Freshness | None) -> str:
    """How soon the changes of a day arrived, in a sentence; of fewer than twenty the slowest is told, not a share."""
    if told is None:
        return "No change was delivered in the last 24 hours, so there is nothing to measure yet."
    p50, p95 = (lasted(timedelta(seconds=max(1, math.ceil(seconds)))) for seconds in (told.p50, told.p95))
    if told.changes == 1:
        return f"The one change of the last 24 hours arrived within {p95}."
    how_many = f"{told.changes} changes"
    if told.changes < ENOUGH:
        return f"All {how_many} of the last 24 hours arrived within {p95}, half within {p50}."
    latest = f"the latest {how_many}" if told.changes == MEASURED else f"{how_many} in the last 24 hours"
    return f"19 of 20 changes arrive within {p95}, half within {p50}; {latest}."


@dataclass(frozen=True, slots=True)
class Step:
    """One thing on the way to live."""

    words: str
    is_done: bool
    url: str = ""


def steps_to_live(flow: Flow, runs: Sequence[Run]) -> list[Step]:
    ends = (flow.source, flow.target)
    previewed = (flow.mode != Mode.OFF and bool(runs)) or flow.mode in WRITING
    return [Step(f"Test {end}", end.state == ConnectionState.OK) for end in ends] + [
        Step("Look at the fields and settings", flow.revision_number > 1 or flow.mode in WRITING),
        Step("Run a preview and look at what it would do", previewed),
        Step("Go live, or start with a pilot", flow.mode in WRITING),
    ]


def ends_in_trouble(flow: Flow) -> list[tuple[str, str]]:
    """Sentences about connections through which nothing passes at present."""
    return [
        (f"{end}: {end.get_state_display().lower()}.", message(end.state_code).advice if end.state_code else "")
        for end in (flow.source, flow.target)
        if end.state in {ConnectionState.NEEDS_REAUTH, ConnectionState.FAILING, ConnectionState.PAUSED}
    ]


def previewed(flow: Flow) -> QuerySet[Any]:
    """The newest preview's deliveries: those of the last run that made any."""
    done = Delivery.objects.filter(flow=flow, state=DeliveryState.DONE, code="mode.preview")
    newest = done.order_by("-run_id").values_list("run_id", flat=True).first()
    return done.filter(run_id=newest) if newest is not None else done.none()


def plan_counts(flow: Flow) -> dict[str, int]:
    rows = previewed(flow).order_by().values_list("plan__action").annotate(n=Count("pk"))
    return {action or "create": count for action, count in rows}


def preview_line(flow: Flow, row: Delivery) -> dict[str, Any]:
    words = rules.Words.of(flow)
    order = {name: place for place, name in enumerate(_order(flow))}
    names = sorted(row.plan.get("fields", ()), key=lambda name: (order.get(name, len(order)), name))
    action = row.plan.get("action", "create")
    return {
        "key": row.source_key,
        "url": _admin_url(flow, row.source_key),
        "action": ACTIONS.get(action, action),
        "state": ACTION_STATES.get(action, "created"),
        "fields": in_short(words.target(name) for name in names if name != words.kind.marker),
        "notes": [message(note["code"]).sentence for note in row.notes],
        "at": row.done_at,
    }


def _order(flow: Flow) -> list[str]:
    return [rule.target for rule in FLOW_KINDS[flow.kind].rules]


def besides(flow: Flow, desk_url: str) -> list[tuple[str, int, str, str]]:
    """What became of the other records of the newest preview."""
    newest = previewed(flow).values_list("run_id", flat=True).first()
    run = Run.objects.filter(pk=newest).first()
    if run is None:
        return []
    return [
        ("Ask a person", run.held, "wait on the error desk", desk_url),
        ("Nothing to do", run.unchanged, "already agree", ""),
    ]


def _admin_url(flow: Flow, key: str) -> str:
    made = FLOW_KINDS[flow.kind].source.admin_url
    return made(flow.source.facts, key) if made else ""


@dataclass(frozen=True, slots=True)
class Revision:
    number: int
    at: datetime
    author: str
    note: str
    changed: tuple[str, ...]
    is_current: bool


def revisions_of(flow: Flow) -> list[Revision]:
    """Newest first, each with the names of what it changed."""
    kind, words = FLOW_KINDS[flow.kind], rules.Words.of(flow)
    stored = list(FlowRevision.objects.filter(flow=flow).annotate(wrote=F("author__email")).order_by("number"))
    before, made = Config(), []
    for row in stored:
        config = Config.from_json(row.config)
        names = configured.config_changes(kind, before, config)
        made.append(
            Revision(
                row.number,
                row.created_at,
                author_of(row),
                row.note,
                tuple(in_words(name, words) for name in names),
                row.number == flow.revision_number,
            )
        )
        before = config
    return made[::-1]


def author_of(row: Any) -> str:
    """Who wrote a revision or proposal, which ``wrote`` names as far as this person may know."""
    return row.wrote or ("The agency" if row.author_id else "Provisioning")


def in_words(name: str, words: rules.Words) -> str:
    part, _, rest = name.partition(".")
    if part == "rules":
        return words.target(rest)
    if part == "settings":
        return humble([(setting.name, setting.label) for setting in words.kind.settings], rest)
    return humble([(spec.name, spec.label) for spec in words.kind.value_maps], rest)


def say_changed(request: HttpRequest, flow: Flow, changed: Iterable[str]) -> None:
    words = rules.Words.of(flow)
    names = [in_words(name, words) if "." in name else name.replace("_", " ") for name in changed]
    if not names:
        messages.info(request, "Nothing was changed.")
    elif any("." in name for name in changed):
        messages.success(
            request,
            f"Published as revision {flow.revision_number}: {', '.join(names)}. The next run looks at every record once.",
        )
    else:
        messages.success(request, f"Kept: {', '.join(names)}.")


def has_row(where: str) -> bool:
    return where.startswith("rules.")
