"""Make the roles and the database of an installation that brings its own PostgreSQL. Safe to repeat."""

from argparse import ArgumentParser
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from tenants.roles import LOGIN, OWNER, Passwords, create_roles_and_database, hand_over_schema

OLDEST = 15


class Command(BaseCommand):
    help = (
        "Create or update the database roles and the database that DATABASE_URL and DATABASE_OWNER_URL name "
        "(PostgreSQL 15 to 18). Run `migrate` afterwards."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--superuser-url",
            default="",
            help="how an administrator signs in; default: `postgres` on the server of DATABASE_OWNER_URL, "
            "with the password from PGPASSWORD or ~/.pgpass",
        )
        parser.add_argument(
            "--with-tests", action="store_true", help="let the owner create databases, as the test suite needs"
        )

    def handle(self, *, superuser_url: str, with_tests: bool, **options: Any) -> None:
        login, owner = _wanted("default", LOGIN), _wanted("owner", OWNER)
        if (login["HOST"], login["NAME"]) != (owner["HOST"], owner["NAME"]):
            raise CommandError("DATABASE_URL and DATABASE_OWNER_URL must name the same server and database.")
        administrator = _administrator(superuser_url, owner)
        passwords = Passwords(owner=owner["PASSWORD"], login=login["PASSWORD"])
        try:
            made = _bring_about(administrator, owner["NAME"], passwords, with_tests=with_tests)
        except psycopg.Error as error:
            raise CommandError(f"PostgreSQL refused ({error.sqlstate or 'no connection'}): {error}") from None
        self.stdout.write(f"Database {owner['NAME']} {'created' if made else 'was there'}; roles are as wanted.")
        self.stdout.write("Next: manage.py migrate")


def _bring_about(administrator: dict[str, Any], database: str, passwords: Passwords, *, with_tests: bool) -> bool:
    with psycopg.connect(**administrator, autocommit=True) as connection:
        if connection.info.server_version < OLDEST * 10_000:
            raise CommandError(f"PostgreSQL {OLDEST} or newer is needed.")
        made = create_roles_and_database(
            connection, database=database, passwords=passwords, owner_may_create_databases=with_tests
        )
    with psycopg.connect(**administrator | {"dbname": database}, autocommit=True) as connection:
        hand_over_schema(connection)
    return made


def _wanted(alias: str, role: str) -> dict[str, Any]:
    """What the settings say about ``alias``, if it names the role that the walls are built for."""
    variable = {"default": "DATABASE_URL", "owner": "DATABASE_OWNER_URL"}[alias]
    wanted: dict[str, Any] | None = settings.DATABASES.get(alias)
    if wanted is None:
        raise CommandError(f"Set {variable}.")
    if wanted.get("USER") != role or not wanted.get("PASSWORD"):
        raise CommandError(f"{variable} must sign in as {role}, with a password.")
    return {**wanted, "HOST": wanted.get("HOST") or wanted.get("OPTIONS", {}).get("host", "")}


def _administrator(url: str, owner: dict[str, Any]) -> dict[str, Any]:
    """How to reach the server as an administrator, in psycopg's words."""
    if url:
        return {"conninfo": url}
    named = {"host": owner["HOST"], "port": owner.get("PORT"), "user": "postgres", "dbname": "postgres"}
    return {word: part for word, part in named.items() if part}
