"""One record tried by a flow's rules, in words."""

from dataclasses import dataclass
from typing import Any

from integrations.admin import rules
from integrations.admin.setup import said
from integrations.admin.words import in_short
from integrations.core.values import Value, in_words
from integrations.messages import message
from integrations.services.trial import FieldTrial, Trial
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


def shown_trial(trial: Trial, words: rules.Words, *, is_masked: bool) -> dict[str, Any]:
    """A trial in words. Values are masked for who may only look."""
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
        "lines": [_trial_line(one, words, is_masked=is_masked) for one in trial.fields],
        "is_masked": is_masked,
    }


def _trial_line(one: FieldTrial, words: rules.Words, *, is_masked: bool) -> TrialLine:
    return TrialLine(
        label=words.target(one.target),
        source=words.source(one.source) if one.source else "",
        before=_spelt(one.before, is_masked=is_masked),
        after=_spelt(one.after, is_masked=is_masked),
        there=_spelt(one.there, is_masked=is_masked),
        sentence=message(one.code).sentence if one.code else "",
        is_problem=one.is_problem,
        writes=one.writes,
    )


def _spelt(value: Value, *, is_masked: bool) -> str:
    text = in_words(value)
    return redact.mask(text) if text and is_masked and not isinstance(value, bool) else text
