"""The registry of vendors: one line each."""

from integrations.connectors.base import Connector
from integrations.connectors.cliniko.facts import CLINIKO
from integrations.connectors.shopify.facts import SHOPIFY

CONNECTORS: dict[str, Connector] = {connector.name: connector for connector in (CLINIKO, SHOPIFY)}
