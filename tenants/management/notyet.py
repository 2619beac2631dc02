"""Commands whose interface is fixed but whose work comes with a later version: they say so and do nothing."""

from argparse import REMAINDER, ArgumentParser

from django.core.management.base import BaseCommand, CommandError


class NotYetCommand(BaseCommand):
    help = "Comes with a later version."
    name = ""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("anything", nargs=REMAINDER)

    def handle(self, **_: object) -> None:
        raise CommandError(f"`{self.name}` comes with a later version of Suture; nothing was done.", returncode=2)
