"""Places and people who work in a sandboxed Cliniko: businesses, users, practitioners."""

from integrations.connectors.cliniko.sandbox_lists import Query, Row
from integrations.connectors.cliniko.sandbox_shelves import Asked, Shelf, answer_list, put
from integrations.connectors.cliniko.sandbox_world import Account, ClinikoWorld, User, phone_number
from integrations.connectors.sandbox_kit import Response

_STAMP = "2024-01-29T09:54:54Z"

BUSINESSES = Shelf(
    "businesses",
    {
        "archived_at": "date-time", "created_at": "date-time", "deleted_at": "date-time", "id": "number",
        "show_in_online_bookings": "boolean", "updated_at": "date-time",
    },
    (
        "business_name", "display_name", "label", "address_1", "address_2", "city", "state", "post_code", "country_code",
        "time_zone", "time_zone_identifier", "contact_information", "email_reply_to", "additional_information",
    ),
)  # fmt: skip
USERS = Shelf(
    "users",
    {"created_at": "date-time", "id": "number", "updated_at": "date-time"},
    (
        "first_name", "last_name", "title", "email", "role", "active", "user_active", "phone_numbers", "time_zone",
        "time_zone_identifier",
    ),
)  # fmt: skip
PRACTITIONERS = Shelf(
    "practitioners",
    {
        "active": "boolean", "created_at": "date-time", "id": "number", "show_in_online_bookings": "boolean",
        "updated_at": "date-time", "user_id": "number",
    },
    ("first_name", "last_name", "title", "label", "display_name", "designation", "description", "active"),
    {"user": "users"},
)  # fmt: skip


def add_user(world: ClinikoWorld, account: Account | None = None, **given: object) -> str:
    """Somebody who signs in, without a key of their own."""
    return put(world, "users", account, **({"active": True, "user_active": True, "role": "practitioner"} | given))


def add_practitioner(world: ClinikoWorld, account: Account | None = None, **given: object) -> str:
    """Somebody who treats. ``user_id`` may be left out."""
    return put(world, "practitioners", account, **({"active": True} | given))


def add_business(world: ClinikoWorld, account: Account | None = None, **given: object) -> str:
    """A place besides those that the account's zones imply."""
    return put(world, "businesses", account, **given)


def businesses(asked: Asked) -> Response:
    return answer_list(asked, BUSINESSES, implied_businesses(asked.account))


def users(asked: Asked) -> Response:
    owners = [user for user in asked.world.users.values() if user.account_id == asked.account.id]
    return answer_list(asked, USERS, [owner_row(user, asked.account) for user in owners])


def practitioners(asked: Asked, *, inactive: bool = False) -> Response:
    """Active ones, unless the others are asked for by their own path or by the filter."""
    names_it = Query.parse(asked.request.params).names("active")
    rows = asked.account.shelves.get("practitioners", {}).values()
    hidden = () if names_it else tuple(str(row["id"]) for row in rows if bool(row["active"]) is inactive)
    return answer_list(asked, PRACTITIONERS, hidden=hidden)


def implied_businesses(account: Account) -> list[Row]:
    """One place a zone of the account."""
    return [
        {
            "id": str(int(account.id) + number), "business_name": account.name, "display_name": account.name,
            "label": account.name, "address_1": f"{number} Wharf Street", "city": zone.split("/")[-1],
            "post_code": "2000", "country_code": account.country_code, "time_zone": zone.split("/")[-1],
            "time_zone_identifier": zone, "created_at": _STAMP, "updated_at": _STAMP,
        }
        for number, zone in enumerate(account.zones, start=1)
    ]  # fmt: skip


def owner_row(user: User, account: Account) -> Row:
    """The owner of a key as a user."""
    zone = account.zones[0] if account.zones else None
    return {
        "id": user.id, "first_name": "Robin", "last_name": "Keeper", "title": None,
        "email": "robin.keeper@example.com", "role": user.role, "active": user.active, "user_active": user.active,
        "phone_numbers": [phone_number("0491 570 006")], "time_zone": zone.split("/")[-1] if zone else None,
        "time_zone_identifier": zone, "created_at": _STAMP, "updated_at": _STAMP,
    }  # fmt: skip
