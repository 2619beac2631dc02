"""Cliniko as a small server with state: what ``README.md`` says, over HTTP, with faults on demand.

Besides the kit's own edits, ``/_sandbox/`` takes (all bodies optional unless said)::

    GET    patients                         ids, names and states of the first account
    POST   patients {fields}                a new patient; ``phone`` is short for one mobile number
    PATCH  patients/ID {fields}             as staff would edit it
    DELETE patients/ID                      gone for good
    POST   patients/ID/archive|unarchive    POST patients/ID/merge {"into": ID}
    POST   patients/ID/raw {keys}           the answer shows exactly these keys, whatever they are
    POST   keys {"api_key", "role", "account"}   another key, of the first account or of a new one of that name
    POST   quirks {fields of Quirks}        POST limit {"amount", "window_s"}
    POST   fill {"count"}                   so many made-up patients       POST touch {"count"}: edits so many
    POST   persons {"path", "count"}        persons of a CSV file, see ``sandbox_people.load_csv``

and for goods and invoices what ``sandbox_edits`` says.
"""

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from integrations.connectors.cliniko import sandbox_edits, sandbox_people
from integrations.connectors.cliniko.sandbox_goods import ADJUSTMENTS, PRODUCTS, TAXES, post_adjustment
from integrations.connectors.cliniko.sandbox_invoices import INVOICES, ITEMS
from integrations.connectors.cliniko.sandbox_lists import BadFilter, Query, Row
from integrations.connectors.cliniko.sandbox_shelves import Asked, answer_list, answer_one, shown
from integrations.connectors.cliniko.sandbox_staff import USERS, businesses, owner_row, practitioners, users
from integrations.connectors.cliniko.sandbox_world import (
    CANARY,
    READ_ONLY,
    WRITABLE,
    Account,
    ClinikoWorld,
    User,
    phone_number,
)
from integrations.connectors.sandbox_kit import (
    Clock,
    Request,
    Response,
    Server,
    SlidingWindow,
    json_response,
)

ROLES_WITH_SETTINGS = ("administrator", "power receptionist")
ROLES_WITHOUT_PATIENTS = ("bookkeeper",)
_CONTACT = re.compile(r"\([^()\s@]+@[^()\s@]+\.[^()\s@]+\)")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_SUFFIX = re.compile(r"-[a-z]{2}[0-9]{1,2}$")
_REMINDERS = ("None", "SMS", "Email", "SMS & Email")
_PHI = (
    "treatment_notes", "medical_alerts", "patient_attachments", "patient_forms", "patient_cases", "recalls",
    "communications", "relationships",
)  # fmt: skip

_SHELVES = {shelf.collection: shelf for shelf in (PRODUCTS, TAXES, ADJUSTMENTS, INVOICES, ITEMS)}
_LISTS = {"businesses": businesses, "users": users, "practitioners": practitioners}

Seed = Callable[[ClinikoWorld], None]


def nobody(_: ClinikoWorld) -> None:
    """The seed of an empty server."""


def harbour_physio(world: ClinikoWorld) -> None:
    """The seed that is shipped: one plausible clinic, its key in ``sandbox_people.HARBOUR_KEY``."""
    sandbox_people.seed_clinic(world)


