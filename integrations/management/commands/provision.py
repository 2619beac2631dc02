"""Create or update clinics, connections and flows from a file."""

import tomllib
from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from integrations.services.provisioning import BadFile, provision


class Command(BaseCommand):
    help = (
        "Bring clinics, connections, flows and value maps to what FILE says. Running it again changes nothing. Secrets are "
        'named as "env:NAME". Exit status 2: the file has mistakes; all are listed, and nothing was written.'
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE.toml")
        parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")

    def handle(self, *, file: Path, dry_run: bool, **_: object) -> None:
        try:
            told = provision(_read(file), dry_run=dry_run, origin=file.name)
        except BadFile as refusal:
            raise CommandError(f"{file.name} has mistakes; nothing was written.\n{refusal}", returncode=2) from None
        for line in told:
            self.stdout.write(f"would be: {line}" if dry_run else line)
        if not told:
            self.stdout.write("Everything is as the file says.")


def _read(file: Path) -> dict[str, object]:
    try:
        with file.open("rb") as opened:
            return tomllib.load(opened)
    except OSError as trouble:
        raise CommandError(f"{file}: {trouble.strerror}.", returncode=2) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as trouble:
        raise CommandError(f"{file.name} is not TOML: {trouble}", returncode=2) from None
