"""Fields of a shop's own making, known by name: metafields, tags, and the marker that says which record is meant."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from integrations.connectors.base import OpenFields
from integrations.connectors.shopify.call import call, read
from integrations.connectors.shopify.operations import (
    DEFINITION_CREATE,
    DEFINITIONS,
    METAFIELD_SHAPE,
    METAFIELDS,
    TAG,
    metafield_name,
)
from integrations.core.errors import AccountError, Rejected, VendorChanged
from integrations.core.values import Value, YesNoUnknown, clean_text
from integrations.toolkit import graphql, payload
from integrations.toolkit.http import Client

_Found = TypeVar("_Found")
METAFIELD_TYPE = "single_line_text_field"
OPEN_FIELDS = (OpenFields(METAFIELDS, "Metafields", shape=METAFIELD_SHAPE), OpenFields(TAG, "Tag", YesNoUnknown))


def define(client: Client, marker: str, *, owner: str, description: str) -> None:
    """Makes the definition of a marker: a custom ID, whose values are unique in the shop by themselves.

    In a namespace of our own name, not the app's reserved one, so that another app of the clinic's finds the values.
    ``owner`` is a member of Shopify's ``MetafieldOwnerType``. Raises AccountError if it may not be made, or if one of
    another type stands in its place.
    """
    namespace, key = metafield_name(marker)
    definition = {
        "name": key.replace("_", " ").capitalize(),
        "namespace": namespace,
        "key": key,
        "type": "id",
        "ownerType": owner,
        "description": description,
    }
    answered = call(client, DEFINITION_CREATE, {"definition": definition}, writes=True, cost=12)
    result = answered.data.get("metafieldDefinitionCreate")
    if not isinstance(result, dict):
        raise answered.error_for("metafieldDefinitionCreate") or VendorChanged("shopify.shape")
    codes = [error.code for error in graphql.user_errors(result)]
    if not codes:
        return
    if "TAKEN" in codes:
        _check_definition(client, namespace, key, owner)
        return
    if "UNSTRUCTURED_ALREADY_EXISTS" in codes:
        raise AccountError("shopify.marker_unstructured", field=marker)
    raise Rejected("shopify.marker_refused", field=marker, vendor_code=_word(codes[0]))


def with_definition(look: Callable[[], _Found], make: Callable[[], None]) -> _Found:
    """What a look-up by marker finds. Where somebody deleted the definition, and its values with it, it is made again:
    nobody carries the marker now."""
    try:
        return look()
    except AccountError as error:
        if error.code != "shopify.marker_definition_missing":
            raise
        make()
        return look()


def _word(code: str) -> str | None:
    return code if re.fullmatch(r"[A-Z_]{1,60}", code) else None


def _check_definition(client: Client, namespace: str, key: str, owner: str) -> None:
    """Raises AccountError if the definition that is there does not make values unique."""
    variables = {"ownerType": owner, "namespace": namespace, "key": key}
    answered = read(client, DEFINITIONS, variables, cost=8)
    for node in payload.items(payload.obj(answered.data, "metafieldDefinitions"), "nodes"):
        if payload.text(payload.obj(node, "type"), "name") != "id":
            raise AccountError("shopify.marker_other_type", field=f"{METAFIELDS}{namespace}.{key}")


def custom_id(marker: str, value: str) -> dict[str, object]:
    """The identifier of the record that carries this marker."""
    namespace, key = metafield_name(marker)
    return {"customId": {"namespace": namespace, "key": key, "value": value}}


# -- what a write sends of them


def filled_metafields(fields: Mapping[str, Value], marker: str) -> list[dict[str, object]]:
    """The metafields that hold something. The marker goes first and without a type: its definition has one."""
    names = [name for name, value in fields.items() if name.startswith(METAFIELDS) and clean_text(value)]
    made: list[dict[str, object]] = []
    for name in sorted(names, key=lambda name: (name != marker, name)):
        namespace, key = metafield_name(name)
        entry: dict[str, object] = {"namespace": namespace, "key": key, "value": fields[name]}
        made.append(entry if name == marker else {**entry, "type": METAFIELD_TYPE})
    return made


def cleared_metafields(fields: Mapping[str, Value]) -> Sequence[str]:
    """The names of metafields wished empty, which Shopify only knows as deleted."""
    return [name for name, value in fields.items() if name.startswith(METAFIELDS) and not clean_text(value)]


def metafield_identifiers(gid: str, names: Sequence[str]) -> list[dict[str, object]]:
    named = [metafield_name(name) for name in names]
    return [{"ownerId": gid, "namespace": namespace, "key": key} for namespace, key in named]


def added_tags(fields: Mapping[str, Value]) -> list[str]:
    return list(_tags(fields, is_wished=True))


def removed_tags(fields: Mapping[str, Value]) -> list[str]:
    return list(_tags(fields, is_wished=False))


def _tags(fields: Mapping[str, Value], *, is_wished: bool) -> Iterator[str]:
    for name, value in fields.items():
        if name.startswith(TAG) and (value is True) is is_wished:
            yield name.removeprefix(TAG)
