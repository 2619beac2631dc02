"""What reconciliation keeps: reports and their mismatches, repairs and what those replaced."""

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
    "Mismatch",
    "Phase",
    "Repair",
    "RepairState",
    "RepairStep",
    "Report",
    "ReportState",
    "Side",
    "Staged",
    "StepState",
    "Timetable",
    "UndoState",
]
