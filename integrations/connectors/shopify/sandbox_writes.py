"""How the sandboxed shop answers mutations: (shop, arguments) -> payload. One that changed something is counted."""

from collections.abc import Callable
from copy import deepcopy

from graphql import GraphQLError

from integrations.connectors.shopify import (
    sandbox_companies,
    sandbox_inventory,
    sandbox_orders,
    sandbox_products,
    sandbox_refunds,
)
from integrations.connectors.shopify.sandbox_addresses import write_address
from integrations.connectors.shopify.sandbox_call import Info, call_of, gid
from integrations.connectors.shopify.sandbox_idempotency import Again, as_it_was, once
from integrations.connectors.shopify.sandbox_reads import (
    find_customer,
    shown_address,
    shown_definition,
    shown_metafield,
)
from integrations.connectors.shopify.sandbox_rows import Row, inner, rows
from integrations.connectors.shopify.sandbox_shop import OWNERS, Shop, add_tags, remove_tags

Act = Callable[[Shop, Row], Row]


def mutation(name: str, act: Act) -> Callable[..., object]:
    """The resolver of a mutation. One of ``ONCE`` must be idempotent: see ``sandbox_idempotency.py``."""

    def run(info: Info, given: Row) -> Row:
        return once(info, name, given, act, ONCE[name]) if name in ONCE else act(call_of(info).shop, given)

    return guarded(name, run)


def guarded(name: str, run: Callable[[Info, Row], Row]) -> Callable[..., object]:
    """A resolver that asks for the scope and plays the refusal that was planned."""

    def resolve(_: object, info: Info, **given: object) -> object:
        call = call_of(info)
        if name.startswith("company"):
            sandbox_companies.need_companies(call, name, "write")
        if scope := scope_of(name, given):
            call.need(scope, name)
        planned = call.planned(name)
        answer: Row = {}
        if planned is None or planned.applies:
            before = call.shop.writes
            answer = run(info, given)
            call.writes += call.shop.writes > before
        if planned is None:
            return answer
        if planned.user_error is not None:
            return {"userErrors": [planned.user_error], "orderCancelUserErrors": [planned.user_error]}
        raise GraphQLError(planned.message, extensions={"code": planned.code})

    return resolve


def _create(shop: Shop, given: Row) -> Row:
    row, complaints = shop.create(inner(given, "input"))
    return {"customer": row, "userErrors": complaints}


def _update(shop: Shop, given: Row) -> Row:
    wish = inner(given, "input")
    row, complaints = shop.update(wish.get("id"), wish)
    return {"customer": row, "userErrors": complaints}


def _set(shop: Shop, given: Row) -> Row:
    """``customerSet``: by id, e-mail, phone or custom id; without any of them it makes a customer."""
    wish, (kind, value) = inner(given, "input"), next(iter(inner(given, "identifier").items()), ("", None))
    row, complaint = _identified(shop, kind, value, wish)
    if complaint:
        return {"userErrors": [complaint]}
    complaints = _try_addresses(shop, {"addresses": [], "default": None}, rows(wish, "addresses"))
    made = None
    if not complaints and row is None:
        made, complaints = shop.create({**wish, "metafields": _own_mark(shop, kind, value)})
    elif not complaints and row is not None:
        made, complaints = shop.update(gid("Customer", row["id"]), wish)
    if made is not None and "addresses" in wish:
        changed: Row = {**made, "addresses": [], "default": None}
        _try_addresses(shop, changed, rows(wish, "addresses"))
        made = shop.store(changed)
    told = [{**said, "field": ["input", *_path(said)], "code": _set_code(said)} for said in complaints]
    return {"customer": made, "userErrors": told}


def _identified(shop: Shop, kind: str, value: object, wish: Row) -> tuple[Row | None, Row | None]:
    """The customer that is meant, None for one to be made; and what is wrong with the question."""
    if kind in ("email", "phone") and not wish.get(kind):
        message = "The input field corresponding to the identifier is required."
        return None, {"field": ["input"], "message": message, "code": "MISSING_FIELD_REQUIRED"}
    if kind in ("email", "phone") and wish[kind] != value:
        message = "The identifier value does not match the value of the corresponding field in the input."
        return None, {"field": ["input"], "message": message, "code": "INPUT_MISMATCH"}
    row = find_customer(shop, kind, value) if kind else None
    if row is None and kind == "id":
        message = "Resource matching the identifier was not found."
        return None, {"field": ["input"], "message": message, "code": "NOT_FOUND"}
    return row, None


def _own_mark(shop: Shop, kind: str, value: object) -> list[object]:
    return [value] if kind == "customId" and shop.settings.custom_id_writes_marker else []


