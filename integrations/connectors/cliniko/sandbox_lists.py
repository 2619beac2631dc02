"""How the sandboxed Cliniko lists things: filters, sorting, paging, and what it answers to a filter it does not know."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

Row = dict[str, object]
Select = Callable[[Sequence[Row]], list[Row]]
Params = Sequence[tuple[str, str]]

PATIENT_FILTERS = {
    "accepted_privacy_policy": "boolean",
    "archived_at": "date-time",
    "created_at": "date-time",
    "date_of_birth": "date",
    "email": "string",
    "first_name": "string",
    "id": "number",
    "last_name": "string",
    "old_reference_id": "string",
    "preferred_first_name": "string",
    "updated_at": "date-time",
}

_OPERATORS = {
    "number": ("!=", ">=", "<=", "=", ">", "<", "!?", "?"),
    "date": ("!=", ">=", "<=", "=", ">", "<", "!?", "?"),
    "date-time": (">=", "<=", ">", "<", "!?", "?", "*"),
    "string": ("!=", "~~", "=", "~", "!?", "?"),
    "boolean": ("!=", "="),
}
_FORMS = {
    "number": re.compile(r"-?[0-9]+(,-?[0-9]+)*"),
    "date": re.compile(r"\d{4}-\d\d-\d\d(,\d{4}-\d\d-\d\d)*", re.ASCII),
    "date-time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII),
    "string": re.compile(r".*", re.DOTALL),
    "boolean": re.compile(r"true|false"),
}


class BadFilter(ValueError):
    """A 400 in the making; the text is the message."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a list request asks for."""

    filters: tuple[str, ...]
    sort: str
    page: int
    per_page: int

    @classmethod
    def parse(cls, params: Params) -> "Query":
        last = dict(params)
        filters = tuple(value for name, value in params if name in ("q[]", "q"))
        return cls(
            filters,
            last.get("sort", ""),
            max(1, _whole(last.get("page", "1"))),
            min(100, max(1, _whole(last.get("per_page", "50")))),
        )

    def names(self, field: str) -> bool:
        return any(given.partition(":")[0] == field for given in self.filters)

    def link(self, base: str, page: int) -> str:
        pairs = [("q[]", given) for given in self.filters]
        pairs += [("sort", self.sort)] if self.sort else []
        return f"{base}?{urlencode([*pairs, ('page', str(page)), ('per_page', str(self.per_page))])}"

    def links(self, base: str, total: int) -> dict[str, str]:
        found = {"self": self.link(base, self.page)}
        if self.page > 1:
            found["previous"] = self.link(base, self.page - 1)
        if self.page * self.per_page < total:
            found["next"] = self.link(base, self.page + 1)
        return found


def select(rows: Sequence[Row], query: Query, allowed: Mapping[str, str]) -> list[Row]:
    """The rows a query means, in its order; ``rows`` come in the default order. Raises BadFilter."""
    found = list(rows)
    if "archived_at" in allowed and not query.names("archived_at"):
        found = [row for row in found if not row.get("archived_at")]
    for given in query.filters:
        found = _filter(given, allowed)(found)
    for term in reversed([term for term in query.sort.split(",") if term]):
        field, _, direction = term.partition(":")
        if field not in allowed or direction not in ("", "asc", "desc"):
            raise BadFilter(f"cannot sort by {field}")
        found.sort(key=_sort_key(field, allowed[field]), reverse=direction == "desc")
    return found


def _sort_key(field: str, kind: str) -> Callable[[Row], tuple[int, str]]:
    def key(row: Row) -> tuple[int, str]:
        text = str(row.get(field) or "")
        return (len(text) if kind == "number" else 0, text)

    return key


def _filter(given: str, allowed: Mapping[str, str]) -> Select:
    field, colon, rest = given.partition(":")
    if not colon or field not in allowed:
        raise BadFilter(f"{field} is not a valid filter")
    kind = allowed[field]
    operator = next((known for known in _OPERATORS[kind] if rest.startswith(known)), None)
    if operator is None:
        raise BadFilter(f"{field} does not accept this operator")
    value = rest[len(operator) :]
    if operator in ("?", "!?", "*"):
        return _presence(field, operator)
    if not _FORMS[kind].fullmatch(value):
        raise BadFilter(f"{field} expects a {kind}")
    return _comparison(field, kind, operator, value)


def _presence(field: str, operator: str) -> Select:
    if operator == "*":
        return list
    wanted = operator == "?"
    return lambda rows: [row for row in rows if bool(row.get(field)) is wanted]


def _comparison(field: str, kind: str, operator: str, value: str) -> Select:
    if operator in ("=", "!="):
        return _equality(field, kind, value, wanted=operator == "=")
    if operator in ("~", "~~"):
        pattern = re.compile(".*".join(re.escape(part) for part in value.split("%")), re.IGNORECASE | re.DOTALL)
        match = pattern.search if operator == "~" else pattern.fullmatch
        return lambda rows: [row for row in rows if match(str(row.get(field) or ""))]
    if kind == "number":
        return _by_number(field, operator, int(value.partition(",")[0]))
    return _by_text(field, operator, value)


def _equality(field: str, kind: str, value: str, *, wanted: bool) -> Select:
    if kind == "boolean":
        truth = value == "true"
        return lambda rows: [row for row in rows if (row.get(field) is truth) is wanted]
    values = {value} if kind == "string" else set(value.split(","))
    return lambda rows: [row for row in rows if (str(row.get(field) or "") in values) is wanted]


def _by_text(field: str, operator: str, value: str) -> Select:
    """Instants and days compare like their text. A row without one matches nothing."""

    def present(rows: Sequence[Row]) -> list[tuple[str, Row]]:
        return [(str(row[field]), row) for row in rows if row.get(field)]

    return {
        ">=": lambda rows: [row for text, row in present(rows) if text >= value],
        ">": lambda rows: [row for text, row in present(rows) if text > value],
        "<=": lambda rows: [row for text, row in present(rows) if text <= value],
        "<": lambda rows: [row for text, row in present(rows) if text < value],
    }[operator]


def _by_number(field: str, operator: str, value: int) -> Select:
    def present(rows: Sequence[Row]) -> list[tuple[int, Row]]:
        return [(int(str(row[field])), row) for row in rows if row.get(field) is not None]

    return {
        ">=": lambda rows: [row for number, row in present(rows) if number >= value],
        ">": lambda rows: [row for number, row in present(rows) if number > value],
        "<=": lambda rows: [row for number, row in present(rows) if number <= value],
        "<": lambda rows: [row for number, row in present(rows) if number < value],
    }[operator]


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise BadFilter("page and per_page expect a number")
    return int(text)
