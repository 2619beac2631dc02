"""Shopify's customers as a stream. Facts and their sources: README.md beside this file.

Look-ups by marker, e-mail and phone go through ``customerByIdentifier``, which does not use the search index and so
sees a customer the moment it exists. Passes over everything page by id, passes over changes by ``updated_at`` up
to the instant they began; both start a new list every 20,000 rows, because Shopify ends one at 25,000.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from integrations.connectors.base import Answer, Ask, Field, OpenFields, Page, Stream, Wanted
from integrations.connectors.shopify.bulk_customers import BULK
from integrations.connectors.shopify.call import call, read
from integrations.connectors.shopify.decoding import customer_gid, decode, number_of
from integrations.connectors.shopify.operations import (
    DEFINITION_CREATE,
    DEFINITIONS,
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
from integrations.connectors.shopify.writing import write_many
from integrations.core.errors import AccountError, Rejected, SyncError, VendorChanged
from integrations.core.records import Record
from integrations.core.values import Code, Email, Phone, Text, YesNoUnknown
from integrations.toolkit import graphql, payload
from integrations.toolkit.graphql import Outcome
from integrations.toolkit.http import Client
from integrations.toolkit.refusals import http_instant

PAGE_SIZE = 100
MOST_IDS = 100  # Shopify takes 250; a hundred stay well below a document's 1000 points
MOST_LOOKUPS = 50
LIST_LENGTH = 20_000  # rows before a list is started anew; Shopify ends one at 25,000

_HANDLE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")


def read_page(client: Client, ask: Ask, place: str | None) -> Page:
    """One page of everything, or of what changed since ``ask.since`` up to the first answer of the pass.

    ``vendor_now`` is Shopify's clock at that answer; what changes after it belongs to the next pass.
    Raises VendorChanged (``shopify.search_ignored``, ``shopify.paging_stuck``) rather than read the wrong rows.
    """
    here = _Place.parse(place) if place else _Place(_stamp(ask.since) if ask.since else None)
    selected = selection(ask.fields)
    document = page_document("ID" if here.since is None else "UPDATED_AT", selected)
    variables = {"first": PAGE_SIZE, "after": here.after, "query": here.query()}
    estimate = 3 + PAGE_SIZE * selected.objects * 0.1
    answered = read(client, document, variables, cost=estimate)
    connection = payload.obj(answered.data, "customers", "data")
    records, broken = _decode_all(payload.items(connection, "nodes", "customers"), selected)
    info = payload.obj(connection, "pageInfo", "customers")
    now = http_instant(answered.reply.headers.get("date", "")) if place is None else None
    onward = None
    if payload.flag(info, "hasNextPage", "pageInfo"):
        onward = here.onward(payload.text(info, "endCursor", "pageInfo"), records, now)
    return Page(records, onward.text() if onward else None, now, None, broken)


@dataclass(frozen=True, slots=True)
class _Place:
    """``since`` opens a pass over changes and ``until`` ends it: the list is in order of change, so a row beyond
    ``until`` ends the pass. ``above`` is the id that a list of everything starts after."""

    since: str | None
    until: str | None = None
    above: str = ""
    after: str | None = None
    rows: int = 0

    @classmethod
    def parse(cls, text: str) -> "_Place":
        told = payload.as_object(json.loads(text), "place")
        since, until, above, after = (
            payload.optional_text(told, name) for name in ("since", "until", "above", "after")
        )
        return cls(since, until, above or "", after, payload.whole(told, "rows"))

    def text(self) -> str:
        told = {"since": self.since, "until": self.until, "above": self.above, "after": self.after, "rows": self.rows}
        return json.dumps(told, separators=(",", ":"))

    def query(self) -> str | None:
        if self.since is not None:
            return f"updated_at:>='{self.since}'"
        return f"id:>{self.above}" if self.above else None

    def onward(self, cursor: str, records: Sequence[Record], now: datetime | None) -> "_Place | None":
        """Where to go on, None at the end of the pass.

        Raises VendorChanged if the list cannot go on: no new cursor, or more rows at one instant than a list holds.
        """
        if cursor == self.after or not cursor:
            raise VendorChanged("shopify.paging_stuck", rows=self.rows)
        until = self.until or (_stamp(now) if now else None)
        newest = max((_stamp(record.changed_at) for record in records if record.changed_at), default="")
        if self.since is not None and until is not None and newest > until:
            return None
        rows = self.rows + PAGE_SIZE
        if rows < LIST_LENGTH or not records:
            return _Place(self.since, until, self.above, cursor, rows)
        if self.since is None:
            return _Place(None, until, records[-1].key)
        if newest == self.since:
            raise VendorChanged("shopify.paging_stuck", rows=rows)
        return _Place(newest, until)


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


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
    """Makes the definition of the marker: a custom ID, whose values are unique in the shop by themselves.

    In a namespace of our own name, not the app's reserved one, so that another app of the clinic's finds the values.
    Raises AccountError if it may not be made, or if one of another type stands in its place.
    """
    namespace, key = metafield_name(marker)
    definition = {
        "name": key.replace("_", " ").capitalize(),
        "namespace": namespace,
        "key": key,
        "type": "id",
        "ownerType": "CUSTOMER",
        "description": "Which record of the practice system this customer is. Kept by Suture; please do not edit.",
    }
    answered = call(client, DEFINITION_CREATE, {"definition": definition}, writes=True, cost=12)
    result = answered.data.get("metafieldDefinitionCreate")
    if not isinstance(result, dict):
        raise answered.error_for("metafieldDefinitionCreate") or VendorChanged("shopify.shape")
    codes = [error.code for error in graphql.user_errors(result)]
    if not codes:
        return
    if "TAKEN" in codes:
        _check_definition(client, namespace, key)
        return
    if "UNSTRUCTURED_ALREADY_EXISTS" in codes:
        raise AccountError("shopify.marker_unstructured", field=marker)
    raise Rejected("shopify.marker_refused", field=marker, vendor_code=_word(codes[0]))


def _word(code: str) -> str | None:
    return code if re.fullmatch(r"[A-Z_]{1,60}", code) else None


def _check_definition(client: Client, namespace: str, key: str) -> None:
    """Raises AccountError if the definition that is there does not make values unique."""
    variables = {"namespace": namespace, "key": key}
    answered = read(client, DEFINITIONS, variables, cost=8)
    for node in payload.items(payload.obj(answered.data, "metafieldDefinitions"), "nodes"):
        if payload.text(payload.obj(node, "type"), "name") != "id":
            raise AccountError("shopify.marker_other_type", field=f"{METAFIELDS}{namespace}.{key}")


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
    bulk=BULK,
    batch=10,
    admin_url=admin_url,
)
