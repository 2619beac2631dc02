"""The way in, as people walk it: password, second step, passkey, and the doors that stay shut."""

import pytest

from tests.browser import looking
from tests.browser.window import PASSWORD, PHONE, Visit, give_second_step
from tests.conftest import House

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "owner"])

BOTH_SCHEMES = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
BOTH_WIDTHS = pytest.mark.parametrize("width", [1280, PHONE], ids=["desk", "phone"])


def test_ana_signs_in_with_password_and_digits_and_lands_on_the_agency_site(visit: Visit, people: House) -> None:
    ana = visit()
    ana.sign_in(people.ana)
    assert ana.page.url == f"{ana.origin}/agency/"
    ana.looks_right("agency-home")


def test_olga_lands_on_her_clinic_and_the_agency_site_is_not_hers(visit: Visit, people: House) -> None:
    olga = visit()
    olga.sign_in(people.olga)
    assert olga.page.url == f"{olga.origin}/clinic/"
    assert olga.page.inner_text(".su-place-name >> visible=true") == "Harbour Physio"
    olga.looks_right("clinic-home")
    olga.goto("/agency/")
    assert "Not yours to open" in olga.page.inner_text("h1")
    assert olga.refusals[-1][0] == 403


def test_the_agency_asks_for_a_second_step_before_anything_opens(visit: Visit, people: House) -> None:
    people.ana.authenticator_set.all().delete()
    ana = visit()
    ana.sign_in(people.ana)
    assert ana.page.url == f"{ana.origin}/accounts/2fa/"
    assert "need a second step" in ana.page.inner_text(".su-card [role=alert]")
    ana.looks_right("second-step-missing")
    ana.send(".su-panel >> text=Set up")
    ana.confirm()
    ana.looks_right("second-step-app")
    secret = ana.page.input_value("#authenticator_secret")
    ana.page.fill("[name=code]", looking.code_of(secret))
    ana.send("text=Switch on")
    ana.looks_right("recovery-codes")
    ana.goto("/agency/")
    assert ana.page.url == f"{ana.origin}/agency/"


def test_a_passkey_is_registered_and_opens_the_door_alone(visit: Visit, people: House) -> None:
    ana = visit()
    ana.origin = ana.origin.replace("127.0.0.1", "localhost")
    devtools = ana.page.context.new_cdp_session(ana.page)
    devtools.send("WebAuthn.enable")
    device = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": device})
    ana.sign_in(people.ana)
    ana.goto("/accounts/2fa/webauthn/add/")
    ana.confirm()
    ana.looks_right("passkey-add")
    ana.page.fill("[name=name]", "Laptop")
    ana.page.check("[name=passwordless]")
    ana.send("#mfa_webauthn_add")
    ana.goto("/accounts/2fa/webauthn/")
    assert "Laptop" in ana.page.inner_text(".su-card")
    ana.looks_right("passkeys")
    ana.goto("/accounts/logout/")
    ana.send(".su-card button[type=submit]")
    ana.goto("/accounts/login/")
    ana.send("#passkey_login")
    assert ana.page.url == f"{ana.origin}/agency/"


def test_a_wrong_password_is_said_plainly_and_the_sixth_try_waits(visit: Visit, people: House) -> None:
    stranger = visit()
    for _ in range(5):
        stranger.sign_in(people.olga, password="not-her-password")
    assert "not correct" in stranger.page.inner_text("[role=alert]")
    stranger.looks_right("wrong-password")
    stranger.sign_in(people.olga, password=PASSWORD)
    assert "Too many" in stranger.page.inner_text("[role=alert]")
    assert stranger.page.url.endswith("/accounts/login/")


def test_nobody_opens_an_account_for_themselves(visit: Visit) -> None:
    stranger = visit()
    stranger.goto("/accounts/signup/")
    assert stranger.page.inner_text("h1") == "By invitation only"
    stranger.looks_right("signup-closed")


@BOTH_SCHEMES
@BOTH_WIDTHS
def test_pages_outside_are_readable(visit: Visit, people: House, width: int, dark: bool) -> None:
    guest = visit(width=width, dark=dark)
    for name, path in (
        ("login", "/accounts/login/"),
        ("reset", "/accounts/password/reset/"),
        ("404", "/accounts/nothing/"),
    ):
        guest.goto(path)
        guest.looks_right(name)
    give_second_step(people.olga)
    guest.goto("/accounts/login/")
    guest.page.fill("[name=login]", people.olga.email)
    guest.page.fill("[name=password]", PASSWORD)
    guest.send(".su-card form button.su-button[type=submit]")
    guest.looks_right("digits")
    guest = visit(width=width, dark=dark)
    guest.sign_in(people.vik)
    for name, path in (
        ("two-step", "/accounts/2fa/"),
        ("password", "/accounts/password/change/"),
        ("logout", "/accounts/logout/"),
    ):
        guest.goto(path)
        guest.looks_right(name)


def test_the_sign_in_page_is_walked_by_keyboard(visit: Visit, people: House) -> None:
    olga = visit()
    olga.goto("/accounts/login/")
    names = looking.keyboard_path(olga.page)
    assert names[0] == "Skip to content"
    assert [name for name in names if name in {"login", "password", "Show the password", "Sign in"}] == [
        "login",
        "password",
        "Show the password",
        "Sign in",
    ]
