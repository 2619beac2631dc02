"""Give a person a place: the first one in a new installation, or another."""

from argparse import ArgumentParser

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError

from tenants.models import AGENCY_ROLES, Agency, Role, Tenant
from tenants.services import add_agency, add_member, find_or_add_user


class Command(BaseCommand):
    help = (
        "Let somebody sign in. They choose a password by asking for one at /accounts/password/reset/, and set up the "
        "second step at their first sign-in."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--role", choices=Role.values, default=Role.AGENCY_OWNER)
        parser.add_argument("--clinic", default="", metavar="SLUG", help="compulsory for a clinic's role")
        parser.add_argument(
            "--agency", default="Agency", metavar="NAME", help="the agency's name, if there is none yet"
        )

    def handle(self, *, email: str, role: str, clinic: str, agency: str, **_: object) -> None:
        tenant = Tenant.objects.filter(slug=clinic).first()
        if clinic and tenant is None:
            raise CommandError(f"There is no clinic {clinic!r}: provision it first.", returncode=2)
        if role not in AGENCY_ROLES and tenant is None:
            raise CommandError(f"The role {role} belongs to a clinic: name it with --clinic.", returncode=2)
        home = None
        if role in AGENCY_ROLES:
            home = Agency.objects.first() or add_agency(name=agency, slug="agency", actor="operator")
        user = find_or_add_user(email=email)
        try:
            add_member(
                user_id=user.pk,
                role=Role(role),
                agency_id=home.pk if home else None,
                tenant_id=tenant.pk if tenant and role != Role.AGENCY_OWNER else None,
                actor="operator",
                reason="invited by command",
            )
        except IntegrityError:
            raise CommandError(f"{email} already has that place.", returncode=2) from None
        self.stdout.write(f"{email} may sign in now. Ask for a password at /accounts/password/reset/.")
