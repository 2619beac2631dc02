"""A mismatch in words, as a receptionist or a bookkeeper reads it."""

import json
from dataclasses import dataclass

from integrations.connectors import CONNECTORS
from integrations.flows import FLOW_KINDS
from integrations.flows.kind import FlowKind
from integrations.messages import message
from integrations.models import Flow
from integrations.services.candidates import label_of, shown
from integrations.vault import Unsealable, Vault
from reconciliation.compare import Cause
from reconciliation.compare import Mismatch as Kind
from reconciliation.judging import bound_to
from reconciliation.models import Mismatch


@dataclass(frozen=True, slots=True)
class Words:
    """What the two sides of a flow are called."""

    kind: FlowKind
    source: str
    target: str

    @classmethod
    def of(cls, flow: Flow) -> "Words":
        kind = FLOW_KINDS[flow.kind]
        return cls(kind, CONNECTORS[kind.source_vendor].label, CONNECTORS[kind.target_vendor].label)

    def kind_of(self, kind: str) -> str:
        """In a word or two, for filters and counts."""
        return {
            Kind.MISSING_RIGHT: f"Missing in {self.target}",
            Kind.MISSING_LEFT: f"Missing in {self.source}",
            Kind.DIFFERENT: "Different",
            Kind.DUPLICATE: f"Twice in {self.target}",
            Kind.LINKED_TWICE: "Linked twice",
            Kind.LINKED_TO_NOTHING: "Linked to nothing",
        }[Kind(kind)]

    def sentence(self, row: Mismatch) -> str:
        if row.kind == Kind.DIFFERENT:
            return f"{self.field(row.field)} differs." if row.field else "The two cannot be compared."
        return {
            Kind.MISSING_RIGHT: f"It is in {self.source}, but not in {self.target}.",
            Kind.MISSING_LEFT: f"It is in {self.target}, but no longer in {self.source}.",
            Kind.DUPLICATE: f"{self.target} has one record more of it than it should.",
            Kind.LINKED_TWICE: f"One record in {self.target} belongs to two in {self.source}.",
            Kind.LINKED_TO_NOTHING: "They were linked, and both are gone.",
        }[Kind(row.kind)]

    def cause(self, cause: str) -> str:
        return {
            Cause.HAND: f"Edited by hand in {self.target}",
            Cause.NOT_DELIVERED: f"On its way to {self.target}",
            Cause.HELD: "Waits for a person on the error desk",
            Cause.MAP_GAP: "A rule or value map has no answer for it",
            Cause.ARCHIVED: f"Archived or merged in {self.source}",
            Cause.DELETED: "Deleted on one side",
            Cause.MISSED: f"Changed in {self.source}, and not read since",
            Cause.UNKNOWN: "Not known",
        }[Cause(cause)]

    def field(self, name: str) -> str:
        return field_words(self.kind, name) if name else ""

    def why(self, row: Mismatch) -> str:
        """What the error desk says of it, where it does."""
        return message(row.code).sentence if row.code else ""


def as_percent(share: float) -> str:
    """Rounded down, so that only what agrees in full is called 100 %."""
    return f"{int(share * 10) / 10:.1f} %"


def field_words(kind: FlowKind, name: str) -> str:
    return "Reference to its source record" if name == kind.marker else label_of(kind.target, name)


def values_of(row: Mismatch, words: Words, vault: Vault, *, masked: bool) -> tuple[str, str]:
    """Both sides' values as this person may see them, ``""`` where none are kept."""
    if row.sealed_values is None:
        return "", ""
    place = bound_to(row.flow_id, row.kind, row.source_key, row.target_key, row.field)
    try:
        told = json.loads(vault.unseal(row.sealed_values, bound_to=place))
    except Unsealable:
        return "", ""
    is_masked = masked and row.field != words.kind.marker
    source, target = (shown(words.kind.target, row.field, text, masked=is_masked) for text in told)
    return source, target
