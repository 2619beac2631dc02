"""How the sandboxed shop answers queries. A customer is the shop's own row; members with other names get a resolver."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence

from graphql import GraphQLError

from integrations.connectors.shopify import sandbox_search
from integrations.connectors.shopify.sandbox_addresses import default_address
from integrations.connectors.shopify.sandbox_call import Call, Info, by_custom_id, call_of, gid
from integrations.connectors.shopify.sandbox_rows import Row
from integrations.connectors.shopify.sandbox_shop import Shop

LIST_END = 25_000


def protected(name: str) -> Callable[[Row, Info], object]:
    def resolve(row: Row, info: Info) -> object:
        call_of(info).protect(name)
        return row.get(name)

    return resolve


def _display_name(row: Row, info: Info) -> object:
    call_of(info).protect("displayName")
    return (
        " ".join(str(row[name]) for name in ("firstName", "lastName") if row[name])
        or row["email"]
        or row["phone"]
        or ""
    )


def _email(row: Row, _info: Info) -> object:
    if not row["email"]:
        return None
    return {
        "emailAddress": row["email"], "marketingState": row["emailState"], "validFormat": True,
        "marketingOptInLevel": row.get("emailLevel"), "marketingUpdatedAt": row.get("emailAt"),
    }  # fmt: skip


def _phone(row: Row, _info: Info) -> object:
    if not row["phone"]:
        return None
    state = row["smsState"]
    return {
        "phoneNumber": row["phone"], "marketingState": "NOT_SUBSCRIBED" if state == "NEVER_SUBSCRIBED" else state,
        "marketingOptInLevel": row.get("smsLevel"), "marketingUpdatedAt": row.get("smsAt"),
        "smsMarketingConsent": {"state": state, "optInLevel": row.get("smsLevel"), "updatedAt": row.get("smsAt")},
    }  # fmt: skip


def shown_address(address: Row | None) -> Row | None:
    if address is None:
        return None
    name = " ".join(str(address[part]) for part in ("firstName", "lastName") if address[part])
    own = f"{gid('MailingAddress', address['id'])}?model_name=CustomerAddress"
    code = address["countryCode"]
    return {
        **address,
        "id": own,
        "countryCodeV2": code,
        "country": code,
        "province": address["provinceCode"],
        "name": name,
    }


def shown_metafield(metafield: object) -> Row | None:
    if not isinstance(metafield, dict):
        return None
    return {**metafield, "id": gid("Metafield", metafield["id"]), "compareDigest": str(hash(str(metafield["value"])))}


def metafield(row: Row, _info: Info, *, key: str, namespace: str = "app--1") -> object:
    kept = row["metafields"]
    return shown_metafield(kept.get(f"{namespace}.{key}")) if isinstance(kept, dict) else None


def metafields(row: Row, _info: Info, **asked: object) -> object:
    kept = row["metafields"]
    rows = list(kept.values()) if isinstance(kept, dict) else []
    if asked.get("namespace"):
        rows = [entry for entry in rows if entry["namespace"] == asked["namespace"]]
    return connection([shown_metafield(entry) for entry in rows], asked)


def _addresses(row: Row, _info: Info, **asked: object) -> object:
    rows = row["addresses"]
    return connection([shown_address(entry) for entry in rows] if isinstance(rows, list) else [], asked)


CUSTOMER: dict[str, Callable[..., object]] = {
    "id": lambda row, _: gid("Customer", row["id"]),
    "legacyResourceId": lambda row, _: str(row["id"]),
    "verifiedEmail": lambda *_: True,
    "firstName": protected("firstName"),
    "lastName": protected("lastName"),
    "email": protected("email"),
    "phone": protected("phone"),
    "displayName": _display_name,
    "defaultEmailAddress": _email,
    "defaultPhoneNumber": _phone,
    "defaultAddress": lambda row, _: shown_address(default_address(row)),
    "addressesV2": _addresses,
    "metafield": metafield,
    "metafields": metafields,
}


def _customer(_: object, info: Info, *, id: str) -> object:
    call_of(info).need("read_customers", "customer")
    return call_of(info).shop.by_gid(id)


def _by_identifier(_: object, info: Info, *, identifier: Row) -> object:
    call = call_of(info)
    call.need("read_customers", "customerByIdentifier")
    name, value = next(iter(identifier.items()))
    return find_customer(call.shop, name, value)


def find_customer(shop: Shop, kind: str, value: object) -> Row | None:
    """By the member of an identifier. Raises GraphQLError for a custom id that nothing defines."""
    match kind:
        case "id":
            return shop.by_gid(value)
        case "emailAddress" | "email":
            return shop.by_email(str(value))
        case "phoneNumber" | "phone":
            return shop.by_phone(str(value))
    return by_custom_id(shop, value, "Customer")


_SORTS: dict[str, Callable[[Row], tuple[object, ...]]] = {
    "ID": lambda row: (row["id"],),
    "UPDATED_AT": lambda row: (row["updatedAt"], row["id"]),
    "CREATED_AT": lambda row: (row["createdAt"], row["id"]),
    "NAME": lambda row: (str(row["lastName"] or ""), str(row["firstName"] or ""), row["id"]),
}


def _customers(_: object, info: Info, **asked: object) -> object:
    call = call_of(info)
    call.need("read_customers", "customers")
    key = _SORTS.get(str(asked.get("sortKey", "ID")), _SORTS["ID"])
    return listed(_searched(call, asked.get("query")), asked, key)


def listed(rows: Sequence[Row], asked: Mapping[str, object], key: Callable[[Row], tuple[object, ...]]) -> Row:
    """A page of a long list, which ends at 25,000 rows however many there are."""
    backwards = bool(asked.get("reverse"))
    rows = sorted(rows, key=key, reverse=backwards)
    seen, place = _place(asked.get("after"))
    if place:
        rows = [row for row in rows if (list(key(row)) < place if backwards else list(key(row)) > place)]
    shown = rows[: min(_size(asked), LIST_END - seen)]
    cursors = [_cursor(seen + number, key(row)) for number, row in enumerate(shown, start=1)]
    return {
        "nodes": shown,
        "edges": [{"node": row, "cursor": cursor} for row, cursor in zip(shown, cursors, strict=True)],
        "pageInfo": {
            "hasNextPage": len(rows) > len(shown) and seen + len(shown) < LIST_END,
            "hasPreviousPage": seen > 0,
            "startCursor": cursors[0] if cursors else None,
            "endCursor": cursors[-1] if cursors else None,
        },
    }


def _cursor(rank: int, place: Sequence[object]) -> str:
    """Where a row stands by its sort key, so that rows that move do not shift the page; and its rank in the list."""
    return base64.b64encode(json.dumps([rank, *place]).encode()).decode()


def _place(cursor: object) -> tuple[int, list[object]]:
    if not cursor:
        return 0, []
    try:
        rank, *place = json.loads(base64.b64decode(str(cursor)))
    except (ValueError, TypeError):
        raise GraphQLError("Invalid cursor for current pagination sort.") from None
    return int(rank), place


def _searched(call: Call, query: object) -> list[Row]:
    if not query:
        return list(call.shop.customers.values())
    parsed = sandbox_search.parse(str(query))
    if parsed.warnings:
        call.warnings.append({"path": ["customers"], "query": query, "parsed": {}, "warnings": parsed.warnings})
    return [row for row in call.shop.searchable() if parsed.test(_search_document(row))]


def _search_document(row: Row) -> Row:
    address = default_address(row) or {}
    return {
        "id": row["id"], "email": row["email"], "phone": row["phone"], "first_name": row["firstName"],
        "last_name": row["lastName"], "state": row["state"], "tags": row["tags"], "country": address.get("countryCode"),
        "updated_at": row["updatedAt"], "customer_date": row["createdAt"],
    }  # fmt: skip


def _count(_: object, info: Info, **asked: object) -> object:
    call = call_of(info)
    call.need("read_customers", "customersCount")
    return counted(len(_searched(call, asked.get("query"))), asked)


def counted(count: int, asked: Mapping[str, object]) -> Row:
    limit = asked.get("limit")
    if isinstance(limit, int) and count > limit:
        return {"count": limit, "precision": "AT_LEAST"}
    return {"count": count, "precision": "EXACT"}


def connection(rows: Sequence[object], asked: Mapping[str, object]) -> Row:
    """A page of a short list, in its own order; the cursor is the place in it."""
    after = str(asked.get("after") or "")
    start = int(after.removeprefix("at-")) if after else 0
    shown = list(rows[start : start + _size(asked)])
    end = start + len(shown)
    return {
        "nodes": shown,
        "edges": [{"node": row, "cursor": f"at-{start + number + 1}"} for number, row in enumerate(shown)],
        "pageInfo": {
            "hasNextPage": end < len(rows), "hasPreviousPage": start > 0,
            "startCursor": f"at-{start}" if shown else None, "endCursor": f"at-{end}" if shown else None,
        },
    }  # fmt: skip


def _size(asked: Mapping[str, object]) -> int:
    size = asked.get("first") or asked.get("last")
    if not isinstance(size, int):
        raise GraphQLError("you must provide one of first or last")
    if size > 250:
        raise GraphQLError("The first argument must be at most 250")
    return size


def _shop(_: object, info: Info) -> object:
    shop = call_of(info).shop
    settings = shop.settings
    return {
        "id": gid("Shop", shop.number), "name": settings.name, "myshopifyDomain": f"{shop.handle}.myshopify.com",
        "currencyCode": settings.currency, "ianaTimezone": settings.zone, "taxesIncluded": True, "taxShipping": False,
        "email": "owner@example.com", "contactEmail": "hello@example.com",
        "plan": {"publicDisplayName": settings.plan, "shopifyPlus": settings.plan == "Plus", "partnerDevelopment": False},
        "shopAddress": {"id": gid("ShopAddress", shop.number), "countryCodeV2": settings.country, "provinceCode": "NSW" if settings.country == "AU" else None},
    }  # fmt: skip


def _installation(_: object, info: Info) -> object:
    shop = call_of(info).shop
    scopes = [{"handle": scope, "description": scope} for scope in shop.settings.scopes]
    return {
        "id": gid("AppInstallation", shop.number + 1),
        "accessScopes": scopes,
        "app": {"id": gid("App", 1), "title": "Suture"},
    }


def _versions(_: object, info: Info) -> object:
    served = call_of(info).shop.settings.served_version
    return [{"displayName": served, "handle": served, "supported": True}]


def _definitions(_: object, info: Info, **asked: object) -> object:
    rows = [
        shown_definition(row)
        for row in call_of(info).shop.definitions
        if asked.get("ownerType") in (None, row["ownerType"])
        and asked.get("namespace") in (None, row["namespace"])
        and asked.get("key") in (None, row["key"])
    ]
    return connection(rows, asked)


def shown_definition(row: Row) -> Row:
    is_id = row["type"] == "id"
    return {
        **row, "id": gid("MetafieldDefinition", row["id"]), "type": {"name": row["type"], "category": "TEXT"},
 "validationStatus": "ALL_VALID",
        "capabilities": {
            "uniqueValues": {"enabled": is_id, "eligible": True},
            "adminFilterable": {"enabled": False, "eligible": True, "status": "NOT_FILTERABLE"},
        },
    }  # fmt: skip


QUERIES: dict[str, Callable[..., object]] = {
    "customer": _customer,
    "customerByIdentifier": _by_identifier,
    "customers": _customers,
    "customersCount": _count,
    "shop": _shop,
    "currentAppInstallation": _installation,
    "publicApiVersions": _versions,
    "metafieldDefinitions": _definitions,
}
