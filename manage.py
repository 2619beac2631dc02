#!/usr/bin/env python
"""Django's command line. Without DATABASE_URL it brings the embedded database up first (config/embedded.py)."""

import os
import sys

# These never open the database, or one of their own.
WITHOUT_DATABASE = frozenset({"", "help", "version", "bootstrap_database", "collectstatic", "sandbox", "bench"})
# These bring their own idea of the schema.
WITHOUT_MIGRATING = frozenset({"migrate", "makemigrations", "showmigrations", "sqlmigrate", "check", "diffsettings"})


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    asks_for_help = command.startswith("-") or "--help" in sys.argv
    if (command not in WITHOUT_DATABASE or "--here" in sys.argv) and not asks_for_help:
        open_embedded_database(migrate=command not in WITHOUT_MIGRATING)
    from django.core.management import execute_from_command_line  # noqa: PLC0415 - settings come after the environment
    from django.db import OperationalError  # noqa: PLC0415

    try:
        execute_from_command_line(sys.argv)
    except OperationalError as fault:  # libpq's words name host and reason, never a password
        print(f"The database does not answer: {fault}".strip(), file=sys.stderr)  # noqa: T201
        sys.exit(2)


def open_embedded_database(*, migrate: bool) -> None:
    from config import embedded, embedded_home  # noqa: PLC0415 - psycopg is not needed where DATABASE_URL is set

    try:
        if embedded.prepare() and migrate:
            embedded.migrate()
    except embedded_home.EmbeddedError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
