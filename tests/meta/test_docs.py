"""Documents that can be checked: links are alive, commands and settings are told, decisions are short."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "integrations" / "connectors").glob("*/README.md")]
)
APPS = ("tenants", "integrations", "reconciliation", "config")
COMMANDS = sorted(
    path.stem for app in APPS for path in (ROOT / app).glob("management/commands/*.py") if path.stem != "__init__"
)
EXAMPLE = (ROOT / ".env.example").read_text()
SETTINGS = dict(
    re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`|empty) \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
)
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
TOLD_BY_DJANGO = {"migrate"}


def links() -> Iterator[tuple[Path, str]]:
    for document in DOCUMENTS:
        prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
        for target in LINK.findall(prose):
            if "://" not in target and not target.startswith("mailto:"):
                yield document, target


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as they are made where it is shown."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_relative_link_leads_somewhere():
    dead = []
    for document, target in links():
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        if not place.exists() or (anchor and anchor not in anchors(place)):
            dead.append(f"{document.relative_to(ROOT)}: {target}")
    assert dead == []


def test_every_command_is_documented():
    told = "\n".join(document.read_text() for document in DOCUMENTS)
    assert [name for name in COMMANDS if not re.search(rf"manage\.py {name}\b", told)] == []


def test_every_documented_command_exists():
    told = "\n".join(document.read_text() for document in DOCUMENTS)
    known = {*COMMANDS, *TOLD_BY_DJANGO, "collectstatic", "shell", "check", "makemigrations"}
    assert set(re.findall(r"manage\.py ([a-z_]+)", told)) - known == set()


def test_every_command_says_what_it_does():
    from django.core.management import load_command_class

    helpless = [
        name
        for app in APPS
        for name in COMMANDS
        if (ROOT / app / "management" / "commands" / f"{name}.py").exists() and not load_command_class(app, name).help
    ]
    assert helpless == []


def test_every_setting_is_documented_with_its_default():
    listed = {
        name: "" if hidden else default
        for hidden, name, default in re.findall(r"^(#?)([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE)
    }
    assert listed == SETTINGS


def test_every_target_of_make_that_a_document_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = "\n".join(document.read_text() for document in DOCUMENTS)
    named = re.findall(r"(?:^|`)make ([a-z-]+)", told, re.MULTILINE)
    assert set(named) - targets == set()


def test_every_folder_of_the_floor_plan_exists():
    plan = (ROOT / "docs" / "architecture.md").read_text().split("```")[1]
    top, inner = re.findall(r"^(\w+)/", plan, re.MULTILINE), re.findall(r"^  (\w+)/", plan, re.MULTILINE)
    assert [name for name in top if not (ROOT / name).is_dir()] == []
    assert [name for name in inner if not (ROOT / "integrations" / name).is_dir()] == []


def test_every_file_that_the_architecture_names_exists():
    told = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:core|toolkit|flows|services|tenants|integrations)/[\w/]+\.py)`", told))
    gone = [name for name in named if not (ROOT / name).exists() and not (ROOT / "integrations" / name).exists()]
    assert named and gone == []


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem[:4])
def test_a_decision_is_short_and_its_file_name_says_it(path: Path):
    text = path.read_text()
    title = text.splitlines()[0]
    number, words = re.fullmatch(r"# (\d+)\. (.+)", title).groups()
    spelled = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")
    assert path.stem.startswith(f"{int(number):04d}-{spelled}"[:30])
    assert len(text.splitlines()) <= 40
    for part in ("Danger", "Rule", "Exempt", "Turned down"):
        assert f"**{part}.**" in text


def test_the_demos_file_is_read_without_a_mistake(settings):
    from integrations.services.provisioning import read

    settings.SUTURE_SANDBOX = True
    tenants = read(tomllib.loads((ROOT / "integrations" / "demo" / "clinics.toml").read_text()))
    assert [tenant.slug for tenant in tenants] == ["harbour-physio", "ridge-podiatry", "bay-street-skin"]
