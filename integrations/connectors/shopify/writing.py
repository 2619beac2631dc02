"""Writing customers: one step per item and call, ten mutations or so in one request, one outcome each.

The shell diffs after every step and calls again, so each step only has to be the next one that is missing: create
with marker, metafields, consent and tags; then fields; then consent; then the address; then tags.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from integrations.connectors.base import WriteItem, Written
from integrations.connectors.shopify import refusals
from integrations.connectors.shopify.call import MOST_POINTS, call
from integrations.connectors.shopify.decoding import ADDRESS_MEMBERS, address_values, customer_gid, decode
from integrations.connectors.shopify.operations import (
    METAFIELDS,
    TAG,
    Selection,
    Step,
    metafield_name,
    selection,
    step_points,
    write_document,
)
from integrations.core.errors import AccountError, RecordError, Rejected, SyncError, Throttled, Uncertain, VendorChanged
from integrations.core.records import Record
from integrations.core.values import Value, clean_text
from integrations.toolkit import graphql, payload
from integrations.toolkit.graphql import Outcome
from integrations.toolkit.http import Client

METAFIELD_TYPE = "single_line_text_field"
PLAIN = ("firstName", "lastName", "email", "phone")
_ADDRESS_STEPS = (Step.ADDRESS_CREATE, Step.ADDRESS_UPDATE)
_CONSENT = {True: "SUBSCRIBED", False: "UNSUBSCRIBED"}


@dataclass(frozen=True, slots=True)
class Job:
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
    jobs: list[Job] = []
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
    sent: dict[str, Written] = {}
    for batch in _batches(jobs, selected):
        sent |= _send(client, batch, selected, marker)
        _raise_if_nothing_ran(sent.values())
    outcomes |= sent
    return [outcomes[item.ref] for item in items]


def _raise_if_nothing_ran(sent: Collection[Written]) -> None:
    """Raises the connection's own error if it is the outcome of every item so far."""
    for word in (AccountError, Throttled, VendorChanged):
        if all(isinstance(told.error, word) for told in sent):
            raise next(told.error for told in sent if told.error is not None)


def _batches(jobs: Sequence[Job], selected: Selection) -> Iterator[Sequence[Job]]:
    """As many as one document may ask for."""
    batch: list[Job] = []
    points = 0
    for job in jobs:
        more = step_points(job.step, selected)
        if batch and points + more > MOST_POINTS * 0.8:
            yield batch
            batch, points = [], 0
        batch.append(job)
        points += more
    if batch:
        yield batch


def _send(client: Client, jobs: Sequence[Job], selected: Selection, marker: str) -> dict[str, Written]:
    """One request. Where Shopify ran nothing because of one item's values, that is refused and the rest sent again."""
    document = write_document(tuple(job.step for job in jobs), selected)
    variables = {f"{letter}{n}": value for n, job in enumerate(jobs) for letter, value in job.variables.items()}
    cost = sum(step_points(job.step, selected) for job in jobs)
    try:
        outcome = call(client, document, variables, writes=True, cost=cost)
    except SyncError as error:
        number = error.facts.get("item") if isinstance(error, Rejected) else None
        if isinstance(number, int) and number < len(jobs):
            refused = jobs[number].item.ref
            rest = [job for job in jobs if job.item.ref != refused]
            others = _send(client, rest, selected, marker) if rest else {}
            return {refused: Written(refused, error=error), **others}
        return {job.item.ref: Written(job.item.ref, error=error) for job in jobs}
    read = partial(written, outcome=outcome, selected=selected, marker=marker)
    return {job.item.ref: read(job, f"m{number}") for number, job in enumerate(jobs)}


def written(job: Job, alias: str, *, outcome: Outcome, selected: Selection, marker: str) -> Written:
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


def _record(job: Job, result: payload.Json, denied: Collection[str], selected: Selection) -> Record:
    """The customer after the step. Where the mutation cannot answer it, what it did is laid over what was there."""
    current = job.item.current
    if job.step is Step.CLEAR_METAFIELDS:
        return _over(current, dict.fromkeys(_cleared_metafields(job.item.fields)))
    if job.step is Step.SET_METAFIELDS:
        return _over(current, {name: value for name, value in job.item.fields.items() if name.startswith(METAFIELDS)})
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


def _job(item: WriteItem, marker: str) -> Job | None:
    """The next step of an item, None if nothing is left to do. Raises Rejected for values that cannot be sent."""
    if item.current is None:
        return Job(item, Step.CREATE, {"i": _create_input(item.fields, marker)})
    gid = customer_gid(item.current.key)
    for wanted in (_update, _clear_metafields, email_consent, sms_consent, _address, tags):
        job = wanted(item, item.current, gid, marker)
        if job is not None:
            return job
    return None


def _create_input(fields: Mapping[str, Value], marker: str) -> dict[str, object]:
    """Everything a create can carry, marker first. A no to marketing is the state of a new customer anyway."""
    made: dict[str, object] = {name: fields[name] for name in PLAIN if fields.get(name)}
    if entries := metafields(fields, marker):
        made["metafields"] = entries
    if fields.get("emailMarketing") is True and "email" in made:
        made["emailMarketingConsent"] = _consent(is_given=True)
    if fields.get("smsMarketing") is True and "phone" in made:
        made["smsMarketingConsent"] = _consent(is_given=True)
    if wished := [name.removeprefix(TAG) for name in fields if name.startswith(TAG) and fields[name] is True]:
        made["tags"] = wished
    return made


