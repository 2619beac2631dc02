"""The registry of vendors: one line each."""

from integrations.connectors.base import Connector
from integrations.connectors.cliniko.facts import CLINIKO

CONNECTORS: dict[str, Connector] = {connector.name: connector for connector in (CLINIKO,)}
