"""Tables of connections, flows and the sync itself."""

from integrations.models.alert import UNTOLD, Alert, Call, Telling
from integrations.models.bulk import BULK_LIVE, BulkRun, BulkRunState
from integrations.models.connection import Connection, ConnectionState
from integrations.models.delivery import IN_FLIGHT, OPEN, Delivery, DeliveryState
from integrations.models.flow import Flow, FlowRevision, MappingRule, Mode, SeenValue, ValueMap
from integrations.models.incident import AlertHook, HookPost, Incident, PostState
from integrations.models.link import Link, LinkState
from integrations.models.log import Action, Outcome, SyncLogEntry
from integrations.models.meter import ConnectionDay, FlowDay, HandTime
from integrations.models.quota import QuotaBudget
from integrations.models.run import BUCKETS, Run, RunState

__all__ = [
    "BUCKETS",
    "BULK_LIVE",
    "IN_FLIGHT",
    "OPEN",
    "UNTOLD",
    "Action",
    "Alert",
    "AlertHook",
    "BulkRun",
    "BulkRunState",
    "Call",
    "Connection",
    "ConnectionDay",
    "ConnectionState",
    "Delivery",
    "DeliveryState",
    "Flow",
    "FlowDay",
    "FlowRevision",
    "HandTime",
    "HookPost",
    "Incident",
    "Link",
    "LinkState",
    "MappingRule",
    "Mode",
    "Outcome",
    "PostState",
    "QuotaBudget",
    "Run",
    "RunState",
    "SeenValue",
    "SyncLogEntry",
    "Telling",
    "ValueMap",
]
