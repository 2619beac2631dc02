"""One record tried by a flow's rules, in words."""

from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from integrations.admin import rules
from integrations.admin.setup import said
from integrations.core.values import Value
from integrations.messages import message
from integrations.services.trial import FieldTrial, Trial
from integrations.services.wording import in_short, spelt
from integrations.toolkit import redact

ACTIONS = {
    "create": "Create",
    "update": "Update",
    "archive": "Mark as archived",
    "nothing": "Nothing to do",
    "hold": "Ask a person",
    "skip": "Leave out",
}
ACTION_STATES = {
    "create": "created",
    "update": "updated",
    "archive": "archived",
    "nothing": "unchanged",
    "hold": "held",
    "skip": "skipped",
}
"""The states under which the badges know these actions."""


@dataclass(frozen=True, slots=True)
class TrialLine:
    label: str
    source: str
    before: str
    after: str
    there: str
    sentence: str
    is_problem: bool
    writes: bool


def shown_trial(trial: Trial, words: rules.Words, *, is_masked: bool, zone: ZoneInfo) -> dict[str, Any]:
    """A trial in words, instants in ``zone``. Values are masked for who may only look."""
    told = said(trial.code)
    names = [words.target(one.target) for one in trial.fields if one.writes]
    return {
        "key": trial.key,
        "target_key": trial.target_key,
        "action": trial.action,
        "action_words": ACTIONS.get(trial.action, ""),
        "state": ACTION_STATES.get(trial.action, "attention"),
        "sentence": told.sentence if told else "",
        "advice": told.advice if told else "",
        "candidates": len(trial.candidates),
        "choices": trial.choices,
        "writes": in_short(names),
        "write_count": len(names),
        "lines": [_trial_line(one, words, _Spelling(zone, is_masked)) for one in trial.fields],
        "is_masked": is_masked,
    }


@dataclass(frozen=True, slots=True)
class _Spelling:
    """How values are written for the person who asked."""

    zone: ZoneInfo
    is_masked: bool

    def __call__(self, value: Value) -> str:
        text = spelt(value, self.zone)
        return redact.mask(text) if text and self.is_masked and not isinstance(value, bool) else text


def _trial_line(one: FieldTrial, words: rules.Words, spell: _Spelling) -> TrialLine:
    return TrialLine(
        label=words.target(one.target),
        source=words.source(one.source) if one.source else "",
        before=spell(one.before),
        after=spell(one.after),
        there=spell(one.there),
        sentence=message(one.code).sentence if one.code else "",
        is_problem=one.is_problem,
        writes=one.writes,
    )
