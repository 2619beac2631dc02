"""Products of the practice system become products of the shop: name, code, price; what is discontinued leaves sale."""

from collections.abc import Mapping
from decimal import Decimal

from integrations.connectors.cliniko.products import PRODUCTS as CLINIKO_PRODUCTS
from integrations.connectors.shopify.products import PRODUCTS as SHOPIFY_PRODUCTS
from integrations.core.lines import to_cents
from integrations.core.matching import Matching, NaturalKey
from integrations.core.records import Write
from integrations.core.rules import Choice, Context, Rule
from integrations.core.values import Number, Value, YesNoUnknown
from integrations.flows.kind import Derived, FlowKind, Verdict

_STATUS = {"draft": "DRAFT", "archive": "ARCHIVED"}


def _price(values: Mapping[str, Value], context: Context) -> Value:
    """With tax or without, as the clinic chose or as the shop's own prices are; in cents, which is all a shop takes."""
    choice = context.settings["price"]
    with_tax = context.target.get("taxes_included") != "no" if choice == "shop" else choice == "with_tax"
    price = values.get("price_including_tax" if with_tax else "price_ex_tax")
    return to_cents(price) if isinstance(price, Decimal) else None


def _cost(values: Mapping[str, Value], _: Context) -> Value:
    """In cents as well: a shop keeps no more, and parts of a cent would differ from it for ever."""
    cost = values.get("cost_price")
    return to_cents(cost) if isinstance(cost, Decimal) else None


def _is_taxable(values: Mapping[str, Value], _: Context) -> Value:
    """None where the rate is not known, so that the shop's own word stays."""
    rate = values.get("tax_rate")
    return None if rate is None else bool(rate)


def _new_status(_: Mapping[str, Value], context: Context) -> Value:
    return "DRAFT" if context.settings["new_product"] == "draft" else "ACTIVE"


def _no_sku(fields: Mapping[str, Value], context: Context) -> Verdict | None:
    if fields.get("sku") or context.settings["missing_sku"] == "create":
        return None
    return Verdict(context.settings["missing_sku"], "product.sku_missing")


def _no_title(fields: Mapping[str, Value], _: Context) -> Verdict | None:
    return None if fields.get("title") else Verdict("hold", "product.name_missing")


def _no_price(fields: Mapping[str, Value], _: Context) -> Verdict | None:
    """A shop would make the product for nothing."""
    is_missing = "price" in fields and fields["price"] is None
    return Verdict("hold", "product.price_missing") if is_missing else None


def _gone(context: Context) -> Mapping[str, Value] | Verdict:
    choice = context.settings["discontinued"]
    if choice in _STATUS:
        return {"status": _STATUS[choice]}
    if choice == "hold":
        return Verdict("hold", "record.archived_ask")
    return Verdict("skip", "record.archived")


PRODUCTS_TO_PRODUCTS = FlowKind(
    name="products-to-products",
    label="Products become products",
    minutes_by_hand=3.0,
    source_vendor="cliniko",
    source=CLINIKO_PRODUCTS,
    target_vendor="shopify",
    target=SHOPIFY_PRODUCTS,
    rules=(
        Rule("title", "name", ("single_line",)),
        Rule("sku", "item_code", ("trim",)),
        Rule("barcode", "serial_number", ("trim",)),
        Rule("price", "shop_price"),
        Rule("taxable", "is_taxable"),
        Rule("cost", "shop_cost"),
        Rule("status", "status_of_new", write=Write.IF_NEW),
    ),
    matching=Matching(
        marker="metafields.suture.cliniko_product_id",
        natural=(NaturalKey("sku", confirm="", setting="shared_sku", shared_code="match.shared_sku"),),
    ),
    settings=(
        Choice(
            "missing_sku",
            "Product without an item code",
            (("hold", "Ask a person"), ("skip", "Leave out"), ("create", "Create without a SKU")),
        ),
        Choice(
            "discontinued",
            "Product that was archived in the practice system",
            (
                ("draft", "Make it a draft in the shop"),
                ("archive", "Archive it in the shop"),
                ("hold", "Ask a person"),
                ("ignore", "Do nothing"),
            ),
        ),
        Choice(
            "new_product",
            "New product in the shop",
            (("active", "Active at once"), ("draft", "A draft until somebody approves it in the shop")),
        ),
        Choice(
            "price",
            "Price in the shop",
            (
                ("shop", "As the shop's prices are"),
                ("with_tax", "Always with tax"),
                ("without_tax", "Always without tax"),
            ),
        ),
    ),
    derived=(
        Derived("shop_price", "Price, with or without tax", _price, Number),
        Derived("shop_cost", "Cost, in cents", _cost, Number),
        Derived("is_taxable", "Whether tax is charged", _is_taxable, YesNoUnknown),
        Derived("status_of_new", "Status of a new product", _new_status),
    ),
    check=(_no_title, _no_sku, _no_price),
    gone=_gone,
    asks={
        "product.sku_missing": "item_code",
        "product.name_missing": "name",
        "product.price_missing": "shop_price",
    },
    urgent=True,
)
