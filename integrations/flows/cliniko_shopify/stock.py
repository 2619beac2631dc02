"""The practice system's stock levels become the shop's: one master, one location."""

from collections.abc import Mapping
from decimal import Decimal

from integrations.connectors.cliniko.stock import STOCK
from integrations.connectors.shopify.inventory import INVENTORY
from integrations.core.matching import Matching
from integrations.core.records import Record
from integrations.core.rules import Choice, Context, FreeText, Rule
from integrations.core.values import Number, Value
from integrations.flows.kind import Derived, FlowKind, Parent, Verdict


def _location(_: Mapping[str, Value], context: Context) -> Value:
    """The location the clinic chose, else the shop's only one."""
    return context.settings["location"].strip() or context.target.get("location") or None


def _available(values: Mapping[str, Value], _: Context) -> Value:
    """A level below zero is shown as zero: a shop cannot sell what is owed."""
    level = values.get("level")
    return max(level, Decimal(0)) if isinstance(level, Decimal) else None


def _untracked(record: Record, _: Context) -> Verdict | None:
    return Verdict("skip", "stock.untracked") if record.values.get("level") is None else None


def _below_zero(record: Record, context: Context) -> Verdict | None:
    level = record.values.get("level")
    if isinstance(level, Decimal) and level < 0 and context.settings["negative"] == "hold":
        return Verdict("hold", "stock.negative", format(level.normalize(), "f"))
    return None


def _not_whole(fields: Mapping[str, Value], _: Context) -> Verdict | None:
    available = fields.get("available")
    is_whole = not isinstance(available, Decimal) or available == available.to_integral_value()
    return None if is_whole else Verdict("hold", "stock.fraction")


def _nowhere(fields: Mapping[str, Value], _: Context) -> Verdict | None:
    return None if fields.get("location") else Verdict("hold", "stock.no_location")


STOCK_TO_INVENTORY = FlowKind(
    name="stock-to-inventory",
    label="Stock levels become inventory",
    minutes_by_hand=1.0,
    source_vendor="cliniko",
    source=STOCK,
    target_vendor="shopify",
    target=INVENTORY,
    asks={"stock.negative": "level", "stock.fraction": "level"},
    rules=(Rule("product", "product"), Rule("location", "shop_location"), Rule("available", "shop_level")),
    matching=Matching(marker=""),
    settings=(
        FreeText(
            "location",
            "Location in the shop",
            "The number at the end of the location's address in the shop's admin. Empty: the shop's only location.",
        ),
        Choice(
            "negative",
            "Level below zero in the practice system",
            (("zero", "Show zero in the shop"), ("hold", "Ask a person")),
        ),
    ),
    derived=(
        Derived("shop_location", "Location in the shop", _location),
        Derived("shop_level", "Level, never below zero", _available, Number),
    ),
    refuse=(_untracked, _below_zero),
    check=(_nowhere, _not_whole),
    parents=(Parent("product", "products", "products"),),
    excludes=("shop-sales-to-stock-adjustments",),
    urgent=True,
)
