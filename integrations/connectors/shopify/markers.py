"""The definition of a marker: a metafield of type ``id``, whose values are unique in the shop by themselves."""

import re

from integrations.connectors.shopify.call import call, read
from integrations.connectors.shopify.operations import DEFINITION_CREATE, DEFINITIONS, METAFIELDS, metafield_name
from integrations.core.errors import AccountError, Rejected, VendorChanged
from integrations.toolkit import graphql, payload
from integrations.toolkit.http import Client


def define(client: Client, marker: str, owner: str, description: str) -> None:
    """Makes the definition for one kind of owner (``CUSTOMER``, ``ORDER``). Converges.

    In a namespace of our own name, not the app's reserved one, so that another app of the clinic's finds the values.
    Raises AccountError if it may not be made, or if one of another type stands in its place.
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
        _check(client, owner, namespace, key)
        return
    if "UNSTRUCTURED_ALREADY_EXISTS" in codes:
        raise AccountError("shopify.marker_unstructured", field=marker)
    raise Rejected("shopify.marker_refused", field=marker, vendor_code=_word(codes[0]))


def _word(code: str) -> str | None:
    return code if re.fullmatch(r"[A-Z_]{1,60}", code) else None


def _check(client: Client, owner: str, namespace: str, key: str) -> None:
    """Raises AccountError if the definition that is there does not make values unique."""
    variables = {"owner": owner, "namespace": namespace, "key": key}
    answered = read(client, DEFINITIONS, variables, cost=8)
    for node in payload.items(payload.obj(answered.data, "metafieldDefinitions"), "nodes"):
        if payload.text(payload.obj(node, "type"), "name") != "id":
            raise AccountError("shopify.marker_other_type", field=f"{METAFIELDS}{namespace}.{key}")
