"""Cliniko's patients as a stream. Facts and their sources: README.md beside this file.

How a pass reads:

* everything: all patients by ``created_at`` (the default order), archived ones included. Nothing leaves that list and
  what is new joins its end, so paging by offset skips nobody.
* changes: first ``updated_at >= T`` with archived ones, then ``archived_at >= T``, because it is not documented that
  archiving touches ``updated_at``. Both in the default order, in which a row that changes meanwhile moves nobody.

The place is text of ours around the vendor's own next link: part, page number, first key of the page before, link.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

from integrations.connectors.base import Answer, Ask, Field, OpenFields, Page, Stream, Wanted
from integrations.connectors.cliniko.decoding import CUSTOM, Decode, decoder, patient_key
from integrations.core.errors import SyncError, VendorChanged
from integrations.core.records import Record
from integrations.core.values import Code, Email, Phone, Text, YesNoUnknown
from integrations.toolkit import payload
from integrations.toolkit.http import Client, Reply
from integrations.toolkit.payload import Json
from integrations.toolkit.refusals import http_instant

PATH = "/v1/patients"
PAGE_SIZE = 100
MOST_PAGES = 50_000  # 5 million patients: an account that size does not exist, an endless list might
ARCHIVED_TOO = ("q[]", "archived_at:*")

Query = tuple[tuple[str, str], ...]

_EVERYTHING, _CHANGED, _ARCHIVED = "everything", "changed", "archived"
_SHARD = re.compile(r"[a-z]{2}[0-9]{1,2}")
_ADDRESS = re.compile(r"[^\s@:,*]{1,64}@[^\s@:,*]{1,255}")
_SUBDOMAIN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def read_page(client: Client, ask: Ask, place: str | None) -> Page:
    """One page of everything, or of what changed since ``ask.since``.

    ``vendor_now`` is given on the first page of a pass only and is the earlier of the answer's ``Date`` and the newest
    ``updated_at`` that the vendor showed: the clock that stamps the rows need not be the clock that stamps the answer,
    and a watermark ahead of the rows would lose them. It is None when a pass over changes starts with an empty page:
    the watermark then stays where it is.
    Raises VendorChanged (``payload.shape``, ``cliniko.paging.*``) for an answer that does not fit.
    """
    here = _Place.parse(place) if place else _Place(_EVERYTHING if ask.since is None else _CHANGED)
    newest = newest_change(client) if place is None and ask.since is None else None
    reply = client.get_link(here.link) if here.link else client.get(PATH, _query(here.part, ask.since))
    answer = _Answer.parse(reply)
    records, broken = _decode_all(answer.rows, ask.fields)
    onward = here.after(answer)
    now = None
    if place is None:
        now = _starting_instant(client, reply, ask, newest, records, has_more=bool(answer.next_link))
    return Page(records, onward.text() if onward else None, now, answer.total, broken)


def read_many(client: Client, keys: Sequence[str], fields: frozenset[str]) -> Mapping[str, Record]:
    """Patients by id, archived and merged ones included; ids that the account does not have are absent.

    Raises Rejected (``record.unreadable``) if one of them cannot be decoded: absence would say that it is gone.
    """
    asked = [key for key in dict.fromkeys(keys) if key.isascii() and key.isdigit()]
    found: dict[str, Record] = {}
    decode = decoder(fields)
    for start in range(0, len(asked), PAGE_SIZE):
        some = asked[start : start + PAGE_SIZE]
        query = (("q[]", "id:=" + ",".join(some)), ARCHIVED_TOO, ("per_page", str(PAGE_SIZE)))
        for row in _Answer.parse(client.get(PATH, query)).rows:
            if patient_key(row) in some:
                found[patient_key(row)] = _decode_one(decode, row)
    return found


def find(client: Client, wanted: Sequence[Wanted], fields: frozenset[str], marker: str) -> Mapping[str, Answer]:
    """Who has each e-mail address, archived patients included: for a person who types one. One request an address.

    An address that the filter's syntax cannot hold finds nobody. What is found is compared again, letter case aside.
    """
    return {one.ref: Answer(by_key={"email": _having(client, one.keys.get("email", ""), fields)}) for one in wanted}


def _having(client: Client, address: str, fields: frozenset[str]) -> tuple[Record, ...]:
    if not _ADDRESS.fullmatch(address):
        return ()
    query = (("q[]", f"email:={address}"), ARCHIVED_TOO, ("per_page", str(PAGE_SIZE)))
    records, _ = _decode_all(_Answer.parse(client.get(PATH, query)).rows, fields)
    return tuple(record for record in records if str(record.values.get("email") or "").lower() == address.lower())


def newest_change(client: Client) -> datetime | None:
    """The newest ``updated_at`` among all patients, None in an empty account."""
    reply = client.get(PATH, (("sort", "updated_at:desc"), ("per_page", "1"), ARCHIVED_TOO))
    rows = _Answer.parse(reply).rows
    return payload.instant(rows[0], "updated_at") if rows else None


@dataclass(frozen=True, slots=True)
class _Answer:
    """The envelope of a list."""

    rows: Sequence[Json]
    next_link: str
    total: int | None

    @classmethod
    def parse(cls, reply: Reply) -> "_Answer":
        data = payload.as_object(reply.data, "")
        links = payload.optional_obj(data, "links") or {}
        total = data.get("total_entries")
        return cls(
            payload.items(data, "patients"),
            payload.optional_text(links, "next", "links") or "",
            total if type(total) is int else None,
        )


@dataclass(frozen=True, slots=True)
class _Place:
    part: str
    page: int = 1
    first_before: str = "-"
    link: str = ""

    @classmethod
    def parse(cls, text: str) -> "_Place":
        part, page, first_before, link = text.split(" ", 3)
        return cls(part, int(page), first_before, link)

    def text(self) -> str:
        return f"{self.part} {self.page} {self.first_before} {self.link}"

    def after(self, answer: _Answer) -> "_Place | None":
        """Where to go on after this answer, None at the end of the pass. Raises VendorChanged on a loop."""
        first = patient_key(answer.rows[0]) if answer.rows else "-"
        if self.link and first == self.first_before:
            raise VendorChanged("cliniko.paging.loop", page=self.page)
        if not answer.next_link:
            return _Place(_ARCHIVED) if self.part == _CHANGED else None
        if not answer.rows:
            raise VendorChanged("cliniko.paging.endless", page=self.page)
        return _Place(self.part, self._next_page(answer.next_link), first, answer.next_link)

    def _next_page(self, link: str) -> int:
        parts = urlsplit(link)
        number = parse_qs(parts.query).get("page", [""])[-1]
        if not parts.path.endswith(PATH) or not (number.isascii() and number.isdigit()) or len(number) > 9:
            raise VendorChanged("cliniko.paging.link", page=self.page)
        if int(number) <= self.page:
            raise VendorChanged("cliniko.paging.loop", page=self.page)
        if int(number) > MOST_PAGES:
            raise VendorChanged("cliniko.paging.endless", page=self.page)
        return int(number)


def _query(part: str, since: datetime | None) -> Query:
    """The first request of a part; later pages follow the vendor's links, which repeat the filters."""
    size = ("per_page", str(PAGE_SIZE))
    if part == _EVERYTHING or since is None:
        return (ARCHIVED_TOO, size)
    instant = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # whole seconds, downwards
    if part == _CHANGED:
        return (("q[]", f"updated_at:>={instant}"), ARCHIVED_TOO, size)
    return (("q[]", f"archived_at:>={instant}"), size)


