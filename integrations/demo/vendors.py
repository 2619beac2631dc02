"""The sandboxed vendors as the demo opens them: three practices and three shops, kept in ``SUTURE_VAR/sandbox``.

Everybody in them is made up by counting, so that two machines make the same people.
"""

import fcntl
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from integrations.connectors.cliniko import sandbox as cliniko
from integrations.connectors.cliniko.sandbox import ClinikoVendor
from integrations.connectors.cliniko.sandbox_lists import Row
from integrations.connectors.cliniko.sandbox_people import history, seed_clinic
from integrations.connectors.cliniko.sandbox_trade import seed_trade
from integrations.connectors.cliniko.sandbox_world import ClinikoWorld, phone_number
from integrations.connectors.sandbox_kit import Server
from integrations.connectors.shopify import sandbox as shopify
from integrations.connectors.shopify.sandbox import ShopifyVendor

FIRST_PORT = 9101
RIDGE_KEY = "MS0xLXJpZGdlLXBvZGlhdHJ5-au2"
BAY_KEY = "MS0xLWJheS1zdHJlZXQtc2tpbg-au2"

_FIRST = (
    "Alba", "Bruno", "Carys", "Dario", "Edie", "Farid", "Gwen", "Hamish", "Iris", "Jonah", "Keira", "Lachlan", "Mabel",
    "Nico", "Orla", "Pax", "Quinn", "Rhea", "Silas", "Thea",
)  # fmt: skip
_LAST = (
    "Abbott", "Bellamy", "Cormack", "Dalgleish", "Eriksen", "Foley", "Grewal", "Hartigan", "Ibrahim", "Jarrah", "Kelso",
    "Lombardi", "Mbeki", "Noakes", "Overton", "Petrov", "Rossi",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a clinic's people live: towns with state and postcode, and the streets in them."""

    towns: tuple[tuple[str, str, str], ...]
    streets: tuple[str, ...]


_RIDGE = Place(
    (("Kalamunda", "WA", "6076"), ("Subiaco", "WA", "6008"), ("Fremantle", "WA", "6160")),
    ("Ridge Hill Road", "Jarrah Way", "Quarry Street"),
)
_BAY = Place(
    (("Wynnum", "QLD", "4178"), ("Manly West", "QLD", "4179"), ("New Farm", "QLD", "4005")),
    ("Bay Street", "Esplanade", "Poinciana Avenue"),
)
_CLUB_SECTION = "8d5c1f66-2f0e-4d3b-9a57-64c1e0a7b310"
_CLUB_FIELD = "8d5c1f66-2f0e-4d3b-9a57-64c1e0a7b311"
_CLUB_FIELDS: Row = {
    "sections": [
        {
            "name": "Skin club", "token": _CLUB_SECTION, "archived": False,
            "fields": [{"name": "Skin club number", "type": "text", "token": _CLUB_FIELD}],
        }
    ]
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Vendors:
    """Both vendors, running."""

    cliniko: Server[ClinikoVendor]
    shopify: Server[ShopifyVendor]

    @property
    def urls(self) -> dict[str, str]:
        """What SUTURE_VENDOR_URLS must say."""
        return {"cliniko": self.cliniko.url, "shopify": f"{self.shopify.url}/{{account}}"}

    @property
    def keys(self) -> Mapping[str, str]:
        """The practices' names and the keys that open them."""
        world = self.cliniko.vendor.world
        return {world.accounts[user.account_id].name: key for key, user in world.users.items()}

    def writes(self, *, api_key: str, shop: str) -> dict[str, int]:
        """What was written since the start, told by the vendors' own journals."""
        user = self.cliniko.vendor.world.users[api_key]
        in_practice = [entry for entry in self.cliniko.journal.writes if entry.subject == f"user:{user.id}"]
        return {"cliniko": len(in_practice), "shopify": self.shopify.vendor.writes(shop)}


def as_setting(urls: Mapping[str, str]) -> str:
    return ",".join(f"{vendor}={url}" for vendor, url in urls.items())


class AlreadyRunning(Exception):
    """Somebody serves these sandboxes; two servers would overwrite each other's state."""


@contextmanager
def serving(folder: Path, *, port: int = FIRST_PORT) -> Iterator[Vendors]:
    """The vendors on ``port`` and the next, or on free ports where those are taken (0: always). Raises AlreadyRunning."""
    with ExitStack() as stack:
        _claim(folder, stack)
        practices = stack.enter_context(cliniko.serve(_free(port), folder, seed=_practices))
        shops = stack.enter_context(shopify.serve(_free(port + 1) if port else 0, folder))
        _open_shops(shops.vendor)
        yield Vendors(practices, shops)


def _claim(folder: Path, stack: ExitStack) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mark = stack.enter_context((folder / "lock").open("w"))
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise AlreadyRunning from None


def _free(port: int) -> int:
    """The port, or 0 for any where somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


# The practices


def _practices(world: ClinikoWorld) -> None:
    """The seed: Harbour Physio as it is shipped, and two smaller ones."""
    seed_clinic(world)
    ridge = world.add_account(RIDGE_KEY, "Ridge Podiatry", zones=("Australia/Perth",))
    bay = world.add_account(BAY_KEY, "Bay Street Skin", zones=("Australia/Brisbane",), custom_fields=_CLUB_FIELDS)
    for account, people in ((ridge, _ridge_people()), (bay, _bay_people())):
        rows = list(people)
        for row, stamps in zip(rows, history(world, count=len(rows), days=300), strict=True):
            world.add_patient(account, **row, **stamps)
        seed_trade(world, account)
    archived = next(key for key, row in ridge.patients.items() if row["email"])
    world.archive(archived)


def _ridge_people() -> Iterator[Row]:
    """Two dozen, among them a couple with one e-mail, one without any, and a phone number that is none."""
    for number in range(20):
        yield _person(number, _RIDGE)
    shared = {"email": "the.kelsos@example.com", "last_name": "Kelso"}
    yield _person(20, _RIDGE) | shared
    yield _person(21, _RIDGE) | shared
    yield _person(22, _RIDGE) | {"email": None}
    yield _person(23, _RIDGE) | {"patient_phone_numbers": [phone_number("no mobile")]}


def _bay_people() -> Iterator[Row]:
    """Eighteen, a few with a skin club number, two who share a phone, one who said no to the privacy policy."""
    for number in range(30, 45):
        club = _club_answer(f"BSS-{1000 + number}") if number % 3 == 0 else None
        yield _person(number, _BAY) | {"custom_fields": club}
    shared = {"patient_phone_numbers": [phone_number("0491 570 110")]}
    yield _person(45, _BAY) | shared
    yield _person(46, _BAY) | shared | {"email": None}
    yield _person(47, _BAY) | {"accepted_privacy_policy": False}


def _person(number: int, place: Place) -> Row:
    first, last = _FIRST[number % len(_FIRST)], _LAST[number % len(_LAST)]
    town, state, post_code = place.towns[number % len(place.towns)]
    return {
        "first_name": first,
        "last_name": last,
        "email": f"{first}.{last}.{number}@example.com".lower(),
        "patient_phone_numbers": [phone_number(f"0491 571 {number:03d}")],
        "address_1": f"{3 * number + 2} {place.streets[number % len(place.streets)]}",
        "city": town,
        "state": state,
        "post_code": post_code,
        "country": "Australia",
        "country_code": "AU",
        "accepted_email_marketing": (True, None, False)[number % 3],
        "accepted_sms_marketing": (None, True, False)[number % 3],
        "accepted_privacy_policy": True,
        "date_of_birth": f"19{50 + number % 45}-0{1 + number % 9}-11",
        "reminder_type": "SMS",
    }


def _club_answer(number: str) -> Row:
    answer = {"name": "Skin club number", "type": "text", "token": _CLUB_FIELD, "value": number}
    return {"sections": [{"name": "Skin club", "token": _CLUB_SECTION, "archived": False, "fields": [answer]}]}


# The shops


_CUSTOMERS: Mapping[str, tuple[Row, ...]] = {
    # A patient who already shops here; a stranger with a patient's e-mail; somebody who is no patient.
    "harbour-physio": (
        {"firstName": "Mia", "lastName": "Chen", "email": "mia.chen.0@example.com", "tags": ["newsletter"]},
        {"firstName": "Gordon", "lastName": "Ames", "email": "ivy.doyle.10@example.com"},
        {"firstName": "Sally", "lastName": "Wren", "email": "sally.wren@example.org", "phone": "+61491570999"},
    ),
    "ridge-podiatry": (
        {"firstName": "Gwen", "lastName": "Grewal", "email": "gwen.grewal.6@example.com"},
        {"firstName": "Pete", "lastName": "Stroud", "email": "pete.stroud@example.org"},
    ),
    "bay-street-skin": ({"firstName": "Nell", "lastName": "Fairley", "email": "nell.fairley@example.org"},),
}
_ZONES = {
    "harbour-physio": "Australia/Sydney",
    "ridge-podiatry": "Australia/Perth",
    "bay-street-skin": "Australia/Brisbane",
}


def _open_shops(vendor: ShopifyVendor) -> None:
    """The three shops, each with the customers it had before Suture came; nothing where they are open already."""
    for handle, customers in _CUSTOMERS.items():
        if handle in vendor.shops:
            continue
        shop = vendor.configure(
            handle,
            zone=_ZONES[handle],
            token=f"demo-token-of-{handle}",
            plan="Plus",
            capacity=20_000.0,
            restore_rate=1_000.0,
        )
        for given in customers:
            shop.create(given)
