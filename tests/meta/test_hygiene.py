"""The lock files, the version, the folders of the floor plan."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ("requirements.lock", "requirements-dev.lock")


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_and_no_machine(lock):
    lines = [line for line in (ROOT / lock).read_text().splitlines() if not line.startswith("#")]
    offending = [
        line for line in lines if re.search(r"://|--(extra-)?index|--find-links|--trusted-host|file:| @ ", line)
    ]
    assert offending == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock):
    text = (ROOT / lock).read_text()
    blocks = re.findall(r"^[\w.-]+==\S+ \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE)
    assert len(blocks) == len(pins(lock)) > 20


def test_both_locks_agree():
    plain, dev = (pins(lock) for lock in LOCKS)
    assert plain == {name: dev.get(name) for name in plain}


def test_every_wanted_package_is_locked():
    optional = PROJECT["project"]["optional-dependencies"]
    wanted = {
        re.match(r"[\w.-]+", line)[0].lower() for line in PROJECT["project"]["dependencies"] + optional["sandbox"]
    }
    assert wanted <= set(pins("requirements.lock"))
    assert {re.match(r"[\w.-]+", line)[0].lower() for line in optional["dev"]} <= set(pins("requirements-dev.lock"))


def test_the_version_is_the_changelogs_first_heading():
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == PROJECT["project"]["version"]


def test_the_core_imports_the_standard_library_only():
    allowed = sys.stdlib_module_names
    for path in (ROOT / "integrations" / "core").glob("*.py"):
        for name in imported(path):
            assert name.split(".")[0] in allowed or name.startswith("integrations.core"), f"{path.name}: {name}"


def test_every_connector_stands_under_the_contract_of_independence():
    folders = {path.parent.name for path in (ROOT / "integrations" / "connectors").glob("*/__init__.py")}
    contracts = {contract["id"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    assert {name.rsplit(".")[-1] for name in contracts["connectors-apart"]["modules"]} == folders


def test_every_noqa_and_every_ignored_type_names_its_rule():
    blanket = re.compile(r"#\s*(noqa(?!: [A-Z]+\d)|type: ignore(?!\[))")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in ("config", "tenants", "integrations", "reconciliation", "tests")
        for path in (ROOT / package).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if blanket.search(line) and "re.compile" not in line
    ]
    assert found == []


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return names


def test_no_symbolic_link_is_kept():
    """One that leads to somebody's own folder would break every other clone."""
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert not [line for line in listed.stdout.splitlines() if line.startswith("120000")]
