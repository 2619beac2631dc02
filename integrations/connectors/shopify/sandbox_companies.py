"""Companies (B2B) of the sandboxed shop: listed, made, and what a customer has to do with them."""

from collections.abc import Callable
from copy import deepcopy

from graphql import GraphQLError

from integrations.connectors.shopify import sandbox_search
from integrations.connectors.shopify.sandbox_call import Call, Info, call_of, gid
from integrations.connectors.shopify.sandbox_reads import listed
from integrations.connectors.shopify.sandbox_rows import Row, as_rows, inner, whole
from integrations.connectors.shopify.sandbox_shop import Shop

_SORTS: dict[str, Callable[[Row], tuple[object, ...]]] = {
    "ID": lambda row: (row["id"],),
    "UPDATED_AT": lambda row: (row["updatedAt"], row["id"]),
}


def need_companies(call: Call, name: str, what: str = "read") -> None:
    """Raises GraphQLError where the shop has none, or the token may not see them."""
    either = {f"{word}_{kind}" for word in {what, "write"} for kind in ("customers", "companies")}
    if call.shop.settings.b2b and either & set(call.shop.settings.scopes):
        return
    required = f"`{what}_companies` access scope or `{what}_customers` access scope."
    message = f"Access denied for {name} field. Required access: {required}"
    raise GraphQLError(message, extensions={"code": "ACCESS_DENIED", "requiredAccess": required})


def _companies(_: object, info: Info, **asked: object) -> object:
    call = call_of(info)
    call.fail_as_planned("companies")
    need_companies(call, "companies")
    key = _SORTS.get(str(asked.get("sortKey", "ID")), _SORTS["ID"])
    return listed([_shown(row) for row in _searched(call, asked.get("query"))], asked, key)


def _searched(call: Call, query: object) -> list[Row]:
    if not query:
        return list(call.shop.companies.values())
    parsed = sandbox_search.parse(str(query), sandbox_search.COMPANY_FIELDS)
    if parsed.warnings:
        call.warnings.append({"path": ["companies"], "query": query, "parsed": {}, "warnings": parsed.warnings})
    return [row for row in call.shop.searchable("Company") if parsed.test(_search_document(row))]


def _search_document(row: Row) -> Row:
    return {
        "id": row["id"], "name": row["name"], "external_id": row["externalId"], "created_at": row["createdAt"],
        "updated_at": row["updatedAt"],
    }  # fmt: skip


def _shown(row: Row) -> Row:
    return {**row, "mainContact": None}


def contacts_of(shop: Shop, customer: object) -> list[Row]:
    """A customer's profiles, the oldest company first."""
    return [
        _contact(shop, company, entry)
        for company in shop.companies.values()
        for entry in as_rows(company["contacts"])
        if entry["customer"] == customer
    ]


def _contact(shop: Shop, company: Row, entry: Row) -> Row:
    stamp = company["createdAt"]
    return {
        "id": gid("CompanyContact", entry["id"]), "isMainContact": False, "company": _shown(company),
        "createdAt": stamp, "updatedAt": stamp,
        "customer": shop.customers.get(whole(entry["customer"])),
    }  # fmt: skip


def _profiles(row: Row, info: Info) -> object:
    need_companies(call_of(info), "companyContactProfiles")
    return contacts_of(call_of(info).shop, row["id"])


def add_company(shop: Shop, name: str, external_id: str | None = None) -> Row:
    """A company, as the merchant would add it where it has no external id."""
    stamp = shop.stamp()
    return shop.store(
        {
            "id": shop.next_id(), "kind": "Company", "name": name, "externalId": external_id, "note": None,
            "createdAt": stamp, "updatedAt": stamp, "contacts": [], "metafields": {},
        }
    )  # fmt: skip


def _create(shop: Shop, given: Row) -> Row:
    wish = inner(inner(given, "input"), "company")
    name, external_id = str(wish.get("name") or "").strip(), wish.get("externalId")
    if complaint := _complaint(shop, name, external_id):
        return {"company": None, "userErrors": [complaint]}
    return {"company": _shown(add_company(shop, name, str(external_id) if external_id else None)), "userErrors": []}


def _complaint(shop: Shop, name: str, external_id: object) -> Row | None:
    if not name:
        return _said("BLANK", "Name can't be blank", "input", "company", "name")
    if len(name) > 255:
        return _said("TOO_LONG", "Name is too long (maximum is 255 characters)", "input", "company", "name")
    if external_id and any(row["externalId"] == external_id for row in shop.companies.values()):
        return _said("TAKEN", "External id has already been taken", "input", "company", "externalId")
    return None


def _assign(shop: Shop, given: Row) -> Row:
    company, customer = deepcopy(shop.by_gid(given["companyId"], "Company")), shop.by_gid(given["customerId"])
    if company is None:
        return {"userErrors": [_said("RESOURCE_NOT_FOUND", "Company not found", "companyId")]}
    if customer is None:
        return {"userErrors": [_said("RESOURCE_NOT_FOUND", "Customer not found", "customerId")]}
    contacts = as_rows(company["contacts"])
    if any(entry["customer"] == customer["id"] for entry in contacts):
        return {"userErrors": [_said("TAKEN", "Customer is already a contact", "customerId")]}
    entry: Row = {"id": shop.next_id(), "customer": customer["id"]}
    company["contacts"] = [*contacts, entry]
    return {"companyContact": _contact(shop, shop.store(company), entry), "userErrors": []}


def _said(code: str, message: str, *path: str) -> Row:
    return {"field": list(path), "message": message, "code": code}


QUERIES: dict[str, Callable[..., object]] = {"companies": _companies}
CUSTOMER: dict[str, Callable[..., object]] = {"companyContactProfiles": _profiles}
RESOLVERS: dict[str, dict[str, Callable[..., object]]] = {
    "Company": {"id": lambda row, _: gid("Company", row["id"])},
}
MUTATIONS: dict[str, Callable[[Shop, Row], Row]] = {
    "companyCreate": _create,
    "companyAssignCustomerAsContact": _assign,
}
