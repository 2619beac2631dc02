"""How the sandboxed shop answers mutations: (shop, arguments) -> payload. One that changed something is counted."""

from collections.abc import Callable
from copy import deepcopy

from graphql import GraphQLError

from integrations.connectors.shopify import sandbox_inventory, sandbox_orders, sandbox_products, sandbox_refunds
from integrations.connectors.shopify.sandbox_call import Info, call_of, gid
from integrations.connectors.shopify.sandbox_idempotency import Again, as_it_was, once
from integrations.connectors.shopify.sandbox_reads import shown_address, shown_definition
from integrations.connectors.shopify.sandbox_shop import OWNERS, Row, Shop, add_tags, remove_tags

Act = Callable[[Shop, Row], Row]


def mutation(name: str, act: Act) -> Callable[..., object]:
    """The resolver of a mutation. One of ``ONCE`` must be idempotent: see ``sandbox_idempotency.py``."""

    def resolve(_: object, info: Info, **given: object) -> object:
        call = call_of(info)
        call.need(scope_of(name, given), name)
        planned = call.planned(name)
        if planned is None or planned.applies:
            before = call.shop.writes
            answer = once(info, name, given, act, ONCE[name]) if name in ONCE else act(call.shop, given)
            call.writes += call.shop.writes > before
        if planned is None:
            return answer
        if planned.user_error is not None:
            return {"userErrors": [planned.user_error], "orderCancelUserErrors": [planned.user_error]}
        raise GraphQLError(planned.message, extensions={"code": planned.code})

    return resolve


def _create(shop: Shop, given: Row) -> Row:
    row, complaints = shop.create(_inner(given, "input"))
    return {"customer": row, "userErrors": complaints}


def _update(shop: Shop, given: Row) -> Row:
    wish = _inner(given, "input")
    row, complaints = shop.update(wish.get("id"), wish)
    return {"customer": row, "userErrors": complaints}


def _consent(kind: str, member: str) -> Act:
    def act(shop: Shop, given: Row) -> Row:
        wish = _inner(given, "input")
        row = deepcopy(shop.by_gid(wish["customerId"]))
        if row is None:
            return {
                "userErrors": [{"field": ["input", "customerId"], "message": "Customer not found", "code": "INVALID"}]
            }
        complaints = shop.consent(row, kind, _inner(wish, member), ("input", member))
        if complaints:
            return {"userErrors": [{**complaint, "code": "INVALID"} for complaint in complaints]}
        return {"customer": shop.store(row), "userErrors": []}

    return act


def _address_write(shop: Shop, given: Row) -> Row:
    row = deepcopy(shop.by_gid(given["customerId"]))
    if row is None:
        return {"userErrors": [{"field": ["customerId"], "message": "Customer does not exist"}]}
    own = None
    if "addressId" in given:
        rows = row["addresses"] if isinstance(row["addresses"], list) else []
        wanted = str(given["addressId"]).partition("?")[0]
        own = next((entry for entry in rows if gid("MailingAddress", entry["id"]) == wanted), None)
        if own is None:
            return {"userErrors": [{"field": ["addressId"], "message": "Address does not exist"}]}
    made, complaints = shop.write_address(row, _inner(given, "address"), own, default=bool(given.get("setAsDefault")))
    if made is not None:
        shop.store(row)
    return {"address": shown_address(made), "userErrors": complaints}


def _tags(change: Callable[[Row, object], None]) -> Act:
    def act(shop: Shop, given: Row) -> Row:
        row = deepcopy(shop.owner(given["id"]))
        if row is None:
            return {"userErrors": [{"field": ["id"], "message": "Resource does not exist"}]}
        change(row, given["tags"])
        return {"node": shop.store(row), "userErrors": []}

    return act