def _decode_all(rows: Sequence[Json], fields: frozenset[str]) -> tuple[list[Record], list[tuple[str, SyncError]]]:
    decode = decoder(fields)
    records: list[Record] = []
    broken: list[tuple[str, SyncError]] = []
    for row in rows:
        key = patient_key(row)
        try:
            records.append(decode(row))
        except VendorChanged as error:
            broken.append((key, payload.unreadable(error)))
    return records, broken


def _decode_one(decode: Decode, row: Json) -> Record:
    try:
        return decode(row)
    except VendorChanged as error:
        raise payload.unreadable(error) from None


def _starting_instant(
    client: Client, reply: Reply, ask: Ask, newest: datetime | None, records: Sequence[Record], *, has_more: bool
) -> datetime | None:
    """The vendor's clock for a pass that starts with this answer, see ``read_page``."""
    told = http_instant(reply.headers.get("date", ""))
    if ask.since is not None:
        newest = newest_change(client) if has_more else _newest_of(records)
        if newest is None:
            return None
    known = [instant for instant in (told, newest) if instant is not None]
    return min(known) if known else None


def _newest_of(records: Sequence[Record]) -> datetime | None:
    return datetime.fromisoformat(max(record.version for record in records)) if records else None


def admin_url(facts: Mapping[str, str], key: str) -> str:
    """The patient's page in Cliniko, ``""`` until the account's address is known."""
    subdomain, shard = facts.get("subdomain", ""), facts.get("shard", "")
    if not (_SUBDOMAIN.fullmatch(subdomain) and _SHARD.fullmatch(shard) and key.isascii() and key.isdigit()):
        return ""
    return f"https://{subdomain}.{shard}.cliniko.com/patients/{key}"


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
    read_page=read_page,
    read_many=read_many,
    find=find,
    batch=PAGE_SIZE,
    admin_url=admin_url,
)
