"""Writing orders: one step per item and call, several mutations in one request, one outcome each.

A create carries everything that it can: lines, tax, payment, marker, tags. Shopify knows no key for it, so the shell
looks for the marker before it sends one again. What differs later is brought over step by step: customer, texts, tags,
then what is about money and state. Lines, amounts and dates are never changed.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import partial
from weakref import WeakKeyDictionary

from integrations.connectors.base import WriteItem, Written
from integrations.connectors.shopify import metafields, order_refusals
from integrations.connectors.shopify.call import read
from integrations.connectors.shopify.operations import TAG, Selection
from integrations.connectors.shopify.orders_creating import Variants, create_input, variants_of
from integrations.connectors.shopify.orders_decoding import ORDER, PAID, UNPAID, decode_order, due_day, gid
from integrations.connectors.shopify.orders_documents import (
    TERMS_TEMPLATES,
    OrderStep,
    nodes_document,
    order_selection,
    step_points,
    write_document,
)
from integrations.connectors.shopify.passes import stamp
from integrations.connectors.shopify.refunds import is_refund
from integrations.connectors.shopify.refunds_writing import write_refunds
from integrations.connectors.shopify.sending import send
from integrations.core.errors import RecordError, Rejected, SyncError, Uncertain, VendorChanged
from integrations.core.lines import ZERO
from integrations.core.records import Record
from integrations.core.values import clean_text
from integrations.toolkit import graphql, payload
from integrations.toolkit.graphql import Outcome
from integrations.toolkit.http import Client

CANCEL_NOTE = "Cancelled in the practice system."
NOON = time(12, tzinfo=UTC)
_TERMS = (OrderStep.TERMS_CREATE, OrderStep.TERMS_UPDATE)


@dataclass(frozen=True, slots=True)
class _Job:
    """One item with the step it needs next. ``variables`` are by letter: ``i`` the input, ``c`` the order's id."""

    item: WriteItem
    step: OrderStep
    variables: Mapping[str, object]


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
    variants = variants_of(client, items)
    outcomes: dict[str, Written] = {}
    jobs: list[_Job] = []
    for item in items:
        try:
            job = _job(client, item, marker, variants)
        except RecordError as error:
            outcomes[item.ref] = Written(item.ref, error=error)
        else:
            if job is None:
                outcomes[item.ref] = Written(item.ref, item.current)
            else:
                jobs.append(job)
    outcomes |= send(
        client,
        jobs,
        points=lambda job: step_points(job.step, selected),
        document=lambda some: write_document(tuple(job.step for job in some), selected),
        read=partial(_written, selected=selected, marker=marker),
    )
    cancels = [job for job in jobs if job.step is OrderStep.CANCEL]
    return outcomes | _confirmed(client, cancels, outcomes, selected)


# -- what was answered


def _written(job: _Job, alias: str, outcome: Outcome, *, selected: Selection, marker: str) -> Written:
    """One alias: null means that the mutation did not run and ``errors`` says why."""
    told = partial(Written, job.item.ref, request_id=outcome.reply.request_id)
    unclear = Uncertain("shopify.shape", request_id=outcome.reply.request_id or None)
    result = outcome.data.get(alias)
    if not isinstance(result, dict):
        return told(error=outcome.error_for(alias) or unclear)
    try:
        name = "orderCancelUserErrors" if job.step is OrderStep.CANCEL else "userErrors"
        if errors := graphql.user_errors(result, name):
            return told(error=order_refusals.refused(errors, job.step, marks=marker in job.item.fields))
        return told(record=_record(job, result, _denied(outcome, alias), selected))
    except VendorChanged:
        return told(error=unclear)


def _denied(outcome: Outcome, alias: str) -> set[str]:
    """The members of the answered order that Shopify withheld: ``m0.order.customer`` -> ``customer``."""
    paths = (problem.path.split(".") for problem in outcome.problems if problem.alias == alias)
    return {path[2] for path in paths if len(path) > 2}


