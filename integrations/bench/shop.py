"""A shop that takes customers as fast as Python can keep them: aliased look-ups, creates and addresses, nothing checked.

    python -m integrations.bench.shop

Its bucket of points is never empty, so that a measurement is not one of waiting.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from integrations.bench.serving import serve

_CALL = re.compile(r"^\s*(m\d+|\w+): (\w+)\(|^  (\w+)\(", re.MULTILINE)
_METAFIELD = re.compile(r'(f\d+): metafield\(namespace: "([^"]+)", key: "([^"]+)"\)')
_STAMP = "2026-01-05T10:00:00Z"
COST = {
    "requestedQueryCost": 10,
    "actualQueryCost": 10,
    "throttleStatus": {
        "maximumAvailable": 1_000_000_000,
        "currentlyAvailable": 999_999_999,
        "restoreRate": 100_000_000,
    },
}
_ADDRESS = ("firstName", "lastName", "company", "address1", "address2", "city", "provinceCode", "zip", "phone")

Row = dict[str, object]


@dataclass(slots=True)
class Customer:
    gid: str
    given: Mapping[str, object]
    address: Row | None = None
    metafields: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """What a GraphQL document asks: alias and root per member, and the customer's metafields by alias."""

    calls: tuple[tuple[str, str], ...]
    metafields: tuple[tuple[str, str], ...]


@lru_cache(maxsize=4096)
def parsed(text: str) -> Document:
    calls = tuple((alias or only, root or only) for alias, root, only in _CALL.findall(text))
    return Document(calls, tuple((alias, f"{space}.{key}") for alias, space, key in _METAFIELD.findall(text)))


class Shop:
    def __init__(self) -> None:
        self.customers: dict[str, Customer] = {}
        self.by_key: dict[object, str] = {}
        self.roots: Mapping[str, Callable[[Document, Mapping[str, object], str], object]] = {
            "customerByIdentifier": self._find,
            "customerCreate": self._create,
            "customerAddressCreate": self._add_address,
            "customerUpdate": self._update,
            "metafieldDefinitionCreate": lambda *_: {
                "createdDefinition": {"id": "gid://shopify/D/1"},
                "userErrors": [],
            },
        }

    def answer(self, _method: bytes, _target: str, body: bytes, _here: str) -> tuple[int, bytes]:
        asked = json.loads(body)
        document, given = parsed(asked["query"]), asked["variables"]
        data = {alias: self.roots[root](document, given, alias[1:]) for alias, root in document.calls}
        if "nodes(ids:" in asked["query"]:
            data = {"nodes": [self._shown(document, self.customers.get(gid)) for gid in given["ids"]]}
        return 200, json.dumps({"data": data, "extensions": {"cost": COST}}, separators=(",", ":")).encode()

    def _find(self, document: Document, given: Mapping[str, object], number: str) -> object:
        wanted = given[f"i{number}"]
        assert isinstance(wanted, dict)  # noqa: S101 - what our own connector sends
        value = (
            wanted.get("emailAddress")
            or wanted.get("phoneNumber")
            or f"marker {wanted.get('customId', {}).get('value')}"
        )
        return self._shown(document, self.customers.get(self.by_key.get(value, "")))

    def _create(self, document: Document, given: Mapping[str, object], number: str) -> object:
        wish = given[f"i{number}"]
        assert isinstance(wish, dict)  # noqa: S101
        customer = Customer(f"gid://shopify/Customer/{7_000_000 + len(self.customers)}", wish)
        self._keep(customer, wish)
        return {"customer": self._shown(document, customer), "userErrors": []}

    def _keep(self, customer: Customer, wish: Mapping[str, object]) -> None:
        self.customers[customer.gid] = customer
        entries = wish.get("metafields", ())
        assert isinstance(entries, list | tuple)  # noqa: S101
        for entry in entries:
            customer.metafields[f"{entry['namespace']}.{entry['key']}"] = entry["value"]
            if entry["key"] == "cliniko_patient_id":
                self.by_key[f"marker {entry['value']}"] = customer.gid
        for name in ("email", "phone"):
            self.by_key[customer.given.get(name)] = customer.gid

    def _update(self, document: Document, given: Mapping[str, object], number: str) -> object:
        wish = given[f"i{number}"]
        assert isinstance(wish, dict)  # noqa: S101
        customer = self.customers[wish["id"]]
        customer.given = {**customer.given, **wish}
        self._keep(customer, wish)
        return {"customer": self._shown(document, customer), "userErrors": []}

    def _add_address(self, _: Document, given: Mapping[str, object], number: str) -> object:
        wish = given[f"i{number}"]
        assert isinstance(wish, dict)  # noqa: S101
        address: Row = {"id": f"gid://shopify/MailingAddress/{number}", "countryCodeV2": wish.get("countryCode")}
        address |= {name: wish.get(name) for name in _ADDRESS}
        self.customers[str(given[f"c{number}"])].address = address
        return {"address": address, "userErrors": []}

    def _shown(self, document: Document, customer: Customer | None) -> Row | None:
        if customer is None:
            return None
        given = customer.given
        email, phone = given.get("email"), given.get("phone")
        consent = "SUBSCRIBED" if "emailMarketingConsent" in given else "NOT_SUBSCRIBED"
        texted = {"state": "SUBSCRIBED" if "smsMarketingConsent" in given else "NOT_SUBSCRIBED"}
        row: Row = {
            "id": customer.gid,
            "updatedAt": _STAMP,
            "createdAt": _STAMP,
            "firstName": given.get("firstName"),
            "lastName": given.get("lastName"),
            "tags": given.get("tags", []),
            "defaultEmailAddress": email and {"emailAddress": email, "marketingState": consent},
            "defaultPhoneNumber": phone and {"phoneNumber": phone, "smsMarketingConsent": texted},
            "defaultAddress": customer.address,
        }
        for alias, name in document.metafields:
            row[alias] = {"value": customer.metafields[name]} if name in customer.metafields else None
        return row


if __name__ == "__main__":
    serve(Shop().answer)
