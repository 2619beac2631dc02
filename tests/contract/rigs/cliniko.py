"""Cliniko on the contract suite's bench."""

from collections.abc import Mapping
from typing import Any

from integrations.connectors.cliniko import sandbox_goods, sandbox_invoices, sandbox_people, sandbox_trade
from integrations.connectors.cliniko.sandbox import ClinikoVendor, serve
from integrations.connectors.cliniko.sandbox_shelves import rows_of
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


def _add_products(server: Server[Any], count: int) -> None:
    server.vendor.limit.amount = 100_000
    sandbox_trade.fill_products(server.vendor.world, count)


def _touch_product(server: Server[Any]) -> str:
    world = server.vendor.world
    key = next(iter(rows_of(world, "products")))
    world.clock.advance(60)
    sandbox_goods.edit_product(world, key, name="Foam roller 60 cm")
    return key


def _sell(server: Server[Any]) -> str:
    """A sale moves the level of a product and leaves its ``updated_at`` alone."""
    world = server.vendor.world
    key = next(iter(rows_of(world, "products")))
    world.clock.advance(60)
    sandbox_invoices.add_invoice(world, [{"product_id": key}])
    return key


def _add_invoices(server: Server[Any], count: int) -> None:
    server.vendor.limit.amount = 100_000
    sandbox_trade.fill_invoices(server.vendor.world, count)


def _change_an_item(server: Server[Any]) -> str:
    """It leaves the ``updated_at`` of its invoice alone."""
    world = server.vendor.world
    key, item = next(iter(rows_of(world, "invoice_items").items()))
    world.clock.advance(60)
    sandbox_invoices.edit_item(world, key, price=77)
    return str(item["invoice_id"])


RIG = Rig(
    serve=serve,
    credentials=_key(sandbox_people.HARBOUR_KEY),
    bad_credentials=_key("wrong-au2"),
    hostile=lambda host: ("", _key(f"KEY-{host}")),
    domain="cliniko.com",
    streams={
        "patients": StreamRig(add=_add, touch=_touch, open_fields=frozenset({"custom_fields.employer"})),
        "products": StreamRig(add=_add_products, touch=_touch_product),
        "stock": StreamRig(add=_add_products, touch=_sell),
        "invoices": StreamRig(add=_add_invoices, touch=_change_an_item, open_fields=frozenset({"owner.email"})),
    },
    planted=("CANARY", "canary", sandbox_people.CANARY_BIRTH_DATE),
    personal=("Robin", "Keeper", "robin.keeper@example.com", "0491 570 006"),
)
