"""Shopify's customers as a stream. Facts and their sources: README.md beside this file.

Look-ups by marker, e-mail and phone go through ``customerByIdentifier``, which does not use the search index and so
sees a customer the moment it exists.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from integrations.connectors.base import Answer, Ask, Field, Page, Stream, Wanted
from integrations.connectors.shopify.bulk_customers import BULK
from integrations.connectors.shopify.call import affordable, read
from integrations.connectors.shopify.company_names import CompanyName
from integrations.connectors.shopify.decoding import decode
from integrations.connectors.shopify.links import admin_page
from integrations.connectors.shopify.lists import Listing, read_by_id, read_list, slices
from integrations.connectors.shopify.markers import OPEN_FIELDS, custom_id, define, with_definition
from integrations.connectors.shopify.operations import (
    Selection,
    find_document,
    selection,
)
from integrations.connectors.shopify.scopes import with_company_or_without
from integrations.connectors.shopify.writing import write_many
from integrations.core.records import Record
from integrations.core.values import Code, Email, Phone, Text, YesNoUnknown
from integrations.toolkit import payload
from integrations.toolkit.graphql import Outcome
from integrations.toolkit.http import Client

MOST_LOOKUPS = 50

_LISTING = Listing("customers", decode)
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def read_page(client: Client, ask: Ask, place: str | None) -> Page:
    """One page of everything or of what changed; see ``lists.read_list`` for what is raised."""
    return with_company_or_without(
        ask.fields,
        lambda fields: read_list(client, ask, place, listing=_LISTING, selected=selection(fields)),
    )


def read_many(client: Client, keys: Sequence[str], fields: frozenset[str]) -> Mapping[str, Record]:
    """Customers by key. Deleted ones, and those that went into another by a merge, are absent: look by marker then.

    Raises Rejected if one cannot be decoded: absence would say that it is gone.
    """
    return with_company_or_without(
        fields, lambda allowed: read_by_id(client, keys, listing=_LISTING, selected=selection(allowed))
    )


def find(client: Client, wanted: Sequence[Wanted], fields: frozenset[str], marker: str) -> Mapping[str, Answer]:
    """Who carries each marker, and who has each e-mail address and phone number: one request for the batch.

    A phone number that is not E.164 finds nobody, because Shopify keeps no others.
    """
    asked = list(dict.fromkeys(question for one in wanted for question in _questions(one, marker)))
    answers = with_definition(
        lambda: with_company_or_without(
            fields | {marker, "email", "phone"},
            lambda allowed: _look_up_all(client, asked, selection(allowed), marker),
        ),
        lambda: prepare(client, marker),
    )
    return {one.ref: _answer(one, marker, answers) for one in wanted}


_Question = tuple[str, str]  # the field that identifies, and its value


def _questions(one: Wanted, marker: str) -> Iterator[_Question]:
    if one.marker:
        yield marker, one.marker
    for name in ("email", "phone"):
        value = one.keys.get(name, "")
        if value and (name == "email" or _E164.fullmatch(value)):
            yield name, value


def _look_up_all(
    client: Client, questions: Sequence[_Question], selected: Selection, marker: str
) -> dict[_Question, Record | None]:
    answers: dict[_Question, Record | None] = {}
    for some in slices(questions, MOST_LOOKUPS):
        answers |= affordable(some, lambda part: _look_up(client, part, selected, marker))
    return answers


def _look_up(
    client: Client, questions: Sequence[_Question], selected: Selection, marker: str
) -> dict[_Question, Record | None]:
    document = find_document(len(questions), selected)
    variables = {f"i{number}": _identifier(question, marker) for number, question in enumerate(questions)}
    answered = read(client, document, variables, cost=len(questions) * selected.objects)
    return {question: _found(answered, f"m{number}", selected) for number, question in enumerate(questions)}


def _found(answered: Outcome, alias: str, selected: Selection) -> Record | None:
    row = payload.optional_obj(answered.data, alias, "data")
    return None if row is None else decode(row, selected)


def _identifier(question: _Question, marker: str) -> dict[str, object]:
    name, value = question
    if name == marker:
        return custom_id(marker, value)
    return {"emailAddress" if name == "email" else "phoneNumber": value}


def _answer(one: Wanted, marker: str, answers: Mapping[_Question, Record | None]) -> Answer:
    by_key = {
        name: (record,)
        for name, value in _questions(one, marker)
        if name != marker and (record := answers.get((name, value))) is not None
    }
    own = answers.get((marker, one.marker)) if one.marker else None
    return Answer((own,) if own else (), by_key)


def prepare(client: Client, marker: str) -> None:
    """Makes the definition of the marker. Raises AccountError if it may not be made, or stands there as another type."""
    told = "Which record of the practice system this customer is. Kept by Suture; please do not edit."
    define(client, marker, owner="CUSTOMER", description=told)


def admin_url(facts: Mapping[str, str], key: str) -> str:
    """The customer in the shop's admin, ``""`` while the shop's handle is not known."""
    return admin_page(facts, "customers", key)


CUSTOMERS = Stream(
    name="customers",
    label="Customers",
    fields=(
        Field("firstName", Text, "First name", personal=True),
        Field("lastName", Text, "Last name", personal=True),
        Field("email", Email, "E-mail address", personal=True, natural_key=True),
        Field("phone", Phone, "Phone number", personal=True, natural_key=True),
        Field("company", CompanyName, "Company (B2B)", personal=True),
        Field("address.firstName", Text, "Address: first name", personal=True),
        Field("address.lastName", Text, "Address: last name", personal=True),
        Field("address.company", Text, "Address: company", personal=True),
        Field("address.address1", Text, "Address: first line", personal=True),
        Field("address.address2", Text, "Address: second line", personal=True),
        Field("address.city", Text, "Address: city or suburb", personal=True),
        Field("address.provinceCode", Code, "Address: state (code)", personal=True),
        Field("address.zip", Text, "Address: postcode", personal=True),
        Field("address.countryCode", Code, "Address: country (code)", personal=True),
        Field("address.phone", Phone, "Address: phone number", personal=True),
        Field("emailMarketing", YesNoUnknown, "Agrees to marketing by e-mail"),
        Field("smsMarketing", YesNoUnknown, "Agrees to marketing by text message"),
    ),
    open_fields=OPEN_FIELDS,
    read_page=read_page,
    read_many=read_many,
    find=find,
    write_many=write_many,
    prepare=prepare,
    bulk=BULK,
    write_cost=24,  # a create and its address
    batch=10,
    admin_url=admin_url,
)
