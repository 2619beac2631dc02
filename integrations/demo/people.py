"""Who signs in at the demo. Passwords and secrets are made on the first run and kept in ``SUTURE_VAR/demo``."""

import json
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User

from tenants.models import Agency, Membership, Role, Tenant
from tenants.services import add_agency, add_member, find_or_add_user

ACTOR = "demo"
CLINIC = "harbour-physio"


@dataclass(frozen=True, slots=True)
class Person:
    """``password`` and ``secret`` (of the second step) belong to made-up accounts on this machine only."""

    name: str
    email: str
    role: Role
    password: str
    secret: str

    @property
    def what(self) -> str:
        place = "" if self.role is Role.AGENCY_OWNER else f" of {CLINIC}"
        return f"{self.role.label.lower()}{place}"

    def code(self) -> str:
        """The six digits of this moment."""
        return str(format_hotp_value(hotp_value(self.secret, int(time.time()) // 30)))

    def address(self) -> str:
        """The otpauth address that an authenticator app takes."""
        return str(get_adapter().build_totp_url(User(email=self.email, username=self.email), self.secret))


_CAST = (
    ("Ana", "ana@tideway.example", Role.AGENCY_OWNER),
    ("Olga", "olga@harbour-physio.example", Role.CLINIC_MANAGER),
    ("Vik", "vik@harbour-physio.example", Role.CLINIC_VIEWER),
)


def keep(path: Path) -> tuple[Person, ...]:
    """The people of this folder, made where there are none yet; readable by their maker only."""
    if not path.exists():
        made = [Person(*who, _password(), generate_totp_secret()) for who in _CAST]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps([asdict(person) for person in made], indent=2))
    return tuple(Person(**row | {"role": Role(row["role"])}) for row in json.loads(path.read_text()))


def _password() -> str:
    """Twelve letters and digits in threes, easy to type."""
    letters = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(letters) for _ in range(4)) for _ in range(4))


def ensure_agency() -> Agency:
    return Agency.objects.order_by("pk").first() or add_agency(name="Tideway Agency", slug="tideway", actor=ACTOR)


def let_in(people: tuple[Person, ...], agency: Agency) -> None:
    """Accounts, second steps and memberships for those who lack them; what somebody changed since stays."""
    clinic = Tenant.objects.get(slug=CLINIC)
    for person in people:
        user = find_or_add_user(email=person.email)
        if not user.password or not user.has_usable_password():
            User.objects.filter(pk=user.pk).update(password=make_password(person.password), first_name=person.name)
            Authenticator.objects.filter(user_id=user.pk).delete()
            TOTP.activate(user, person.secret)
        if not Membership.objects.of_user(user.pk).exists():
            place = {"agency_id": agency.pk} if person.role is Role.AGENCY_OWNER else {"tenant_id": clinic.pk}
            add_member(user_id=user.pk, role=person.role, actor=ACTOR, reason="demo", **place)
