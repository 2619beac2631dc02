"""Every code that somebody may meet has an owner, a sentence, an advice and an entry in the runbook, and no other has.

A code is a literal of a known family anywhere in the source, so that one raised in a new way is found as well. Left out
are the names of audit entries and the faults of forms and files, which carry their own sentence (``Fault``, ``refused``).
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from integrations.connectors import CONNECTORS
from integrations.messages import MESSAGES, Fix, Owner, message

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "integrations"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()

FAMILIES = (
    "record", "rule", "match", "link", "field", "mode", "guard", "flow", "delivery", "internal", "connection", "quota",
    "http", "payload", "paging", "invoice", "parent", "product", "stock", "value", "company", "webhook", "repair", "rerun",
    *CONNECTORS,
)  # fmt: skip
CODE = re.compile(rf"(?:{'|'.join(FAMILIES)})(?:\.[a-z][a-z0-9_]*)+|unmapped_value")
FILES = re.compile(r"[a-z]+\.(com|py|graphql|toml)")
WITH_A_SENTENCE = {"Fault", "refused"}
AUDITS = {"record_audit", "audit", "_audit", "_send_again", "_decide", "Audited"}
PARTS = ("Means", "Who acts", "Do", "By itself")


def sources() -> Iterator[Path]:
    yield from (ROOT / "reconciliation").rglob("*.py")
    for path in SOURCE.rglob("*.py"):
        inside = path.relative_to(SOURCE).parts
        if inside[0] not in ("demo", "migrations", "messages.py") and not path.name.startswith("sandbox"):
            yield path


def codes_in(tree: ast.AST) -> set[str]:
    left_out = {
        id(literal) for call in calls(tree) if called(call) in WITH_A_SENTENCE | AUDITS for literal in texts(call)
    }
    return {
        literal.value
        for literal in texts(tree)
        if id(literal) not in left_out and CODE.fullmatch(literal.value) and not FILES.fullmatch(literal.value)
    }


def prefixed_tails(tree: ast.AST) -> set[str]:
    """``f"{self.prefix}.shape"`` in the toolkit: the vendor's name comes from the connector that calls."""
    return {
        str(node.values[1].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) and len(node.values) == 2 and isinstance(node.values[1], ast.Constant)
        and isinstance(node.values[0], ast.FormattedValue) and ast.unparse(node.values[0].value) == "self.prefix"
    }  # fmt: skip


def prefixes_in(tree: ast.AST) -> set[str]:
    return {
        str(given.value.value)
        for call in calls(tree)
        for given in call.keywords
        if given.arg == "prefix" and isinstance(given.value, ast.Constant) and given.value.value in CONNECTORS
    }


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def called(call: ast.Call) -> str:
    return ast.unparse(call.func).rsplit(".", 1)[-1]


def texts(tree: ast.AST) -> list[ast.Constant]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


@cache
def raised() -> frozenset[str]:
    trees = [ast.parse(path.read_text()) for path in sources()]
    prefixes = set().union(*map(prefixes_in, trees))
    prefixed = {f"{prefix}{tail}" for prefix in prefixes for tree in trees for tail in prefixed_tails(tree)}
    return frozenset(prefixed.union(*map(codes_in, trees)))


def entries() -> dict[str, str]:
    parts = re.split(r"^## (\S+)$", RUNBOOK, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_code_that_is_raised_has_a_message():
    assert sorted(raised() - set(MESSAGES)) == []


def test_every_message_is_raised_somewhere():
    later = {"unmapped_value"}  # value maps are kept and checked; the first kind that uses one raises it
    assert sorted(set(MESSAGES) - raised() - later) == []


def test_the_scan_finds_a_code_however_it_is_raised():
    found = codes_in(ast.parse('raise errors.Rejected("record.new" if x else "rule.newer", field="address.zip")'))
    assert found == {"record.new", "rule.newer"}
    assert codes_in(ast.parse('_audit("flow.mode"); Fault("a", "flow.start", "Why.")')) == set()
    assert {"shopify.shape", "shopify.throttled"} <= raised()


def test_every_message_has_an_entry_in_the_runbook_and_every_entry_a_message():
    assert sorted(entries()) == sorted(MESSAGES)


def test_every_entry_says_what_it_means_who_acts_what_to_do_and_what_happens_by_itself():
    lacking = [f"{code}: {part}" for code, text in entries().items() for part in PARTS if f"**{part}:** " not in text]
    assert lacking == []


def test_the_runbook_names_the_same_owner():
    words = {
        Owner.CLINIC: "The clinic",
        Owner.AGENCY: "The agency",
        Owner.VENDOR: "The vendor",
        Owner.SYSTEM: "The engineers",
    }
    wrong = [code for code, text in entries().items() if f"**Who acts:** {words[MESSAGES[code].owner]}" not in text]
    assert wrong == []


def test_no_code_is_listed_twice():
    listed = re.findall(r'Message\("([^"]+)"', (SOURCE / "messages.py").read_text())
    assert len(listed) == len(set(listed)) == len(MESSAGES)


def test_sentences_are_sentences_and_speak_no_jargon():
    jargon = re.compile(r"\b(API|HTTP|JSON|webhook|payload|null|OAuth|GraphQL|4\d\d|5\d\d|upsert|timeout)\b")
    for told in MESSAGES.values():
        for text in (told.sentence, told.advice):
            assert text[0].isupper() and text[-1] == ".", told.code
            assert not jargon.search(text.replace("API key", "key")), f"{told.code}: {text}"


def test_what_nobody_can_mend_here_asks_nobody_to_press_a_button():
    assert {told.fix for told in MESSAGES.values() if told.owner is Owner.VENDOR} == {Fix.WAIT}


def test_an_unknown_code_reads_as_a_fault_of_ours():
    assert message("never.heard_of").owner is Owner.SYSTEM
