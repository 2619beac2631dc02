"""Shopify as a small server with state: what ``README.md`` says, over HTTP, with faults on demand.

Any number of shops: ``/{handle}/admin/api/2026-10/graphql.json``, or without the handle for the only one. A shop opens
when it is first asked. Besides the kit's own edits, ``/_sandbox/`` takes (HANDLE is the shop's)::

    GET    shops                            what is there: handles, settings, counts
    PATCH  shops/HANDLE {fields of Settings}        plan, b2b, scopes, protected_data, state, token, search_lag_s ..
    GET    shops/HANDLE/customers           the rows as kept
    POST   shops/HANDLE/customers {fields}  as the merchant would add one; members as in CustomerInput
    PATCH  shops/HANDLE/customers/ID        as the merchant would edit it
    GET    shops/HANDLE/products            GET    shops/HANDLE/locations           GET    shops/HANDLE/stock
    POST   shops/HANDLE/products {fields}   as the merchant would add one; ``variants`` as in ProductVariantSetInput, or how many
    DELETE shops/HANDLE/products/ID
    POST   shops/HANDLE/locations {"name", "active", "service"}
    POST   shops/HANDLE/stock {"item", "location", "available", "active"}    as the merchant would count or sell
    DELETE shops/HANDLE/customers/ID        DELETE shops/HANDLE/definitions: all metafield definitions and their values
    GET    shops/HANDLE/orders              the rows as kept, with the money as it stands
    PATCH  shops/HANDLE/orders/ID {fields}  as the merchant would edit it: note, poNumber, tags, taxesIncluded ..
    POST   shops/HANDLE/merge {"keep", "gone"}
    POST   shops/HANDLE/refusals {fields of Refusal}    one mutation of a document fails
    GET    shops/HANDLE/bulk                bulk runs; ``bulk_`` settings say how fast, how many and whether the next fails
    GET    operations[?shop=HANDLE]         every document run: what it asked, what it cost, the bucket before and after
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

from graphql import GraphQLError

from integrations.connectors.sandbox_kit import Clock, Fault, FaultKind, Request, Response, Server, json_response
from integrations.connectors.shopify import sandbox_bulk
from integrations.connectors.shopify.sandbox_call import Call, Refusal
from integrations.connectors.shopify.sandbox_catalogue import catalogue_admin
from integrations.connectors.shopify.sandbox_cost import actual_price
from integrations.connectors.shopify.sandbox_orders import orders_admin
from integrations.connectors.shopify.sandbox_rows import Row
from integrations.connectors.shopify.sandbox_schema import Engine, Prepared
from integrations.connectors.shopify.sandbox_settings import Settings
from integrations.connectors.shopify.sandbox_shop import OWNERS, Shop

_PATH = re.compile(r"(?:/(?P<shop>[a-z0-9-]+))?/admin/api/(?P<version>[a-z0-9-]+)/graphql\.json")
_STATES = {
    "frozen": (402, "Payment Required"),
    "forbidden": (403, "[API] This action requires merchant approval for read_customers scope."),
    "absent": (404, "Not Found"),
    "locked": (423, "Locked"),
    "suspicious": (430, "Shopify Security Rejection"),
}
_EDITS = {
    "bulk": sandbox_bulk.bulk_admin,
    "locations": catalogue_admin,
    "orders": orders_admin,
    "products": catalogue_admin,
    "stock": catalogue_admin,
}
_REFUSED = "[API] Invalid API key or access token (unrecognized login or wrong password)"


@dataclass(frozen=True)
class Operation:
    """One document that came in, or the rows of a bulk run since the entry before. ``before`` and ``after`` are the
    bucket's levels; refused ones ran nothing."""

    at: float
    shop: str
    roots: tuple[str, ...]
    requested: int
    actual: int | None
    before: float
    after: float
    writes: int
    throttled: bool
    rows: int = 0


class Bucket:
    """A leaky bucket of points, refilled by the vendor's clock."""

    def __init__(self) -> None:
        self.level: float | None = None
        self._at = 0.0

    def refill(self, settings: Settings, now: float) -> float:
        level = settings.capacity if self.level is None else self.level
        level += max(0.0, now - self._at) * settings.restore_rate
        self.level, self._at = min(level, settings.capacity), now
        return self.level


