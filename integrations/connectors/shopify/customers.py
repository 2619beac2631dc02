"""Shopify's customers as a stream. Facts and their sources: README.md beside this file.

Look-ups by marker, e-mail and phone go through ``customerByIdentifier``, which does not use the search index and so
sees a customer the moment it exists.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from integrations.connectors.base import Answer, Ask, Field, OpenFields, Page, Stream, Wanted
from integrations.connectors.shopify.call import read
from integrations.connectors.shopify.decoding import customer_gid, decode, number_of
from integrations.connectors.shopify.markers import define
from integrations.connectors.shopify.operations import (
    METAFIELD_SHAPE,
    METAFIELDS,
    TAG,
    Selection,
    find_document,
    metafield_name,
    nodes_document,
    page_document,
    selection,
)
from integrations.connectors.shopify.passes import Place
from integrations.connectors.shopify.writing import write_many
from integrations.core.errors import AccountError, SyncError, VendorChanged
from integrations.core.records import Record
from integrations.core.values import Code, Email, Phone, Text, YesNoUnknown
from integrations.toolkit import payload
from integrations.toolkit.graphql import Outcome
from integrations.toolkit.http import Client
from integrations.toolkit.refusals import http_instant

PAGE_SIZE = 100
MOST_IDS = 100  # Shopify takes 250; a hundred stay well below a document's 1000 points
MOST_LOOKUPS = 50

_HANDLE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_MARKS = "Which record of the practice system this customer is. Kept by Suture; please do not edit."
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def read_page(client: Client, ask: Ask, place: str | None) -> Page:
    """One page of everything, or of what changed since ``ask.since`` up to the first answer of the pass.

    ``vendor_now`` is Shopify's clock at that answer; what changes after it belongs to the next pass.
    Raises VendorChanged (``shopify.search_ignored``, ``shopify.paging_stuck``) rather than read the wrong rows.
    """
    here = Place.of(place, ask.since)
    selected = selection(ask.fields)
    document = page_document(here.sort_key, selected)
    variables = {"first": PAGE_SIZE, "after": here.after, "query": here.query()}
    estimate = 3 + PAGE_SIZE * selected.objects * 0.1
    answered = read(client, document, variables, cost=estimate)
    connection = payload.obj(answered.data, "customers", "data")
    records, broken = _decode_all(payload.items(connection, "nodes", "customers"), selected)
    info = payload.obj(connection, "pageInfo", "customers")
    now = http_instant(answered.reply.headers.get("date", "")) if place is None else None
    onward = None
    if payload.flag(info, "hasNextPage", "pageInfo"):
        onward = here.onward(payload.text(info, "endCursor", "pageInfo"), records, now, PAGE_SIZE)
    return Page(records, onward.text() if onward else None, now, None, broken)


def _decode_all(rows: Iterable[payload.Json], selected: Selection) -> tuple[list[Record], list[tuple[str, SyncError]]]:
    records: list[Record] = []
    broken: list[tuple[str, SyncError]] = []
    for row in rows:
        try:
            records.append(decode(row, selected))
        except VendorChanged as error:
            broken.append((number_of(payload.text(row, "id")), payload.unreadable(error)))
    return records, broken


def read_many(client: Client, keys: Sequence[str], fields: frozenset[str]) -> Mapping[str, Record]:
    """Customers by key. Deleted ones, and those that went into another by a merge, are absent: look by marker then.

    Raises Rejected if one cannot be decoded: absence would say that it is gone.
    """
    selected = selection(fields)
    found: dict[str, Record] = {}
    for some in _slices(list(dict.fromkeys(keys)), MOST_IDS):
        variables = {"ids": [customer_gid(key) for key in some]}
        document = nodes_document(len(some), selected)
        answered = read(client, document, variables, cost=1 + len(some) * selected.objects)
        for row in payload.as_list(answered.data.get("nodes"), "nodes"):
            if row is not None and row != {}:
                record = _decoded(payload.as_object(row, "nodes"), selected)
                found[record.key] = record
    return found


def _decoded(row: payload.Json, selected: Selection) -> Record:
    """Raises Rejected for a customer that does not fit, so that a caller can leave out that one alone."""
    try:
        return decode(row, selected)
    except VendorChanged as error:
        raise payload.unreadable(error) from None


def find(client: Client, wanted: Sequence[Wanted], fields: frozenset[str], marker: str) -> Mapping[str, Answer]:
    """Who carries each marker, and who has each e-mail address and phone number: one request for the batch.

    A phone number that is not E.164 finds nobody, because Shopify keeps no others.
    """
    selected = selection(fields | {marker, "email", "phone"})
    asked = list(dict.fromkeys(question for one in wanted for question in _questions(one, marker)))
    try:
        answers = _look_up_all(client, asked, selected, marker)
    except AccountError as error:
        if error.code != "shopify.marker_definition_missing":
            raise
        prepare(client, marker)  # somebody deleted it, and its values with it: nobody carries the marker now
        answers = _look_up_all(client, asked, selected, marker)
    return {one.ref: _answer(one, marker, answers) for one in wanted}


_Thing = TypeVar("_Thing")
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
    for some in _slices(questions, MOST_LOOKUPS):
        answers |= _look_up(client, some, selected, marker)
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
        namespace, key = metafield_name(marker)
        return {"customId": {"namespace": namespace, "key": key, "value": value}}
    return {"emailAddress" if name == "email" else "phoneNumber": value}


def _answer(one: Wanted, marker: str, answers: Mapping[_Question, Record | None]) -> Answer:
    by_key = {
        name: (record,)
        for name, value in _questions(one, marker)
        if name != marker and (record := answers.get((name, value))) is not None
    }
    own = answers.get((marker, one.marker)) if one.marker else None
    return Answer((own,) if own else (), by_key)


def _slices(things: Sequence[_Thing], size: int) -> Iterator[Sequence[_Thing]]:
    for start in range(0, len(things), size):
        yield things[start : start + size]


def prepare(client: Client, marker: str) -> None:
    """Makes the marker's definition. Raises what ``markers.define`` raises."""
    define(client, marker, "CUSTOMER", _MARKS)


def admin_url(facts: Mapping[str, str], key: str) -> str:
    """The customer in the shop's admin, ``""`` while the shop's handle is not known."""
    handle = facts.get("handle", "")
    return f"https://admin.shopify.com/store/{handle}/customers/{key}" if _HANDLE.fullmatch(handle) else ""


CUSTOMERS = Stream(
    name="customers",
    label="Customers",
    fields=(
        Field("firstName", Text, "First name", personal=True),
        Field("lastName", Text, "Last name", personal=True),
        Field("email", Email, "E-mail address", personal=True, natural_key=True),
        Field("phone", Phone, "Phone number", personal=True, natural_key=True),
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
    open_fields=(OpenFields(METAFIELDS, "Metafields", shape=METAFIELD_SHAPE), OpenFields(TAG, "Tag", YesNoUnknown)),
    read_page=read_page,
    read_many=read_many,
    find=find,
    write_many=write_many,
    prepare=prepare,
    batch=10,
    admin_url=admin_url,
)
