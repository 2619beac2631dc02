"""Metafields as they are sent: those that hold something, and those that are to go."""

from collections.abc import Mapping

from integrations.connectors.shopify.operations import METAFIELDS, metafield_name
from integrations.core.values import Value, clean_text

METAFIELD_TYPE = "single_line_text_field"


def filled(fields: Mapping[str, Value], marker: str) -> list[dict[str, object]]:
    """The metafields that hold something. The marker goes first and without a type: its definition has one."""
    names = [name for name, value in fields.items() if name.startswith(METAFIELDS) and clean_text(value)]
    made: list[dict[str, object]] = []
    for name in sorted(names, key=lambda name: (name != marker, name)):
        namespace, key = metafield_name(name)
        entry: dict[str, object] = {"namespace": namespace, "key": key, "value": fields[name]}
        made.append(entry if name == marker else {**entry, "type": METAFIELD_TYPE})
    return made


def cleared(fields: Mapping[str, Value]) -> list[str]:
    """The names of those wished to be empty."""
    return [name for name, value in fields.items() if name.startswith(METAFIELDS) and not clean_text(value)]


def identifiers(owner: str, names: list[str]) -> list[dict[str, object]]:
    """What ``metafieldsDelete`` takes, for metafields of one owner (a global id)."""
    parts = [metafield_name(name) for name in names]
    return [{"ownerId": owner, "namespace": namespace, "key": key} for namespace, key in parts]