class ShopifyVendor:
    """The vendor as the kit serves it. ``operations`` is the journal of documents, ``shops`` the state."""

    name = "shopify"

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.shops: dict[str, Shop] = {}
        self.operations: list[Operation] = []
        self._engine = Engine()
        self._buckets: dict[str, Bucket] = {}
        self._refusals: dict[str, list[Refusal]] = {}
        self._changes = 0
        self._request_ids = itertools.count(1)

    def shop(self, handle: str = "sandbox") -> Shop:
        """The shop, opened if need be."""
        if handle not in self.shops:
            self.shops[handle] = Shop(handle, self.clock.now)
            self._changes += 1
        return self.shops[handle]

    @property
    def version(self) -> int:
        return self._changes + sum(shop.writes + shop.turns for shop in self.shops.values())

    def writes(self, handle: str = "") -> int:
        """Mutations that changed something since the journal of documents began."""
        return sum(operation.writes for operation in self.operations if handle in ("", operation.shop))

    # -- the kit's questions

    def subject(self, request: Request) -> str:
        found = _PATH.fullmatch(request.path)
        return self._handle(found, request) if found else ""

    def dump(self) -> object:
        return {handle: shop.dump() for handle, shop in self.shops.items()}

    def restore(self, state: object) -> None:
        told = state if isinstance(state, dict) else {}
        self.shops = {handle: Shop.restored(handle, self.clock.now, shop) for handle, shop in told.items()}

    def reset(self) -> None:
        self.shops.clear()
        self.operations.clear()
        self._buckets.clear()
        self._refusals.clear()
        self._changes += 1

    def refuse_next(self, handle: str, refusal: Refusal) -> None:
        self._refusals.setdefault(handle, []).append(refusal)

    def answer(self, request: Request) -> Response:
        self.advance(most_s=0.1)
        file = sandbox_bulk.answer_file(self.shops, request)
        if file is not None:
            return file
        found = _PATH.fullmatch(request.path)
        if found is None or request.method != "POST":
            return json_response(404, {"errors": "Not Found"})
        shop = self.shop(self._handle(found, request))
        headers = [
            ("X-Request-Id", f"{shop.number:x}-{next(self._request_ids):08x}"),
            ("X-Shopify-API-Version", shop.settings.served_version),
        ]
        refused = self._refused(shop, request)
        if refused is not None:
            return json_response(refused[0], {"errors": refused[1]}, headers)
        call = self._call(shop)
        call.base = f"http://{request.headers.get('host', '127.0.0.1')}/{shop.handle}"
        body, reason = self._serve(call, request)
        if reason:
            headers.append(("X-Shopify-API-Deprecated-Reason", reason.replace("\n", " ")[:200]))
        return json_response(200, body, headers)

    def _handle(self, found: re.Match[str], request: Request) -> str:
        host = request.headers.get("host", "")
        if host.endswith(".myshopify.com"):
            return host.partition(".")[0]
        return found["shop"] or next(iter(self.shops), "sandbox")

    def _refused(self, shop: Shop, request: Request) -> tuple[int, str] | None:
        if shop.settings.state in _STATES:
            return _STATES[shop.settings.state]
        token = request.headers.get("x-shopify-access-token", "")
        known = shop.settings.token
        if not token or (known and token != known) or (not known and re.search("bad|revoked", token)):
            return 401, _REFUSED
        return None

    def _call(self, shop: Shop) -> Call:
        refusals = self._refusals.setdefault(shop.handle, [])
        return Call(shop, refusals, bulk_complaint=self._engine.bulk_complaint)

    # -- bulk runs

    def advance(self, *, most_s: float = 0.02) -> bool:
        """Does the rows of bulk runs that are due, within so many seconds; whether any were."""
        moved = False
        for shop in self.shops.values():
            call = self._call(shop)
            for run, rows in sandbox_bulk.advance(shop, partial(self._row, call), most_s=most_s):
                self._note_rows(shop, run, rows, call.writes)
                call.writes = 0
                moved = True
        return moved

    def _row(self, call: Call, document: str, variables: Mapping[str, object]) -> Row:
        """One row costs no points."""
        call.variables = variables
        result = self._engine.run(self._engine.prepare(document), variables, call)
        answer: Row = (
            {"errors": [_error(error, "INVALID_VARIABLE") for error in result.errors]} if result.errors else {}
        )
        return answer if result.data is None else {"data": result.data, **answer}

    def _note_rows(self, shop: Shop, run: Row, rows: int, writes: int) -> None:
        run["writes"] = int(str(run["writes"])) + writes
        level = self._buckets.setdefault(shop.handle, Bucket()).refill(shop.settings, self.clock.now())
        roots = (f"bulk:{run['id']}",)
        last = self.operations[-1] if self.operations else None
        if last is not None and (last.shop, last.roots) == (shop.handle, roots):
            rows, writes = rows + last.rows, writes + last.writes
            self.operations.pop()
        self._note(Operation(self.clock.now(), shop.handle, roots, 0, 0, level, level, writes, False, rows))

    # -- one document

    def _serve(self, call: Call, request: Request) -> tuple[Row, str]:
        """The answer's body, and the reason if a deprecated member was used."""
        try:
            body = request.json()
            told = body if isinstance(body, dict) else {}
            prepared = self._engine.prepare(str(told.get("query") or ""))
        except ValueError:
            return {"errors": [{"message": "Required parameter missing or invalid"}]}, ""
        except GraphQLError as error:
            return {"errors": [_error(error, "PARSE_ERROR")]}, ""
        if prepared.errors:
            return {"errors": [_error(error, "undefinedField") for error in prepared.errors]}, ""
        variables = told.get("variables")
        return self._charge(call, prepared, variables if isinstance(variables, dict) else {}), prepared.deprecated

    def _charge(self, call: Call, prepared: Prepared, variables: Mapping[str, object]) -> Row:
        shop = call.shop
        requested = self._engine.price(prepared, variables)
        most = shop.settings.most_points
        if requested > most:
            message = f"Query cost is {requested}, which exceeds the single query max cost limit ({most})."
            return {"errors": [{"message": message, "extensions": {"code": "MAX_COST_EXCEEDED", "cost": requested}}]}
        now = self.clock.now()
        bucket = self._buckets.setdefault(shop.handle, Bucket())
        before = bucket.refill(shop.settings, now)
        if requested > before:
            self._note(Operation(now, shop.handle, prepared.roots, requested, None, before, before, 0, True))
            error = {"message": "Throttled", "extensions": {"code": "THROTTLED"}}
            return {"errors": [error], "extensions": {"cost": _cost(shop.settings, requested, None, before)}}
        call.variables = variables
        result = self._engine.run(prepared, variables, call)
        actual = min(requested, actual_price(result.data, is_mutation=prepared.is_mutation))
        after = bucket.level = before - actual
        self._note(Operation(now, shop.handle, prepared.roots, requested, actual, before, after, call.writes, False))
        answer: Row = {}
        if result.errors:
            answer["errors"] = [_error(error, "INVALID_VARIABLE") for error in result.errors]
        if result.data is not None or not result.errors or any(error.path for error in result.errors):
            answer["data"] = result.data
        extensions: Row = {"cost": _cost(shop.settings, requested, actual, after)}
        if call.warnings:
            extensions["search"] = call.warnings
        return {**answer, "extensions": extensions}

    def _note(self, operation: Operation) -> None:
        self.operations.append(operation)

    # -- the edits

    def admin(self, request: Request) -> Response | None:
        body = request.json()
        given = body if isinstance(body, dict) else {}
        match request.method, request.path.split("/"):
            case "GET", ["shops"]:
                return json_response(200, {"shops": [_summary(shop) for shop in self.shops.values()]})
            case "GET", ["operations"]:
                wanted = dict(request.params).get("shop", "")
                found = [asdict(one) for one in self.operations if wanted in ("", one.shop)]
                return json_response(200, {"operations": found})
            case "DELETE", ["operations"]:
                self.operations.clear()
            case "PATCH", ["shops", handle]:
                self.configure(handle, **given)
            case method, ["shops", handle, *rest]:
                return self._shop_admin(method, self.shop(handle), rest, given)
            case _:
                return None
        return json_response(200, {"ok": True})

    def configure(self, handle: str, **settings: object) -> Shop:
        """Changes a shop's settings. Raises ValueError for one it does not have."""
        shop = self.shop(handle)
        if unknown := set(settings) - {column.name for column in fields(Settings)}:
            raise ValueError(f"a shop has no {', '.join(sorted(unknown))}")
        for name, value in settings.items():
            setattr(shop.settings, name, value)
        self._changes += 1
        return shop

    def _shop_admin(self, method: str, shop: Shop, rest: list[str], given: Row) -> Response | None:
        self._changes += 1
        if (edit := _EDITS.get(next(iter(rest), ""))) is not None:
            return edit(shop, method, rest, given)
        match method, rest:
            case "GET", ["customers"]:
                return json_response(200, {"customers": list(shop.customers.values())})
            case "POST", ["customers"]:
                row, complaints = shop.create(given)
                return json_response(201 if row else 422, {"customer": row, "userErrors": complaints})
            case "PATCH", ["customers", key]:
                row, complaints = shop.update(f"gid://shopify/Customer/{key}", given)
                return json_response(200 if row else 422, {"customer": row, "userErrors": complaints})
            case "DELETE", ["customers", key]:
                shop.remove(int(key))
            case "DELETE", ["definitions"]:
                forget_definitions(shop)
            case "POST", ["merge"]:
                shop.merge(int(str(given["keep"])), int(str(given["gone"])))
            case "POST", ["refusals"]:
                self.refuse_next(shop.handle, Refusal(**given))  # type: ignore[arg-type]  # a wrong name is a 400
            case _:
                return None
        return json_response(200, {"ok": True})