def _update(item: WriteItem, _current: Record, gid: str, marker: str) -> Job | None:
    changed: dict[str, object] = {name: item.fields[name] or None for name in PLAIN if name in item.fields}
    if entries := metafields(item.fields, marker):
        changed["metafields"] = entries
    return Job(item, Step.UPDATE, {"i": {"id": gid, **changed}}) if changed else None


def metafields(fields: Mapping[str, Value], marker: str) -> list[dict[str, object]]:
    """The metafields that hold something. The marker goes first and without a type: its definition has one."""
    names = [name for name, value in fields.items() if name.startswith(METAFIELDS) and clean_text(value)]
    made: list[dict[str, object]] = []
    for name in sorted(names, key=lambda name: (name != marker, name)):
        namespace, key = metafield_name(name)
        entry: dict[str, object] = {"namespace": namespace, "key": key, "value": fields[name]}
        made.append(entry if name == marker else {**entry, "type": METAFIELD_TYPE})
    return made


def _cleared_metafields(fields: Mapping[str, Value]) -> list[str]:
    return [name for name, value in fields.items() if name.startswith(METAFIELDS) and not clean_text(value)]


def _clear_metafields(item: WriteItem, _current: Record, gid: str, _marker: str) -> Job | None:
    gone = [metafield_name(name) for name in _cleared_metafields(item.fields)]
    identifiers = [{"ownerId": gid, "namespace": namespace, "key": key} for namespace, key in gone]
    return Job(item, Step.CLEAR_METAFIELDS, {"i": identifiers}) if gone else None


def _consent(*, is_given: bool) -> dict[str, object]:
    made: dict[str, object] = {"marketingState": _CONSENT[is_given]}
    return {**made, "marketingOptInLevel": "SINGLE_OPT_IN"} if is_given else made


def email_consent(item: WriteItem, current: Record, gid: str, _marker: str) -> Job | None:
    """Only where there is an address to consent for; a wish for "unknown" takes nothing back."""
    wish = item.fields.get("emailMarketing")
    if not isinstance(wish, bool) or not current.values.get("email", True):
        return None
    return Job(item, Step.EMAIL_CONSENT, {"i": {"customerId": gid, "emailMarketingConsent": _consent(is_given=wish)}})


def sms_consent(item: WriteItem, current: Record, gid: str, _marker: str) -> Job | None:
    wish = item.fields.get("smsMarketing")
    if not isinstance(wish, bool) or not current.values.get("phone", True):
        return None
    return Job(item, Step.SMS_CONSENT, {"i": {"customerId": gid, "smsMarketingConsent": _consent(is_given=wish)}})


def _address(item: WriteItem, current: Record, gid: str, _marker: str) -> Job | None:
    """A first address is written whole, from the wish; the default one is changed field by field."""
    patch = {name: value for name, value in item.fields.items() if name in ADDRESS_MEMBERS}
    if not patch:
        return None
    address_id = current.handles.get("address_id")
    if address_id is None:
        whole = {name: value for name, value in item.wanted.items() if name in ADDRESS_MEMBERS and value}
        return Job(item, Step.ADDRESS_CREATE, {"c": gid, "i": address_input({**whole, **patch})})
    if "address.provinceCode" in patch:  # means nothing without its country
        for side in (item.wanted, current.values):
            if country := side.get("address.countryCode"):
                patch.setdefault("address.countryCode", country)
    return Job(item, Step.ADDRESS_UPDATE, {"c": gid, "a": address_id, "i": address_input(patch)})


def address_input(values: Mapping[str, Value]) -> dict[str, object]:
    """Raises Rejected for a country Shopify does not know: one such value would stop the whole batch."""
    made: dict[str, object] = {name.removeprefix("address."): value or None for name, value in values.items()}
    for name in ("countryCode", "provinceCode"):
        if isinstance(code := made.get(name), str):
            made[name] = code.strip().upper() or None
    if made.get("countryCode") not in (None, *countries()):
        raise Rejected("shopify.country_invalid", field="address.countryCode")
    return made


def tags(item: WriteItem, _current: Record, gid: str, _marker: str) -> Job | None:
    """Single tags are added and taken away; the others, the shop's own, are never touched."""
    wishes = {name.removeprefix(TAG): value is True for name, value in item.fields.items() if name.startswith(TAG)}
    for step, is_wished in ((Step.TAGS_ADD, True), (Step.TAGS_REMOVE, False)):
        if some := [tag for tag, wish in wishes.items() if wish is is_wished]:
            return Job(item, step, {"c": gid, "i": some})
    return None


@cache
def countries() -> frozenset[str]:
    """The country codes of this API version, from the schema beside this file."""
    text = (Path(__file__).parent / "schema.graphql").read_text("utf-8")
    found = re.search(r"enum CountryCode \{([^}]*)\}", text)
    return frozenset(found[1].split()) if found else frozenset()
