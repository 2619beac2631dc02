"""What `make test` runs: finds or fetches a browser, hands over to pytest, and says at the very end what could not run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FETCH_S = 600


def find_chromium() -> str | None:
    """A Chromium on the PATH, else the one that playwright keeps."""
    if named := os.environ.get("SUTURE_CHROMIUM"):
        return named
    return next(filter(None, map(shutil.which, NAMES)), None) or _of_playwright()


def _of_playwright() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def fetch_chromium() -> str | None:
    """Bring a browser: playwright's own build, else Debian's package where we are root."""
    attempts = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if os.geteuid() == 0 and shutil.which("apt-get"):
        attempts += [
            ["apt-get", "update", "-q"],
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", "chromium"],
        ]
    for command in attempts:
        print("No Chromium found; trying:", " ".join(command), flush=True)
        try:
            subprocess.run(command, cwd=ROOT, check=False, timeout=FETCH_S, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            print("  gave up after", FETCH_S, "seconds")
        if found := find_chromium():
            return found
    return None


def main() -> int:
    chromium = find_chromium() or fetch_chromium()
    env = os.environ | ({"SUTURE_CHROMIUM": chromium} if chromium else {})
    command = [sys.executable, "-m", "pytest", *sys.argv[1:]]
    if not chromium:
        command.append("--ignore=tests/browser")
    status = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
    if not chromium:
        print("\n" + "!" * 78)
        print("!! BROWSER TESTS DID NOT RUN: no Chromium on the PATH and none could be fetched.")
        print("!! Install one (or name it in SUTURE_CHROMIUM) and run `make test` again.")
        print("!" * 78)
    return status


if __name__ == "__main__":
    sys.exit(main())
