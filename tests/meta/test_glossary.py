"""The words of docs/glossary.md are the words of the code and the screens."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
WORDS = re.findall(r"\*\*([a-z ]+)\*\*", GLOSSARY)
PLACES = (
    ("tenants", "*.py"),
    ("integrations", "*.py"),
    ("reconciliation", "*.py"),
    ("config", "*.py"),
    ("templates", "*.html"),
)
FORBIDDEN = {"mailbox", "batch job", "upsert", "sync job", "ETL", "dead letter"}


def written() -> str:
    files = [path for folder, kind in PLACES for path in (ROOT / folder).rglob(kind) if "migrations" not in path.parts]
    return "\n".join(path.read_text() for path in files)


def forms(word: str) -> re.Pattern[str]:
    """``flow kind`` may be written FlowKind, flow_kind or flow kinds."""
    spelled = r"[ _]?".join(map(re.escape, word.split()))
    return re.compile(rf"{spelled}(?:s|es|d)?(?![a-z])", re.IGNORECASE)


def test_every_word_of_the_glossary_is_used():
    text = written()
    assert [word for word in WORDS if not forms(word).search(text)] == []


def test_every_row_has_a_word_and_none_stands_twice():
    rows = [line for line in GLOSSARY.splitlines() if line.startswith("| **")]
    firsts = [re.match(r"\| \*\*([a-z ]+)\*\* \|", row)[1] for row in rows]
    assert len(rows) > 30 and len(WORDS) == len(set(WORDS)) and len(firsts) == len(rows)


def test_nobody_writes_words_that_mean_the_same():
    text = written()
    assert [word for word in FORBIDDEN if re.search(rf"\b{word}\b", text)] == []
