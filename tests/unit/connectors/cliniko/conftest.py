"""An empty sandboxed clinic in Sydney and the real client on it."""

from collections.abc import Iterator

import pytest

from integrations.connectors.cliniko.sandbox import ClinikoVendor, nobody, serve
from integrations.connectors.cliniko.sandbox_world import ClinikoWorld
from integrations.connectors.sandbox_kit import Server
from integrations.toolkit.http import HttpClient
from tests.unit.connectors.cliniko.bench import KEY, client_on


@pytest.fixture
def server() -> Iterator[Server[ClinikoVendor]]:
    world = ClinikoWorld()
    world.add_account(KEY, zones=("Australia/Sydney",))
    with serve(world=world, seed=nobody) as running:
        running.vendor.limit.amount = 100_000
        yield running


@pytest.fixture
def world(server: Server[ClinikoVendor]) -> ClinikoWorld:
    return server.vendor.world


@pytest.fixture
def client(server: Server[ClinikoVendor]) -> Iterator[HttpClient]:
    with client_on(server) as opened:
        yield opened
