"""Made-up people for the sandboxed Cliniko: a plausible clinic, bulk ones, and persons of a CSV file.

Everything is derived by counting, so that two runs make the same people. Nobody here exists.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from integrations.connectors.cliniko.sandbox_lists import Row
from integrations.connectors.cliniko.sandbox_trade import seed_trade
from integrations.connectors.cliniko.sandbox_world import CANARY, Account, ClinikoWorld, phone_number

HARBOUR_KEY = "MS0xLWhhcmJvdXItcGh5c2lv-au2"
CANARY_BIRTH_DATE = "1899-12-31"  # nobody alive was born on it, so that it can be searched for
CLINICAL_TEXTS = (
    "medicare", "medicare_reference_number", "dva_card_number", "gender", "gender_identity", "sex", "notes",
    "appointment_notes", "occupation", "emergency_contact", "referral_source", "invoice_default_to",
    "invoice_extra_information",
)  # fmt: skip

_FIRST = (
    "Mia", "Tom", "Aroha", "Leo", "Priya", "Jack", "Zoe", "Amir", "Grace", "Hugo", "Ivy", "Oscar", "Ruby", "Felix",
    "Nina", "Kai", "Elsa", "Owen", "Tess", "Arlo", "Maya", "Finn", "Lucy", "Beau", "Ada", "Reid", "Cleo", "Noah",
    "Faye", "Otis",
)  # fmt: skip
_LAST = (
    "Chen", "Walsh", "Tamihana", "Russo", "Nair", "Barlow", "Lindqvist", "Haddad", "Mercer", "Fontaine", "Doyle",
    "Whitlock", "Osei", "Brandt", "Castell", "Yip", "Solberg", "Tran", "Pike", "Marlow", "Dunne", "Varga", "Keane",
    "Ashby", "Novak", "Rowe", "Sato", "Quill", "Hale", "Draper",
)  # fmt: skip
_STREETS = ("Wharf Street", "Banksia Avenue", "Harbour Road", "Wattle Street", "Ferry Lane", "Jetty Crescent")
_PLACES = (
    ("Manly", "NSW", "2095"), ("Newcastle", "NSW", "2300"), ("Geelong", "VIC", "3220"), ("Fremantle", "WA", "6160"),
    ("Noosa Heads", "QLD", "4567"), ("Glenelg", "SA", "5045"), ("Hobart", "TAS", "7000"), ("Braddon", "ACT", "2612"),
)  # fmt: skip
_ANSWERS = (True, False, None)

_SECTION = "5f0c4c1e-3f0b-4b55-9d9c-0a4f3c7d8e21"
CUSTOM_FIELDS: Row = {
    "sections": [
        {
            "name": "About you", "token": _SECTION, "archived": False,
            "fields": [
                {"name": "Employer", "type": "text", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c901"},
                {
                    "name": "How did you hear about us?", "type": "radiobuttons",
                    "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c902", "other": {"enabled": True},
                    "options": [
                        {"name": "A friend", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c9a1"},
                        {"name": "Web search", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c9a2"},
                    ],
                },
                {
                    "name": "Newsletter topics", "type": "checkboxes", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c903",
                    "options": [
                        {"name": "Events", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c9b1"},
                        {"name": "Shop news", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c9b2"},
                    ],
                },
                {"name": "Member since", "type": "date", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c904"},
                {"name": "Treatment goals", "type": "paragraph", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c905"},
            ],
        }
    ]
}  # fmt: skip


def seed_clinic(world: ClinikoWorld) -> Account:
    """Harbour Physio with about sixty patients of every kind that a real clinic has, and what it sold them."""
    clinic = world.add_account(HARBOUR_KEY, "Harbour Physio", custom_fields=CUSTOM_FIELDS)
    stamps = history(world, count=70, days=540)
    keys = [world.add_patient(clinic, **_plain_person(number), **next(stamps)) for number in range(40)]
    for person in _odd_people():
        keys.append(world.add_patient(clinic, **person, **next(stamps)))
    for key in (keys[5], keys[17], keys[29]):
        world.archive(key)
    twin = world.add_patient(clinic, **(_plain_person(3) | {"address_1": None}), **next(stamps))
    world.merge(twin, keys[3])
    seed_trade(world, clinic)
    return clinic


def clinical(number: int) -> Row:
    """A canary in every clinical field."""
    planted: Row = {name: f"{CANARY}-{name}-{number}" for name in CLINICAL_TEXTS}
    return planted | {
        "date_of_birth": CANARY_BIRTH_DATE,
        "invoice_email": f"{CANARY}-invoice-{number}@example.org".lower(),
        "reminder_type": "SMS & Email",
        "pronouns": {"nominative": f"{CANARY}-pronoun", "accusative": f"{CANARY}-pronoun"},
        "concession_type_id": "7770001",
        "referring_doctor_id": "7770002",
    }


def custom_answers(number: int, *, employer: str = "") -> Row:
    """Answers to the clinic's custom fields; empty ones are left out, as the vendor does."""
    answers: list[Row] = [
        {"name": "Treatment goals", "type": "paragraph", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c905",
         "value": f"{CANARY}-custom-{number}"},
        {"name": "How did you hear about us?", "type": "radiobuttons", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c902",
         "options": [{"name": "A friend", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c9a1", "selected": number % 2 == 0},
                     {"name": "Web search", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c9a2", "selected": number % 2 == 1}],
         "other": {"enabled": True, "selected": False}},
        {"name": "Newsletter topics", "type": "checkboxes", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c903",
         "options": [{"name": "Events", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c9b1", "selected": True},
                     {"name": "Shop news", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c9b2", "selected": number % 3 == 0}]},
        {"name": "Member since", "type": "date", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c904",
         "value": f"20{10 + number % 15}-03-0{1 + number % 9}"},
    ]  # fmt: skip
    if employer:
        answers.append(
            {"name": "Employer", "type": "text", "token": "0b6f2f5e-57b1-4d2a-8a35-1df1b9f0c901", "value": employer}
        )
    section = {"name": "About you", "token": _SECTION, "archived": False, "fields": answers}
    return {"sections": [section]}


def _plain_person(number: int) -> Row:
    first, last = _FIRST[number % 30], _LAST[(number * 7 + number // 30) % 30]
    city, state, post_code = _PLACES[number % 8]
    employer = f"{last} & Co" if number % 4 == 0 else ""
    return clinical(number) | {
        "title": ("Ms", "Mr", "Mx", None)[number % 4],
        "first_name": first,
        "last_name": last,
        "email": f"{first}.{last}.{number}@example.com".lower(),
        "patient_phone_numbers": [phone_number(_mobile(number)), phone_number("02 5550 0000", "Home")],
        "address_1": f"{number + 1} {_STREETS[number % 6]}",
        "city": city,
        "state": state,
        "post_code": post_code,
        "country": "Australia",
        "country_code": "AU",
        "accepted_email_marketing": _ANSWERS[number % 3],
        "accepted_sms_marketing": _ANSWERS[(number + 1) % 3],
        "accepted_privacy_policy": None if number % 9 == 4 else True,
        "receives_confirmation_emails": True,
        "receives_cancellation_emails": True,
        "custom_fields": custom_answers(number, employer=employer),
    }


def _mobile(number: int) -> str:
    return f"0491 57{number // 1000 % 10} {number % 1000:03d}"


def _odd_people() -> Iterator[Row]:
    """Families, missing and broken values, names that break naive code, refused privacy policies."""
    family = {"email": "pereira.family@example.com", "patient_phone_numbers": [phone_number("0491 570 156")]}
    for number, name in enumerate(("Rosa", "Luis", "Bea"), start=40):
        yield _plain_person(number) | {"first_name": name, "last_name": "Pereira"} | family
    carer = {"email": "carer@example.net"}
    yield _plain_person(43) | {"first_name": "Walter", "last_name": "Gruber"} | carer
    yield _plain_person(44) | {"first_name": "Dot", "last_name": "Simmons"} | carer
    for number in (45, 46, 47):
        yield _plain_person(number) | {"email": None}
    yield _plain_person(48) | {"email": None, "patient_phone_numbers": []}
    yield _plain_person(49) | {"patient_phone_numbers": [phone_number("ask at desk")]}
    yield _plain_person(50) | {"patient_phone_numbers": [phone_number("12345", "Home")]}
    yield _plain_person(51) | {"patient_phone_numbers": [phone_number("+44 20 7946 0018", "Work")]}
    yield _plain_person(52) | {"patient_phone_numbers": [phone_number("02 5550 0011", "Fax")]}
    names = (
        ("Anne-Marie", "O'Dwyer-Nkemelu"), ("Zoë", "Müller"), ("Nguyễn Thị", "Hạnh"), ("Søren", "Ødegård"),
        ("Cher", ""), ("李", "小龙"), ("José", "Jose\u0301"), ("  Pat  ", "van  der  Berg"),
    )  # fmt: skip
    for number, (first, last) in enumerate(names, start=53):
        yield _plain_person(number) | {"first_name": first, "last_name": last}
    yield _plain_person(61) | {"accepted_privacy_policy": False}
    yield _plain_person(62) | {"state": "Victoria", "country_code": None, "country": "Australia"}
    yield _plain_person(63) | {"address_1": None, "city": None, "state": None, "post_code": None}


# -- many


def history(world: ClinikoWorld, *, count: int, days: float) -> Iterator[Row]:
    """``created_at`` and ``updated_at`` for so many patients, spread evenly over the last ``days``, a day apart."""
    end = int(world.clock.now()) - 86_400
    step = days * 86_400 / max(1, count)
    for number in range(count):
        created = int(end - (count - number) * step)
        updated = min(created + 86_400, end)
        yield {"created_at": _stamp(created), "updated_at": _stamp(updated)}


def _stamp(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def fill(world: ClinikoWorld, count: int, account: Account | None = None) -> list[str]:
    """So many ordinary patients with distinct e-mails and mobiles, without canaries; their ids."""
    stamps = history(world, count=count, days=2_000)
    return [world.add_patient(account, **_bulk_person(number), **next(stamps)) for number in range(count)]


def _bulk_person(number: int) -> Row:
    first, last = _FIRST[number % 30], _LAST[number // 30 % 30]
    city, state, post_code = _PLACES[number % 8]
    return {
        "first_name": first,
        "last_name": last,
        "email": f"{first}.{last}.b{number}@example.com".lower(),
        "patient_phone_numbers": [phone_number(f"04{20_000_000 + number:08d}")],
        "address_1": f"{number % 400 + 1} {_STREETS[number % 6]}",
        "city": city,
        "state": state,
        "post_code": post_code,
        "country": "Australia",
        "country_code": "AU",
        "accepted_email_marketing": _ANSWERS[number % 3],
        "accepted_privacy_policy": True,
        "date_of_birth": "1980-01-01",
        "occupation": "Teacher",
        "reminder_type": "SMS",
    }


def touch(world: ClinikoWorld, count: int) -> list[str]:
    """Gives so many patients of the first account, evenly spread, a new e-mail; their ids."""
    keys = list(world.patients)
    chosen = keys[:: max(1, len(keys) // max(1, count))][:count]
    for number, key in enumerate(chosen):
        world.edit_patient(key, email=f"new.{number}.{world.version}@example.com")
    return chosen


# -- persons of a file


def load_csv(world: ClinikoWorld, path: Path, *, count: int | None = None, account: Account | None = None) -> list[str]:
    """The first ``count`` persons of a CSV file with the columns of ``load_persons``; ids in its order."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines, skipinitialspace=True))
    trimmed = [{name.strip(): (value or "").strip() for name, value in row.items() if name} for row in rows]
    return load_persons(world, trimmed[:count], account=account)


def load_persons(
    world: ClinikoWorld, persons: Iterable[Mapping[str, str]], *, account: Account | None = None
) -> list[str]:
    """Patients from rows with given_name, surname, street_number, address_1, address_2, suburb, postcode, state and
    rec_id (``rec-712-org``, ``rec-712-dup-0``: the same person twice). Returns their ids, in order.

    E-mail and phone follow from the person's number alone, so that duplicates share them: of every hundred persons six
    share an e-mail in pairs, five have none, three have a broken phone number.
    """
    rows = list(persons)
    stamps = history(world, count=len(rows), days=400)
    return [
        world.add_patient(account, **person_of(row, fallback=number), **next(stamps)) for number, row in enumerate(rows)
    ]


def person_of(row: Mapping[str, str], *, fallback: int = 0) -> Row:
    """One such patient. ``fallback`` numbers a person whose rec_id says nothing."""
    middle = row.get("rec_id", "").split("-")[1:2]
    number = int(middle[0]) if middle and middle[0].isdigit() else fallback
    street = " ".join(part for part in (row.get("street_number", ""), row.get("address_1", "").title()) if part)
    return {
        "first_name": row.get("given_name", "").title(),
        "last_name": row.get("surname", "").title(),
        "email": email_of(number),
        "patient_phone_numbers": [phone_number(phone_of(number))],
        "address_1": street or None,
        "address_2": row.get("address_2", "").title() or None,
        "city": row.get("suburb", "").title() or None,
        "state": row.get("state", "").upper() or None,
        "post_code": row.get("postcode") or None,
        "country_code": "AU",
        "country": "Australia",
        "old_reference_id": row.get("rec_id") or None,
        "accepted_email_marketing": _ANSWERS[number % 3],
        "accepted_privacy_policy": None if number % 50 == 14 else True,
        "date_of_birth": CANARY_BIRTH_DATE,
    }


def email_of(number: int) -> str | None:
    place = number % 100
    if place < 6:
        return f"family.{number // 2}@example.com"
    return None if place < 11 else f"person.{number}@example.com"


def phone_of(number: int) -> str:
    return f"04{number % 100}" if 11 <= number % 100 < 14 else f"04{30_000_000 + number:08d}"
