"""Cliniko's invoices and credit notes as a stream. Facts and their sources: README.md beside this file.

A page of invoices is read together with the items of all of them. It is not stated that a change to an item touches its
invoice, so a pass over changes also reads the items changed since, and then the invoices that they name.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from integrations.connectors.base import Field, OpenFields, Stream
from integrations.connectors.cliniko import lists
from integrations.connectors.cliniko.items import ITEMS, Items, as_credit, items_of, line_of
from integrations.connectors.cliniko.lists import (
    ARCHIVED_TOO,
    PAGE_SIZE,
    Answered,
    Decode,
    Listing,
    Part,
    Source,
    sized,
)
from integrations.connectors.cliniko.owners import emails
from integrations.connectors.cliniko.pages import page_url
from integrations.connectors.cliniko.rows import is_gone, reference, row_key, state_of, text_of, version_of
from integrations.connectors.cliniko.tables import look_up
from integrations.connectors.cliniko.zones import zone_of
from integrations.core.errors import AccountError, VendorChanged
from integrations.core.lines import Line
from integrations.core.records import Record
from integrations.core.values import Day, Email, Instant, Kind, Lines, Number, Text, Value
from integrations.toolkit import payload
from integrations.toolkit.http import Client
from integrations.toolkit.payload import Json

LISTING = Listing("invoices")
OWNER = "owner."
OWNER_EMAIL = f"{OWNER}email"

_NUMBER = re.compile(r"[0-9]{1,18}")
_BUSINESSES = Listing("businesses")
_NUMBERS = (("total", "total_amount"), ("tax", "tax_amount"), ("net", "net_amount"))
_REFERENCES = ("patient", "original_invoice", "business")


@dataclass(frozen=True, slots=True)
class _Around:
    """What a page of invoices needs besides itself. ``emails`` is None where no rule asks for them."""

    items: Items
    zones: Mapping[str, str]
    emails: Mapping[str, str | None] | None


def _ready(client: Client, rows: Sequence[Json], fields: frozenset[str]) -> Decode:
    keys = [row_key(row, LISTING.collection) for row in rows]
    expected = [key for key, row in zip(keys, rows, strict=True) if _must_have_items(row)]
    addresses = emails(client, _named(rows, "practitioner")) if OWNER_EMAIL in fields else None
    around = _Around(items_of(client, keys, expected=expected), _zones(client, _named(rows, "business")), addresses)
    return partial(_decode, around)


def _must_have_items(row: Json) -> bool:
    """Whether an invoice without items would be a surprise. Those of an archived one are archived with it."""
    try:
        return not is_gone(row) and bool(payload.optional_decimal(row, "total_amount"))
    except VendorChanged:
        return False  # told when the invoice is decoded


def _named(rows: Sequence[Json], name: str) -> set[str]:
    """What these invoices refer to. A reference that cannot be read is told when its invoice is decoded."""
    found = set()
    for row in rows:
        try:
            found.add(reference(row, name))
        except VendorChanged:
            continue
    return {key for key in found if key}


def _zones(client: Client, businesses: set[str]) -> Mapping[str, str]:
    """Zones by business. A role that may not read businesses leaves the zone to the connection."""
    members = ("time_zone", "time_zone_identifier")
    try:
        rows = look_up(client, _BUSINESSES, businesses, members=members, filters=(ARCHIVED_TOO,))
    except AccountError as error:
        if error.code != "cliniko.role.forbidden":
            raise
        return {}
    return {key: zone_of(row) for key, row in rows.items()}


def _decode(around: _Around, row: Json) -> Record:
    key = row_key(row, LISTING.collection)
    version, updated_at = version_of(row)
    state, changed_at = state_of(row, updated_at)
    items = around.items.get(key, ())
    values = _plain_values(row)
    made = values["lines"] = _lines(row, items)
    values["zone"] = around.zones.get(str(values["business"])) or None
    if around.emails is not None:
        values[OWNER_EMAIL] = around.emails.get(reference(row, "practitioner") or "")
    stamps = [stamp for item in items if (stamp := payload.optional_instant(item, "updated_at"))]
    return Record(
        key,
        f"{version} {_digest(items, made)}",
        values,
        state,
        changed_at=max((changed_at, *stamps)),
        created_at=payload.optional_instant(row, "created_at"),
    )


def _digest(items: Sequence[Json], made: Sequence[Line]) -> str:
    """Another text for other items, for changed ones and for other lines; Cliniko need not say that they changed."""
    told = repr((sorted((str(item.get("id")), str(item.get("updated_at"))) for item in items), made))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _plain_values(row: Json) -> dict[str, Value]:
    values: dict[str, Value] = {"number": text_of(row, "number"), "status": text_of(row, "status")}
    values["issue_date"] = payload.optional_day(row, "issue_date")
    values |= {name: payload.optional_instant(row, name) for name in ("created_at", "closed_at")}
    values |= {name: payload.optional_decimal(row, theirs) for name, theirs in _NUMBERS}
    return values | {name: reference(row, name) for name in _REFERENCES}


def _lines(row: Json, items: Sequence[Json]) -> tuple[Line, ...]:
    made = tuple(line_of(item) for item in items)
    if reference(row, "original_invoice") is None:
        return made
    return as_credit(made, payload.optional_decimal(row, "total_amount"))


def numbered(client: Client, number: str) -> Sequence[str]:
    """Invoices that bear this number, archived ones included: for a person who has it on paper. Compared again here."""
    number = number.removeprefix("#")
    if not _NUMBER.fullmatch(number):
        return ()
    rows = Answered.parse(client.get(LISTING.path, sized(("q[]", f"number:={number}"), ARCHIVED_TOO)), LISTING).rows
    return [row_key(row, LISTING.collection) for row in rows if text_of(row, "number") == number]


def _clinical(name: str, label: str) -> Field:
    return Field(name, Text, label, personal=True, clinical=True, writable=False)


def _fact(name: str, kind: Kind, label: str) -> Field:
    return Field(name, kind, label, writable=False)


SOURCE = Source(
    LISTING,
    _ready,
    elsewhere=(Part("items", ITEMS, ("updated_at:>={since}", "archived_at:*"), names="invoice"),),
)

INVOICES = Stream(
    name="invoices",
    label="Invoices",
    fields=(
        _fact("number", Text, "Number"),
        _fact("issue_date", Day, "Date of issue, in the clinic's zone"),
        _fact("created_at", Instant, "Made at"),
        _fact("closed_at", Instant, "Closed at"),
        _fact("zone", Text, "Time zone of its business"),
        _fact("status", Text, "Status: 10 open, 20 paid, 30 closed, 40 open credit"),
        _fact("total", Number, "Total with tax, below zero for a credit note"),
        _fact("tax", Number, "Tax"),
        _fact("net", Number, "Total without tax"),
        _fact("lines", Lines, "Lines"),
        _fact("patient", Text, "Patient"),
        _fact("original_invoice", Text, "Invoice that a credit note reverses"),
        _fact("business", Text, "Business"),
        _clinical("invoice_to", "Addressed to"),
        _clinical("notes", "Notes"),
        _clinical("patient_extra_information", "Extra patient information"),
        _clinical("online_payment_url", "Address for online payment"),
        _clinical("appointment", "Appointment"),
        _clinical("attendee", "Attendance"),
        _clinical("item_names", "Names of what was invoiced"),
        _clinical("item_codes", "Codes of what was invoiced"),
        _clinical("concession_type_name", "Concession"),
    ),
    open_fields=(OpenFields(OWNER, "Practitioner", Email, released=True, shape="email"),),
    read_page=partial(lists.read_page, SOURCE),
    read_many=partial(lists.read_many, SOURCE),
    numbered=numbered,
    read_cost=0.03,  # a page of invoices and about two of their items
    batch=PAGE_SIZE,
    poll_cost=7.0,
    admin_url=partial(page_url, "invoices"),
)
