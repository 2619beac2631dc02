"""What the sandbox's resolvers need of the request they serve, and the refusals that were planned for it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from graphql import GraphQLError, GraphQLResolveInfo

from integrations.connectors.shopify.sandbox_shop import Complaint, Row, Shop

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


Info = GraphQLResolveInfo


def call_of(info: Info) -> Call:
    call: Call = info.context
    return call


def gid(kind: str, number: object) -> str:
    return f"gid://shopify/{kind}/{number}"
