"""What the sandbox's resolvers need of the request they serve, and the refusals that were planned for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from graphql import GraphQLError, GraphQLResolveInfo

from integrations.connectors.shopify.sandbox_rows import Complaint, Row
from integrations.connectors.shopify.sandbox_shop import Shop, kind_of

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
    variables: Mapping[str, object] = field(default_factory=dict)
    base: str = "http://127.0.0.1"  # where the shop's files are, as seen by who asks
    bulk_complaint: Callable[[str], str] = lambda document: ""  # why a document cannot run in bulk
    warnings: list[Row] = field(default_factory=list)
    writes: int = 0

    def need(self, scope: str, name: str) -> None:
        scopes = set(self.shop.settings.scopes)
        if scope in scopes or scope.replace("read_", "write_") in scopes:
            return
        required = f"`{scope}` access scope."
        message = f"Access denied for {name} field. Required access: {required}"
        raise GraphQLError(message, extensions={"code": "ACCESS_DENIED", "requiredAccess": required})

    def hides(self, row: Row) -> bool:
        """Orders older than sixty days are silently absent without a scope of their own."""
        if kind_of(row) != "Order" or "read_all_orders" in self.shop.settings.scopes:
            return False
        made = datetime.fromisoformat(str(row["createdAt"])).timestamp()
        return self.shop.now() - made > 60 * 86_400

    def protect(self, name: str) -> None:
        if not self.shop.settings.protected_data:
            raise GraphQLError(PROTECTED.format(field=name), extensions={"code": "ACCESS_DENIED"})

    def fail_as_planned(self, name: str) -> None:
        """Raises GraphQLError where a refusal of this query was planned."""
        if (planned := self.planned(name)) is not None:
            raise GraphQLError(planned.message, extensions={"code": planned.code})

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


Info = GraphQLResolveInfo


def call_of(info: Info) -> Call:
    call: Call = info.context
    return call


def by_custom_id(shop: Shop, given: object, kind: str) -> Row | None:
    """Who carries the value of a metafield of type ``id``. Raises GraphQLError where none is defined so."""
    wanted = given if isinstance(given, dict) else {}
    namespace, key = str(wanted.get("namespace") or "app--1"), str(wanted["key"])
    definition = shop.definition(namespace, key, kind)
    if definition is None or definition["type"] != "id":
        message = "Metafield definition of type 'id' is required when using custom ids."
        raise GraphQLError(message, extensions={"code": "NOT_FOUND"})
    return shop.by_mark(namespace, key, str(wanted["value"]), kind)


def gid(kind: str, number: object) -> str:
    return f"gid://shopify/{kind}/{number}"
