"""Writing products: create whole with its one variant; then fields; then the variant; then tags.

``productSet`` only ever makes a product: on one that is there it deletes whatever its lists leave out.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from integrations.connectors.base import WriteItem, Written
from integrations.connectors.shopify.decoding import global_id
from integrations.connectors.shopify.markers import (
    added_tags,
    cleared_metafields,
    custom_id,
    filled_metafields,
    metafield_identifiers,
    removed_tags,
)
from integrations.connectors.shopify.operations import Selection, members
from integrations.connectors.shopify.product_decoding import decode_product
from integrations.connectors.shopify.product_documents import OF_VARIANT, OWN, SHAPES, ProductStep, product_selection
from integrations.connectors.shopify.product_refusals import product_refused
from integrations.connectors.shopify.scopes import readable
from integrations.connectors.shopify.steps import Job, Run, Withheld, Writer, over, write_steps
from integrations.core.errors import Rejected
from integrations.core.records import Record
from integrations.core.values import Code, Value
from integrations.toolkit import payload
from integrations.toolkit.graphql import UserError
from integrations.toolkit.http import Client

_OPTION, _CHOICE = "Title", "Default Title"  # what Shopify calls the option of a product that has none
_OF_ITEM = ("sku", "tracked", "cost")


def write_many(client: Client, items: Sequence[WriteItem], fields: frozenset[str], marker: str) -> Sequence[Written]:
    """The next step of every item; see ``steps.write_steps`` for what is raised.

    An item that wishes a variant's fields of a product with several variants is refused whole.
    """
    selected = product_selection(readable(client, fields | {marker}))
    return write_steps(items, plan=_plan, run=Run(client, _WRITER, selected, marker))


def _plan(item: WriteItem, marker: str) -> Job | None:
    """The next step of an item, None if nothing is left to do. Raises Rejected for values that cannot be sent."""
    if item.current is None:
        return create(item, marker)
    if item.current.handles.get("variants") and OF_VARIANT & item.wanted.keys():
        raise Rejected("shopify.product_has_variants")
    gid = global_id("Product", item.current.key)
    for wanted in (_update, _variant, _clear_metafields, _tags):
        job = wanted(item, item.current, gid, marker)
        if job is not None:
            return job
    return None


def create(item: WriteItem, marker: str) -> Job:
    """Everything a product needs, in one call. The marker identifies it, so that a second try makes no second one."""
    fields = {name: value for name, value in item.fields.items() if value is not None}
    made = _own(fields)
    if metafields := filled_metafields(fields, marker):
        made["metafields"] = metafields
    if tags := added_tags(fields):
        made["tags"] = tags
    made["productOptions"] = [{"name": _OPTION, "position": 1, "values": [{"name": _CHOICE}]}]
    choice = {"optionValues": [{"optionName": _OPTION, "name": _CHOICE}]}
    made["variants"] = [{**choice, **_variant_input(fields), **({"sku": fields["sku"]} if "sku" in fields else {})}]
    value = fields.get(marker)
    identifier = custom_id(marker, value) if isinstance(value, str) and value else None
    return Job(item, ProductStep.CREATE, {"k": identifier, "i": made})


def _own(fields: Mapping[str, Value]) -> dict[str, object]:
    """The product's own members. Raises Rejected for a status Shopify does not know: it would stop the whole batch."""
    made: dict[str, object] = {name: fields[name] or "" for name in OWN if name in fields}
    if "status" in made:
        made["status"] = Code.canon(fields["status"])
        if made["status"] not in members("ProductStatus"):
            raise Rejected("shopify.product_status_invalid", field="status")
    return made


def _variant_input(fields: Mapping[str, Value]) -> dict[str, object]:
    """The members of the one variant. Raises Rejected for a wish to have no price: a variant always has one."""
    if "price" in fields and fields["price"] is None:
        raise Rejected("shopify.price_invalid", field="price")
    made: dict[str, object] = {name: _sent(fields[name]) for name in ("price", "compareAtPrice") if name in fields}
    if "barcode" in fields:
        made["barcode"] = fields["barcode"] or ""
    if isinstance(fields.get("taxable"), bool):
        made["taxable"] = fields["taxable"]
    if item := _item_input(fields):
        made["inventoryItem"] = item
    return made


def _item_input(fields: Mapping[str, Value]) -> dict[str, object]:
    made: dict[str, object] = {}
    if "sku" in fields:
        made["sku"] = fields["sku"] or ""
    if isinstance(fields.get("tracked"), bool):
        made["tracked"] = fields["tracked"]
    if "cost" in fields:
        made["cost"] = _sent(fields["cost"])
    return made


def _sent(amount: Value) -> str | None:
    """An amount as Shopify's scalars Money and Decimal take it: text without an exponent."""
    return format(amount, "f") if isinstance(amount, Decimal) else None


def _update(item: WriteItem, _current: Record, gid: str, marker: str) -> Job | None:
    changed = _own(item.fields)
    if metafields := filled_metafields(item.fields, marker):
        changed["metafields"] = metafields
    return Job(item, ProductStep.UPDATE, {"i": {"id": gid, **changed}}) if changed else None


def _variant(item: WriteItem, current: Record, gid: str, _marker: str) -> Job | None:
    """Raises Rejected for a product made in bulk and not read since: its variant is not known yet."""
    changed = _variant_input(item.fields)
    if not changed:
        return None
    if "variant" not in current.handles:
        raise Rejected("shopify.product_gone", look_again=True)
    return Job(item, ProductStep.VARIANT, {"c": gid, "i": [{"id": current.handles["variant"], **changed}]})


def _clear_metafields(item: WriteItem, _current: Record, gid: str, _marker: str) -> Job | None:
    gone = metafield_identifiers(gid, cleared_metafields(item.fields))
    return Job(item, ProductStep.CLEAR_METAFIELDS, {"i": gone}) if gone else None


def _tags(item: WriteItem, _current: Record, gid: str, _marker: str) -> Job | None:
    """Single tags are added and taken away; the others, the shop's own, are never touched."""
    wishes = ((ProductStep.TAGS_ADD, added_tags(item.fields)), (ProductStep.TAGS_REMOVE, removed_tags(item.fields)))
    return next((Job(item, step, {"c": gid, "i": tags}) for step, tags in wishes if tags), None)


def _record(job: Job, result: payload.Json, withheld: Withheld, selected: Selection) -> Record:
    """The product after the step."""
    if job.step == ProductStep.CLEAR_METAFIELDS:
        return over(job.item.current, dict.fromkeys(cleared_metafields(job.item.fields)))
    member = "node" if job.step in (ProductStep.TAGS_ADD, ProductStep.TAGS_REMOVE) else "product"
    return decode_product(payload.obj(result, member), selected, {path[-1] for path in withheld})


def refuse(errors: Sequence[UserError], _job: Job, marks: bool) -> Rejected:
    return product_refused(errors, marks=marks)


_WRITER = Writer("Products", SHAPES, _record, refuse)
