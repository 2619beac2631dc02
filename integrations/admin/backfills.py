"""A flow's tab "History": a backfill reckoned with, begun, watched, paused and stopped, and the latest ones."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, QueryDict
from django.utils.formats import date_format

from integrations.admin.flow_page import FlowPage
from integrations.admin.flow_shown import UNDER_WAY, ends_in_trouble
from integrations.admin.setup import clinic_of, may_ask, said
from integrations.core.errors import SyncError
from integrations.messages import Message
from integrations.models import Flow, Mode, Run, RunState
from integrations.services import backfill
from integrations.words import lasted, roughly
from tenants.services import record_audit
from tenants.sites import LiveView
from tenants.walls import app_now, narrow_to

SHOWN = 10
SHORT_S = 60


class HistoryForm(forms.Form):
    """Everything, or what was made since a day."""

    reach = forms.ChoiceField(
        label="What to bring in",
        choices=(("all", "Everything there is"), ("day", "Only what was made since a day")),
        initial="all",
        widget=forms.RadioSelect,
    )
    since = forms.DateField(
        label="Since", required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )

    def __init__(self, given: QueryDict | None, *, today: date) -> None:
        super().__init__(given)
        self.today = today
        self.fields["since"].widget.attrs["max"] = today.isoformat()

    def clean_since(self) -> date | None:
        since: date | None = self.cleaned_data["since"]
        if self.data.get("reach") != "day":
            return None
        if since is None:
            raise forms.ValidationError("Choose the day.")
        if since > self.today:
            raise forms.ValidationError("Choose a day that has been.")
        return since


@dataclass(frozen=True, slots=True)
class Standing:
    """The backfill that is under way, or whose records are still on their way to the target."""

    state: str
    words: str
    since: str
    started_at: datetime
    told: backfill.Progress
    percent: int | None
    left: str
    is_live: bool


def history_tab(page: FlowPage) -> LiveView:
    """POST ``do=estimate`` asks the source how much there is, ``do=begin`` begins; pause, resume and stop."""
    given = page.request.POST if page.request.method == "POST" else QueryDict()
    if given and not page.is_agency:
        raise PermissionDenied
    do = given.get("do", "")
    if do in _VERBS:
        _change(page, do)
        return page.go("backfill")
    zone = ZoneInfo(clinic_of(page.flow).time_zone)
    form = HistoryForm(given if do else None, today=app_now().astimezone(zone).date())
    estimate: dict[str, Any] | None = None
    if do == "begin" and form.is_valid() and _begin(page, form.cleaned_data["since"]):
        return page.go("backfill")
    if do == "estimate" and form.is_valid():
        if may_ask(page.request, page.flow.tenant_id):
            told = yield lambda: _asked(page.flow)
            estimate = _in_words(told, form.cleaned_data["since"])
        else:
            form.add_error(None, "That was often. Wait a minute, then try again.")
    return _shown(page, form, estimate, zone)


def _asked(flow: Flow) -> backfill.Estimate | Message | None:
    """The estimate, or why there is none."""
    try:
        return backfill.estimate(flow.tenant_id, flow.pk)
    except SyncError as error:
        return said(error.code)


def _in_words(told: backfill.Estimate | Message | None, since: date | None) -> dict[str, Any]:
    day = date_format(since, "j F Y") if since else ""
    if not isinstance(told, backfill.Estimate):
        return {"since": day, "why_not": told}
    return {
        "since": day,
        "records": told.records,
        "whole": roughly(told.seconds),
        "is_short": told.seconds <= SHORT_S,
        "reading": roughly(told.read_s),
        "writing": roughly(told.write_s),
    }


# What a person does


def _begin(page: FlowPage, since: date | None) -> bool:
    try:
        with narrow_to(page.flow.tenant_id):
            run = backfill.begin(page.flow.pk, since=since, now=app_now())
            _note(page, "begun", run, since=since.isoformat() if since else "everything")
    except backfill.Refused as refusal:
        messages.error(page.request, str(refusal))
        return False
    messages.success(page.request, "The history comes in now. You may close this page; it goes on by itself.")
    return True


_VERBS = {
    "pause": ("paused", "Nothing more is read until you go on. What was read is still delivered."),
    "resume": ("resumed", "It goes on where it stood."),
    "stop": ("stopped", "Stopped. What was read is still delivered; another one may begin."),
}


def _change(page: FlowPage, do: str) -> None:
    done, sentence = _VERBS[do]
    with narrow_to(page.flow.tenant_id):
        run = backfill.live_of(page.flow.pk)
        is_done = run is not None and _done(run, do)
        if run is not None and is_done:
            _note(page, done, run)
    if is_done:
        messages.success(page.request, sentence)
    else:
        messages.warning(page.request, "Nothing was changed: it had ended, or somebody was faster.")


def _done(run: Run, do: str) -> bool:
    if do == "pause":
        return backfill.pause(run)
    return backfill.resume(run) if do == "resume" else backfill.stop(run, app_now())


def _note(page: FlowPage, done: str, run: Run, **more: str) -> None:
    by = page.admin.by(page.request)
    record_audit(
        f"flow.backfill_{done}",
        target=f"flow {page.flow.pk}",
        diff={"run": run.pk, **more},
        tenant_id=page.flow.tenant_id,
        actor=by.actor,
        actor_role=by.role,
    )


# What is shown


def _shown(page: FlowPage, form: HistoryForm, estimate: dict[str, Any] | None, zone: ZoneInfo) -> HttpResponse:
    latest = list(Run.objects.filter(flow=page.flow, is_backfill=True).order_by("-pk")[:SHOWN])
    under_way = next((run for run in latest if not backfill.is_idle(run)), None)
    standing = _standing(under_way, zone) if under_way else None
    state = standing.state if standing else ""
    answer = page.shown(
        "backfill",
        {
            "form": form,
            "estimate": estimate,
            "standing": standing,
            "may_begin": page.is_agency and page.flow.mode != Mode.OFF and not (standing and standing.is_live),
            "may_act": page.is_agency,
            "latest": [_line(run, zone) for run in latest],
            "ends_in_trouble": ends_in_trouble(page.flow),
            "run_page": f"{page.admin.admin_site.name}:integrations_run_change",
        },
    )
    if page.request.headers.get("HX-Request") and page.request.GET.get("seen", "") != state:
        answer["HX-Refresh"] = "true"  # the buttons beside the numbers are another state's
    return answer


def _standing(run: Run, zone: ZoneInfo) -> Standing:
    told, is_live = backfill.progress(run, app_now()), run.state in backfill.LIVE
    left = told.left_s if run.state != RunState.PAUSED else None
    return Standing(
        state=run.state,
        words=UNDER_WAY.get(run.state, "All is read, the rest is being written"),
        since=_since(run, zone),
        started_at=run.started_at,
        told=told,
        percent=None if told.share is None else int(100 * told.share),
        left=roughly(left) if left is not None else "",
        is_live=is_live,
    )


def _since(run: Run, zone: ZoneInfo) -> str:
    """The day from which on it brings in, or ``""`` for everything."""
    return date_format(run.made_from.astimezone(zone).date(), "j F Y") if run.made_from else ""


def _line(run: Run, zone: ZoneInfo) -> dict[str, Any]:
    told = said(run.code)
    is_stopped = run.state == RunState.STOPPED and not run.code
    return {
        "run": run,
        "since": _since(run, zone),
        "state": "ignored" if is_stopped else run.state,
        "word": "Stopped" if is_stopped else run.get_state_display(),
        "sentence": told.sentence if told else "",
        "took": lasted(run.finished_at - run.started_at) if run.finished_at else "",
    }
