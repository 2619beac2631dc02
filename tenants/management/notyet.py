"""Commands whose interface is fixed but whose work comes with a later version: they say so and do nothing."""

import sys

from django.core.management.base import BaseCommand, CommandError


class NotYetCommand(BaseCommand):
    help = "Comes with a later version."
    name = ""

    def run_from_argv(self, argv: list[str]) -> None:
        """Whatever the arguments: they are a later version's."""
        try:
            self.handle()
        except CommandError as refusal:
            self.stderr.write(str(refusal))
            sys.exit(refusal.returncode)

    def handle(self, **_: object) -> None:
        raise CommandError(f"`{self.name}` comes with a later version of Suture; nothing was done.", returncode=2)
