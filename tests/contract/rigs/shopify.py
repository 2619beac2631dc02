"""Shopify on the contract suite's bench."""

from typing import Any

from integrations.connectors.sandbox_kit import Server
from integrations.connectors.shopify.sandbox import ShopifyVendor, serve
from integrations.connectors.shopify.sandbox_call import gid
from integrations.connectors.shopify.sandbox_orders import MUTATIONS, edit
from integrations.connectors.shopify.sandbox_products import add_product, variants
from tests.contract.desk import Rig, StreamRig

SHOP = "harbour-physio"
_REFERRER = frozenset({"metafields.clinic.referrer"})


def _add(server: Server[Any], count: int) -> None:
    vendor: ShopifyVendor = server.vendor
    shop = vendor.configure(SHOP, capacity=1_000_000.0, restore_rate=1_000_000.0)
    for number in range(shop.made, shop.made + count):
        referrer = {"namespace": "clinic", "key": "referrer", "type": "single_line_text_field", "value": f"GP {number}"}
        row, complaints = shop.create(
            {
                "firstName": "Mia",
                "lastName": f"Chen {number}",
                "email": f"m{number}@example.com",
                "metafields": [referrer],
            }
        )
        assert row and not complaints


def _touch(server: Server[Any]) -> str:
    shop = server.vendor.shop(SHOP)
    key = next(iter(shop.customers))
    server.clock.advance(60)
    shop.update(f"gid://shopify/Customer/{key}", {"email": "changed@example.com"})
    return str(key)


def _add_products(server: Server[Any], count: int) -> None:
    vendor: ShopifyVendor = server.vendor
    shop = vendor.configure(SHOP, capacity=1_000_000.0, restore_rate=1_000_000.0)
    for number in range(shop.made, shop.made + count):
        shelf = {"namespace": "clinic", "key": "shelf", "type": "single_line_text_field", "value": f"A {number}"}
        add_product(shop, title=f"Tape {number}", variants=[{"sku": f"T-{number}", "price": "9.5"}], metafields=[shelf])


def _touch_product(server: Server[Any]) -> str:
    shop = server.vendor.shop(SHOP)
    row = next(iter(shop.products.values()))
    server.clock.advance(60)
    shop.store({**row, "title": "Tape, changed"})
    return str(row["id"])


def _add_orders(server: Server[Any], count: int) -> None:
    shop = server.vendor.configure(SHOP, capacity=1_000_000.0, restore_rate=1_000_000.0)
    referrer = {"namespace": "clinic", "key": "referrer", "type": "single_line_text_field", "value": "GP"}
    price = {"shopMoney": {"amount": "110.00", "currencyCode": "AUD"}}
    line = {"title": "Services", "quantity": 1, "priceSet": price, "taxable": False, "requiresShipping": False}
    for _ in range(count):
        told = MUTATIONS["orderCreate"](shop, {"order": {"lineItems": [line], "metafields": [referrer]}})
        assert not told["userErrors"]


def _touch_order(server: Server[Any]) -> str:
    shop = server.vendor.shop(SHOP)
    key = next(iter(shop.orders))
    server.clock.advance(60)
    edit(shop, key, {"note": "changed"})
    return str(key)


def _add_sales(server: Server[Any], count: int) -> None:
    """A product, and so many orders of one piece."""
    shop = server.vendor.configure(SHOP, capacity=1_000_000.0, restore_rate=1_000_000.0)
    (variant,) = variants(add_product(shop, title="Tape"))
    line = {"variantId": gid("ProductVariant", variant["id"]), "quantity": 1, "requiresShipping": True, "taxable": True}
    for _ in range(count):
        told = MUTATIONS["orderCreate"](shop, {"order": {"lineItems": [line]}})
        assert not told["userErrors"]


def _touch_sale(server: Server[Any]) -> str:
    """An order that sold something changes; its movement's key."""
    shop = server.vendor.shop(SHOP)
    order = next(row for row in shop.orders.values() if row["lines"][0]["product"])
    server.clock.advance(60)
    edit(shop, order["id"], {"note": "changed"})
    return f"{order['id']}-{order['lines'][0]['id']}"


def _serve() -> Server[Any]:
    server = serve()
    _add(server, 5)
    _add_products(server, 5)
    _add_orders(server, 5)
    _add_sales(server, 5)
    return server


RIG = Rig(
    serve=_serve,
    credentials={"access_token": "shpat_0123456789abcdef", "webhook_secret": "shpss_0123456789"},
    bad_credentials={"access_token": "shpat_revoked_0123456789"},
    hostile=lambda host: (host, {"access_token": "shpat_0123456789abcdef"}),
    domain="myshopify.com",
    typed=SHOP,
    streams={
        "customers": StreamRig(add=_add, touch=_touch, open_fields=_REFERRER),
        "products": StreamRig(
            add=_add_products, touch=_touch_product, open_fields=frozenset({"metafields.clinic.shelf"})
        ),
        "orders": StreamRig(add=_add_orders, touch=_touch_order, open_fields=_REFERRER),
        "sales": StreamRig(add=_add_sales, touch=_touch_sale),
    },
    personal=("owner@example.com", "hello@example.com"),
)
