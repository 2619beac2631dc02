import gc
import os

from django.apps import AppConfig
from django.core import checks

YOUNG_OBJECTS = 50_000


class ConfigConfig(AppConfig):
    name = "config"
    verbose_name = "Settings"

    def ready(self) -> None:
        """The last to be ready. What the queue's processes share is imported before they fork. What was imported stays, and
        a page of records frees itself: looking for cycles after every 700 objects, as Python is shipped, costs a tenth of
        a first load."""
        from config import start  # noqa: PLC0415 - reads the settings, which are complete by now
        from integrations.doorbell import WORKER  # noqa: PLC0415
        from integrations.services.errands import errands  # noqa: PLC0415

        checks.register(start.check_queue)
        checks.register(start.check_deployment, deploy=True)
        if WORKER in os.environ:
            errands()
        gc.freeze()
        gc.enable()
        gc.set_threshold(YOUNG_OBJECTS, 20, 20)
