"""Writing customers: one step per item and call, ten mutations or so in one request, one outcome each.

The shell diffs after every step and calls again, so each step only has to be the next one that is missing: create
with marker, metafields, consent and tags; then fields; then consent; then the address; then tags.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from integrations.connectors.base import WriteItem, Written
from integrations.connectors.shopify import metafields, refusals
from integrations.connectors.shopify.decoding import ADDRESS_MEMBERS, address_values, customer_gid, decode
from integrations.connectors.shopify.operations import (
    TAG,
    Selection,
    Step,
    selection,
    step_points,
    write_document,
)
from integrations.connectors.shopify.sending import send
from integrations.core.errors import RecordError, Rejected, Uncertain, VendorChanged
from integrations.core.records import Record
from integrations.core.values import Value
from integrations.toolkit import graphql, payload
from integrations.toolkit.graphql import Outcome
from integrations.toolkit.http import Client

_PLAIN = ("firstName", "lastName", "email", "phone")
_ADDRESS_STEPS = (Step.ADDRESS_CREATE, Step.ADDRESS_UPDATE)
_CONSENT = {True: "SUBSCRIBED", False: "UNSUBSCRIBED"}


@dataclass(frozen=True, slots=True)
class _Job:
    """One item with the step it needs next. ``variables`` are by letter: ``i`` the input, ``c`` and ``a`` ids."""

    item: WriteItem
    step: Step
    variables: Mapping[str, object]


def write_many(client: Client, items: Sequence[WriteItem], fields: frozenset[str], marker: str) -> Sequence[Written]:
    """The next step of every item. An item that needs none answers its record as it was.

    Raises what concerns the connection (AccountError, Throttled, VendorChanged) only when nothing at all was written;
    otherwise, and for a lost answer, the error is the outcome of each item it hit.
    """
    selected = selection(fields | {marker})
    outcomes: dict[str, Written] = {}
    jobs: list[_Job] = []
    for item in items:
        try:
            job = _job(item, marker)
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
    return [outcomes[item.ref] for item in items]


def _written(job: _Job, alias: str, outcome: Outcome, *, selected: Selection, marker: str) -> Written:
    """One alias: null means that the mutation did not run and ``errors`` says why."""
    told = partial(Written, job.item.ref, request_id=outcome.reply.request_id)
    unclear = Uncertain("shopify.shape", request_id=outcome.reply.request_id or None)
    result = outcome.data.get(alias)
    if not isinstance(result, dict):
        return told(error=outcome.error_for(alias) or unclear)
    try:
        errors = graphql.user_errors(result)
        if errors:
            marks = marker in job.item.fields
            return told(error=refusals.refused(errors, marks=marks, in_address=job.step in _ADDRESS_STEPS))
        return told(record=_record(job, result, _denied(outcome, alias), selected))
    except VendorChanged:
        return told(error=unclear)


def _denied(outcome: Outcome, alias: str) -> set[str]:
    """The members of the answered customer that Shopify withheld: ``m0.customer.firstName`` -> ``firstName``."""
    paths = (problem.path.split(".") for problem in outcome.problems if problem.alias == alias)
    return {path[2] for path in paths if len(path) > 2}


def _record(job: _Job, result: payload.Json, denied: Collection[str], selected: Selection) -> Record:
    """The customer after the step. Where the mutation cannot answer it, what it did is laid over what was there."""
    current = job.item.current
    if job.step is Step.CLEAR_METAFIELDS:
        return _over(current, dict.fromkeys(metafields.cleared(job.item.fields)))
    if job.step in _ADDRESS_STEPS:
        address = payload.obj(result, "address")
        handles = {"address_id": payload.text(address, "id", "address")}
        return _over(current, address_values(address, selected.fields), handles)
    member = "node" if job.step in (Step.TAGS_ADD, Step.TAGS_REMOVE) else "customer"
    return decode(payload.obj(result, member), selected, denied)


def _over(current: Record | None, values: Mapping[str, Value], handles: Mapping[str, str] | None = None) -> Record:
    if current is None:
        raise payload.wrong("customer", "a record to change", None)
    return replace(current, values={**current.values, **values}, handles={**current.handles, **(handles or {})})


# -- which step, with which variables


def _job(item: WriteItem, marker: str) -> _Job | None:
    """The next step of an item, None if nothing is left to do. Raises Rejected for values that cannot be sent."""
    if item.current is None:
        return _Job(item, Step.CREATE, {"i": _create_input(item.fields, marker)})
    gid = customer_gid(item.current.key)
    for wanted in (_update, _clear_metafields, _email_consent, _sms_consent, _address, _tags):
        job = wanted(item, item.current, gid, marker)
        if job is not None:
            return job
    return None


def _create_input(fields: Mapping[str, Value], marker: str) -> dict[str, object]:
    """Everything a create can carry, marker first. A no to marketing is the state of a new customer anyway."""
    made: dict[str, object] = {name: fields[name] for name in _PLAIN if fields.get(name)}
    if held := metafields.filled(fields, marker):
        made["metafields"] = held
    if fields.get("emailMarketing") is True and "email" in made:
        made["emailMarketingConsent"] = _consent(is_given=True)
    if fields.get("smsMarketing") is True and "phone" in made:
        made["smsMarketingConsent"] = _consent(is_given=True)
    if tags := [name.removeprefix(TAG) for name in fields if name.startswith(TAG) and fields[name] is True]:
        made["tags"] = tags
    return made


def _update(item: WriteItem, _current: Record, gid: str, marker: str) -> _Job | None:
    changed: dict[str, object] = {name: item.fields[name] or None for name in _PLAIN if name in item.fields}
    if held := metafields.filled(item.fields, marker):
        changed["metafields"] = held
    return _Job(item, Step.UPDATE, {"i": {"id": gid, **changed}}) if changed else None


def _clear_metafields(item: WriteItem, _current: Record, gid: str, _marker: str) -> _Job | None:
    gone = metafields.identifiers(gid, metafields.cleared(item.fields))
    return _Job(item, Step.CLEAR_METAFIELDS, {"i": gone}) if gone else None


def _consent(*, is_given: bool) -> dict[str, object]:
    made: dict[str, object] = {"marketingState": _CONSENT[is_given]}
    return {**made, "marketingOptInLevel": "SINGLE_OPT_IN"} if is_given else made


def _email_consent(item: WriteItem, current: Record, gid: str, _marker: str) -> _Job | None:
    """Only where there is an address to consent for; a wish for "unknown" takes nothing back."""
    wish = item.fields.get("emailMarketing")
    if not isinstance(wish, bool) or not current.values.get("email", True):
        return None
    return _Job(item, Step.EMAIL_CONSENT, {"i": {"customerId": gid, "emailMarketingConsent": _consent(is_given=wish)}})


def _sms_consent(item: WriteItem, current: Record, gid: str, _marker: str) -> _Job | None:
    wish = item.fields.get("smsMarketing")
    if not isinstance(wish, bool) or not current.values.get("phone", True):
        return None
    return _Job(item, Step.SMS_CONSENT, {"i": {"customerId": gid, "smsMarketingConsent": _consent(is_given=wish)}})


def _address(item: WriteItem, current: Record, gid: str, _marker: str) -> _Job | None:
    """A first address is written whole, from the wish; the default one is changed field by field."""
    patch = {name: value for name, value in item.fields.items() if name in ADDRESS_MEMBERS}
    if not patch:
        return None
    address_id = current.handles.get("address_id")
    if address_id is None:
        whole = {name: value for name, value in item.wanted.items() if name in ADDRESS_MEMBERS and value}
        return _Job(item, Step.ADDRESS_CREATE, {"c": gid, "i": _address_input({**whole, **patch})})
    if "address.provinceCode" in patch:  # means nothing without its country
        for side in (item.wanted, current.values):
            if country := side.get("address.countryCode"):
                patch.setdefault("address.countryCode", country)
    return _Job(item, Step.ADDRESS_UPDATE, {"c": gid, "a": address_id, "i": _address_input(patch)})


def _address_input(values: Mapping[str, Value]) -> dict[str, object]:
    """Raises Rejected for a country Shopify does not know: one such value would stop the whole batch."""
    made: dict[str, object] = {name.removeprefix("address."): value or None for name, value in values.items()}
    for name in ("countryCode", "provinceCode"):
        if isinstance(code := made.get(name), str):
            made[name] = code.strip().upper() or None
    if made.get("countryCode") not in (None, *countries()):
        raise Rejected("shopify.country_invalid", field="address.countryCode")
    return made


def _tags(item: WriteItem, _current: Record, gid: str, _marker: str) -> _Job | None:
    """Single tags are added and taken away; the others, the shop's own, are never touched."""
    wishes = {name.removeprefix(TAG): value is True for name, value in item.fields.items() if name.startswith(TAG)}
    for step, is_wished in ((Step.TAGS_ADD, True), (Step.TAGS_REMOVE, False)):
        if tags := [tag for tag, wish in wishes.items() if wish is is_wished]:
            return _Job(item, step, {"c": gid, "i": tags})
    return None


@cache
def countries() -> frozenset[str]:
    """The country codes of this API version, from the schema beside this file."""
    text = (Path(__file__).parent / "schema.graphql").read_text("utf-8")
    found = re.search(r"enum CountryCode \{([^}]*)\}", text)
    return frozenset(found[1].split()) if found else frozenset()
