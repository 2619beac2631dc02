"""A real browser in front of the real server: signing in, looking, listening to the console.

`visit()` opens a window; whatever its console says as an error or a warning fails the test when it ends. Pictures go to
`SUTURE_VAR/shots` and are never committed.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from playwright.sync_api import Browser, sync_playwright

from tests.browser.window import DESK, PASSWORD, Visit, Visitor, give_second_step
from tests.conftest import House, make_house
from tests.run_suite import find_chromium

WITHOUT_BROWSER = "no Chromium was found: name one in SUTURE_CHROMIUM or run `make test`, which fetches one"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: needs a Chromium")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    skipped = [
        report for report in terminalreporter.stats.get("skipped", []) if WITHOUT_BROWSER in str(report.longrepr)
    ]
    if skipped:
        terminalreporter.section("BROWSER TESTS DID NOT RUN", sep="!", red=True, bold=True)
        terminalreporter.line(f"{len(skipped)} tests were skipped: {WITHOUT_BROWSER}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip(WITHOUT_BROWSER)
    # playwright keeps an event loop in this thread while the server answers in another; both it and the permission end
    # with the module, since no other test may run under either
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
        )
        yield opened
        opened.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def people(transactional_db: None) -> House:
    """The house of every test, with passwords; those of the agency have their second step."""
    from django.core.cache import cache

    cache.clear()
    house = make_house()
    User.objects.update(password=make_password(PASSWORD))
    for person in (house.ana, house.sam):
        give_second_step(person)
    return house


@pytest.fixture
def visit(browser: Browser, live_server: Any, people: House, settings: Any) -> Iterator[Visit]:
    """`visit(width=400, dark=True)` opens a window; console errors of any of them fail the test."""
    opened: list[Visitor] = []

    def open_window(*, width: int = DESK, dark: bool = False, height: int = 860) -> Visitor:
        scheme = "dark" if dark else "light"
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
        )
        context.set_default_timeout(30_000)
        visitor = Visitor(
            page=context.new_page(),
            origin=live_server.url,
            shots=Path(settings.SUTURE_VAR) / "shots",
            label=f"{scheme}-{width}",
        )
        visitor.page.on("console", visitor.hear)
        visitor.page.on("pageerror", visitor.fault)
        visitor.page.on("response", visitor.note)
        opened.append(visitor)
        return visitor

    yield open_window
    for visitor in opened:
        visitor.page.context.close()
    complaints = [complaint for visitor in opened for complaint in visitor.complaints]
    assert complaints == [], "the console complained"
