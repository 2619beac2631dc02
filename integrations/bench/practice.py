"""A practice system that serves patients as fast as bytes can be joined: pre-rendered, as Cliniko documents them.

    python -m integrations.bench.practice --patients 100000

``POST /_bench/change?n=1000`` edits so many, spread over all of them. 100,000 patients weigh 145 MB.
"""

import json
import random
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

from integrations.bench.serving import arguments, serve

_FIRST = [
    "Alba",
    "Bruno",
    "Carys",
    "Dario",
    "Edie",
    "Farid",
    "Gwen",
    "Hamish",
    "Iris",
    "Jonah",
    "Keira",
    "Lachlan",
    "Mabel",
    "Nico",
    "Orla",
    "Quinn",
    "Rhea",
    "Silas",
]
_LAST = [
    "Abbott",
    "Bellamy",
    "Cormack",
    "Dalgleish",
    "Eriksen",
    "Foley",
    "Grewal",
    "Hartigan",
    "Ibrahim",
    "Jarrah",
    "Kelso",
    "Lombardi",
    "Noakes",
    "Petrov",
]
_TOWNS = (("Melbourne", "VIC"), ("Sydney", "NSW"), ("Brisbane", "QLD"), ("Perth", "WA"), ("Hobart", "TAS"))
BEGAN = datetime(2020, 1, 1, tzinfo=UTC)
FIRST_KEY = 1_000_000
_EMPTY = (
    "preferred_first_name", "gender_identity", "pronouns", "address_3", "emergency_contact", "invoice_default_to",
    "invoice_email", "invoice_extra_information", "medicare", "medicare_reference_number", "dva_card_number",
    "archived_at", "merged_at", "deleted_at",
)  # fmt: skip


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def patient(number: int, chance: random.Random) -> dict[str, object]:
    first, last = chance.choice(_FIRST), chance.choice(_LAST)
    town, state = chance.choice(_TOWNS)
    mobile = f"04{10_000_000 + number:08d}"
    key = str(FIRST_KEY + number)
    here = f"https://api.example/v1/patients/{key}"
    made = BEGAN + timedelta(seconds=number * 601)
    return dict.fromkeys(_EMPTY) | {
        "id": key,
        "title": "Mx",
        "first_name": first,
        "last_name": last,
        "date_of_birth": f"{chance.randrange(1940, 2015)}-{chance.randrange(1, 13):02d}-11",
        "sex": "Female",
        "email": f"{first}.{last}.{number}@example.com".lower(),
        "address_1": f"{chance.randrange(1, 400)} {last} Street",
        "address_2": "",
        "city": town,
        "state": state,
        "post_code": str(3000 + chance.randrange(900)),
        "country": "Australia",
        "country_code": "AU",
        "time_zone": "Melbourne",
        "occupation": "Teacher",
        "notes": "",
        "appointment_notes": "",
        "old_reference_id": str(number),
        "referral_source": "Website",
        "reminder_type": "SMS & Email",
        "accepted_privacy_policy": True,
        "accepted_sms_marketing": False,
        "accepted_email_marketing": bool(number % 2),
        "receives_confirmation_emails": True,
        "receives_cancellation_emails": True,
        "patient_phone_numbers": [{"phone_type": "Mobile", "number": mobile, "normalized_number": f"61{mobile[1:]}"}],
        "appointments": {"links": {"self": f"{here}/appointments"}},
        "invoices": {"links": {"self": f"{here}/invoices"}},
        "medical_alerts": {"links": {"self": f"{here}/medical_alerts"}},
        "created_at": stamp(made),
        "updated_at": stamp(made + timedelta(days=1)),
        "links": {"self": here},
    }


def _bytes(row: object) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode()


class Practice:
    """All patients, rendered. Those never edited are in the order of their changes as well as of their making."""

    def __init__(self, count: int) -> None:
        chance = random.Random(7)  # noqa: S311 - the same patients every time
        self.rows: list[bytes] = []
        self.changed_at: list[str] = []
        for number in range(count):
            row = patient(number, chance)
            self.rows.append(_bytes(row))
            self.changed_at.append(str(row["updated_at"]))
        self.unedited = list(self.changed_at)
        self.edited: dict[int, str] = {}
        self.edits = 0

    def change(self, count: int) -> None:
        now = stamp(datetime.now(UTC))
        step = max(1, len(self.rows) // count)
        self.edits += 1
        for number in range(0, step * count, step):
            row = json.loads(self.rows[number])
            row |= {"updated_at": now, "email": f"edited.{number}.{self.edits}@example.com"}
            self.rows[number] = _bytes(row)
            self.edited[number] = now

    def since(self, instant: str) -> list[int]:
        """The patients that were changed at this instant or later."""
        late = {number for number, at in self.edited.items() if at >= instant}
        return sorted(late | set(range(bisect_left(self.unedited, instant), len(self.rows))))

    def answer(self, method: bytes, target: str, _body: bytes, here: str) -> tuple[int, bytes]:
        path, _, query = target.partition("?")
        if path == "/_bench/change":
            self.change(int(dict(parse_qsl(query))["n"]))
            return 200, b"{}"
        if method != b"GET" or path != "/v1/patients":
            return 404, b"{}"
        return 200, self._list(parse_qsl(query), here)

    def _list(self, asked: list[tuple[str, str]], here: str) -> bytes:
        wanted = dict(asked)
        page, size = int(wanted.get("page", 1)), int(wanted.get("per_page", 50))
        filters = [value for name, value in asked if name == "q[]"]
        if wanted.get("sort"):
            newest = max(self.edited, key=self.edited.__getitem__) if self.edited else len(self.rows) - 1
            return b'{"patients":[' + self.rows[newest] + b'],"total_entries":1,"links":{}}'
        start, end = (page - 1) * size, page * size
        changed = next((value.partition(">")[2].lstrip("=") for value in filters if value.startswith("updated")), None)
        named = next((value.removeprefix("id:=") for value in filters if value.startswith("id:=")), None)
        if any(value.startswith("archived_at:>") for value in filters):
            total, shown = 0, []
        elif named is not None:
            numbers = [int(key) - FIRST_KEY for key in named.split(",")]
            shown = [self.rows[number] for number in numbers if number < len(self.rows)]
            total = len(shown)
        elif changed is None:
            total, shown = len(self.rows), self.rows[start:end]
        else:
            found = self.since(changed)
            total, shown = len(found), [self.rows[number] for number in found[start:end]]
        links = {"self": f"page={page}"}
        if end < total:
            rest = "".join(f"&q[]={value}" for value in filters)
            links["next"] = f"{here}/v1/patients?page={page + 1}&per_page={size}{rest}"
        return b'{"patients":[' + b",".join(shown) + b'],"total_entries":%d,"links":%s}' % (total, _bytes(links))


if __name__ == "__main__":
    serve(Practice(arguments(patients=10_000).patients).answer)
