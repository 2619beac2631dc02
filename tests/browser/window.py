"""One window on the site: signing in, waiting, taking pictures, and hearing what the console says."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from django.contrib.auth.models import User
from playwright.sync_api import ConsoleMessage, Error, Page, Response

from tests.browser import looking

PASSWORD = "tide-and-harbour-9"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
DESK, PHONE = 1280, 400
EXPECTED_STATUS = "Failed to load resource: the server responded with a status of 4"


def give_second_step(person: User) -> None:
    from allauth.mfa.totp.internal.auth import TOTP

    TOTP.activate(person, SECRET)


@dataclass
class Visitor:
    """One window on the site, and what its console complained about."""

    page: Page
    origin: str
    shots: Path
    label: str
    complaints: list[str] = field(default_factory=list)
    refusals: list[tuple[int, str]] = field(default_factory=list)

    def goto(self, path: str) -> None:
        self.page.goto(self.origin + path)
        self.settle()

    def settle(self) -> None:
        """Until the page is loaded, Alpine has taken over and the fonts are there."""
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_function("!document.documentElement.hasAttribute('x-cloak')")
        self.page.evaluate("document.fonts.ready.then(() => true)")

    def send(self, selector: str) -> None:
        """Presses what sends a form, and waits for the page that answers."""
        with self.page.expect_navigation():
            self.page.click(selector)
        self.settle()

    def sign_in(self, person: User, *, password: str = PASSWORD) -> None:
        """Password, and the six digits where the account has a second step."""
        self.goto("/accounts/login/")
        self.page.fill("[name=login]", person.email)
        self.page.fill("[name=password]", password)
        self.send(".su-card form button.su-button[type=submit]")
        if self.page.url.endswith("/2fa/authenticate/"):
            self.page.fill("form:not(#webauthn_form) [name=code]", looking.code_of(SECRET))
            self.send(".su-card form button.su-button[type=submit]")

    def confirm(self) -> None:
        """Says once more who it is, where the page asks for it."""
        if "/reauthenticate/" in self.page.url:
            self.page.fill("[name=password]", PASSWORD)
            self.send(".su-card form button.su-button[type=submit]")

    def shot(self, name: str, *, whole: bool = False) -> Path:
        """A picture for a person to look at."""
        self.shots.mkdir(parents=True, exist_ok=True)
        path = self.shots / f"{name}-{self.label}.png"
        self.page.screenshot(path=path, full_page=whole)
        return path

    def looks_right(self, name: str) -> None:
        """A picture, no sideways scrolling, no table cut off, and text that can be read on its ground (WCAG AA)."""
        self.shot(name)
        assert looking.sideways(self.page) == 0, f"{name} scrolls sideways"
        cut = looking.cut_off(self.page)
        assert not cut, f"{name} has tables that are cut off: {cut}"
        faint = looking.faint_texts(self.page)
        assert not faint, f"{name} has faint text: {faint}"

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(EXPECTED_STATUS):
            self.complaints.append(f"{self.page.url}: {message.text}")

    def fault(self, error: Error) -> None:
        self.complaints.append(f"{self.page.url}: {error}")

    def note(self, response: Response) -> None:
        """A page that was refused is for the test to judge; a missing file of ours never is right."""
        if response.status >= 400:
            self.refusals.append((response.status, response.url))
            if "/static/" in response.url:
                self.complaints.append(f"{response.status} {response.url}")


Visit = Callable[..., Visitor]
