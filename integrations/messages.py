"""Error code -> who acts, what happened, what to do, and the one fix the error desk offers.

Sentences are read by receptionists. They never hold a value. ``docs/runbook.md`` has an entry per code for agency
staff; a test keeps both complete.
"""

from dataclasses import dataclass
from enum import StrEnum


class Owner(StrEnum):
    CLINIC = "clinic"
    AGENCY = "agency"
    VENDOR = "vendor"
    SYSTEM = "system"


class Fix(StrEnum):
    RETRY = "retry"
    CHOOSE = "choose"
    LEAVE_OUT = "leave_out"
    CORRECT = "correct"  # at the source; the next reading tries again by itself
    SETTING = "setting"
    NEW_KEY = "new_key"
    APPROVE = "approve"
    RELINK = "relink"
    WAIT = "wait"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Message:
    code: str
    owner: Owner
    sentence: str
    advice: str
    fix: Fix


_C, _A, _V, _S = Owner.CLINIC, Owner.AGENCY, Owner.VENDOR, Owner.SYSTEM

_TABLE: tuple[tuple[str, Owner, str, str, Fix], ...] = (
    # -- the record itself
    ("record.email_missing", _C, "This person has no e-mail address.", "Add one in the practice system, or let the flow create people without an e-mail (flow settings).", Fix.CORRECT),
    ("record.name_missing", _C, "This person has no name.", "Add a first or last name in the practice system.", Fix.CORRECT),
    ("record.privacy_refused", _C, "This person did not accept the privacy policy, so nothing is sent.", "Nothing to do. If they accept, record it in the practice system.", Fix.NONE),
    ("record.privacy_unknown", _C, "This person has not answered the privacy question, and the flow leaves such people out.", "Record the answer in the practice system, or change the flow's setting.", Fix.SETTING),
    ("record.archived", _C, "The record is archived, and the flow is set to do nothing then.", "Nothing to do.", Fix.NONE),
    ("record.archived_ask", _C, "The record was archived and already has a counterpart.", "Decide what should happen to it in the shop, then ignore this entry with the reason.", Fix.NONE),
    ("record.archived_unlinked", _C, "The record is archived and was never sent.", "Nothing to do.", Fix.NONE),
    ("record.merged", _C, "The record was merged into another one; its link followed.", "Nothing to do.", Fix.NONE),
    ("record.merged_both_linked", _C, "Two merged records each have a counterpart of their own.", "Merge the two in the shop if they are one person, then unlink the one that is gone.", Fix.RELINK),
    ("record.gone", _C, "The record is no longer there.", "Nothing to do.", Fix.NONE),
    # -- rules
    ("rule.phone_unusable", _C, "The phone number cannot be used.", "Correct it in the practice system, with its country code if it is foreign.", Fix.CORRECT),
    ("rule.email_unusable", _C, "The e-mail address is not complete.", "Correct it in the practice system.", Fix.CORRECT),
    ("rule.not_text", _A, "A rule expects text but the field holds something else.", "Change the rule's steps or its source field.", Fix.SETTING),
    ("rule.country_unknown", _C, "The country is not one we know.", "Choose the country from the list in the practice system.", Fix.CORRECT),
    ("rule.source_unknown", _A, "A rule names a source field that does not exist.", "Choose another source field.", Fix.SETTING),
    ("rule.source_clinical", _A, "A rule names a clinical field. Clinical fields never leave the practice system.", "Choose another source field.", Fix.SETTING),
    ("rule.source_not_released", _A, "A rule names a custom field that is not released for this clinic.", "The agency owner can release it on the connection's page.", Fix.SETTING),
    ("rule.target_unknown", _A, "A rule names a target field that cannot be written.", "Choose another target field.", Fix.SETTING),
    ("rule.transform_unknown", _A, "A rule names a step that does not exist.", "Choose a step from the list.", Fix.SETTING),
    ("rule.target_owned", _A, "Another flow already writes this field.", "Let one flow own the field: remove the rule from one of them.", Fix.SETTING),
    ("unmapped_value", _C, "The record holds a value nobody has mapped yet.", "Add the value to the flow's value map; the record is then tried again.", Fix.SETTING),
    # -- matching
    ("match.shared_email", _C, "Another customer already uses this e-mail address.", "If it is the same person, choose the customer. If a family shares the address, create this one without it.", Fix.CHOOSE),
    ("match.shared_phone", _C, "Another customer already uses this phone number.", "If it is the same person, choose the customer; else leave the phone out.", Fix.CHOOSE),
    ("match.several", _C, "Several customers could be this person.", "Choose the right one, or merge them in the shop first.", Fix.CHOOSE),
    ("match.marker_twice", _A, "Two customers carry this person's reference.", "Merge them in the shop, or remove the reference from the wrong one, then retry.", Fix.RETRY),
    ("match.target_linked", _C, "The customer that was found belongs to another record.", "Look at both records; if they are one person, merge them in the practice system.", Fix.CHOOSE),
    ("link.target_gone", _C, "The linked customer no longer exists in the shop.", "Unlink it to have a new one created, or link the right customer.", Fix.RELINK),
    # -- fields
    ("field.target_kept", _C, "A value changed in the shop was kept.", "Nothing to do: the flow lets the shop decide on this field.", Fix.NONE),
    ("field.conflict", _C, "Both sides changed the same field, and the flow is set to ask.", "Make both sides equal, or change who wins in the flow's rule, then retry.", Fix.RETRY),
    # -- modes, guards, flows
    ("mode.preview", _C, "Shown only: the flow is in preview.", "Set the flow live when the preview looks right.", Fix.SETTING),
    ("mode.pilot", _C, "Left out: not on the pilot list.", "Add the record to the pilot list, or set the flow live.", Fix.SETTING),
    ("mode.off", _C, "The flow is off.", "Set the flow live to send what is waiting.", Fix.SETTING),
    ("mode.before_start", _C, "Left out: older than the flow's start.", "Change the start of the flow to include it.", Fix.SETTING),
    ("guard.mass_change", _A, "Unusually many records were archived at once, so nothing was sent.", "Check the practice system. If it is right, approve them all; else ignore them.", Fix.APPROVE),
    ("guard.flapping", _A, "The record keeps changing to and fro.", "Find the other system that writes it, then retry.", Fix.RETRY),
    ("flow.source_unreadable", _S, "This kind of record cannot be read from there.", "Report it to the agency's engineers.", Fix.NONE),
    ("flow.target_unwritable", _S, "This kind of record cannot be written there.", "Report it to the agency's engineers.", Fix.NONE),
    # -- delivery
    ("delivery.uncertain", _S, "The answer was lost; we are checking whether it was written.", "Nothing to do: it settles by itself within minutes.", Fix.WAIT),
    ("delivery.unproven", _A, "The answer was lost twice and the record cannot be found.", "Search the shop for the person. If they are there, choose them; else retry.", Fix.RETRY),
    ("delivery.no_outcome", _S, "The answer said nothing about this record; we are checking.", "Nothing to do: it settles by itself.", Fix.WAIT),
    ("delivery.no_record", _S, "The answer did not hold the record; we are checking.", "Nothing to do: it settles by itself.", Fix.WAIT),
    ("internal.poison", _S, "This record stopped the worker several times and was set aside.", "Report it to the agency's engineers with its key; the rest goes on.", Fix.RETRY),
    ("internal.run_crashes", _S, "A run stopped unexpectedly several times.", "Report it to the agency's engineers; the next run starts anew.", Fix.RETRY),
    # -- connections
    ("connection.other_account", _A, "The key belongs to another account than this connection was made for.", "Enter a key of the same account, or add a new connection.", Fix.NEW_KEY),
    ("connection.probe_failed", _A, "The connection was tested and something is missing.", "Open the connection and follow what the test found.", Fix.NEW_KEY),
    ("quota.wait", _S, "Waiting for the vendor's request allowance.", "Nothing to do.", Fix.WAIT),
)

MESSAGES: dict[str, Message] = {row[0]: Message(*row) for row in _TABLE}


def message(code: str) -> Message:
    """The message of a code; a code we do not know reads as an internal one rather than failing a page."""
    return MESSAGES.get(code) or Message(
        code, Owner.SYSTEM, "Something unexpected happened.", "Report it to the agency's engineers with the code.", Fix.RETRY
    )


def codes_of(owner: Owner) -> list[str]:
    return [code for code, told in MESSAGES.items() if told.owner is owner]
