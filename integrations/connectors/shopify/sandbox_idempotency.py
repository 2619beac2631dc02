"""``@idempotent(key:)``: the first answer of a key is kept for a day, and given again to the same input."""

import json
from collections.abc import Callable

from graphql import GraphQLError, VariableNode, get_directive_values

from integrations.connectors.shopify.sandbox_call import Info, call_of
from integrations.connectors.shopify.sandbox_shop import Row, Shop

KEPT_S = 24 * 3600
Again = Callable[[Shop, object], Row]


def once(info: Info, given: Row, act: Callable[[Shop, Row], Row], again: Again) -> Row:
    """Runs ``act`` for a new key. Its answer's ``made`` names what it made, of which ``again`` gives the same answer.

    Raises GraphQLError without a key, and for a key that has another input, is at work, or failed.
    """
    shop = call_of(info).shop
    key, sent = _key(info), _sent(info, given)
    kept = shop.keys.get(key)
    if kept is not None and shop.now() - float(str(kept["at"])) < KEPT_S:
        _refuse(kept, sent)
        return again(shop, kept["made"])
    answer = act(shop, given)
    shop.keys[key] = {"at": shop.now(), "sent": sent, "made": answer.get("made"), "running": False}
    return answer


def _refuse(kept: Row, sent: str) -> None:
    checks = (
        (kept["sent"] != sent, "IDEMPOTENCY_KEY_PARAMETER_MISMATCH", "The key was used with other parameters."),
        (kept["running"], "IDEMPOTENCY_CONCURRENT_REQUEST", "A request with this key is in progress."),
        (kept["made"] is None, "IDEMPOTENCY_PREVIOUS_ATTEMPT_FAILED", "The first request with this key failed."),
    )
    for applies, code, message in checks:
        if applies:
            raise GraphQLError(message, extensions={"code": code})


def _key(info: Info) -> str:
    directive = info.schema.get_directive("idempotent")
    values = get_directive_values(directive, info.field_nodes[0], info.variable_values) if directive else None
    key = str((values or {}).get("key") or "")
    if not key.strip():
        message = "The @idempotent directive is required for this mutation but was not provided."
        raise GraphQLError(message, extensions={"code": "BAD_REQUEST"})
    return key


def _sent(info: Info, given: Row) -> str:
    """The input as it came, members in the order they came in."""
    names = [node.value.name.value for node in info.field_nodes[0].arguments if isinstance(node.value, VariableNode)]
    variables = call_of(info).variables
    return json.dumps([variables.get(name) for name in names] if names else given, default=str)
