"""Run the worker: the pulse and the cluster that executes tasks."""

from django.core.management.base import BaseCommand

from integrations.worker import Worker


class Command(BaseCommand):
    help = "Run syncs as they fall due, until stopped. Start one on each machine; one of them holds the pulse."

    def handle(self, **_: object) -> None:
        Worker().run()
