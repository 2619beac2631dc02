"""A shop whose customers are the practice's patients, but for some: what two sides to compare are.

    python -m integrations.bench.twins --patients 100000

One customer in a hundred has another family name, one in two hundred is missing, and as many are left over from
patients that are no more. Keys are the patients' own. Nothing can be written.
"""

import json
import random
from bisect import bisect_right
from collections.abc import Iterator

from integrations.bench.practice import BEGAN, FIRST_KEY, patient, stamp
from integrations.bench.serving import arguments, serve
from integrations.bench.shop import COST

RENAMED_EVERY, MISSING_EVERY = 100, 200
_GID = "gid://shopify/Customer/"
_SUBSCRIBED = {True: "SUBSCRIBED", False: "NOT_SUBSCRIBED"}


def customer(number: int, row: dict[str, object]) -> dict[str, object]:
    """The customer of a patient, as a flow without settings makes it."""
    mobile = f"+614{10_000_000 + number:08d}"
    name = {"firstName": row["first_name"], "lastName": row["last_name"]}
    return {
        "id": f"{_GID}{row['id']}",
        "updatedAt": stamp(BEGAN),
        "createdAt": stamp(BEGAN),
        **name,
        "defaultEmailAddress": {
            "emailAddress": row["email"],
            "marketingState": _SUBSCRIBED[bool(row["accepted_email_marketing"])],
        },
        "defaultPhoneNumber": {"phoneNumber": mobile, "smsMarketingConsent": {"state": "NOT_SUBSCRIBED"}},
        "defaultAddress": {
            "id": f"gid://shopify/MailingAddress/{row['id']}",
            **name,
            "company": None,
            "address1": row["address_1"],
            "address2": None,
            "city": row["city"],
            "provinceCode": row["state"],
            "zip": row["post_code"],
            "countryCodeV2": "AU",
            "phone": None,
        },
        "tags": [],
        "f0": {"value": row["id"]},
    }


def customers(count: int) -> Iterator[tuple[int, dict[str, object]]]:
    """Key and customer, in the order of their keys."""
    chance = random.Random(7)  # noqa: S311 - the practice's own patients
    for number in range(count):
        row = customer(number, patient(number, chance))
        if number % RENAMED_EVERY == 1:
            row["lastName"] = f"{row['lastName']}-Smith"
        if number % MISSING_EVERY:
            yield FIRST_KEY + number, row
    for number in range(count, count + count // MISSING_EVERY):
        yield FIRST_KEY + number, customer(number, patient(number, chance))


class Twins:
    def __init__(self, count: int) -> None:
        self.keys: list[int] = []
        self.rows: list[bytes] = []
        for key, row in customers(count):
            self.keys.append(key)
            self.rows.append(json.dumps(row, separators=(",", ":")).encode())
        self.at = {key: place for place, key in enumerate(self.keys)}

    def answer(self, _method: bytes, _target: str, body: bytes, _here: str) -> tuple[int, bytes]:
        asked = json.loads(body)["variables"]
        found = self._nodes(asked["ids"]) if "ids" in asked else self._page(**asked)
        return 200, b'{"data":' + found + b',"extensions":{"cost":%s}}' % json.dumps(COST).encode()

    def _page(self, first: int, after: str | None, query: str | None) -> bytes:
        """A cursor is the place in the list; a search is for ids beyond one."""
        begin = int(after) if after else bisect_right(self.keys, int(query.rpartition(">")[2])) if query else 0
        end = begin + first
        info = b'{"hasNextPage":%s,"endCursor":"%d"}' % (b"true" if end < len(self.rows) else b"false", end)
        return b'{"customers":{"nodes":[%s],"pageInfo":%s}}' % (b",".join(self.rows[begin:end]), info)

    def _nodes(self, gids: list[str]) -> bytes:
        places = [self.at.get(int(gid.removeprefix(_GID))) for gid in gids]
        return b'{"nodes":[%s]}' % b",".join(b"null" if place is None else self.rows[place] for place in places)


if __name__ == "__main__":
    serve(Twins(arguments(patients=10_000).patients).answer)
