"""Shopify's search syntax, as far as we need it: ``updated_at:>='2026-10-01' -tag:vip (email:"a@b.c" OR id:7)``.

A field Shopify does not know is ignored: everything matches, and only a warning in the answer says so.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Document = Mapping[str, object]
Test = Callable[[Document], bool]

FIELDS = frozenset(
    {
        "id",
        "email",
        "phone",
        "first_name",
        "last_name",
        "state",
        "tag",
        "tag_not",
        "country",
        "updated_at",
        "customer_date",
    }
)
_TOKEN = re.compile(
    r"""\s*(?:(?P<paren>[()])
          |(?P<not>-(?=\S)|NOT\b)
          |(?P<word>AND\b|OR\b)
          |(?P<field>[A-Za-z_][\w.]*):(?P<op><=|>=|<|>)?(?:"(?P<dq>(?:\\.|[^"\\])*)"|'(?P<sq>[^']*)'|(?P<bare>(?:\\.|[^\s()])*))
          |(?:"(?P<phrase>[^"]*)"|(?P<text>(?:\\.|[^\s()])+)))""",
    re.VERBOSE,
)


@dataclass
class Parsed:
    """A query ready to test documents with, and what Shopify would warn of."""

    test: Test
    warnings: list[dict[str, str]] = field(default_factory=list)


ORDER_FIELDS = frozenset(
    {
        "id",
        "name",
        "customer_id",
        "created_at",
        "processed_at",
        "updated_at",
        "status",
        "financial_status",
        "po_number",
        "source_identifier",
        "tag",
        "tag_not",
    }
)
COMPANY_FIELDS = frozenset({"id", "name", "external_id", "created_at", "updated_at"})
_ORDERED = ("id", "updated_at", "customer_date", "created_at", "processed_at")


def parse(query: str, known: frozenset[str] = FIELDS) -> Parsed:
    """The query as a test. Nonsense matches nothing, a field that is not known everything."""
    parser = _Parser(list(_TOKEN.finditer(query.strip())), known)
    return Parsed(parser.either(), parser.warnings)


class _Parser:
    def __init__(self, tokens: Sequence[re.Match[str]], known: frozenset[str]) -> None:
        self._tokens = tokens
        self._known = known
        self._at = 0
        self.warnings: list[dict[str, str]] = []

    def either(self) -> Test:
        tests = [self.both()]
        while self._word() == "OR":
            self._at += 1
            tests.append(self.both())
        return tests[0] if len(tests) == 1 else lambda document: any(test(document) for test in tests)

    def both(self) -> Test:
        tests: list[Test] = []
        while self._at < len(self._tokens) and self._word() != "OR" and self._tokens[self._at]["paren"] != ")":
            if self._word() == "AND":
                self._at += 1
                continue
            tests.append(self.one())
        return lambda document: all(test(document) for test in tests)

    def one(self) -> Test:
        token = self._tokens[self._at]
        self._at += 1
        if token["not"]:
            test = self.one() if self._at < len(self._tokens) else _everything
            return lambda document: not test(document)
        if token["paren"] == "(":
            test = self.either()
            self._at += 1
            return test
        if token["field"]:
            return self._term(token)
        words = _words(token["phrase"] or token["text"] or "")
        return lambda document: any(_has(document, name, words) for name in _TEXTS)

    def _term(self, token: re.Match[str]) -> Test:
        name = token["field"]
        quoted = re.sub(r"\\(.)", r"\1", token["dq"]) if token["dq"] is not None else token["sq"]
        value = quoted if quoted is not None else re.sub(r"\\(.)", r"\1", token["bare"] or "")
        if name not in self._known:
            self.warnings.append(
                {"field": name, "message": "Invalid search field for this query.", "code": "invalid_field"}
            )
            return _everything
        if value == "*":
            return lambda document: bool(document.get(name))
        if name == "status":
            return lambda document: bool(set(_words(str(document.get(name)))) & set(value.lower().split(",")))
        if name in _ORDERED:
            return _ordered(name, token["op"] or "", value)
        return _named(name, value, is_phrase=quoted is not None)

    def _word(self) -> str:
        return (self._tokens[self._at]["word"] or "") if self._at < len(self._tokens) else ""


_TEXTS = ("email", "phone", "first_name", "last_name")


def _everything(_: Document) -> bool:
    return True


def _named(name: str, value: str, *, is_phrase: bool) -> Test:
    """Tags are compared whole; text is cut into words, which a phrase wants in a row."""
    if name == "external_id":
        return lambda document: document.get(name) == value
    if name == "tag_not":
        return lambda document: value.lower() not in _tags(document)
    if name == "tag":
        return lambda document: value.lower() in _tags(document)
    words = _words(value)
    if is_phrase:
        return lambda document: _phrase(_words(str(document.get(name) or "")), words)
    return lambda document: _has(document, name, words)


def _ordered(name: str, op: str, value: str) -> Test:
    """Compares numbers for ids, moments as text in one form: whole seconds, UTC."""
    wanted: str | int = (int(value) if value.isdigit() else -1) if name == "id" else _moment(value)
    compare: dict[str, Callable[[object], bool]] = {
        "": lambda there: there == wanted,
        "<": lambda there: there < wanted,  # type: ignore[operator]  # both sides are of the one kind chosen above
        ">": lambda there: there > wanted,  # type: ignore[operator]
        "<=": lambda there: there <= wanted,  # type: ignore[operator]
        ">=": lambda there: there >= wanted,  # type: ignore[operator]
    }
    decide = compare[op]
    return lambda document: decide(document[name])


def _moment(text: str) -> str:
    day, _, time = text.strip().replace(" ", "T").partition("T")
    time = time.removesuffix("Z").removesuffix("+00:00") or "00:00:00"
    return f"{day}T{time}Z"


def _words(text: str) -> list[str]:
    return re.findall(r"[\w]+\*?", text.lower())


def _has(document: Document, name: str, words: Sequence[str]) -> bool:
    there = _words(str(document.get(name) or ""))
    return bool(words) and all(
        any(found.startswith(word[:-1]) if word.endswith("*") else found == word for found in there) for word in words
    )


def _phrase(there: Sequence[str], words: Sequence[str]) -> bool:
    size = len(words)
    return size > 0 and any(list(there[start : start + size]) == list(words) for start in range(len(there) - size + 1))


def _tags(document: Document) -> set[str]:
    tags = document.get("tags")
    return {str(tag).lower() for tag in tags} if isinstance(tags, list) else set()
