"""Customers in bulk: what each pass says of an item, and what its result means.

A bulk document holds one mutation, so that what ``customerCreate`` carries in one call takes passes: the customer with
the values that ``customerSet`` takes; then marker and metafields; then consents, address and tags. Every row may be
sent again: ``customerSet`` finds its customer by the marker, and lists, which would replace a merchant's own, go along
only where there is nothing to replace.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial

from integrations.connectors.base import BulkPass, BulkResult, WriteItem, Written
from integrations.connectors.shopify import bulk, bulk_rows
from integrations.connectors.shopify.decoding import ADDRESS_MEMBERS, global_id
from integrations.connectors.shopify.markers import custom_id, filled_metafields
from integrations.connectors.shopify.operations import METAFIELDS, Step, metafield_name, selection
from integrations.connectors.shopify.steps import Job
from integrations.connectors.shopify.writing import PLAIN, WRITER, address_input, email_consent, sms_consent, tags
from integrations.core.values import Value, clean_text
from integrations.toolkit import payload
from integrations.toolkit.payload import Json

Row = Mapping[str, object]
MOST_METAFIELDS = 25

_CUSTOMER = "customer {C} userErrors {{ code field message }}"
_DOCUMENTS: Mapping[Step, str] = {
    Step.SET: "mutation BulkCustomerSet($identifier: CustomerSetIdentifiers, $input: CustomerSetInput!) {{"
    f" customerSet(identifier: $identifier, input: $input) {{{{ {_CUSTOMER} }}}} }}}}",
    Step.SET_METAFIELDS: "mutation BulkMetafieldsSet($metafields: [MetafieldsSetInput!]!) {{"
    " metafieldsSet(metafields: $metafields) {{"
    " metafields {{ id namespace key value }} userErrors {{ code elementIndex field message }} }} }}",
    Step.EMAIL_CONSENT: "mutation BulkEmailConsent($input: CustomerEmailMarketingConsentUpdateInput!) {{"
    f" customerEmailMarketingConsentUpdate(input: $input) {{{{ {_CUSTOMER} }}}} }}}}",
    Step.SMS_CONSENT: "mutation BulkSmsConsent($input: CustomerSmsMarketingConsentUpdateInput!) {{"
    f" customerSmsMarketingConsentUpdate(input: $input) {{{{ {_CUSTOMER} }}}} }}}}",
    Step.TAGS_ADD: "mutation BulkTagsAdd($id: ID!, $tags: [String!]!) {{"
    " tagsAdd(id: $id, tags: $tags) {{ node {{ ... on Customer {C} }} userErrors {{ field message }} }} }}",
}


@lru_cache(maxsize=64)
def document(step: Step, fields: frozenset[str], marker: str) -> str:
    """The mutation of one pass, which answers the customer as it is then."""
    return _DOCUMENTS[step].format(C=bulk_rows.braced(selection(fields | {marker})))


# -- rows


def takes(item: WriteItem, marker: str) -> bool:
    """A customer to be made, with a marker and with an e-mail address or a phone number.

    Those are unique in a shop by themselves. Were the marker not written with the customer, which is not certain, a row
    that is sent again could make a second customer of somebody who has neither.
    """
    has_contact = any(item.fields.get(name) for name in ("email", "phone"))
    return item.current is None and bool(_marked(item.fields, marker)) and has_contact


def _marked(fields: Mapping[str, Value], marker: str) -> str:
    return clean_text(fields.get(marker))


def set_row(item: WriteItem, marker: str) -> Row | None:
    if item.current is not None:
        return None
    return {
        "identifier": custom_id(marker, _marked(item.fields, marker)),
        "input": {name: item.fields[name] for name in PLAIN if item.fields.get(name)},
    }


def metafields_row(item: WriteItem, marker: str) -> Row | None:
    """Marker and metafields. The marker goes along even where the customer showed it: nothing says that it must."""
    if item.current is None:
        return None
    gid = global_id("Customer", item.current.key)
    entries = filled_metafields(_metafield_wish(item, marker), marker)[:MOST_METAFIELDS]
    return {"metafields": [{"ownerId": gid, **entry} for entry in entries]} if entries else None


def _metafield_wish(item: WriteItem, marker: str) -> dict[str, Value]:
    own = {marker: item.wanted[marker]} if _marked(item.wanted, marker) else {}
    return own | {name: value for name, value in item.fields.items() if name.startswith(METAFIELDS)}


def email_consent_row(item: WriteItem, marker: str) -> Row | None:
    job = (
        None
        if item.current is None
        else email_consent(item, item.current, global_id("Customer", item.current.key), marker)
    )
    return None if job is None else {"input": job.variables["i"]}


def sms_consent_row(item: WriteItem, marker: str) -> Row | None:
    job = (
        None
        if item.current is None
        else sms_consent(item, item.current, global_id("Customer", item.current.key), marker)
    )
    return None if job is None else {"input": job.variables["i"]}


def address_row(item: WriteItem, _marker: str) -> Row | None:
    """A first address, whole. Where there is one it is left to the ordinary way: the list would replace it.

    Raises Rejected for a country that Shopify does not know.
    """
    if item.current is None or "address_id" in item.current.handles or not item.fields.keys() & ADDRESS_MEMBERS.keys():
        return None
    whole = {name: value for name, value in {**item.wanted, **item.fields}.items() if name in ADDRESS_MEMBERS and value}
    if not whole:
        return None
    return {
        "identifier": {"id": global_id("Customer", item.current.key)},
        "input": {"addresses": [address_input(whole)]},
    }


def tags_row(item: WriteItem, marker: str) -> Row | None:
    job = None if item.current is None else tags(item, item.current, global_id("Customer", item.current.key), marker)
    if job is None or job.step is not Step.TAGS_ADD:
        return None
    return {"id": job.variables["c"], "tags": job.variables["i"]}


# -- results


def outcome(item: WriteItem, result: BulkResult, fields: frozenset[str], marker: str, *, step: Step) -> Written:
    """What became of an item: the customer as it is now, or the error."""
    fields_sent = _metafield_wish(item, marker) if step is Step.SET_METAFIELDS else item.fields
    return bulk_rows.outcome(
        Job(replace(item, fields=fields_sent), step, {}),
        result,
        writer=WRITER,
        selected=selection(fields | {marker}),
        marker=marker,
        is_about=lambda told, data: _is_about(item, told, data, marker),
    )


def _is_about(item: WriteItem, told: Written, data: Json, marker: str) -> bool:
    """Whether a result speaks of this item."""
    if Step.SET_METAFIELDS.value in data:
        return _carries(data, item, marker)
    if told.record is None:
        return False
    if item.current is not None:
        return told.record.key == item.current.key
    values = told.record.values
    if there := _marked(values, marker):
        return there == _marked(item.fields, marker)
    contacts = [name for name in ("email", "phone") if item.fields.get(name) and values.get(name)]
    return not contacts or any(_plain(item.fields[name]) == _plain(values[name]) for name in contacts)


def _carries(data: Json, item: WriteItem, marker: str) -> bool:
    namespace, key = metafield_name(marker)
    entries = payload.optional_items(payload.obj(data, Step.SET_METAFIELDS.value), "metafields")
    own = [entry.get("value") for entry in entries if (entry.get("namespace"), entry.get("key")) == (namespace, key)]
    return own in ([], [None], [_marked(item.wanted, marker)])


def _plain(value: Value) -> str:
    return clean_text(value).replace(" ", "").lower()


def _pass(name: str, step: Step, row: Callable[[WriteItem, str], Row | None]) -> BulkPass:
    return BulkPass(name, partial(document, step), row, partial(outcome, step=step))


BULK = bulk.way(
    (
        _pass("customers", Step.SET, set_row),
        _pass("metafields", Step.SET_METAFIELDS, metafields_row),
        _pass("email_consents", Step.EMAIL_CONSENT, email_consent_row),
        _pass("sms_consents", Step.SMS_CONSENT, sms_consent_row),
        _pass("addresses", Step.SET, address_row),
        _pass("tags", Step.TAGS_ADD, tags_row),
    ),
    takes,
)
