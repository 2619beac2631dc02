"""What a sandboxed Cliniko keeps besides patients: a shelf a collection, with its filters and how a row is shown.

A row holds plain members, and ``<name>_id`` for a reference; a reference that is not there is left out of the answer.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from integrations.connectors.cliniko.sandbox_lists import BadFilter, Query, Row, select
from integrations.connectors.cliniko.sandbox_world import Account, ClinikoWorld, Quirks
from integrations.connectors.sandbox_kit import Request, Response, json_response

STAMPS = ("archived_at", "deleted_at", "created_at", "updated_at")


@dataclass(frozen=True, slots=True)
class Shelf:
    """One collection. ``members`` are the keys that every row shows, ``references`` where a row may lead: name ->
    collection. ``lists`` are links to lists: name -> (collection, filter by the row's id)."""

    collection: str
    filters: Mapping[str, str]
    members: tuple[str, ...]
    references: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, tuple[str, str]] = field(default_factory=dict)


# -- rows


def put(world: ClinikoWorld, collection: str, account: Account | None = None, **given: object) -> str:
    """A new row's id. ``id``, ``created_at`` and ``updated_at`` may be given, for history."""
    home = account or world.first
    key = str(given.pop("id", None) or world.new_id())
    now = world.stamp()
    row: Row = {"id": key, "created_at": now, "updated_at": given.get("created_at") or now} | given
    home.shelves.setdefault(collection, {})[key] = row
    world.changed(key, None)
    return key


def change(world: ClinikoWorld, collection: str, key: str, **given: object) -> None:
    """Changes members; ``updated_at`` becomes now unless given."""
    row = row_of(world, collection, key)
    before = dict(row)
    row.update({"updated_at": world.stamp()} | given)
    world.changed(key, before)


def archive(world: ClinikoWorld, collection: str, key: str) -> None:
    """Archiving need not touch ``updated_at``."""
    row = row_of(world, collection, key)
    stamp = world.stamp() if world.quirks.archiving_touches_updated_at else row["updated_at"]
    change(world, collection, key, archived_at=world.stamp(), updated_at=stamp)


def home_of(world: ClinikoWorld, collection: str, key: str) -> Account:
    """The account that a row belongs to. Raises KeyError."""
    for account in world.accounts.values():
        if key in account.shelves.get(collection, {}):
            return account
    raise KeyError(key)


def row_of(world: ClinikoWorld, collection: str, key: str) -> Row:
    return home_of(world, collection, key).shelves[collection][key]


def rows_of(world: ClinikoWorld, collection: str, account: Account | None = None) -> dict[str, Row]:
    """A collection of the first account, or of this one, by id."""
    return (account or world.first).shelves.get(collection, {})


def set_raw(world: ClinikoWorld, collection: str, key: str, **shown: object) -> None:
    """From now on this row's answer carries exactly these, whatever they are; ``None`` is null."""
    home_of(world, collection, key).raw[key] = dict(shown)
    world.changed(key, row_of(world, collection, key))


# -- answers


@dataclass(frozen=True, slots=True)
class Asked:
    """One request for a collection."""

    world: ClinikoWorld
    account: Account
    request: Request
    base: str


def answer_list(asked: Asked, shelf: Shelf, more: Sequence[Row] = (), *, hidden: Collection[str] = ()) -> Response:
    """A page of a collection: what stands on its shelf but is not ``hidden``, and ``more`` that the account implies."""
    query = Query.parse(asked.request.params)
    rows = [*more, *(row for row in _visible(asked, shelf.collection) if row["id"] not in hidden)]
    found = select(rows, _as_read(asked.world.quirks, query), shelf.filters)
    return page(asked, shelf.collection, found, query, [shown(asked, shelf, row) for row in _cut(found, query)])


def page(asked: Asked, collection: str, found: Sequence[Row], query: Query, rows: Sequence[Row]) -> Response:
    """The envelope around one page of what was found, quirks played."""
    address, quirks = f"{asked.base}/{collection}", asked.world.quirks
    links = query.links(address, len(found))
    if quirks.loop_at_page == query.page:
        links["next"] = query.link(address, query.page)
    if quirks.foreign_next and "next" in links:
        links["next"] = links["next"].replace(asked.base, f"{quirks.foreign_next}/v1")
    total = 0 if quirks.wrong_total else len(found)
    return json_response(200, {collection: rows, "total_entries": total, "links": links})


def answer_one(asked: Asked, shelf: Shelf, key: str) -> Response | None:
    """A single row; an archived one only where the filter for it is given, None where there is none."""
    query = Query.parse(asked.request.params)
    if any(given.partition(":")[0] not in ("archived_at", "deleted_at") for given in query.filters):
        raise BadFilter("only archived_at is a valid filter here")
    row = asked.world.visible(asked.account, key, shelf.collection)
    if row is None or (row.get("archived_at") and not query.filters):
        return None
    return json_response(200, shown(asked, shelf, row))


def shown(asked: Asked, shelf: Shelf, row: Row) -> Row:
    """A row with every documented member, quirks played."""
    here = f"{asked.base}/{shelf.collection}/{row['id']}"
    told: Row = {name: row.get(name) for name in ("id", *shelf.members, *STAMPS)}
    quirks = asked.world.quirks
    if quirks.ids_as_numbers:
        told["id"] = int(str(row["id"]))
    if quirks.empty_as_text:
        told |= {name: "" for name, value in told.items() if value is None}
    for name, collection in shelf.references.items():
        if key := row.get(f"{name}_id"):
            told[name] = _link(f"{asked.base}/{collection}/{key}")
    for name, (collection, given) in shelf.lists.items():
        told[name] = _link(f"{asked.base}/{collection}?q%5B%5D={given}%3A%3D{row['id']}")
    told["links"] = {"self": here}
    if quirks.totals_as_text and "total_including_tax" in told:
        told["total_including_tax"] = str(told["total_including_tax"])
    for name in quirks.missing_keys:
        told.pop(name, None)
    return told | asked.account.raw.get(str(row["id"]), {})


def _link(address: str) -> Row:
    return {"links": {"self": address}}


def _visible(asked: Asked, collection: str) -> list[Row]:
    rows = asked.account.shelves.get(collection, {})
    seen = (asked.world.visible(asked.account, key, collection) for key in rows)
    return sorted((row for row in seen if row), key=lambda row: (str(row["created_at"]), int(str(row["id"]))))


def _cut(found: Sequence[Row], query: Query) -> Sequence[Row]:
    return found[(query.page - 1) * query.per_page : query.page * query.per_page]


def _as_read(quirks: Quirks, query: Query) -> Query:
    """The query as an account reads it that takes one foreign id at a time."""
    if quirks.lists_of_foreign_ids == "taken":
        return query
    filters = []
    for given in query.filters:
        name, _, rest = given.partition(":")
        is_list = name.endswith("_id") and "," in rest
        if is_list and quirks.lists_of_foreign_ids == "refused":
            raise BadFilter(f"{name} expects a number")
        filters.append(given.partition(",")[0] if is_list else given)
    return Query(tuple(filters), query.sort, query.page, query.per_page)
