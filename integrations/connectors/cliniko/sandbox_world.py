"""What a sandboxed Cliniko holds: accounts, the users whose keys open them, patients.

Rows hold only what differs from an empty patient, so that a hundred thousand of them fit.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime

from integrations.connectors.cliniko.sandbox_lists import PATIENT_FILTERS, Query, Row, select
from integrations.connectors.sandbox_kit import Clock

CANARY = "CANARY"
FIRST_ID = 1482019375550301201  # nineteen digits, beyond what a float can hold
ID_STEP = 7919

TEXTS = (
    "title", "first_name", "last_name", "preferred_first_name", "email", "invoice_email", "address_1", "address_2",
    "address_3", "city", "state", "post_code", "country", "country_code", "time_zone", "date_of_birth", "medicare",
    "medicare_reference_number", "dva_card_number", "gender", "gender_identity", "sex", "notes", "appointment_notes",
    "occupation", "emergency_contact", "referral_source", "invoice_default_to", "invoice_extra_information",
    "old_reference_id", "reminder_type",
)  # fmt: skip
OTHERS = (
    "patient_phone_numbers", "accepted_email_marketing", "accepted_sms_marketing", "accepted_privacy_policy",
    "receives_confirmation_emails", "receives_cancellation_emails", "pronouns", "custom_fields",
)  # fmt: skip
STAMPS = ("archived_at", "deleted_at", "merged_at", "created_at", "updated_at")
READ_ONLY = frozenset(("id", "label", "gender", "accepted_sms_marketing", *STAMPS))
WRITABLE = frozenset((*TEXTS, *OTHERS, "unsubscribe_sms_marketing")) - READ_ONLY

_EMPTY: Row = dict.fromkeys(("id", "label", *TEXTS, *OTHERS, *STAMPS))
_LINKED = ("appointments", "invoices", "medical_alerts", "patient_attachments")
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_NOT_DIGITS = re.compile(r"[^0-9]+")


@dataclass(slots=True)
class Quirks:
    """How this Cliniko departs from the current documentation; each was seen or is feared (README.md)."""

    ids_as_numbers: bool = False
    empty_as_text: bool = False  # "" instead of null, in dates too
    archiving_touches_updated_at: bool = False  # not documented: the harder answer is the default
    lag_s: float = 0.0  # how long a change stays invisible
    missing_keys: tuple[str, ...] = ()
    wrong_total: bool = False
    loop_at_page: int = 0  # the next link of this page leads to the page itself
    foreign_next: str = ""  # an origin that next links lead to
    require_contact: bool = True
    adjusting_touches_updated_at: bool = False  # of the product; not stated: the harder answer is the default
    items_touch_their_invoice: bool = False  # the same
    lists_of_foreign_ids: str = "taken"  # "refused" with a 400, or read up to the "first" comma
    totals_as_text: bool = False  # an item's total as in 2022


@dataclass(slots=True)
class Account:
    """One clinic. ``raw`` overrides keys of single rows in the answer as they are: {id: {key: anything}}.

    ``shelves`` hold everything but patients: collection -> id -> row, see ``sandbox_shelves``.
    """

    id: str
    name: str
    subdomain: str
    country_code: str = "AU"
    zones: tuple[str, ...] = ("Australia/Sydney",)
    custom_fields: Mapping[str, object] = field(default_factory=dict)
    xero: bool = False
    patients: dict[str, Row] = field(default_factory=dict)
    raw: dict[str, Row] = field(default_factory=dict)
    shelves: dict[str, dict[str, Row]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class User:
    """The owner of a key."""

    id: str
    api_key: str
    account_id: str
    role: str | None = "power receptionist"
    active: bool = True


@dataclass(slots=True)
class _Shadow:
    """The row as it was before a change that is not visible yet; None for a patient not there before."""

    row: Row | None
    until: float


class ClinikoWorld:
    """Accounts, users and patients, and the changes that staff make. Not locked: one caller at a time."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.quirks = Quirks()
        self.version = 0
        self.accounts: dict[str, Account] = {}
        self.users: dict[str, User] = {}  # by API key
        self._last_id = FIRST_ID - ID_STEP
        self._ordered: dict[str, list[Row]] = {}
        self._found: dict[tuple[str, tuple[str, ...], str], list[Row]] = {}
        self._rendered: dict[str, tuple[str, bytes]] = {}
        self._shadows: dict[str, _Shadow] = {}

    # -- accounts and keys

    def add_account(
        self,
        api_key: str,
        name: str = "Harbour Physio",
        *,
        role: str | None = "power receptionist",
        zones: tuple[str, ...] = ("Australia/Sydney",),
        country_code: str = "AU",
        custom_fields: Mapping[str, object] | None = None,
    ) -> Account:
        """A clinic and the first key to it."""
        subdomain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        account = Account(self.new_id(), name, subdomain, country_code, zones, custom_fields or {})
        self.accounts[account.id] = account
        self.add_key(api_key, account, role=role)
        return account

    def add_key(self, api_key: str, account: Account, *, role: str | None = "power receptionist") -> User:
        """A user of the clinic and that user's key."""
        user = User(self.new_id(), api_key, account.id, role)
        self.users[api_key] = user
        self.version += 1
        return user

    @property
    def first(self) -> Account:
        return next(iter(self.accounts.values()))

    @property
    def patients(self) -> dict[str, Row]:
        """The patients of the first account, by id."""
        return self.first.patients

    def new_id(self) -> str:
        self._last_id += ID_STEP
        return str(self._last_id)

    def stamp(self) -> str:
        """Now, as Cliniko writes it: whole seconds, UTC."""
        return datetime.fromtimestamp(int(self.clock.now()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    # -- what staff do to patients

    def add_patient(self, account: Account | None = None, **given: object) -> str:
        """A new patient's id. ``phone`` is short for one mobile number; ``created_at``, ``updated_at`` and ``id`` may
        be given, for history."""
        home = account or self.first
        row = _cleaned(given)
        key = str(row.pop("id", None) or self.new_id())
        now = self.stamp()
        row = {"id": key, "created_at": now, "updated_at": row.get("created_at") or now} | row
        home.patients[key] = row
        self._ordered.pop(home.id, None)
        self.changed(key, None)
        return key

    def edit_patient(self, key: str, **given: object) -> None:
        """Changes fields; ``updated_at`` becomes now unless given."""
        row = self.row(key)
        before = dict(row)
        row.update({"updated_at": self.stamp()} | _cleaned(given))
        self.changed(key, before)

    def archive(self, key: str) -> None:
        touched = {"updated_at": self.stamp()} if self.quirks.archiving_touches_updated_at else {}
        self.edit_patient(key, **({"updated_at": self.row(key)["updated_at"], "archived_at": self.stamp()} | touched))

    def unarchive(self, key: str) -> None:
        self.edit_patient(key, archived_at=None)

    def merge(self, key: str, into: str) -> None:
        """``key`` becomes an archived shadow of ``into``."""
        self.row(into)
        now = self.stamp()
        self.edit_patient(key, archived_at=self.row(key).get("archived_at") or now, merged_at=now, merged_with=into)

    def remove(self, key: str) -> None:
        """Gone for good, as after a request to be forgotten."""
        home = self.home_of(key)
        del home.patients[key]
        self._ordered.pop(home.id, None)
        self.changed(key, None)

    def home_of(self, key: str) -> Account:
        """The account a patient belongs to. Raises KeyError."""
        for account in self.accounts.values():
            if key in account.patients:
                return account
        raise KeyError(key)

    def row(self, key: str) -> Row:
        return self.home_of(key).patients[key]

    def changed(self, key: str, before: Row | None) -> None:
        """To be told after every change; ``before`` is the row as it was, None for one that was not there."""
        self.version += 1
        self._found.clear()
        self._rendered.pop(key, None)
        if self.quirks.lag_s:
            self._shadows[key] = _Shadow(before, self.clock.now() + self.quirks.lag_s)

    # -- what the API shows of them

    def listed(self, account: Account, query: Query) -> list[Row]:
        """Rows in the order of the query. Raises BadFilter."""
        if self._shadows:
            return select(self._visible(account), query, PATIENT_FILTERS)
        asked = (account.id, query.filters, query.sort)
        if asked not in self._found:
            self._found[asked] = select(self._in_order(account), query, PATIENT_FILTERS)
        return self._found[asked]

    def visible(self, account: Account, key: str, collection: str = "patients") -> Row | None:
        rows = account.patients if collection == "patients" else account.shelves.get(collection, {})
        row = rows.get(key)
        shadow = self._shadows.get(key)
        return shadow.row if shadow and shadow.until > self.clock.now() else row

    def _visible(self, account: Account) -> list[Row]:
        now = self.clock.now()
        self._shadows = {key: shadow for key, shadow in self._shadows.items() if shadow.until > now}
        shown = (self.visible(account, str(row["id"])) for row in self._in_order(account))
        return [row for row in shown if row is not None]

    def _in_order(self, account: Account) -> list[Row]:
        if account.id not in self._ordered:
            rows = account.patients.values()
            self._ordered[account.id] = sorted(rows, key=lambda row: (str(row["created_at"]), int(str(row["id"]))))
        return self._ordered[account.id]

    def render(self, account: Account, row: Row, base: str) -> bytes:
        """A patient as JSON. ``base`` is the address that links begin with, ``http://127.0.0.1:9101/v1``."""
        key = str(row["id"])
        if key in self._shadows:
            return _json(self.full(account, row, base))
        known = self._rendered.get(key)
        if known is None or known[0] != base:
            known = (base, _json(self.full(account, row, base)))
            self._rendered[key] = known
        return known[1]

    def full(self, account: Account, row: Row, base: str) -> Row:
        """A patient with every key of the documentation, quirks played."""
        key = str(row["id"])
        here = f"{base}/patients/{key}"
        shown = _EMPTY | row
        merged_with = shown.pop("merged_with", None)
        shown["label"] = " ".join(str(row[name]) for name in ("first_name", "last_name") if row.get(name))
        shown |= {name: _link(f"{here}/{name}") for name in _LINKED}
        shown["attendees"] = _link(f"{base}/attendees?q%5B%5D=patient_id%3A%3D{key}")
        shown["relationships"] = _link(f"{base}/relationships?q%5B%5D=patient_id%3A%3D{key}")
        shown["links"] = {"self": here}
        if merged_with:
            shown["merged_with_patient"] = _link(f"{base}/patients/{merged_with}")
        for name, resource in (("concession_type", "concession_types"), ("referring_doctor", "contacts")):
            if linked := shown.pop(f"{name}_id", None):
                shown[name] = _link(f"{base}/{resource}/{linked}")
        shown = self._played(shown)
        shown.update(account.raw.get(key, {}))
        return shown

    def _played(self, shown: Row) -> Row:
        if self.quirks.ids_as_numbers:
            shown["id"] = int(str(shown["id"]))
        if self.quirks.empty_as_text:
            shown |= {name: "" for name in (*TEXTS, *STAMPS) if shown[name] is None}
        for name in self.quirks.missing_keys:
            shown.pop(name, None)
        return shown

    def set_quirks(self, **given: object) -> None:
        """Raises ValueError for a quirk that does not exist."""
        known = {quirk.name for quirk in fields(Quirks)}
        if unknown := set(given) - known:
            raise ValueError(f"unknown quirks: {', '.join(sorted(unknown))}")
        for name, value in given.items():
            setattr(self.quirks, name, tuple(value) if isinstance(value, list) else value)
        self._rendered.clear()
        self._found.clear()

    def set_raw(self, key: str, **shown: object) -> None:
        """From now on this patient's answer carries exactly these, whatever they are."""
        self.home_of(key).raw[key] = dict(shown)
        self.changed(key, self.row(key))

    # -- state on disk

    def dump(self) -> object:
        return {
            "last_id": self._last_id,
            "accounts": [_slots(account) | {"raw": account.raw} for account in self.accounts.values()],
            "users": [_slots(user) for user in self.users.values()],
        }

    def restore(self, state: object) -> None:
        """Raises KeyError, TypeError or ValueError for what is not a dump of ours."""
        stored = _object(state)
        self.clear()
        self._last_id = int(str(stored["last_id"]))
        for row in _objects(stored["accounts"]):
            account = Account(str(row["id"]), str(row["name"]), str(row["subdomain"]), str(row["country_code"]))
            account.zones = tuple(str(zone) for zone in _list(row["zones"]))
            account.custom_fields = _object(row["custom_fields"])
            account.xero = bool(row["xero"])
            account.patients = {str(key): dict(_object(value)) for key, value in _object(row["patients"]).items()}
            account.raw = {str(key): dict(_object(value)) for key, value in _object(row["raw"]).items()}
            for collection, rows in _object(row.get("shelves", {})).items():
                account.shelves[collection] = {key: dict(_object(value)) for key, value in _object(rows).items()}
            self.accounts[account.id] = account
        for row in _objects(stored["users"]):
            role = row["role"]
            user = User(
                str(row["id"]), str(row["api_key"]), str(row["account_id"]), str(role) if role else None,
                bool(row["active"]),
            )  # fmt: skip
            self.users[user.api_key] = user

    def clear(self) -> None:
        """An empty world."""
        self.accounts, self.users, self.quirks = {}, {}, Quirks()
        self._last_id = FIRST_ID - ID_STEP
        for cache in (self._ordered, self._found, self._rendered, self._shadows):
            cache.clear()
        self.version += 1


def phone_number(number: str, kind: str = "Mobile") -> Row:
    """A phone number as Cliniko shows it, read as an Australian one."""
    digits = _NOT_DIGITS.sub("", number)
    if not number.strip().startswith("+") and digits.startswith("0"):
        digits = f"61{digits[1:]}"
    return {"number": number, "normalized_number": digits, "phone_type": kind}


def _cleaned(given: Mapping[str, object]) -> Row:
    row = dict(given)
    if "phone" in row:
        number = row.pop("phone")
        row["patient_phone_numbers"] = [phone_number(str(number))] if number else []
    return row


def _link(address: str) -> Row:
    return {"links": {"self": address}}


def _json(data: object) -> bytes:
    return _encoder.encode(data).encode("utf-8", "surrogatepass")


def _slots(value: Account | User) -> Row:
    return {slot.name: getattr(value, slot.name) for slot in fields(value)}


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError("expected an object")
    return value


def _list(value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise TypeError("expected a list")
    return value


def _objects(value: object) -> Iterable[Mapping[str, object]]:
    return map(_object, _list(value))
