"""Signing in: what allauth asks us about, how long a session lasts, and where people arrive.

Who may then see what is decided by the sites, afresh for every request.
"""

import base64
import os
from collections.abc import Callable
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.decorators import reauthentication_required
from allauth.core import context
from allauth.core.exceptions import ReauthenticationRequired
from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.contrib.auth import logout
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from tenants.middleware import person

SIGNED_IN = "signed_in_at"
SEEN = "seen_at"
SEEN_STEP_S = 60
"""How finely the last visit is noted, so that a session is not written for every page."""

_NONCE_BYTES = 12
_BOUND_TO = b"second step"


class AccountAdapter(DefaultAccountAdapter):
    """Accounts are made by the agency. Failed tries slow down an account and an address, not an account for all."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Failures count for an account from an address: a stranger's guesses do not lock its owner out."""
        return f"{super()._get_login_attempts_cache_key(request, **credentials)}:{self.get_client_ip(request)}"

    def login(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        """A new session key for the new rights: what was planted before does not become a signed-in session."""
        super().login(request, user)
        request.session.cycle_key()
        request.session[SIGNED_IN] = request.session[SEEN] = timezone.now().timestamp()

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        return reverse("home")

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("home")


class SecondStepAdapter(DefaultMFAAdapter):
    """Secrets of the second step are sealed at rest, with keys derived from SECRET_KEY and its fallbacks."""

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {"id": context.request.get_host().partition(":")[0], "name": "Suture"}

    def encrypt(self, text: str) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        return base64.b64encode(nonce + AESGCM(_keys()[0]).encrypt(nonce, text.encode(), _BOUND_TO)).decode()

    def decrypt(self, encrypted_text: str) -> str:
        raw = base64.b64decode(encrypted_text)
        for key in _keys():
            try:
                return AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _BOUND_TO).decode()
            except InvalidTag:
                continue
        raise InvalidTag


def _keys() -> list[bytes]:
    """One key for each SECRET_KEY that is still honoured; the first seals."""
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return [HKDF(hashes.SHA256(), 32, None, _BOUND_TO).derive(secret.encode()) for secret in secrets]


class SessionLimits:
    """Ends a session that was idle or lived too long; both limits are tighter for the agency's people."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.user.is_authenticated:
            self._look_at(request)
        return self.get_response(request)

    def _look_at(self, request: HttpRequest) -> None:
        now = timezone.now().timestamp()
        signed_in = request.session.setdefault(SIGNED_IN, now)
        seen = request.session.setdefault(SEEN, now)
        who = person(request)
        if _is_over(now - seen, now - signed_in, is_agency=who.is_agency or bool(who.acted_by)):
            logout(request)
        elif now - seen > SEEN_STEP_S:
            request.session[SEEN] = now


def _is_over(idle_s: float, age_s: float, *, is_agency: bool) -> bool:
    longest_idle_s, longest_s = (
        (settings.SUTURE_AGENCY_IDLE_S, settings.SUTURE_AGENCY_SESSION_S)
        if is_agency
        else (settings.SUTURE_CLINIC_IDLE_S, settings.SUTURE_CLINIC_SESSION_S)
    )
    return bool(idle_s > longest_idle_s or age_s > longest_s)


def home(request: HttpRequest) -> HttpResponse:
    """The first page of whoever asks: the agency's site, their clinic's, or the sign-in page."""
    if not request.user.is_authenticated:
        return redirect("account_login")
    who = person(request)
    if who.is_agency:
        return redirect("agency:index")
    if who.clinics:
        return redirect("clinic:index")
    raise PermissionDenied


def is_fresh(request: HttpRequest) -> bool:
    """Whether this person proved lately who they are. Ask it outside of a scope: it reads their second step."""
    try:
        reauthentication_required(lambda _: None)(request)
    except ReauthenticationRequired:
        return False
    return True


def prove_yourself(url: str) -> HttpResponseRedirect:
    """To the page that asks for the password or the second step again, and from there to ``url``."""
    return redirect(f"{reverse('account_reauthenticate')}?{urlencode({'next': url})}")
