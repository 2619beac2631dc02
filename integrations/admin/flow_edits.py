"""The tabs on which a flow's rules and settings are edited, tried and published."""

from dataclasses import replace
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, QueryDict

from integrations.admin import rules
from integrations.admin.flow_blueprint import origin_words
from integrations.admin.flow_forms import SettingsForm, add_faults, mark_origins
from integrations.admin.flow_page import Faults, FlowPage
from integrations.admin.flow_shown import has_row
from integrations.admin.proposals import proposed
from integrations.flows.kind import Config
from integrations.services.configured import config_of
from tenants.sites import LiveView


def fields_tab(page: FlowPage) -> LiveView:
    """The rules. POST ``do=try`` tries the form's rules on one record, ``do=rehearse`` on many, ``do=publish`` keeps
    them."""
    config, added = config_of(page.flow), rules.Added()
    given = page.request.POST if page.request.method == "POST" else QueryDict()
    if given and page.is_agency and "rule-0-target" in given:
        config, added = rules.read_form(page.kind, config, given)
    asked = given.get("asked", "").strip()
    trial: dict[str, Any] | None = None
    faults: Faults = {}
    if given.get("do") == "publish":
        refused = _publish_rules(page, config, added)
        if refused is None:
            return page.go("fields")
        faults = refused
    elif given.get("do") == "rehearse":
        answer = _rehearse_rules(page, config, added)
        if isinstance(answer, HttpResponse):
            return answer
        faults = answer
    elif given.get("do", "try") == "try" and asked:
        trial, faults = yield from page.tried(asked, config)
    context = {
        "asked": asked,
        "trial": trial,
        "note": given.get("note", ""),
        "may_edit": page.is_agency,
        "editor": rules.editor(
            page.kind, page.flow.source.released_fields, config, faults, added, origins=origin_words(page)
        ),
        "faults": [sentence for where, said_of in faults.items() if not has_row(where) for sentence in said_of],
        "is_edited": config != config_of(page.flow),
        "config": config,
        "sheet": page.sheet("fields", may_import=page.is_agency),
    }
    return page.shown("fields", context)


def _publish_rules(page: FlowPage, config: Config, added: rules.Added) -> Faults | None:
    """None when it is published. Raises PermissionDenied for all but the agency."""
    if not page.is_agency:
        raise PermissionDenied
    return {"": list(added.faults)} if added.faults else page.published(config)


def _rehearse_rules(page: FlowPage, config: Config, added: rules.Added) -> HttpResponse | Faults:
    """Raises PermissionDenied for all but the agency."""
    if not page.is_agency:
        raise PermissionDenied
    return {"": list(added.faults)} if added.faults else proposed(page, config)


def settings_tab(page: FlowPage) -> LiveView:
    """The settings. POST ``do=try`` tries the form's settings on one record, ``do=rehearse`` rehearses them on many,
    anything else publishes them."""
    config = config_of(page.flow)
    given = page.request.POST if page.request.method == "POST" else QueryDict()
    is_trial = given.get("do") == "try"
    if given and not is_trial:
        page.admin.may(page.request)
    form = SettingsForm(page.kind, config, given if given and page.may_edit else None)
    is_right = form.is_valid() or not form.is_bound
    wanted = replace(config, settings=form.settings()) if form.is_valid() else config
    asked = given.get("asked", "").strip()
    trial: dict[str, Any] | None = None
    faults: Faults = {}
    if is_trial and is_right and asked:
        trial, faults = yield from page.tried(asked, wanted)
    elif given.get("do") == "rehearse" and is_right:
        answer = proposed(page, wanted)
        if isinstance(answer, HttpResponse):
            return answer
        faults = answer
    elif given and not is_trial and is_right:
        refused = page.published(wanted)
        if refused is None:
            return page.go("settings")
        faults = refused
    add_faults(form, faults)
    mark_origins(form, origin_words(page))
    context = {"form": form, "asked": asked, "trial": trial, "is_edited": wanted != config}
    return page.shown("settings", context)