def forget_definitions(shop: Shop) -> None:
    """What deleting the definitions together with their values does."""
    gone = {(row["ownerType"], f"{row['namespace']}.{row['key']}") for row in shop.definitions}
    shop.definitions.clear()
    for kind, owner in OWNERS.items():
        for row in shop.rows(kind).values():
            kept = row.get("metafields")
            if isinstance(kept, dict):
                row["metafields"] = {name: value for name, value in kept.items() if (owner, name) not in gone}
    shop.index()


def throttle_storm(times: int, *, subject: str = "") -> Fault:
    """The kit's fault for so many refusals for want of points, whatever the bucket says."""
    body = '{"errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}]}'
    return Fault(FaultKind.STATUS, times=times, subject=subject, status=200, body=body)


def _error(error: GraphQLError, otherwise: str) -> Row:
    """An entry of ``errors``: those of resolvers carry a path and their own code."""
    told: Row = {"message": error.message}
    if error.path:
        return {**told, "path": list(error.path), "extensions": error.extensions or {"code": "INTERNAL_SERVER_ERROR"}}
    return {**told, "extensions": {"code": otherwise}}


def _cost(settings: Settings, requested: int, actual: int | None, level: float) -> Row:
    return {
        "requestedQueryCost": requested,
        "actualQueryCost": actual,
        "throttleStatus": {
            "maximumAvailable": settings.capacity,
            "currentlyAvailable": int(level),
            "restoreRate": settings.restore_rate,
        },
    }


def _summary(shop: Shop) -> Row:
    return {
        "handle": shop.handle,
        "settings": asdict(shop.settings),
        "customers": len(shop.customers),
        "orders": len(shop.orders),
        "products": len(shop.products),
        "locations": list(shop.locations.values()),
        "definitions": shop.definitions,
        "writes": shop.writes,
    }


def serve(port: int = 0, state_dir: Path | None = None, *, clock: Clock | None = None) -> Server[ShopifyVendor]:
    """A running Shopify. ``server.vendor`` edits it, ``server.journal`` and ``server.faults`` are the kit's."""
    vendor = ShopifyVendor(clock=clock)
    return Server(vendor, port=port, state_dir=state_dir, chores=vendor.advance)
