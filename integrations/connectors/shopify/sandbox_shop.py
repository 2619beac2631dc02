"""A shop's state and the rules by which Shopify accepts or refuses a write. Plain dictionaries, ready for JSON."""

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime

from integrations.connectors.shopify.sandbox_rows import Complaint, Row, as_list, as_row, complaint, label, whole
from integrations.connectors.shopify.sandbox_settings import Settings

_EMAIL = re.compile(r"[^@\s]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_PHONE = re.compile(r"\+[1-9]\d{6,14}")
_GID = re.compile(r"gid://shopify/(\w+)/(\d{1,20})(?:\?.*)?")
_SINGLE_LINE = ("single_line_text_field", "id")
OWNERS = {"Customer": "CUSTOMER", "Order": "ORDER", "Product": "PRODUCT"}  # of metafields


@dataclass
class Shop:
    """One shop. ``now`` is the vendor's clock in seconds since 1970."""

    handle: str
    now: Callable[[], float]
    settings: Settings = field(default_factory=Settings)
    customers: dict[int, Row] = field(default_factory=dict)
    definitions: list[Row] = field(default_factory=list)
    made: int = 0
    writes: int = 0  # mutations that changed something
    orders: dict[int, Row] = field(default_factory=dict)
    products: dict[int, Row] = field(default_factory=dict)
    locations: dict[int, Row] = field(default_factory=dict)
    levels: dict[str, Row] = field(default_factory=dict)  # "item@location"
    keys: dict[str, Row] = field(
        default_factory=dict
    )  # of mutations that happen once, with the input and answer of each
    uploads: dict[str, Row] = field(default_factory=dict)  # staged files by key
    bulks: list[Row] = field(default_factory=list)  # bulk runs, the oldest first
    turns: int = 0  # changes of the two
    companies: dict[int, Row] = field(default_factory=dict)  # each with its contacts

    def __post_init__(self) -> None:
        self.settings.name = self.settings.name or self.handle.replace("-", " ").title()
        self.emails: dict[str, int] = {}
        self.phones: dict[str, int] = {}
        self.marks: dict[tuple[str, str, str], int] = {}  # (kind, namespace.key, value) of unique metafields -> row
        self.owners: dict[int, int] = {}  # variant or inventory item -> product
        self._seen: dict[
            tuple[str, int], tuple[float, Row | None]
        ] = {}  # what the search index still shows, since when
        if not self.locations:
            self.add_location("Main", number=80_000_000_000 + self.number % 1_000_000_000)
        self.index()

    def rows(self, kind: str) -> dict[int, Row]:
        """All of one kind: ``Customer``, ``Order``, ``Product``, ``Company``."""
        return {"Order": self.orders, "Product": self.products, "Company": self.companies}.get(kind, self.customers)

    @property
    def number(self) -> int:
        return 60_000_000_000 + zlib.crc32(self.handle.encode()) % 1_000_000_000

    def index(self) -> None:
        """Rebuilds the look-ups from the rows."""
        self.emails.clear()
        self.phones.clear()
        self.marks.clear()
        self.owners.clear()
        for row in (*self.customers.values(), *self.products.values(), *self.orders.values()):
            self._enter(row)

    def add_location(self, name: str, *, number: int = 0, active: bool = True, service: bool = False) -> int:
        """A place that can hold stock; its number. ``service``: it belongs to another app's fulfilment service."""
        key = number or self.next_id()
        self.locations[key] = {
            "id": key, "name": name, "isActive": active, "isFulfillmentService": service, "fulfillsOnlineOrders": active,
            "createdAt": self.stamp(), "updatedAt": self.stamp(),
        }  # fmt: skip
        return key

    def stamp(self) -> str:
        return datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def next_id(self) -> int:
        """Larger than 32 bits, never the same in two shops."""
        self.made += 1
        return 7_000_000_000_000 + (self.number % 900_000) * 1_000_000 + self.made

    # -- customers

    def create(self, given: Mapping[str, object]) -> tuple[Row | None, list[Complaint]]:
        """``customerCreate``."""
        stamp = self.stamp()
        row: Row = {
            "id": 0, "firstName": None, "lastName": None, "email": None, "phone": None, "note": None, "locale": "en",
            "state": "DISABLED", "tags": [], "createdAt": stamp, "updatedAt": stamp, "emailState": "NOT_SUBSCRIBED",
            "smsState": "NEVER_SUBSCRIBED", "addresses": [], "default": None, "metafields": {},
        }  # fmt: skip
        complaints = self._apply(row, given)
        if not complaints and not any(row[name] for name in ("firstName", "lastName", "email", "phone")):
            complaints.append(complaint((), "Customer must have a name, phone number or email address"))
        if complaints:
            return None, complaints
        row["id"] = self.next_id()
        return self.store(row), []

    def update(self, gid: object, given: Mapping[str, object]) -> tuple[Row | None, list[Complaint]]:
        """``customerUpdate``."""
        row = self.by_gid(gid)
        if row is None:
            return None, [complaint(("id",), "Customer does not exist")]
        changed = deepcopy(row)
        complaints = self._apply(changed, given)
        return (None, complaints) if complaints else (self.store(changed), [])

    def store(self, row: Row) -> Row:
        """Puts a customer, or another row that says its ``kind``, into the shop as it is now."""
        key, kind = whole(row["id"]), kind_of(row)
        before = self.rows(kind).get(key)
        self._remember(kind, key, before)
        if before is not None:
            self._leave(before)
        row["updatedAt"] = self.stamp()
        self.rows(kind)[key] = row
        self._enter(row)
        self.writes += 1
        return row

    def remove(self, key: int) -> None:
        """Raises KeyError for a customer that is not there."""
        self.drop("Customer", key)

    def drop(self, kind: str, key: int) -> None:
        """The same for any kind of row."""
        row = self.rows(kind).pop(key)
        self._remember(kind, key, row)
        self._leave(row)

    def merge(self, keep: int, gone: int) -> Row:
        """What the merchant's "merge customers" does: one goes, the other takes over what it lacks."""
        left, row = deepcopy(self.customers[gone]), deepcopy(self.customers[keep])
        self.remove(gone)
        for name in ("email", "phone", "firstName", "lastName"):
            row[name] = row[name] or left[name]
        row["tags"] = list(dict.fromkeys([*as_list(row["tags"]), *as_list(left["tags"])]))
        row["addresses"] = [*as_list(row["addresses"]), *as_list(left["addresses"])]
        row["metafields"] = {**as_row(left["metafields"]), **as_row(row["metafields"])}
        return self.store(row)

    def by_gid(self, gid: object, kind: str = "Customer") -> Row | None:
        found = _GID.fullmatch(str(gid))
        return self.rows(kind).get(int(found[2])) if found and found[1] == kind else None

    def owner(self, gid: object) -> Row | None:
        """A row of whatever kind the id speaks of."""
        return next((row for kind in OWNERS if (row := self.by_gid(gid, kind)) is not None), None)

    def product_of(self, part: int) -> Row | None:
        """The product that a variant or an inventory item belongs to, by its number."""
        return self.products.get(self.owners.get(part, 0))

    def by_email(self, email: str) -> Row | None:
        return self.customers.get(self.emails.get(email.strip().lower(), 0))

    def by_phone(self, phone: str) -> Row | None:
        return self.customers.get(self.phones.get(phone.strip(), 0))

    def by_mark(self, namespace: str, key: str, value: str, kind: str = "Customer") -> Row | None:
        return self.rows(kind).get(self.marks.get((kind, f"{namespace}.{key}", value), 0))

    def definition(self, namespace: str, key: str, kind: str = "Customer") -> Row | None:
        wanted = (OWNERS[kind], namespace, key)
        rows = self.definitions
        return next((row for row in rows if (row["ownerType"], row["namespace"], row["key"]) == wanted), None)

    # -- the search index, which may lag

    def searchable(self, kind: str = "Customer") -> list[Row]:
        """The rows of a kind as the search index shows them."""
        lag, now = self.settings.search_lag_s, self.now()
        shown = dict(self.rows(kind))
        for (of, key), (since, row) in list(self._seen.items()):
            if now - since >= lag:
                del self._seen[of, key]
            elif of == kind and row is None:
                shown.pop(key, None)
            elif of == kind and row is not None:
                shown[key] = row
        return list(shown.values())

    def _remember(self, kind: str, key: int, before: Row | None) -> None:
        if self.settings.search_lag_s:
            self._seen.setdefault((kind, key), (self.now(), before))

    # -- the parts of a write

    def _apply(self, row: Row, given: Mapping[str, object]) -> list[Complaint]:
        complaints = self._contacts(row, given)
        for name in ("firstName", "lastName", "note", "locale"):
            if name in given:
                row[name] = given[name] or None
                if len(str(given[name] or "")) > (5000 if name == "note" else 255):
                    complaints.append(complaint((name,), f"{label(name)} is too long (maximum is 255 characters)"))
        if "tags" in given:
            row["tags"] = _clean_tags(given["tags"])
        complaints += self._consents(row, given)
        complaints += self.set_metafields(row, as_list(given.get("metafields")), ("metafields",))
        return complaints

    def _contacts(self, row: Row, given: Mapping[str, object]) -> list[Complaint]:
        complaints = []
        if "email" in given:
            row["email"] = email = str(given["email"] or "").strip().lower() or None
            if email and not _EMAIL.fullmatch(email):
                complaints.append(complaint(("email",), "Email is invalid"))
            elif email and self.emails.get(email, row["id"]) != row["id"]:
                complaints.append(complaint(("email",), "Email has already been taken"))
            if not email:
                row["emailState"] = "NOT_SUBSCRIBED"
        if "phone" in given:
            row["phone"] = phone = re.sub(r"[\s()-]", "", str(given["phone"] or "")) or None
            if phone and not _PHONE.fullmatch(phone):
                complaints.append(complaint(("phone",), "Phone is invalid"))
            elif phone and self.phones.get(phone, row["id"]) != row["id"]:
                complaints.append(complaint(("phone",), "Phone has already been taken"))
            if not phone:
                row["smsState"] = "NEVER_SUBSCRIBED"
        return complaints

    def _consents(self, row: Row, given: Mapping[str, object]) -> list[Complaint]:
        complaints = []
        for kind, what in (("email", "emailMarketingConsent"), ("sms", "smsMarketingConsent")):
            if consent := given.get(what):
                complaints += self.consent(row, kind, as_row(consent), (what,))
        return complaints

    def consent(self, row: Row, kind: str, given: Row, path: tuple[str, ...]) -> list[Complaint]:
        """``kind`` is ``email`` or ``sms``."""
        state = given.get("marketingState")
        contact = "email" if kind == "email" else "phone"
        if not row[contact]:
            return [complaint(path, f"The {contact} field is required to set marketing consent")]
        if state not in ("SUBSCRIBED", "UNSUBSCRIBED", "PENDING"):
            return [complaint((*path, "marketingState"), "Marketing state is not included in the list")]
        row[f"{kind}State"] = state
        row[f"{kind}Level"] = given.get("marketingOptInLevel") or "SINGLE_OPT_IN"
        row[f"{kind}At"] = given.get("consentUpdatedAt") or self.stamp()
        return []

    def set_metafields(self, row: Row, entries: Sequence[object], path: tuple[str, ...]) -> list[Complaint]:
        complaints = []
        kept = as_row(row["metafields"])
        for number, entry in enumerate(entries):
            given = as_row(entry)
            namespace, key = str(given.get("namespace") or "app--1"), str(given.get("key") or "")
            value = str(given.get("value") or "")
            said = self._metafield_complaint(row, namespace, key, value, given.get("type"))
            if said:
                complaints.append(complaint((*path, str(number), said[0]), said[1]))
                continue
            definition = self.definition(namespace, key, kind_of(row)) or {}
            before = as_row(kept.get(f"{namespace}.{key}") or {})
            kept[f"{namespace}.{key}"] = {
                "id": before.get("id") or self.next_id(), "namespace": namespace, "key": key, "value": value,
                "type": definition.get("type") or given.get("type") or before.get("type"),
                "createdAt": before.get("createdAt") or self.stamp(), "updatedAt": self.stamp(),
            }  # fmt: skip
        row["metafields"] = kept
        return complaints

    def _metafield_complaint(
        self, row: Row, namespace: str, key: str, value: str, given: object
    ) -> tuple[str, str] | None:
        """The member that is wrong and why; the first that applies."""
        definition = self.definition(namespace, key, kind_of(row))
        there = as_row(as_row(row["metafields"]).get(f"{namespace}.{key}") or {})
        kind = (definition or {}).get("type") or given or there.get("type")
        is_taken = self.marks.get((kind_of(row), f"{namespace}.{key}", value), row["id"]) != row["id"]
        checks = (
            (not kind, "type", "Type can't be blank"),
            (definition is None and kind == "id", "type", "Type id needs a metafield definition"),
            (
                definition is not None and given not in (None, kind),
                "type",
                "Type must be consistent with the definition's",
            ),
            (not value.strip(), "value", "Value can't be blank"),
            (kind in _SINGLE_LINE and "\n" in value, "value", "Value must be a single line text string"),
            (kind == "id" and is_taken, "value", "Value has already been taken by another resource"),
        )
        return next(((member, message) for is_wrong, member, message in checks if is_wrong), None)

    # -- the look-ups

    def _enter(self, row: Row) -> None:
        key = whole(row["id"])
        if row.get("email"):
            self.emails[str(row["email"])] = key
        if row.get("phone"):
            self.phones[str(row["phone"])] = key
        for variant in map(as_row, as_list(row.get("variants"))):
            self.owners[whole(variant["id"])] = self.owners[whole(as_row(variant["item"])["id"])] = key
        for name, metafield in as_row(row["metafields"]).items():
            if as_row(metafield)["type"] == "id":
                self.marks[kind_of(row), name, str(as_row(metafield)["value"])] = key

    def _leave(self, row: Row) -> None:
        self.emails.pop(str(row.get("email")), None)
        self.phones.pop(str(row.get("phone")), None)
        for variant in map(as_row, as_list(row.get("variants"))):
            self.owners.pop(whole(variant["id"]), None)
            self.owners.pop(whole(as_row(variant["item"])["id"]), None)
        for name, metafield in as_row(row["metafields"]).items():
            self.marks.pop((kind_of(row), name, str(as_row(metafield)["value"])), None)

    # -- storing

    def dump(self) -> Row:
        return {
            "settings": asdict(self.settings), "customers": list(self.customers.values()),
            "definitions": self.definitions, "made": self.made, "writes": self.writes,
            "orders": list(self.orders.values()), "products": list(self.products.values()),
            "locations": list(self.locations.values()), "levels": self.levels, "keys": self.keys,
            "uploads": self.uploads, "bulks": self.bulks,
            "companies": list(self.companies.values()),
        }  # fmt: skip

    @classmethod
    def restored(cls, handle: str, now: Callable[[], float], state: Mapping[str, object]) -> "Shop":
        known = {column.name for column in fields(Settings)}
        settings = Settings(**{name: value for name, value in as_row(state["settings"]).items() if name in known})  # type: ignore[arg-type]  # our own file, checked by name
        customers, orders, products, locations, companies = (
            {whole(as_row(row)["id"]): as_row(row) for row in as_list(state.get(kind))}
            for kind in ("customers", "orders", "products", "locations", "companies")
        )
        levels, keys, uploads = (
            {key: as_row(row) for key, row in as_row(state.get(name)).items()} for name in ("levels", "keys", "uploads")
        )
        return cls(
            handle, now, settings, customers=customers, orders=orders, products=products, locations=locations,
            definitions=[{"ownerType": "CUSTOMER", **as_row(row)} for row in as_list(state["definitions"])],
            levels=levels, keys=keys, uploads=uploads, bulks=[as_row(row) for row in as_list(state.get("bulks"))],
            companies=companies, made=whole(state["made"]), writes=whole(state["writes"]),
        )  # fmt: skip


def kind_of(row: Row) -> str:
    """``Customer``, ``Order``, ``Product`` or ``Company``."""
    return str(row.get("kind") or "Customer")


def _clean_tags(given: object) -> list[str]:
    texts = [part.strip() for tag in as_list(given) for part in str(tag).split(",")]
    return list({text.lower(): text for text in reversed(texts) if text}.values())[::-1]


def add_tags(row: Row, tags: object) -> None:
    row["tags"] = _clean_tags([*as_list(row["tags"]), *as_list(tags)])


def remove_tags(row: Row, tags: object) -> None:
    gone = {tag.lower() for tag in _clean_tags(tags)}
    row["tags"] = [tag for tag in as_list(row["tags"]) if str(tag).lower() not in gone]
