"""Documents run by graphql-core against the official schema (trimmed), and what Shopify would charge for them."""

import base64
import json
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from graphql import (
    ExecutionResult,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    NoDeprecatedCustomRule,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    build_schema,
    execute,
    get_named_type,
    is_leaf_type,
    parse,
    validate,
)
from graphql.language import DocumentNode

from integrations.connectors.shopify import sandbox_search
from integrations.connectors.shopify.sandbox_shop import (
    Complaint,
    Row,
    Shop,
    add_tags,
    default_address,
    remove_tags,
)

PROTECTED = "This app is not approved to use the {field} field. See https://shopify.dev/docs/apps/launch/protected-customer-data for more details."


@dataclass
class Refusal:
    """A planned refusal: the next ``times`` runs of ``field`` after ``skip`` fail with this code, or user error."""

    field: str
    code: str = "INTERNAL_SERVER_ERROR"
    message: str = "Internal error. Looks like something went wrong on our end."
    times: int = 1
    skip: int = 0
    user_error: Complaint | None = None
    applies: bool = False  # the mutation is done all the same


@dataclass
class Call:
    """What resolvers need of the request they serve."""

    shop: Shop
    refusals: list[Refusal]
    warnings: list[Row] = field(default_factory=list)
    writes: int = 0

    def need(self, scope: str, name: str) -> None:
        scopes = set(self.shop.settings.scopes)
        if scope in scopes or scope.replace("read_", "write_") in scopes:
            return
        required = f"`{scope}` access scope."
        message = f"Access denied for {name} field. Required access: {required}"
        raise GraphQLError(message, extensions={"code": "ACCESS_DENIED", "requiredAccess": required})

    def protect(self, name: str) -> None:
        if not self.shop.settings.protected_data:
            raise GraphQLError(PROTECTED.format(field=name), extensions={"code": "ACCESS_DENIED"})

    def planned(self, name: str) -> Refusal | None:
        for refusal in self.refusals:
            if refusal.field == name:
                if refusal.skip:
                    refusal.skip -= 1
                    return None
                refusal.times -= 1
                if not refusal.times:
                    self.refusals.remove(refusal)
                return refusal
        return None


@dataclass(frozen=True)
class Prepared:
    """A document that was parsed and validated once."""

    document: DocumentNode
    errors: Sequence[GraphQLError]
    deprecated: str
    roots: tuple[str, ...]
    is_mutation: bool


class Engine:
    """The schema with its resolvers, and the documents seen so far."""

    def __init__(self) -> None:
        self.schema = _schema()
        self._seen: OrderedDict[str, Prepared] = OrderedDict()

    def prepare(self, text: str) -> Prepared:
        """Raises GraphQLError for what is no document."""
        known = self._seen.get(text)
        if known is None:
            known = self._seen[text] = _prepared(self.schema, text)
            if len(self._seen) > 500:
                self._seen.popitem(last=False)
        return known

    def price(self, prepared: Prepared, variables: Mapping[str, object]) -> int:
        """What the document asks for."""
        return _Pricing(self.schema, prepared.document, variables).total()

    def run(self, prepared: Prepared, variables: Mapping[str, object], call: Call) -> ExecutionResult:
        result = execute(self.schema, prepared.document, context_value=call, variable_values=dict(variables))
        assert isinstance(result, ExecutionResult)  # noqa: S101 -- nothing here is awaitable
        return result


def _prepared(schema: GraphQLSchema, text: str) -> Prepared:
    document = parse(text)
    operation = _operation(document)
    errors = validate(schema, document)
    roots = tuple(node.name.value for node in operation.selection_set.selections if isinstance(node, FieldNode))
    deprecated = "" if errors else "; ".join(e.message for e in validate(schema, document, [NoDeprecatedCustomRule]))
    return Prepared(document, errors, deprecated, roots, operation.operation is OperationType.MUTATION)


def _operation(document: DocumentNode) -> OperationDefinitionNode:
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            return node
    raise GraphQLError("No operation to execute")


# -- cost: scalars 0, objects 1, a mutation 10, a connection by its size (README.md, "Cost")

_ROW = 0.045
LIST_END = 25_000


