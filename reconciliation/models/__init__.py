"""What reconciliation keeps: reports and their mismatches, repairs and what those replaced, and mails about reports."""

from reconciliation.models.mailing import MailEvery, Mailing, ReportLink
from reconciliation.models.repair import Repair, RepairState, RepairStep, StepState, UndoState
from reconciliation.models.report import (
    CAUSES,
    KINDS,
    Every,
    Mismatch,
    Phase,
    Report,
    ReportState,
    Side,
    Staged,
    Timetable,
)

__all__ = [
    "CAUSES",
    "KINDS",
    "Every",
    "MailEvery",
    "Mailing",
    "Mismatch",
    "Phase",
    "Repair",
    "RepairState",
    "RepairStep",
    "Report",
    "ReportLink",
    "ReportState",
    "Side",
    "Staged",
    "StepState",
    "Timetable",
    "UndoState",
]