class ClinikoVendor:
    """The vendor as the kit serves it."""

    name = "cliniko"

    def __init__(self, world: ClinikoWorld | None = None, *, seed: Seed = harbour_physio) -> None:
        self.world = world or ClinikoWorld()
        self.limit = SlidingWindow(200, 60)
        self._seed = seed
        if not self.world.accounts:
            seed(self.world)

    @property
    def clock(self) -> Clock:
        return self.world.clock

    @property
    def version(self) -> int:
        return self.world.version

    def dump(self) -> object:
        return self.world.dump()

    def restore(self, state: object) -> None:
        self.world.restore(state)

    def reset(self) -> None:
        self.world.clear()
        self.limit.clear()
        self._seed(self.world)

    def subject(self, request: Request) -> str:
        user = self._user(request)
        return f"user:{user.id}" if user else ""

    def answer(self, request: Request) -> Response:
        user = self._user(request)
        if user is None or not user.active:
            return json_response(401, {"message": "Unauthorized"})
        room_at = self.limit.take(f"user:{user.id}", self.clock.now())
        if room_at is not None:
            headers = [("X-RateLimit-Reset", str(math.ceil(room_at)))]
            return json_response(429, {"message": "Rate limit exceeded"}, headers)
        if self.world.quirks.require_contact and not _CONTACT.search(request.headers.get("user-agent", "")):
            return json_response(403, {"message": "A User-Agent with a contact e-mail address is required"})
        try:
            return self._route(request, user)
        except BadFilter as error:
            return json_response(400, {"message": str(error)})

    def _user(self, request: Request) -> User | None:
        scheme, _, code = request.headers.get("authorization", "").partition(" ")
        try:
            name, _, password = base64.b64decode(code, validate=True).decode("ascii").partition(":")
        except ValueError:
            return None
        if scheme.lower() != "basic" or password:
            return None
        bare = {_SUFFIX.sub("", key.lower()): user for key, user in self.world.users.items()}
        return self.world.users.get(name) or bare.get(name.lower() if "-" not in name else "")

    # -- the API

    def _route(self, request: Request, user: User) -> Response:
        account = self.world.accounts[user.account_id]
        call = _Call(self.world, account, request)
        version, *parts = request.path.strip("/").split("/")
        found: Response | None = None
        if version == "v1" and parts[:1] == ["patients"]:
            found = _forbidden() if user.role in ROLES_WITHOUT_PATIENTS else call.patients(parts[1:])
        elif version == "v1" and request.method == "GET":
            found = call.other(parts, user)
        elif version == "v1" and request.method == "POST":
            found = call.post(parts, user)
        return found or _not_found()

    # -- the edits

    def admin(self, request: Request) -> Response | None:
        given = _fields(request)
        match request.method, request.path.split("/"):
            case "GET", ["patients"]:
                return json_response(200, {"patients": [_summary(row) for row in self.world.patients.values()]})
            case "POST", ["patients"]:
                return json_response(201, {"id": self.world.add_patient(None, **given)})
            case "PATCH", ["patients", key]:
                self.world.edit_patient(key, **given)
            case "DELETE", ["patients", key]:
                self.world.remove(key)
            case "POST", ["patients", key, "archive"]:
                self.world.archive(key)
            case "POST", ["patients", key, "unarchive"]:
                self.world.unarchive(key)
            case "POST", ["patients", key, "merge"]:
                self.world.merge(key, str(given["into"]))
            case "POST", ["patients", key, "raw"]:
                self.world.set_raw(key, **given)
            case _:
                return self._world_admin(request, given)
        return json_response(200, {"ok": True})

    def _world_admin(self, request: Request, given: Row) -> Response | None:
        match request.method, request.path:
            case "POST", "keys":
                return json_response(201, self._add_key(given))
            case "POST", "quirks":
                self.world.set_quirks(**given)
            case "POST", "limit":
                self.limit = SlidingWindow(int(str(given["amount"])), float(str(given["window_s"])))
            case "POST", "fill":
                sandbox_people.fill(self.world, int(str(given["count"])))
            case "POST", "touch":
                sandbox_people.touch(self.world, int(str(given["count"])))
            case "POST", "persons":
                count = int(str(given.get("count", 0))) or None
                keys = sandbox_people.load_csv(self.world, Path(str(given["path"])), count=count)
                return json_response(200, {"loaded": len(keys)})
            case _:
                return sandbox_edits.answer(self.world, request.method, request.path.split("/"), given)
        return json_response(200, {"ok": True})

    def _add_key(self, given: Row) -> Row:
        role = str(given.get("role") or "") or None
        if name := given.get("account"):
            account = self.world.add_account(str(given["api_key"]), str(name), role=role)
            return {"account_id": account.id}
        return {"user_id": self.world.add_key(str(given["api_key"]), self.world.first, role=role).id}


