"""Run the sandboxed vendors."""

import signal
from argparse import ArgumentParser
from pathlib import Path
from threading import Event

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from integrations.demo.vendors import FIRST_PORT, AlreadyRunning, as_setting, serving


class Command(BaseCommand):
    help = "Serve sandboxed vendors on this machine until stopped; what they hold is kept in SUTURE_VAR/sandbox."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port", type=int, default=FIRST_PORT, help="first port; each vendor takes the next (0: any free ones)"
        )

    def handle(self, *, port: int, **_: object) -> None:
        stop = Event()
        for asked in (signal.SIGTERM, signal.SIGINT):
            signal.signal(asked, lambda *_: stop.set())
        folder = Path(settings.SUTURE_VAR) / "sandbox"
        try:
            with serving(folder, port=port) as vendors:
                self.stdout.write("Sandboxed vendors are running until Ctrl-C. To use them, in another terminal:\n\n")
                self.stdout.write(f"  export SUTURE_SANDBOX=1 SUTURE_VENDOR_URLS='{as_setting(vendors.urls)}'\n\n")
                for practice, key in vendors.keys.items():
                    self.stdout.write(f"{practice}'s API key is {key}")
                self.stdout.write(
                    f"Shops: {', '.join(vendors.shopify.vendor.shops)}; their tokens are demo-token-of-SHOP."
                )
                self.stdout.flush()
                stop.wait()
        except AlreadyRunning:
            raise CommandError(f"Somebody serves the sandboxes of {folder} already.", returncode=2) from None
