"""Puts the person beside the user on the request."""

from collections.abc import Callable
from typing import cast

from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from tenants.people import Person, person_for


class PersonMiddleware:
    """`request.person`: worked out once a request, when first asked for, and never kept in the session."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.person = SimpleLazyObject(lambda: person_of(request))  # type: ignore[attr-defined]
        return self.get_response(request)


def person_of(request: HttpRequest) -> Person:
    """The person asking; also for code that builds a request without the middleware."""
    history = request.session.get("hijack_history") or []
    return person_for(request.user, hijacked_by=_username(history[-1]) if history else "")


def person(request: HttpRequest) -> Person:
    """The person of this request, worked out again if somebody was signed in or out since."""
    known = getattr(request, "person", None)
    if known is None or known.user_id != request.user.pk:
        known = request.person = person_of(request)  # type: ignore[attr-defined]
    return cast(Person, known)


def _username(user_id: str) -> str:
    return str(get_user_model()._default_manager.get(pk=user_id).get_username())
