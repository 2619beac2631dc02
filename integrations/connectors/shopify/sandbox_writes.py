"""How the sandboxed shop answers mutations: (shop, arguments) -> payload. One that changed something is counted."""

from collections.abc import Callable
from copy import deepcopy

from graphql import GraphQLError

from integrations.connectors.shopify.sandbox_call import Info, call_of, gid
from integrations.connectors.shopify.sandbox_idempotency import Again, once
from integrations.connectors.shopify.sandbox_reads import shown_address, shown_definition
from integrations.connectors.shopify.sandbox_shop import OWNERS, Row, Shop, add_tags, remove_tags

Act = Callable[[Shop, Row], Row]


def mutation(name: str, act: Act, again: Again | None = None) -> Callable[..., object]:
    """The resolver of a mutation. With ``again`` it must be idempotent: see ``sandbox_idempotency.py``."""

    def resolve(_: object, info: Info, **given: object) -> object:
        call = call_of(info)
        call.need(SCOPES.get(name, "write_customers"), name)
        planned = call.planned(name)
        if planned is None or planned.applies:
            before = call.shop.writes
            answer = act(call.shop, given) if again is None else once(info, given, act, again)
            call.writes += call.shop.writes > before
        if planned is None:
            return answer
        if planned.user_error is not None:
            return {"userErrors": [planned.user_error], "orderCancelUserErrors": [planned.user_error]}
        raise GraphQLError(planned.message, extensions={"code": planned.code})

    return resolve


# Those of customers, and of whatever carries metafields and tags, need the first.
SCOPES = {
    "orderCreate": "write_orders",
    "orderUpdate": "write_orders",
    "orderCustomerSet": "write_orders",
    "orderMarkAsPaid": "write_orders",
    "orderClose": "write_orders",
    "orderOpen": "write_orders",
    "orderCancel": "write_orders",
    "refundCreate": "write_orders",
    "paymentTermsCreate": "write_payment_terms",
    "paymentTermsUpdate": "write_payment_terms",
    "paymentTermsDelete": "write_payment_terms",
}


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
    "tagsAdd": _tags(add_tags),
    "tagsRemove": _tags(remove_tags),
    "metafieldDefinitionCreate": _define,
    "metafieldsSet": _metafields_set,
    "metafieldsDelete": _metafields_delete,
}
