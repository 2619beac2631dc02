"""Wrap every clinic's data key with the current key of SUTURE_KEY_RING."""

from django.core.management.base import BaseCommand, CommandError

from integrations.services.key_rotation import rotate
from integrations.vault import Unsealable


class Command(BaseCommand):
    help = "Move every clinic's data key under the first key of SUTURE_KEY_RING. May run at any time, may be cut and repeated."

    def handle(self, **_: object) -> None:
        try:
            moved, kept = rotate()
        except (Unsealable, ValueError) as problem:
            raise CommandError(
                f"{problem}. Put the missing key back into SUTURE_KEY_RING and run again.", returncode=2
            ) from None
        self.stdout.write(f"{moved} moved, {kept} already under the current key. Old keys may leave the ring now.")
