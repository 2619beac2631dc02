"""Run the worker: the pulse and the cluster that executes tasks."""

from django.core.checks import ERROR, run_checks
from django.core.management.base import BaseCommand, CommandError

from integrations.worker import Worker
from tenants.checks import WallsBroken, refuse_broken_walls


class Command(BaseCommand):
    help = "Run syncs as they fall due, until stopped. Start one on each machine; one of them holds the pulse."

    def handle(self, **_: object) -> None:
        refuse_unsafe_start()
        Worker().run()


def refuse_unsafe_start() -> None:
    """What the web server refuses, the worker refuses as well; the checks of a plain start ran already."""
    faults = [fault for fault in run_checks(include_deployment_checks=True) if fault.level >= ERROR]
    if faults:
        raise CommandError("\n".join(str(fault.msg) for fault in faults))
    try:
        refuse_broken_walls()
    except WallsBroken as broken:
        raise CommandError(str(broken)) from None