def _define(shop: Shop, given: Row) -> Row:
    wish = _inner(given, "definition")
    namespace, key = str(wish.get("namespace") or "app--1"), str(wish["key"])
    kind = next((kind for kind, owner in OWNERS.items() if owner == wish["ownerType"]), "Customer")
    if shop.definition(namespace, key, kind) is not None:
        said = {"field": ["definition", "key"], "message": f"Key is in use for {kind} metafields.", "code": "TAKEN"}
        return {"createdDefinition": None, "userErrors": [said]}
    made: Row = {
        "id": shop.next_id(), "name": wish["name"], "namespace": namespace, "key": key, "type": wish["type"],
        "description": wish.get("description"), "ownerType": wish["ownerType"],
    }  # fmt: skip
    shop.definitions.append(made)
    shop.writes += 1
    return {"createdDefinition": shown_definition(made), "userErrors": []}


def _metafields_set(shop: Shop, given: Row) -> Row:
    changed: list[Row] = []
    for number, entry in enumerate(_rows(given, "metafields")):
        row = deepcopy(shop.owner(entry["ownerId"]))
        path = ("metafields", str(number))
        if row is None:
            said = {
                "field": [*path, "ownerId"],
                "message": "Owner does not exist",
                "code": "INVALID",
                "elementIndex": number,
            }
            return {"metafields": [], "userErrors": [said]}
        if complaints := shop.set_metafields(row, [entry], path):
            told = [{**complaint, "code": "INVALID_VALUE", "elementIndex": number} for complaint in complaints]
            return {"metafields": [], "userErrors": told}
        changed.append(row)
    for row in changed:
        shop.store(row)
    return {"metafields": [], "userErrors": []}


def _metafields_delete(shop: Shop, given: Row) -> Row:
    deleted: list[Row | None] = []
    for entry in _rows(given, "metafields"):
        row = deepcopy(shop.owner(entry["ownerId"]))
        kept = row["metafields"] if row else None
        if row is None or not isinstance(kept, dict) or kept.pop(f"{entry['namespace']}.{entry['key']}", None) is None:
            deleted.append(None)
            continue
        shop.store(row)
        deleted.append(entry)
    return {"deletedMetafields": deleted, "userErrors": []}


def scope_of(name: str, given: Row) -> str:
    """The scope that a mutation needs; that of tags and metafields goes by whose they are."""
    known = next((scope for prefix, scope in _SCOPES.items() if name.startswith(prefix)), None)
    if known is not None:
        return known
    told = f"{_inner(given, 'definition').get('ownerType')} {given.get('id')}".lower()
    told += "".join(str(entry.get("ownerId")).lower() for entry in _rows(given, "metafields"))
    return next((scope for prefix, scope in _SCOPES.items() if prefix in told), "write_customers")


# By what a mutation's name begins with. None of them: of customers, or of whatever carries metafields and tags.
_SCOPES = {
    "inventory": "write_inventory",
    "order": "write_orders",
    "paymentTerms": "write_payment_terms",
    "product": "write_products",
    "refund": "write_orders",
}


def _inner(given: Row, name: str) -> Row:
    found = given.get(name)
    return found if isinstance(found, dict) else {}


def _rows(given: Row, name: str) -> list[Row]:
    found = given.get(name)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


MUTATIONS: dict[str, Act] = {
    "customerCreate": _create,
    "customerUpdate": _update,
    "customerAddressCreate": _address_write,
    "customerAddressUpdate": _address_write,
    "customerEmailMarketingConsentUpdate": _consent("email", "emailMarketingConsent"),
    "customerSmsMarketingConsentUpdate": _consent("sms", "smsMarketingConsent"),
    **sandbox_products.MUTATIONS,
    **sandbox_inventory.MUTATIONS,
    **sandbox_orders.MUTATIONS,
    "refundCreate": sandbox_refunds.create,
    "tagsAdd": _tags(add_tags),
    "tagsRemove": _tags(remove_tags),
    "metafieldDefinitionCreate": _define,
    "metafieldsSet": _metafields_set,
    "metafieldsDelete": _metafields_delete,
}
ONCE: dict[str, Again] = {
    "inventoryActivate": as_it_was,
    "inventoryAdjustQuantities": as_it_was,
    "inventorySetQuantities": as_it_was,
    "refundCreate": sandbox_refunds.again,
}
