"""Cliniko on the contract suite's bench."""

from collections.abc import Mapping
from typing import Any

from integrations.connectors.cliniko import sandbox_people
from integrations.connectors.cliniko.sandbox import ClinikoVendor, serve
from integrations.connectors.sandbox_kit import Server
from tests.contract.desk import CONTACT, Rig, StreamRig


def _key(api_key: str) -> Mapping[str, str]:
    return {"api_key": api_key, "contact_email": CONTACT}


def _add(server: Server[Any], count: int) -> None:
    vendor: ClinikoVendor = server.vendor
    vendor.limit.amount = 100_000
    sandbox_people.fill(vendor.world, count)


def _touch(server: Server[Any]) -> str:
    world = server.vendor.world
    key: str = next(iter(world.patients))
    world.clock.advance(60)
    world.edit_patient(key, email="changed@example.com")
    return key


RIG = Rig(
    serve=serve,
    credentials=_key(sandbox_people.HARBOUR_KEY),
    bad_credentials=_key("wrong-au2"),
    hostile=lambda host: ("", _key(f"KEY-{host}")),
    domain="cliniko.com",
    streams={"patients": StreamRig(add=_add, touch=_touch, open_fields=frozenset({"custom_fields.employer"}))},
    planted=("CANARY", "canary", sandbox_people.CANARY_BIRTH_DATE),
    personal=("Robin", "Keeper", "robin.keeper@example.com", "0491 570 006"),
)
