#!/usr/bin/env python3
"""Cut Shopify's published introspection down to the members Suture uses, as SDL.

    python scripts/trim_shopify_schema.py admin_2026-10.json.gz integrations/connectors/shopify/schema.graphql

``KEEP`` lists, per object type, the fields that stay. Input types, enums and scalars reached from them stay whole
(input coercion in the sandbox is only real with every member), descriptions go, deprecation reasons stay. Run it
again with a fresh introspection before each release; a member that vanished ends the run with its name.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    assert_valid_schema,
    build_client_schema,
    build_schema,
    print_schema,
)

_PAYLOAD = "customer userErrors"
_ORDER_PAYLOAD = "order userErrors"
_LIST = "edges nodes pageInfo"
_EDGE = "cursor node"
_TERMS_PAYLOAD = "paymentTerms userErrors"
_CODED = "code field message"
KEEP: dict[str, str] = {
    "QueryRoot": "bulkOperation bulkOperations companies customer customerByIdentifier customers customersCount currentAppInstallation"
    " inventoryItem location locations product productByIdentifier productVariants products productsCount"
    " metafieldDefinitions nodes publicApiVersions shop"
    " order orderByIdentifier orders ordersCount paymentTermsTemplates refund",
    "Mutation": "bulkOperationCancel bulkOperationRunMutation companyAssignCustomerAsContact companyCreate"
    " customerAddressCreate customerAddressUpdate customerCreate customerEmailMarketingConsentUpdate"
    " customerSet customerSmsMarketingConsentUpdate customerUpdate"
    " inventoryActivate inventoryAdjustQuantities inventoryItemUpdate inventorySetQuantities"
    " productSet productUpdate productVariantsBulkUpdate"
    " metafieldDefinitionCreate metafieldsDelete metafieldsSet stagedUploadsCreate tagsAdd tagsRemove"
    " orderCancel orderClose orderCreate orderCustomerSet orderMarkAsPaid orderOpen orderUpdate paymentTermsCreate"
    " paymentTermsDelete paymentTermsUpdate refundCreate",
    "AccessScope": "handle description",
    "ApiVersion": "displayName handle supported",
    "App": "id title",
    "AppInstallation": "id accessScopes app",
    "BulkMutationUserError": "code field message",
    "BulkOperation": "id type status errorCode createdAt completedAt objectCount rootObjectCount fileSize url partialDataUrl query",
    "BulkOperationCancelPayload": "bulkOperation userErrors",
    "BulkOperationConnection": "edges nodes pageInfo",
    "BulkOperationEdge": "cursor node",
    "BulkOperationRunMutationPayload": "bulkOperation userErrors",
    "BusinessCustomerUserError": _CODED,
    "Company": "id name externalId note createdAt updatedAt mainContact",
    "CompanyConnection": _LIST,
    "CompanyEdge": _EDGE,
    "CompanyContact": "id isMainContact company customer createdAt updatedAt",
    "CompanyCreatePayload": "company userErrors",
    "CompanyAssignCustomerAsContactPayload": "companyContact userErrors",
    "Count": "count precision",
    "Customer": "id legacyResourceId firstName lastName displayName email phone state locale note tags verifiedEmail createdAt"
    " updatedAt defaultEmailAddress defaultPhoneNumber defaultAddress addressesV2 metafield metafields"
    " companyContactProfiles",
    "CustomerConnection": "edges nodes pageInfo",
    "CustomerEdge": "cursor node",
    "CustomerEmailAddress": "emailAddress marketingState marketingOptInLevel marketingUpdatedAt validFormat",
    "CustomerPhoneNumber": "phoneNumber marketingState marketingOptInLevel marketingUpdatedAt smsMarketingConsent",
    "CustomerSmsMarketingConsent": "state optInLevel updatedAt",
    "CustomerCreatePayload": _PAYLOAD,
    "CustomerUpdatePayload": _PAYLOAD,
    "CustomerSetPayload": _PAYLOAD,
    "CustomerSetUserError": "code field message",
    "CustomerAddressCreatePayload": "address userErrors",
    "CustomerAddressUpdatePayload": "address userErrors",
    "CustomerEmailMarketingConsentUpdatePayload": _PAYLOAD,
    "CustomerEmailMarketingConsentUpdateUserError": "code field message",
    "CustomerSmsMarketingConsentUpdatePayload": _PAYLOAD,
    "CustomerSmsMarketingConsentError": "code field message",
    "InventoryActivatePayload": "inventoryLevel userErrors",
    "InventoryAdjustmentGroup": "id createdAt reason referenceDocumentUri changes",
    "InventoryAdjustQuantitiesPayload": "inventoryAdjustmentGroup userErrors",
    "InventoryAdjustQuantitiesUserError": "code field message",
    "InventoryChange": "name delta quantityAfterChange item location",
    "InventoryItem": "id legacyResourceId sku tracked duplicateSkuCount unitCost createdAt updatedAt inventoryLevel"
    " inventoryLevels variants",
    "InventoryItemUpdatePayload": "inventoryItem userErrors",
    "InventoryLevel": "id isActive item location quantities createdAt updatedAt",
    "InventoryLevelConnection": "edges nodes pageInfo",
    "InventoryLevelEdge": "cursor node",
    "InventoryQuantity": "id name quantity updatedAt",
    "InventorySetQuantitiesPayload": "inventoryAdjustmentGroup userErrors",
    "InventorySetQuantitiesUserError": "code field message",
    "Location": "id legacyResourceId name isActive fulfillsOnlineOrders isFulfillmentService createdAt updatedAt",
    "LocationConnection": "edges nodes pageInfo",
    "LocationEdge": "cursor node",
    "MailingAddress": "id firstName lastName name company address1 address2 city province provinceCode country countryCodeV2 zip phone",
    "MailingAddressConnection": "edges nodes pageInfo",
    "MailingAddressEdge": "cursor node",
    "Metafield": "id namespace key type value compareDigest createdAt updatedAt",
    "MetafieldConnection": "edges nodes pageInfo",
    "MetafieldEdge": "cursor node",
    "MetafieldCapabilities": "uniqueValues adminFilterable",
    "MetafieldCapabilityUniqueValues": "enabled eligible",
    "MetafieldCapabilityAdminFilterable": "enabled eligible status",
    "MetafieldDefinition": "id name namespace key description ownerType type capabilities validationStatus",
    "MetafieldDefinitionConnection": "edges nodes pageInfo",
    "MetafieldDefinitionEdge": "cursor node",
    "MetafieldDefinitionType": "name category",
    "MetafieldDefinitionCreatePayload": "createdDefinition userErrors",
    "MetafieldDefinitionCreateUserError": "code field message",
    "MetafieldIdentifier": "ownerId namespace key",
    "MetafieldsDeletePayload": "deletedMetafields userErrors",
    "MetafieldsSetPayload": "metafields userErrors",
    "MetafieldsSetUserError": "code elementIndex field message",
    "MoneyV2": "amount currencyCode",
    "PageInfo": "startCursor endCursor hasNextPage hasPreviousPage",
    "Product": "createdAt descriptionHtml handle hasOnlyDefaultVariant id legacyResourceId metafield metafields "
    "productType status tags title totalInventory tracksInventory updatedAt variants variantsCount "
    "vendor",
    "ProductConnection": "edges nodes pageInfo",
    "ProductEdge": "cursor node",
    "ProductSetOperation": "id status product userErrors",
    "ProductSetPayload": "product productSetOperation userErrors",
    "ProductSetUserError": "code field message",
    "ProductUpdatePayload": "product userErrors",
    "ProductVariant": "barcode compareAtPrice createdAt id inventoryItem inventoryPolicy inventoryQuantity "
    "legacyResourceId position price product selectedOptions sku taxable title updatedAt",
    "ProductVariantConnection": "edges nodes pageInfo",
    "ProductVariantEdge": "cursor node",
    "ProductVariantsBulkUpdatePayload": "product productVariants userErrors",
    "ProductVariantsBulkUpdateUserError": "code field message",
    "SelectedOption": "name value",
    "Shop": "id name myshopifyDomain currencyCode ianaTimezone taxesIncluded taxShipping plan shopAddress email contactEmail",
    "ShopAddress": "id countryCodeV2 provinceCode",
    "ShopPlan": "publicDisplayName shopifyPlus partnerDevelopment",
    "StagedMediaUploadTarget": "url resourceUrl parameters",
    "StagedUploadParameter": "name value",
    "StagedUploadsCreatePayload": "stagedTargets userErrors",
    "TagsAddPayload": "node userErrors",
    "TagsRemovePayload": "node userErrors",
    "Order": "id legacyResourceId name number poNumber sourceIdentifier sourceName note tags test createdAt updatedAt processedAt"
    " closed closedAt cancelledAt cancelReason currencyCode presentmentCurrencyCode taxesIncluded displayFinancialStatus"
    " displayFulfillmentStatus unpaid fullyPaid canMarkAsPaid refundable totalPriceSet totalTaxSet totalDiscountsSet"
    " currentTotalPriceSet currentTotalTaxSet totalOutstandingSet totalReceivedSet totalRefundedSet netPaymentSet customer"
    " lineItems metafield metafields paymentTerms refunds transactions",
    "OrderConnection": _LIST,
    "OrderEdge": _EDGE,
    "LineItem": "id title name sku quantity currentQuantity refundableQuantity taxable requiresShipping product variant"
    " originalUnitPriceSet originalTotalSet discountAllocations taxLines",
    "LineItemConnection": _LIST,
    "LineItemEdge": _EDGE,
    "DiscountAllocation": "allocatedAmountSet",
    "TaxLine": "title rate ratePercentage priceSet channelLiable",
    "MoneyBag": "shopMoney presentmentMoney",
    "OrderTransaction": "id kind status gateway amountSet parentTransaction processedAt createdAt test",
    "OrderTransactionConnection": _LIST,
    "OrderTransactionEdge": _EDGE,
    "Refund": "id legacyResourceId createdAt updatedAt processedAt note order refundLineItems totalRefundedSet transactions",
    "RefundLineItem": "id quantity restockType restocked lineItem subtotalSet totalTaxSet",
    "RefundLineItemConnection": _LIST,
    "RefundLineItemEdge": _EDGE,
    "PaymentTerms": "id due overdue dueInDays paymentTermsName paymentTermsType paymentSchedules",
    "PaymentSchedule": "id dueAt issuedAt completedAt balanceDue",
    "PaymentScheduleConnection": _LIST,
    "PaymentScheduleEdge": _EDGE,
    "PaymentTermsTemplate": "id name description paymentTermsType dueInDays",
    "Job": "id done",
    "OrderCancelJobResult": "id done status errors order",
    "OrderCancelPayload": "job jobResult orderCancelUserErrors",
    "OrderCancelUserError": _CODED,
    "OrderClosePayload": _ORDER_PAYLOAD,
    "OrderCreatePayload": _ORDER_PAYLOAD,
    "OrderCreateUserError": _CODED,
    "OrderCustomerSetPayload": _ORDER_PAYLOAD,
    "OrderCustomerSetUserError": _CODED,
    "OrderMarkAsPaidPayload": _ORDER_PAYLOAD,
    "OrderOpenPayload": _ORDER_PAYLOAD,
    "OrderUpdatePayload": _ORDER_PAYLOAD,
    "PaymentTermsCreatePayload": _TERMS_PAYLOAD,
    "PaymentTermsCreateUserError": _CODED,
    "PaymentTermsUpdatePayload": _TERMS_PAYLOAD,
    "PaymentTermsUpdateUserError": _CODED,
    "PaymentTermsDeletePayload": "deletedId userErrors",
    "PaymentTermsDeleteUserError": _CODED,
    "RefundCreatePayload": "order refund userErrors",
    "UserError": "field message",
    "Node": "id",
    "DisplayableError": "field message",
}


def load(path: Path) -> GraphQLSchema:
    """The full schema from an introspection result, gzipped or not."""
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    told = json.loads(raw)
    return build_client_schema(told.get("data", told))


def trim(schema: GraphQLSchema) -> GraphQLSchema:
    """The same schema with only the kept members and what they reach. Raises KeyError for a member that is gone."""
    for name, fields in KEEP.items():
        _narrow(schema.type_map[name], tuple(fields.split()))
    return GraphQLSchema(
        query=schema.query_type,
        mutation=schema.mutation_type,
        types=[schema.type_map[name] for name in KEEP],
        directives=schema.directives,
    )


def _narrow(kept: GraphQLNamedType, names: tuple[str, ...]) -> None:
    if not isinstance(kept, GraphQLObjectType | GraphQLInterfaceType):
        raise TypeError(f"{kept.name} has no fields to choose from")
    kept.fields = {name: kept.fields[name] for name in names}
    kept.interfaces = tuple(shape for shape in kept.interfaces if shape.name in KEEP)


def strangers(schema: GraphQLSchema) -> Iterator[str]:
    """Object types that came along although nobody asked for them: they would bring the whole schema back."""
    for name, found in schema.type_map.items():
        if name.startswith("__") or name in KEEP:
            continue
        if isinstance(found, GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType):
            yield name


def without_words(schema: GraphQLSchema) -> None:
    """Drop descriptions: they are Shopify's prose and three quarters of the bytes."""
    for found in schema.type_map.values():
        found.description = None
        if isinstance(found, GraphQLEnumType):
            for value in found.values.values():
                value.description = None
        if isinstance(found, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for field in found.fields.values():
                field.description = None
                for argument in getattr(field, "args", {}).values():
                    argument.description = None
    for directive in schema.directives:
        directive.description = None
        for argument in directive.args.values():
            argument.description = None


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("introspection", type=Path)
    words.add_argument("target", type=Path)
    words.add_argument("--taken", default="", help="the day the introspection was taken")
    asked = words.parse_args()
    schema = trim(load(asked.introspection))
    if extra := sorted(strangers(schema)):
        sys.stderr.write(f"name these in KEEP or drop the fields that reach them: {', '.join(extra)}\n")
        return 1
    without_words(schema)
    text = print_schema(schema)
    assert_valid_schema(build_schema(text))
    heading = f"# Shopify Admin GraphQL, from {asked.introspection.name.removesuffix('.gz')} {asked.taken}".rstrip()
    asked.target.write_text(
        f"{heading}\n# Made by scripts/trim_shopify_schema.py; do not edit.\n\n{text}\n", encoding="utf-8"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
