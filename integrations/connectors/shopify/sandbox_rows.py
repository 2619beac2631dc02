"""What the sandboxed shop keeps and is told: dictionaries ready for JSON, and how parts of them are taken out."""

import re
from collections.abc import Sequence

Row = dict[str, object]
Complaint = dict[str, object]


def as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def as_row(value: object) -> Row:
    return value if isinstance(value, dict) else {}


def as_rows(value: object) -> list[Row]:
    return [entry for entry in as_list(value) if isinstance(entry, dict)]


def inner(row: Row, name: str) -> Row:
    """The member of that name, empty where there is none."""
    return as_row(row.get(name))


def rows(row: Row, name: str) -> list[Row]:
    """The list of that name, empty where there is none."""
    return as_rows(row.get(name))


def whole(value: object) -> int:
    return int(str(value))


def number_in(global_id: object) -> int:
    """The number at the end of a global id, 0 where there is none."""
    return int(str(global_id or 0).rpartition("/")[2] or 0)


def complaint(path: Sequence[str], message: str) -> Complaint:
    """A user error without a code."""
    return {"field": list(path) or None, "message": message}


def label(name: str) -> str:
    """A member as a message speaks of it: ``firstName`` -> ``First name``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()
