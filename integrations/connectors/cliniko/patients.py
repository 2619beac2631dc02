"""Cliniko's patients as a stream. Facts and their sources: README.md beside this file; how lists are read: lists.py."""

import re
from collections.abc import Mapping, Sequence
from functools import partial

from integrations.connectors.base import Answer, Field, OpenFields, Stream, Wanted
from integrations.connectors.cliniko import lists
from integrations.connectors.cliniko.decoding import CUSTOM, decoder
from integrations.connectors.cliniko.lists import ARCHIVED_TOO, PAGE_SIZE, Answered, Listing, Source
from integrations.connectors.cliniko.pages import page_url
from integrations.core.records import Record
from integrations.core.values import Code, Email, Phone, Text, YesNoUnknown
from integrations.toolkit.http import Client

SOURCE = Source(Listing("patients"), ready=lambda _client, _rows, fields: decoder(fields))

_ADDRESS = re.compile(r"[^\s@:,*]{1,64}@[^\s@:,*]{1,255}")


def find(client: Client, wanted: Sequence[Wanted], fields: frozenset[str], marker: str) -> Mapping[str, Answer]:
    """Who has each e-mail address, archived patients included: for a person who types one. One request an address.

    An address that the filter's syntax cannot hold finds nobody. What is found is compared again, letter case aside.
    """
    return {one.ref: Answer(by_key={"email": _having(client, one.keys.get("email", ""), fields)}) for one in wanted}


def _having(client: Client, address: str, fields: frozenset[str]) -> tuple[Record, ...]:
    if not _ADDRESS.fullmatch(address):
        return ()
    listing = SOURCE.listing
    answer = Answered.parse(client.get(listing.path, lists.sized(("q[]", f"email:={address}"), ARCHIVED_TOO)), listing)
    records, _ = lists.decode_all(decoder(fields), answer.rows, listing.collection)
    return tuple(record for record in records if str(record.values.get("email") or "").lower() == address.lower())


def _person(name: str, label: str) -> Field:
    return Field(name, Text, label, personal=True)


def _clinical(name: str, label: str) -> Field:
    return Field(name, Text, label, personal=True, clinical=True, writable=False)


PATIENTS = Stream(
    name="patients",
    label="Patients",
    fields=(
        _person("first_name", "First name"),
        _person("last_name", "Last name"),
        _person("preferred_first_name", "Preferred first name"),
        _person("title", "Title"),
        Field("email", Email, "E-mail", personal=True, natural_key=True),
        Field("phone", Phone, "Phone: first mobile number as typed, else the first other one", personal=True),
        Field("phone_normalized", Phone, "Phone: digits with country code, as Cliniko reads them", personal=True),
        _person("address_1", "Address, line 1"),
        _person("address_2", "Address, line 2"),
        _person("address_3", "Address, line 3"),
        _person("city", "City or suburb"),
        _person("state", "State"),
        _person("post_code", "Postcode"),
        Field("country_code", Code, "Country code"),
        Field("country", Text, "Country name (old field)"),
        Field("accepted_email_marketing", YesNoUnknown, "Accepted marketing by e-mail"),
        Field("accepted_sms_marketing", YesNoUnknown, "Accepted marketing by SMS"),
        Field("accepted_privacy_policy", YesNoUnknown, "Accepted the privacy policy"),
        _person("old_reference_id", "Old reference id"),
        Field("time_zone", Text, "Time zone"),
        _clinical("date_of_birth", "Date of birth"),
        _clinical("medicare", "Medicare number"),
        _clinical("medicare_reference_number", "Medicare reference number"),
        _clinical("dva_card_number", "DVA card number"),
        _clinical("concession_type", "Concession type"),
        _clinical("gender", "Gender (old field)"),
        _clinical("gender_identity", "Gender identity"),
        _clinical("sex", "Sex"),
        _clinical("pronouns", "Pronouns"),
        _clinical("notes", "Notes"),
        _clinical("appointment_notes", "Appointment notes"),
        _clinical("occupation", "Occupation"),
        _clinical("emergency_contact", "Emergency contact"),
        _clinical("referral_source", "Referral source"),
        _clinical("referring_doctor", "Referring doctor"),
        _clinical("invoice_default_to", "Invoices go to"),
        _clinical("invoice_extra_information", "Extra invoice information"),
        _clinical("invoice_email", "E-mail for invoices (may be a funder's)"),
        _clinical("reminder_type", "Reminder type"),
        _clinical("medical_alerts", "Medical alerts"),
        _clinical("appointments", "Appointments"),
        _clinical("attendees", "Attendances"),
        _clinical("latest_booking", "Latest booking"),
        _clinical("patient_attachments", "Attachments"),
        _clinical("relationships", "Relationships"),
    ),
    open_fields=(OpenFields(CUSTOM, "Custom field", Text, released=True),),
    read_page=partial(lists.read_page, SOURCE),
    read_many=partial(lists.read_many, SOURCE),
    find=find,
    batch=PAGE_SIZE,
    poll_cost=2.0,
    admin_url=partial(page_url, "patients"),
)