def _record(job: _Job, result: payload.Json, denied: Collection[str], selected: Selection) -> Record:
    """The order after the step. Where the mutation cannot answer it, what it did is laid over what was there."""
    current = job.item.current
    if current is not None and job.step is OrderStep.CANCEL:
        return current  # confirmed by reading it
    if current is not None and job.step is OrderStep.CLEAR_METAFIELDS:
        return replace(current, values={**current.values, **dict.fromkeys(metafields.cleared(job.item.fields))})
    if current is not None and job.step is OrderStep.TERMS_DELETE:
        handles = {name: held for name, held in current.handles.items() if name != "terms_id"}
        return replace(current, values={**current.values, "dueOn": None}, handles=handles)
    if current is not None and job.step in _TERMS:
        terms = payload.obj(result, "paymentTerms")
        handles = {**current.handles, "terms_id": payload.text(terms, "id", "paymentTerms")}
        return replace(current, values={**current.values, "dueOn": due_day(terms)}, handles=handles)
    member = "node" if job.step in (OrderStep.TAGS_ADD, OrderStep.TAGS_REMOVE) else "order"
    return decode_order(payload.obj(result, member), selected, denied)


def _confirmed(
    client: Client, jobs: Sequence[_Job], outcomes: Mapping[str, Written], selected: Selection
) -> dict[str, Written]:
    """Cancelling runs on after its answer, so the orders are read. One that is not cancelled yet is looked at again."""
    if not jobs:
        return {}
    keys = {job.item.ref: job.item.current.key for job in jobs if job.item.current is not None}
    there: dict[str, Record] = {}
    try:
        ids = [gid(ORDER, key) for key in keys.values()]
        answered = read(client, nodes_document(len(ids), selected), {"ids": ids}, cost=len(ids) * selected.objects)
        rows = (payload.as_object(row, "nodes") for row in payload.as_list(answered.data.get("nodes"), "nodes") if row)
        there = {record.key: record for record in (decode_order(row, selected) for row in rows if row)}
    except SyncError:
        pass  # the cancelling was sent: the next look tells
    return {ref: _cancelled(outcomes[ref], there.get(key)) for ref, key in keys.items()}


def _cancelled(told: Written, record: Record | None) -> Written:
    if record is not None and "cancelled" in record.handles:
        return Written(told.ref, record, request_id=told.request_id)
    return replace(told, record=None, error=told.error or Rejected("shopify.cancel_pending", look_again=True))


# -- which step, with which variables