class _Pricing:
    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, object]) -> None:
        self._schema = schema
        self._variables = variables
        self._operation = _operation(document)
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._fragment_prices: dict[str, float] = {}

    def total(self) -> int:
        is_mutation = self._operation.operation is OperationType.MUTATION
        root = self._schema.mutation_type if is_mutation else self._schema.query_type
        assert root is not None  # noqa: S101 -- both roots are in the schema
        return math.ceil(self._selections(self._operation.selection_set, root, 9.0 if is_mutation else 0.0))

    def _selections(
        self, selections: SelectionSetNode, parent: GraphQLObjectType | GraphQLInterfaceType, more: float = 0.0
    ) -> float:
        price, dearest = 0.0, 0.0
        for node in selections.selections:
            if isinstance(node, FieldNode):
                price += self._field(node, parent, more)
            elif isinstance(node, FragmentSpreadNode):
                price += self._fragment(node.name.value)
            elif isinstance(node, InlineFragmentNode):
                dearest = max(dearest, self._selections(node.selection_set, self._named(node.type_condition, parent)))
        return price + dearest

    def _fragment(self, name: str) -> float:
        known = self._fragment_prices.get(name)
        if known is None:
            node = self._fragments[name]
            known = self._selections(node.selection_set, self._named(node.type_condition, None))
            self._fragment_prices[name] = known
        return known

    def _named(
        self, condition: object, otherwise: GraphQLObjectType | GraphQLInterfaceType | None
    ) -> GraphQLObjectType | GraphQLInterfaceType:
        name = getattr(getattr(condition, "name", None), "value", "")
        found = self._schema.type_map.get(name, otherwise)
        assert isinstance(found, GraphQLObjectType | GraphQLInterfaceType)  # noqa: S101 -- validated before
        return found

    def _field(self, node: FieldNode, parent: GraphQLObjectType | GraphQLInterfaceType, more: float) -> float:
        declared = parent.fields.get(node.name.value)
        if declared is None or node.selection_set is None:
            return more + (1.0 if more else 0.0)
        kind = get_named_type(declared.type)
        if is_leaf_type(kind) or not isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            return more
        inner = self._selections(node.selection_set, kind)
        if kind.name.endswith("Connection"):
            return 1 + math.ceil(self._size(node) * inner * _ROW)
        if node.name.value == "nodes" and parent is self._schema.query_type:
            ids = self._argument(node, "ids")
            return (1 + inner) * (len(ids) if isinstance(ids, list) else 1)
        return 1 + inner + more

    def _size(self, node: FieldNode) -> int:
        for name in ("first", "last"):
            size = self._argument(node, name)
            if isinstance(size, int):
                return size
        return 50

    def _argument(self, node: FieldNode, name: str) -> object:
        for argument in node.arguments:
            if argument.name.value == name:
                if isinstance(argument.value, VariableNode):
                    return self._variables.get(argument.value.name.value)
                if isinstance(argument.value, IntValueNode):
                    return int(argument.value.value)
        return None


def actual_price(data: object, *, is_mutation: bool) -> int:
    """What was really found: one per object in the answer, ten per mutation that ran."""
    if not isinstance(data, dict):
        return 0
    ran = [value for value in data.values() if value is not None]
    return sum(_objects(value) for value in ran) + (9 * len(ran) if is_mutation else 0)


