"""What Shopify would charge for a document: scalars 0, objects 1, a mutation 10, a connection by its size.

The size of a connection is not published; ours fits what others measured (README.md, "Cost").
"""

import math
from collections.abc import Mapping

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_leaf_type,
)

_ROW = 0.045


class Pricing:
    """The price of one document with these variables."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, object]) -> None:
        self._schema = schema
        self._variables = variables
        self._operation = operation_of(document)
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._fragment_prices: dict[str, float] = {}

    def total(self) -> int:
        is_mutation = self._operation.operation is OperationType.MUTATION
        root = self._schema.mutation_type if is_mutation else self._schema.query_type
        assert root is not None  # noqa: S101 -- both roots are in the schema
        price = self._selections(self._operation.selection_set, root, 9.0 if is_mutation else 0.0)
        return math.ceil(price + self._sets())

    def _sets(self) -> float:
        """What ``productSet`` adds: a fifth for each variant, two fifths for each metafield."""
        wishes = [
            self._argument(node, "input")
            for node in self._operation.selection_set.selections
            if isinstance(node, FieldNode) and node.name.value == "productSet"
        ]
        lists = [(_length(wish, "variants"), _length(wish, "metafields")) for wish in wishes]
        return sum(0.2 * variants + 0.4 * metafields for variants, metafields in lists)

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


def _length(wish: object, name: str) -> int:
    found = wish.get(name) if isinstance(wish, dict) else None
    return len(found) if isinstance(found, list) else 0


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


def operation_of(document: DocumentNode) -> OperationDefinitionNode:
    for node in document.definitions:
        if isinstance(node, OperationDefinitionNode):
            return node
    raise GraphQLError("No operation to execute")
