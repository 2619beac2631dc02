"""What `make check` runs: every step, then the output of those that failed."""

import base64
import os
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Step:
    label: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


def production() -> dict[str, str]:
    """The settings of a production host, with secrets for this one run."""
    return {
        "DEBUG": "0",
        "SUTURE_SANDBOX": "0",
        "SUTURE_ENVIRONMENT": "production",
        "SUTURE_BASE_URL": "https://suture.example",
        "SUTURE_STATIC_ROOT": tempfile.gettempdir(),
        "SECRET_KEY": secrets.token_urlsafe(64),
        "SUTURE_KEY_RING": f"check:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        "EMAIL_URL": "smtp+tls://mail.example:587",
    }


def steps() -> tuple[Step, ...]:
    python, manage = sys.executable, (sys.executable, "manage.py")
    return (
        Step("format", (str(BIN / "ruff"), "format", "--check", ".")),
        Step("lint", (str(BIN / "ruff"), "check", ".")),
        Step("types", (str(BIN / "mypy"), ".")),
        Step("imports", (str(BIN / "lint-imports"),)),
        Step("tables", (*manage, "migrate", "--verbosity", "0")),
        Step("migrations", (*manage, "makemigrations", "--check", "--dry-run")),
        Step(
            "deployment",
            (*manage, "check", "--deploy", "--fail-level", "WARNING", "--database", "default"),
            production(),
        ),
        Step("hygiene", (python, "-m", "pytest", "-q", "-n0", "tests/meta/test_hygiene.py")),
    )


def main() -> int:
    failed = 0
    todo = steps()
    for number, step in enumerate(todo, 1):
        print(f"[{number}/{len(todo)}] {step.label:<12}", end="", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            step.command,
            cwd=ROOT,
            env=os.environ | step.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(f"{'ok' if done.returncode == 0 else 'FAILED'}  {time.monotonic() - began:.1f} s")
        if done.returncode != 0:
            failed += 1
            print(done.stdout)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
