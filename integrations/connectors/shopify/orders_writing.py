"""Writing orders: one step per item and call, several mutations in one request, one outcome each.

A create carries everything that it can: lines, tax, payment, marker, tags. Shopify knows no key for it, so the shell
looks for the marker before it sends one again. What differs later is brought over step by step: customer, texts, tags,
then what is about money and state. Lines, amounts and dates are never changed.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import partial

from integrations.connectors.base import WriteItem, Written
from integrations.connectors.shopify import order_refusals
from integrations.connectors.shopify.call import read
from integrations.connectors.shopify.lists import Listing, read_by_id
from integrations.connectors.shopify.markers import (
    added_tags,
    cleared_metafields,
    filled_metafields,
    metafield_identifiers,
    removed_tags,
)
from integrations.connectors.shopify.operations import Selection
from integrations.connectors.shopify.orders_creating import Variants, create_input, variants_of
from integrations.connectors.shopify.orders_decoding import ORDER, PAID, UNPAID, as_dated, decode_order, due_day, gid
from integrations.connectors.shopify.orders_documents import (
    SHAPES,
    TERMS_TEMPLATES,
    OrderStep,
    order_selection,
)
from integrations.connectors.shopify.passes import stamp
from integrations.connectors.shopify.refunds import is_refund
from integrations.connectors.shopify.refunds_writing import write_refunds
from integrations.connectors.shopify.steps import Job, Run, Withheld, Writer, over, planned
from integrations.core.errors import Rejected, SyncError
from integrations.core.lines import ZERO
from integrations.core.records import Record
from integrations.core.values import clean_text
from integrations.toolkit import payload
from integrations.toolkit.graphql import UserError
from integrations.toolkit.http import Client

CANCEL_NOTE = "Cancelled in the practice system."
NOON = time(12, tzinfo=UTC)
_TEMPLATE = "payment terms with a day"
_LISTING = Listing("orders", decode_order, size=10)


def write_many(client: Client, items: Sequence[WriteItem], fields: frozenset[str], marker: str) -> Sequence[Written]:
    """The next step of every item, order or refund. An item that needs none answers its record as it was.

    Raises what concerns the connection only when nothing at all was sent; otherwise the error is the outcome of each
    item it hit.
    """
    outcomes: dict[str, Written] = {}
    refunds = [item for item in items if is_refund(item.wanted)]
    orders = [item for item in items if not is_refund(item.wanted)]
    for write, some in ((_write_orders, orders), (write_refunds, refunds)):
        try:
            outcomes |= write(client, some, fields, marker) if some else {}
        except SyncError as error:
            if not outcomes:
                raise
            outcomes |= {item.ref: Written(item.ref, error=error) for item in some}
    return [outcomes[item.ref] for item in items]


def _write_orders(
    client: Client, items: Sequence[WriteItem], fields: frozenset[str], marker: str
) -> dict[str, Written]:
    selected = order_selection(fields | {marker})
    jobs, outcomes = planned(items, partial(_plan, client, variants_of(client, items)), marker)
    outcomes |= Run(client, _WRITER, selected, marker).all(jobs)
    cancels = [job for job in jobs if job.step == OrderStep.CANCEL]
    return outcomes | _confirmed(client, cancels, outcomes, selected)


# -- what was answered


def _refuse(errors: Sequence[UserError], job: Job, marks: bool) -> SyncError:
    return order_refusals.refused(errors, job.step, marks=marks)


def _record(job: Job, result: payload.Json, withheld: Withheld, selected: Selection) -> Record:
    """The order after the step. Where the mutation cannot answer it, what it did is laid over what was there."""
    current = job.item.current
    match job.step:
        case OrderStep.CANCEL:
            return over(current, {})  # confirmed by reading it
        case OrderStep.CLEAR_METAFIELDS:
            return over(current, dict.fromkeys(cleared_metafields(job.item.fields)))
        case OrderStep.TERMS_DELETE:
            kept = over(current, {"dueOn": None})
            return replace(kept, handles={name: held for name, held in kept.handles.items() if name != "terms_id"})
        case OrderStep.TERMS_CREATE | OrderStep.TERMS_UPDATE:
            terms = payload.obj(result, "paymentTerms")
            handles = {"terms_id": payload.text(terms, "id", "paymentTerms")}
            return over(current, {"dueOn": due_day(terms)}, handles)
        case OrderStep.TAGS_ADD | OrderStep.TAGS_REMOVE:
            answered = payload.obj(result, "node")
        case _:
            answered = payload.obj(result, "order")
    record = decode_order(answered, selected, {path[0] for path in withheld})
    return as_dated(job.item.wanted, record) if job.step == OrderStep.CREATE else record


def _confirmed(
    client: Client, jobs: Sequence[Job], outcomes: Mapping[str, Written], selected: Selection
) -> dict[str, Written]:
    """Cancelling runs on after its answer, so the orders are read. One that is not cancelled yet is looked at again."""
    if not jobs:
        return {}
    keys = {job.item.ref: job.item.current.key for job in jobs if job.item.current is not None}
    there: Mapping[str, Record] = {}
    with suppress(SyncError):  # the cancelling was sent: the next look tells
        there = read_by_id(client, list(keys.values()), listing=_LISTING, selected=selected)
    return {ref: _cancelled(outcomes[ref], there.get(key)) for ref, key in keys.items()}


def _cancelled(told: Written, record: Record | None) -> Written:
    if record is not None and "cancelled" in record.handles:
        return Written(told.ref, record, request_id=told.request_id)
    return replace(told, record=None, error=told.error or Rejected("shopify.cancel_pending", look_again=True))


# -- which step, with which variables


def _plan(client: Client, variants: Variants, item: WriteItem, marker: str) -> Job | None:
    """The next step of an item, None if nothing is left to do. Raises RecordError for what cannot be written."""
    current = item.current
    if current is None:
        return Job(
            item, OrderStep.CREATE, {"i": create_input(item.fields, marker, variants, client.facts.get("currency", ""))}
        )
    own = gid(ORDER, current.key)
    steps: tuple[Callable[[], Job | None], ...] = (
        partial(_customer, item, own),
        partial(_update, item, own, marker),
        partial(_clear_metafields, item, own),
        partial(_tags, item, own),
        partial(_cancel, item, current, own),
        partial(_payment, item, current, own),
        partial(_terms, client, item, current, own),
        partial(_closing, item, current, own),
    )
    return next((job for step in steps if (job := step()) is not None), None)


def _customer(item: WriteItem, own: str) -> Job | None:
    customer = clean_text(item.fields.get("customer"))
    return Job(item, OrderStep.CUSTOMER, {"c": own, "i": gid("Customer", customer)}) if customer else None


def _update(item: WriteItem, own: str, marker: str) -> Job | None:
    names = {"poNumber": "number", "note": "note"}
    changed: dict[str, object] = {
        member: item.fields[name] or "" for member, name in names.items() if name in item.fields
    }
    if held := filled_metafields(item.fields, marker):
        changed["metafields"] = held
    return Job(item, OrderStep.UPDATE, {"i": {"id": own, **changed}}) if changed else None


def _clear_metafields(item: WriteItem, own: str) -> Job | None:
    gone = metafield_identifiers(own, cleared_metafields(item.fields))
    return Job(item, OrderStep.CLEAR_METAFIELDS, {"i": gone}) if gone else None


def _tags(item: WriteItem, own: str) -> Job | None:
    """Single tags are added and taken away; the others, the shop's own, are never touched."""
    wishes = ((OrderStep.TAGS_ADD, added_tags(item.fields)), (OrderStep.TAGS_REMOVE, removed_tags(item.fields)))
    return next((Job(item, step, {"c": own, "i": tags}) for step, tags in wishes if tags), None)