def _objects(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(_objects(inner) for inner in value.values())
    if isinstance(value, list):
        return sum(_objects(inner) for inner in value)
    return 0


# -- resolvers. A customer is the shop's own row; leaf members with other names get a resolver each.

Info = GraphQLResolveInfo


def _call(info: Info) -> Call:
    call: Call = info.context
    return call


def _gid(kind: str, number: object) -> str:
    return f"gid://shopify/{kind}/{number}"


@cache
def _schema() -> GraphQLSchema:
    schema = build_schema((Path(__file__).parent / "schema.graphql").read_text("utf-8"))
    for kind, resolvers in {
        "QueryRoot": _QUERIES,
        "Mutation": {name: _mutation(name, act) for name, act in _MUTATIONS.items()},
        "Customer": _CUSTOMER,
        "CustomerEmailAddress": {"emailAddress": _protected("emailAddress")},
        "CustomerPhoneNumber": {"phoneNumber": _protected("phoneNumber")},
        "MailingAddress": {
            name: _protected(name) for name in ("firstName", "lastName", "name", "phone", "address1", "address2", "zip")
        },
    }.items():
        for name, resolver in resolvers.items():
            schema.type_map[kind].fields[name].resolve = resolver  # type: ignore[attr-defined]  # object types, by name
    schema.type_map["Node"].resolve_type = lambda *_: "Customer"  # type: ignore[attr-defined]  # the one kind we keep
    return schema


def _protected(name: str) -> Callable[[Row, Info], object]:
    def resolve(row: Row, info: Info) -> object:
        _call(info).protect(name)
        return row.get(name)

    return resolve


def _display_name(row: Row, info: Info) -> object:
    _call(info).protect("displayName")
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


def _address(address: Row | None) -> Row | None:
    if address is None:
        return None
    name = " ".join(str(address[part]) for part in ("firstName", "lastName") if address[part])
    gid = f"{_gid('MailingAddress', address['id'])}?model_name=CustomerAddress"
    code = address["countryCode"]
    return {
        **address,
        "id": gid,
        "countryCodeV2": code,
        "country": code,
        "province": address["provinceCode"],
        "name": name,
    }


def _metafield_row(metafield: Row | None) -> Row | None:
    if metafield is None:
        return None
    return {**metafield, "id": _gid("Metafield", metafield["id"]), "compareDigest": str(hash(str(metafield["value"])))}


def _metafield(row: Row, _info: Info, *, key: str, namespace: str = "app--1") -> object:
    kept = row["metafields"]
    return _metafield_row(kept.get(f"{namespace}.{key}")) if isinstance(kept, dict) else None


def _metafields(row: Row, _info: Info, **asked: object) -> object:
    kept = row["metafields"]
    rows = list(kept.values()) if isinstance(kept, dict) else []
    if asked.get("namespace"):
        rows = [entry for entry in rows if entry["namespace"] == asked["namespace"]]
    return _connection([_metafield_row(entry) for entry in rows], asked)


def _addresses(row: Row, _info: Info, **asked: object) -> object:
    rows = row["addresses"]
    return _connection([_address(entry) for entry in rows] if isinstance(rows, list) else [], asked)


_CUSTOMER: dict[str, Callable[..., object]] = {
    "id": lambda row, _: _gid("Customer", row["id"]),
    "legacyResourceId": lambda row, _: str(row["id"]),
    "verifiedEmail": lambda *_: True,
    "firstName": _protected("firstName"),
    "lastName": _protected("lastName"),
    "email": _protected("email"),
    "phone": _protected("phone"),
    "displayName": _display_name,
    "defaultEmailAddress": _email,
    "defaultPhoneNumber": _phone,
    "defaultAddress": lambda row, _: _address(default_address(row)),
    "addressesV2": _addresses,
    "metafield": _metafield,
    "metafields": _metafields,
}


def _customer(_: object, info: Info, *, id: str) -> object:
    _call(info).need("read_customers", "customer")
    return _call(info).shop.by_gid(id)


def _by_identifier(_: object, info: Info, *, identifier: Row) -> object:
    call = _call(info)
    call.need("read_customers", "customerByIdentifier")
    name, value = next(iter(identifier.items()))
    match name:
        case "id":
            return call.shop.by_gid(value)
        case "emailAddress":
            return call.shop.by_email(str(value))
        case "phoneNumber":
            return call.shop.by_phone(str(value))
    wanted = value if isinstance(value, dict) else {}
    namespace, key = str(wanted.get("namespace") or "app--1"), str(wanted["key"])
    definition = call.shop.definition(namespace, key)
    if definition is None or definition["type"] != "id":
        message = "Metafield definition of type 'id' is required when using custom ids."
        raise GraphQLError(message, extensions={"code": "NOT_FOUND"})
    return call.shop.by_mark(namespace, key, str(wanted["value"]))


_SORTS: dict[str, Callable[[Row], tuple[object, ...]]] = {
    "ID": lambda row: (row["id"],),
    "UPDATED_AT": lambda row: (row["updatedAt"], row["id"]),
    "CREATED_AT": lambda row: (row["createdAt"], row["id"]),
    "NAME": lambda row: (str(row["lastName"] or ""), str(row["firstName"] or ""), row["id"]),
}


def _customers(_: object, info: Info, **asked: object) -> object:
    call = _call(info)
    call.need("read_customers", "customers")
    key = _SORTS.get(str(asked.get("sortKey", "ID")), _SORTS["ID"])
    backwards = bool(asked.get("reverse"))
    rows = sorted(_searched(call, asked.get("query")), key=key, reverse=backwards)
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
    call = _call(info)
    call.need("read_customers", "customersCount")
    count, limit = len(_searched(call, asked.get("query"))), asked.get("limit")
    if isinstance(limit, int) and count > limit:
        return {"count": limit, "precision": "AT_LEAST"}
    return {"count": count, "precision": "EXACT"}


def _nodes(_: object, info: Info, *, ids: Sequence[str]) -> object:
    _call(info).need("read_customers", "nodes")
    return [_call(info).shop.by_gid(gid) for gid in ids]


def _connection(rows: Sequence[object], asked: Mapping[str, object]) -> Row:
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
    shop = _call(info).shop
    settings = shop.settings
    return {
        "id": _gid("Shop", shop.number), "name": settings.name, "myshopifyDomain": f"{shop.handle}.myshopify.com",
        "currencyCode": settings.currency, "ianaTimezone": settings.zone, "taxesIncluded": True, "taxShipping": False,
        "email": "owner@example.com", "contactEmail": "hello@example.com",
        "plan": {"publicDisplayName": settings.plan, "shopifyPlus": settings.plan == "Plus", "partnerDevelopment": False},
        "shopAddress": {"id": _gid("ShopAddress", shop.number), "countryCodeV2": settings.country, "provinceCode": "NSW" if settings.country == "AU" else None},
    }  # fmt: skip


def _installation(_: object, info: Info) -> object:
    shop = _call(info).shop
    scopes = [{"handle": scope, "description": scope} for scope in shop.settings.scopes]
    return {
        "id": _gid("AppInstallation", shop.number + 1),
        "accessScopes": scopes,
        "app": {"id": _gid("App", 1), "title": "Suture"},
    }


def _versions(_: object, info: Info) -> object:
    served = _call(info).shop.settings.served_version
    return [{"displayName": served, "handle": served, "supported": True}]


def _definitions(_: object, info: Info, **asked: object) -> object:
    rows = [
        _definition(row)
        for row in _call(info).shop.definitions
        if asked.get("namespace") in (None, row["namespace"]) and asked.get("key") in (None, row["key"])
    ]
    return _connection(rows, asked)


def _definition(row: Row) -> Row:
    is_id = row["type"] == "id"
    return {
        **row, "id": _gid("MetafieldDefinition", row["id"]), "type": {"name": row["type"], "category": "TEXT"},
        "ownerType": "CUSTOMER", "validationStatus": "ALL_VALID",
        "capabilities": {
            "uniqueValues": {"enabled": is_id, "eligible": True},
            "adminFilterable": {"enabled": False, "eligible": True, "status": "NOT_FILTERABLE"},
        },
    }  # fmt: skip


_QUERIES: dict[str, Callable[..., object]] = {
    "customer": _customer,
    "customerByIdentifier": _by_identifier,
    "customers": _customers,
    "customersCount": _count,
    "nodes": _nodes,
    "shop": _shop,
    "currentAppInstallation": _installation,
    "publicApiVersions": _versions,
    "metafieldDefinitions": _definitions,
}


# -- mutations: (shop, arguments) -> payload. One that changed something is counted.

Act = Callable[[Shop, Row], Row]


def _mutation(name: str, act: Act) -> Callable[..., object]:
    def resolve(_: object, info: Info, **given: object) -> object:
        call = _call(info)
        call.need("write_customers", name)
        planned = call.planned(name)
        if planned is None or planned.applies:
            before = call.shop.writes
            answer = act(call.shop, given)
            call.writes += call.shop.writes > before
        if planned is None:
            return answer
        if planned.user_error is not None:
            return {"userErrors": [planned.user_error]}
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
        own = next((entry for entry in rows if _gid("MailingAddress", entry["id"]) == wanted), None)
        if own is None:
            return {"userErrors": [{"field": ["addressId"], "message": "Address does not exist"}]}
    made, complaints = shop.write_address(row, _inner(given, "address"), own, default=bool(given.get("setAsDefault")))
    if made is not None:
        shop.store(row)
    return {"address": _address(made), "userErrors": complaints}


def _tags(change: Callable[[Row, object], None]) -> Act:
    def act(shop: Shop, given: Row) -> Row:
        row = deepcopy(shop.by_gid(given["id"]))
        if row is None:
            return {"userErrors": [{"field": ["id"], "message": "Resource does not exist"}]}
        change(row, given["tags"])
        return {"node": shop.store(row), "userErrors": []}

    return act


def _define(shop: Shop, given: Row) -> Row:
    wish = _inner(given, "definition")
    namespace, key = str(wish.get("namespace") or "app--1"), str(wish["key"])
    if shop.definition(namespace, key) is not None:
        said = {"field": ["definition", "key"], "message": "Key is in use for Customer metafields.", "code": "TAKEN"}
        return {"createdDefinition": None, "userErrors": [said]}
    made: Row = {
        "id": shop.next_id(), "name": wish["name"], "namespace": namespace, "key": key, "type": wish["type"],
        "description": wish.get("description"),
    }  # fmt: skip
    shop.definitions.append(made)
    shop.writes += 1
    return {"createdDefinition": _definition(made), "userErrors": []}


def _metafields_set(shop: Shop, given: Row) -> Row:
    changed: list[Row] = []
    for number, entry in enumerate(_rows(given, "metafields")):
        row = deepcopy(shop.by_gid(entry["ownerId"]))
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
        row = deepcopy(shop.by_gid(entry["ownerId"]))
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


_MUTATIONS: dict[str, Act] = {
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
