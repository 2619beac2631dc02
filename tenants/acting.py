"""Acting as somebody of a clinic: one of the agency's people sees what a receptionist sees, for a reason and for a while.

Who acts has the other's role in that one clinic and nothing else: no agency, no other clinic, no page of the account, no
members. Begin, end and every change are in the clinic's audit with both names. django-hijack swaps the user of the
session; may one, until when, and back to whom is decided here, at every request.
"""

from collections.abc import Callable
from typing import Any

from allauth.mfa.utils import is_mfa_enabled
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model, logout
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from hijack.views import AcquireUserView, ReleaseUserView
from unfold.widgets import UnfoldAdminTextInputWidget

from tenants.middleware import ACTING, Acting, acting_of, person
from tenants.models import Membership, Tenant
from tenants.people import may_act_as, person_for
from tenants.services import record_audit
from tenants.signin import SEEN, SIGNED_IN, is_fresh, prove_yourself
from tenants.walls import tenant_tx

OWN_ACCOUNT = (
    "/accounts/",
    "/clinic/logout/",
    "/clinic/password_change/",
    "/agency/logout/",
    "/agency/password_change/",
)
"""Where a person changes or leaves their own account, which nobody does for them."""


class ActForm(forms.Form):
    """Why somebody acts as another; the clinic reads it."""

    reason = forms.CharField(
        label="Reason",
        min_length=5,
        max_length=300,
        help_text="The clinic reads it in its audit: a ticket, a call, what you look for.",
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "autofocus": True}),
    )


class Begin(AcquireUserView):
    """POST ``user_pk``, ``clinic`` and ``reason``."""

    def test_func(self) -> bool:
        clinic = self.request.POST.get("clinic", "")
        self.clinic_id = int(clinic) if clinic.isascii() and clinic.isdigit() and len(clinic) < 19 else 0
        has_two_steps = is_mfa_enabled(self.request.user)
        return has_two_steps and may_act_as(person(self.request), person_for(self.get_object()), self.clinic_id)

    def get_object(self, queryset: Any = None) -> AbstractBaseUser:
        user_id = self.request.POST["user_pk"]
        known = user_id.isascii() and user_id.isdigit() and len(user_id) < 10
        user = get_user_model()._default_manager.filter(pk=user_id).first() if known else None
        if user is None:
            raise PermissionDenied
        return user

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """The audit is written, and the session marked, outside of the transaction in which hijack holds the user."""
        if request.method != "POST" or not request.user.is_authenticated or "user_pk" not in request.POST:
            return redirect("home")
        if not self.test_func():
            raise PermissionDenied
        other = self.get_object()
        form = ActForm(request.POST)
        page = act_url(other.pk, self.clinic_id)
        if not is_fresh(request):
            return prove_yourself(page)
        if not form.is_valid():
            messages.error(request, f"Reason: {form.errors['reason'][0]}")
            return redirect(page)
        acting = self.acting()
        self.note(other, form.cleaned_data["reason"], acting)
        answer: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        request.session[ACTING] = {name: getattr(acting, name) for name in acting.__slots__}
        return answer

    def acting(self) -> Acting:
        now = timezone.now().timestamp()
        signed_in_at = self.request.session.get(SIGNED_IN, now)
        return Acting(
            staff_id=self.request.user.pk,
            staff=person(self.request).actor,
            clinic_id=self.clinic_id,
            clinic=str(Tenant.objects.get(pk=self.clinic_id)),
            until=min(now + settings.SUTURE_ACTING_S, signed_in_at + settings.SUTURE_AGENCY_SESSION_S),
            signed_in_at=signed_in_at,
        )

    def note(self, other: AbstractBaseUser, reason: str, acting: Acting) -> None:
        with tenant_tx(acting.clinic_id, reason="acting"):
            record_audit(
                "acting.begun",
                target=f"user {other.pk}",
                reason=reason,
                diff={"until": acting.ends_at.isoformat(timespec="seconds")},
                actor=f"{acting.staff} as {other.get_username()}",
                actor_role=str(person(self.request).agency_role),
            )

    def get_success_url(self) -> str:
        return reverse("clinic:index")


class End(ReleaseUserView):
    """POST: who acts is themselves again, signed in no longer than they would have been."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        acting = acting_of(request)
        if request.method != "POST" or acting is None:
            return redirect("home")
        return give_back(request, acting, "Ended by hand.")

    def get_success_url(self) -> str:
        return reverse("agency:index")


def give_back(request: HttpRequest, acting: Acting, why: str) -> HttpResponseBase:
    """Ends it: the session is its owner's again, unless their account was closed meanwhile."""
    other = request.user.get_username()
    with tenant_tx(acting.clinic_id, reason="acting"):
        record_audit("acting.ended", target=f"user {request.user.pk}", reason=why, actor=f"{acting.staff} as {other}")
    seen = request.session.get(SEEN, 0)
    if not get_user_model()._default_manager.filter(pk=acting.staff_id, is_active=True).exists():
        logout(request)
        return redirect("account_login")
    view = End()
    view.setup(request)
    answer: HttpResponseBase = view.post(request)
    request.session.pop(ACTING, None)
    request.session[SIGNED_IN], request.session[SEEN] = acting.signed_in_at, seen
    messages.info(request, f"You act as {other} no longer. {why}")
    return answer


class ActingLimits:
    """Ends what has lasted long enough or is no longer allowed, and keeps the account's own pages to its owner."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        acting = acting_of(request) if request.user.is_authenticated else None
        if acting is None:
            return self.get_response(request)
        if timezone.now().timestamp() >= acting.until:
            return give_back(request, acting, "The time was up.")
        if not person(request).acted_by:
            return give_back(request, acting, "It is no longer allowed.")
        if request.path.startswith(OWN_ACCOUNT):
            messages.warning(request, "Their account is theirs alone. End acting first to change or leave your own.")
            return redirect("clinic:index")
        return self.get_response(request)


def act_url(user_id: int, clinic_id: int) -> str:
    """The page that asks for the reason."""
    member = Membership.objects.of_user(user_id).filter(tenant_id=clinic_id).values_list("pk", flat=True).first()
    return reverse("agency:tenants_membership_act", args=[member])
