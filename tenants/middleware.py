"""Puts the person beside the user on the request."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from tenants.people import NOBODY, Person, acted_by, person_for


class PersonMiddleware:
    """`request.person`: worked out once a request, when first asked for, and never kept in the session."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.person = SimpleLazyObject(lambda: person_of(request))  # type: ignore[attr-defined]
        return self.get_response(request)


def person_of(request: HttpRequest) -> Person:
    """The person asking, also for code that builds a request without the middleware. Who acts as somebody else needs the
    right to at every request: with it gone, they are nobody."""
    acting = acting_of(request)
    if acting is None:
        return NOBODY if request.session.get("hijack_history") else person_for(request.user)
    staff = get_user_model()._default_manager.filter(pk=acting.staff_id).first()
    return acted_by(person_for(staff), person_for(request.user), acting.clinic_id) if staff else NOBODY


def person(request: HttpRequest) -> Person:
    """The person of this request, worked out again if somebody was signed in or out since."""
    known = getattr(request, "person", None)
    if known is None or known.user_id != request.user.pk:
        known = request.person = person_of(request)  # type: ignore[attr-defined]
    return cast(Person, known)


@dataclass(frozen=True, slots=True)
class Acting:
    """What a session keeps while one of the agency's people acts as somebody of a clinic. ``until`` and ``signed_in_at``,
    when the one who acts signed in, are seconds since 1970."""

    staff_id: int
    staff: str
    clinic_id: int
    clinic: str
    until: float
    signed_in_at: float

    @property
    def ends_at(self) -> datetime:
        return datetime.fromtimestamp(self.until, UTC)


ACTING = "acting"


def acting_of(request: HttpRequest) -> Acting | None:
    """Who acts as the signed-in person, None where they are themselves."""
    kept = request.session.get(ACTING)
    return Acting(**kept) if kept else None
