"""``@idempotent(key:)``: the first answer of a key is kept for a day, and given again to the same input."""

import json
from collections.abc import Callable

from graphql import GraphQLError, VariableNode, get_directive_values

from integrations.connectors.shopify.sandbox_call import Info, call_of
from integrations.connectors.shopify.sandbox_rows import Row
from integrations.connectors.shopify.sandbox_shop import Shop

KEPT_S = 24 * 3600
CODED = frozenset({"inventoryAdjustQuantities", "inventorySetQuantities"})  # whose own errors know the key's codes
Again = Callable[[Shop, Row], Row]


def as_it_was(_shop: Shop, first: Row) -> Row:
    """The first answer, to the letter."""
    return dict(first)


def once(info: Info, name: str, given: Row, act: Callable[[Shop, Row], Row], again: Again) -> Row:
    """Runs ``act`` for a new key; ``again`` gives its first answer once more.

    Raises GraphQLError without a key. A key that has another input, or failed, is refused.
    """
    shop = call_of(info).shop
    key, sent = _key(info), _sent(info, name, given)
    kept = shop.keys.get(key)
    if kept is not None and shop.now() - float(str(kept["at"])) < KEPT_S:
        first = kept["answer"] if isinstance(kept["answer"], dict) else {}
        if kept["sent"] != sent:
            return _refused(name, "IDEMPOTENCY_KEY_PARAMETER_MISMATCH", "The key was used with other parameters.")
        if first.get("userErrors"):
            return _refused(name, "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED", "The first request with this key failed.")
        return again(shop, first)
    answer = act(shop, given)
    shop.keys[key] = {"at": shop.now(), "sent": sent, "answer": answer}
    return answer


def _refused(name: str, code: str, message: str) -> Row:
    """Beside the data where the mutation's own errors have no such code."""
    if name in CODED:
        return {"userErrors": [{"field": None, "message": message, "code": code}]}
    raise GraphQLError(message, extensions={"code": code})


def _key(info: Info) -> str:
    directive = info.schema.get_directive("idempotent")
    values = get_directive_values(directive, info.field_nodes[0], info.variable_values) if directive else None
    key = str((values or {}).get("key") or "")
    if not key.strip():
        message = "The @idempotent directive is required for this mutation but was not provided."
        raise GraphQLError(message, extensions={"code": "BAD_REQUEST"})
    return key


def _sent(info: Info, name: str, given: Row) -> str:
    """The input as it came, members in the order they came in."""
    names = [node.value.name.value for node in info.field_nodes[0].arguments if isinstance(node.value, VariableNode)]
    variables = call_of(info).variables
    return json.dumps([name, *map(variables.get, names)] if names else [name, given], default=str)