def _job(client: Client, item: WriteItem, marker: str, variants: Variants) -> _Job | None:
    """The next step of an item, None if nothing is left to do. Raises RecordError for what cannot be written."""
    current = item.current
    if current is None:
        return _Job(
            item, OrderStep.CREATE, {"i": create_input(item.fields, marker, variants, client.facts.get("currency", ""))}
        )
    own = gid(ORDER, current.key)
    steps: tuple[Callable[[], _Job | None], ...] = (
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


def _customer(item: WriteItem, own: str) -> _Job | None:
    customer = clean_text(item.fields.get("customer"))
    return _Job(item, OrderStep.CUSTOMER, {"c": own, "i": gid("Customer", customer)}) if customer else None


def _update(item: WriteItem, own: str, marker: str) -> _Job | None:
    names = {"poNumber": "number", "note": "note"}
    changed: dict[str, object] = {
        member: item.fields[name] or "" for member, name in names.items() if name in item.fields
    }
    if held := metafields.filled(item.fields, marker):
        changed["metafields"] = held
    return _Job(item, OrderStep.UPDATE, {"i": {"id": own, **changed}}) if changed else None


def _clear_metafields(item: WriteItem, own: str) -> _Job | None:
    gone = metafields.identifiers(own, metafields.cleared(item.fields))
    return _Job(item, OrderStep.CLEAR_METAFIELDS, {"i": gone}) if gone else None


def _tags(item: WriteItem, own: str) -> _Job | None:
    """Single tags are added and taken away; the others, the shop's own, are never touched."""
    wishes = {name.removeprefix(TAG): value is True for name, value in item.fields.items() if name.startswith(TAG)}
    for step, is_wished in ((OrderStep.TAGS_ADD, True), (OrderStep.TAGS_REMOVE, False)):
        if tags := [tag for tag, wish in wishes.items() if wish is is_wished]:
            return _Job(item, step, {"c": own, "i": tags})
    return None


def _cancel(item: WriteItem, current: Record, own: str) -> _Job | None:
    """Raises Rejected for a wish to bring a cancelled order back: Shopify cannot."""
    is_cancelled = "cancelled" in current.handles
    wish = item.fields.get("cancelled")
    if wish is False and is_cancelled:
        raise Rejected("shopify.order_cancelled_already", field="cancelled")
    if wish is not True or is_cancelled:
        return None
    return _Job(item, OrderStep.CANCEL, {"c": own, "i": CANCEL_NOTE})


def _payment(item: WriteItem, current: Record, own: str) -> _Job | None:
    """Raises Rejected for a wish to take a payment back, and for a payment on a cancelled order."""
    wish, left = item.fields.get("payment"), _amount(current, "outstanding")
    if wish == UNPAID and current.values.get("payment") == PAID and _amount(current, "total") != ZERO:
        raise Rejected("shopify.order_already_paid", field="payment")
    if wish != PAID or left is None or left <= 0 or item.wanted.get("cancelled") is True:
        return None
    if "cancelled" in current.handles:
        raise Rejected("shopify.order_cancelled_already", field="payment")
    return _Job(item, OrderStep.MARK_PAID, {"i": {"id": own}})


def _amount(current: Record, name: str) -> Decimal | None:
    held = current.handles.get(name)
    return None if held is None else Decimal(held)


def _terms(client: Client, item: WriteItem, current: Record, own: str) -> _Job | None:
    """A day to pay by, while there is something to pay."""
    if "dueOn" not in item.fields or "cancelled" in current.handles or (_amount(current, "outstanding") or ZERO) <= 0:
        return None
    terms, day = current.handles.get("terms_id"), item.fields["dueOn"]
    if not isinstance(day, date):
        return _Job(item, OrderStep.TERMS_DELETE, {"i": {"paymentTermsId": terms}}) if terms else None
    schedule = {"dueAt": stamp(datetime.combine(day, NOON))}
    made = {"paymentTermsTemplateId": _fixed_template(client), "paymentSchedules": [schedule]}
    if terms is None:
        return _Job(item, OrderStep.TERMS_CREATE, {"c": own, "i": made})
    return _Job(item, OrderStep.TERMS_UPDATE, {"i": {"paymentTermsId": terms, "paymentTermsAttributes": made}})


def _closing(item: WriteItem, current: Record, own: str) -> _Job | None:
    """A cancelled order is closed by itself, and stays so."""
    wish = item.fields.get("closed")
    if not isinstance(wish, bool) or (not wish and "cancelled" in current.handles):
        return None
    return _Job(item, OrderStep.CLOSE if wish else OrderStep.OPEN, {"i": {"id": own}})


_templates: WeakKeyDictionary[Client, str] = WeakKeyDictionary()  # of each client's shop, for the client's life


def _fixed_template(client: Client) -> str:
    """The shop's template for terms with a day. Raises Rejected if it has none."""
    if client not in _templates:
        answered = read(client, TERMS_TEMPLATES, {}, cost=5)
        for template in payload.items(answered.data, "paymentTermsTemplates", "data"):
            if template.get("paymentTermsType") == "FIXED":
                _templates.setdefault(client, payload.text(template, "id", "paymentTermsTemplates"))
    if client not in _templates:
        raise Rejected("shopify.terms_unavailable", field="dueOn")
    return _templates[client]
