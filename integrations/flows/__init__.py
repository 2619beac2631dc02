"""The flow kinds Suture ships."""

from integrations.flows.cliniko_shopify.invoices import INVOICES_TO_ORDERS
from integrations.flows.cliniko_shopify.patients import PATIENTS_TO_CUSTOMERS
from integrations.flows.cliniko_shopify.products import PRODUCTS_TO_PRODUCTS
from integrations.flows.cliniko_shopify.sales import SHOP_SALES_TO_STOCK_ADJUSTMENTS
from integrations.flows.cliniko_shopify.stock import STOCK_TO_INVENTORY
from integrations.flows.kind import FlowKind

FLOW_KINDS: dict[str, FlowKind] = {
    kind.name: kind
    for kind in (
        PATIENTS_TO_CUSTOMERS,
        PRODUCTS_TO_PRODUCTS,
        STOCK_TO_INVENTORY,
        INVOICES_TO_ORDERS,
        SHOP_SALES_TO_STOCK_ADJUSTMENTS,
    )
}
