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
from integrations.models.desk import RERUN_LIVE, Assignment, Comment, Override, Rerun, RerunState
from integrations.models.flow import Flow, FlowRevision, MappingRule, Mode, SeenValue, ValueMap
from integrations.models.incident import AlertHook, HookPost, Incident, PostState
from integrations.models.link import Link, LinkState
from integrations.models.log import Action, Outcome, SyncLogEntry
from integrations.models.meter import ConnectionDay, FlowDay, HandTime
from integrations.models.proposal import Prediction, Proposal, ProposalState, Rehearsal, RehearsalState
from integrations.models.quota import QuotaBudget
from integrations.models.run import BUCKETS, Run, RunState
from integrations.models.watch import Digest, Volume, Watch

__all__ = [
    "BUCKETS",
    "BULK_LIVE",
    "IN_FLIGHT",
    "OPEN",
    "RERUN_LIVE",
    "ROLLOUT_OPEN",
    "UNTOLD",
    "Action",
    "Alert",
    "AlertHook",
    "Assignment",
    "Blueprint",
    "BlueprintVersion",
    "BulkRun",
    "BulkRunState",
    "Call",
    "Comment",
    "Connection",
    "ConnectionDay",
    "ConnectionState",
    "Delivery",
    "DeliveryState",
    "Digest",
    "Flow",
    "FlowDay",
    "FlowRevision",
    "Following",
    "HandTime",
    "HookPost",
    "Incident",
    "Link",
    "LinkState",
    "MappingRule",
    "Mode",
    "Outcome",
    "Override",
    "PostState",
    "Prediction",
    "Proposal",
    "ProposalState",
    "QuotaBudget",
    "Rehearsal",
    "RehearsalState",
    "Rerun",
    "RerunState",
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
    "Volume",
    "Watch",
]
