"""What the shop sells leaves the practice system's stock, and what comes back returns to it: the shop is the master."""

from integrations.connectors.cliniko.adjustments import STOCK_ADJUSTMENTS
from integrations.connectors.shopify.sales import SALES
from integrations.core.matching import Matching
from integrations.core.rules import Choice, Rule
from integrations.flows.kind import FlowKind, Parent

SHOP_SALES_TO_STOCK_ADJUSTMENTS = FlowKind(
    name="shop-sales-to-stock-adjustments",
    label="Shop sales become stock adjustments",
    source_vendor="shopify",
    source=SALES,
    target_vendor="cliniko",
    target=STOCK_ADJUSTMENTS,
    rules=(Rule("product", "product"), Rule("quantity", "quantity"), Rule("adjustment_type", "movement")),
    matching=Matching(marker="reference"),
    settings=(
        Choice(
            "unknown_product",
            "Sale of a product that the practice system does not have",
            (("skip", "Leave out"), ("hold", "Ask a person")),
        ),
    ),
    parents=(Parent("product", "products", "products", setting="unknown_product", is_reversed=True),),
    excludes=("stock-to-inventory",),
    start="activation",
    urgent=True,
)
