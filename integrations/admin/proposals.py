"""A proposal's page: what it would change, its rehearsal as it goes on and as it ended, and publishing."""

from typing import Any

from django.contrib import messages
from django.db.models import F
from django.http import HttpResponse
from django.shortcuts import redirect

from integrations.admin.flow_page import Faults, FlowPage
from integrations.admin.flow_shown import author_of, ends_in_trouble, in_words, say_changed
from integrations.admin.rehearsed import LINES, result
from integrations.admin.said import differences
from integrations.admin.setup import faults_by_place
from integrations.flows.kind import Config
from integrations.models import Flow, FlowRevision, Proposal, ProposalState, RehearsalState
from integrations.services import configured, proposals, rehearsal
from integrations.services.changes import Refused
from integrations.services.configured import config_of
from tenants.walls import app_now, narrow_to


def proposed(page: FlowPage, config: Config) -> HttpResponse | Faults:
    """Keeps a form's configuration as a proposal and begins to rehearse it: its page, or the faults."""
    note = page.request.POST.get("note", "")
    try:
        with narrow_to(page.flow.tenant_id):
            proposal = proposals.propose(page.flow, config, by=page.admin.by(page.request), note=note)
    except Refused as refusal:
        return faults_by_place(refusal.faults)
    return _act(page, proposal, "rehearse")


def proposed_again(page: FlowPage, number: int) -> HttpResponse:
    """The same for an older revision."""
    try:
        with narrow_to(page.flow.tenant_id):
            proposal = proposals.propose_revision(page.flow, number, by=page.admin.by(page.request))
    except (Refused, FlowRevision.DoesNotExist) as refusal:
        messages.error(page.request, str(refusal))
        return page.go("revisions")
    return _act(page, proposal, "rehearse")


def address(page: FlowPage, proposal: Proposal) -> str:
    return f"{page.url('proposal')}?id={proposal.pk}"


def proposals_of(page: FlowPage) -> list[dict[str, Any]]:
    """Those that are not published yet, newest first, for the tab "Revisions"."""
    rows = Proposal.objects.filter(flow=page.flow, state=ProposalState.OPEN).annotate(wrote=F("author__email"))
    now = config_of(page.flow)
    return [
        {
            "proposal": row,
            "author": author_of(row),
            "changed": _names(page, now, Config.from_json(row.config)),
            "url": address(page, row),
        }
        for row in rows[:LINES]
    ]


def _names(page: FlowPage, now: Config, wanted: Config) -> list[str]:
    return [in_words(name, page.words) for name in configured.config_changes(page.kind, now, wanted)]


# -- one proposal


def proposal_page(page: FlowPage) -> HttpResponse | None:
    """The page of the proposal that is asked for, None where this flow has none of that number. POST acts on it."""
    asked = page.request.GET.get("id", "")
    rows = Proposal.objects.filter(flow=page.flow).select_related("flow").annotate(wrote=F("author__email"))
    proposal = rows.filter(pk=int(asked)).first() if asked.isdigit() and len(asked) < 19 else None
    if proposal is None:
        return None
    if page.request.method == "POST":
        page.admin.may(page.request)
        return _act(page, proposal, page.request.POST.get("do", ""))
    return _drawn(page, proposal)


def _act(page: FlowPage, proposal: Proposal, do: str) -> HttpResponse:
    verbs = {"rehearse": _rehearse, "stop": _stop, "rebase": _rebase, "publish": _publish, "withdraw": _withdraw}
    if do in verbs:
        try:
            with narrow_to(page.flow.tenant_id):
                verbs[do](page, proposal)
        except Refused as refusal:
            messages.error(page.request, str(refusal))
    return (
        page.go("revisions")
        if do in {"publish", "withdraw"} and proposal.closed_at
        else redirect(address(page, proposal))
    )


def _rehearse(page: FlowPage, proposal: Proposal) -> None:
    rehearsal.begin(proposal, now=app_now())
    messages.success(page.request, "The rehearsal begins. You may close this page; it goes on by itself.")


def _stop(page: FlowPage, proposal: Proposal) -> None:
    newest = rehearsal.newest_of(proposal)
    if newest is not None and rehearsal.stop(newest.pk, app_now()):
        messages.success(page.request, "Stopped. What it found until now stays below.")


def _rebase(page: FlowPage, proposal: Proposal) -> None:
    told = proposals.rebase(proposal, by=page.admin.by(page.request))
    if told.is_empty:
        messages.info(page.request, "Somebody published the same meanwhile: nothing is left to change.")
    elif told.overlap:
        names = ", ".join(in_words(name, page.words) for name in told.overlap)
        messages.warning(
            page.request, f"Both had changed {names}; what this proposal says stands. Look at it once more."
        )
    else:
        messages.success(
            page.request, "It departs from the published revision now. Rehearse it again before you publish."
        )


def _publish(page: FlowPage, proposal: Proposal) -> None:
    changed = proposals.publish(proposal, by=page.admin.by(page.request))
    page.flow.refresh_from_db(fields=["revision_number"])
    say_changed(page.request, page.flow, changed)


def _withdraw(page: FlowPage, proposal: Proposal) -> None:
    proposals.withdraw(proposal, by=page.admin.by(page.request))
    newest = rehearsal.newest_of(proposal)
    if newest is not None:
        rehearsal.stop(newest.pk, app_now())
    messages.success(page.request, "Taken back. The flow runs as it did.")


# -- what is drawn


def _drawn(page: FlowPage, proposal: Proposal) -> HttpResponse:
    newest = rehearsal.newest_of(proposal)
    is_open, by = proposal.state == ProposalState.OPEN, page.admin.by(page.request)
    changes = list(differences(page.words, _before(page.flow, proposal), Config.from_json(proposal.config)))
    answer = page.shown(
        "proposal",
        {
            "tab": "revisions",
            "here": address(page, proposal),
            "proposal": proposal,
            "author": author_of(proposal),
            "is_open": is_open,
            "is_behind": is_open and proposals.is_behind(proposal),
            "changes": changes,
            "may_publish": page.may_edit and proposals.may_publish(proposal, by),
            "ends_in_trouble": ends_in_trouble(page.flow),
            "standing": newest,
            "is_running": newest is not None and newest.state == RehearsalState.RUNNING,
            "is_of_today": newest is not None and rehearsal.is_of_today(newest, proposal),
            **(result(page, newest, address(page, proposal)) if newest is not None else {}),
        },
    )
    state = newest.state if newest is not None else ""
    if page.request.headers.get("HX-Request") and page.request.GET.get("seen", "") != state:
        answer["HX-Refresh"] = "true"  # what is below the numbers is another state's
    return answer


def _before(flow: Flow, proposal: Proposal) -> Config:
    """What it is told apart from: the flow as it runs, or, once published, as it ran before."""
    if proposal.state != ProposalState.PUBLISHED:
        return config_of(flow)
    base = flow.revisions.filter(number=proposal.based_on).values_list("config", flat=True).first()
    return Config.from_json(base or {})
