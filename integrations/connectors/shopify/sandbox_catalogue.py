"""The merchant's own edits of products, locations and stock in the sandboxed shop."""

from integrations.connectors.sandbox_kit import Response, json_response
from integrations.connectors.shopify.sandbox_inventory import stock
from integrations.connectors.shopify.sandbox_products import add_product, remove_product
from integrations.connectors.shopify.sandbox_rows import Row
from integrations.connectors.shopify.sandbox_shop import Shop


def catalogue_admin(shop: Shop, method: str, rest: list[str], given: Row) -> Response | None:
    """One edit, None for one there is not. Raises ValueError, TypeError or KeyError for what cannot be done."""
    told: Row = {"ok": True}
    match method, rest:
        case "GET", ["products"]:
            told = {"products": list(shop.products.values())}
        case "GET", ["locations"]:
            told = {"locations": list(shop.locations.values())}
        case "GET", ["stock"]:
            told = {"stock": list(shop.levels.values())}
        case "POST", ["products"]:
            told = {"product": _product(shop, given)}
        case "DELETE", ["products", key]:
            remove_product(shop, int(key))
        case "POST", ["locations"]:
            told = {"location": shop.locations[_location(shop, given)]}
        case "POST", ["stock"]:
            told = {"level": _stock(shop, given)}
        case _:
            return None
    return json_response(200, told)


def _product(shop: Shop, given: Row) -> Row:
    """``variants`` may be how many."""
    count = given.get("variants")
    return add_product(shop, **{**given, "variants": [{}] * count} if isinstance(count, int) else given)


def _location(shop: Shop, given: Row) -> int:
    is_open, is_service = given.get("active") is not False, given.get("service") is True
    return shop.add_location(str(given["name"]), active=is_open, service=is_service)


def _stock(shop: Shop, given: Row) -> Row:
    item, location, available = (int(str(given[name])) for name in ("item", "location", "available"))
    return stock(shop, item, location, available, active=given.get("active") is not False)
