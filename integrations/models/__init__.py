"""Tables of connections, flows and the sync itself."""

from integrations.models.alert import UNTOLD, Alert, Call, Telling
from integrations.models.blueprint import (
    ROLLOUT_OPEN,
    Blueprint,
    BlueprintVersion,
    Following,
    Rollout,
    RolloutState,
    RolloutStep,
    StepState,
)
from integrations.models.bulk import BULK_LIVE, BulkRun, BulkRunState
from integrations.models.connection import Connection, ConnectionState
from integrations.models.delivery import IN_FLIGHT, OPEN, Delivery, DeliveryState
from integrations.models.flow import Flow, FlowRevision, MappingRule, Mode, SeenValue, ValueMap
from integrations.models.incident import AlertHook, HookPost, Incident, PostState
from integrations.models.link import Link, LinkState
from integrations.models.log import Action, Outcome, SyncLogEntry
from integrations.models.proposal import Prediction, Proposal, ProposalState, Rehearsal, RehearsalState
from integrations.models.quota import QuotaBudget
from integrations.models.run import BUCKETS, Run, RunState

__all__ = [
    "BUCKETS",
    "BULK_LIVE",
    "IN_FLIGHT",
    "OPEN",
    "ROLLOUT_OPEN",
    "UNTOLD",
    "Action",
    "Alert",
    "AlertHook",
    "Blueprint",
    "BlueprintVersion",
    "BulkRun",
    "BulkRunState",
    "Call",
    "Connection",
    "ConnectionState",
    "Delivery",
    "DeliveryState",
    "Flow",
    "FlowRevision",
    "Following",
    "HookPost",
    "Incident",
    "Link",
    "LinkState",
    "MappingRule",
    "Mode",
    "Outcome",
    "PostState",
    "Prediction",
    "Proposal",
    "ProposalState",
    "QuotaBudget",
    "Rehearsal",
    "RehearsalState",
    "Rollout",
    "RolloutState",
    "RolloutStep",
    "Run",
    "RunState",
    "SeenValue",
    "StepState",
    "SyncLogEntry",
    "Telling",
    "ValueMap",
]