def _cancel(item: WriteItem, current: Record, own: str) -> Job | None:
    """Raises Rejected for a wish to bring a cancelled order back, also by saying nothing of it any more: Shopify cannot."""
    if "cancelled" not in item.fields:
        return None
    is_cancelled, wish = "cancelled" in current.handles, item.fields["cancelled"] is True
    if is_cancelled and not wish:
        raise Rejected("shopify.order_cancelled_already", field="cancelled")
    if is_cancelled or not wish:
        return None
    return Job(item, OrderStep.CANCEL, {"c": own, "i": CANCEL_NOTE})


def _payment(item: WriteItem, current: Record, own: str) -> Job | None:
    """Raises Rejected for a wish to take a payment back, and for a payment on a cancelled order."""
    wish, left = item.fields.get("payment"), _amount(current, "outstanding")
    if wish == UNPAID and current.values.get("payment") == PAID and _amount(current, "total") != ZERO:
        raise Rejected("shopify.order_already_paid", field="payment")
    if wish != PAID or left is None or left <= 0 or item.wanted.get("cancelled") is True:
        return None
    if "cancelled" in current.handles:
        raise Rejected("shopify.order_cancelled_already", field="payment")
    return Job(item, OrderStep.MARK_PAID, {"i": {"id": own}})


def _amount(current: Record, name: str) -> Decimal | None:
    held = current.handles.get(name)
    return None if held is None else Decimal(held)


def _terms(client: Client, item: WriteItem, current: Record, own: str) -> Job | None:
    """A day to pay by, while there is something to pay."""
    if "dueOn" not in item.fields or "cancelled" in current.handles or (_amount(current, "outstanding") or ZERO) <= 0:
        return None
    terms, day = current.handles.get("terms_id"), item.fields["dueOn"]
    if not isinstance(day, date):
        return Job(item, OrderStep.TERMS_DELETE, {"i": {"paymentTermsId": terms}}) if terms else None
    schedule = {"dueAt": stamp(datetime.combine(day, NOON))}
    made = {"paymentTermsTemplateId": _fixed_template(client), "paymentSchedules": [schedule]}
    if terms is None:
        return Job(item, OrderStep.TERMS_CREATE, {"c": own, "i": made})
    return Job(item, OrderStep.TERMS_UPDATE, {"i": {"paymentTermsId": terms, "paymentTermsAttributes": made}})


def _closing(item: WriteItem, current: Record, own: str) -> Job | None:
    """A cancelled order is closed by itself, and stays so. One that we closed is opened where that is wished no more."""
    wish = item.fields.get("closed") is True
    is_closed = current.values.get("closed") is True
    if "closed" not in item.fields or wish == is_closed or (is_closed and "cancelled" in current.handles):
        return None
    return Job(item, OrderStep.CLOSE if wish else OrderStep.OPEN, {"i": {"id": own}})


def _fixed_template(client: Client) -> str:
    """The shop's template for terms with a day, asked for once a client. Raises Rejected if it has none."""
    known = client.memo.get(_TEMPLATE)
    if isinstance(known, str):
        return known
    answered = read(client, TERMS_TEMPLATES, {}, cost=5)
    for template in payload.items(answered.data, "paymentTermsTemplates", "data"):
        if template.get("paymentTermsType") == "FIXED":
            found = payload.text(template, "id", "paymentTermsTemplates")
            client.memo[_TEMPLATE] = found
            return found
    raise Rejected("shopify.terms_unavailable", field="dueOn")


_WRITER = Writer("Orders", SHAPES, _record, _refuse, {OrderStep.CANCEL: "orderCancelUserErrors"})
