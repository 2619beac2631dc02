"""Documents run by graphql-core against the official schema (trimmed), each parsed and validated once."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    NoDeprecatedCustomRule,
    OperationType,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    build_schema,
    execute,
    get_named_type,
    parse,
    validate,
    visit,
)

from integrations.connectors.shopify import sandbox_companies, sandbox_nodes, sandbox_order_reads, sandbox_product_reads
from integrations.connectors.shopify.sandbox_bulk import BULK_MUTATIONS, BULK_QUERIES
from integrations.connectors.shopify.sandbox_call import Call
from integrations.connectors.shopify.sandbox_cost import Pricing, operation_of
from integrations.connectors.shopify.sandbox_reads import CUSTOMER, QUERIES, protected
from integrations.connectors.shopify.sandbox_shop import kind_of
from integrations.connectors.shopify.sandbox_writes import MUTATIONS, mutation


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

    def bulk_complaint(self, text: str) -> str:
        """Why a document cannot be run in bulk, "" if it can."""
        try:
            prepared = self.prepare(text)
        except GraphQLError as error:
            return str(error.message)
        if prepared.errors:
            return str(prepared.errors[0].message)
        if not prepared.is_mutation or len(prepared.roots) != 1 or prepared.roots[0] in BULK_MUTATIONS:
            return "A bulk mutation holds exactly one mutation, and none that starts another."
        return "Too many connections." if _connections(self.schema, prepared.document) > 1 else ""

    def price(self, prepared: Prepared, variables: Mapping[str, object]) -> int:
        """What the document asks for."""
        return Pricing(self.schema, prepared.document, variables).total()

    def run(self, prepared: Prepared, variables: Mapping[str, object], call: Call) -> ExecutionResult:
        result = execute(self.schema, prepared.document, context_value=call, variable_values=dict(variables))
        assert isinstance(result, ExecutionResult)  # noqa: S101 -- nothing here is awaitable
        return result


def _connections(schema: GraphQLSchema, document: DocumentNode) -> int:
    info, found = TypeInfo(schema), [0]

    class Count(Visitor):
        def enter_field(self, *_: object) -> None:
            found[0] += str(get_named_type(info.get_type())).endswith("Connection")

    visit(document, TypeInfoVisitor(info, Count()))
    return found[0]


def _prepared(schema: GraphQLSchema, text: str) -> Prepared:
    document = parse(text)
    operation = operation_of(document)
    errors = validate(schema, document)
    roots = tuple(node.name.value for node in operation.selection_set.selections if isinstance(node, FieldNode))
    deprecated = "" if errors else "; ".join(e.message for e in validate(schema, document, [NoDeprecatedCustomRule]))
    return Prepared(document, errors, deprecated, roots, operation.operation is OperationType.MUTATION)


@cache
def _schema() -> GraphQLSchema:
    schema = build_schema((Path(__file__).parent / "schema.graphql").read_text("utf-8"))
    for kind, resolvers in {
        "QueryRoot": QUERIES
        | sandbox_product_reads.QUERIES
        | sandbox_order_reads.QUERIES
        | sandbox_nodes.QUERIES
        | sandbox_companies.QUERIES
        | BULK_QUERIES,
        "Mutation": {name: mutation(name, act) for name, act in MUTATIONS.items()} | BULK_MUTATIONS,
        **sandbox_product_reads.RESOLVERS,
        **sandbox_companies.RESOLVERS,
        "Customer": CUSTOMER | sandbox_companies.CUSTOMER,
        **sandbox_order_reads.TYPES,
        "CustomerEmailAddress": {"emailAddress": protected("emailAddress")},
        "CustomerPhoneNumber": {"phoneNumber": protected("phoneNumber")},
        "MailingAddress": {
            name: protected(name) for name in ("firstName", "lastName", "name", "phone", "address1", "address2", "zip")
        },
    }.items():
        for name, resolver in resolvers.items():
            schema.type_map[kind].fields[name].resolve = resolver  # type: ignore[attr-defined]  # object types, by name
    schema.type_map["Node"].resolve_type = lambda row, *_: kind_of(row)  # type: ignore[attr-defined]  # an interface, by name
    return schema