def _try_addresses(shop: Shop, row: Row, wished: list[Row]) -> list[Row]:
    """Writes them into the row; what is wrong with the first that cannot be."""
    for number, entry in enumerate(wished):
        if complaints := write_address(shop, row, entry, None, default=False)[1]:
            return [{**said, "field": ["addresses", str(number), *_path(said)[1:]]} for said in complaints]
    return []


def _path(complaint: Row) -> list[object]:
    found = complaint["field"]
    return found if isinstance(found, list) else []


def _set_code(complaint: Row) -> str:
    words = {"taken": "TAKEN", "too long": "TOO_LONG", "blank": "BLANK"}
    return next((code for word, code in words.items() if word in str(complaint["message"])), "INVALID")


def _consent(kind: str, member: str) -> Act:
    def act(shop: Shop, given: Row) -> Row:
        wish = inner(given, "input")
        row = deepcopy(shop.by_gid(wish["customerId"]))
        if row is None:
            return {
                "userErrors": [{"field": ["input", "customerId"], "message": "Customer not found", "code": "INVALID"}]
            }
        complaints = shop.consent(row, kind, inner(wish, member), ("input", member))
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
    made, complaints = write_address(shop, row, inner(given, "address"), own, default=bool(given.get("setAsDefault")))
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
    wish = inner(given, "definition")
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
    """All or nothing, across owners."""
    changed: dict[object, Row] = {}
    entries = rows(given, "metafields")
    if len(entries) > 25:
        return _metafield_refusal(None, {"field": ["metafields"], "message": "Exceeded the maximum of 25"})
    for number, entry in enumerate(entries):
        row = changed.get(entry["ownerId"]) or deepcopy(shop.owner(entry["ownerId"]))
        path = ("metafields", str(number))
        if row is None:
            return _metafield_refusal(number, {"field": [*path, "ownerId"], "message": "Owner does not exist"})
        if complaints := shop.set_metafields(row, [entry], ("metafields",)):
            said = complaints[0]
            return _metafield_refusal(number, {**said, "field": [*path, *_path(said)[2:]]})
        changed[entry["ownerId"]] = row
    kept: Row = {str(owner): shop.store(row)["metafields"] for owner, row in changed.items()}
    names = [(entry["ownerId"], f"{entry.get('namespace') or 'app--1'}.{entry['key']}") for entry in entries]
    return {
        "metafields": [shown_metafield(inner(kept, str(owner)).get(name)) for owner, name in names],
        "userErrors": [],
    }


def _metafield_refusal(number: int | None, said: Row) -> Row:
    code = "TAKEN" if "taken" in str(said["message"]) else "INVALID_VALUE"
    return {"metafields": None, "userErrors": [{**said, "code": code, "elementIndex": number}]}


def _metafields_delete(shop: Shop, given: Row) -> Row:
    deleted: list[Row | None] = []
    for entry in rows(given, "metafields"):
        row = deepcopy(shop.owner(entry["ownerId"]))
        kept = row["metafields"] if row else None
        if row is None or not isinstance(kept, dict) or kept.pop(f"{entry['namespace']}.{entry['key']}", None) is None:
            deleted.append(None)
            continue
        shop.store(row)
        deleted.append(entry)
    return {"deletedMetafields": deleted, "userErrors": []}


def scope_of(name: str, given: Row) -> str:
    """The scope that a mutation needs, "" for none; that of tags and metafields goes by whose they are."""
    known = next((scope for prefix, scope in _SCOPES.items() if name.startswith(prefix)), None)
    if known is not None:
        return known
    told = f"{inner(given, 'definition').get('ownerType')} {given.get('id')}".lower()
    told += "".join(str(entry.get("ownerId")).lower() for entry in rows(given, "metafields"))
    return next((scope for prefix, scope in _SCOPES.items() if prefix in told), "write_customers")


# By what a mutation's name begins with. None of them: of customers, or of whatever carries metafields and tags.
_SCOPES = {
    "bulk": "",
    "company": "",  # either of two: see ``sandbox_companies.py``
    "inventory": "write_inventory",
    "order": "write_orders",
    "paymentTerms": "write_payment_terms",
    "product": "write_products",
    "refund": "write_orders",
    "staged": "",
}


MUTATIONS: dict[str, Act] = {
    "customerCreate": _create,
    "customerUpdate": _update,
    "customerSet": _set,
    "customerAddressCreate": _address_write,
    "customerAddressUpdate": _address_write,
    "customerEmailMarketingConsentUpdate": _consent("email", "emailMarketingConsent"),
    "customerSmsMarketingConsentUpdate": _consent("sms", "smsMarketingConsent"),
    **sandbox_companies.MUTATIONS,
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