class _Call:
    """One authenticated request to one account."""

    def __init__(self, world: ClinikoWorld, account: Account, request: Request) -> None:
        self._world = world
        self._account = account
        self._request = request
        self._base = f"http://{request.headers.get('host', 'localhost')}/v1"

    # -- everything but patients

    def other(self, parts: Sequence[str], user: User) -> Response | None:
        asked = Asked(self._world, self._account, self._request, self._base)
        match parts:
            case ["user"]:
                return json_response(200, shown(asked, USERS, owner_row(user, self._account)))
            case ["settings", "public"]:
                return json_response(200, self.settings(public=True))
            case ["settings"]:
                allowed = user.role in ROLES_WITH_SETTINGS
                return json_response(200, self.settings(public=False)) if allowed else _forbidden()
            case [resource, *_] if resource in _PHI:
                return _secret(resource)
        return _shelved(asked, parts)

    def post(self, parts: Sequence[str], user: User) -> Response | None:
        asked = Asked(self._world, self._account, self._request, self._base)
        if list(parts) == ["stock_adjustments"]:
            return post_adjustment(asked, _fields(self._request), user.id)
        return None

    def settings(self, *, public: bool) -> Row:
        account = self._account
        return {
            "account": {
                "id": account.id, "name": account.name, "subdomain": account.subdomain, "country": "Australia",
                "country_code": account.country_code, "currency_symbol": "$", "time_zone_support": False,
                "has_time_travelers": False,
            } | ({} if public else {"first_name": "Robin", "last_name": "Keeper", "email_from": "hello@example.com"}),
            "integrations": {"xero": {"enabled": account.xero}, "mail_chimp": {"enabled": False}},
            "patient_custom_fields_definition": account.custom_fields or None,
            "reminders": {"default_reminder_type": "SMS & Email"},
            "terminology": {"patient": "patient", "titles": ["Mr", "Ms", "Mx", "Dr"]},
        }  # fmt: skip

    # -- patients

    def patients(self, rest: Sequence[str]) -> Response | None:
        match self._request.method, rest:
            case "GET", []:
                return self._list()
            case "POST", []:
                return self._create()
            case "GET", [key]:
                return self._one(key)
            case method, [key, *action] if key in self._account.patients:
                return self._act(method, key, action)
        return None

    def _act(self, method: str, key: str, action: Sequence[str]) -> Response | None:
        match method, action:
            case "PATCH" | "PUT", []:
                return self._update(key)
            case ("DELETE", []) | ("POST", ["archive"]):
                self._world.archive(key)
                return Response(204)
            case "POST", ["unarchive"]:
                self._world.unarchive(key)
                return self._shown(key, 200)
            case "GET", [resource]:
                return _secret(resource)
        return None

    def _list(self) -> Response:
        query = Query.parse(self._request.params)
        found = self._world.listed(self._account, query)
        start = (query.page - 1) * query.per_page
        shown = [self._world.render(self._account, row, self._base) for row in found[start : start + query.per_page]]
        links = query.links(f"{self._base}/patients", len(found))
        quirks = self._world.quirks
        if quirks.loop_at_page == query.page:
            links["next"] = query.link(f"{self._base}/patients", query.page)
        if quirks.foreign_next and "next" in links:
            links["next"] = links["next"].replace(self._base, f"{quirks.foreign_next}/v1")
        total = 0 if quirks.wrong_total else len(found)
        envelope = json_response(200, {"total_entries": total, "links": links})
        return Response(200, b'{"patients":[' + b",".join(shown) + b"]," + envelope.body[1:])

    def _one(self, key: str) -> Response:
        query = Query.parse(self._request.params)
        if any(given.partition(":")[0] not in ("archived_at", "deleted_at") for given in query.filters):
            raise BadFilter("only archived_at is a valid filter here")
        row = self._world.visible(self._account, key)
        if row is None or (row.get("archived_at") and not query.filters):
            return _not_found()
        return Response(200, self._world.render(self._account, row, self._base))

    def _create(self) -> Response:
        given = _fields(self._request)
        errors = _complaints(given, is_new=True)
        if errors:
            return json_response(422, {"message": "Validation failed", "errors": errors})
        return self._shown(self._world.add_patient(self._account, **_accepted(given)), 201)

    def _update(self, key: str) -> Response:
        given = _fields(self._request)
        errors = _complaints(given, is_new=False)
        if errors:
            return json_response(422, {"message": "Validation failed", "errors": errors})
        self._world.edit_patient(key, **_accepted(given))
        return self._shown(key, 200)

    def _shown(self, key: str, status: int) -> Response:
        body = self._world.render(self._account, self._account.patients[key], self._base)
        headers = [("Location", f"{self._base}/patients/{key}")] if status == 201 else []
        return Response(status, body, headers)


