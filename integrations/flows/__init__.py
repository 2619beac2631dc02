"""The flow kinds Suture ships."""

from integrations.flows.cliniko_shopify.patients import PATIENTS_TO_CUSTOMERS
from integrations.flows.kind import FlowKind

FLOW_KINDS: dict[str, FlowKind] = {kind.name: kind for kind in (PATIENTS_TO_CUSTOMERS,)}
