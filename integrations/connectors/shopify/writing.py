"""Writing customers: create with marker, metafields, consent and tags; then fields; then consent; then the company;
then the address; then tags. How steps are sent is in ``steps.py``."""

from collections.abc import Mapping, Sequence

from integrations.connectors.base import WriteItem, Written
from integrations.connectors.shopify import company_refusals, refusals
from integrations.connectors.shopify.companies import with_companies
from integrations.connectors.shopify.decoding import ADDRESS_MEMBERS, address_values, decode, global_id
from integrations.connectors.shopify.markers import (
    added_tags,
    cleared_metafields,
    filled_metafields,
    metafield_identifiers,
    removed_tags,
)
from integrations.connectors.shopify.operations import COMPANY, METAFIELDS, SHAPES, Selection, Step, members, selection
from integrations.connectors.shopify.steps import Job, Run, Withheld, Writer, over, planned
from integrations.core.errors import Rejected, SyncError
from integrations.core.records import Record
from integrations.core.values import Value
from integrations.toolkit import payload
from integrations.toolkit.graphql import UserError
from integrations.toolkit.http import Client

PLAIN = ("firstName", "lastName", "email", "phone")
_ADDRESS_STEPS = (Step.ADDRESS_CREATE, Step.ADDRESS_UPDATE)
_CONSENT = {True: "SUBSCRIBED", False: "UNSUBSCRIBED"}


def write_many(client: Client, items: Sequence[WriteItem], fields: frozenset[str], marker: str) -> Sequence[Written]:
    """The next step of every item; see ``steps.write_steps`` for what is raised."""
    selected = selection(fields | {marker})
    jobs, outcomes = planned(items, _plan, marker)
    ready, refused = with_companies(client, jobs)
    outcomes |= refused | Run(client, WRITER, selected, marker).all(ready)
    return [outcomes[item.ref] for item in items]


def _refuse(errors: Sequence[UserError], job: Job, marks: bool) -> SyncError:
    if job.step == Step.COMPANY_ASSIGN:
        return company_refusals.refused(errors, step=job.step)
    return refusals.refused(errors, marks=marks, in_address=job.step in _ADDRESS_STEPS)


def _record(job: Job, result: payload.Json, withheld: Withheld, selected: Selection) -> Record:
    """The customer after the step. Where the mutation cannot answer it, what it did is laid over what was there."""
    current = job.item.current
    if job.step == Step.CLEAR_METAFIELDS:
        return over(current, dict.fromkeys(cleared_metafields(job.item.fields)))
    if job.step == Step.SET_METAFIELDS:
        return over(current, {name: value for name, value in job.item.fields.items() if name.startswith(METAFIELDS)})
    if job.step == Step.COMPANY_ASSIGN:
        payload.text(payload.obj(result, "companyContact"), "id", "companyContact")
        return over(current, {COMPANY: job.item.fields[COMPANY]})
    if job.step in _ADDRESS_STEPS:
        address = payload.obj(result, "address")
        handles = {"address_id": payload.text(address, "id", "address")}
        return over(current, address_values(address, selected.fields), handles)
    member = "node" if job.step in (Step.TAGS_ADD, Step.TAGS_REMOVE) else "customer"
    return decode(payload.obj(result, member), selected, {path[0] for path in withheld})


# -- which step, with which variables


def _plan(item: WriteItem, marker: str) -> Job | None:
    """The next step of an item, None if nothing is left to do. Raises Rejected for values that cannot be sent."""
    if item.current is None:
        return Job(item, Step.CREATE, {"i": _create_input(item.fields, marker)})
    gid = global_id("Customer", item.current.key)
    for wanted in (_update, _clear_metafields, email_consent, sms_consent, _company, _address, tags):
        job = wanted(item, item.current, gid, marker)
        if job is not None:
            return job
    return None


def _create_input(fields: Mapping[str, Value], marker: str) -> dict[str, object]:
    """Everything a create can carry, marker first. A no to marketing is the state of a new customer anyway."""
    made: dict[str, object] = {name: fields[name] for name in PLAIN if fields.get(name)}
    if metafields := filled_metafields(fields, marker):
        made["metafields"] = metafields
    if fields.get("emailMarketing") is True and "email" in made:
        made["emailMarketingConsent"] = _consent(is_given=True)
    if fields.get("smsMarketing") is True and "phone" in made:
        made["smsMarketingConsent"] = _consent(is_given=True)
    if wished := added_tags(fields):
        made["tags"] = wished
    return made


def _update(item: WriteItem, _current: Record, gid: str, marker: str) -> Job | None:
    changed: dict[str, object] = {name: item.fields[name] or None for name in PLAIN if name in item.fields}
    if metafields := filled_metafields(item.fields, marker):
        changed["metafields"] = metafields
    return Job(item, Step.UPDATE, {"i": {"id": gid, **changed}}) if changed else None


def _clear_metafields(item: WriteItem, _current: Record, gid: str, _marker: str) -> Job | None:
    gone = metafield_identifiers(gid, cleared_metafields(item.fields))
    return Job(item, Step.CLEAR_METAFIELDS, {"i": gone}) if gone else None


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


def _company(item: WriteItem, _current: Record, gid: str, _marker: str) -> Job | None:
    """A contact of the company wished for; which one that is, is known once it was found or made. Nobody is taken out
    of the one before: their orders would go with it."""
    return Job(item, Step.COMPANY_ASSIGN, {"c": gid}) if item.fields.get(COMPANY) else None


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
    for step, some in ((Step.TAGS_ADD, added_tags(item.fields)), (Step.TAGS_REMOVE, removed_tags(item.fields))):
        if some:
            return Job(item, step, {"c": gid, "i": some})
    return None


def countries() -> frozenset[str]:
    """The country codes of this API version."""
    return members("CountryCode")


WRITER = Writer("Customers", SHAPES, _record, _refuse)
