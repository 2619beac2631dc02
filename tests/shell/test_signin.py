"""Signing in, without a browser: new sessions, slowed guesses, sealed secrets, sessions that end (ASVS 6.3, 7.2, 7.3)."""

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from tenants import signin
from tests.conftest import House, sign_in

PASSWORD = "tide-and-harbour-9"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_counted_tries() -> None:
    cache.clear()


@pytest.fixture
def olga(house: House) -> User:
    house.olga.set_password(PASSWORD)
    house.olga.save(update_fields=["password"])
    return house.olga


def try_password(client: Client, person: User, password: str, address: str = "192.0.2.1") -> Any:
    form = {"login": person.email, "password": password}
    return client.post(reverse("account_login"), form, REMOTE_ADDR=address)


def test_signing_in_makes_a_new_session(olga: User) -> None:
    client = Client()
    session = client.session
    session["planted"] = "by somebody else"
    session.save()
    before = session.session_key
    assert try_password(client, olga, PASSWORD).status_code == 302
    assert client.session.session_key != before


def test_the_sixth_wrong_try_waits_but_only_where_it_came_from(olga: User) -> None:
    for _ in range(5):
        assert "not correct" in try_password(Client(), olga, "not-her-password").content.decode()
    assert "Too many" in try_password(Client(), olga, PASSWORD).content.decode()
    assert try_password(Client(), olga, PASSWORD, address="192.0.2.77").status_code == 302


def test_nobody_signs_up(house: House) -> None:
    form = {"email": "stranger@example.test", "password1": PASSWORD, "password2": PASSWORD}
    Client().post(reverse("account_signup"), form)
    assert not User.objects.filter(email="stranger@example.test").exists()


@pytest.mark.parametrize("weak", ["short-one-1", "password1234", "123456789012345"])
def test_short_common_and_numeric_passwords_are_refused(olga: User, weak: str) -> None:
    client = sign_in(olga, second_factor=False)
    form = {"oldpassword": PASSWORD, "password1": weak, "password2": weak}
    assert client.post(reverse("account_change_password"), form).status_code == 200
    olga.refresh_from_db()
    assert olga.check_password(PASSWORD)


def test_the_secret_of_the_second_step_is_sealed_and_opens_after_the_key_was_rotated(olga: User, settings: Any) -> None:
    TOTP.activate(olga, SECRET)
    kept = Authenticator.objects.get(user=olga)
    assert SECRET not in str(kept.data)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new one, long enough to be a key " * 2
    assert signin.SecondStepAdapter().decrypt(kept.data["secret"]) == SECRET


@pytest.mark.parametrize(("setting", "mark"), [("IDLE", signin.SEEN), ("SESSION", signin.SIGNED_IN)])
def test_the_agencys_sessions_end_sooner(house: House, settings: Any, setting: str, mark: str) -> None:
    lasts = getattr(settings, f"SUTURE_AGENCY_{setting}_S") + 60
    for person, still_in in ((house.ana, False), (house.olga, True)):
        client = sign_in(person)
        client.get(reverse("home"))
        session = client.session
        session[mark] -= lasts
        session.save()
        client.get(reverse("home"))
        assert ("_auth_user_id" in client.session) is still_in


def test_people_arrive_where_they_belong(house: House) -> None:
    for person, place in ((house.ana, "agency:index"), (house.olga, "clinic:index")):
        assert sign_in(person).get(reverse("home")).headers["Location"] == reverse(place)
    assert sign_in(house.nobody).get(reverse("home")).status_code == 403
    assert Client().get(reverse("home")).headers["Location"] == reverse("account_login")


def test_pages_are_kept_by_nobody_and_framed_by_nobody(house: House) -> None:
    answer = Client().get(reverse("account_reset_password"))
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "camera=()" in answer.headers["Permissions-Policy"]