def _shelved(asked: Asked, parts: Sequence[str]) -> Response | None:
    match parts:
        case [collection] if collection in _LISTS:
            return _LISTS[collection](asked)
        case ["practitioners", "inactive"]:
            return practitioners(asked, inactive=True)
        case [collection] if collection in _SHELVES:
            return answer_list(asked, _SHELVES[collection])
        case [collection, key] if collection in _SHELVES:
            return answer_one(asked, _SHELVES[collection], key)
    return None


def _accepted(given: Mapping[str, object]) -> Row:
    """What a write may change; everything else is ignored, as the vendor does."""
    row = {name: value for name, value in given.items() if name in WRITABLE}
    if row.pop("unsubscribe_sms_marketing", None) is True:
        row["accepted_sms_marketing"] = False
    numbers = row.get("patient_phone_numbers")
    if isinstance(numbers, list):
        row["patient_phone_numbers"] = [
            phone_number(str(number["number"]), str(number.get("phone_type", "Mobile"))) for number in numbers
        ]
    return row


def _complaints(given: Mapping[str, object], *, is_new: bool) -> dict[str, str]:
    errors = {
        name: "can't be blank"
        for name in ("first_name", "last_name")
        if (is_new or name in given) and not str(given.get(name) or "").strip()
    }
    for name, value in given.items():
        if name in READ_ONLY or value is None:
            continue
        if isinstance(value, str) and len(value) > 255 and "notes" not in name:
            errors[name] = "is too long (maximum is 255 characters)"
    email, reminder = given.get("email"), given.get("reminder_type")
    if email and not _EMAIL.fullmatch(str(email)):
        errors["email"] = "is invalid"
    if reminder is not None and reminder not in _REMINDERS:
        errors["reminder_type"] = "is not included in the list"
    return errors


def _secret(resource: str) -> Response:
    """What a connector must never have asked for."""
    rows = [{"id": "1", "content": f"{CANARY}-{resource}"}]
    return json_response(200, {resource: rows, "total_entries": 1, "links": {}})


def _forbidden() -> Response:
    return json_response(403, {"message": "Forbidden"})


def _not_found() -> Response:
    return json_response(404, {"message": "Not found"})


def _fields(request: Request) -> Row:
    try:
        data = request.json()
    except ValueError:
        raise BadFilter("malformed JSON") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise BadFilter("expected an object")
    return dict(data)


def _summary(row: Row) -> Row:
    shown = ("id", "first_name", "last_name", "email", "archived_at", "merged_with", "updated_at")
    return {name: row.get(name) for name in shown}


def serve(
    port: int = 0, state_dir: Path | None = None, *, world: ClinikoWorld | None = None, seed: Seed = harbour_physio
) -> Server[ClinikoVendor]:
    """A running Cliniko. ``server.vendor.world`` edits it, ``server.journal`` and ``server.faults`` are the kit's."""
    return Server(ClinikoVendor(world, seed=seed), port=port, state_dir=state_dir)
